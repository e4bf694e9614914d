//! Founding a cluster: root, issuer, first manager, operator, all or nothing.
//!
//! Everything is made in `manager.unfinished` and takes its place in one rename; a founding that was
//! cut short leaves nothing that looks founded.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certus_ca::{Command, Genesis, Refusal, Reply, Settings};
use certus_node::files::{FileError, Fresh, KeyLock, NodeDir};
use certus_pki::defaults::ROOT_LIFETIME;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::{BadKey, Passphrase};
use certus_pki::{
    Bundle, CaPlan, ClusterName, Issuer, KeyType, LeafPlan, Lifetime, NodeId, PrivateKey, Role, Sha256,
    Signer, SpiffeId, UnixTime, Validity, code,
};
use certus_tls::Clock;

use crate::keys::{IssuingKey, KeysError, ManagerDir, fresh_serial};
use crate::replica::{InitializeReplicaError, OpenError, Replica};
use crate::sealing::{Purpose, SealError, SealingKey};
use crate::storage::{Storage, StorageError};
use crate::truth::{CaMachine, Truth, Unanswered};

/// What a cluster is founded with.
#[derive(Clone)]
#[non_exhaustive]
pub struct FoundOptions {
    /// Its name, which is its trust domain.
    pub cluster: ClusterName,
    /// Where this manager keeps its data.
    pub data_dir: PathBuf,
    /// Where it will listen; kept for every later start.
    pub listen: SocketAddr,
    /// This manager's id.
    pub manager_id: NodeId,
    /// The operator's id.
    pub operator_id: NodeId,
    /// Lifetime of nodes' certificates.
    pub leaf_lifetime: Lifetime,
    /// Lifetime of issuers.
    pub issuer_lifetime: Lifetime,
    /// The root's key.
    pub root_key_type: KeyType,
    /// Every other key that is made here.
    pub key_type: KeyType,
    /// What the manager's cluster key is put under; without it the key is in a plain file of mode 0600.
    pub autolock: Option<Arc<Passphrase>>,
}

impl FoundOptions {
    /// Lifetimes and keys as `pki::defaults` has them.
    pub fn new(
        cluster: ClusterName,
        data_dir: PathBuf,
        listen: SocketAddr,
        manager_id: NodeId,
        operator_id: NodeId,
    ) -> FoundOptions {
        FoundOptions {
            cluster,
            data_dir,
            listen,
            manager_id,
            operator_id,
            leaf_lifetime: certus_pki::defaults::LEAF_LIFETIME,
            issuer_lifetime: certus_pki::defaults::ISSUER_LIFETIME,
            root_key_type: KeyType::P256,
            key_type: KeyType::P256,
            autolock: None,
        }
    }
}

/// A founded cluster, and the operator's credentials: they are kept nowhere else.
pub struct Founded {
    /// The first manager.
    pub manager: SpiffeId,
    /// The root's key: what tokens pin.
    pub root: Sha256,
    /// The root's last moment.
    pub root_not_after: UnixTime,
    /// What the operator's commands authenticate with.
    pub operator: OperatorIdentity,
}

/// The operator's credentials.
pub struct OperatorIdentity {
    /// Who it is.
    pub identity: SpiffeId,
    /// Its key.
    pub key: PrivateKey,
    /// Leaf, then issuer.
    pub chain: Vec<Vec<u8>>,
    /// What it trusts.
    pub bundle: Bundle,
}

/// Refuses a directory in which a cluster was founded or joined before.
///
/// # Errors
/// [`FoundError::Exists`].
pub fn refuse_founded(data_dir: &Path) -> Result<(), FoundError> {
    let place = ManagerDir::of(data_dir);
    if place.exists() { Err(FoundError::Exists { path: place.path().to_owned() }) } else { Ok(()) }
}

/// Founds a cluster.
///
/// # Errors
/// There is data already, the lifetimes do not fit each other, or the disk refuses. Then nothing is left
/// that looks founded.
pub async fn found(options: &FoundOptions, clock: Clock) -> Result<Founded, FoundError> {
    found_keeping(options, clock, |_| Ok(())).await
}

