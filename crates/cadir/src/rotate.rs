//! A change of the root in steps: the next one is made and cross-signed, takes over, and the old one goes.
//!
//! Between the steps peers are told; nobody is locked out, whichever of the two roots they trust.

use certus_pki::{
    Certificate, Issuer, KeyType, Lifetime, NameConstraints, Serial, Signer, Subject, UnixTime, Validity,
};

use crate::account::Standing;
use crate::authority::{MadeAuthority, NewAuthority, generate, plan, record};
use crate::change::Change;
use crate::dir::{CaDir, read_secret, read_text};
use crate::error::CaDirError;
use crate::keys::Secrets;
use crate::layout::{Pair, Role};
use crate::ledger::{Issued, Phase, Record};

/// What the next root shall be.
pub struct NextRoot {
    /// Its key; else of the present root's type.
    pub key_type: Option<KeyType>,
    /// How long it lives; else as the layout says.
    pub lifetime: Option<Lifetime>,
}

impl CaDir {
    /// First step: makes the next root, both bridges, and the bundle with both roots.
    pub fn prepare_rotation(
        &mut self,
        next: &NextRoot,
        secrets: &Secrets,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<MadeAuthority, CaDirError> {
        self.expect_phase(None)?;
        let layout = self.layout();
        let old = self.root_signing(secrets)?;
        let old_root = old.certificate().clone();
        let (new, key, _) = self.next_root(next, &old_root, at, serial)?;
        let bridge = |signer: &Issuer, of: &Certificate, signing: &dyn Signer, serial: Serial| {
            let not_after = of.not_after.min(signer.certificate().not_after);
            let not_before = Validity::starting(at, Lifetime::from_secs(1)).not_before;
            let validity = Validity { not_before, not_after };
            signer.cross_sign(of, validity, serial, signing).map_err(|error| CaDirError::pki(&error))
        };
        let to_new = bridge(&old.issuer, new.certificate(), &old.key, serial())?;
        let to_old = bridge(&new, &old_root, &key, serial())?;
        let mut change = Change::default();
        let files = layout.next_root();
        let certificate = new.certificate().clone();
        self.put(&mut change, &files, &certificate, &key, secrets)?;
        change.record(Record::Authority(record(Role::Root, &certificate, new.key_hash(), &files, at)));
        for (bridge, file, signer) in [
            (&to_new, layout.bridge_to_new(), old_root.key_hash()),
            (&to_old, layout.bridge_to_old(), new.key_hash()),
        ] {
            change.public(self.file(&file), &bridge.certificate().to_pem());
            let files = Pair { cert: file, key: String::new() };
            change.record(Record::Authority(record(Role::Bridge, bridge.certificate(), signer, &files, at)));
        }
        let both = format!("{}{}", old_root.to_pem(), certificate.to_pem());
        change.public(self.file(&layout.bundle()), &both);
        change.record(Record::Rotation { at, phase: Phase::Prepared });
        self.commit(change, at)?;
        Ok(MadeAuthority { certificate, files, shortened: false })
    }

    /// Second step: the next root takes over, with an issuer of its own where the old one had any. What is
    /// issued from now on carries the bridge, so that peers that trust only the old root accept it.
    pub fn activate_rotation(
        &mut self,
        secrets: &Secrets,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<Vec<MadeAuthority>, CaDirError> {
        self.expect_phase(Some(Phase::Prepared))?;
        let (next, root, old) = (self.layout().next_root(), self.layout().root(), self.layout().old_root());
        let certificate = self.certificates(&next.cert)?.remove(0);
        let key_text = read_secret(&self.file(&next.key))?;
        let mut change = Change::default();
        change.public(self.file(&root.cert), &certificate.to_pem());
        change.secret(self.file(&root.key), &key_text);
        change.public(self.file(&old.cert), &read_text(&self.file(&root.cert))?);
        if self.has(&root.key) {
            change.secret(self.file(&old.key), &read_secret(&self.file(&root.key))?);
        }
        change.remove(self.file(&next.cert));
        change.remove(self.file(&next.key));
        let mut made =
            vec![MadeAuthority { certificate: certificate.clone(), files: root, shortened: false }];
        if let Some((number, _)) = self.issuers().last() {
            let issuer = Issuer::from_der(&certificate.der).map_err(|error| CaDirError::pki(&error))?;
            // The key is not in its place yet.
            let key = Secrets { passphrase: secrets.passphrase.clone(), ca_key: None }
                .open(&self.file(&next.key))?;
            let new = self.issuer_like(*number, &certificate)?;
            made.push(self.sign_issuer(
                &mut change,
                number + 1,
                &new,
                (&issuer, &key),
                secrets,
                at,
                serial,
            )?);
        }
        change.record(Record::Rotation { at, phase: Phase::Activated });
        self.commit(change, at)?;
        Ok(made)
    }

    /// Last step: the old root leaves the bundle, and its key and the bridges go.
    ///
    /// # Errors
    /// Certificates that lead to the old root are still in use, and `force` is not set.
    pub fn finish_rotation(&mut self, force: bool, at: UnixTime) -> Result<(), CaDirError> {
        self.expect_phase(Some(Phase::Activated))?;
        if !force && !self.below_old_root(at)?.is_empty() {
            return Err(CaDirError::Order {
                what: "certificates that lead to the old root are still in use",
                hint: "certus ca rotate lists them; issue them again, or --force cuts them off",
            });
        }
        let layout = self.layout();
        let mut change = Change::default();
        change.public(self.file(&layout.bundle()), &self.root()?.to_pem());
        let old = layout.old_root();
        for file in [old.cert, old.key, layout.bridge_to_new(), layout.bridge_to_old()] {
            change.remove(self.file(&file));
        }
        change.record(Record::Rotation { at, phase: Phase::Finished });
        self.commit(change, at)
    }

    /// The root's key is in other hands: another root takes over at once, signed by none. Peers must be
    /// told by other means, and everything issued again.
    pub fn rotate_in_emergency(
        &mut self,
        next: &NextRoot,
        secrets: &Secrets,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<Vec<MadeAuthority>, CaDirError> {
        let layout = self.layout();
        let old_root = self.root()?;
        let (new, key, key_type) = self.next_root(next, &old_root, at, serial)?;
        let certificate = new.certificate().clone();
        let (files, old) = (layout.root(), layout.old_root());
        let mut change = Change::default();
        self.put(&mut change, &files, &certificate, &key, secrets)?;
        change.record(Record::Authority(record(Role::Root, &certificate, new.key_hash(), &files, at)));
        let mut made = vec![MadeAuthority { certificate: certificate.clone(), files, shortened: false }];
        if let Some((number, _)) = self.issuers().last() {
            let issuer = NewAuthority { key_type, ..self.issuer_like(*number, &certificate)? };
            made.push(self.sign_issuer(
                &mut change,
                number + 1,
                &issuer,
                (&new, &key),
                secrets,
                at,
                serial,
            )?);
        }
        // Nothing that the old key signed is believed any more, the bridges included.
        for file in [old.cert, old.key, layout.bridge_to_new(), layout.bridge_to_old()] {
            change.remove(self.file(&file));
        }
        for file in [layout.next_root().cert, layout.next_root().key] {
            change.remove(self.file(&file));
        }
        change.public(self.file(&layout.bundle()), &certificate.to_pem());
        change.record(Record::Rotation { at, phase: Phase::Finished });
        self.commit(change, at)?;
        Ok(made)
    }

    /// Certificates in use that do not lead to the present root.
    pub fn below_old_root(&self, at: UnixTime) -> Result<Vec<Issued>, CaDirError> {
        let root = self.root()?;
        let mut present = vec![root.key_hash()];
        for (_, files) in self.issuers() {
            let issuer = self.certificates(&files.cert)?.remove(0);
            if issuer.verify_signed_by(&root) {
                present.push(issuer.key_hash());
            }
        }
        let account = self.account()?;
        let used = account.standings(at).into_iter().filter(|(_, standing)| *standing == Standing::Current);
        Ok(used.filter(|(cert, _)| !present.contains(&cert.issuer)).map(|(cert, _)| cert.clone()).collect())
    }

    fn expect_phase(&self, expected: Option<Phase>) -> Result<(), CaDirError> {
        let came = self.account()?.phase();
        if came == expected {
            return Ok(());
        }
        let (what, hint) = match came {
            None => ("no change of the root was begun", "certus ca rotate begins one"),
            Some(Phase::Prepared) => {
                ("the next root is made, and has not taken over", "certus ca rotate --activate")
            }
            Some(_) => (
                "the next root has taken over, and the old one is still trusted",
                "certus ca rotate --finish",
            ),
        };
        Err(CaDirError::Order { what, hint })
    }

    /// A root like the present one: of the same name, so that bridges between the two hold, with
    /// another key.
    fn next_root(
        &self,
        next: &NextRoot,
        old: &Certificate,
        at: UnixTime,
        serial: &mut dyn FnMut() -> Serial,
    ) -> Result<(Issuer, certus_pki::PrivateKey, KeyType), CaDirError> {
        let key_type = next.key_type.unwrap_or(old.public_key.key_type());
        let new = NewAuthority {
            subject: Subject::from_der(&old.subject_der).map_err(|error| CaDirError::pki(&error))?,
            key_type,
            lifetime: next.lifetime.unwrap_or(self.layout().root_lifetime()),
            path_len: old.path_len,
            constraints: NameConstraints::of(old).map_err(|error| CaDirError::pki(&error))?,
        };
        let key = generate(key_type)?;
        let plan = plan(&new, Validity::starting(at, new.lifetime));
        let made = Issuer::found(&plan, serial(), &key).map_err(|error| CaDirError::pki(&error))?;
        Ok((made, key, key_type))
    }

    /// An issuer like the one with this number.
    fn issuer_like(&self, number: usize, root: &Certificate) -> Result<NewAuthority, CaDirError> {
        let old = self.certificates(&self.layout().issuer(number).cert)?.remove(0);
        let name = format!("{} issuer {}", root.common_name(), number + 1);
        Ok(NewAuthority {
            subject: Subject::common_name(&name).map_err(|error| CaDirError::pki(&error))?,
            key_type: old.public_key.key_type(),
            lifetime: self.layout().issuer_lifetime(),
            path_len: old.path_len,
            constraints: NameConstraints::of(&old).map_err(|error| CaDirError::pki(&error))?,
        })
    }
}
