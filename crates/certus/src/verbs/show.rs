//! How certificates, nodes and times are shown: as words, and as data with units in the names.

use certus_pki::{Certificate, Reason, Serial, Sha256, SpiffeId, UnixTime};
use certus_wire::v1;
use serde::Serialize;

/// The machine's clock.
pub(super) fn now() -> UnixTime {
    certus_node::system_clock()()
}

/// Seconds of the wire as an instant.
pub(super) const fn at(secs: i64) -> UnixTime {
    UnixTime::from_secs(secs)
}

/// RFC 3339, for data.
pub(super) fn rfc3339(secs: i64) -> String {
    at(secs).to_string()
}

/// `09:12` of today, else the date too: `2026-11-20 09:12`.
pub(super) fn clock_time(when: UnixTime, now: UnixTime) -> String {
    let text = when.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let time: String = time.chars().take(5).collect();
    if date == now.date() { time } else { format!("{date} {time}") }
}

/// `41 ms`, `0.3 s`.
pub(crate) fn duration(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{:.1} ms", micros as f64 / 1000.0),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{:.1} s", micros as f64 / 1_000_000.0),
    }
}

/// A node as people call it: `web-1`; its role is shown elsewhere.
pub(super) fn short_node(node: &str) -> String {
    node.parse::<SpiffeId>().map_or_else(|_| node.to_owned(), |identity| identity.id.to_string())
}

/// A node's role, where the text is an identity.
pub(super) fn role(node: &str) -> String {
    node.parse::<SpiffeId>().map_or_else(|_| String::new(), |identity| identity.role.to_string())
}

/// The serial in a wire certificate.
pub(super) fn serial(cert: &v1::Cert) -> Option<Serial> {
    Serial::from_be_bytes(&cert.id.as_ref()?.serial)
}

/// A hash of the wire in its short form.
pub(super) fn short_hash(bytes: &[u8]) -> String {
    full_hash(bytes).map_or_else(String::new, |hash| hash.short())
}

/// A hash of the wire.
pub(super) fn full_hash(bytes: &[u8]) -> Option<Sha256> {
    <[u8; 32]>::try_from(bytes).ok().map(Sha256::from_bytes)
}

/// How an issued certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Its node's newest, valid, renewal not due.
    Ok,
    /// Its node's newest and valid; its renewal did not come.
    Overdue,
    /// Another took its place.
    Replaced,
    /// It was revoked.
    Revoked,
    /// Its end has passed.
    Expired,
}

impl State {
    /// How `cert` is at `now`.
    pub(super) fn of(cert: &v1::Cert, now: UnixTime) -> State {
        if cert.revoked_at.is_some() {
            State::Revoked
        } else if at(cert.not_after) < now {
            State::Expired
        } else if !cert.newest {
            State::Replaced
        } else if at(cert.renew_by) < now {
            State::Overdue
        } else {
            State::Ok
        }
    }

    /// In words, with why and since when.
    pub(super) fn words(self, cert: &v1::Cert, now: UnixTime) -> String {
        match self {
            State::Ok => "ok".to_owned(),
            State::Overdue => "missed its renewal: see the node's log".to_owned(),
            State::Replaced => "replaced".to_owned(),
            State::Expired => "expired".to_owned(),
            State::Revoked => {
                let since = at(cert.revoked_at.unwrap_or_default()).relative_to(now);
                format!("revoked {since}, {}", reason(cert.reason))
            }
        }
    }
}

/// A reason of the wire as a word.
pub(super) fn reason(number: u32) -> String {
    let known = u8::try_from(number).ok().and_then(Reason::from_number);
    known.map_or_else(|| format!("reason {number}"), |reason| reason.to_string())
}

/// An issued certificate as data.
#[derive(Serialize)]
pub(super) struct IssuedData {
    node: String,
    role: String,
    serial: String,
    issuer_key_hash: Option<String>,
    issued_at: String,
    expires_at: String,
    renew_by: String,
    key_hash: Option<String>,
    how: String,
    newest: bool,
    state: State,
    revoked_at: Option<String>,
    reason: Option<String>,
}

impl IssuedData {
    /// What the manager's record says.
    pub(super) fn of(cert: &v1::Cert, now: UnixTime) -> IssuedData {
        let hash = |bytes: &[u8]| full_hash(bytes).map(|hash| hash.to_string());
        IssuedData {
            node: cert.node.clone(),
            role: role(&cert.node),
            serial: serial(cert).map(|serial| serial.to_string()).unwrap_or_default(),
            issuer_key_hash: cert.id.as_ref().and_then(|id| hash(&id.issuer)),
            issued_at: rfc3339(cert.issued_at),
            expires_at: rfc3339(cert.not_after),
            renew_by: rfc3339(cert.renew_by),
            key_hash: hash(&cert.key_hash),
            how: cert.how.clone(),
            newest: cert.newest,
            state: State::of(cert, now),
            revoked_at: cert.revoked_at.map(rfc3339),
            reason: cert.revoked_at.map(|_| reason(cert.reason)),
        }
    }
}

