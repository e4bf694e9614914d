//! Names on a path: those looked for, and those that CAs constrain (RFC 5280 4.2.1.6, 4.2.1.10).

use rustls_pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;

use super::rejection::{BrokenRule, ChainRejection};
use super::view::View;
use crate::alt::AltName;
use crate::constraints::{NameConstraints, Subtree};
use crate::details::name_in_words;
use crate::subject::Subject;

/// Names compared with constraints on one path: Go's bound against certificates made to be slow.
const COMPARISONS_MAX: usize = 250_000;

/// Checks that the leaf carries each of `wanted`. A common name is not looked at (RFC 9525 §2).
pub(super) fn carries(leaf: &View, wanted: &[AltName]) -> Result<(), ChainRejection> {
    for name in wanted {
        let carried = match name {
            AltName::Dns(_) | AltName::Ip(_) => is_server_name(leaf, name),
            AltName::Email(_) | AltName::Uri(_) => leaf
                .names
                .iter()
                .flatten()
                .filter_map(AltName::from_general_name)
                .any(|carried| carried == *name),
        };
        if !carried {
            let came = leaf.names.iter().flatten().take(NAMES_SHOWN).map(name_in_words).collect();
            let common_name =
                Subject::from_der(&leaf.cert.subject_der).ok().and_then(|s| s.first_common_name());
            return Err(ChainRejection::WrongName { expected: name.clone(), came, common_name });
        }
    }
    Ok(())
}

/// An error is no place for a hundred names.
const NAMES_SHOWN: usize = 10;

fn is_server_name(leaf: &View, name: &AltName) -> bool {
    if leaf.cert.is_ca {
        // webpki does not read CAs as leaves.
        return leaf.names.iter().flatten().filter_map(AltName::from_general_name).any(|n| n == *name);
    }
    let der = CertificateDer::from(leaf.cert.der.as_slice());
    let Ok(wanted) = ServerName::try_from(name.value()) else { return false };
    EndEntityCert::try_from(&der).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&wanted).is_ok())
}

/// Checks every certificate of a path, leaf first, against the constraints of all CAs above it.
pub(super) fn constrained(path: &[&View]) -> Result<(), ChainRejection> {
    let mut left = COMPARISONS_MAX;
    for (place, ca) in path.iter().enumerate().skip(1) {
        let Some(constraints) = &ca.constraints else { continue };
        let sets = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
        let sets: Vec<&GeneralSubtree> = sets.into_iter().flatten().flatten().collect();
        let known = NameConstraints::from_extension(constraints);
        for (below, certificate) in path[..place].iter().enumerate() {
            // RFC 5280 6.1.3 (b): self-issued certificates are free of them, the last one is not.
            if below > 0 && certificate.is_self_issued() {
                continue;
            }
            let work = sets.len().saturating_mul(certificate.names.as_ref().map_or(1, Vec::len));
            left = left.checked_sub(work).ok_or(ChainRejection::TooMuchWork)?;
            within(certificate, ca, &sets, &known)?;
        }
    }
    Ok(())
}

fn within(
    certificate: &View,
    ca: &View,
    sets: &[&GeneralSubtree],
    known: &NameConstraints,
) -> Result<(), ChainRejection> {
    let outside = |name: String, expected: String| ChainRejection::OutsideConstraints {
        which: certificate.called(),
        ca: ca.called(),
        name,
        expected,
    };
    for name in certificate.names.iter().flatten() {
        let constrained = sets.iter().any(|set| kind(&set.base) == kind(name));
        if !constrained {
            continue;
        }
        let understood =
            matches!(name, GeneralName::DnsName(_) | GeneralName::Rfc822Name(_) | GeneralName::IpAddress(_));
        match AltName::from_general_name(name).filter(|_| understood) {
            Some(name) => known.check(&name).map_err(|error| outside(error.name, error.expected))?,
            // RFC 5280 4.2.1.10: what cannot be processed is refused.
            None => {
                return Err(outside(
                    name_in_words(name),
                    "a name whose constraints can be judged".to_owned(),
                ));
            }
        }
    }
    let subject = Subject::from_der(&certificate.cert.subject_der).unwrap_or_else(|_| Subject::empty());
    let directory = |set: &&GeneralSubtree| matches!(set.base, GeneralName::DirectoryName(_));
    if !subject.is_empty() && sets.iter().any(directory) {
        let expected =
            "a subject whose constraints can be judged: those on directory names are not".to_owned();
        return Err(outside(subject.to_string(), expected));
    }
    // RFC 5280 4.2.1.10: without alternative names, the subject's e-mail address counts.
    if certificate.names.is_none() {
        for address in subject.email_addresses() {
            match AltName::email(&address) {
                Ok(name) => known.check(&name).map_err(|error| outside(error.name, error.expected))?,
                Err(bad) if ca.constrains_email() => return Err(outside(bad.came, bad.expected.to_owned())),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Checks that what a CA constrains is stated as RFC 5280 4.2.1.10 has it.
pub(super) fn well_formed(ca: &View, which: &str) -> Result<(), ChainRejection> {
    let Some(constraints) = &ca.constraints else { return Ok(()) };
    let broken = |expected: &'static str, came: &str| {
        Err(BrokenRule::new(which, "name constraints", "RFC 5280 4.2.1.10", expected, came))
    };
    let sets = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    let sets: Vec<&GeneralSubtree> = sets.into_iter().flatten().flatten().collect();
    if sets.is_empty() {
        return broken("permitted or excluded names", "neither");
    }
    for set in sets {
        let ours = matches!(
            set.base,
            GeneralName::DnsName(_) | GeneralName::Rfc822Name(_) | GeneralName::IpAddress(_)
        );
        if ours && Subtree::from_general_name(&set.base).is_none() {
            return broken("well-formed names and ranges", "one that is not well-formed");
        }
        if set.minimum != 0 || set.maximum.is_some() {
            return broken("no minimum and no maximum", "one of them");
        }
    }
    Ok(())
}

/// What kind of name it is, as a number to compare.
fn kind(name: &GeneralName) -> u8 {
    match name {
        GeneralName::OtherName(_) => 0,
        GeneralName::Rfc822Name(_) => 1,
        GeneralName::DnsName(_) => 2,
        GeneralName::DirectoryName(_) => 4,
        GeneralName::EdiPartyName(_) => 5,
        GeneralName::UniformResourceIdentifier(_) => 6,
        GeneralName::IpAddress(_) => 7,
        GeneralName::RegisteredId(_) => 8,
    }
}
