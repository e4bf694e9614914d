//! Certificates for development: a CA in a directory, made on first use, and a certificate for each node
//! that names it. Whoever can read the directory can be every node: never for production.
//!
//! The only part of this room that signs with a kept key, and never a cluster's: a CA directory knows of
//! none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use certus_cadir::{
    CaDir, CaDirError, Existing, LEDGER, Layout, LeafKey, NewAuthority, NewLeaf, Place, Role, Secrets,
};
use certus_pki::renewal::renew_at;
use certus_pki::{
    AltName, Certificate, Explain, Explanation, KeyType, NameConstraints, Names, Subject, UnixTime, code,
    defaults,
};

use super::ephemeral::loopback;
use super::error::SourceError;
use super::file::{FilePaths, FileSource, POLL_DEFAULT};
use super::material::{Material, Needs};
use super::watch::{Habits, Origin};
use crate::clock::serial;

/// In the subject of everything that is made here, so that nobody takes it for more.
const ORGANIZATION: &str = "O=Certus development only";

/// A node's certificates for development: `ca-cert.pem`, `ca-key.pem`, `ID-cert.pem`, `ID-key.pem`.
#[derive(Clone, Debug)]
pub struct Development {
    dir: PathBuf,
    id: String,
    subject: Subject,
    names: Names,
}

impl Development {
    /// The node `id` in the directory `dir`, for its id, the host in `address`, `localhost`, the loopback
    /// addresses, and `more`.
    ///
    /// # Errors
    /// An id that is not the name of a file, or cannot stand in a certificate.
    pub fn new(
        dir: impl Into<PathBuf>,
        id: &str,
        address: Option<&str>,
        more: impl IntoIterator<Item = AltName>,
    ) -> Result<Development, SourceError> {
        let dir = dir.into();
        let made = |error: &dyn Explain| SourceError::NotMade(Box::new(error.explain()));
        Layout::Dev.leaf(Role::Agent, id).map_err(|error| made(&error))?;
        let subject = subject(id)?;
        // An id with a space in it is no name on a network.
        let own = AltName::dns(id).ok();
        let host = address.and_then(host);
        let names = own.into_iter().chain(host).chain(loopback()).chain(more);
        let names = Names::new(names).map_err(|error| made(&error))?;
        Ok(Development { dir, id: id.to_owned(), subject, names })
    }

    /// The certificates that are there, or new ones where there are none, where two thirds of their time
    /// are over, where they lack a name, or where the CA is another by now. Blocks; others that do the same
    /// in this directory wait for each other, and have one CA.
    ///
    /// A CA that was not made here is used as it is, and never replaced.
    ///
    /// # Errors
    /// A CA of somebody else's without its key, or past its end; files that cannot be read or written.
    pub fn ensure(&self, now: UnixTime) -> Result<Material, SourceError> {
        if let Some(material) = self.usable(now) {
            return Ok(material);
        }
        self.refuse_without_key()?;
        let wrong = |error: CaDirError| self.wrong(error.explain());
        let mut dir = CaDir::make(&self.dir, Layout::Dev).map_err(wrong)?;
        if dir.layout() != Layout::Dev {
            let told = "it goes by other file names";
            let told = Explanation::new(code::ALREADY_EXISTS, told).halves(Layout::Dev, dir.layout());
            return Err(self.wrong(told.hint("name a directory of its own for development")));
        }
        self.ensure_authority(&mut dir, now)?;
        // Another may have done it while this one waited for the lock.
        if let Some(material) = self.usable(now) {
            return Ok(material);
        }
        let signing = dir.signing(&Secrets::default(), now).map_err(wrong)?;
        let leaf = NewLeaf {
            role: Role::Agent,
            subject: self.subject.clone(),
            names: self.names.clone(),
            lifetime: defaults::FILES_LEAF_LIFETIME,
            key: LeafKey::New(KeyType::P256),
            place: Place::Layout(self.id.clone()),
            crl_urls: Vec::new(),
        };
        dir.issue(&signing, vec![leaf], Existing::Replace, now, &mut serial).map_err(wrong)?;
        tracing::info!(dir = %self.dir.display(), id = self.id, "made a development certificate");
        self.read(now)
    }

    /// When the next certificate is made: after two thirds of its time.
    pub fn due_at(material: &Material) -> Option<UnixTime> {
        let leaf = material.pair()?.leaf();
        Some(renew_at(leaf.not_before.plus(defaults::BACKDATE), leaf.not_after, 0))
    }

    /// Says loudly what these certificates are.
    pub(super) fn warn(&self) {
        tracing::warn!(
            dir = %self.dir.display(),
            "certificates for DEVELOPMENT ONLY: whoever can read this directory can be every node"
        );
    }

