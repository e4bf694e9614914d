//! The primitives against the vectors of their RFCs, and the whole pattern against a published
//! conversation.

use snow::Builder;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

fn curve(secret: &str) -> Curve25519 {
    let mut curve = Curve25519::default();
    curve.set(&hex(secret));
    curve
}

fn agreed(mine: &Curve25519, theirs: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = [0; 56];
    mine.dh(theirs, &mut out).map(|()| out[..32].to_vec())
}

#[test]
fn x25519_is_that_of_rfc_7748() {
    // 5.2, the first.
    let mine = curve("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let theirs = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let shared = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    assert_eq!(agreed(&mine, &theirs), Ok(shared));
    // 6.1.
    let alice = curve("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = curve("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    assert_eq!(alice.pubkey(), hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(bob.pubkey(), hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(agreed(&alice, bob.pubkey()), Ok(shared.clone()));
    assert_eq!(agreed(&bob, alice.pubkey()), Ok(shared));
}

#[test]
fn public_keys_of_low_order_are_refused() {
    let mine = curve("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        assert_eq!(agreed(&mine, &hex(point)), Err(Error::Dh), "{point}");
    }
}

#[test]
fn a_secret_of_the_wrong_length_agrees_with_nobody() {
    let (mut short, other) = (Curve25519::default(), curve(&"07".repeat(32)));
    short.set(&[7; 31]);
    assert_eq!(agreed(&other, short.pubkey()), Err(Error::Dh));
    assert_eq!(agreed(&other, &[7; 31]), Err(Error::Dh));
}

#[test]
fn chacha20_poly1305_is_that_of_rfc_8439_a_5() {
    let mut cipher = ChaChaPoly::default();
    let key = hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
    cipher.set(&key.try_into().unwrap());
    // Its nonce is 00000000 0102030405060708: Noise's layout.
    let counter = 0x0807_0605_0403_0201;
    let aad = hex("f33388860000000000004e91");
    let plain = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, \
                 replaced, or obsoleted by other documents at any time. It is inappropriate to use \
                 Internet-Drafts as reference material or to cite them other than as /\u{201c}work in \
                 progress./\u{201d}";
    let sealed = hex("64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43ee\
         a09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b9481\
         14ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0\
         f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e\
         af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa7699\
         1955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130\
         305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f\
         38");
    let mut out = vec![0; sealed.len()];
    assert_eq!(cipher.encrypt(counter, &aad, plain.as_bytes(), &mut out), sealed.len());
    assert_eq!(out, sealed);
    let mut opened = vec![0; plain.len()];
    assert_eq!(cipher.decrypt(counter, &aad, &sealed, &mut opened), Ok(plain.len()));
    assert_eq!(opened, plain.as_bytes());
    for (counter, aad) in [(counter + 1, &aad[..]), (counter, &aad[1..])] {
        assert_eq!(cipher.decrypt(counter, aad, &sealed, &mut opened), Err(Error::Decrypt));
    }
    assert_eq!(cipher.decrypt(counter, &aad, &sealed[..15], &mut opened), Err(Error::Decrypt));
    assert_eq!(cipher.decrypt(counter, &aad, &sealed, &mut opened[..9]), Err(Error::Decrypt));
}

#[test]
fn without_a_key_nothing_is_sealed_in_the_clear() {
    let mut out = [1; 20];
    assert_eq!(ChaChaPoly::default().encrypt(0, &[], b"word", &mut out), 20);
    assert_eq!(out, [0; 20]);
}

/// `Noise_IK_25519_ChaChaPoly_SHA256` of the vectors that cacophony published, which other
/// implementations test against: payload and message, from the initiator first and then in turns.
const CONVERSATION: &[(&str, &str)] = &[
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944718da798efbcd915\
         28520204f904b9bd6c7413dccdc214d951e15253e39987f18146e8cd0873654207148333479d4d16\
         c289f0294b29960a72f48e0b7bba2e89083169825e59642148d492020664ccf7",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088435361e70b2ed446e6\
         c9ec387d1d6b3b840f194e373979d241b203c4acafccf5",
    ),
    ("462e20412e20486179656b", "050e9f3c8fac16b68dbce8f8c4bfbf6617c897f9ada4aa29aa19c8"),
    ("4361726c204d656e676572", "344233a6cabb7141d80f3da2fedc311d9646bbb0f505afe403a667"),
    (
        "4a65616e2d426170746973746520536179",
        "62cdeeb172ad7ade7aa7d9e069da5790f12331bfa00177787a1d0810c67dc3b2b4",
    ),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "029bead1b40992327044d409d9a1f3ad8f36c3c452775d557e18bbeb2e8dfcead32d514024",
    ),
];

#[test]
fn the_pattern_is_that_of_the_published_vectors() {
    let params = || "Noise_IK_25519_ChaChaPoly_SHA256".parse().unwrap();
    let builder = || Builder::with_resolver(params(), Box::new(Resolver)).prologue(b"John Galt").unwrap();
    let [mine, mine_once, theirs, theirs_once, theirs_public] = [
        "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
        "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
        "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
        "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
        "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62",
    ]
    .map(hex);
    assert_eq!(public_of(&theirs).unwrap().as_bytes()[..], theirs_public);
    let initiator = builder().local_private_key(&mine).unwrap().remote_public_key(&theirs_public).unwrap();
    let mut initiator = initiator.fixed_ephemeral_key_for_testing_only(&mine_once).build_initiator().unwrap();
    let responder = builder().local_private_key(&theirs).unwrap();
    let mut responder =
        responder.fixed_ephemeral_key_for_testing_only(&theirs_once).build_responder().unwrap();

    let mut buffer = [0; 256];
    for (index, (payload, message)) in CONVERSATION[..2].iter().enumerate() {
        let (from, to) =
            if index == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
        let length = from.write_message(&hex(payload), &mut buffer).unwrap();
        assert_eq!(buffer[..length], hex(message));
        let length = to.read_message(&hex(message), &mut buffer).unwrap();
        assert_eq!(buffer[..length], hex(payload));
    }
    assert_eq!(
        initiator.get_handshake_hash(),
        hex("0b0f68fb0c27e03ce9b97565995ed4838cc0581b762ef72b062f6a546419fad7")
    );
    assert_eq!(responder.get_remote_static().map(<[u8]>::to_vec), {
        public_of(&mine).map(|public| public.as_bytes().to_vec())
    });
    let mut initiator = initiator.into_transport_mode().unwrap();
    let mut responder = responder.into_transport_mode().unwrap();
    for (index, (payload, message)) in CONVERSATION[2..].iter().enumerate() {
        let (from, to) =
            if index % 2 == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
        let length = from.write_message(&hex(payload), &mut buffer).unwrap();
        assert_eq!(buffer[..length], hex(message));
        let length = to.read_message(&hex(message), &mut buffer).unwrap();
        assert_eq!(buffer[..length], hex(payload));
    }
}
