//! First bytes of a connection: told apart at once, and none is lost.
#![no_main]

use std::time::Duration;

use certus_node::carry::sniff::{Begins, begins, sniff};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (begin, mut peeked) = sniff(bytes, Duration::from_secs(60)).await.expect("memory is read");
        let mut all = Vec::new();
        peeked.read_to_end(&mut all).await.expect("memory is read");
        assert_eq!(all, bytes);
        // More bytes never change what fewer have told.
        for length in 0..bytes.len().min(8) {
            assert!(begins(&bytes[..length]).is_none_or(|told| told == begin));
        }
        assert_ne!(begin, Begins::Silent);
    });
});
