//! The search for a path from a leaf to a root: depth first, by names, within a budget.

use super::rejection::{BrokenRule, ChainRejection};
use super::view::View;
use super::{ChainQuery, INTERMEDIATES_PER_PATH_MAX, names, profile};

/// Signatures checked for one chain: webpki's and Go's bound against graphs made to be slow.
const SIGNATURES_MAX: usize = 100;
/// Steps of the search, signatures aside.
const STEPS_MAX: usize = 20_000;

/// One search. What can be trusted and what may stand between was read before.
pub(super) struct Search<'q> {
    query: &'q ChainQuery<'q>,
    roots: Vec<View>,
    intermediates: Vec<View>,
    /// Roots that cannot be read: said only where nothing else explains the failure.
    unreadable: Option<ChainRejection>,
}

/// What a search used up, and the best explanation so far.
struct Progress {
    signatures: usize,
    steps: usize,
    best: Option<(usize, ChainRejection)>,
}

impl Progress {
    /// Keeps the explanation of the path that led furthest; of several the first.
    fn explain(&mut self, reach: usize, rejection: ChainRejection) {
        if self.best.as_ref().is_none_or(|(best, _)| reach > *best) {
            self.best = Some((reach, rejection));
        }
    }
}

/// How far paths led, for choosing what to say.
mod reach {
    /// Nothing above has the name.
    pub(super) const NOWHERE: usize = 0;
    /// Something has the name and another key.
    pub(super) const SIGNATURE: usize = 1;
    /// To a root; a rule is broken.
    pub(super) const ROOT: usize = 2;
}

impl<'q> Search<'q> {
    pub(super) fn new(query: &'q ChainQuery<'q>) -> Search<'q> {
        let mut unreadable = None;
        let mut roots = Vec::new();
        for (place, der) in query.roots.iter().enumerate() {
            match View::read(der) {
                Ok(root) => roots.push(root),
                Err(error) => {
                    unreadable.get_or_insert_with(|| error.of(format!("trusted root number {}", place + 1)));
                }
            }
        }
        // What cannot be read cannot be on the path, and need not belong to it.
        let intermediates = query.intermediates.iter().filter_map(|der| View::read(der).ok()).collect();
        Search { query, roots, intermediates, unreadable }
    }

    /// The path, leaf first, root last.
    pub(super) fn find<'s>(&'s self, leaf: &'s View) -> Result<Vec<&'s View>, ChainRejection> {
        // A CA that is itself trusted needs nobody above it.
        if let Some(root) = self.roots.iter().find(|root| root.cert.is_ca && root.cert.der == leaf.cert.der) {
            profile::path(&[root], self.query)?;
            return Ok(vec![root]);
        }
        let mut progress = Progress { signatures: SIGNATURES_MAX, steps: STEPS_MAX, best: None };
        let mut path = vec![leaf];
        if self.extend(&mut path, &mut progress)? {
            return Ok(path);
        }
        match (progress.best, &self.unreadable) {
            (Some((reach, rejection)), _) if reach > reach::NOWHERE => Err(rejection),
            (_, Some(unreadable)) => Err(unreadable.clone()),
            (Some((_, rejection)), None) => Err(rejection),
            (None, None) => Err(self.unknown(leaf)),
        }
    }

    /// Whether the path could be led on to a root. An error ends the search.
    fn extend<'s>(
        &'s self,
        path: &mut Vec<&'s View>,
        progress: &mut Progress,
    ) -> Result<bool, ChainRejection> {
        let Some(top) = path.last().copied() else { return Ok(false) };
        let mut named = false;
        for root in self.roots.iter().filter(|root| top.names_issuer(root)) {
            named = true;
            if !self.signed(top, root, progress)? {
                continue;
            }
            path.push(root);
            match profile::path(path, self.query).and_then(|()| names::constrained(path)) {
                Ok(()) => return Ok(true),
                Err(rejection) => progress.explain(reach::ROOT, rejection),
            }
            path.pop();
        }
        if path.len() > INTERMEDIATES_PER_PATH_MAX {
            return Ok(false);
        }
        for next in self.intermediates.iter().filter(|next| top.names_issuer(next)) {
            // RFC 4158 5.2: no name and key twice.
            let seen = |view: &&View| {
                view.cert.subject_der == next.cert.subject_der && view.cert.public_key == next.cert.public_key
            };
            if path.iter().any(seen) {
                continue;
            }
            named = true;
            if !self.signed(top, next, progress)? {
                continue;
            }
            path.push(next);
            if self.extend(path, progress)? {
                return Ok(true);
            }
            path.pop();
        }
        if !named {
            progress.explain(reach::NOWHERE, self.unknown(top));
        }
        Ok(false)
    }

    fn signed(&self, below: &View, above: &View, progress: &mut Progress) -> Result<bool, ChainRejection> {
        progress.steps = progress.steps.checked_sub(1).ok_or(ChainRejection::TooMuchWork)?;
        // Of CAs with one name the key identifier tells which is meant; without one, all are tried.
        let named = below.authority.as_ref().and_then(|authority| authority.key_identifier.as_ref());
        let keys = named.zip(above.cert.subject_key_id.as_ref());
        let other_key = keys.is_some_and(|(named, key)| named.as_bytes() != key);
        progress.signatures = progress.signatures.checked_sub(1).ok_or(ChainRejection::TooMuchWork)?;
        let signed = below.is_signed_by(above);
        if !signed && !other_key {
            let (which, issuer) = (below.called(), above.called());
            let rejection = match below.unknown_algorithm() {
                Some(came) => {
                    let expected = "ECDSA or RSA with SHA-2, or Ed25519";
                    BrokenRule::new(&which, "signature algorithm", "a rule of this program", expected, &came)
                }
                None => ChainRejection::BadSignature { which, issuer },
            };
            progress.explain(reach::SIGNATURE, rejection);
        }
        Ok(signed)
    }

    fn unknown(&self, top: &View) -> ChainRejection {
        let mut roots: Vec<String> = self.roots.iter().map(View::called).collect();
        roots.truncate(ROOTS_SHOWN);
        ChainRejection::UnknownAuthority { which: top.called(), issuer: top.cert.issuer.clone(), roots }
    }
}

/// An error is no place for a bundle of public roots.
const ROOTS_SHOWN: usize = 5;
