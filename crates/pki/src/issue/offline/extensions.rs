//! The extensions of certificates issued from files (RFC 5280 4.2), each critical where it has to be.

use const_oid::AssociatedOid;
use const_oid::db::rfc5280;
use der::Encode;
use der::asn1::{Ia5String, OctetString};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
    CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

use super::{AuthorityPlan, CertPlan, KeyUses};
use crate::alt::{AltName, Names};
use crate::cert::Certificate;
use crate::issue::NotIssued;
use crate::issue::encode::{encoding, extensions_of, key_id};
use crate::key::PublicKey;
use crate::subject::Subject;

pub(super) fn cert_extensions(
    plan: &CertPlan,
    public_key: &PublicKey,
    authority: &[u8],
) -> Result<Vec<Extension>, NotIssued> {
    let mut list = Vec::new();
    add(&mut list, true, &BasicConstraints { ca: false, path_len_constraint: None })?;
    let uses = plan.key_usage.unwrap_or_else(|| KeyUses::tls(public_key.key_type()));
    let mut bits = der::flagset::FlagSet::<KeyUsages>::default();
    for (stated, bit) in [
        (uses.digital_signature, KeyUsages::DigitalSignature),
        (uses.content_commitment, KeyUsages::NonRepudiation),
        (uses.key_encipherment, KeyUsages::KeyEncipherment),
        (uses.key_agreement, KeyUsages::KeyAgreement),
    ] {
        if stated {
            bits |= bit;
        }
    }
    // RFC 5280 4.2.1.3: where the extension stands, one bit at least is set.
    if !bits.is_empty() {
        add(&mut list, true, &KeyUsage(bits))?;
    }
    let server = plan.usage.server.then_some(rfc5280::ID_KP_SERVER_AUTH);
    let client = plan.usage.client.then_some(rfc5280::ID_KP_CLIENT_AUTH);
    if server.is_some() || client.is_some() {
        add(&mut list, false, &ExtendedKeyUsage(server.into_iter().chain(client).collect()))?;
    }
    add_names(&mut list, &plan.names, &plan.subject)?;
    add_key_ids(&mut list, &key_id(public_key), authority)?;
    add_addresses(&mut list, &plan.crl_urls, &plan.issuer_urls)?;
    Ok(list)
}

pub(super) fn authority_extensions(
    plan: &AuthorityPlan,
    public_key: &PublicKey,
    authority: &[u8],
) -> Result<Vec<Extension>, NotIssued> {
    // RFC 5280 4.1.2.6: a CA's subject is never empty.
    if plan.subject.is_empty() {
        return Err(NotIssued::Nameless);
    }
    let mut list = Vec::new();
    add(&mut list, true, &BasicConstraints { ca: true, path_len_constraint: plan.path_len })?;
    add(&mut list, true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?;
    add_names(&mut list, &plan.names, &plan.subject)?;
    if !plan.constraints.is_empty() {
        add(&mut list, true, &plan.constraints.to_extension().map_err(encoding)?)?;
    }
    add_key_ids(&mut list, &key_id(public_key), authority)?;
    add_addresses(&mut list, &plan.crl_urls, &plan.issuer_urls)?;
    Ok(list)
}

pub(super) fn bridge_extensions(
    other: &Certificate,
    path_len: Option<u8>,
    authority: &[u8],
) -> Result<Vec<Extension>, NotIssued> {
    let own = [
        BasicConstraints::OID,
        AuthorityKeyIdentifier::OID,
        SubjectKeyIdentifier::OID,
        CrlDistributionPoints::OID,
        AuthorityInfoAccessSyntax::OID,
    ];
    let mut list = Vec::new();
    add(&mut list, true, &BasicConstraints { ca: true, path_len_constraint: path_len })?;
    let copied = extensions_of(&other.der).map_err(encoding)?;
    list.extend(copied.into_iter().filter(|extension| !own.contains(&extension.extn_id)));
    let subject_key_id = other.subject_key_id.clone().unwrap_or_else(|| key_id(&other.public_key));
    add_key_ids(&mut list, &subject_key_id, authority)?;
    Ok(list)
}

fn add_names(list: &mut Vec<Extension>, names: &Names, subject: &Subject) -> Result<(), NotIssued> {
    if names.is_empty() {
        return Ok(());
    }
    let names = names.iter().map(AltName::to_general_name).collect::<Result<Vec<_>, _>>();
    // RFC 5280 4.2.1.6: critical where there is no subject to go by.
    add(list, subject.is_empty(), &SubjectAltName(names.map_err(encoding)?))
}

fn add_key_ids(list: &mut Vec<Extension>, subject: &[u8], authority: &[u8]) -> Result<(), NotIssued> {
    let id = |bytes: &[u8]| OctetString::new(bytes).map_err(encoding);
    add(list, false, &SubjectKeyIdentifier(id(subject)?))?;
    let key_identifier = Some(id(authority)?);
    add(list, false, &AuthorityKeyIdentifier { key_identifier, ..AuthorityKeyIdentifier::default() })
}

fn add_addresses(list: &mut Vec<Extension>, crls: &[String], issuers: &[String]) -> Result<(), NotIssued> {
    let uri =
        |url: &String| Ia5String::new(url).map(GeneralName::UniformResourceIdentifier).map_err(encoding);
    if !crls.is_empty() {
        let names = crls.iter().map(uri).collect::<Result<Vec<_>, _>>()?;
        let point = DistributionPoint {
            distribution_point: Some(DistributionPointName::FullName(names)),
            reasons: None,
            crl_issuer: None,
        };
        add(list, false, &CrlDistributionPoints(vec![point]))?;
    }
    if !issuers.is_empty() {
        let access_method = rfc5280::ID_AD_CA_ISSUERS;
        let accesses = issuers
            .iter()
            .map(|url| Ok(AccessDescription { access_method, access_location: uri(url)? }))
            .collect::<Result<Vec<_>, NotIssued>>()?;
        add(list, false, &AuthorityInfoAccessSyntax(accesses))?;
    }
    Ok(())
}

/// Adds an extension; `x509-cert` would decide itself which are critical.
pub(crate) fn add<E: Encode + AssociatedOid>(
    list: &mut Vec<Extension>,
    critical: bool,
    value: &E,
) -> Result<(), NotIssued> {
    let extn_value = OctetString::new(value.to_der().map_err(encoding)?).map_err(encoding)?;
    list.push(Extension { extn_id: E::OID, critical, extn_value });
    Ok(())
}
