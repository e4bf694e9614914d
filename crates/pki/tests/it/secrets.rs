//! I7: what is secret cannot be printed, and errors do not repeat it.

use certus_pki::key::BadKey;
use certus_pki::{Explain, JoinToken, KeyType, PrivateKey, Sha256, pem};

/// Compiles only while none of these types can be printed.
#[test]
fn i7_keys_tokens_and_blocks_cannot_be_printed() {
    trait Printable<Marker> {
        fn is() {}
    }
    struct ByDebug;
    struct ByDisplay;
    impl<T: ?Sized> Printable<()> for T {}
    impl<T: ?Sized + std::fmt::Debug> Printable<ByDebug> for T {}
    impl<T: ?Sized + std::fmt::Display> Printable<ByDisplay> for T {}
    // With a second implementation the marker could not be inferred.
    <PrivateKey as Printable<_>>::is();
    <JoinToken as Printable<_>>::is();
    <pem::Block as Printable<_>>::is();
}

#[test]
fn i7_errors_do_not_repeat_the_secret() {
    let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
    let text = key.to_pem().unwrap();
    let secret = text.lines().nth(1).unwrap();
    let twice = format!("{}{}", *text, *text);
    let cut = text.replace("-----END PRIVATE KEY-----", "");
    let renamed = text.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let damaged = text.replacen(&secret[..8], "????????", 1);
    for bad in [twice, cut, renamed, damaged, text.replace('M', "N")] {
        let Err(error) = PrivateKey::from_pem(&bad) else { panic!("it is read") };
        let said = format!("{error:?} {error} {}", error.explain());
        assert!(
            secret.as_bytes().windows(12).all(|w| !said.contains(std::str::from_utf8(w).unwrap())),
            "{said}"
        );
    }
    let token = JoinToken::new([0xc7; 16], &Sha256::of(b"root")).reveal();
    for bad in [format!("{}x", *token), format!("{}{}", *token, *token), token[1..].to_owned()] {
        let Err(error) = bad.parse::<JoinToken>() else { panic!("it is read") };
        assert!(!format!("{error:?} {error}").contains("c7c7"));
    }
    assert!(matches!(PrivateKey::from_pem(""), Err(BadKey::NotOne { came: 0 })));
}
