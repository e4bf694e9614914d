//! Streams between two ends of ours.

mod hostile;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use certus_pki::Code;
use certus_pki::code;
use certus_pki::explain::Explain;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::transports::tests::{both_ways, half_close, soon, tcp};

/// What the accepting end is told to do.
enum Order {
    Graceful,
    Abrupt(Reason),
}

/// Both ends of a connection, moved by tasks.
struct Pair {
    client: H2Client,
    driver: JoinHandle<Result<(), H2Error>>,
    incoming: mpsc::Receiver<Incoming>,
    orders: mpsc::Sender<Order>,
    server: JoinHandle<Result<(), H2Error>>,
}

async fn pair<IO>((near, far): (IO, IO), limits: Limits) -> Pair
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // Moved from the start: the first frames of either end may be more than the pipe holds.
    let (dialed, accepted) = soon(async {
        tokio::join!(
            async {
                let (client, driver) = connect(near, limits).await.unwrap();
                (client, tokio::spawn(driver))
            },
            accept(far, limits)
        )
    })
    .await;
    let ((client, driver), server) = (dialed, accepted.unwrap());
    let (asked, incoming) = mpsc::channel(200);
    let (orders, ordered) = mpsc::channel(1);
    let server = tokio::spawn(serve(server, asked, ordered));
    Pair { client, driver, incoming, orders, server }
}

async fn serve<IO>(
    mut server: H2Server<IO>,
    asked: mpsc::Sender<Incoming>,
    mut ordered: mpsc::Receiver<Order>,
) -> Result<(), H2Error>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            next = server.next() => match next {
                Some(Ok(incoming)) => drop(asked.send(incoming).await),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            Some(order) = ordered.recv() => match order {
                Order::Graceful => server.graceful_shutdown(),
                Order::Abrupt(reason) => server.abrupt(reason),
            },
        }
    }
}

impl Pair {
    async fn small() -> Pair {
        pair(duplex(1 << 10), Limits::default()).await
    }

    /// Both ends of a new stream.
    async fn stream(&mut self) -> (H2Stream, H2Stream) {
        let ask = Ask::new("db");
        let (near, far) = soon(async {
            tokio::join!(self.client.open(&ask), async {
                self.incoming.recv().await.unwrap().accept().unwrap()
            })
        })
        .await;
        (near.unwrap(), far)
    }
}

