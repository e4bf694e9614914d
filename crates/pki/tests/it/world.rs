//! A cluster whose certificates another implementation made, and what our side knows of it.

use certus_forge::{Ca, Leaf, LeafSpec};
use certus_pki::{
    Bundle, CertId, Epoch, Explain, IssuerRef, Lifetime, Peer, PrivateKey, PublicKey, Purpose, Reason,
    Rejection, Revocation, Root, Serial, Sha256, Signer, UnixTime, verify_peer,
};

/// 2026-01-01T00:00:00Z, inside what the forge calls valid unless it is told otherwise.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

pub(crate) const WEB: &str = "spiffe://prod/worker/web-1";

/// A root and one issuer.
pub(crate) struct World {
    pub(crate) root: Ca,
    pub(crate) issuer: Ca,
}

impl World {
    pub(crate) fn new(name: &str) -> World {
        World::under(Ca::root(name))
    }

    pub(crate) fn under(root: Ca) -> World {
        let issuer = root.intermediate("prod issuer 1", 0);
        World { root, issuer }
    }

    /// What a node of this cluster trusts.
    pub(crate) fn bundle(&self) -> Bundle {
        bundle(&[&self.root], &[&self.issuer], [])
    }

    pub(crate) fn leaf(&self, spec: &LeafSpec) -> Leaf {
        self.issuer.leaf(spec)
    }

    /// How this cluster judges a leaf of its own issuer.
    pub(crate) fn judge(&self, spec: &LeafSpec, purpose: Purpose) -> Result<Peer, Rejection> {
        verify_peer(&self.leaf(spec).chain_der, &self.bundle(), NOW, purpose)
    }
}

pub(crate) fn web() -> LeafSpec {
    LeafSpec::spiffe("web-1", WEB)
}

/// The trust of the cluster `prod`.
pub(crate) fn bundle(
    roots: &[&Ca],
    issuers: &[&Ca],
    revoked: impl IntoIterator<Item = Revocation>,
) -> Bundle {
    let roots = roots.iter().map(|root| Root::from_der(&root.der).unwrap()).collect();
    let not_after = NOW.plus(Lifetime::from_days(3650));
    let issuers = issuers.iter().map(|ca| IssuerRef { key_hash: key_hash(ca), not_after });
    Bundle::new("prod".parse().unwrap(), Epoch::default(), roots, issuers.collect::<Vec<_>>(), revoked)
}

pub(crate) fn key_hash(ca: &Ca) -> Sha256 {
    PublicKey::from_spki_der(&ca.key.spki_der()).unwrap().hash()
}

pub(crate) fn revocation(issuer: &Ca, serial: Serial) -> Revocation {
    Revocation {
        cert: CertId { issuer: key_hash(issuer), serial },
        at: NOW,
        reason: Reason::KeyCompromise,
        not_after: NOW.plus(Lifetime::from_days(1)),
    }
}

/// The certificate with `from` replaced by `to` of the same length, signed again with its issuer's key,
/// which must be Ed25519: its signatures are the last 64 bytes.
pub(crate) fn resigned(der: &[u8], issuer: &PrivateKey, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut der = patched(der, from, to);
    let body = usize::from(u16::from_be_bytes([der[6], der[7]]));
    let signature = issuer.sign(&der[4..8 + body]).unwrap();
    let start = der.len() - signature.len();
    der[start..].copy_from_slice(&signature);
    der
}

/// The bytes with the one occurrence of `from` replaced by `to` of the same length.
pub(crate) fn patched(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "equal lengths keep the DER well-formed");
    let mut places = der.windows(from.len()).enumerate().filter(|(_, window)| *window == from);
    let (at, _) = places.next().expect("it occurs");
    assert!(places.next().is_none(), "it occurs once");
    [&der[..at], to, &der[at + to.len()..]].concat()
}

/// The rejection's code; its explanation must stand alone.
pub(crate) fn code(rejection: &Rejection) -> u16 {
    let explanation = rejection.explain();
    let said = explanation.to_string();
    let readable_alone = matches!(rejection, Rejection::Certificate(_));
    assert!(explanation.facts.len() >= 2 || readable_alone, "both halves: {said}");
    assert!(explanation.facts.iter().all(|(_, value)| !value.is_empty()), "{said}");
    assert!(!explanation.message.ends_with('.') && !explanation.message.is_empty(), "{said}");
    explanation.code.number()
}
