//! Name constraints of CAs (RFC 5280 4.2.1.10): which names the certificates below one may carry.
//!
//! Constraints on URIs are not made: verifiers that cannot read them refuse every URI, and every identity
//! of a cluster is one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use der::Decode;
use der::asn1::{Ia5String, OctetString};
use x509_cert::ext::pkix::constraints::name::{GeneralSubtree, NameConstraints as Extension};
use x509_cert::ext::pkix::name::GeneralName;

use crate::alt::{AltName, BadAltName, ip_of};
use crate::cert::{BadCertificate, Certificate};
use crate::name::shown;

/// A set of names: a DNS domain with everything below it, a range of addresses, or e-mail addresses.
///
/// Written `dns:example.com`, `ip:10.0.0.0/8`, `email:example.com` (a host's), `email:.example.com` (those
/// of hosts below it), `email:ann@example.com`; without a kind where the shape tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subtree {
    /// The domain and every name below it; with a leading dot, only those below it.
    Dns(String),
    /// The addresses that share this many leading bits.
    Ip(IpAddr, u8),
    /// One address, all of a host, or (with a leading dot) all of the hosts below a domain.
    Email(String),
}

impl Subtree {
    /// Whether `name` is in the set; nothing where it is of another kind and the set says nothing of it.
    pub fn contains(&self, name: &AltName) -> Option<bool> {
        match (self, name) {
            (Subtree::Dns(domain), AltName::Dns(name)) => Some(dns_within(name, domain)),
            (Subtree::Ip(network, bits), AltName::Ip(ip)) => Some(ip_within(*ip, *network, *bits)),
            (Subtree::Email(set), AltName::Email(address)) => Some(email_within(address, set)),
            _ => None,
        }
    }

    /// Whether any name that `name` stands for is in the set: a wildcard stands for many.
    fn meets(&self, name: &AltName) -> bool {
        let below = |domain: &str, parent: &str| {
            domain.strip_suffix(parent).is_some_and(|left| left.ends_with('.') && left.len() > 1)
        };
        let wildcard = match (self, name) {
            (Subtree::Dns(domain), AltName::Dns(name)) => {
                name.strip_prefix("*.").is_some_and(|parent| below(domain.trim_start_matches('.'), parent))
            }
            _ => false,
        };
        wildcard || self.contains(name) == Some(true)
    }

    pub(crate) fn to_general_subtree(&self) -> Result<GeneralSubtree, der::Error> {
        let base = match self {
            Subtree::Dns(domain) => GeneralName::DnsName(Ia5String::new(domain)?),
            Subtree::Email(set) => GeneralName::Rfc822Name(Ia5String::new(set)?),
            Subtree::Ip(network, bits) => {
                GeneralName::IpAddress(OctetString::new(ip_bytes(*network, *bits))?)
            }
        };
        Ok(GeneralSubtree { base, minimum: 0, maximum: None })
    }

    /// The set in an extension, if it is of a kind that is understood here and well-formed.
    pub(crate) fn from_general_name(base: &GeneralName) -> Option<Subtree> {
        match base {
            GeneralName::DnsName(domain) => Subtree::dns(domain.as_str()).ok(),
            GeneralName::Rfc822Name(set) => Subtree::email(set.as_str()).ok(),
            GeneralName::IpAddress(bytes) => {
                let bytes = bytes.as_bytes();
                let (network, mask) = bytes.split_at_checked(bytes.len() / 2)?;
                let bits = mask.iter().take_while(|byte| **byte == 0xff).count() * 8;
                let partial = mask.get(bits / 8).map_or(0, |byte| byte.leading_ones() as usize);
                let bits = u8::try_from(bits + partial).ok()?;
                let network = ip_of(network)?;
                (mask_of(bits, mask.len()) == mask).then_some(Subtree::Ip(network, bits))
            }
            _ => None,
        }
    }

    fn dns(text: &str) -> Result<Subtree, BadAltName> {
        let body = text.strip_prefix('.').unwrap_or(text);
        // RFC 5280: the empty domain holds every name.
        if text.is_empty() {
            return Ok(Subtree::Dns(String::new()));
        }
        match AltName::dns(body)? {
            AltName::Dns(name) if !name.starts_with("*.") => {
                Ok(Subtree::Dns(if body.len() < text.len() { format!(".{name}") } else { name }))
            }
            _ => Err(bad("example.com, which covers every name below it", text)),
        }
    }

