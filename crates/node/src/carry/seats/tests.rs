//! Who gives way, and who does not.

use super::*;

const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn who_came_just_now_does_not_give_way() {
    let seats = Seats::of(Duration::from_secs(3_600));
    let _first = seats.take(1).unwrap();
    assert!(seats.take(1).is_none());
}

#[tokio::test]
async fn who_is_silent_gives_way_and_who_settled_does_not() {
    let seats = Seats::of(Duration::ZERO);
    let (first, second) = (seats.take(2).unwrap(), seats.take(2).unwrap());
    first.settle();
    let third = seats.take(2).expect("the second gives way");
    second.wanted().await;
    drop(second);
    third.settle();
    assert!(seats.take(2).is_none(), "all have settled");
    drop(first);
    assert!(seats.take(2).is_some());
}

#[tokio::test]
async fn all_that_did_not_settle_give_way_where_the_system_has_nothing_left() {
    let seats = Seats::of(Duration::ZERO);
    let sitting = [seats.take(9).unwrap(), seats.take(9).unwrap(), seats.take(9).unwrap()];
    sitting[1].settle();
    assert_eq!(seats.clear_unsettled(), 2);
    sitting[0].wanted().await;
    sitting[2].wanted().await;
    assert_eq!(seats.clear_unsettled(), 0);
}

#[tokio::test]
async fn no_more_handshakes_go_on_than_there_are_places() {
    let handshakes = Arc::new(Handshakes::of(4, Duration::ZERO));
    let most = Arc::new(AtomicU32::new(0));
    let one = |_| {
        let (handshakes, most) = (handshakes.clone(), most.clone());
        tokio::spawn(async move {
            let place = handshakes.place().await.unwrap();
            most.fetch_max(u32::try_from(handshakes.taken()).unwrap(), Ordering::SeqCst);
            let _ = place.hold(tokio::time::sleep(SHORT)).await;
        })
    };
    let crowd: Vec<_> = (0..2_000).map(one).collect();
    for one in crowd {
        one.await.unwrap();
    }
    assert_eq!((most.load(Ordering::SeqCst), handshakes.taken()), (4, 0));
}

#[tokio::test]
async fn an_endless_handshake_gives_way_once_somebody_waits() {
    let handshakes = Handshakes::of(1, SHORT);
    let endless = handshakes.place().await.unwrap();
    let endless = tokio::spawn(endless.hold(std::future::pending::<()>()));
    let place = handshakes.place().await.unwrap();
    assert_eq!(endless.await.unwrap().unwrap_err().code, code::HANDSHAKE_TIMEOUT);
    // Nobody waits: it may take as long as TLS lets it.
    place.hold(tokio::time::sleep(SHORT * 5)).await.unwrap();
    assert_eq!(handshakes.taken(), 0);
}

#[tokio::test]
async fn a_crowd_is_served_in_turn() {
    let handshakes = Arc::new(Handshakes::of(4, Duration::from_secs(3_600)));
    let quick = |_| {
        let handshakes = handshakes.clone();
        tokio::spawn(async move {
            let place = handshakes.place().await.unwrap();
            place.hold(tokio::task::yield_now()).await
        })
    };
    let crowd: Vec<_> = (0..200).map(quick).collect();
    for one in crowd {
        one.await.unwrap().unwrap();
    }
}
