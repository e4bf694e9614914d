//! Restoring: a manager's directory out of a backup, as the first of a new generation, all or nothing.
//!
//! Everything is made in `manager.unfinished` and takes its place in one rename, as a founding does.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certus_ca::store::Store;
use certus_ca::{Admission, Command, NodeState, RenewAsk, Reply};
use certus_node::files::{Fresh, NodeDir};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{
    Bundle, Epoch, Issuer, KeyType, Passphrase, PrivateKey, Role, Signer, SpiffeId, UnixTime, Validity, code,
};
use certus_tls::{Clock, Identity, Snapshot};

use super::BackupError;
use super::read::{self, Backup, Progress};
use super::records::{Nowhere, Sink};
use super::seal::BackupKey;
use crate::issuers::sign_issuer;
use crate::keys::{IssuingKey, Kept, KeysError, ManagerDir};
use crate::replica::limits::Cadence;
use crate::replica::{Alone, FIRST_MEMBER, Replica, SnapshotEnd, SnapshotRows, begin_alone};
use crate::storage::{Settle, Storage, StorageError, blocking};
use crate::truth::{CaMachine, Truth, Unanswered};

/// Chunks of rows put into the store in one transaction: what a crash would do again, and what is held in
/// memory.
const CHUNKS_AT_ONCE: usize = 64;

/// What is restored, and where to.
#[derive(Clone)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// The backup.
    pub file: PathBuf,
    /// What opens it.
    pub passphrase: Passphrase,
    /// Where the restored manager keeps its data: a directory that does not exist, or is empty.
    pub data_dir: PathBuf,
    /// Where it listens; where the manager of the backup did if not given.
    pub listen: Option<SocketAddr>,
    /// What opens the manager's cluster key, if autolock was on when the backup was made.
    pub unlock: Option<Arc<Passphrase>>,
}

impl RestoreOptions {
    /// A manager that listens where the one of the backup did.
    pub fn new(file: PathBuf, passphrase: Passphrase, data_dir: PathBuf) -> RestoreOptions {
        RestoreOptions { file, passphrase, data_dir, listen: None, unlock: None }
    }
}

/// A restored manager.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// What it was restored from.
    pub backup: Backup,
    /// Who it is.
    pub manager: SpiffeId,
    /// The first epoch of the new generation.
    pub epoch: Epoch,
    /// Tokens that admit nobody any more.
    pub tokens_voided: u64,
    /// Whether it made itself an issuer, because that of the backup could not sign any more.
    pub new_issuer: bool,
    /// Where it will listen.
    pub listen: Option<SocketAddr>,
    /// Managers of the backup that are no members of the new group; they join anew.
    pub other_managers: Vec<SpiffeId>,
}

