//! What RFC 5280 says of each certificate by its place in a path, beyond signatures and names.

use const_oid::db::rfc5280;
use const_oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies,
    CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};

use super::rejection::{BrokenRule, ChainRejection};
use super::view::{EXTENSIONS_MAX, View};
use super::{ChainQuery, names};
use crate::crl::BadCrl;
use crate::key::KeyType;
use crate::serial::Serial;
use crate::verify::Purpose;

/// Critical extensions that are judged here; any other is refused, as webpki does.
const UNDERSTOOD: [ObjectIdentifier; 6] = [
    BasicConstraints::OID,
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    SubjectAltName::OID,
    NameConstraints::OID,
    CrlDistributionPoints::OID,
];

/// The rules for the certificate in question, before any path is looked for.
pub(super) fn leaf(leaf: &View, query: &ChainQuery<'_>) -> Result<(), ChainRejection> {
    let which = leaf.called();
    any_place(leaf, &which)?;
    in_time(leaf, &which, query)?;
    for_purpose(leaf, &which, query)?;
    let broken =
        |rule, source, expected, came: &str| Err(BrokenRule::new(&which, rule, source, expected, came));
    if leaf.cert.serial == Serial::from_be_bytes(&[]).unwrap_or(leaf.cert.serial) {
        return broken("serial number", "RFC 5280 4.1.2.2", "a number above zero", "0");
    }
    if leaf.cert.is_ca {
        return Ok(());
    }
    if leaf.constraints.is_some() {
        return broken(
            "name constraints",
            "RFC 5280 4.2.1.10",
            "only in CA certificates",
            "in an end certificate",
        );
    }
    let Some(usage) = &leaf.key_usage else { return Ok(()) };
    if usage.key_cert_sign() {
        return broken("key usage", "RFC 5280 4.2.1.9", "no keyCertSign without CA:true", "keyCertSign");
    }
    // RFC 8446 4.4.2.2 asks for the first, TLS 1.2 lived on the others too.
    let serves = usage.digital_signature() || usage.key_encipherment() || usage.key_agreement();
    if query.purpose.is_some() && !serves {
        return broken("key usage", "RFC 8446 4.4.2.2", "digitalSignature", "key usage without it");
    }
    Ok(())
}

/// The rules for a whole path, leaf first, root last.
pub(super) fn path(path: &[&View], query: &ChainQuery<'_>) -> Result<(), ChainRejection> {
    let root_place = path.len() - 1;
    for (place, ca) in path.iter().enumerate().skip(usize::from(root_place > 0)) {
        let which = if place == root_place { format!("the root {}", ca.called()) } else { ca.called() };
        any_place(ca, &which)?;
        in_time(ca, &which, query)?;
        for_purpose(ca, &which, query)?;
        authority(ca, &which, place == root_place)?;
        names::well_formed(ca, &which)?;
        let below = path.get(1..place).unwrap_or_default();
        let below = below.iter().filter(|view| !view.is_self_issued()).count();
        if let Some(allowed) = ca.cert.path_len.filter(|allowed| below > usize::from(*allowed)) {
            let (rule, source) = ("path length", "RFC 5280 4.2.1.9");
            let expected = format!("at most {allowed} CA certificates below");
            return Err(BrokenRule::new(&which, rule, source, expected, &below.to_string()));
        }
    }
    let between = path.get(1..root_place).unwrap_or_default();
    let depth = between.iter().filter(|view| !view.is_self_issued()).count();
    if let Some(max) = query.max_depth.filter(|max| depth > usize::from(*max)) {
        return Err(ChainRejection::TooDeep { came: depth, max });
    }
    for pair in path.windows(2) {
        let [below, above] = pair else { continue };
        fits(below, above)?;
    }
    revocation(path, query)
}

