//! What a client sends to an accepting WebSocket: its request, or its frames after a good one.
#![no_main]

use std::io::Cursor;

use certus_node::transports::ws::{PATH, Subprotocol, accept};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, join, sink};

const REQUEST: &[u8] = b"GET /certus HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: certus.v1\r\n\r\n";

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let Some((way, rest)) = bytes.split_first() else { return };
    let sent = if way & 1 == 0 { [REQUEST, rest].concat() } else { rest.to_vec() };
    runtime.block_on(async {
        let io = join(Cursor::new(sent), sink());
        let Ok(mut accepted) = accept(io, PATH, &[Subprotocol::Plain]).await else { return };
        if way & 2 == 0 {
            let _ = accepted.stream.shutdown().await;
        }
        let mut all = Vec::new();
        let _ = accepted.stream.read_to_end(&mut all).await;
        // Bytes come from the client and nowhere else.
        assert!(all.len() <= bytes.len());
        let _ = accepted.stream.write_all(b"answer").await;
        let _ = accepted.stream.shutdown().await;
    });
});
