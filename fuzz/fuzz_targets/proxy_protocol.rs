//! A header of the PROXY protocol: what is read can be written, and is read the same again.
#![no_main]

use certus_node::carry::proxy_protocol::{HEADER_BYTES_MAX, decode, read_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut from = bytes;
    if let Ok(header) = runtime.block_on(read_header(&mut from)) {
        let read = bytes.len() - from.len();
        assert!(read <= HEADER_BYTES_MAX);
        assert_eq!(decode(&bytes[..read]).expect("it was read"), header);
        let again = header.encode().expect("what was read fits");
        assert_eq!(decode(&again).expect("what is written can be read"), header);
    }
    let _ = decode(bytes);
});