/// The same, with the operator's credentials kept by `keep` before there is a cluster that nobody else
/// could operate.
///
/// # Errors
/// As [`found`], or what `keep` says.
pub async fn found_keeping(
    options: &FoundOptions,
    clock: Clock,
    keep: impl FnOnce(&Founded) -> Result<(), Explanation>,
) -> Result<Founded, FoundError> {
    let settings =
        Settings { leaf_lifetime: options.leaf_lifetime, issuer_lifetime: options.issuer_lifetime };
    certus_ca::check_settings(&settings).map_err(FoundError::Settings)?;
    let place = ManagerDir::of(&options.data_dir);
    refuse_founded(&options.data_dir)?;
    let node_dir = NodeDir::open(&options.data_dir).map_err(FoundError::Files)?;
    // Again under the lock: of two that found here at once, one was first.
    refuse_founded(&options.data_dir)?;
    let unfinished = ManagerDir::unfinished(&options.data_dir);
    discard(unfinished.path())?;
    unfinished.create().map_err(FoundError::Keys)?;

    let made = Made::make(options, settings, clock())?;
    unfinished
        .write(
            &options.cluster,
            &made.cluster_key,
            (&made.root.key_hash(), &made.root_data_key),
            &made.issuing,
            options.autolock.as_deref(),
        )
        .and_then(|()| unfinished.write_listen(options.listen))
        .map_err(FoundError::Keys)?;
    let bundle = made.commit(&unfinished.store(), clock).await?;
    let manager = Fresh { key: &made.manager.key, chain: &made.manager.chain, bundle: &bundle };
    let lock = made.cluster_key.passphrase(&options.cluster);
    let lock = lock.map_err(|error| FoundError::Keys(KeysError::Seal(error)))?;
    let lock = KeyLock::new(lock, options.autolock.is_some());
    let files = node_dir.identity(Role::Manager, &options.manager_id).under(lock);
    files.store(&manager).map_err(FoundError::Files)?;
    let founded = Founded {
        manager: made.manager.plan.identity.clone(),
        root: made.root.key_hash(),
        root_not_after: made.root.certificate().not_after,
        operator: OperatorIdentity {
            identity: made.operator.plan.identity.clone(),
            key: made.operator.key,
            chain: made.operator.chain,
            bundle,
        },
    };
    keep(&founded).map_err(FoundError::NotKept)?;
    // From here on it is founded.
    let moved = fs::rename(unfinished.path(), place.path());
    moved.map_err(|error| FoundError::io("put in place", place.path(), error))?;
    let synced = fs::File::open(&options.data_dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| FoundError::io("sync", &options.data_dir, error))?;
    Ok(founded)
}

/// Everything a founding makes before anything is written.
struct Made {
    genesis: Genesis,
    cluster_key: SealingKey,
    root_data_key: SealingKey,
    root: Issuer,
    issuing: IssuingKey,
    manager: Member,
    operator: Member,
}

/// A member the cluster is founded with.
struct Member {
    plan: LeafPlan,
    key: PrivateKey,
    chain: Vec<Vec<u8>>,
}

impl Made {
    fn make(options: &FoundOptions, settings: Settings, now: UnixTime) -> Result<Made, FoundError> {
        let cluster = &options.cluster;
        let keys = FoundError::Keys;
        let issue = |error| keys(KeysError::Issuer(error));
        let root_key = PrivateKey::generate(options.root_key_type).map_err(FoundError::Key)?;
        let plan = CaPlan::root(cluster, Validity::starting(now, ROOT_LIFETIME));
        let root = Issuer::self_signed(&plan, fresh_serial().map_err(keys)?, &root_key).map_err(issue)?;

        let issuer_key = PrivateKey::generate(options.key_type).map_err(FoundError::Key)?;
        let tag = format!("issuer {}", options.manager_id);
        let plan = CaPlan::issuer(cluster, &tag, Validity::starting(now, options.issuer_lifetime));
        let serial = fresh_serial().map_err(keys)?;
        let issuer = root.sign_ca(&plan, issuer_key.public_key(), serial, &root_key).map_err(issue)?;
        let issuing = IssuingKey { issuer, key: issuer_key };

        let member = |role, id: &NodeId| -> Result<Member, FoundError> {
            let key = PrivateKey::generate(options.key_type).map_err(FoundError::Key)?;
            let identity = SpiffeId { cluster: cluster.clone(), role, id: id.clone() };
            let plan = settings.plan(identity, key.public_key().clone(), Vec::new(), now);
            let leaf = issuing.sign(&plan).map_err(keys)?;
            Ok(Member { plan, key, chain: vec![leaf, issuing.issuer.certificate().der.clone()] })
        };
        let manager = member(Role::Manager, &options.manager_id)?;
        let operator = member(Role::Client, &options.operator_id)?;

        let seal = |error| keys(KeysError::Seal(error));
        let root_data_key = SealingKey::generate().map_err(seal)?;
        let document = root_key.to_pkcs8_der().map_err(FoundError::Key)?;
        let sealed: Result<Vec<u8>, SealError> =
            root_data_key.seal(Purpose::RootKey, cluster, &root.key_hash(), &document);
        let genesis = Genesis {
            cluster: cluster.clone(),
            settings,
            root_der: root.certificate().der.clone(),
            root_key_sealed: sealed.map_err(seal)?,
            issuer_der: issuing.issuer.certificate().der.clone(),
            manager_der: manager.chain[0].clone(),
            operator_der: operator.chain[0].clone(),
            generation: 0,
        };
        let cluster_key = SealingKey::generate().map_err(seal)?;
        Ok(Made { genesis, cluster_key, root_data_key, root, issuing, manager, operator })
    }

