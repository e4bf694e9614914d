//! Verifying a peer: one function that every handshake, full or resumed, ends with (I11).
//!
//! Signatures and paths are checked by webpki; what it does not know is checked here: the validity of
//! roots, that the issuer is one of the cluster's, revocation, and the identity.

use rustls_pki_types::CertificateDer;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use crate::alt::AltName;
use crate::bundle::{Bundle, Root};
use crate::cert::{BadCertificate, Certificate, NoIdentity};
use crate::code;
use crate::explain::{Explain, Explanation};
use crate::hash::Sha256;
use crate::key::KeyType;
use crate::name::{ClusterName, SpiffeId};
use crate::revoke::{CertId, Reason};
use crate::san::San;
use crate::serial::Serial;
use crate::time::{Lifetime, UnixTime};

/// A chain is a leaf, an issuer and a root, and at most this much beside it (bridges of a rotation).
pub const CHAIN_MAX: usize = 8;

/// Which side of the connection the peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The peer accepted the connection.
    Server,
    /// The peer opened it.
    Client,
}

/// Which issuers below a trusted root a peer may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuers {
    /// Those that the bundle names.
    Known,
    /// Any that a trusted root signed. For calls to managers and nothing else: whoever was away when an
    /// issuer was added has yet to hear of it, and it is a manager of that issuer who tells (I13). Not
    /// one that the bundle says was struck.
    AnyBelowRoot,
    /// Any that a trusted root signed, struck or not. For what managers accept and nothing else: they hold
    /// every caller's certificate against the record, so that who has one of a struck issuer can renew.
    StruckToo,
}

/// Who a peer is, once verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its identity; always there where a cluster is trusted.
    pub identity: Option<SpiffeId>,
    /// Its certificate's common name, or the whole subject where it has none.
    pub subject: String,
    /// Its DNS names and addresses.
    pub sans: Vec<San>,
    /// Its certificate.
    pub cert: CertId,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key_hash: Sha256,
    /// Its key's type.
    pub key_type: KeyType,
    /// SHA-256 of its certificate.
    pub fingerprint: Sha256,
    /// Its certificate's last moment.
    pub not_after: UnixTime,
    /// SHA-256 of the root certificate that its chain was found to end in.
    pub root: Sha256,
    /// The last moment of its whole chain, root included: afterwards it must not stay connected.
    pub chain_not_after: UnixTime,
    /// Its certificate has ended, and was taken all the same (see [`crate::Accept::allowing_expired`]).
    pub expired: bool,
}

impl Peer {
    /// What to call it: its identity, else its certificate's first name, else its subject.
    pub fn name(&self) -> String {
        let named = self.identity.as_ref().map(SpiffeId::to_string);
        named.or_else(|| self.sans.first().map(San::to_string)).unwrap_or_else(|| self.subject.clone())
    }

    /// Its DNS names and addresses, and the URI that its identity is.
    pub fn alt_names(&self) -> impl Iterator<Item = AltName> {
        let sans = self.sans.iter().map(|san| match san {
            San::Dns(name) => AltName::Dns(name.clone()),
            San::Ip(ip) => AltName::Ip(*ip),
        });
        sans.chain(self.identity.iter().map(|identity| AltName::Uri(identity.to_string())))
    }
}

/// Verifies the chain a peer presented, leaf first, against what is trusted now.
///
/// # Errors
/// A [`Rejection`] that holds both halves of the comparison that failed.
pub fn verify_peer<C: AsRef<[u8]>>(
    chain: &[C],
    bundle: &Bundle,
    now: UnixTime,
    purpose: Purpose,
) -> Result<Peer, Rejection> {
    PeerQuery::new(bundle, now, purpose).verify(chain)
}

/// What a peer's chain is verified by.
#[derive(Clone, Copy, Debug)]
pub struct PeerQuery<'a> {
    /// What is trusted.
    pub bundle: &'a Bundle,
    /// The time.
    pub now: UnixTime,
    /// Which side of the connection the peer is on.
    pub purpose: Purpose,
    /// Which issuers it may come from.
    pub issuers: Issuers,
    /// How long after its end a leaf is still taken.
    pub grace: Option<Lifetime>,
}

