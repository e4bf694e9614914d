//! Making CAs in a directory, and choosing which of them signs.

use std::path::{Path, PathBuf};

use certus_pki::{
    AuthorityPlan, Certificate, Issuer, KeyType, Lifetime, NameConstraints, PrivateKey, Serial, Sha256,
    Signer, Subject, UnixTime, Validity,
};

use crate::change::Change;
use crate::dir::{CaDir, read_text};
use crate::error::CaDirError;
use crate::keys::Secrets;
use crate::layout::{Pair, Role};
use crate::ledger::{Issued, Record};

/// More issuers than a directory ever has: one every few years.
const ISSUERS_MAX: usize = 1000;

/// What a new CA shall be.
pub struct NewAuthority {
    /// Its subject.
    pub subject: Subject,
    /// Its key.
    pub key_type: KeyType,
    /// How long it lives; an issuer never beyond its root.
    pub lifetime: Lifetime,
    /// How many CAs may stand below it.
    pub path_len: Option<u8>,
    /// Which names may stand in what it signs.
    pub constraints: NameConstraints,
}

/// A CA that was made.
pub struct MadeAuthority {
    /// Its certificate.
    pub certificate: Certificate,
    /// Where it is.
    pub files: Pair,
    /// Whether it ends earlier than was asked for, with the CA above it.
    pub shortened: bool,
}

/// A CA that can sign now.
pub struct Signing {
    pub(crate) issuer: Issuer,
    pub(crate) key: PrivateKey,
    /// The certificates above a leaf that its holder must send, without the root.
    pub(crate) chain: Vec<Certificate>,
}

impl Signing {
    /// The CA's certificate.
    pub fn certificate(&self) -> &Certificate {
        self.issuer.certificate()
    }

    /// Its key's type: what leaves get unless told otherwise.
    pub fn key_type(&self) -> KeyType {
        self.key.public_key().key_type()
    }

    /// A CA in two files anywhere.
    pub fn of_files(cert: &Path, key: &Path, secrets: &Secrets) -> Result<Signing, CaDirError> {
        let wrong = |error: &dyn certus_pki::Explain| CaDirError::Pki {
            file: Some(cert.to_owned()),
            told: Box::new(error.explain()),
        };
        let mut chain = Certificate::many_from_pem(&read_text(cert)?).map_err(|error| wrong(&error))?;
        let first = chain.remove(0);
        let issuer = Issuer::from_der(&first.der).map_err(|error| wrong(&error))?;
        let key = secrets.open(key)?;
        if first.issuer_der != first.subject_der {
            chain.insert(0, first);
        }
        chain.retain(|ca| ca.issuer_der != ca.subject_der);
        fits(&issuer, &key, cert)?;
        Ok(Signing { issuer, key, chain })
    }
}

