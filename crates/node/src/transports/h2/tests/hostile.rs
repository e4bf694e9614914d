//! What the accepting end does with what is not ours.

use super::*;
use crate::transports::tests::Dice;
use tokio::io::DuplexStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HEADERS of a CONNECT to `db`, by literals (RFC 7541 6.2.2).
fn connect_frame(stream: u32) -> Vec<u8> {
    frame(1, 0x4, stream, b"\x02\x07CONNECT\x01\x02db")
}

/// Sends `bytes` to an accepting end that accepts every stream, and says how the connection ended.
async fn fed(bytes: Vec<u8>) -> Result<(), H2Error> {
    let (near, far) = duplex(1 << 16);
    let (mut from, mut to) = tokio::io::split(near);
    tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
    tokio::spawn(async move {
        let _ = to.write_all(&bytes).await;
        let _ = to.shutdown().await;
    });
    soon(async {
        let mut server = accept(far, Limits::default()).await?;
        let mut streams = Vec::new();
        while let Some(incoming) = server.next().await {
            streams.extend(incoming?.accept());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let mut dice = Dice::new(5);
    assert!(fed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()).await.is_err());
    assert!(fed(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()).await.is_err());
    assert!(fed(Vec::new()).await.is_err());
    for _ in 0..50 {
        let noise: Vec<u8> = (0..dice.throw(500)).map(|_| dice.throw(256) as u8).collect();
        // Only that it ends matters: noise may happen to be nothing but unknown frames.
        let _ = fed([PREFACE, &frame(4, 0, 0, b""), &noise].concat()).await;
    }
    let broken = [PREFACE, &frame(4, 0, 0, b""), &frame(0, 0, 0, b"data of no stream")].concat();
    let error = fed(broken).await.unwrap_err();
    assert!(matches!(error, H2Error::Broken { .. }), "{error:?}");
    assert_eq!(error.explain().code, code::TRANSPORT_BROKEN);
}

#[tokio::test]
async fn every_truncation_of_a_good_start_ends() {
    let good = [PREFACE, &frame(4, 0, 0, b""), &connect_frame(1), &frame(0, 1, 1, b"hello")].concat();
    for length in 0..=good.len() {
        let _ = fed(good[..length].to_vec()).await;
    }
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_in_masses_cost_the_connection() {
    let mut bytes = [PREFACE, &frame(4, 0, 0, b"")].concat();
    for stream in (1..2_000).step_by(2) {
        bytes.extend(connect_frame(stream));
        bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let error = fed(bytes).await.unwrap_err();
    let H2Error::Broken { why } = &error else { panic!("{error:?}") };
    assert!(why.contains("excessive load"), "{why}");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_in_masses_cost_the_connection() {
    let mut bytes = [PREFACE, &frame(4, 0, 0, b"")].concat();
    for stream in (1..2_000).step_by(2) {
        bytes.extend(connect_frame(stream));
    }
    let error = fed(bytes).await.unwrap_err();
    assert!(matches!(error, H2Error::Broken { .. } | H2Error::Closed { .. }), "{error:?}");
}

/// A client that keeps no rules of ours.
async fn foreign() -> (::h2::client::SendRequest<Bytes>, mpsc::Receiver<Incoming>) {
    let (near, far): (DuplexStream, DuplexStream) = duplex(1 << 14);
    let (client, server) = tokio::join!(::h2::client::handshake(near), accept(far, Limits::default()));
    let (requests, connection) = client.unwrap();
    tokio::spawn(connection);
    let (asked, incoming) = mpsc::channel(8);
    let (orders, ordered) = mpsc::channel(1);
    tokio::spawn(async move {
        let _orders = orders;
        serve(server.unwrap(), asked, ordered).await
    });
    (requests.ready().await.unwrap(), incoming)
}

#[tokio::test]
async fn anything_but_connect_is_answered_in_words() {
    let (mut requests, _incoming) = foreign().await;
    for (request, status, says) in [
        (http::Request::get("https://db/path").body(()), 405, "only CONNECT"),
        (http::Request::post("https://db/").body(()), 405, "only CONNECT"),
        (http::Request::connect("db").header("certus-e2e", "2").body(()), 400, "absent or 1"),
    ] {
        let (answer, _send) = requests.send_request(request.unwrap(), false).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["certus-code"], "2213");
        let words = answer.headers()["certus-message"].to_str().unwrap();
        assert!(words.contains(says), "{words}");
    }
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let (mut requests, mut incoming) = foreign().await;
    let big = http::Request::connect("db").header("cookie", "x".repeat(20_000)).body(()).unwrap();
    let (answer, _send) = requests.send_request(big, false).unwrap();
    match soon(answer).await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    // The caller was never asked.
    assert!(incoming.try_recv().is_err());
}