    /// The CA, made where there is none, and made anew where ours ends before a certificate could.
    fn ensure_authority(&self, dir: &mut CaDir, now: UnixTime) -> Result<(), SourceError> {
        let wrong = |error: CaDirError| self.wrong(error.explain());
        let mut force = false;
        if dir.has_root() {
            let root = dir.root().map_err(wrong)?;
            if !is_ours(&root) {
                return self.refuse_ended(&root, now);
            }
            if !is_spent(root.not_before, root.not_after, now) {
                return Ok(());
            }
            tracing::warn!(
                dir = %self.dir.display(), ends = root.not_after.relative_to(now),
                "the development CA ends too soon and is made anew; every node in this directory gets a new \
                 certificate, and nodes that trust a copy of the old ca-cert.pem need the new one"
            );
            force = true;
        }
        let root = NewAuthority {
            subject: subject("Certus development CA")?,
            key_type: Layout::Dev.key_type(),
            lifetime: Layout::Dev.root_lifetime(),
            path_len: Some(0),
            constraints: NameConstraints::none(),
        };
        let made = dir.found(&root, None, &Secrets::default(), force, now, &mut serial);
        made.map_err(wrong)?;
        tracing::info!(dir = %self.dir.display(), "made a development CA");
        Ok(())
    }

    /// What is there, if it can go on being used.
    fn usable(&self, now: UnixTime) -> Option<Material> {
        let material = self.read(now).ok()?;
        let leaf = material.pair()?.leaf();
        let issued_here = material.roots().iter().any(|root| {
            let Ok(root) = Certificate::from_der(root.der()) else { return false };
            let spent = is_ours(&root) && is_spent(root.not_before, root.not_after, now);
            !spent && leaf.issuer_der == root.subject_der && leaf.verify_signed_by(&root)
        });
        let named = self.names.iter().all(|name| carries(leaf, name));
        let early = Development::due_at(&material).is_some_and(|due| now < due);
        (issued_here && named && early).then_some(material)
    }

    /// The node's three files, whole.
    fn read(&self, now: UnixTime) -> Result<Material, SourceError> {
        let at = |name: &str| self.dir.join(name);
        let pair = Layout::Dev.leaf(Role::Agent, &self.id).map_err(|error| self.wrong(error.explain()))?;
        let ca = at(&Layout::Dev.root().cert);
        let files = FilePaths::separate(at(&pair.cert), at(&pair.key), Some(ca));
        FileSource::new(files, Needs::BOTH)?.read(now)
    }

    /// Before anything is written into a directory that is somebody else's.
    fn refuse_without_key(&self) -> Result<(), SourceError> {
        let files = Layout::Dev.root();
        let has = |name: &str| self.dir.join(name).exists();
        if !has(&files.cert) || has(&files.key) || has(LEDGER) {
            return Ok(());
        }
        let told = format!("there is {} without {}", files.cert, files.key);
        Err(self.wrong(
            Explanation::new(code::CA_KEY_ABSENT, told)
                .halves("the CA's key, or no CA", "a CA certificate alone")
                .hint("bring the key, name an empty directory, or use the files as they are: source file"),
        ))
    }

    /// Somebody else's CA is not made anew.
    fn refuse_ended(&self, root: &Certificate, now: UnixTime) -> Result<(), SourceError> {
        if root.not_before <= now && now <= root.not_after {
            return Ok(());
        }
        let told = format!("{}, which was not made here, is out of its time", root.subject);
        Err(self.wrong(
            Explanation::new(code::EXPIRED, told)
                .fact("now", now)
                .fact("not before", root.not_before)
                .fact("not after", root.not_after)
                .hint("move ca-cert.pem and ca-key.pem away: a new CA is made then"),
        ))
    }

    fn wrong(&self, why: Explanation) -> SourceError {
        SourceError::Development { path: self.dir.clone(), why: Box::new(why) }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Origin for Development {
    fn read(&self, _current: Option<&Material>, now: UnixTime) -> Result<Option<Material>, SourceError> {
        self.ensure(now).map(Some)
    }

    fn habits(&self) -> Habits {
        Habits {
            is_static: false,
            rotates: true,
            poll: POLL_DEFAULT,
            settle: Duration::ZERO,
            files: vec![self.dir.join(Layout::Dev.root().cert)],
        }
    }
}

fn subject(common_name: &str) -> Result<Subject, SourceError> {
    // Of one attribute: escaped by whoever knows how.
    let name = Subject::common_name(common_name).map_err(|error| SourceError::not_made(&error))?;
    let whole = format!("{name},{ORGANIZATION}").parse::<Subject>();
    whole.map_err(|error| SourceError::not_made(&error))
}

/// Whether a CA was made here.
fn is_ours(root: &Certificate) -> bool {
    Subject::from_der(&root.subject_der)
        .is_ok_and(|subject| subject.to_string().split(',').any(|part| part == ORGANIZATION))
}

/// Whether a CA could not sign a whole lifetime any more, or its time has not come.
fn is_spent(not_before: UnixTime, not_after: UnixTime, now: UnixTime) -> bool {
    now < not_before || now.plus(defaults::FILES_LEAF_LIFETIME) > not_after
}

fn carries(leaf: &Certificate, name: &AltName) -> bool {
    match name {
        AltName::Uri(uri) => leaf.uris.contains(uri),
        // Not read back by name.
        AltName::Email(_) => leaf.other_names > 0,
        name => leaf.sans.iter().any(|san| AltName::from(san.clone()) == *name),
    }
}

/// The host of `host:port`, if others can call it by that.
fn host(address: &str) -> Option<AltName> {
    let host = match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => address,
    };
    match AltName::ip(host).or_else(|_| AltName::dns(host)).ok()? {
        // Every address of the machine, and none.
        AltName::Ip(ip) if ip.is_unspecified() => None,
        name => Some(name),
    }
}

#[cfg(test)]
mod tests;
