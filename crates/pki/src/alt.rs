//! Subject alternative names of every kind that is issued here (RFC 5280 4.2.1.6): DNS names, addresses,
//! e-mail addresses and URIs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use der::asn1::Ia5String;
use x509_cert::ext::pkix::name::GeneralName;

use crate::code;
use crate::explain::{Explain, Explanation};
use crate::name::{BadName, shown};
use crate::san::San;

/// One name.
///
/// Read from text with a kind, `dns:web.example.com`, `ip:10.0.0.7`, `email:ann@example.com`,
/// `uri:spiffe://prod/worker/web-1`, or without one, where it is told by its shape.
///
/// ```
/// use certus_pki::AltName;
///
/// assert_eq!("bücher.example".parse(), Ok(AltName::Dns("xn--bcher-kva.example".into())));
/// assert_eq!("[2001:db8::7]".parse::<AltName>()?.to_string(), "ip:2001:db8::7");
/// # Ok::<(), certus_pki::alt::BadAltName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AltName {
    /// A DNS name: lower case, A-labels, a wildcard only as the whole leftmost label.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// An e-mail address (RFC 5321 4.1.2), its domain in lower case.
    Email(String),
    /// An absolute URI with a host (RFC 5280 4.2.1.6).
    Uri(String),
}

impl AltName {
    /// The name's own text, without its kind.
    pub fn value(&self) -> String {
        match self {
            AltName::Dns(text) | AltName::Email(text) | AltName::Uri(text) => text.clone(),
            AltName::Ip(ip) => ip.to_string(),
        }
    }

    /// The kind as a word: `dns`, `ip`, `email`, `uri`.
    pub const fn kind(&self) -> &'static str {
        match self {
            AltName::Dns(_) => "dns",
            AltName::Ip(_) => "ip",
            AltName::Email(_) => "email",
            AltName::Uri(_) => "uri",
        }
    }

    /// A DNS name; Unicode becomes A-labels (UTS 46, non-transitional).
    pub fn dns(text: &str) -> Result<AltName, BadAltName> {
        let bad = |expected| BadAltName::dns(expected, text);
        let (star, body) = match text.strip_prefix("*.") {
            Some(body) => ("*.", body),
            None => ("", text),
        };
        let ascii = if body.is_ascii() {
            body.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(body).map_err(|_| bad("a name that IDNA (UTS 46) can write in ASCII"))?
        };
        // An A-label that stands for nothing would only deceive.
        let labels_hold = || idna::domain_to_unicode(&ascii).1.is_ok();
        if ascii.split('.').any(|label| label.starts_with("xn--")) && !labels_hold() {
            return Err(bad("A-labels (xn--…) that IDNA can read"));
        }
        match format!("{star}{ascii}").parse() {
            Ok(San::Dns(name)) => Ok(AltName::Dns(name)),
            Ok(San::Ip(_)) => Err(bad("a name; an address is written ip:ADDRESS")),
            Err(_) if text.contains('*') => {
                Err(bad("a wildcard only as the whole leftmost label, *.example.com"))
            }
            Err(_) => Err(bad("labels of 1 to 63 letters, digits, - or _, 253 characters in all")),
        }
    }

    /// An IPv4 or IPv6 address, IPv6 also in brackets.
    pub fn ip(text: &str) -> Result<AltName, BadAltName> {
        match text.parse() {
            Ok(San::Ip(ip)) => Ok(AltName::Ip(ip)),
            _ => {
                Err(BadAltName { kind: "IP address", expected: "10.0.0.7 or 2001:db8::7", came: shown(text) })
            }
        }
    }

    /// An e-mail address: a local part of ASCII atoms, and a domain.
    pub fn email(text: &str) -> Result<AltName, BadAltName> {
        let bad = |expected| BadAltName { kind: "e-mail address", expected, came: shown(text) };
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| bad("LOCAL@DOMAIN"))?;
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        let atoms_hold = local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
        if local.len() > 64 || !atoms_hold {
            return Err(bad("at most 64 ASCII letters, digits and !#$%&'*+-/=?^_`{|}~. before the @"));
        }
        match AltName::dns(domain) {
            Ok(AltName::Dns(domain)) if !domain.starts_with("*.") => {
                Ok(AltName::Email(format!("{local}@{domain}")))
            }
            _ => Err(bad("a domain name behind the @")),
        }
    }

    /// An absolute URI: a scheme, `://`, a host.
    pub fn uri(text: &str) -> Result<AltName, BadAltName> {
        let bad = |expected| BadAltName { kind: "URI", expected, came: shown(text) };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("SCHEME://HOST/PATH"))?;
        let scheme_holds = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if !scheme_holds || host.is_empty() {
            return Err(bad("SCHEME://HOST/PATH"));
        }
        if text.len() > URI_BYTES_MAX
            || !text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
        {
            return Err(bad("at most 2048 ASCII characters that RFC 3986 allows; others as %XX"));
        }
        Ok(AltName::Uri(text.to_owned()))
    }

    pub(crate) fn to_general_name(&self) -> Result<GeneralName, der::Error> {
        Ok(match self {
            AltName::Dns(name) => GeneralName::DnsName(Ia5String::new(name)?),
            AltName::Ip(ip) => GeneralName::from(*ip),
            AltName::Email(address) => GeneralName::Rfc822Name(Ia5String::new(address)?),
            AltName::Uri(uri) => GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?),
        })
    }

    /// The name in an extension, if it is of a kind that is issued here and well-formed.
    pub(crate) fn from_general_name(name: &GeneralName) -> Option<AltName> {
        match name {
            GeneralName::DnsName(name) => AltName::dns(name.as_str()).ok(),
            GeneralName::Rfc822Name(address) => AltName::email(address.as_str()).ok(),
            GeneralName::UniformResourceIdentifier(uri) => AltName::uri(uri.as_str()).ok(),
            GeneralName::IpAddress(bytes) => ip_of(bytes.as_bytes()).map(AltName::Ip),
            _ => None,
        }
    }
}

