//! Issuing leaves: signed, recorded and written together, many in one change.

use std::path::{Path, PathBuf};

use certus_pki::{
    CertPlan, Certificate, KeyType, Lifetime, Names, PrivateKey, PublicKey, Serial, Signer, Subject,
    UnixTime, Usage, Validity,
};

use crate::authority::{Signing, generate};
use crate::change::Change;
use crate::dir::CaDir;
use crate::error::CaDirError;
use crate::layout::{Pair, Role};
use crate::ledger::{Issued, Record};

/// Keys of a change are in memory until it is written; a fleet is made in several.
const PER_CHANGE_MAX: usize = 256;

/// A leaf to be issued.
pub struct NewLeaf {
    /// What it is for.
    pub role: Role,
    /// Its subject.
    pub subject: Subject,
    /// The names it may be known by.
    pub names: Names,
    /// How long it lives; never beyond its issuer.
    pub lifetime: Lifetime,
    /// Its key.
    pub key: LeafKey,
    /// Where it goes.
    pub place: Place,
    /// Where its revocation list will be.
    pub crl_urls: Vec<String>,
}

/// Whose key a leaf is for.
pub enum LeafKey {
    /// A new one of this type.
    New(KeyType),
    /// One that somebody else holds.
    Theirs(PublicKey),
}

/// Where a leaf goes.
pub enum Place {
    /// The directory's own files for this name.
    Layout(String),
    /// The fleet's one client, `client/client.crt`.
    FirstClient,
    /// `NAME.crt` and `NAME.key` in another directory.
    Dir(PathBuf, String),
    /// This file, for a certificate whose key is elsewhere.
    File(PathBuf),
    /// To the caller alone.
    Nowhere,
}

/// An issued leaf.
pub struct MadeLeaf {
    /// The certificate.
    pub certificate: Certificate,
    /// Leaf and issuers as PEM, as the file has it.
    pub chain: String,
    /// What it is for.
    pub role: Role,
    /// Its file.
    pub cert: Option<PathBuf>,
    /// Its key's file.
    pub key: Option<PathBuf>,
    /// Whether it ends earlier than was asked for, with its issuer.
    pub shortened: bool,
}

/// What to do where a leaf's files are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is made.
    Refuse,
    /// The others are made.
    Skip,
    /// They are replaced.
    Replace,
}

