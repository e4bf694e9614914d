//! The first dial's verdict: a joiner holds a pin of the root, and must be sure that the other end is a
//! manager of that root's cluster before it sends its token (I13).

use rustls_pki_types::SubjectPublicKeyInfoDer;
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};
use x509_cert::der::{Decode, Encode};

use crate::bundle::{Bundle, Epoch, IssuerRef, Root};
use crate::cert::Certificate;
use crate::code;
use crate::explain::{Explain, Explanation};
use crate::hash::Sha256;
use crate::name::{ClusterName, Role, SpiffeId, shown};
use crate::time::UnixTime;
use crate::token::Pin;
use crate::verify::{CHAIN_MAX, Peer, Purpose, Rejection, verify_peer};

/// A manager whose chain leads to the pinned root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedManager {
    /// The cluster that the root names.
    pub cluster: ClusterName,
    /// The pinned root.
    pub root: Root,
    /// The manager.
    pub peer: Peer,
    identity: SpiffeId,
}

impl PinnedManager {
    /// Which manager it is.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }
}

/// Verifies that `chain`, leaf first and with the root as it was sent, is a manager's under the root
/// that `pin` names.
///
/// There is no bundle yet, so issuers and revocations cannot be checked; everything else is, by the same
/// function as for any peer.
///
/// # Errors
/// A [`PinError`] that holds both halves of the comparison that failed.
pub fn verify_manager<C: AsRef<[u8]>>(
    chain: &[C],
    pin: Pin,
    now: UnixTime,
) -> Result<PinnedManager, PinError> {
    let Some((_, above)) = chain.split_first() else { return Err(rejected(Rejection::NoCertificate)) };
    if chain.len() > CHAIN_MAX {
        return Err(rejected(Rejection::ChainTooLong { came: chain.len() }));
    }
    let above: Vec<Certificate> = above
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()))
        .collect::<Result<_, _>>()
        .map_err(|bad| rejected(Rejection::Certificate(bad)))?;
    let root = above.iter().find(|ca| pin.matches(&ca.key_hash()));
    let Some(root) = root else {
        return Err(PinError::WrongPin {
            expected: pin,
            came: above.iter().map(Certificate::key_hash).collect(),
        });
    };
    // The pin covers the key alone: name and validity are the root's only if it signed them.
    if !signed_by_itself(root) {
        return Err(rejected(Rejection::BadSignature));
    }
    let cluster = cluster_of(root)?;
    let anchor = Root::from_der(&root.der).map_err(|bad| rejected(Rejection::Certificate(bad)))?;
    let issuers = above.iter().map(|ca| IssuerRef { key_hash: ca.key_hash(), not_after: ca.not_after });
    let bundle = Bundle::new(cluster.clone(), Epoch::default(), vec![anchor.clone()], issuers, []);
    let peer = verify_peer(chain, &bundle, now, Purpose::Server).map_err(rejected)?;
    match peer.identity.clone() {
        Some(identity) if identity.role == Role::Manager => {
            Ok(PinnedManager { cluster, root: anchor, peer, identity })
        }
        Some(came) => Err(PinError::NotAManager { came, cluster }),
        // A cluster's bundle lets nobody pass without one.
        None => Err(rejected(Rejection::NoCertificate)),
    }
}

fn rejected(rejection: Rejection) -> PinError {
    match rejection {
        Rejection::UnknownAuthority { .. } | Rejection::BadSignature => PinError::NotUnderRoot(rejection),
        Rejection::WrongCluster { came, expected } => PinError::NotAManager { came, cluster: expected },
        other => PinError::Rejected(other),
    }
}

/// The one trust domain that a root's URI names.
fn cluster_of(root: &Certificate) -> Result<ClusterName, PinError> {
    let named = match &root.uris[..] {
        [uri] => uri.strip_prefix("spiffe://").and_then(|name| name.parse().ok()),
        _ => None,
    };
    named.ok_or_else(|| PinError::NoCluster { came: root.uris.iter().map(|uri| shown(uri)).collect() })
}

/// Whether a root's signature is by its own key.
fn signed_by_itself(root: &Certificate) -> bool {
    let spki = SubjectPublicKeyInfoDer::from(root.public_key.spki_der());
    let (Ok(certificate), Ok(key)) =
        (x509_cert::Certificate::from_der(&root.der), RawPublicKeyEntity::try_from(&spki))
    else {
        return false;
    };
    let signed = certificate.tbs_certificate().to_der();
    let stated = certificate.signature_algorithm().to_der();
    let (Ok(signed), Ok(stated), Some(signature)) = (signed, stated, certificate.signature().as_bytes())
    else {
        return false;
    };
    ALL_VERIFICATION_ALGS
        .iter()
        // An identifier is the SEQUENCE's content; the identifiers here are all shorter than 128 bytes.
        .filter(|known| stated.get(2..) == Some(known.signature_alg_id().as_ref()))
        .any(|known| key.verify_signature(*known, &signed, signature).is_ok())
}

