//! Certificates for tests, good and bad, made with another implementation than ours.
//!
//! Uses no room of Certus, so that what it makes is an outside opinion; never linked into the
//! binary. Nothing here checks that a certificate makes sense: making senseless ones is the job.
//! Impossible requests (a DNS name that is not ASCII, say) panic: the caller is a test.
//!
//! ```
//! use certus_forge::{Ca, Eku, LeafSpec};
//!
//! let root = Ca::root("prod");
//! let issuer = root.intermediate("prod issuer 1", 0);
//! let web = issuer.leaf(&LeafSpec {
//!     uris: vec!["spiffe://prod/worker/web-1".into()],
//!     eku: Eku::Both,
//!     ..LeafSpec::named("web-1")
//! });
//! assert_eq!(web.chain_der.len(), 2, "the leaf, then its issuer; the root stays out");
//! ```

mod ca;
pub mod corrupt;
mod csr;
mod key;
mod leaf;

pub use ca::{Ca, CaSpec};
pub use csr::{Csr, CsrSpec};
pub use key::{Key, KeyType};
pub use leaf::{Eku, Leaf, LeafSpec, self_signed};

/// 2020-01-01T00:00:00Z: where validity begins unless a test says otherwise.
pub const NOT_BEFORE: i64 = 1_577_836_800;

/// 2049-12-31T00:00:00Z: where validity ends unless a test says otherwise. The last whole day that
/// RFC 5280 4.1.2.5 writes as UTCTime.
pub const NOT_AFTER: i64 = 2_524_521_600;

/// Wraps DER in PEM under `label`, for example `CERTIFICATE` or `PRIVATE KEY`.
pub fn pem(label: &'static str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).expect("any DER fits in PEM")
}

/// 128 random bits. Set on every certificate: rcgen's own default is a hash of the key, which
/// repeats when a key is certified twice.
fn random_serial() -> Vec<u8> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes.to_vec()
}

fn date(unix_seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix_seconds).expect("a date of the calendar")
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut dn = rcgen::DistinguishedName::new();
    if !name.is_empty() {
        dn.push(rcgen::DnType::CommonName, name);
    }
    dn
}

/// URI, DNS and IP names as the extension wants them, in that order.
fn sans(uris: &[String], dns: &[String], ips: &[std::net::IpAddr]) -> Vec<rcgen::SanType> {
    let ascii = |s: &String| s.as_str().try_into().expect("a SAN is ASCII");
    let uris = uris.iter().map(|s| rcgen::SanType::URI(ascii(s)));
    let dns = dns.iter().map(|s| rcgen::SanType::DnsName(ascii(s)));
    let ips = ips.iter().map(|ip| rcgen::SanType::IpAddress(*ip));
    uris.chain(dns).chain(ips).collect()
}

#[cfg(test)]
mod tests;