impl<'a> PeerQuery<'a> {
    /// By what is trusted at `now`, of issuers that the bundle names, and no leaf that has ended.
    pub const fn new(bundle: &'a Bundle, now: UnixTime, purpose: Purpose) -> PeerQuery<'a> {
        PeerQuery { bundle, now, purpose, issuers: Issuers::Known, grace: None }
    }

    /// Verifies the chain a peer presented, leaf first.
    ///
    /// # Errors
    /// A [`Rejection`] that holds both halves of the comparison that failed.
    pub fn verify<C: AsRef<[u8]>>(&self, chain: &[C]) -> Result<Peer, Rejection> {
        let PeerQuery { bundle, now, purpose, .. } = *self;
        let (leaf_der, rest) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        if chain.len() > CHAIN_MAX {
            return Err(Rejection::ChainTooLong { came: chain.len() });
        }
        let leaf = Certificate::from_der(leaf_der.as_ref()).map_err(Rejection::Certificate)?;
        let ends = leaf.not_after.plus(self.grace.unwrap_or(Lifetime::from_secs(0)));
        let expired = now > leaf.not_after && now <= ends;
        // The path of a leaf that has ended is judged as of its end; the root as of now.
        let at = if expired { leaf.not_after } else { now };
        in_time("the certificate", leaf.not_before, leaf.not_after, at)?;
        let path =
            verify_path(leaf_der.as_ref(), rest, bundle, (now, at), purpose).map_err(
                |error| match error {
                    PathError::Webpki(error) => rejection(error, &leaf, rest, bundle, now, purpose),
                    PathError::Other(rejection) => rejection,
                },
            )?;
        if leaf.is_ca || !leaf.digital_signature {
            return Err(Rejection::NotALeaf { is_ca: leaf.is_ca });
        }
        let cert = CertId { issuer: path.issuer, serial: leaf.serial };
        let barred = match self.issuers {
            Issuers::Known => !bundle.has_issuer(&path.issuer),
            Issuers::AnyBelowRoot => bundle.has_struck(&path.issuer),
            Issuers::StruckToo => false,
        };
        if barred {
            return Err(Rejection::IssuerNotActive { issuer: path.issuer });
        }
        if let Some(revocation) = bundle.revocation(&cert) {
            let (at, reason) = (revocation.at, revocation.reason);
            return Err(Rejection::Revoked { serial: leaf.serial, at, reason });
        }
        let identity = identity_of(&leaf, bundle)?;
        // Issuers that outlive the leaf are judged as of its end, those that do not end the path.
        let issuers_end = if path.issuers_end < leaf.not_after { path.issuers_end } else { ends };
        Ok(Peer {
            identity,
            subject: leaf.common_name().to_owned(),
            cert,
            key_hash: leaf.key_hash(),
            key_type: leaf.public_key.key_type(),
            fingerprint: leaf.fingerprint(),
            not_after: leaf.not_after,
            root: path.root,
            chain_not_after: ends.min(issuers_end).min(path.root_end),
            expired,
            sans: leaf.sans,
        })
    }
}

/// The identity that a leaf must have where a cluster is trusted, and may have elsewhere.
fn identity_of(leaf: &Certificate, bundle: &Bundle) -> Result<Option<SpiffeId>, Rejection> {
    let Some(cluster) = bundle.cluster() else { return Ok(leaf.identity().ok()) };
    let identity = leaf.identity().map_err(Rejection::NoIdentity)?;
    if identity.cluster != *cluster {
        return Err(Rejection::WrongCluster { came: identity, expected: cluster.clone() });
    }
    Ok(Some(identity))
}

/// What a verified path adds to its leaf.
struct Path {
    issuer: Sha256,
    /// The last moment of whichever CA certificate between leaf and root ends first.
    issuers_end: UnixTime,
    root_end: UnixTime,
    /// SHA-256 of the root's certificate.
    root: Sha256,
}

enum PathError {
    Webpki(Error),
    Other(Rejection),
}

fn verify_path<C: AsRef<[u8]>>(
    leaf: &[u8],
    rest: &[C],
    bundle: &Bundle,
    (now, at): (UnixTime, UnixTime),
    purpose: Purpose,
) -> Result<Path, PathError> {
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(PathError::Webpki)?;
    let rest: Vec<CertificateDer<'_>> = rest.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
    // Roots that have ended are not anchors: webpki does not look at an anchor's validity.
    let live: Vec<_> = bundle.roots().iter().filter(|root| root.valid_at(now)).collect();
    let ders: Vec<CertificateDer<'_>> = live.iter().map(|root| CertificateDer::from(root.der())).collect();
    let anchors = ders.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
    let anchors = anchors.map_err(PathError::Webpki)?;
    let usage = match purpose {
        Purpose::Server => KeyUsage::server_auth(),
        Purpose::Client => KeyUsage::client_auth(),
    };
    let at = std::time::Duration::from_secs(u64::try_from(at.secs()).unwrap_or(0));
    let at = rustls_pki_types::UnixTime::since_unix_epoch(at);
    let path = leaf
        .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &rest, at, usage, None, None)
        .map_err(PathError::Webpki)?;
    // Not by key: a root that was signed anew over its key has another end.
    let root = live
        .iter()
        .zip(&anchors)
        .find(|(_, known)| std::ptr::eq(*known, path.anchor()))
        .map(|(root, _)| *root)
        .ok_or(PathError::Webpki(Error::UnknownIssuer))?;
    let mut issuer = root.key_hash();
    let mut issuers_end = root.not_after();
    for (place, above) in path.intermediate_certificates().enumerate() {
        let above = Certificate::from_der(&above.der())
            .map_err(|error| PathError::Other(Rejection::Certificate(error)))?;
        if place == 0 {
            issuer = above.key_hash();
        }
        issuers_end = issuers_end.min(above.not_after);
    }
    Ok(Path { issuer, issuers_end, root_end: root.not_after(), root: Sha256::of(root.der()) })
}