/// Restores a backup: the new manager is the one voter of its group, and begins a new generation.
///
/// # Errors
/// The backup is damaged or the passphrase another, there is something in the directory, or the disk
/// refuses. Then nothing is left that looks restored.
pub async fn restore(
    options: &RestoreOptions,
    clock: Clock,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Restored, BackupError> {
    refuse_used(&options.data_dir)?;
    // All of it first: nothing is made of a backup that is not whole.
    let (head, input) = read::open(&options.file)?;
    let key = blocking(|| BackupKey::of(&head, &options.passphrase))?;
    let checking = |rows| progress(Progress::Checking { rows });
    let backup = blocking(|| read::read_with(&key, head, input, &mut Nowhere, checking))?;

    let node_dir = NodeDir::open(&options.data_dir).map_err(BackupError::Files)?;
    // Again under the lock: of two that restore here at once, one was first.
    refuse_used(&options.data_dir)?;
    let unfinished = ManagerDir::unfinished(&options.data_dir);
    discard(unfinished.path())?;
    unfinished.create().map_err(BackupError::Keys)?;
    fill(options, &backup, &key, &unfinished, &mut progress)?;
    drop(key);

    open_cluster_key(&unfinished, options.unlock.as_deref())?;
    let by: SpiffeId = backup.manager.parse().map_err(|_| BackupError::record("a manager's name", 1))?;
    let truth = open_truth(&unfinished, clock).await?;
    let begun = begin(&truth, &unfinished, &by, backup.made_at).await;
    let closed = truth.replica.shutdown().await;
    let begun = begun?;
    closed.map_err(BackupError::Storage)?;
    let fresh = Fresh { key: &begun.key, chain: &begun.chain, bundle: &begun.bundle };
    node_dir.identity(Role::Manager, &by.id).store(&fresh).map_err(BackupError::Files)?;
    if let Some(listen) = options.listen {
        unfinished.write_listen(listen).map_err(BackupError::Keys)?;
        let advertise = crate::manager::dialable(listen);
        unfinished.write_advertise(&advertise).map_err(BackupError::Keys)?;
    }
    let place = ManagerDir::of(&options.data_dir);
    let moving = |error| BackupError::io("put in place", place.path(), error);
    // From here on it is restored.
    fs::rename(unfinished.path(), place.path()).map_err(moving)?;
    File::open(&options.data_dir).and_then(|dir| dir.sync_all()).map_err(moving)?;
    Ok(Restored {
        backup,
        manager: by,
        epoch: begun.epoch,
        tokens_voided: begun.tokens,
        new_issuer: begun.new_issuer,
        listen: place.listen(),
        other_managers: begun.other_managers,
    })
}

/// Opens the cluster key of the backup, as a start of the manager does.
fn open_cluster_key(place: &ManagerDir, unlock: Option<&Passphrase>) -> Result<(), BackupError> {
    let key = match (place.kept_cluster_key().map_err(BackupError::Keys)?, unlock) {
        (Kept::Plain(key), _) => key,
        (Kept::Locked(wrapped), Some(unlock)) => {
            let opened = blocking(|| wrapped.open(unlock));
            opened.map_err(|error| BackupError::Keys(KeysError::Lock(error)))?
        }
        (Kept::Locked(wrapped), None) => {
            let cluster = wrapped.cluster().clone();
            return Err(BackupError::Keys(KeysError::Locked { cluster }));
        }
    };
    place.hold(key);
    Ok(())
}

/// Refuses a directory with anything in it but what a restore that was cut short left behind.
fn refuse_used(data_dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io("read", data_dir, error)),
    };
    let names: Vec<String> = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(|error| BackupError::io("read", data_dir, error))?;
    let cut_short = names.iter().any(|name| name == "manager.unfinished");
    let ours = |name: &str| name == "lock" || cut_short && (name == "manager.unfinished" || name == "certs");
    match names.iter().find(|name| !ours(name)) {
        Some(name) => Err(BackupError::Exists { path: data_dir.join(name), data: true }),
        None => Ok(()),
    }
}

fn discard(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BackupError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Puts secrets and rows of the backup into a new manager's directory.
fn fill(
    options: &RestoreOptions,
    checked: &Backup,
    key: &BackupKey,
    place: &ManagerDir,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(), BackupError> {
    blocking(|| {
        let storage = Storage::in_directory(&place.store()).map_err(BackupError::Storage)?;
        let (head, input) = read::open(&options.file)?;
        let mut filling = Filling { place, storage: &storage, waiting: Vec::new(), end: None };
        let of = checked.rows;
        let seen = |rows| progress(Progress::Restoring { rows, of });
        let filled = read::read_with(key, head, input, &mut filling, seen)?;
        if filled != *checked {
            let (path, expected, came) =
                (options.file.clone(), checked.sha256.clone(), filled.sha256.clone());
            return Err(BackupError::ReadBack { path, expected, came });
        }
        let end = filling.finish()?;
        // The number that the manager had: it is among the files of the backup.
        let own = place.member().map_err(BackupError::Keys)?.unwrap_or(FIRST_MEMBER);
        let group = (filled.term, filled.applied);
        begin_alone(&storage, own, group, &end.at).map_err(BackupError::Storage)?;
        storage.close();
        let dir = place.path();
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| BackupError::io("sync", dir, error))
    })
}

/// Takes what is in a backup into a new manager's directory.
struct Filling<'a> {
    place: &'a ManagerDir,
    storage: &'a Storage,
    /// Rows that wait to be written together.
    waiting: Vec<Waiting>,
    end: Option<SnapshotEnd>,
}

struct Waiting {
    table: certus_ca::store::Table,
    rows: Vec<certus_ca::store::Row>,
}

