//! Somebody between the two ends who flips every bit and cuts at every byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, duplex, split};

use super::*;

#[derive(Clone, Copy)]
enum Harm {
    None,
    Flip { at: usize, bit: u8 },
    Cut { at: usize },
}

/// One direction, harmed; says how many bytes were to go through.
async fn relay(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, harm: Harm) -> usize {
    let (mut seen, mut chunk, mut open) = (0, [0; 64], true);
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let mut some = &mut chunk[..count];
        match harm {
            Harm::Flip { at, bit } if (seen..seen + count).contains(&at) => some[at - seen] ^= 1 << bit,
            Harm::Cut { at } if at < seen + count => some = &mut some[..at.saturating_sub(seen)],
            _ => {}
        }
        open = open && to.write_all(some).await.is_ok();
        seen += count;
        if matches!(harm, Harm::Cut { at } if at <= seen) {
            let _ = to.shutdown().await;
            open = false;
        }
    }
    let _ = to.shutdown().await;
    seen
}

/// What an end read, and how its part ended.
type Told = (Vec<u8>, Result<(), ()>);

/// Says its words, ends its direction, and hears the other's.
async fn talk(outcome: Result<E2eStream<DuplexStream>, E2eError>, words: &[&[u8]]) -> Told {
    let mut heard = Vec::new();
    let Ok(stream) = outcome else { return (heard, Err(())) };
    let (mut reader, mut writer) = split(stream);
    let hearing = reader.read_to_end(&mut heard);
    let saying = async {
        for word in words {
            if writer.write_all(word).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let (ended, ()) = tokio::join!(hearing, saying);
    (heard, ended.map(drop).map_err(drop))
}

const QUESTION: [&[u8]; 2] = [b"who", b"goes there"];
const ANSWER: [&[u8]; 3] = [b"f", b"rien", b"d"];

/// A whole conversation: what the dialler heard, what the other end heard, and the bytes towards it and
/// back.
async fn conversation(towards: Harm, back: Harm) -> ([Told; 2], [usize; 2]) {
    let ((a, near), (far, b)) = (duplex(1 << 10), duplex(1 << 10));
    let ((near_read, near_write), (far_read, far_write)) = (split(near), split(far));
    let (mine, theirs) = (key(), key());
    let dialling = async { talk(connect(a, &mine, theirs.id(), PLAIN).await, &QUESTION).await };
    let answering = async { talk(accept(b, &theirs, PLAIN, anyone).await, &ANSWER).await };
    let (towards, back) = (relay(near_read, far_write, towards), relay(far_read, near_write, back));
    let (one, other, towards, back) = soon(async { tokio::join!(dialling, answering, towards, back) }).await;
    ([one, other], [towards, back])
}

/// Framed: the handshake's messages, then records, the last of them the end.
const TOWARDS_BYTES: usize = 98 + 18 + (18 + 3) + (18 + 10) + 18;
const BACK_BYTES: usize = 52 + (18 + 1) + (18 + 4) + (18 + 1) + 18;

#[tokio::test]
async fn unharmed_it_goes_through() {
    let ([dialler, other], bytes) = conversation(Harm::None, Harm::None).await;
    assert_eq!(dialler, (ANSWER.concat(), Ok(())));
    assert_eq!(other, (QUESTION.concat(), Ok(())));
    assert_eq!(bytes, [TOWARDS_BYTES, BACK_BYTES]);
}

#[tokio::test]
async fn every_flipped_bit_is_noticed() {
    for at in 0..TOWARDS_BYTES.max(BACK_BYTES) {
        for bit in 0..8 {
            let flip = Harm::Flip { at, bit };
            if at < TOWARDS_BYTES {
                let ([_, (heard, ended)], _) = conversation(flip, Harm::None).await;
                assert!(ended.is_err() && QUESTION.concat().starts_with(&heard), "towards {at} {bit}");
            }
            if at < BACK_BYTES {
                let ([(heard, ended), _], _) = conversation(Harm::None, flip).await;
                assert!(ended.is_err() && ANSWER.concat().starts_with(&heard), "back {at} {bit}");
            }
        }
    }
}

#[tokio::test]
async fn every_cut_is_noticed_and_the_other_direction_goes_on() {
    for at in 0..TOWARDS_BYTES {
        let ([dialler, (heard, ended)], _) = conversation(Harm::Cut { at }, Harm::None).await;
        assert!(ended.is_err() && QUESTION.concat().starts_with(&heard), "towards {at}");
        if at >= 98 + 18 {
            assert_eq!(dialler, (ANSWER.concat(), Ok(())), "towards {at}");
        }
    }
    for at in 0..BACK_BYTES {
        let ([(heard, ended), other], _) = conversation(Harm::None, Harm::Cut { at }).await;
        assert!(ended.is_err() && ANSWER.concat().starts_with(&heard), "back {at}");
        if at >= 52 {
            assert_eq!(other, (QUESTION.concat(), Ok(())), "back {at}");
        }
    }
}
