//! Writing a header.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{
    CLIENT_CERT_CONN, CLIENT_CERT_SESS, CLIENT_SSL, Ends, Facts, HEADER_BYTES_MAX, Header,
    ProxyProtocolError, SIGNATURE, SUBTYPE_SSL_CN, SUBTYPE_SSL_VERSION, TYPE_AUTHORITY, TYPE_KEY_FINGERPRINT,
    TYPE_SPIFFE_ID, TYPE_SSL, TlsFacts, UNIX_PATH_BYTES_MAX,
};

impl Header {
    /// The bytes that precede the connection's own.
    ///
    /// # Errors
    /// It would be longer than [`HEADER_BYTES_MAX`], or a path is too long.
    pub fn encode(&self) -> Result<Vec<u8>, ProxyProtocolError> {
        let command = if self.ends == Ends::Local { 0x20 } else { 0x21 };
        let mut bytes = SIGNATURE.to_vec();
        bytes.push(command);
        let (family, addresses) = addresses(&self.ends)?;
        bytes.push(family);
        let facts = if self.ends == Ends::Local { Vec::new() } else { facts(&self.facts)? };
        let length = addresses.len() + facts.len();
        let whole = bytes.len() + 2 + length;
        let Some(length) = u16::try_from(length).ok().filter(|_| whole <= HEADER_BYTES_MAX) else {
            return Err(ProxyProtocolError::TooLong { came: whole });
        };
        bytes.extend(length.to_be_bytes());
        bytes.extend(addresses);
        bytes.extend(facts);
        Ok(bytes)
    }
}

/// Family with protocol, and the block of addresses.
fn addresses(ends: &Ends) -> Result<(u8, Vec<u8>), ProxyProtocolError> {
    let mut block = Vec::new();
    let family = match ends {
        Ends::Local | Ends::Unspecified => 0x00,
        Ends::Tcp { source: SocketAddr::V4(source), destination: SocketAddr::V4(destination) } => {
            block.extend(source.ip().octets());
            block.extend(destination.ip().octets());
            block.extend(source.port().to_be_bytes());
            block.extend(destination.port().to_be_bytes());
            0x11
        }
        Ends::Tcp { source, destination } => {
            block.extend(wide(source.ip()).octets());
            block.extend(wide(destination.ip()).octets());
            block.extend(source.port().to_be_bytes());
            block.extend(destination.port().to_be_bytes());
            0x21
        }
        Ends::Unix { source, destination } => {
            for path in [source, destination] {
                if path.len() > UNIX_PATH_BYTES_MAX {
                    return Err(ProxyProtocolError::PathTooLong { came: path.len() });
                }
                block.extend_from_slice(path);
                block.resize(block.len() + UNIX_PATH_BYTES_MAX - path.len(), 0);
            }
            0x31
        }
    };
    Ok((family, block))
}

fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn facts(facts: &Facts) -> Result<Vec<u8>, ProxyProtocolError> {
    let mut block = Vec::new();
    if let Some(authority) = &facts.authority {
        push_text(&mut block, TYPE_AUTHORITY, authority)?;
    }
    if let Some(of_tls) = &facts.tls {
        push(&mut block, TYPE_SSL, &tls(of_tls)?)?;
    }
    if let Some(id) = &facts.spiffe_id {
        push_text(&mut block, TYPE_SPIFFE_ID, id)?;
    }
    if let Some(fingerprint) = &facts.key_fingerprint {
        push_text(&mut block, TYPE_KEY_FINGERPRINT, fingerprint)?;
    }
    Ok(block)
}

fn tls(tls: &TlsFacts) -> Result<Vec<u8>, ProxyProtocolError> {
    let mut client = CLIENT_SSL;
    if tls.certificate {
        client |= CLIENT_CERT_CONN;
    }
    if tls.certificate_in_session {
        client |= CLIENT_CERT_SESS;
    }
    let mut block = vec![client];
    // Zero means verified.
    block.extend(u32::from(!tls.verified).to_be_bytes());
    if let Some(version) = &tls.version {
        push_text(&mut block, SUBTYPE_SSL_VERSION, version)?;
    }
    if let Some(name) = &tls.common_name {
        push_text(&mut block, SUBTYPE_SSL_CN, name)?;
    }
    Ok(block)
}

/// A control character would let a name forge lines in the service's log.
fn push_text(block: &mut Vec<u8>, kind: u8, text: &str) -> Result<(), ProxyProtocolError> {
    if text.chars().any(char::is_control) {
        return Err(ProxyProtocolError::NotText { kind });
    }
    push(block, kind, text.as_bytes())
}

fn push(block: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), ProxyProtocolError> {
    let Ok(length) = u16::try_from(value.len()) else {
        return Err(ProxyProtocolError::TooLong { came: value.len() });
    };
    block.push(kind);
    block.extend(length.to_be_bytes());
    block.extend_from_slice(value);
    Ok(())
}
