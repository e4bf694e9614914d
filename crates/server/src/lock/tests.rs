//! A wrapped key opens with its passphrase and its own bytes, and with nothing else.

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned())
}

fn wrapped() -> (SealingKey, WrappedKey) {
    let key = SealingKey::generate().ok().unwrap();
    let cluster = "prod".parse().unwrap();
    let wrapped = WrappedKey::wrap(&key, &cluster, &passphrase("correct horse"), Work::LITTLE).unwrap();
    (key, wrapped)
}

#[test]
fn a_locked_key_opens_with_its_passphrase_only() {
    let (key, wrapped) = wrapped();
    let read = WrappedKey::from_bytes(&wrapped.to_bytes()).unwrap();
    assert_eq!(read, wrapped);
    assert!(read.open(&passphrase("correct horse")).ok().unwrap().reveal() == key.reveal());
    for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
        let error = read.open(&passphrase(wrong)).err().unwrap();
        assert_eq!(error, LockError::WrongKey { cluster: "prod".parse().unwrap() });
        assert_eq!(error.explain().code, code::WRONG_PASSPHRASE);
    }
    let bytes = wrapped.to_bytes();
    assert!(!bytes.windows(8).any(|window| window == &key.reveal()[..8]));
    let empty = WrappedKey::wrap(&key, &"prod".parse().unwrap(), &passphrase(""), Work::LITTLE);
    assert_eq!(empty.err(), Some(LockError::Empty));
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_locked_key_is_noticed() {
    let (_, wrapped) = wrapped();
    let bytes = wrapped.to_bytes();
    assert!(bytes.len() > SealingKey::BYTES, "it is told from a plain key by its length");
    let opens = |bytes: &[u8]| {
        WrappedKey::from_bytes(bytes).and_then(|read| read.open(&passphrase("correct horse"))).is_ok()
    };
    assert!(opens(&bytes));
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&altered), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(!opens(&bytes[..length]), "{length} bytes");
    }
    assert!(!opens(&[&bytes[..], &[0]].concat()));
}

#[test]
fn i6_a_head_cannot_ask_for_the_whole_machine() {
    let (_, wrapped) = wrapped();
    for work in [
        Work { memory_kib: u32::MAX, ..Work::USUAL },
        Work { passes: u32::MAX, ..Work::USUAL },
        Work { lanes: 1 << 20, ..Work::USUAL },
        Work { passes: 0, ..Work::USUAL },
    ] {
        let bytes = WrappedKey { work, ..wrapped.clone() }.to_bytes();
        assert_eq!(WrappedKey::from_bytes(&bytes), Err(LockError::Work { came: work }));
    }
}

/// What the first release wrote: work, salt and name in the head, then a sealed blob.
#[test]
fn a_key_that_the_first_release_locked_still_opens() {
    let text = include_str!("../../tests/golden/cluster-key.hex").trim();
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect();
    let read = WrappedKey::from_bytes(&bytes).unwrap();
    assert_eq!((read.cluster().as_str(), read.work), ("prod", Work::LITTLE));
    let key = read.open(&passphrase("correct horse")).ok().unwrap();
    assert!(key.reveal().iter().all(|byte| *byte == 7));
}

#[test]
fn i7_fresh_unlock_keys_are_of_256_bits_and_of_letters_and_digits() {
    let (one, two) = (fresh_unlock_key().ok().unwrap(), fresh_unlock_key().ok().unwrap());
    let digits = one.as_str().strip_prefix("CERTUSKEY-1-").unwrap();
    assert_eq!(digits.len(), 52);
    assert!(digits.bytes().all(|digit| BASE32.contains(&digit)));
    assert!(one.as_str() != two.as_str());
}
