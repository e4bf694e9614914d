//! Proxies that say yes, no, and nonsense.

use super::*;
use tokio::io::{AsyncReadExt, duplex};

/// What the proxy was asked, what came of it, and what could be read afterwards.
async fn through(answer: &[u8], url: &str) -> (String, Result<(), HttpProxyError>, Vec<u8>) {
    let (mut near, mut far) = duplex(64 << 10);
    far.write_all(answer).await.unwrap();
    let proxy = Proxy::parse(url).unwrap();
    let (outcome, asked) = tokio::join!(
        async {
            let outcome = connect_through(&mut near, "db.internal:443", proxy.credentials.as_ref()).await;
            near.shutdown().await.unwrap();
            outcome
        },
        async {
            let mut asked = String::new();
            // Ends the answer for those that are too short.
            far.shutdown().await.unwrap();
            far.read_to_string(&mut asked).await.unwrap();
            asked
        }
    );
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    (asked, outcome, rest)
}

#[tokio::test]
async fn the_byte_after_the_answer_belongs_to_the_target() {
    for answer in [
        "HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 204\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n\n",
    ] {
        let bytes = [answer.as_bytes(), b"\x16\x03\x01 rest"].concat();
        let (asked, outcome, rest) = through(&bytes, "http://proxy:3128").await;
        outcome.unwrap();
        assert_eq!(rest, b"\x16\x03\x01 rest");
        assert_eq!(asked, "CONNECT db.internal:443 HTTP/1.1\r\nHost: db.internal:443\r\n\r\n");
    }
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let url = "http://us%65r:pa%3Ass@proxy:3128";
    let (asked, outcome, _) = through(b"HTTP/1.1 200 OK\r\n\r\n", url).await;
    outcome.unwrap();
    assert!(asked.contains("\r\nProxy-Authorization: Basic dXNlcjpwYTpzcw==\r\n"), "{asked}");
    let shown = format!("{:?}", Proxy::parse(url).unwrap());
    assert!(!shown.contains("pa") && !shown.contains("user"), "{shown}");
}

#[tokio::test]
async fn refusals_arrive_in_words() {
    let (_, outcome, _) = through(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "http://p").await;
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "the proxy answered 407 Proxy Authentication Required");
    let why = error.explain();
    assert_eq!(why.code, code::HTTP_PROXY);
    assert!(why.hint.unwrap().contains("credentials"));
    let (_, outcome, _) = through(b"HTTP/1.1 403 no\x1b[31m\r\n\r\n", "http://p").await;
    assert_eq!(outcome.unwrap_err().to_string(), "the proxy answered 403 no\u{fffd}[31m");
}

#[tokio::test]
async fn nonsense_is_refused_and_bounded() {
    let never = vec![b'x'; 20_000];
    let long = [b"HTTP/1.1 200 OK\r\n", &never[..]].concat();
    assert!(matches!(through(&long, "http://p").await.1, Err(HttpProxyError::HeadTooLong { .. })));
    let short = through(b"HTTP/1.1 200 OK\r\n", "http://p").await.1;
    assert!(matches!(short, Err(HttpProxyError::Ended { count: 17 })));
    for line in ["SSH-2.0-x", "HTTP/2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000", "HTTP/1.1 099 x", ""] {
        let answer = format!("{line}\r\nA: b\r\n\r\n");
        let outcome = through(answer.as_bytes(), "http://p").await.1;
        assert!(matches!(outcome, Err(HttpProxyError::NotHttp { .. })), "{line}: {outcome:?}");
    }
    for target in ["db", "db:", "user@db:1", "db:1\r\nA: b", ""] {
        let outcome = connect_through(&mut duplex(9).0, target, None).await;
        assert!(matches!(outcome, Err(HttpProxyError::BadTarget { .. })), "{target}");
    }
}

#[test]
fn urls_are_read() {
    for (url, address, with) in [
        ("http://proxy", "proxy:80", false),
        ("HTTP://proxy:3128/", "proxy:3128", false),
        ("http://[::1]:8080", "[::1]:8080", false),
        ("http://user@10.0.0.1:1", "10.0.0.1:1", true),
        ("http://user:a@b@proxy", "proxy:80", true),
    ] {
        let proxy = Proxy::parse(url).unwrap();
        assert_eq!((proxy.address.as_str(), proxy.credentials.is_some()), (address, with), "{url}");
    }
    for (url, error) in [
        ("proxy:3128", ProxyUrlError::NoScheme),
        ("socks5://proxy", ProxyUrlError::Scheme { scheme: "socks5".to_owned() }),
        ("http://", ProxyUrlError::Place),
        ("http://proxy:port", ProxyUrlError::Place),
        ("http://proxy:", ProxyUrlError::Place),
        ("http://proxy:70000", ProxyUrlError::Place),
        ("http://proxy/path", ProxyUrlError::Place),
        ("http://a%3ab:c@proxy", ProxyUrlError::Credentials),
        ("http://%ff@proxy", ProxyUrlError::Credentials),
    ] {
        assert_eq!(Proxy::parse(url).err(), Some(error), "{url}");
    }
}

#[test]
fn base64_is_that_of_rfc_4648() {
    let pairs = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
    ];
    for (bytes, text) in pairs {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}
