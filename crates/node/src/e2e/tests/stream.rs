//! Bytes through a session: all of them, in order, in little memory, and to a clean end.

use certus_pki::code;
use certus_pki::explain::Explain;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::net::{TcpListener, TcpStream};

use super::super::stream::PAYLOAD_BYTES_MAX;
use super::*;

/// The byte at a place of an endless text that repeats nowhere near.
fn byte(place: usize) -> u8 {
    (place ^ (place >> 8) ^ (place >> 16)) as u8
}

/// Writes `total` bytes in pieces of any size, flushing now and then, and ends.
async fn pour(mut to: impl AsyncWrite + Unpin, total: usize, mut numbers: Numbers) {
    let mut sent = 0;
    while sent < total {
        let most = [3, 300, 20_000, 150_000][numbers.below(4)];
        let some: Vec<u8> = (sent..total.min(sent + 1 + numbers.below(most))).map(byte).collect();
        sent += to.write(&some).await.unwrap();
        if numbers.below(3) == 0 {
            to.flush().await.unwrap();
        }
    }
    to.shutdown().await.unwrap();
}

/// Reads to the end in pieces of any size.
async fn drink(mut from: impl AsyncRead + Unpin, total: usize, mut numbers: Numbers) {
    let (mut got, mut buffer) = (0, vec![0; 80_000]);
    loop {
        let most = [1, 30, 5_000, 80_000][numbers.below(4)];
        let room = 1 + numbers.below(most);
        let count = from.read(&mut buffer[..room]).await.unwrap();
        if count == 0 {
            break;
        }
        assert!(buffer[..count].iter().enumerate().all(|(index, got_byte)| *got_byte == byte(got + index)));
        got += count;
    }
    assert_eq!(got, total);
}

async fn both_ways(capacity: usize, total: usize, seed: u64) {
    let (a, b) = duplex(capacity);
    let most = capacity.min(50_000);
    let (a, b) = session(Ragged::new(a, seed, most), Ragged::new(b, seed + 1, most)).await;
    let ((ra, wa), (rb, wb)) = (split(a), split(b));
    let numbers = |more| Numbers(seed * 1_000 + more);
    let all = async {
        tokio::join!(
            pour(wa, total, numbers(1)),
            drink(rb, total, numbers(2)),
            pour(wb, total / 2, numbers(3)),
            drink(ra, total / 2, numbers(4)),
        )
    };
    soon(all).await;
}

#[tokio::test]
async fn megabytes_go_both_ways_at_once_through_any_gap() {
    both_ways(1, 200_000, 11).await;
    both_ways(3, 500_000, 12).await;
    both_ways(17, 2_000_000, 13).await;
    both_ways(4_096, 4_000_000, 14).await;
    both_ways(200_000, 8_000_000, 15).await;
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    for dialler_first in [true, false] {
        let (a, b) = over(64).await;
        let (mut first, mut second) = if dialler_first { (a, b) } else { (b, a) };
        let asking = async {
            first.write_all(b"question").await.unwrap();
            first.shutdown().await.unwrap();
            let error = first.write(b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            let mut answer = Vec::new();
            first.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, [7; 100_000]);
            assert_eq!(first.read(&mut [0; 9]).await.unwrap(), 0);
        };
        let answering = async {
            let mut question = String::new();
            second.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            // Long after the other direction ended.
            for _ in 0..10 {
                second.write_all(&[7; 10_000]).await.unwrap();
            }
            second.shutdown().await.unwrap();
        };
        soon(async { tokio::join!(asking, answering) }).await;
    }
}