impl Filling<'_> {
    fn flush(&mut self, settle: Settle) -> Result<(), BackupError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.storage.write_state(|pending| {
            for Waiting { table, rows } in &waiting {
                for (key, value) in rows {
                    pending.put(*table, key, value).map_err(BackupError::Fault)?;
                }
            }
            Ok::<_, BackupError>(((), settle))
        })
    }

    fn finish(mut self) -> Result<SnapshotEnd, BackupError> {
        self.flush(Settle::Durable)?;
        self.end.ok_or_else(|| BackupError::record("the end of the rows", 0))
    }
}

impl From<StorageError> for BackupError {
    fn from(error: StorageError) -> BackupError {
        BackupError::Storage(error)
    }
}

impl Sink for Filling<'_> {
    fn secret(&mut self, name: &str, content: &[u8]) -> Result<(), BackupError> {
        let path = self.place.path().join(name);
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
        written.map_err(|error| BackupError::io("write", &path, error))
    }

    fn rows(&mut self, rows: &SnapshotRows<'_>) -> Result<(), BackupError> {
        let owned = rows.rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        self.waiting.push(Waiting { table: rows.table, rows: owned });
        if self.waiting.len() < CHUNKS_AT_ONCE { Ok(()) } else { self.flush(Settle::Later) }
    }

    fn end(&mut self, end: &SnapshotEnd) -> Result<(), BackupError> {
        self.end = Some(end.clone());
        Ok(())
    }
}

async fn open_truth(place: &ManagerDir, clock: Clock) -> Result<Truth, BackupError> {
    let storage = Storage::in_directory(&place.store()).map_err(BackupError::Storage)?;
    let own = place.member().map_err(BackupError::Keys)?.unwrap_or(FIRST_MEMBER);
    let seconds = clock.clone();
    let seconds = Arc::new(move || seconds().secs());
    let replica = Replica::<CaMachine>::join_group(storage, seconds, Cadence::default(), own, Alone).await;
    Ok(Truth::alone(replica.map_err(|error| BackupError::Open(Box::new(error)))?, clock))
}

/// What the new generation began with.
struct Begun {
    epoch: Epoch,
    tokens: u64,
    key: PrivateKey,
    chain: Vec<Vec<u8>>,
    bundle: Bundle,
    new_issuer: bool,
    other_managers: Vec<SpiffeId>,
}

/// Begins the new generation, and gives the manager what it lacks to serve.
async fn begin(
    truth: &Truth,
    place: &ManagerDir,
    by: &SpiffeId,
    made_at: UnixTime,
) -> Result<Begun, BackupError> {
    let unanswered = BackupError::Unanswered;
    let restore = Command::Restore { made_at, by: by.clone() };
    let Reply::Restored { epoch, tokens } = truth.propose(&restore).await.map_err(unanswered)? else {
        return Err(unanswered(Unanswered::Mismatched { asked: "restore" }));
    };
    let (issuing, new_issuer) = issuer(truth, place, by).await?;
    let (key, chain) = certificate(truth, &issuing, by).await?;
    let bundle = truth.read(|view| certus_ca::bundle(view)).map_err(unanswered)?;
    let bundle = bundle.ok_or(unanswered(Unanswered::Mismatched { asked: "restore" }))?;
    let usable = Identity::new(&key, chain.clone()).map_err(|error| error.explain()).and_then(|identity| {
        let snapshot = Snapshot::new(Some(Arc::new(identity)), Arc::new(bundle.clone()));
        snapshot.check(truth.now()).map_err(|error| error.explain())
    });
    usable.map_err(|why| no_certificate(by, why))?;
    let other_managers = other_managers(truth, by)?;
    Ok(Begun { epoch, tokens, key, chain, bundle, new_issuer, other_managers })
}

fn no_certificate(by: &SpiffeId, why: Explanation) -> BackupError {
    BackupError::NoCertificate { id: by.id.clone(), why }
}

