//! DNS names and addresses that a certificate may carry beside its identity.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::name::{BadName, shown};

/// A subject alternative name of a leaf: a DNS name or an IP address (RFC 5280 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum San {
    /// A DNS name in lower case; a wildcard only as the whole leftmost label.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

impl San {
    /// As many names as one certificate may carry: a chain stays within one TLS record.
    pub const PER_CERTIFICATE_MAX: usize = 100;
}

impl FromStr for San {
    type Err = BadName;

    fn from_str(text: &str) -> Result<San, BadName> {
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let ip = match bracketed {
            Some(text) => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => text.parse::<IpAddr>().ok(),
        };
        if let Some(ip) = ip {
            return Ok(San::Ip(ip));
        }
        let name = text.to_ascii_lowercase();
        if is_dns_name(&name) { Ok(San::Dns(name)) } else { Err(BadName::San { came: shown(text) }) }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            San::Dns(name) => f.write_str(name),
            San::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

/// RFC 1035 2.3.4: 253 characters, labels of 63; letters, digits and hyphens (RFC 5280 4.2.1.6),
/// and the underscore that service names use. A name of digits alone would read as an address.
fn is_dns_name(name: &str) -> bool {
    let body = name.strip_prefix("*.").unwrap_or(name);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    let last_is_number = body.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && !last_is_number && body.split('.').all(label_ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        assert_eq!("Web.Internal".parse(), Ok(San::Dns("web.internal".into())));
        assert_eq!("[::1]".parse(), Ok(San::Ip("::1".parse().unwrap())));
        assert_eq!("10.0.0.7".parse(), Ok(San::Ip("10.0.0.7".parse().unwrap())));
        assert_eq!("*.web.internal".parse(), Ok(San::Dns("*.web.internal".into())));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            ".",
            "[::1",
            "[[::1]]",
            "[10.0.0.7]",
            "a..b",
            "-a",
            "a-",
            "a b",
            "10.0.0.256",
            "*.*.x",
            "a*.b",
            "*",
            "ü.de",
        ] {
            assert!(text.parse::<San>().is_err(), "{text}");
        }
    }
}