/// Why the other end of a first dial gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// No certificate of its chain is the pinned root.
    #[error("the manager's chain does not hold the pinned root")]
    WrongPin {
        /// The pin.
        expected: Pin,
        /// The keys above its leaf.
        came: Vec<Sha256>,
    },
    /// It holds the root, but does not lead to it.
    #[error("the other end sent the pinned root, but its certificate is not under it")]
    NotUnderRoot(#[source] Rejection),
    /// It is of the cluster, or another, but no manager of it.
    #[error("the other end is {came}, not a manager of {cluster}")]
    NotAManager {
        /// Who it is.
        came: SpiffeId,
        /// The cluster that the root names.
        cluster: ClusterName,
    },
    /// The root does not say whose it is.
    #[error("the pinned root names no cluster")]
    NoCluster {
        /// The URIs that it carries.
        came: Vec<String>,
    },
    /// Its certificate is refused for what would refuse any peer's.
    #[error("the manager's certificate is refused")]
    Rejected(#[source] Rejection),
}

impl Explain for PinError {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        match self {
            PinError::WrongPin { expected, came } => {
                let came: Vec<String> = came.iter().map(|key| key.to_string()[..32].to_owned()).collect();
                let came = if came.is_empty() { "none".to_owned() } else { came.join(", ") };
                new(code::WRONG_PIN)
                    .halves(format!("a root {expected}"), came)
                    .hint("the token is of another cluster, or the address is not this cluster's: certus token create")
            }
            PinError::NotUnderRoot(rejection) => new(code::NOT_A_MANAGER)
                .fact("why", rejection)
                .hint("somebody poses as a manager at this address, or a proxy stands before it"),
            PinError::NotAManager { came, cluster } => new(code::NOT_A_MANAGER)
                .halves(format!("spiffe://{cluster}/manager/*"), came)
                .hint("give the address of a manager's API, not of a worker's listener"),
            PinError::NoCluster { came } => new(code::MALFORMED_CERTIFICATE)
                .halves("one URI name spiffe://CLUSTER in the root", came.join(", ")),
            PinError::Rejected(rejection) => rejection.explain(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{CaPlan, Issuer, LeafPlan, Validity};
    use crate::key::{KeyType, PrivateKey, Signer};
    use crate::serial::Serial;
    use crate::time::Lifetime;
    use crate::token::JoinToken;

    /// The pin covers a key; a root certificate made up around that key says nothing.
    #[test]
    fn i13_a_root_that_did_not_sign_itself_is_no_root() {
        let now = UnixTime::from_secs(1_800_000_000);
        let key = PrivateKey::generate(KeyType::P256).ok().unwrap();
        let validity = Validity::starting(now, Lifetime::from_days(1));
        let plan = CaPlan::root(&"prod".parse().unwrap(), validity);
        let root = Issuer::self_signed(&plan, Serial::from_random([1; 16]), &key).unwrap();
        let plan = LeafPlan {
            identity: "spiffe://evil/manager/m1".parse().unwrap(),
            public_key: key.public_key().clone(),
            sans: Vec::new(),
            validity,
        };
        let leaf = root.sign_leaf(&plan, Serial::from_random([2; 16]), &key).unwrap();
        let pin = JoinToken::new([7; 16], &root.key_hash()).pin();
        let genuine = root.certificate().der.clone();
        let refused = verify_manager(&[leaf.clone(), genuine.clone()], pin, now);
        assert!(matches!(refused, Err(PinError::NotAManager { .. })), "{refused:?}");

        let mut forged = genuine;
        let uri = b"spiffe://prod";
        let at = forged.windows(uri.len()).position(|window| window == uri).unwrap();
        forged[at..at + uri.len()].copy_from_slice(b"spiffe://evil");
        let refused = verify_manager(&[leaf, forged], pin, now);
        assert_eq!(refused, Err(PinError::NotUnderRoot(Rejection::BadSignature)));
    }

    #[test]
    fn a_chain_without_the_root_says_which_keys_came() {
        let pin = JoinToken::new([7; 16], &Sha256::of(b"root")).pin();
        let now = UnixTime::from_secs(0);
        assert_eq!(
            verify_manager::<Vec<u8>>(&[], pin, now),
            Err(PinError::Rejected(Rejection::NoCertificate))
        );
        let refused = verify_manager(&[b"leaf"], pin, now);
        assert_eq!(refused, Err(PinError::WrongPin { expected: pin, came: Vec::new() }));
        assert_eq!(refused.unwrap_err().explain().facts[1].1, "none");
    }
}
