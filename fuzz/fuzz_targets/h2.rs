//! What a client sends to an accepting end of HTTP/2: anything, or frames after a good start.
#![no_main]

use std::io::Cursor;

use certus_node::transports::h2::{Limits, accept};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, join, sink};

/// The preface and empty settings (RFC 9113 3.4).
const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let Some((way, rest)) = bytes.split_first() else { return };
    let sent = if way & 1 == 0 { [START, rest].concat() } else { rest.to_vec() };
    runtime.block_on(async {
        let io = join(Cursor::new(sent), sink());
        let Ok(mut server) = accept(io, Limits::default()).await else { return };
        while let Some(Ok(incoming)) = server.next().await {
            if incoming.ask.e2e {
                incoming.refuse(http::StatusCode::NOT_FOUND, None, "no such service");
                continue;
            }
            let Ok(mut stream) = incoming.accept() else { continue };
            tokio::spawn(async move {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                let _ = stream.write_all(b"answer").await;
                let _ = stream.shutdown().await;
            });
        }
    });
});