/// As long as servers accept one.
const URI_BYTES_MAX: usize = 2048;

/// The address that 4 or 16 bytes stand for.
pub(crate) fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

impl From<San> for AltName {
    fn from(san: San) -> AltName {
        match san {
            San::Dns(name) => AltName::Dns(name),
            San::Ip(ip) => AltName::Ip(ip),
        }
    }
}

impl FromStr for AltName {
    type Err = BadAltName;

    fn from_str(text: &str) -> Result<AltName, BadAltName> {
        let text = text.trim();
        match text.split_once(':') {
            Some((kind, rest)) if kind.eq_ignore_ascii_case("dns") => AltName::dns(rest),
            Some((kind, rest)) if kind.eq_ignore_ascii_case("ip") => AltName::ip(rest),
            Some((kind, rest)) if kind.eq_ignore_ascii_case("email") => AltName::email(rest),
            Some((kind, rest)) if kind.eq_ignore_ascii_case("uri") => AltName::uri(rest),
            _ if text.contains("://") => AltName::uri(text),
            _ if text.contains('@') => AltName::email(text),
            _ => AltName::ip(text).or_else(|_| AltName::dns(text)),
        }
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.value())
    }
}

/// The names of one certificate, each once, at most [`San::PER_CERTIFICATE_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<AltName>);

impl Names {
    /// None.
    pub const fn none() -> Names {
        Names(Vec::new())
    }

    /// These, in their order; what comes twice is taken once.
    pub fn new(names: impl IntoIterator<Item = AltName>) -> Result<Names, TooManyNames> {
        let mut taken = Names::none();
        for name in names {
            taken.push(name)?;
        }
        Ok(taken)
    }

    /// Adds one, unless it is there.
    pub fn push(&mut self, name: AltName) -> Result<(), TooManyNames> {
        if self.0.contains(&name) {
            return Ok(());
        }
        if self.0.len() == San::PER_CERTIFICATE_MAX {
            return Err(TooManyNames { came: self.0.len() + 1 });
        }
        self.0.push(name);
        Ok(())
    }

    /// The names, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, AltName> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Names {
    type Item = &'a AltName;
    type IntoIter = std::slice::Iter<'a, AltName>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Text that is not a name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{came}` is not a {kind}, expected {expected}")]
pub struct BadAltName {
    /// The kind of name it should be.
    pub kind: &'static str,
    /// What such a name looks like.
    pub expected: &'static str,
    /// What came.
    pub came: String,
}

impl BadAltName {
    fn dns(expected: &'static str, came: &str) -> BadAltName {
        BadAltName { kind: "DNS name", expected, came: shown(came) }
    }
}

impl Explain for BadAltName {
    fn explain(&self) -> Explanation {
        Explanation::new(code::BAD_NAME, self.to_string()).halves(self.expected, &self.came)
    }
}

impl From<BadAltName> for BadName {
    fn from(bad: BadAltName) -> BadName {
        BadName::San { came: bad.came }
    }
}

/// More names than one certificate may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{came} names, at most {} are allowed in one certificate", San::PER_CERTIFICATE_MAX)]
pub struct TooManyNames {
    /// How many came, at least.
    pub came: usize,
}

impl Explain for TooManyNames {
    fn explain(&self) -> Explanation {
        Explanation::new(code::OUT_OF_BOUNDS, self.to_string())
            .halves(format!("at most {}", San::PER_CERTIFICATE_MAX), self.came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_by_kind_or_shape() {
        for (text, written) in [
            ("Web.Example.com", "dns:web.example.com"),
            ("*.bücher.example", "dns:*.xn--bcher-kva.example"),
            ("10.0.0.7", "ip:10.0.0.7"),
            ("[::1]", "ip:::1"),
            ("IP:2001:db8::7", "ip:2001:db8::7"),
            ("Ann@Example.com", "email:Ann@example.com"),
            ("spiffe://prod/worker/a", "uri:spiffe://prod/worker/a"),
        ] {
            let name: AltName = text.parse().unwrap();
            assert_eq!(name.to_string(), written);
            assert_eq!(written.parse(), Ok(name));
        }
    }

    #[test]
    fn what_is_no_name_says_what_one_looks_like() {
        for text in [
            "",
            "a*.example",
            "*.*.example",
            "xn--0.example",
            "dns:10.0.0.7",
            "ip:web",
            "ip:10.0.0.256",
            "@x",
            "a@",
            "a@*.example",
            "a..b@example",
            "uri:/path",
            "uri:x://",
            "https://ex ample/",
            "-a.example",
        ] {
            let error = text.parse::<AltName>().unwrap_err();
            assert!(!error.expected.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_hundred_names_and_no_more() {
        let name = |n: usize| AltName::Dns(format!("n{n}.example"));
        assert_eq!(Names::new((0..100).chain(0..100).map(name)).unwrap().len(), 100);
        assert_eq!(Names::new((0..101).map(name)), Err(TooManyNames { came: 101 }));
    }
}
