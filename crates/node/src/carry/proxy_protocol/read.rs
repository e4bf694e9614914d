//! Reading a header: strict where it could mislead, and bounded before anything is kept.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    CLIENT_CERT_CONN, CLIENT_CERT_SESS, CLIENT_SSL, Ends, FIXED_BYTES, Facts, HEADER_BYTES_MAX, Header,
    ProxyProtocolError, SIGNATURE, SUBTYPE_SSL_CN, SUBTYPE_SSL_VERSION, TYPE_AUTHORITY, TYPE_KEY_FINGERPRINT,
    TYPE_SPIFFE_ID, TYPE_SSL, TlsFacts, UNIX_PATH_BYTES_MAX,
};

/// What every header of version 1 begins with.
const VERSION_1: &[u8] = b"PROXY ";

/// Reads one header and not one byte more. Has no time limit of its own.
///
/// # Errors
/// The connection does not begin with a header of version 2, or breaks.
pub async fn read_header<IO>(io: &mut IO) -> Result<Header, ProxyProtocolError>
where
    IO: AsyncRead + Unpin,
{
    let mut bytes = vec![0; FIXED_BYTES];
    let mut came = 0;
    // In the pieces that come: whoever sends something else may send less than this and wait.
    while came < FIXED_BYTES {
        came += some(io, &mut bytes[came..], came).await?;
        signature(&bytes[..came])?;
    }
    let whole = whole_length(&bytes)?;
    bytes.resize(whole, 0);
    while came < whole {
        came += some(io, &mut bytes[came..], came).await?;
    }
    decode(&bytes)
}

async fn some<IO>(io: &mut IO, buffer: &mut [u8], came: usize) -> Result<usize, ProxyProtocolError>
where
    IO: AsyncRead + Unpin,
{
    match io.read(buffer).await {
        Ok(0) => {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            Err(ProxyProtocolError::Io { came, error })
        }
        Ok(count) => Ok(count),
        Err(error) => Err(ProxyProtocolError::Io { came, error }),
    }
}

/// Whether the bytes can still become a header of version 2.
fn signature(bytes: &[u8]) -> Result<(), ProxyProtocolError> {
    let agrees = bytes.iter().zip(SIGNATURE).all(|(came, expected)| came == expected);
    if agrees {
        return Ok(());
    }
    if bytes.starts_with(VERSION_1) {
        return Err(ProxyProtocolError::Version { came: 1 });
    }
    // `P` alone may become a POST as well.
    if VERSION_1.starts_with(bytes) {
        return Ok(());
    }
    Err(ProxyProtocolError::NoHeader { came: bytes.to_vec() })
}

/// The length of the header, from its first [`FIXED_BYTES`].
fn whole_length(fixed: &[u8]) -> Result<usize, ProxyProtocolError> {
    let length = u16::from_be_bytes([fixed[14], fixed[15]]);
    let whole = FIXED_BYTES + usize::from(length);
    if whole > HEADER_BYTES_MAX {
        return Err(ProxyProtocolError::TooLong { came: whole });
    }
    Ok(whole)
}

/// Reads one header that is all of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Header, ProxyProtocolError> {
    let length = |what, expected, came| Err(ProxyProtocolError::Length { what, expected, came });
    signature(&bytes[..bytes.len().min(FIXED_BYTES)])?;
    if bytes.len() < FIXED_BYTES {
        return length("the fixed part", FIXED_BYTES, bytes.len());
    }
    let whole = whole_length(bytes)?;
    if bytes.len() != whole {
        return length("the whole", whole, bytes.len());
    }
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0x0f);
    if version != 2 {
        return Err(ProxyProtocolError::Version { came: version });
    }
    let body = &bytes[FIXED_BYTES..];
    match command {
        // What else it says is to be ignored.
        0 => Ok(Header { ends: Ends::Local, facts: Facts::default() }),
        1 => {
            let (ends, rest) = ends(bytes[13], body)?;
            Ok(Header { ends, facts: facts(rest)? })
        }
        came => Err(ProxyProtocolError::Command { came }),
    }
}

