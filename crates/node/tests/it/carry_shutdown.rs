//! Ending in order: what lives may finish, and is ended when the time is up; on every transport.

use std::time::Duration;

use certus_node::Transport;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::soon;
use crate::world::{carried, echo, pair, ping};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_listener_lets_live_streams_finish() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (one, two) = pair(&authority, transport, echo().await).await;
        let mut live = carried(two.port()).await;
        let port = two.port();
        let ending = tokio::spawn(async move {
            one.carrier.shutdown_within(LONG).await;
            one
        });
        // Nobody new is served from some moment on; what lives is.
        let refused = async {
            loop {
                let mut tcp = TcpStream::connect(port).await.unwrap();
                if ping(&mut tcp).await.is_err() {
                    return;
                }
            }
        };
        soon("the first that is refused", refused).await;
        for _ in 0..3 {
            ping(&mut live).await.unwrap();
        }
        drop(live);
        soon(&format!("{transport}: the drain"), ending).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_waits_for_idle_connections() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (one, two) = pair(&authority, transport, echo().await).await;
        drop(carried(two.port()).await);
        // One that never said a word is no reason to wait either.
        let _silent = TcpStream::connect(one.port()).await;
        soon(&format!("{transport}: the listener's end"), one.carrier.shutdown_within(LONG)).await;
        soon(&format!("{transport}: the dialler's end"), two.carrier.shutdown_within(LONG)).await;
    }
}

#[tokio::test]
async fn who_stays_beyond_the_time_sees_an_end() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        for ends in ["listener", "dialler"] {
            let what = format!("{transport}, {ends}");
            let (one, two) = pair(&authority, transport, echo().await).await;
            let mut stays = carried(two.port()).await;
            let end = if ends == "listener" { &one } else { &two };
            soon(&what, end.carrier.shutdown_within(Duration::ZERO)).await;
            let mut rest = Vec::new();
            let read = soon(&what, stays.read_to_end(&mut rest)).await;
            assert!(read.is_ok() && rest.is_empty(), "{what}: {read:?}");
            one.live_is(&what, 0).await;
        }
    }
}

#[tokio::test]
async fn a_dialler_finishes_what_it_carries() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (_one, two) = pair(&authority, transport, echo().await).await;
        let mut live = carried(two.port()).await;
        let port = two.port();
        let ending = tokio::spawn(async move { two.carrier.shutdown_within(LONG).await });
        crate::until("its port is closed", || std::net::TcpStream::connect(port).is_err()).await;
        ping(&mut live).await.unwrap();
        drop(live);
        soon(&format!("{transport}: the drain"), ending).await.unwrap();
    }
}