/// The issuer of the backup, or a new one where that cannot sign for a whole lifetime any more.
async fn issuer(truth: &Truth, place: &ManagerDir, by: &SpiffeId) -> Result<(IssuingKey, bool), BackupError> {
    let unanswered = BackupError::Unanswered;
    let read = truth.read(|view| Ok((certus_ca::cluster(view)?, certus_ca::issuers(view)?)));
    let (cluster, issuers) = read.map_err(unanswered)?;
    let cluster = cluster.ok_or(unanswered(Unanswered::Mismatched { asked: "restore" }))?;
    let cluster_key = place.cluster_key().map_err(BackupError::Keys)?;
    let own = place.issuing_key(&cluster.name, &cluster_key);
    let needed = truth.now().plus(cluster.settings.lifetime_of(Role::Client));
    let mut key_type = KeyType::P256;
    if let Ok(own) = own {
        let hash = own.issuer.key_hash();
        key_type = own.key.public_key().key_type();
        let signs = |issuer: &certus_ca::IssuerRecord| {
            issuer.active && issuer.key_hash == hash && issuer.not_after >= needed
        };
        if issuers.iter().any(signs) {
            return Ok((own, false));
        }
    }
    let key = PrivateKey::generate(key_type).map_err(|error| no_certificate(by, error.explain()))?;
    let issuer = signed_issuer(truth, place, &cluster, &key, by)?;
    let der = issuer.certificate().der.clone();
    truth.propose(&Command::AddIssuer { der, by: by.clone() }).await.map_err(unanswered)?;
    let issuing = IssuingKey { issuer, key };
    place.write_issuer(&cluster.name, &cluster_key, &issuing).map_err(BackupError::Keys)?;
    Ok((issuing, true))
}

/// An issuer's certificate under the root, which is opened for this one signature.
fn signed_issuer(
    truth: &Truth,
    place: &ManagerDir,
    cluster: &certus_ca::ClusterState,
    key: &PrivateKey,
    by: &SpiffeId,
) -> Result<Issuer, BackupError> {
    let roots = truth.read(|view| certus_ca::roots(view)).map_err(BackupError::Unanswered)?;
    let root = roots.into_iter().filter(|root| root.active).max_by_key(|root| root.not_after);
    let no_root = || Explanation::new(code::ISSUER_TOO_SHORT, "the backup holds no active root");
    let root = root.ok_or_else(|| no_certificate(by, no_root()))?;
    let mut validity = Validity::starting(truth.now(), cluster.settings.issuer_lifetime);
    validity.not_after = validity.not_after.min(root.not_after);
    sign_issuer(place, cluster, &root, &by.id, key.public_key(), validity).map_err(BackupError::Keys)
}

/// A fresh key and certificate for the manager, through the log like everybody's.
async fn certificate(
    truth: &Truth,
    issuing: &IssuingKey,
    by: &SpiffeId,
) -> Result<(PrivateKey, Vec<Vec<u8>>), BackupError> {
    let unanswered = BackupError::Unanswered;
    let newest = truth.read(|view| certus_ca::latest_cert(view, by)).map_err(unanswered)?;
    let unknown = || certus_ca::Refusal::UnknownNode { node: by.clone() }.explain();
    let newest = newest.ok_or_else(|| no_certificate(by, unknown()))?;
    let key = PrivateKey::generate(KeyType::P256).map_err(|error| no_certificate(by, error.explain()))?;
    let ask = RenewAsk { node: by.clone(), from: newest.cert, public_key: key.public_key().clone() };
    let planned_at = truth.now();
    let plan =
        match truth.plan(|view| certus_ca::plan_renew(view, planned_at, &ask)).await.map_err(unanswered)? {
            Admission::New(plan) => plan,
            Admission::Again { .. } => return Err(unanswered(Unanswered::Mismatched { asked: "renewal" })),
        };
    let der = issuing.sign(&plan).map_err(BackupError::Keys)?;
    let reply = truth.propose(&Command::Renew { ask, planned_at, der }).await.map_err(unanswered)?;
    let Reply::Renewed(issued) = reply else {
        return Err(unanswered(Unanswered::Mismatched { asked: "renewal" }));
    };
    Ok((key, vec![issued.der, issuing.issuer.certificate().der.clone()]))
}

fn other_managers(truth: &Truth, by: &SpiffeId) -> Result<Vec<SpiffeId>, BackupError> {
    let filter = certus_ca::NodeFilter { role: Some(Role::Manager), active: true, ..Default::default() };
    let page = truth.scan(|view| certus_ca::nodes(view, &filter, None, certus_ca::limits::PAGE_MAX));
    let managers = page.map_err(BackupError::Unanswered)?.items.into_iter();
    Ok(managers
        .filter(|node| node.state == NodeState::Active && node.identity != *by)
        .map(|node| node.identity)
        .collect())
}