fn any_place(view: &View, which: &str) -> Result<(), ChainRejection> {
    let broken = |rule, source, expected: &str, came: &str| {
        Err(BrokenRule::new(which, rule, source, expected.to_owned(), came))
    };
    if view.version != 3 {
        let came = format!("version {}", view.version);
        let rejection = BrokenRule::new(which, "version", "RFC 5280 4.1.2.1", "version 3", &came);
        return Err(rejection.hint(VERSION_1_HINT));
    }
    if view.cert.issuer_der == [0x30, 0] {
        return broken("issuer", "RFC 5280 4.1.2.4", "a name", "an empty name");
    }
    if view.extensions.len() > EXTENSIONS_MAX {
        return broken(
            "extensions",
            "a bound of this program",
            "at most 64",
            &view.extensions.len().to_string(),
        );
    }
    for (place, extension) in view.extensions.iter().enumerate() {
        let oid = extension.extn_id;
        if view.extensions[..place].iter().any(|before| before.extn_id == oid) {
            return broken("extensions", "RFC 5280 4.2", "each extension once", &format!("{oid} twice"));
        }
        if extension.critical && !UNDERSTOOD.contains(&oid) {
            let never =
                [AuthorityKeyIdentifier::OID, SubjectKeyIdentifier::OID, AuthorityInfoAccessSyntax::OID];
            let expected =
                if never.contains(&oid) { "not critical" } else { "no critical extension unknown here" };
            return broken("extensions", "RFC 5280 4.2", expected, &format!("{oid} critical"));
        }
        if oid == POLICY_CONSTRAINTS && !extension.critical {
            return broken("policy constraints", "RFC 5280 4.2.1.11", "critical", "not critical");
        }
    }
    if view.purposes.as_ref().is_some_and(Vec::is_empty) {
        return broken("extended key usage", "RFC 5280 4.2.1.12", "one purpose at least", "none");
    }
    if view.names.as_ref().is_some_and(Vec::is_empty) {
        return broken("alternative names", "RFC 5280 4.2.1.6", "one name at least", "none");
    }
    let nameless = view.cert.subject_der == [0x30, 0];
    if nameless && !view.has_critical(SubjectAltName::OID) {
        return broken(
            "alternative names",
            "RFC 5280 4.1.2.6",
            "critical where the subject is empty",
            if view.names.is_some() { "not critical" } else { "none" },
        );
    }
    if let KeyType::Rsa(bits) = view.cert.public_key.key_type()
        && bits % 8 != 0
    {
        return broken("key", "FIPS 186-5 5.1", "an RSA modulus of whole bytes", &format!("{bits} bits"));
    }
    Ok(())
}

/// RFC 5280 4.2.1.11; `x509-cert` has the type, not under this name in every version.
const POLICY_CONSTRAINTS: ObjectIdentifier = rfc5280::ID_CE_POLICY_CONSTRAINTS;
const _: ObjectIdentifier = CertificatePolicies::OID;

/// What openssl's `x509 -req` leaves out when it is not told.
const VERSION_1_HINT: &str = "an X.509 version 1 certificate carries no names and no purposes. With openssl 3: \
     openssl x509 -req -in agent.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out agent.crt -days 90 -sha256 \
     -extfile <(printf 'subjectAltName=DNS:agent-1\\nextendedKeyUsage=serverAuth,clientAuth\\n\
     keyUsage=critical,digitalSignature\\nbasicConstraints=critical,CA:FALSE\\n')";

fn in_time(view: &View, which: &str, query: &ChainQuery<'_>) -> Result<(), ChainRejection> {
    let (which, now) = (which.to_owned(), query.at);
    let (not_before, not_after) = (view.cert.not_before, view.cert.not_after);
    if not_before > not_after {
        let came = format!("{not_before} to {not_after}");
        return Err(BrokenRule::new(
            &which,
            "validity",
            "RFC 5280 4.1.2.5",
            "an end behind its beginning",
            &came,
        ));
    }
    if now < not_before {
        Err(ChainRejection::NotYetValid { which, now, not_before })
    } else if now > not_after {
        Err(ChainRejection::Expired { which, now, not_after })
    } else {
        Ok(())
    }
}