/// What a certificate says, as data.
#[derive(Serialize)]
pub(super) struct CertificateData {
    subject: String,
    identity: Option<String>,
    serial: String,
    issuer: String,
    names: Vec<String>,
    ca: bool,
    server: bool,
    client: bool,
    key_type: String,
    key_hash: String,
    not_before: String,
    expires_at: String,
    fingerprint: String,
}

impl CertificateData {
    /// What the certificate itself says.
    pub(super) fn of(cert: &Certificate) -> CertificateData {
        CertificateData {
            subject: cert.subject.clone(),
            identity: cert.identity().ok().map(|identity| identity.to_string()),
            serial: cert.serial.to_string(),
            issuer: cert.issuer.clone(),
            names: cert.sans.iter().map(ToString::to_string).collect(),
            ca: cert.is_ca,
            server: cert.usage.server,
            client: cert.usage.client,
            key_type: cert.public_key.key_type().to_string(),
            key_hash: cert.key_hash().to_string(),
            not_before: cert.not_before.to_string(),
            expires_at: cert.not_after.to_string(),
            fingerprint: cert.fingerprint().to_string(),
        }
    }
}

/// What a certificate says, in words, one labelled line each.
pub(super) fn certificate(cert: &Certificate, now: UnixTime) -> String {
    let mut lines = vec![cert.common_name().to_owned()];
    let mut line = |label: &str, value: String| lines.push(format!("  {label:<11}  {value}"));
    match cert.identity() {
        Ok(identity) => line("identity", identity.to_string()),
        Err(_) if !cert.uris.is_empty() => line("uri", cert.uris.join(", ")),
        Err(_) => {}
    }
    if !cert.sans.is_empty() {
        let names: Vec<String> = cert.sans.iter().map(ToString::to_string).collect();
        line("names", names.join(", "));
    }
    line("for", purpose(cert));
    line("serial", cert.serial.to_string());
    line("issued by", cert.issuer.clone());
    line("key", format!("{}, {}", cert.public_key.key_type(), cert.key_hash()));
    line("valid from", format!("{}, {}", cert.not_before, cert.not_before.relative_to(now)));
    let gone = if cert.not_after < now { "  (expired)" } else { "" };
    line("until", format!("{}, {}{gone}", cert.not_after, cert.not_after.relative_to(now)));
    line("fingerprint", format!("SHA-256 {}", cert.fingerprint()));
    lines.join("\n")
}

fn purpose(cert: &Certificate) -> String {
    if cert.is_ca {
        return match cert.path_len {
            Some(0) => "signing leaf certificates (a CA, path length 0)".to_owned(),
            Some(below) => format!("signing certificates (a CA, path length {below})"),
            None => "signing certificates (a CA)".to_owned(),
        };
    }
    match (cert.usage.server, cert.usage.client) {
        (true, true) => "both sides of a connection".to_owned(),
        (true, false) => "serving only".to_owned(),
        (false, true) => "dialing only".to_owned(),
        (false, false) => "neither side of a TLS connection".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_where_the_day_is_known() {
        let now = at(1_800_000_000);
        assert_eq!(clock_time(at(1_800_000_000 - 3600), now), "07:00");
        assert_eq!(clock_time(at(1_800_000_000 - 86_400), now), "2027-01-14 08:00");
        assert_eq!([duration(900), duration(41_000), duration(1_340_000)], ["0.9 ms", "41 ms", "1.3 s"]);
    }

    #[test]
    fn a_certificates_state_is_the_worst_of_it() {
        let now = at(1000);
        let good = v1::Cert { not_after: 2000, renew_by: 1500, newest: true, ..v1::Cert::default() };
        assert_eq!(State::of(&good, now), State::Ok);
        assert_eq!(State::of(&v1::Cert { renew_by: 900, ..good.clone() }, now), State::Overdue);
        assert_eq!(State::of(&v1::Cert { newest: false, ..good.clone() }, now), State::Replaced);
        assert_eq!(State::of(&v1::Cert { not_after: 999, ..good.clone() }, now), State::Expired);
        let revoked = v1::Cert { revoked_at: Some(940), reason: 1, ..good };
        assert_eq!(State::of(&revoked, now).words(&revoked, now), "revoked 60 s ago, key-compromise");
    }
}