impl CaDir {
    /// Issues leaves, in order. A change holds some hundreds: what was issued before a failure stays, whole.
    ///
    /// # Errors
    /// With [`Existing::Refuse`] nothing is made where any file is there.
    pub fn issue(
        &mut self,
        signing: &Signing,
        leaves: Vec<NewLeaf>,
        existing: Existing,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<Vec<MadeLeaf>, CaDirError> {
        let mut wanted = Vec::new();
        for leaf in leaves {
            let files = self.files_of(&leaf)?;
            let there = files.as_ref().and_then(|(cert, key)| {
                [Some(cert), key.as_ref()].into_iter().flatten().find(|path| path.symlink_metadata().is_ok())
            });
            match (there, existing) {
                (Some(path), Existing::Refuse) => return Err(CaDirError::Exists { path: path.clone() }),
                (Some(_), Existing::Skip) => {}
                _ => wanted.push((leaf, files)),
            }
        }
        let mut made = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(PER_CHANGE_MAX) {
            let mut change = Change::default();
            for (leaf, files) in some {
                made.push(self.issue_one(&mut change, signing, leaf, files.clone(), at, serial())?);
            }
            self.commit(change, at)?;
        }
        Ok(made)
    }

    fn issue_one(
        &self,
        change: &mut Change,
        signing: &Signing,
        leaf: &NewLeaf,
        files: Option<(PathBuf, Option<PathBuf>)>,
        at: UnixTime,
        serial: Serial,
    ) -> Result<MadeLeaf, CaDirError> {
        let asked = Validity::starting(at, leaf.lifetime);
        let validity = asked.capped(&signing.issuer);
        let plan = CertPlan {
            crl_urls: leaf.crl_urls.clone(),
            ..CertPlan::new(leaf.subject.clone(), leaf.names.clone(), usage(leaf.role), validity)
        };
        let key: Option<PrivateKey> = match &leaf.key {
            LeafKey::New(key_type) => Some(generate(*key_type)?),
            LeafKey::Theirs(_) => None,
        };
        let public = match (&key, &leaf.key) {
            (_, LeafKey::Theirs(public)) => public,
            (Some(key), _) => key.public_key(),
            (None, LeafKey::New(key_type)) => {
                return Err(CaDirError::pki(&certus_pki::key::BadKey::NotMade { key_type: *key_type }));
            }
        };
        let der = signing
            .issuer
            .sign_cert(&plan, public, serial, &signing.key)
            .map_err(|error| CaDirError::pki(&error))?;
        let certificate = Certificate::from_der(&der).map_err(|error| CaDirError::pki(&error))?;
        let chain: String =
            std::iter::once(&certificate).chain(&signing.chain).map(Certificate::to_pem).collect();
        let (cert, key_file) = files.map_or((None, None), |(cert, key)| (Some(cert), key));
        if let (Some(key), Some(path)) = (&key, &key_file) {
            change.secret(path.clone(), &key.to_pem().map_err(|error| CaDirError::pki(&error))?);
        }
        if let Some(path) = &cert {
            change.public(path.clone(), &chain);
        }
        let file = cert.as_deref().map_or_else(String::new, |path| self.short(path));
        change.record(Record::Leaf(Issued {
            at,
            serial,
            issuer: signing.issuer.key_hash(),
            role: leaf.role,
            not_after: validity.not_after,
            name: leaf.subject.first_common_name().unwrap_or_default(),
            names: leaf.names.iter().map(ToString::to_string).collect(),
            file,
        }));
        let shortened = validity != asked;
        Ok(MadeLeaf { certificate, chain, role: leaf.role, cert, key: key_file, shortened })
    }

    /// Where a leaf's certificate and key go.
    fn files_of(&self, leaf: &NewLeaf) -> Result<Option<(PathBuf, Option<PathBuf>)>, CaDirError> {
        let in_dir = |dir: &Path, pair: Pair| {
            let key = matches!(leaf.key, LeafKey::New(_)).then(|| dir.join(pair.key));
            (dir.join(pair.cert), key)
        };
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| CaDirError::io("find", path, error));
        Ok(match &leaf.place {
            Place::Nowhere => None,
            Place::File(path) => Some((absolute(path)?, None)),
            Place::Dir(dir, name) => {
                let flat = match self.layout() {
                    layout @ (crate::Layout::Mesh | crate::Layout::Dev) => layout,
                    _ => crate::Layout::Mesh,
                };
                Some(in_dir(&absolute(dir)?, flat.leaf(leaf.role, name)?))
            }
            Place::Layout(name) => Some(in_dir(self.path(), self.pair_of(leaf.role, name)?)),
            Place::FirstClient => {
                let name = leaf.subject.first_common_name().unwrap_or_default();
                let pair = match self.layout().first_client() {
                    Some(pair) => pair,
                    None => self.layout().leaf(leaf.role, &name)?,
                };
                Some(in_dir(self.path(), pair))
            }
        })
    }

    /// The files of a leaf of this name. The fleet's first client keeps its own: issuing it again takes
    /// its place.
    fn pair_of(&self, role: Role, name: &str) -> Result<Pair, CaDirError> {
        let first = self.layout().first_client().filter(|_| role == Role::Client);
        if let Some(first) = first
            && let Ok(text) = std::fs::read_to_string(self.path().join(&first.cert))
            && let Ok(certificates) = Certificate::many_from_pem(&text)
            && certificates.first().is_some_and(|client| client.common_name() == name)
        {
            return Ok(first);
        }
        self.layout().leaf(role, name)
    }

    /// A path as the ledger has it: relative where it lies in the directory.
    fn short(&self, path: &Path) -> String {
        path.strip_prefix(self.path()).unwrap_or(path).to_string_lossy().into_owned()
    }
}

const fn usage(role: Role) -> Usage {
    match role {
        Role::Server => Usage::SERVER,
        Role::Client => Usage::CLIENT,
        Role::Agent => Usage::ANY,
        Role::Root | Role::Issuer | Role::Bridge => Usage::NONE,
    }
}
