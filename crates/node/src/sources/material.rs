//! One generation of key, chain and roots, and whether it can be used.
//!
//! No files, no clock: what is read elsewhere is judged here.

use aws_lc_rs::digest::{Context, SHA256};
use certus_pki::chain::{ChainQuery, verify_chain};
use certus_pki::details::Details;
use certus_pki::{Certificate, Explanation, PrivateKey, Root, Sha256, Signer, UnixTime, Usage, code};

mod error;

pub use error::MaterialError;

/// Longest chain: a chain is rarely longer than three, and every peer must take it.
pub const CHAIN_MAX: usize = 8;
/// Most roots: a bundle of public roots has 150.
pub const ROOTS_MAX: usize = 500;

/// What whoever asks cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// A key and its chain.
    pub identity: bool,
    /// Roots to judge peers by.
    pub roots: bool,
}

impl Needs {
    /// Both: mutual TLS.
    pub const BOTH: Needs = Needs { identity: true, roots: true };
    /// A key and its chain only.
    pub const IDENTITY: Needs = Needs { identity: true, roots: false };
    /// Roots only.
    pub const ROOTS: Needs = Needs { identity: false, roots: true };
}

/// A private key and the chain that goes with it. No `Debug`: it holds a secret (I7).
pub struct Pair {
    key: PrivateKey,
    chain: Vec<Vec<u8>>,
    certificates: Vec<Certificate>,
}