#[tokio::test]
async fn bytes_go_both_ways_through_tiny_pipes() {
    // Both ends write before they read, the preface and the settings; the pipe holds hardly more.
    let mut pair = pair(duplex(64), Limits::default()).await;
    let (near, far) = pair.stream().await;
    both_ways(near, far, 100_000, 3_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_go_both_ways_on_many_streams_over_tcp() {
    let mut pair = pair(tcp().await, Limits::default()).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let (near, far) = pair.stream().await;
        streams.push(tokio::spawn(both_ways(near, far, 3 << 20, 200_000)));
    }
    for stream in streams {
        stream.await.unwrap();
    }
}

#[tokio::test]
async fn each_end_closes_its_half() {
    let mut pair = Pair::small().await;
    let (near, far) = pair.stream().await;
    half_close(near, far).await;
    let (near, far) = pair.stream().await;
    half_close(far, near).await;
    drop(pair.client);
    // The last means to open streams is gone: the connection ends by itself.
    assert_eq!(soon(pair.driver).await.unwrap(), Ok(()));
    assert_eq!(soon(pair.server).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn what_is_asked_for_arrives() {
    let mut pair = Pair::small().await;
    for e2e in [false, true] {
        let ask = Ask { authority: "db.internal:5432".to_owned(), e2e };
        let (opened, asked) = tokio::join!(pair.client.open(&ask), async {
            let incoming = pair.incoming.recv().await.unwrap();
            let asked = incoming.ask.clone();
            (incoming.accept().unwrap(), asked)
        });
        assert_eq!(asked.1, ask);
        opened.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_streams_and_the_next_one_waits() {
    let mut pair = pair(duplex(1 << 14), Limits::default()).await;
    soon(pair.client.ready()).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(pair.stream().await);
    }
    assert_eq!(pair.client.streams(), 100);
    assert!(!pair.client.has_room());
    let client = pair.client.clone();
    let waiting = tokio::spawn(async move { client.open(&Ask::new("db")).await });
    // All of them work at once.
    let mut working = Vec::new();
    for (near, far) in streams {
        working.push(tokio::spawn(both_ways(near, far, 20_000, 5_000)));
    }
    for work in working {
        work.await.unwrap();
    }
    // They have ended, and the one that waited is asked for now.
    let far = soon(pair.incoming.recv()).await.unwrap().accept().unwrap();
    let near = soon(waiting).await.unwrap().unwrap();
    assert_eq!(pair.client.streams(), 1);
    both_ways(near, far, 20_000, 5_000).await;
}

#[tokio::test]
async fn a_stream_dropped_before_its_end_is_reset() {
    let mut pair = Pair::small().await;
    let (mut near, far) = pair.stream().await;
    drop(far);
    let error = soon(near.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = soon(near.write_all(b"more")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");

    let (near, mut far) = pair.stream().await;
    near.reset(Reason::INTERNAL_ERROR);
    let error = soon(far.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("unexpected internal error"), "{error}");
    // The connection lives.
    let (near, far) = pair.stream().await;
    both_ways(near, far, 1_000, 100).await;
}

#[tokio::test]
async fn a_writer_that_waits_hears_of_a_reset() {
    let mut pair = Pair::small().await;
    let (mut near, far) = pair.stream().await;
    let writing = tokio::spawn(async move { near.write_all(&vec![7; 4 << 20]).await });
    let mut far = far;
    far.read_exact(&mut [0; 10_000]).await.unwrap();
    drop(far);
    let error = soon(writing).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn whoever_has_said_all_may_leave() {
    let mut pair = Pair::small().await;
    let (mut near, mut far) = pair.stream().await;
    far.write_all(b"all").await.unwrap();
    far.shutdown().await.unwrap();
    drop(far);
    let mut all = String::new();
    soon(near.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "all");
    let error = loop {
        if let Err(error) = soon(near.write_all(b"more")).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_refusal_arrives_with_code_and_words() {
    let mut pair = Pair::small().await;
    let ask = Ask::new("secrets");
    let (opened, ()) = tokio::join!(pair.client.open(&ask), async {
        let incoming = pair.incoming.recv().await.unwrap();
        incoming.refuse(StatusCode::FORBIDDEN, Some(code::NOT_ALLOWED), "größer ist\nnicht erlaubt: 100 %");
    });
    let error = opened.err().unwrap();
    let OpenError::Refused { status, code, words } = &error else { panic!("{error:?}") };
    assert_eq!((*status, *code), (403, Some(Code::from_number(1108))));
    assert_eq!(words.as_deref(), Some("größer ist\u{fffd}nicht erlaubt: 100 %"));
    assert_eq!(error.explain().code, code::NOT_ALLOWED);

    let (opened, ()) = tokio::join!(pair.client.open(&ask), async {
        // A refusal is never a success, and its words are bounded.
        let incoming = pair.incoming.recv().await.unwrap();
        incoming.refuse(StatusCode::OK, None, &"x".repeat(100_000));
    });
    let Err(OpenError::Refused { status: 500, code: None, words: Some(words) }) = opened else {
        panic!("not refused")
    };
    assert_eq!(words.len(), 512);

    let (opened, ()) = tokio::join!(pair.client.open(&ask), async {
        drop(pair.incoming.recv().await.unwrap());
    });
    assert!(matches!(opened, Err(OpenError::Reset { is_unprocessed: false, .. })));
}

#[tokio::test]
async fn a_question_taken_back_is_not_served() {
    let mut pair = Pair::small().await;
    let ask = Ask::new("db");
    let incoming = tokio::select! {
        _ = pair.client.open(&ask) => panic!("nobody has accepted"),
        incoming = pair.incoming.recv() => incoming.unwrap(),
    };
    // The other end has dropped its question.
    let gone = async {
        match incoming.accept() {
            Ok(mut stream) => stream.read(&mut [0; 9]).await.is_err(),
            Err(_) => true,
        }
    };
    assert!(soon(gone).await);
    assert_eq!(pair.client.streams(), 0);
}

#[tokio::test]
async fn goaway_lets_live_streams_end_and_takes_no_new_ones() {
    let mut pair = Pair::small().await;
    let (near, far) = pair.stream().await;
    pair.orders.send(Order::Graceful).await.unwrap();
    let error = loop {
        match pair.client.ready().await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, OpenError::Closed { is_goaway: true, .. }), "{error:?}");
    let error = soon(pair.client.open(&Ask::new("db"))).await.err().unwrap();
    assert!(matches!(error, OpenError::Closed { is_goaway: true, .. }), "{error:?}");
    // The stream that lives is carried to its end.
    both_ways(near, far, 200_000, 3_000).await;
    assert_eq!(soon(pair.server).await.unwrap(), Ok(()));
    soon(pair.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_abrupt_end_reaches_every_stream_with_its_reason() {
    let mut pair = Pair::small().await;
    let (mut near, mut far) = pair.stream().await;
    pair.orders.send(Order::Abrupt(Reason::INADEQUATE_SECURITY)).await.unwrap();
    let error = soon(near.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("security"), "{error}");
    assert!(soon(far.read(&mut [0; 9])).await.is_err());
    let error = soon(pair.client.open(&Ask::new("db"))).await.err().unwrap();
    assert!(matches!(error, OpenError::Closed { is_goaway: true, .. }), "{error:?}");
    assert!(soon(pair.driver).await.unwrap().is_err());
    soon(pair.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_end() {
    let mut pair = Pair::small().await;
    let (mut near, mut far) = pair.stream().await;
    pair.driver.abort();
    assert!(soon(far.read(&mut [0; 9])).await.is_err());
    assert!(soon(near.read(&mut [0; 9])).await.is_err());
    let error = soon(pair.client.open(&Ask::new("db"))).await.err().unwrap();
    assert!(matches!(error, OpenError::Closed { is_goaway: false, .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_reader_stops_its_own_writer_only() {
    let mut pair = Pair::small().await;
    let (mut near, mut slow) = pair.stream().await;
    // Nobody reads at the other end: writing stops when the window and our own buffer are full.
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        while let Ok(some) = near.write(&[7; 10_000]).await {
            count.fetch_add(some, Ordering::Relaxed);
            if count.load(Ordering::Relaxed) > 3 << 20 {
                break;
            }
        }
        near.shutdown().await.map(|()| near)
    });
    soon(async {
        while written.load(Ordering::Relaxed) < STREAM_WINDOW as usize {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Another stream is not held up.
    let (other, far) = pair.stream().await;
    both_ways(other, far, 2 << 20, 50_000).await;
    let most = STREAM_WINDOW as usize + SEND_BUFFER + 10_000;
    assert!(written.load(Ordering::Relaxed) <= most, "{written:?} of {most}");
    // Once somebody reads, the rest arrives.
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        slow.read_to_end(&mut all).await.map(|_| all.len())
    });
    // Kept until the other end has read: a stream that is dropped is reset.
    let _near = soon(writing).await.unwrap().unwrap();
    assert_eq!(soon(reading).await.unwrap().unwrap(), written.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_dead_peer_is_noticed_at_both_ends() {
    let mut limits = Limits::default();
    (limits.keep_alive, limits.keep_alive_answer) = (Duration::from_millis(20), Duration::from_millis(20));
    let (near, _silent) = duplex(1 << 16);
    let (_client, driver) = connect(near, limits).await.unwrap();
    assert_eq!(soon(driver).await, Err(H2Error::Silent { limit: limits.keep_alive_answer }));

    let (near, far) = duplex(1 << 16);
    let (client, server) = tokio::join!(connect(near, Limits::default()), accept(far, limits));
    // The client's connection is never moved on.
    let _client = client.unwrap();
    let dead = soon(server.unwrap().next()).await.unwrap().err().unwrap();
    assert_eq!(dead, H2Error::Silent { limit: limits.keep_alive_answer });
    assert_eq!(dead.explain().code, code::TRANSPORT_SILENT);
}

#[tokio::test]
async fn a_peer_that_answers_pings_lives() {
    let limits = Limits { keep_alive: Duration::from_millis(5), ..Limits::default() };
    let mut pair = pair(duplex(1 << 10), limits).await;
    let (near, far) = pair.stream().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    both_ways(near, far, 1_000, 100).await;
    assert!(!pair.driver.is_finished() && !pair.server.is_finished());
}