fn in_time(what: &'static str, from: UnixTime, to: UnixTime, now: UnixTime) -> Result<(), Rejection> {
    if now < from {
        Err(Rejection::NotYetValid { what, now, not_before: from })
    } else if now > to {
        Err(Rejection::Expired { what, now, not_after: to })
    } else {
        Ok(())
    }
}

/// What webpki's error means to a person, with what it compared.
fn rejection<C: AsRef<[u8]>>(
    error: Error,
    leaf: &Certificate,
    rest: &[C],
    bundle: &Bundle,
    now: UnixTime,
    purpose: Purpose,
) -> Rejection {
    let above: Vec<Certificate> =
        rest.iter().filter_map(|der| Certificate::from_der(der.as_ref()).ok()).collect();
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => above
            .iter()
            .find_map(|ca| {
                let is_root = bundle.roots().iter().any(|root| root.key_hash() == ca.key_hash());
                let what = if is_root { "the root" } else { "an issuer in the chain" };
                in_time(what, ca.not_before, ca.not_after, now).err()
            })
            .unwrap_or(Rejection::Expired { what: "the chain", now, not_after: leaf.not_after }),
        // Roots of one name are told apart by their key identifiers: a cluster that was founded anew has
        // the name of the old, and webpki tries the key of whichever has the name.
        Error::UnknownIssuer
        | Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            let top = top_of(leaf, &above);
            match root_above(top, bundle) {
                Some(root) if !root.valid_at(now) => ended(root, now),
                Some(_) if error != Error::UnknownIssuer => Rejection::BadSignature,
                _ => Rejection::UnknownAuthority {
                    came: top.issuer.clone(),
                    key: signs_itself(top).then(|| top.key_hash()),
                    expected: bundle.roots().iter().map(Root::key_hash).collect(),
                },
            }
        }
        Error::RequiredEkuNotFoundContext(_) => Rejection::WrongPurpose { needed: purpose },
        Error::CaUsedAsEndEntity => Rejection::NotALeaf { is_ca: true },
        other => Rejection::Path { why: format!("{other:?}") },
    }
}

fn ended(root: &Root, now: UnixTime) -> Rejection {
    let (what, not_before, not_after) = ("the root", root.not_before(), root.not_after());
    if now < not_before {
        Rejection::NotYetValid { what, now, not_before }
    } else {
        Rejection::Expired { what, now, not_after }
    }
}

/// How far up a chain leads, by names and key identifiers: not by its order, as what was appended to it
/// need not belong to it.
fn top_of<'a>(leaf: &'a Certificate, above: &'a [Certificate]) -> &'a Certificate {
    let mut top = leaf;
    for _ in above {
        match above.iter().find(|ca| is_named_by(ca, top)) {
            Some(next) if !signs_itself(top) => top = next,
            _ => break,
        }
    }
    top
}

/// The trusted root that `top` is, or that it names as its issuer.
fn root_above<'a>(top: &Certificate, bundle: &'a Bundle) -> Option<&'a Root> {
    bundle.roots().iter().find(|root| {
        root.key_hash() == top.key_hash()
            || !signs_itself(top)
                && Certificate::from_der(root.der()).is_ok_and(|root| is_named_by(&root, top))
    })
}

/// Whether `ca` names itself as its issuer. The name alone does not tell: a root that the root before it
/// of the same name signed over names that one's key.
fn signs_itself(ca: &Certificate) -> bool {
    ca.issuer_der == ca.subject_der && (ca.authority_key_id.is_none() || is_named_by(ca, ca))
}