impl CaDir {
    /// Makes the root, and below it the first issuer where one is asked for.
    ///
    /// # Errors
    /// There is a CA, and `force` is not set.
    pub fn found(
        &mut self,
        root: &NewAuthority,
        issuer: Option<&NewAuthority>,
        secrets: &Secrets,
        force: bool,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<Vec<MadeAuthority>, CaDirError> {
        let mut change = Change::default();
        let files = self.layout().root();
        let key = generate(root.key_type)?;
        let plan = plan(root, Validity::starting(at, root.lifetime));
        let made = Issuer::found(&plan, serial(), &key).map_err(|error| CaDirError::pki(&error))?;
        let certificate = made.certificate().clone();
        self.put(&mut change, &files, &certificate, &key, secrets)?;
        change.record(Record::Authority(record(
            Role::Root,
            &certificate,
            certificate.key_hash(),
            &files,
            at,
        )));
        let mut all = vec![MadeAuthority { certificate, files, shortened: false }];
        if let Some(issuer) = issuer {
            all.push(self.sign_issuer(&mut change, 1, issuer, (&made, &key), secrets, at, serial)?);
        }
        // Issuers of a CA that was replaced would go on signing.
        let left = self.left_over(issuer.is_some());
        if !force && let Some(path) = left.first() {
            return Err(CaDirError::Exists { path: path.clone() });
        }
        left.into_iter().for_each(|path| change.remove(path));
        if !force && let Some(path) = change.in_the_way() {
            return Err(CaDirError::Exists { path: path.to_owned() });
        }
        self.commit(change, at)?;
        Ok(all)
    }

    /// Files of a CA before that a new one does not overwrite, and that would not fit it.
    fn left_over(&self, with_issuer: bool) -> Vec<PathBuf> {
        let layout = self.layout();
        let first = if with_issuer { 2 } else { 1 };
        let issuers = (first..).map(|number| layout.issuer(number)).take_while(|files| self.has(&files.cert));
        let pairs = issuers.chain([layout.next_root(), layout.old_root()]);
        let lists =
            [layout.root(), layout.issuer(1), layout.old_root()].map(|files| layout.list(&files.cert));
        let others = [layout.bundle(), layout.bridge_to_new(), layout.bridge_to_old()];
        let all = pairs.flat_map(|files| [files.cert, files.key]).chain(lists).chain(others);
        all.map(|file| self.file(&file)).filter(|path| path.exists()).collect()
    }

    /// Makes the next issuer below the root, which signs from now on. Needs the root's key.
    pub fn add_issuer(
        &mut self,
        issuer: &NewAuthority,
        secrets: &Secrets,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<MadeAuthority, CaDirError> {
        let root = self.root_signing(secrets)?;
        let number = self.issuers().last().map_or(0, |(number, _)| *number) + 1;
        let mut change = Change::default();
        let above = (&root.issuer, &root.key);
        let made = self.sign_issuer(&mut change, number, issuer, above, secrets, at, serial)?;
        self.commit(change, at)?;
        Ok(made)
    }

    /// The root.
    pub fn root(&self) -> Result<Certificate, CaDirError> {
        self.certificates(&self.layout().root().cert).map(|mut all| all.remove(0))
    }

    /// Every root that peers are to trust: two during a change of roots.
    pub fn bundle(&self) -> Result<Vec<Certificate>, CaDirError> {
        let bundle = self.layout().bundle();
        if self.has(&bundle) { self.certificates(&bundle) } else { Ok(vec![self.root()?]) }
    }

    /// The issuers' files with their numbers, oldest first.
    pub fn issuers(&self) -> Vec<(usize, Pair)> {
        let numbered = (1..ISSUERS_MAX).map(|number| (number, self.layout().issuer(number)));
        numbered.take_while(|(_, files)| self.has(&files.cert)).collect()
    }

    /// The CA that signs leaves: the newest issuer that can, else the root.
    pub fn signing(&self, secrets: &Secrets, at: UnixTime) -> Result<Signing, CaDirError> {
        let issuers = self.issuers();
        if issuers.is_empty() || secrets.ca_key.is_some() {
            return self.root_or_given(secrets);
        }
        let mut why = Vec::new();
        for (_, files) in issuers.iter().rev() {
            let mut chain = self.certificates(&files.cert)?;
            chain.extend(self.bridge()?);
            let certificate =
                chain.first().ok_or_else(|| CaDirError::NoCa { path: self.file(&files.cert) })?;
            if certificate.not_after < at {
                why.push(format!("{}: ended {}", files.cert, certificate.not_after.relative_to(at)));
            } else if !self.has(&files.key) {
                why.push(format!("{}: its key, {}, is not there", files.cert, files.key));
            } else {
                let path = self.file(&files.cert);
                let issuer = Issuer::from_der(&certificate.der).map_err(|e| CaDirError::pki_in(&path, &e))?;
                let key = secrets.open(&self.file(&files.key))?;
                fits(&issuer, &key, &path)?;
                return Ok(Signing { issuer, key, chain });
            }
        }
        Err(CaDirError::NoIssuer { path: self.path().to_owned(), why })
    }

    /// The root, to sign CAs.
    pub(crate) fn root_signing(&self, secrets: &Secrets) -> Result<Signing, CaDirError> {
        let files = self.layout().root();
        let (cert, key) = (self.file(&files.cert), self.key_path(&files, secrets)?);
        let mut signing = Signing::of_files(&cert, &key, secrets)?;
        signing.chain = self.bridge()?.into_iter().collect();
        Ok(signing)
    }

    /// The root, or the issuer whose key was brought along.
    fn root_or_given(&self, secrets: &Secrets) -> Result<Signing, CaDirError> {
        let Some(path) = &secrets.ca_key else { return self.root_signing(secrets) };
        let key = secrets.open(path)?;
        let own = |files: &Pair| -> Result<bool, CaDirError> {
            Ok(self.certificates(&files.cert)?[0].key_hash() == key.public_key().hash())
        };
        for (_, files) in self.issuers() {
            if own(&files)? {
                let mut signing = Signing::of_files(&self.file(&files.cert), path, secrets)?;
                signing.chain.extend(self.bridge()?);
                return Ok(signing);
            }
        }
        self.root_signing(secrets)
    }

    /// Where the root's key is.
    fn key_path(&self, files: &Pair, secrets: &Secrets) -> Result<PathBuf, CaDirError> {
        let path = secrets.ca_key.clone().unwrap_or_else(|| self.file(&files.key));
        if path.exists() {
            return Ok(path);
        }
        Err(CaDirError::KeyAbsent { subject: self.root()?.subject, path })
    }

    /// The bridge that leads from the present root to the one before it, while peers still need it.
    fn bridge(&self) -> Result<Option<Certificate>, CaDirError> {
        let bridge = self.layout().bridge_to_new();
        if !self.has(&bridge) {
            return Ok(None);
        }
        let bridge = self.certificates(&bridge)?.remove(0);
        Ok((bridge.key_hash() == self.root()?.key_hash()).then_some(bridge))
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is what an issuer is made of")]
    pub(crate) fn sign_issuer(
        &self,
        change: &mut Change,
        number: usize,
        new: &NewAuthority,
        (root, root_key): (&Issuer, &PrivateKey),
        secrets: &Secrets,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<MadeAuthority, CaDirError> {
        let files = self.layout().issuer(number);
        let key = generate(new.key_type)?;
        let asked = Validity::starting(at, new.lifetime);
        let validity = asked.capped(root);
        let made = root
            .sign_authority(&plan(new, validity), key.public_key(), serial(), root_key)
            .map_err(|error| CaDirError::pki(&error))?;
        let certificate = made.certificate().clone();
        self.put(change, &files, &certificate, &key, secrets)?;
        change.record(Record::Authority(record(Role::Issuer, &certificate, root.key_hash(), &files, at)));
        Ok(MadeAuthority { certificate, files, shortened: validity != asked })
    }

    /// A CA's certificate and key, in their places.
    pub(crate) fn put(
        &self,
        change: &mut Change,
        files: &Pair,
        certificate: &Certificate,
        key: &PrivateKey,
        secrets: &Secrets,
    ) -> Result<(), CaDirError> {
        change.secret(self.file(&files.key), &secrets.close(key)?);
        change.public(self.file(&files.cert), &certificate.to_pem());
        Ok(())
    }
}

pub(crate) fn generate(key_type: KeyType) -> Result<PrivateKey, CaDirError> {
    PrivateKey::generate(key_type).map_err(|error| CaDirError::pki(&error))
}

pub(crate) fn plan(new: &NewAuthority, validity: Validity) -> AuthorityPlan {
    AuthorityPlan {
        constraints: new.constraints.clone(),
        ..AuthorityPlan::new(new.subject.clone(), new.path_len, validity)
    }
}

/// A CA's line.
pub(crate) fn record(
    role: Role,
    certificate: &Certificate,
    issuer: Sha256,
    files: &Pair,
    at: UnixTime,
) -> Issued {
    Issued {
        at,
        serial: certificate.serial,
        issuer,
        role,
        not_after: certificate.not_after,
        name: certificate.common_name().to_owned(),
        names: Vec::new(),
        file: files.cert.clone(),
    }
}

fn fits(issuer: &Issuer, key: &PrivateKey, cert: &Path) -> Result<(), CaDirError> {
    let (expected, came) = (issuer.key_hash(), key.public_key().hash());
    if expected == came {
        return Ok(());
    }
    Err(CaDirError::pki_in(cert, &certus_pki::issue::NotIssued::WrongKey { expected, came }))
}