    /// Writes genesis as the first command of a new log, and reads back what is trusted.
    async fn commit(&self, store: &Path, clock: Clock) -> Result<Bundle, FoundError> {
        let storage = Storage::in_directory(store).map_err(FoundError::Storage)?;
        let seconds = clock.clone();
        let replica = Replica::<CaMachine>::open(storage, Arc::new(move || seconds().secs()));
        let replica = replica.await.map_err(FoundError::Open)?;
        replica.initialize().await.map_err(FoundError::Initialize)?;
        let truth = Truth::alone(replica, clock);
        let committed = truth.propose(&Command::Genesis(self.genesis.clone())).await;
        let bundle = match committed {
            Ok(Reply::Founded { .. }) => truth.read(|view| certus_ca::bundle(view)),
            Ok(_) => Err(Unanswered::Mismatched { asked: "founding" }),
            Err(error) => Err(error),
        };
        truth.replica.shutdown().await.map_err(FoundError::Storage)?;
        let bundle = bundle.map_err(FoundError::Unanswered)?;
        bundle.ok_or(FoundError::Unanswered(Unanswered::Mismatched { asked: "founding" }))
    }
}

pub(crate) fn discard(path: &Path) -> Result<(), FoundError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FoundError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// A cluster was not founded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoundError {
    /// There is a manager's data already.
    #[error("{} exists: a cluster was founded or joined here before", .path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The lifetimes do not fit each other.
    #[error(transparent)]
    Settings(Refusal),
    /// A file or directory refuses.
    #[error("could not {what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The node's files refuse.
    #[error(transparent)]
    Files(FileError),
    /// The manager's secrets refuse.
    #[error(transparent)]
    Keys(KeysError),
    /// A key could not be made.
    #[error("a key could not be made")]
    Key(#[source] BadKey),
    /// The store refuses.
    #[error("the manager's store cannot be made")]
    Storage(#[source] StorageError),
    /// The log cannot be opened.
    #[error("the manager's log cannot be opened")]
    Open(#[source] OpenError),
    /// The log cannot be begun.
    #[error("the manager's log cannot be begun")]
    Initialize(#[source] InitializeReplicaError),
    /// The founding was not committed.
    #[error(transparent)]
    Unanswered(Unanswered),
    /// The operator's credentials were not kept.
    #[error("the operator's credentials could not be kept: {}", .0.message)]
    NotKept(Explanation),
}

impl FoundError {
    fn io(what: &'static str, path: &Path, error: std::io::Error) -> FoundError {
        FoundError::Io { what, path: path.to_owned(), error }
    }
}

impl Explain for FoundError {
    fn explain(&self) -> Explanation {
        let store = |error: &dyn std::error::Error| {
            Explanation::new(code::STORE, self.to_string()).fact("because", error)
        };
        match self {
            FoundError::Exists { path } => Explanation::new(code::ALREADY_EXISTS, self.to_string())
                .halves("no manager's data", path.display())
                .hint("certus manager start runs it; another --data-dir founds a second cluster"),
            FoundError::Settings(refusal) => refusal.explain(),
            FoundError::Io { error, .. } => {
                Explanation::new(code::FILE, self.to_string()).fact("because", error)
            }
            FoundError::Files(error) => error.explain(),
            FoundError::Keys(error) => error.explain(),
            FoundError::Key(error) => error.explain(),
            FoundError::Storage(error) => store(error),
            FoundError::Open(error) => store(error),
            FoundError::Initialize(error) => store(error),
            FoundError::Unanswered(error) => error.explain(),
            FoundError::NotKept(why) => why.clone(),
        }
    }
}