    fn ip(text: &str) -> Result<Subtree, BadAltName> {
        let bad = || bad("an address or a range, 10.0.0.0/8 or 2001:db8::/32", text);
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, bits)| (a, Some(bits)));
        let AltName::Ip(network) = AltName::ip(address)? else { return Err(bad()) };
        let all = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse::<u8>().map_err(|_| bad()))?;
        let within = bits <= all && ip_within(network, network, bits);
        let network_only = ip_bytes(network, bits).starts_with(&octets(network));
        if within && network_only { Ok(Subtree::Ip(network, bits)) } else { Err(bad()) }
    }

    fn email(text: &str) -> Result<Subtree, BadAltName> {
        if text.contains('@') {
            return Ok(Subtree::Email(AltName::email(text)?.value()));
        }
        match Subtree::dns(text)? {
            Subtree::Dns(domain) if !domain.is_empty() => Ok(Subtree::Email(domain)),
            _ => Err(bad("ann@example.com, example.com or .example.com", text)),
        }
    }
}

fn bad(expected: &'static str, came: &str) -> BadAltName {
    BadAltName { kind: "name constraint", expected, came: shown(came) }
}

/// RFC 5280: "any DNS name that can be constructed by simply adding zero or more labels to the left".
fn dns_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let name = name.strip_prefix("*.").map_or(name.as_str(), |_| &name[1..]);
    match domain.strip_prefix('.') {
        Some(_) => name.len() > domain.len() && name.ends_with(&domain) || name == domain,
        None => {
            domain.is_empty()
                || name == domain
                || name.strip_suffix(domain.as_str()).is_some_and(|left| left.ends_with('.'))
        }
    }
}

fn ip_within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (ip, network) = (octets(ip), octets(network));
    let mask = mask_of(bits, ip.len());
    ip.len() == network.len()
        && ip.iter().zip(&network).zip(&mask).all(|((ip, network), mask)| ip & mask == network & mask)
}

fn email_within(address: &str, set: &str) -> bool {
    if set.contains('@') {
        let halves = |text: &str| text.rsplit_once('@').map(|(l, d)| (l.to_owned(), d.to_ascii_lowercase()));
        return halves(address) == halves(set);
    }
    let host = address.rsplit_once('@').map(|(_, host)| host.to_ascii_lowercase()).unwrap_or_default();
    let set = set.to_ascii_lowercase();
    // RFC 5280: a host without a dot before it is that host alone.
    if set.starts_with('.') { host.len() > set.len() && host.ends_with(&set) } else { host == set }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn mask_of(bits: u8, bytes: usize) -> Vec<u8> {
    let left = |byte: usize| usize::from(bits).saturating_sub(8 * byte).min(8);
    (0..bytes).map(|byte| !(0xff_u16 >> left(byte)) as u8).collect()
}

/// RFC 5280: the address, then its mask.
fn ip_bytes(network: IpAddr, bits: u8) -> Vec<u8> {
    let network = octets(network);
    let mask = mask_of(bits, network.len());
    let address: Vec<u8> = network.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
    [address, mask].concat()
}

impl FromStr for Subtree {
    type Err = BadAltName;

    fn from_str(text: &str) -> Result<Subtree, BadAltName> {
        let text = text.trim();
        if text.is_empty() {
            return Err(bad("dns:example.com, ip:10.0.0.0/8 or email:example.com", text));
        }
        match text.split_once(':') {
            Some((kind, rest)) if kind.eq_ignore_ascii_case("dns") => Subtree::dns(rest),
            Some((kind, rest)) if kind.eq_ignore_ascii_case("ip") => Subtree::ip(rest),
            Some((kind, rest)) if kind.eq_ignore_ascii_case("email") => Subtree::email(rest),
            _ if text.contains('@') => Subtree::email(text),
            _ => Subtree::ip(text).or_else(|_| Subtree::dns(text)),
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subtree::Dns(domain) => write!(f, "dns:{domain}"),
            Subtree::Ip(network, bits) => write!(f, "ip:{network}/{bits}"),
            Subtree::Email(set) => write!(f, "email:{set}"),
        }
    }
}

/// What the certificates below a CA may be called. Without entries, anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// For each kind that stands here, names must be in one of its sets.
    pub permitted: Vec<Subtree>,
    /// Names must be in none of these.
    pub excluded: Vec<Subtree>,
}