/// The addresses, and what follows them.
fn ends(family: u8, body: &[u8]) -> Result<(Ends, &[u8]), ProxyProtocolError> {
    let block = match family {
        0x00 => return Ok((Ends::Unspecified, body)),
        0x11 => 12,
        0x21 => 36,
        0x31 => 2 * UNIX_PATH_BYTES_MAX,
        came => return Err(ProxyProtocolError::Family { came }),
    };
    let Some((block, rest)) = body.split_at_checked(block) else {
        return Err(ProxyProtocolError::Length {
            what: "the address block",
            expected: block,
            came: body.len(),
        });
    };
    if family == 0x31 {
        let (source, destination) = block.split_at(UNIX_PATH_BYTES_MAX);
        let path = |bytes: &[u8]| {
            let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes[..len].to_vec()
        };
        return Ok((Ends::Unix { source: path(source), destination: path(destination) }, rest));
    }
    let (addresses, ports) = block.split_at(block.len() - 4);
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let source = address(source, [ports[0], ports[1]]);
    let destination = address(destination, [ports[2], ports[3]]);
    Ok((Ends::Tcp { source, destination }, rest))
}

/// Four bytes or sixteen.
fn address(bytes: &[u8], port: [u8; 2]) -> SocketAddr {
    let port = u16::from_be_bytes(port);
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return SocketAddr::from((Ipv4Addr::from(octets), port));
    }
    let octets = <[u8; 16]>::try_from(bytes).expect("an address block has halves of 4 or 16 bytes");
    SocketAddr::from((Ipv6Addr::from(octets), port))
}

fn facts(block: &[u8]) -> Result<Facts, ProxyProtocolError> {
    let mut facts = Facts::default();
    let mut ssl = None;
    each(block, |kind, value| match kind {
        TYPE_AUTHORITY => put(&mut facts.authority, kind, text(kind, value)?),
        TYPE_SSL => put(&mut ssl, kind, tls(value)?),
        TYPE_SPIFFE_ID => put(&mut facts.spiffe_id, kind, text(kind, value)?),
        TYPE_KEY_FINGERPRINT => put(&mut facts.key_fingerprint, kind, text(kind, value)?),
        // Types that are not known, checksums and padding among them, may be passed over.
        _ => Ok(()),
    })?;
    facts.tls = ssl.flatten();
    Ok(facts)
}

/// `None` where the client spoke no TLS: what else is said means nothing then.
fn tls(value: &[u8]) -> Result<Option<TlsFacts>, ProxyProtocolError> {
    let Some((&[client, v0, v1, v2, v3], rest)) = value.split_first_chunk() else {
        return Err(ProxyProtocolError::Length { what: "the TLS value", expected: 5, came: value.len() });
    };
    let mut facts = TlsFacts {
        certificate: client & CLIENT_CERT_CONN != 0,
        certificate_in_session: client & CLIENT_CERT_SESS != 0,
        verified: u32::from_be_bytes([v0, v1, v2, v3]) == 0,
        ..TlsFacts::default()
    };
    each(rest, |kind, value| match kind {
        SUBTYPE_SSL_VERSION => put(&mut facts.version, kind, text(kind, value)?),
        SUBTYPE_SSL_CN => put(&mut facts.common_name, kind, text(kind, value)?),
        _ => Ok(()),
    })?;
    Ok((client & CLIENT_SSL != 0).then_some(facts))
}

/// Every value of a block that has nothing else in it.
fn each(
    mut block: &[u8],
    mut value: impl FnMut(u8, &[u8]) -> Result<(), ProxyProtocolError>,
) -> Result<(), ProxyProtocolError> {
    while !block.is_empty() {
        let short = |what, expected, came| ProxyProtocolError::Length { what, expected, came };
        let Some((&[kind, high, low], rest)) = block.split_first_chunk() else {
            return Err(short("the head of a value", 3, block.len()));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (bytes, rest) =
            rest.split_at_checked(length).ok_or_else(|| short("a value", length, rest.len()))?;
        value(kind, bytes)?;
        block = rest;
    }
    Ok(())
}

/// Two values of one type: which counts would be for the reader to guess.
fn put<T>(place: &mut Option<T>, kind: u8, value: T) -> Result<(), ProxyProtocolError> {
    if place.replace(value).is_some() { Err(ProxyProtocolError::Twice { kind }) } else { Ok(()) }
}

fn text(kind: u8, value: &[u8]) -> Result<String, ProxyProtocolError> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or(ProxyProtocolError::NotText { kind })
}