impl Pair {
    /// The key, and its certificates: leaf first, then its issuers. That they belong together is
    /// checked by [`Material::check`].
    ///
    /// # Errors
    /// No certificate, or more than [`CHAIN_MAX`].
    pub fn new(key: PrivateKey, certificates: Vec<Certificate>) -> Result<Pair, MaterialError> {
        match certificates.len() {
            0 => Err(MaterialError::EmptyChain),
            1..=CHAIN_MAX => {
                let chain = certificates.iter().map(|certificate| certificate.der.clone()).collect();
                Ok(Pair { key, chain, certificates })
            }
            came => Err(MaterialError::ChainTooLong { came }),
        }
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The certificates, DER, leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The leaf.
    pub fn leaf(&self) -> &Certificate {
        // Never empty: `new` refuses that.
        &self.certificates[0]
    }

    /// The whole chain, leaf first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}

/// One immutable generation. No `Debug`: it may hold a secret (I7).
pub struct Material {
    pair: Option<Pair>,
    roots: Vec<Root>,
    digest: Sha256,
}

impl Material {
    /// A generation of these parts.
    pub fn new(pair: Option<Pair>, roots: Vec<Root>) -> Material {
        let digest = digest(pair.as_ref(), &roots);
        Material { pair, roots, digest }
    }

    /// The key and its chain.
    pub fn pair(&self) -> Option<&Pair> {
        self.pair.as_ref()
    }

    /// The roots that peers are judged by.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Tells generations apart: a digest of public key, chain and roots. The same material in another
    /// order of files, or with other remarks between its blocks, has the same.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Whether it can be used at `now`. See [`Material::concerns`] for what is only worth a warning.
    ///
    /// # Errors
    /// The first thing that is wrong: something is missing, the key is another certificate's, a certificate
    /// is out of its time or in the wrong place, no root is in its time.
    pub fn check(&self, now: UnixTime, needs: Needs) -> Result<(), MaterialError> {
        match &self.pair {
            None if needs.identity => return Err(MaterialError::NoIdentity),
            None => {}
            Some(pair) => check_pair(pair, now)?,
        }
        self.check_roots(now, needs)
    }

    fn check_roots(&self, now: UnixTime, needs: Needs) -> Result<(), MaterialError> {
        if self.roots.len() > ROOTS_MAX {
            return Err(MaterialError::TooManyRoots { came: self.roots.len() });
        }
        let Some(last) = self.roots.iter().map(Root::not_after).max() else {
            return if needs.roots { Err(MaterialError::NoRoots) } else { Ok(()) };
        };
        if self.roots.iter().any(|root| root.valid_at(now)) {
            return Ok(());
        }
        Err(MaterialError::RootsOutOfTime { now, roots: self.roots.len(), not_after: last })
    }

    /// What does not keep it from being used, and should still be known: its own roots do not vouch for
    /// it, which is right only where another CA signs the peers; it carries no names; a root has ended.
    pub fn concerns(&self, now: UnixTime) -> Vec<Explanation> {
        let mut concerns = Vec::new();
        let ended = self.roots.iter().filter(|root| !root.valid_at(now)).count();
        if ended > 0 && ended < self.roots.len() {
            let told = format!("{ended} of {} trusted roots are out of their time", self.roots.len());
            concerns.push(Explanation::new(code::EXPIRED, told).hint("take them out of the CA file"));
        }
        let Some(pair) = &self.pair else { return concerns };
        let leaf = pair.leaf();
        if leaf.sans.is_empty() && leaf.uris.is_empty() && leaf.other_names == 0 {
            let told = format!("{} carries no names", leaf.subject);
            concerns.push(
                Explanation::new(code::WRONG_NAME, told)
                    .halves("subjectAltName", "none")
                    .hint("peers that look for a name refuse it (RFC 9525): issue it with subjectAltName"),
            );
        }
        if !self.roots.is_empty() && !self.vouch(pair, now) {
            let told = format!("the trusted roots do not vouch for {}", leaf.subject);
            concerns.push(
                Explanation::new(code::UNKNOWN_AUTHORITY, told)
                    .halves("a chain to one of the trusted roots", format!("issued by {}", leaf.issuer))
                    .hint("right only where the peers trust another CA; else the CA file is the wrong one"),
            );
        }
        concerns
    }

    /// Whether one of the roots vouches for the pair.
    fn vouch(&self, pair: &Pair, now: UnixTime) -> bool {
        let roots: Vec<&[u8]> = self.roots.iter().map(Root::der).collect();
        let between: Vec<&[u8]> = pair.chain.iter().skip(1).map(Vec::as_slice).collect();
        let query = ChainQuery { intermediates: &between, ..ChainQuery::at(now, &roots) };
        pair.chain.first().is_some_and(|leaf| verify_chain(leaf, &query).is_ok())
    }

    /// An alarm while less than a third of the leaf's lifetime remains: whoever should have made the next
    /// one did not. `rotates` says whether the source could bring it without a restart.
    pub fn expires_alarm(&self, now: UnixTime, rotates: bool) -> Option<Explanation> {
        let leaf = self.pair()?.leaf();
        let life = leaf.not_after.secs_since(leaf.not_before).max(0);
        let left = leaf.not_after.secs_since(now);
        if left >= life / 3 {
            return None;
        }
        let verb = if left < 0 { "ended" } else { "ends" };
        let told = format!("{} {verb} {}", leaf.subject, leaf.not_after.relative_to(now));
        let hint = if rotates {
            "put the next certificate in its place: it is taken without a restart"
        } else {
            "this source cannot rotate: set the next certificate and restart, or use files"
        };
        Some(
            Explanation::new(code::OWN_CERTIFICATE, told)
                .fact("now", now)
                .fact("not after", leaf.not_after)
                .hint(hint),
        )
    }
}

fn check_pair(pair: &Pair, now: UnixTime) -> Result<(), MaterialError> {
    let leaf = pair.leaf();
    let details = Details::read(&leaf.der).map_err(|error| MaterialError::Certificate {
        which: leaf.subject.clone(),
        line: None,
        error,
    })?;
    if details.version != 3 {
        return Err(MaterialError::Version { which: leaf.subject.clone(), came: details.version });
    }
    if leaf.public_key != *pair.key.public_key() {
        let (expected, came) = (leaf.key_hash(), pair.key.public_key().hash());
        return Err(MaterialError::WrongKey { which: leaf.subject.clone(), expected, came });
    }
    if leaf.is_ca {
        return Err(MaterialError::IsCa { which: leaf.subject.clone() });
    }
    if leaf.usage == Usage::NONE {
        let (which, came) = (leaf.subject.clone(), details.purposes.join(", "));
        return Err(MaterialError::WrongPurpose { which, came });
    }
    if !leaf.digital_signature {
        let (which, came) = (leaf.subject.clone(), details.key_usage.join(", "));
        return Err(MaterialError::CannotSign { which, came });
    }
    for certificate in &pair.certificates {
        in_time(certificate, now)?;
    }
    check_order(&pair.certificates)
}

/// Each certificate was signed by the one behind it (RFC 5246 7.4.2; what RFC 8446 4.4.2 calls legacy
/// order, and every implementation takes).
fn check_order(certificates: &[Certificate]) -> Result<(), MaterialError> {
    for (place, pair) in certificates.windows(2).enumerate() {
        let [below, above] = pair else { continue };
        let place = place + 2;
        if below.issuer_der != above.subject_der {
            let (which, expected) = (below.subject.clone(), below.issuer.clone());
            return Err(MaterialError::Order { place, which, expected, came: above.subject.clone() });
        }
        if !above.is_ca || !below.verify_signed_by(above) {
            let (which, above, is_ca) = (below.subject.clone(), above.subject.clone(), above.is_ca);
            return Err(MaterialError::NotSigned { place, which, above, is_ca });
        }
    }
    Ok(())
}

fn in_time(certificate: &Certificate, now: UnixTime) -> Result<(), MaterialError> {
    let which = certificate.subject.clone();
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    if now < not_before {
        Err(MaterialError::NotYetValid { which, now, not_before })
    } else if now > not_after {
        Err(MaterialError::Expired { which, now, not_after })
    } else {
        Ok(())
    }
}

/// Over public values only: a digest goes to logs and metrics.
fn digest(pair: Option<&Pair>, roots: &[Root]) -> Sha256 {
    let mut context = Context::new(&SHA256);
    let mut part = |kind: u8, bytes: &[u8]| {
        context.update(&[kind]);
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    if let Some(pair) = pair {
        part(b'k', pair.key.public_key().spki_der());
        pair.chain.iter().for_each(|der| part(b'c', der));
    }
    roots.iter().for_each(|root| part(b'r', root.der()));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Sha256::from_bytes(bytes)
}

#[cfg(test)]
mod tests;