#[tokio::test]
async fn an_end_that_was_not_said_is_an_error_each_time() {
    let (mut a, b) = over(1 << 10).await;
    drop(b);
    for _ in 0..2 {
        let error = soon(a.read(&mut [0; 9])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let inside = E2eError::inside(&error).unwrap();
        assert!(matches!(inside, E2eError::CutOff));
        assert_eq!(inside.explain().code, code::E2E_FAILED);
    }
}

#[tokio::test]
async fn an_empty_write_ends_nothing() {
    let (mut a, mut b) = over(1 << 10).await;
    assert_eq!(a.write(&[]).await.unwrap(), 0);
    a.write_all(b"still here").await.unwrap();
    assert_eq!(a.write(&[]).await.unwrap(), 0);
    a.shutdown().await.unwrap();
    let mut heard = String::new();
    soon(b.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "still here");
    assert_eq!(b.read(&mut []).await.unwrap(), 0);
}

#[tokio::test]
async fn a_record_is_full_and_a_quiet_stream_keeps_little() {
    let (mut a, mut b) = over(1 << 20).await;
    let bulk = vec![5; 3 * PAYLOAD_BYTES_MAX];
    assert_eq!(a.write(&bulk).await.unwrap(), PAYLOAD_BYTES_MAX);
    a.write_all(&bulk).await.unwrap();
    assert!(a.allocated() <= 2 + 65_535);
    a.flush().await.unwrap();
    let mut heard = vec![0; 100];
    for _ in 0..4 * PAYLOAD_BYTES_MAX / 100 {
        soon(b.read_exact(&mut heard)).await.unwrap();
        assert!(b.allocated() <= 2 * (2 + 65_535));
    }
    let rest = 4 * PAYLOAD_BYTES_MAX % 100;
    soon(b.read_exact(&mut heard[..rest])).await.unwrap();
    // Now it waits.
    let waiting = tokio::time::timeout(Duration::ZERO, b.read(&mut heard));
    assert!(waiting.await.is_err());
    assert!(a.allocated() + b.allocated() <= 2 * (4 << 10), "{} {}", a.allocated(), b.allocated());
}

#[tokio::test]
async fn nothing_waits_for_ever_on_a_stream_below_that_does_not_end() {
    let (a, b) = duplex(1 << 10);
    let mute = |io, seed| Ragged { carries_ends: false, ..Ragged::new(io, seed, 100) };
    let (mut a, mut b) = session(mute(a, 3), mute(b, 4)).await;
    let (one, other) = soon(async {
        tokio::join!(
            async {
                a.shutdown().await.unwrap();
                a.read(&mut [0; 9]).await.unwrap()
            },
            async {
                let count = b.read(&mut [0; 9]).await.unwrap();
                b.shutdown().await.unwrap();
                count
            }
        )
    })
    .await;
    assert_eq!((one, other), (0, 0));
}

#[tokio::test]
async fn over_a_socket_the_last_bytes_arrive_though_both_ends_close() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..20 {
        let (a, b) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (a, b) = session(a.unwrap(), b.unwrap().0).await;
        let end = |mut stream: E2eStream<TcpStream>| async move {
            let mut heard = Vec::new();
            let (mut reader, mut writer) = split(&mut stream);
            let said = async {
                writer.write_all(&[9; 300_000]).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let (read, ()) = tokio::join!(reader.read_to_end(&mut heard), said);
            read.unwrap()
        };
        let (one, other) = soon(async { tokio::join!(end(a), end(b)) }).await;
        assert_eq!((one, other), (300_000, 300_000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read(
        words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..20),
        capacity in 1usize..300,
        room in 1usize..300,
        seed in 1u64..,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let heard = runtime.block_on(async {
            let (a, b) = duplex(capacity);
            let (mut a, mut b) = session(Ragged::new(a, seed, 50), Ragged::new(b, seed, 50)).await;
            let saying = async {
                for word in &words {
                    a.write_all(word).await.unwrap();
                }
                a.shutdown().await.unwrap();
            };
            let hearing = async {
                let (mut heard, mut some) = (Vec::new(), vec![0; room]);
                while let count @ 1.. = b.read(&mut some).await.unwrap() {
                    heard.extend_from_slice(&some[..count]);
                }
                heard
            };
            soon(async { tokio::join!(saying, hearing) }).await.1
        });
        prop_assert_eq!(heard, words.concat());
    }
}