/// RFC 5280 4.2.1.12 for the leaf; for CAs what every TLS library does: their purposes bound those below.
fn for_purpose(view: &View, which: &str, query: &ChainQuery<'_>) -> Result<(), ChainRejection> {
    let (Some(needed), Some(purposes)) = (query.purpose, &view.purposes) else { return Ok(()) };
    let oid = match needed {
        Purpose::Server => rfc5280::ID_KP_SERVER_AUTH,
        Purpose::Client => rfc5280::ID_KP_CLIENT_AUTH,
    };
    if purposes.contains(&oid) || purposes.contains(&rfc5280::ANY_EXTENDED_KEY_USAGE) {
        return Ok(());
    }
    Err(ChainRejection::WrongPurpose { which: which.to_owned(), needed, came: view.purposes_in_words() })
}

fn authority(ca: &View, which: &str, is_root: bool) -> Result<(), ChainRejection> {
    let broken =
        |rule, source, expected, came: &str| Err(BrokenRule::new(which, rule, source, expected, came));
    if ca.cert.subject_der == [0x30, 0] {
        return broken("subject", "RFC 5280 4.1.2.6", "a name", "an empty name");
    }
    match &ca.basic {
        None => return broken("basic constraints", "RFC 5280 4.2.1.9", "CA:true", "no basic constraints"),
        Some(basic) if !basic.ca => {
            return broken("basic constraints", "RFC 5280 4.2.1.9", "CA:true", "CA:false");
        }
        Some(_) => {}
    }
    if ca.key_usage.as_ref().is_some_and(|usage| !usage.key_cert_sign()) {
        return broken("key usage", "RFC 5280 4.2.1.3", "keyCertSign", "key usage without it");
    }
    if ca.cert.subject_key_id.is_none() {
        return broken("subject key identifier", "RFC 5280 4.2.1.2", "one in every CA certificate", "none");
    }
    match &ca.authority {
        None if !is_root => broken(
            "authority key identifier",
            "RFC 5280 4.2.1.1",
            "one in every certificate below a root",
            "none",
        ),
        Some(authority) if authority.key_identifier.is_none() => {
            broken("authority key identifier", "RFC 5280 4.2.1.1", "a key identifier", "one without it")
        }
        Some(authority)
            if authority.authority_cert_issuer.is_some()
                != authority.authority_cert_serial_number.is_some() =>
        {
            let expected = "issuer and serial number both, or neither";
            broken("authority key identifier", "RFC 5280 4.2.1.1", expected, "one of them")
        }
        _ => Ok(()),
    }
}

/// The identifiers that tie a certificate to its issuer.
fn fits(below: &View, above: &View) -> Result<(), ChainRejection> {
    let named = below.authority.as_ref().and_then(|authority| authority.key_identifier.as_ref());
    match named.zip(above.cert.subject_key_id.as_ref()) {
        Some((named, key)) if named.as_bytes() != key.as_slice() => {
            let (rule, source) = ("authority key identifier", "RFC 5280 4.2.1.1");
            let expected = format!("{} of {}", crate::hash::hex(key), above.called());
            let came = crate::hash::hex(named.as_bytes());
            Err(BrokenRule::new(&below.called(), rule, source, expected, &came))
        }
        _ => Ok(()),
    }
}

fn revocation(path: &[&View], query: &ChainQuery<'_>) -> Result<(), ChainRejection> {
    if query.crls.is_empty() {
        return Ok(());
    }
    for (place, pair) in path.windows(2).enumerate() {
        let [below, above] = pair else { continue };
        let mut covered = false;
        for crl in query.crls.iter().filter(|crl| crl.names(&above.cert)) {
            covered = true;
            let bad = |error| ChainRejection::Crl { issuer: above.called(), error };
            crl.check_signed_by(&above.cert).map_err(bad)?;
            crl.check_current(query.at).map_err(bad)?;
            if crl.number.is_none() {
                return Err(bad(BadCrl::NoNumber));
            }
            if let Some(entry) = crl.entry(&below.cert.serial) {
                let (which, serial, at, reason) = (below.called(), entry.serial, entry.at, entry.reason);
                return Err(ChainRejection::Revoked { which, serial, at, reason });
            }
        }
        if place == 0 && !covered {
            return Err(ChainRejection::NoCrl { which: below.called(), issuer: above.called() });
        }
    }
    Ok(())
}