impl NameConstraints {
    /// No constraint.
    pub const fn none() -> NameConstraints {
        NameConstraints { permitted: Vec::new(), excluded: Vec::new() }
    }

    /// What a CA's certificate says of names of the kinds that are understood here.
    pub fn of(ca: &Certificate) -> Result<NameConstraints, BadCertificate> {
        let malformed = |error: der::Error| BadCertificate::Malformed { why: error.to_string() };
        let parsed = x509_cert::Certificate::from_der(&ca.der).map_err(malformed)?;
        let stated = parsed.tbs_certificate().get_extension::<Extension>().map_err(malformed)?;
        Ok(stated.map_or_else(NameConstraints::none, |(_, stated)| NameConstraints::from_extension(&stated)))
    }

    /// Whether nothing is constrained.
    pub fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    pub(crate) fn to_extension(&self) -> Result<Extension, der::Error> {
        let list = |sets: &[Subtree]| match sets {
            [] => Ok(None),
            sets => sets.iter().map(Subtree::to_general_subtree).collect::<Result<Vec<_>, _>>().map(Some),
        };
        Ok(Extension { permitted_subtrees: list(&self.permitted)?, excluded_subtrees: list(&self.excluded)? })
    }

    /// What an extension says of names of the kinds that are understood here.
    pub(crate) fn from_extension(extension: &Extension) -> NameConstraints {
        let list = |sets: &Option<Vec<GeneralSubtree>>| {
            let sets = sets.iter().flatten();
            sets.filter_map(|set| Subtree::from_general_name(&set.base)).collect()
        };
        NameConstraints {
            permitted: list(&extension.permitted_subtrees),
            excluded: list(&extension.excluded_subtrees),
        }
    }

    /// Whether a certificate below may carry `name`.
    pub fn check(&self, name: &AltName) -> Result<(), OutsideConstraints> {
        let outside = |expected: String| OutsideConstraints { name: name.to_string(), expected };
        if let Some(set) = self.excluded.iter().find(|set| set.meets(name)) {
            return Err(outside(format!("a name outside {set}")));
        }
        let sets: Vec<(&Subtree, bool)> =
            self.permitted.iter().filter_map(|set| set.contains(name).map(|within| (set, within))).collect();
        if sets.is_empty() || sets.iter().any(|(_, within)| *within) {
            return Ok(());
        }
        let sets: Vec<String> = sets.iter().map(|(set, _)| set.to_string()).collect();
        Err(outside(format!("a name within {}", sets.join(" or "))))
    }
}

/// A name that the CA above may not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CA may not sign for {name}")]
pub struct OutsideConstraints {
    /// The name.
    pub name: String,
    /// What its name constraints allow.
    pub expected: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(permitted: &[&str], excluded: &[&str], name: &str) -> bool {
        let sets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let constraints = NameConstraints { permitted: sets(permitted), excluded: sets(excluded) };
        constraints.check(&name.parse().unwrap()).is_ok()
    }

    #[test]
    fn names_are_held_against_sets_of_their_kind() {
        for (permitted, name, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "a.b.example.com", true),
            ("example.com", "*.example.com", true),
            ("example.com", "badexample.com", false),
            ("dns:.example.com", "example.com", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("10.0.0.0/8", "web.example.com", true),
            ("email:example.com", "ann@example.com", true),
            ("email:example.com", "ann@mail.example.com", false),
            ("email:.example.com", "ann@mail.example.com", true),
            ("ann@example.com", "Ann@example.com", false),
        ] {
            assert_eq!(check(&[permitted], &[], name), expected, "{permitted} {name}");
        }
        assert!(!check(&["example.com"], &["secret.example.com"], "x.secret.example.com"));
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        for text in ["ip:10.0.0.1/8", "ip:10.0.0.0/33", "ip:x", "dns:*.example.com", "email:", "dns:a b"] {
            assert!(text.parse::<Subtree>().is_err(), "{text}");
        }
        for text in ["ip:10.0.0.0/8", "ip:2001:db8::/32", "ip:10.0.0.7/32", "dns:example.com", "email:.x.com"]
        {
            let set: Subtree = text.parse().unwrap();
            assert_eq!(set.to_string(), text);
            let base = set.to_general_subtree().unwrap().base;
            assert_eq!(Subtree::from_general_name(&base), Some(set));
        }
    }
}
