//! Known bytes, every truncation, and what must be refused.

use super::*;
use certus_pki::code;
use certus_pki::explain::Explain;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn tcp(source: &str, destination: &str) -> Ends {
    Ends::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn bare(ends: Ends) -> Header {
    Header { ends, facts: Facts::default() }
}

fn full() -> Header {
    Header {
        ends: tcp("10.1.2.3:40000", "10.0.0.7:5432"),
        facts: Facts {
            authority: Some("db.internal".to_owned()),
            tls: Some(TlsFacts {
                certificate: true,
                certificate_in_session: true,
                verified: true,
                version: Some("TLSv1.3".to_owned()),
                common_name: Some("web-1".to_owned()),
            }),
            spiffe_id: Some("spiffe://prod/worker/web-1".to_owned()),
            key_fingerprint: Some("ab12".to_owned()),
        },
    }
}

#[test]
fn known_bytes_are_written_and_read() {
    let signature = "0d0a0d0a000d0a515549540a";
    let vectors = [
        (bare(Ends::Local), format!("{signature} 20 00 0000")),
        (bare(Ends::Unspecified), format!("{signature} 21 00 0000")),
        (
            bare(tcp("127.0.0.1:80", "10.0.0.2:443")),
            format!("{signature} 21 11 000c 7f000001 0a000002 0050 01bb"),
        ),
        (
            bare(tcp("[2001:db8::1]:1", "[::1]:65535")),
            format!(
                "{signature} 21 21 0024 20010db8000000000000000000000001 \
                 00000000000000000000000000000001 0001 ffff"
            ),
        ),
        (
            full(),
            format!(
                "{signature} 21 11 0058 0a010203 0a000007 9c40 1538 \
                 02 000b 64622e696e7465726e616c \
                 20 0017 07 00000000 21 0007 544c5376312e33 22 0005 7765622d31 \
                 e0 001a 7370696666653a2f2f70726f642f776f726b65722f7765622d31 \
                 e1 0004 61623132"
            ),
        ),
    ];
    for (header, bytes) in vectors {
        let bytes = hex(&bytes);
        assert_eq!(header.encode().unwrap(), bytes);
        assert_eq!(decode(&bytes).unwrap(), header);
    }
}

#[test]
fn unix_sockets_and_mixed_addresses() {
    let unix = bare(Ends::Unix { source: Vec::new(), destination: b"/run/db.sock".to_vec() });
    let bytes = unix.encode().unwrap();
    assert_eq!(bytes[12..16], [0x21, 0x31, 0x00, 0xd8]);
    assert_eq!(bytes.len(), 16 + 216);
    assert_eq!(decode(&bytes).unwrap(), unix);
    let long = bare(Ends::Unix { source: vec![b'a'; 109], destination: Vec::new() });
    assert!(matches!(long.encode(), Err(ProxyProtocolError::PathTooLong { came: 109 })));

    let mixed = bare(tcp("10.0.0.1:1", "[::1]:2")).encode().unwrap();
    assert_eq!(decode(&mixed).unwrap(), bare(tcp("[::ffff:10.0.0.1]:1", "[::1]:2")));
}

#[tokio::test]
async fn every_truncation_is_refused_and_every_byte_after_is_left() {
    let unix = bare(Ends::Unix { source: b"a".to_vec(), destination: b"b".to_vec() });
    for header in [full(), unix, bare(Ends::Local), bare(tcp("[::1]:1", "[::1]:2"))] {
        let bytes = header.encode().unwrap();
        for length in 0..bytes.len() {
            let mut cut = &bytes[..length];
            let error = read_header(&mut cut).await.unwrap_err();
            assert!(matches!(error, ProxyProtocolError::Io { came, .. } if came == length), "{error:?}");
            assert!(decode(&bytes[..length]).is_err());
        }
        let more = [&bytes[..], b"\r\n\r\n\0\r\nQUIT\nrest"].concat();
        let mut from = &more[..];
        assert_eq!(read_header(&mut from).await.unwrap(), header);
        assert_eq!(from, b"\r\n\r\n\0\r\nQUIT\nrest");
        assert!(decode(&more).is_err());
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_read_too() {
    use tokio::io::AsyncWriteExt;
    let (mut near, mut far) = tokio::io::duplex(1);
    let bytes = full().encode().unwrap();
    let writing = tokio::spawn(async move { near.write_all(&bytes).await });
    assert_eq!(read_header(&mut far).await.unwrap(), full());
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn something_else_is_refused_without_waiting_for_more() {
    use tokio::io::AsyncWriteExt;
    // The pipe stays open: an answer must come from what is there.
    let (mut near, mut far) = tokio::io::duplex(64);
    near.write_all(b"GET").await.unwrap();
    let error = read_header(&mut far).await.unwrap_err();
    assert!(matches!(&error, ProxyProtocolError::NoHeader { came } if came == b"GET"), "{error:?}");
    assert_eq!(error.explain().code, code::PROXY_PROTOCOL);
    for other in [&b"POST / HTTP/1.1\r\n"[..], b"PUT", b"\r\n\r\n\0\r\nQUIT\r", b"\x16\x03\x01", b"PROXX "] {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(other).await.unwrap();
        let error = read_header(&mut far).await.unwrap_err();
        assert!(matches!(error, ProxyProtocolError::NoHeader { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn version_1_is_refused_by_name() {
    use tokio::io::AsyncWriteExt;
    let (mut near, mut far) = tokio::io::duplex(2);
    let writing = tokio::spawn(async move { near.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n").await });
    let error = read_header(&mut far).await.unwrap_err();
    assert!(matches!(error, ProxyProtocolError::Version { came: 1 }), "{error:?}");
    assert!(error.explain().hint.unwrap().contains("send-proxy-v2"));
    drop(far);
    let _ = writing.await;
}

/// A header with these bytes after the signature, and the length that they take.
fn made(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn what_could_mislead_is_refused() {
    let value = |kind: u8, bytes: &[u8]| {
        let mut value = vec![kind];
        value.extend((bytes.len() as u16).to_be_bytes());
        value.extend(bytes);
        value
    };
    let with = |values: &[u8]| decode(&made(0x21, 0x11, &[&[7; 12], values].concat()));
    assert!(matches!(decode(&made(0x31, 0x11, &[7; 12])), Err(ProxyProtocolError::Version { came: 3 })));
    assert!(matches!(decode(&made(0x22, 0x11, &[7; 12])), Err(ProxyProtocolError::Command { came: 2 })));
    for family in (0..=255).filter(|family| ![0x00, 0x11, 0x21, 0x31].contains(family)) {
        let refused = decode(&made(0x21, family, &[0; 300]));
        assert!(matches!(refused, Err(ProxyProtocolError::Family { came }) if came == family));
    }
    assert!(matches!(decode(&made(0x21, 0x21, &[7; 35])), Err(ProxyProtocolError::Length { .. })));
    assert!(matches!(with(b"\x02\x00"), Err(ProxyProtocolError::Length { .. })));
    assert!(matches!(with(b"\x02\x00\x02a"), Err(ProxyProtocolError::Length { .. })));
    assert!(matches!(with(&value(0x20, &[1, 0, 0, 0])), Err(ProxyProtocolError::Length { .. })));
    assert!(matches!(with(&value(0x20, &[1, 0, 0, 0, 0, 0x21])), Err(ProxyProtocolError::Length { .. })));
    assert!(matches!(with(&value(0x02, b"a\nb")), Err(ProxyProtocolError::NotText { kind: 0x02 })));
    assert!(matches!(with(&value(0xe0, b"\xff")), Err(ProxyProtocolError::NotText { kind: 0xe0 })));
    let twice = [value(0xe1, b"a"), value(0xe1, b"a")].concat();
    assert!(matches!(with(&twice), Err(ProxyProtocolError::Twice { kind: 0xe1 })));
    // Unknown types are passed over; TLS without the bit that says so is none.
    let header =
        with(&[value(0x04, &[0; 9]), value(0xee, b"\xff\n"), value(0x20, &[0; 5])].concat()).unwrap();
    assert_eq!(header.facts, Facts::default());
    // What a LOCAL header says besides is not even looked at.
    assert_eq!(decode(&made(0x20, 0x55, b"\xff\xff")).unwrap(), bare(Ends::Local));
}

#[tokio::test]
async fn lengths_are_bounded_before_anything_is_read() {
    let mut bytes = made(0x21, 0x11, &[0; HEADER_BYTES_MAX - FIXED_BYTES]);
    assert!(decode(&bytes).is_ok());
    bytes = made(0x21, 0x11, &[0; HEADER_BYTES_MAX - FIXED_BYTES + 1]);
    let mut from = &bytes[..];
    let error = read_header(&mut from).await.unwrap_err();
    assert!(matches!(error, ProxyProtocolError::TooLong { came: 4097 }), "{error:?}");
    assert_eq!(from.len(), bytes.len() - FIXED_BYTES);

    let mut header = full();
    header.facts.authority = Some("a".repeat(4_004));
    assert!(matches!(header.encode(), Err(ProxyProtocolError::TooLong { .. })));
    header.facts.authority = Some("a".repeat(70_000));
    assert!(matches!(header.encode(), Err(ProxyProtocolError::TooLong { came: 70_000 })));
    header.facts.authority = Some("a\r\nb".to_owned());
    assert!(matches!(header.encode(), Err(ProxyProtocolError::NotText { kind: TYPE_AUTHORITY })));
}
