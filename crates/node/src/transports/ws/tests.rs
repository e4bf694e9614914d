//! WebSockets between two ends of ours, and with ends that do otherwise.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use certus_pki::code;
use certus_pki::explain::Explain;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use futures_util::{SinkExt, StreamExt};

use super::*;
use crate::transports::tests::{Dice, both_ways, half_close, soon, tcp};

const BOTH: &[Subprotocol] = &[Subprotocol::Plain, Subprotocol::EndToEnd];

async fn pair<IO>((near, far): (IO, IO)) -> (WsStream<IO>, WsStream<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ask = Ask::new("db.internal:443");
    let (dialed, accepted) = soon(async { tokio::join!(connect(near, &ask), accept(far, PATH, BOTH)) }).await;
    (dialed.unwrap(), accepted.unwrap().stream)
}

fn closing<IO>(mut stream: WsStream<IO>, code: u16, reason: String) -> JoinHandle<std::io::Result<()>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move { stream.close(code, &reason).await })
}

/// A stream of ours, and at its other end a program that sends what it likes.
async fn foreign() -> (WsStream<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(1 << 20);
    let theirs = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    (WsStream::new(far, Role::Server).await, theirs)
}

#[tokio::test]
async fn bytes_go_both_ways_through_tiny_pipes() {
    let (near, far) = pair(duplex(7)).await;
    both_ways(near, far, 100_000, 3_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_go_both_ways_over_tcp() {
    let (near, far) = pair(tcp().await).await;
    both_ways(near, far, 8 << 20, 200_000).await;
}

#[tokio::test]
async fn each_end_closes_its_half() {
    let (near, far) = pair(duplex(100)).await;
    half_close(near, far).await;
    let (near, far) = pair(tcp().await).await;
    half_close(far, near).await;
}

#[tokio::test]
async fn the_subprotocol_is_agreed() {
    for (e2e, agreed) in [(false, Subprotocol::Plain), (true, Subprotocol::EndToEnd)] {
        let (near, far) = duplex(1 << 10);
        let ask = Ask { e2e, ..Ask::new("db") };
        let (dialed, accepted) = tokio::join!(connect(near, &ask), accept(far, PATH, BOTH));
        let accepted = accepted.unwrap();
        assert_eq!(accepted.subprotocol, agreed);
        both_ways(dialed.unwrap(), accepted.stream, 1_000, 100).await;
    }
}

/// What the dialing end of ours hears, and what the accepting end reports.
async fn refused(ask: Ask, path: &str, speaks: &[Subprotocol]) -> (u16, String, WsError) {
    let (near, far) = duplex(1 << 10);
    let (dialed, accepted) = tokio::join!(connect(near, &ask), accept(far, path, speaks));
    let Some(WsError::Refused { status, words }) = dialed.err() else { panic!("not refused") };
    (status, words, accepted.err().unwrap())
}

#[tokio::test]
async fn another_path_or_subprotocol_is_refused_in_words() {
    let (status, words, error) = refused(Ask::new("db"), "/other", BOTH).await;
    assert_eq!((status, words.as_str()), (404, "there is nothing at /certus"));
    assert!(matches!(error, WsError::Answered { status: 404, .. }));
    let ask = Ask { e2e: true, ..Ask::new("db") };
    let (status, words, _) = refused(ask, PATH, &BOTH[..1]).await;
    assert_eq!(status, 400);
    assert_eq!(words, "subprotocols spoken here: certus.v1; asked for: certus-e2e.v1");
}

/// The answer to a request by somebody else.
async fn answered(request: &str) -> (String, WsError) {
    let (mut near, far) = duplex(1 << 16);
    let (answer, accepted) = soon(async {
        tokio::join!(
            async {
                near.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                near.read_to_string(&mut answer).await.unwrap();
                answer
            },
            accept(far, PATH, BOTH)
        )
    })
    .await;
    (answer, accepted.err().unwrap())
}

#[tokio::test]
async fn requests_that_open_no_websocket_are_answered_in_words() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    for (request, status) in [
        ("GET /certus HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426),
        ("POST /certus HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("GET /certus HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        (format!("GET /certus HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"), 400),
        (format!("GET /certus HTTP/1.1\r\n{upgrade}Sec-WebSocket-Key: short\r\n\r\n"), 400),
        (
            format!("GET /certus HTTP/1.1\r\n{upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
            400,
        ),
        ("\x16\x03\x01 nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /certus HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(20_000)), 431),
    ] {
        let (answer, error) = answered(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40} got {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        assert!(body.trim().len() > 10, "{answer}");
        assert_eq!(error.explain().code, code::TRANSPORT_BROKEN);
    }
}

#[tokio::test]
async fn answers_that_open_no_websocket_are_refused() {
    for (answer, says) in [
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "Upgrade: websocket"),
        ("HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", "Connection: Upgrade"),
        ("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "Sec-WebSocket-Accept"),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 20\r\n\r\nno way\x07out\nsecond line",
            "no way\u{fffd}out",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", ""),
        ("\x15\x03\x03\0\x02\x02\n\r\n\r\n", "HTTP"),
        ("SSH-2.0-OpenSSH\r\n", "0 bytes"),
    ] {
        let (near, mut far) = duplex(1 << 10);
        far.write_all(answer.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let error = soon(connect(near, &Ask::new("db"))).await.err().unwrap();
        match &error {
            WsError::Refused { words, .. } => assert_eq!(words, says),
            WsError::BadAnswer { why } => assert!(why.contains(says) || says == "HTTP", "{why}"),
            WsError::Io(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
            other => panic!("{other:?}"),
        }
    }
    for ask in [Ask::new("a b"), Ask { path: "certus".to_owned(), ..Ask::new("a") }] {
        let error = connect(duplex(9).0, &ask).await.err().unwrap();
        assert!(matches!(error, WsError::BadAsk { .. }), "{error:?}");
    }
    let bad = Ask { path: "/a b\r\nX: y".to_owned(), ..Ask::new("a") };
    assert!(matches!(connect(duplex(9).0, &bad).await.err(), Some(WsError::BadAsk { .. })));
}

#[tokio::test]
async fn text_is_refused_with_1003() {
    let (mut ours, mut theirs) = foreign().await;
    theirs.send(Message::Text("hello".into())).await.unwrap();
    let error = soon(ours.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "a text message of 5 bytes came where only binary messages are taken");
    assert_eq!(soon(ours.write(b"x")).await.unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(code_of(soon(theirs.next()).await), 1003);
}

fn code_of(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> u16 {
    match message {
        Some(Ok(Message::Close(Some(CloseFrame { code, .. })))) => code.into(),
        other => panic!("no close: {other:?}"),
    }
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_with_1009() {
    for many in [false, true] {
        let (mut ours, mut theirs) = foreign().await;
        if many {
            use tokio_tungstenite::tungstenite::protocol::frame::Frame;
            use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
            for opcode in [Data::Binary, Data::Continue] {
                let part = Frame::message(vec![7; 40_000], OpCode::Data(opcode), false);
                theirs.send(Message::Frame(part)).await.unwrap();
            }
        } else {
            theirs.send(Message::Binary(vec![7; MESSAGE_BYTES_MAX + 1].into())).await.unwrap();
        }
        let error = soon(ours.read(&mut [0; 9])).await.unwrap_err();
        let broken = error.get_ref().unwrap().downcast_ref::<Broken>().unwrap();
        assert!(matches!(broken, Broken::TooBig { limit: MESSAGE_BYTES_MAX, .. }), "{broken:?}");
        assert_eq!(code_of(soon(theirs.next()).await), 1009);
    }
}

#[tokio::test]
async fn messages_of_the_largest_size_and_fragments_are_taken() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let (mut ours, mut theirs) = foreign().await;
    theirs.send(Message::Binary(vec![7; MESSAGE_BYTES_MAX].into())).await.unwrap();
    let parts = [(Data::Binary, "ab", false), (Data::Continue, "", false), (Data::Continue, "cd", true)];
    for (opcode, text, last) in parts {
        let part = Frame::message(text.as_bytes().to_vec(), OpCode::Data(opcode), last);
        theirs.send(Message::Frame(part)).await.unwrap();
    }
    theirs.send(Message::Binary(Vec::new().into())).await.unwrap();
    let mut all = Vec::new();
    soon(ours.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), MESSAGE_BYTES_MAX + 4);
    assert!(all.ends_with(b"\x07abcd"));
}

#[tokio::test]
async fn data_after_the_end_is_refused_with_1002() {
    let (mut ours, mut theirs) = foreign().await;
    theirs.send(Message::Binary(Vec::new().into())).await.unwrap();
    theirs.send(Message::Binary(b"more".to_vec().into())).await.unwrap();
    assert_eq!(soon(ours.read(&mut [0; 9])).await.unwrap(), 0);
    let error = soon(ours.write(b"answer")).await.unwrap_err();
    assert_eq!(error.to_string(), "4 bytes came after the message that ends the data");
    assert_eq!(code_of(soon(theirs.next()).await), 1002);
    // What ended whole stays whole.
    assert_eq!(soon(ours.read(&mut [0; 9])).await.unwrap(), 0);
}

#[tokio::test]
async fn pings_are_answered_while_reading_and_while_only_writing() {
    let (mut ours, mut theirs) = foreign().await;
    theirs.send(Message::Ping(b"one".to_vec().into())).await.unwrap();
    theirs.send(Message::Binary(b"data".to_vec().into())).await.unwrap();
    let mut data = [0; 4];
    soon(ours.read_exact(&mut data)).await.unwrap();
    let pong = soon(theirs.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"one".to_vec().into()));

    theirs.send(Message::Binary(Vec::new().into())).await.unwrap();
    assert_eq!(soon(ours.read(&mut data)).await.unwrap(), 0);
    theirs.send(Message::Ping(b"two".to_vec().into())).await.unwrap();
    soon(ours.write_all(b"answer")).await.unwrap();
    soon(ours.flush()).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 2 {
        came.push(soon(theirs.next()).await.unwrap().unwrap());
    }
    assert!(came.contains(&Message::Pong(b"two".to_vec().into())), "{came:?}");
    assert!(came.contains(&Message::Binary(b"answer".to_vec().into())), "{came:?}");
}

#[tokio::test]
async fn a_close_is_seen_with_code_and_reason_at_the_other_end() {
    let (near, mut far) = pair(duplex(1 << 10)).await;
    let closing = closing(near, CLOSE_POLICY, "ü".repeat(100));
    let error = soon(far.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    let closed = WsClosed::of(&error).unwrap();
    assert_eq!((closed.code, closed.reason.as_str()), (1008, "ü".repeat(61).as_str()));
    assert_eq!(closed.explain().code, code::TRANSPORT_CLOSED);
    let error = soon(far.write(b"more")).await.unwrap_err();
    assert_eq!(WsClosed::of(&error).unwrap().code, 1008);
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_writer_hears_of_a_close_though_nobody_reads() {
    let (mut near, mut far) = pair(tcp().await).await;
    near.shutdown().await.unwrap();
    assert_eq!(soon(far.read(&mut [0; 9])).await.unwrap(), 0);
    let closing = closing(near, CLOSE_GOING_AWAY, "bye".to_owned());
    let error = soon(async {
        loop {
            if let Err(error) = far.write_all(b"more").await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(WsClosed::of(&error).unwrap(), &WsClosed { code: 1001, reason: "bye".to_owned() });
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn data_before_a_close_is_read_first() {
    let (mut near, mut far) = pair(duplex(1 << 10)).await;
    near.write_all(b"data").await.unwrap();
    let closing = closing(near, CLOSE_NORMAL, String::new());
    let mut all = String::new();
    soon(far.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "data");
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn when_both_ends_are_done_1000_is_sent() {
    let (mut ours, mut theirs) = foreign().await;
    soon(ours.shutdown()).await.unwrap();
    assert_eq!(soon(theirs.next()).await.unwrap().unwrap(), Message::Binary(Vec::new().into()));
    theirs.send(Message::Binary(Vec::new().into())).await.unwrap();
    assert_eq!(soon(ours.read(&mut [0; 9])).await.unwrap(), 0);
    assert_eq!(code_of(soon(theirs.next()).await), 1000);
    // Nothing is left to be said.
    soon(ours.shutdown()).await.unwrap();
}

#[tokio::test]
async fn an_end_that_nobody_confirmed_is_not_taken_for_one_that_arrived() {
    let (mut ours, mut theirs) = foreign().await;
    theirs.send(Message::Binary(Vec::new().into())).await.unwrap();
    assert_eq!(soon(ours.read(&mut [0; 9])).await.unwrap(), 0);
    drop(theirs);
    soon(ours.shutdown()).await.unwrap_err();

    // Closed by the other end before we were done.
    let (mut ours, mut theirs) = foreign().await;
    theirs.send(Message::Binary(Vec::new().into())).await.unwrap();
    theirs.close(Some(CloseFrame { code: 1000.into(), reason: "".into() })).await.unwrap();
    assert_eq!(soon(ours.read(&mut [0; 9])).await.unwrap(), 0);
    let error = soon(ours.shutdown()).await.unwrap_err();
    assert_eq!(WsClosed::of(&error).unwrap().code, 1000);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_end() {
    let (mut near, far) = pair(duplex(1 << 10)).await;
    drop(far);
    let error = soon(near.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let error = soon(near.write_all(b"more")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);

    // Within a frame.
    let (mut ours, theirs) = foreign().await;
    let mut raw = theirs.into_inner();
    raw.write_all(b"\x82\x85\0\0\0\0ab").await.unwrap();
    drop(raw);
    let error = soon(ours.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn an_unread_stream_stops_its_writer() {
    let (mut near, far) = pair(duplex(1 << 10)).await;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        while let Ok(some) = near.write(&[7; 50_000]).await {
            count.fetch_add(some, Ordering::Relaxed);
        }
    });
    // One thread runs all: after so many turns, whatever can go on has.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(written.load(Ordering::Relaxed), 50_000, "one message waits, no more");
    drop(far);
    soon(writing).await.unwrap();
}

#[tokio::test]
async fn garbage_and_unmasked_frames_end_with_an_error() {
    let mut dice = Dice::new(9);
    for round in 0..200 {
        let (mut ours, theirs) = foreign().await;
        let mut raw = theirs.into_inner();
        let noise: Vec<u8> = match round {
            0 => b"\x82\x02ab".to_vec(),
            1 => b"\xf2\x82\0\0\0\0ab".to_vec(),
            2 => b"\x88\x81\0\0\0\0a".to_vec(),
            3 => b"\x09\x80\0\0\0\0".to_vec(),
            4 => b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(),
            _ => (0..dice.throw(300)).map(|_| dice.throw(256) as u8).collect(),
        };
        raw.write_all(&noise).await.unwrap();
        drop(raw);
        let ended = soon(ours.read_to_end(&mut Vec::new())).await;
        assert!(round > 4 || ended.is_err_and(|error| error.kind() == ErrorKind::InvalidData), "{round}");
    }
}