/// Whether `below` names `ca` as its issuer.
fn is_named_by(ca: &Certificate, below: &Certificate) -> bool {
    let keys = ca.subject_key_id.as_ref().zip(below.authority_key_id.as_ref());
    ca.subject_der == below.issuer_der && keys.is_none_or(|(key, named)| key == named)
}

/// Why a peer's certificate is refused. The peer learns only the TLS alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The chain leads to a root that is not trusted.
    #[error("the certificate is from an authority that is not trusted here")]
    UnknownAuthority {
        /// The name its chain leads to.
        came: String,
        /// The key of the root it sent, if it sent one.
        key: Option<Sha256>,
        /// The roots that are trusted.
        expected: Vec<Sha256>,
    },
    /// Its time is over.
    #[error("{what} expired {}", .not_after.relative_to(*.now))]
    Expired {
        /// Which part of the chain.
        what: &'static str,
        /// The time it was compared with.
        now: UnixTime,
        /// Its last moment.
        not_after: UnixTime,
    },
    /// Its time has not come.
    #[error("{what} becomes valid {}", .not_before.relative_to(*.now))]
    NotYetValid {
        /// Which part of the chain.
        what: &'static str,
        /// The time it was compared with.
        now: UnixTime,
        /// Its first moment.
        not_before: UnixTime,
    },
    /// None was sent.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// It was revoked.
    #[error("the certificate was revoked ({reason})")]
    Revoked {
        /// Which certificate.
        serial: Serial,
        /// Since when.
        at: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// Its issuer is not one of the cluster's.
    #[error("the certificate's issuer is not an active issuer of the cluster")]
    IssuerNotActive {
        /// The issuer's key.
        issuer: Sha256,
    },
    /// Another cluster's.
    #[error("the certificate names another cluster")]
    WrongCluster {
        /// Who it is.
        came: SpiffeId,
        /// The cluster it should be of.
        expected: ClusterName,
    },
    /// Not one of those accepted here.
    #[error("{came} is not accepted here")]
    NotAllowed {
        /// Who it is.
        came: String,
        /// Who is accepted.
        expected: String,
    },
    /// Not for the name that was dialed.
    #[error("certificate is valid for {}, not {expected}", listed(.came))]
    WrongName {
        /// The name that was dialed.
        expected: String,
        /// The names it carries.
        came: Vec<String>,
    },
    /// A name that it must carry is missing.
    #[error("the certificate carries no name that matches {expected}")]
    NameMissing {
        /// The name or pattern that must be matched.
        expected: String,
        /// The names it carries.
        came: Vec<String>,
    },
    /// Its key is of a kind that is not taken here.
    #[error("certificate must use {expected}, got {came}")]
    KeyNotAccepted {
        /// The kinds that are.
        expected: String,
        /// Its kind.
        came: KeyType,
    },
    /// Not for this side of a connection.
    #[error("the certificate may not be used by a TLS {}", match .needed { Purpose::Server => "server", Purpose::Client => "client" })]
    WrongPurpose {
        /// The side the peer is on.
        needed: Purpose,
    },
    /// No single identity.
    #[error("the certificate carries no identity")]
    NoIdentity(#[source] NoIdentity),
    /// A CA's certificate, or one whose key may not sign.
    #[error("the certificate is not a leaf that may sign handshakes")]
    NotALeaf {
        /// Whether it is a CA's.
        is_ca: bool,
    },
    /// A forged chain.
    #[error("a signature in the chain does not verify")]
    BadSignature,
    /// Not readable.
    #[error("a certificate in the chain cannot be read")]
    Certificate(#[source] BadCertificate),
    /// More certificates than a chain may have.
    #[error("the chain has {came} certificates, at most {CHAIN_MAX} are read")]
    ChainTooLong {
        /// How many came.
        came: usize,
    },
    /// A rule of RFC 5280 6 is broken.
    #[error("the chain breaks a rule of path validation: {why}")]
    Path {
        /// Which one, in webpki's words.
        why: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

impl Rejection {
    /// The fixed word by which metrics count it.
    pub const fn label(&self) -> &'static str {
        match self {
            Rejection::UnknownAuthority { .. } => "unknown_authority",
            Rejection::Expired { .. } => "expired",
            Rejection::NotYetValid { .. } => "not_yet_valid",
            Rejection::NoCertificate => "no_certificate",
            Rejection::Revoked { .. } => "revoked",
            Rejection::IssuerNotActive { .. } => "issuer_not_active",
            Rejection::WrongCluster { .. } => "wrong_cluster",
            Rejection::NotAllowed { .. } => "not_allowed",
            Rejection::WrongName { .. } => "wrong_name",
            Rejection::NameMissing { .. } => "name_missing",
            Rejection::KeyNotAccepted { .. } => "key_not_accepted",
            Rejection::WrongPurpose { .. } => "wrong_purpose",
            Rejection::NoIdentity(_) => "no_identity",
            Rejection::NotALeaf { .. } => "not_a_leaf",
            Rejection::BadSignature => "bad_signature",
            Rejection::Certificate(_) | Rejection::ChainTooLong { .. } | Rejection::Path { .. } => {
                "malformed"
            }
        }
    }
}

impl Explain for Rejection {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        match self {
            Rejection::UnknownAuthority { came, key, expected } => {
                let expected: Vec<String> = expected.iter().map(Sha256::short).collect();
                let came = key.map_or_else(|| came.clone(), |key| format!("{came} ({})", key.short()));
                new(code::UNKNOWN_AUTHORITY).halves(format!("root {}", expected.join(" or ")), came).hint(
                    "the peer belongs to another CA, joined a cluster that was founded anew, or did not \
                         send its issuer",
                )
            }
            Rejection::Expired { now, not_after, .. } => new(code::EXPIRED)
                .fact("now", now)
                .fact("not after", not_after)
                .hint("see why it was not renewed: certus cert info, and the log of the peer"),
            Rejection::NotYetValid { now, not_before, .. } => new(code::NOT_YET_VALID)
                .fact("now", now)
                .fact("not before", not_before)
                .hint("one of the two clocks is wrong: compare `date -u` on both machines"),
            Rejection::NoCertificate => new(code::NO_CERTIFICATE)
                .halves("a certificate of this cluster", "none")
                .hint("connect through a certus peer, or give your client its certificate and key"),
            Rejection::Revoked { serial, at, .. } => new(code::REVOKED)
                .fact("serial", serial)
                .fact("revoked", at)
                .hint("certus token create --id ID --replace admits the node again with a new key"),
            Rejection::IssuerNotActive { issuer } => new(code::ISSUER_NOT_ACTIVE)
                .halves("an active issuer", issuer.short())
                .hint("the peer must renew: certus cert rotate --node ID"),
            Rejection::WrongCluster { came, expected } => {
                new(code::WRONG_CLUSTER).halves(format!("spiffe://{expected}/*"), came)
            }
            Rejection::NotAllowed { came, expected } => new(code::NOT_ALLOWED)
                .halves(expected, came)
                .hint("add the identity to `allow` of the listener, or to `id` of the peer"),
            Rejection::WrongName { expected, came } => {
                new(code::WRONG_NAME).halves(expected, listed(came)).hint(
                    "dial a name that the certificate carries, or give it this one: certus cert issue --dns",
                )
            }
            Rejection::NameMissing { expected, came } => new(code::NAME_MISSING)
                .halves(expected, listed(came))
                .hint("issue the peer a certificate with that name, or take it out of `required_sans`"),
            Rejection::KeyNotAccepted { expected, came } => new(code::KEY_NOT_ACCEPTED)
                .halves(expected, came)
                .hint("make a key of such a kind (certus key new --key-type p256), or widen `key_types`"),
            Rejection::WrongPurpose { needed } => new(code::WRONG_PURPOSE).halves(
                match needed {
                    Purpose::Server => "extended key usage serverAuth",
                    Purpose::Client => "extended key usage clientAuth",
                },
                "a certificate without it",
            ),
            Rejection::NoIdentity(no_identity) => new(code::NO_IDENTITY).halves(
                "one URI name spiffe://CLUSTER/ROLE/ID",
                match no_identity {
                    NoIdentity::Count { came } => format!("{came} URI names"),
                    NoIdentity::Bad(bad) => bad.to_string(),
                },
            ),
            Rejection::NotALeaf { is_ca } => new(code::NOT_A_LEAF).halves(
                "CA:false and digitalSignature",
                if *is_ca { "CA:true" } else { "key usage without digitalSignature" },
            ),
            Rejection::BadSignature => new(code::BAD_SIGNATURE)
                .halves("every certificate signed by the one above it", "one that is not")
                .hint("the chain was altered, or a certificate was combined with another's issuer"),
            Rejection::Certificate(bad) => bad.explain(),
            Rejection::ChainTooLong { came } => {
                new(code::MALFORMED_CERTIFICATE).halves(format!("at most {CHAIN_MAX} certificates"), came)
            }
            Rejection::Path { why } => {
                new(code::MALFORMED_CERTIFICATE).halves("a chain valid by RFC 5280 6", why)
            }
        }
    }
}
