//! A cluster that lost its majority, brought back from one manager that is left.
//!
//! Run while that manager is stopped. It never asks the others: whoever runs it has seen that they are gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use certus_ca::{Command, NodeState};
use certus_node::files::{FileError, NodeDir};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Epoch, Role, SpiffeId, code};
use certus_tls::Clock;

use crate::keys::{KeysError, ManagerDir};
use crate::replica::limits::Cadence;
use crate::replica::{Alone, AloneError, FIRST_MEMBER, MemberId, OpenError, Replica, group, make_alone};
use crate::storage::{Storage, StorageError, blocking};
use crate::truth::{CaMachine, Truth, Unanswered};

/// What a recovery would give up, read without changing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stake {
    /// The manager that would be left.
    pub manager: SpiffeId,
    /// How many voters its group has.
    pub voters: usize,
    /// The others of its group: their number, and where they were reached.
    pub others: Vec<(u64, String)>,
    /// The epoch of the state.
    pub epoch: Epoch,
    /// The last entry whose effects are in the state.
    pub applied: Option<u64>,
    /// The last entry of the log, which is kept with all before it.
    pub last: Option<u64>,
}

/// A manager that was made the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// What it was.
    pub stake: Stake,
    /// The first epoch of the new generation.
    pub epoch: Epoch,
}

/// What a recovery of the manager in `data_dir` would give up.
///
/// # Errors
/// It runs, there is no manager, or it is the only one already.
pub fn stake(data_dir: &Path) -> Result<Stake, RecoverError> {
    Stopped::open(data_dir)?.stake()
}

/// Makes the manager in `data_dir` the only voter of its group, and begins a new generation.
///
/// # Errors
/// As [`stake`], or the disk refuses. A recovery that was cut short either did not happen or is completed by
/// the manager's next start.
pub async fn recover(data_dir: &Path, clock: Clock) -> Result<Recovered, RecoverError> {
    let stopped = Stopped::open(data_dir)?;
    let stake = stopped.stake()?;
    let command = Command::Recover { by: stake.manager.clone() };
    let at = clock().secs();
    let member = stopped.member;
    blocking(|| make_alone::<CaMachine>(&stopped.storage, member, at, &command))?;
    let seconds = clock.clone();
    let seconds = Arc::new(move || seconds().secs());
    let opened =
        Replica::<CaMachine>::join_group(stopped.storage, seconds, Cadence::default(), member, Alone);
    let replica = opened.await;
    let replica = replica.map_err(|error| RecoverError::Open(Box::new(error)))?;
    let truth = Truth::alone(replica, clock);
    let epoch = truth.read(|view| certus_ca::epoch(view)).map_err(RecoverError::Unanswered);
    truth.replica.shutdown().await.map_err(RecoverError::Storage)?;
    let epoch = epoch?;
    if epoch.generation <= stake.epoch.generation {
        return Err(RecoverError::NotBegun { manager: stake.manager, epoch });
    }
    Ok(Recovered { stake, epoch })
}

/// A manager that does not run, held so that it does not start meanwhile.
struct Stopped {
    manager: SpiffeId,
    /// The number by which it knows itself in its group.
    member: MemberId,
    storage: Storage,
    _dir: NodeDir,
}

impl Stopped {
    fn open(data_dir: &Path) -> Result<Stopped, RecoverError> {
        let place = ManagerDir::of(data_dir);
        let no_data = || RecoverError::NoData { path: place.path().to_owned() };
        if !place.exists() {
            return Err(no_data());
        }
        let dir = NodeDir::open(data_dir).map_err(RecoverError::Files)?;
        let ids = dir.enrolled(Role::Manager).map_err(RecoverError::Files)?;
        let storage = Storage::in_directory(&place.store()).map_err(RecoverError::Storage)?;
        let view = storage.view().map_err(RecoverError::Storage)?;
        let cluster = certus_ca::cluster(&view).map_err(RecoverError::Fault)?.ok_or_else(no_data)?;
        let mut manager = None;
        for id in ids {
            let identity = SpiffeId { cluster: cluster.name.clone(), role: Role::Manager, id };
            let record = certus_ca::node(&view, &identity).map_err(RecoverError::Fault)?;
            if record.is_some_and(|record| record.state == NodeState::Active) {
                manager = Some(identity);
                break;
            }
        }
        drop(view);
        let member = place.member().map_err(RecoverError::Keys)?.unwrap_or(FIRST_MEMBER);
        Ok(Stopped { manager: manager.ok_or_else(no_data)?, member, storage, _dir: dir })
    }

    fn stake(&self) -> Result<Stake, RecoverError> {
        let group = group::<CaMachine>(&self.storage)?;
        let view = self.storage.view().map_err(RecoverError::Storage)?;
        let epoch = certus_ca::epoch(&view).map_err(RecoverError::Fault)?;
        if group.voters.len() == 1 && group.voters.contains(&self.member) {
            return Err(AloneError::Already.into());
        }
        Ok(Stake {
            manager: self.manager.clone(),
            voters: group.voters.len(),
            others: group.members.into_iter().filter(|(id, _)| *id != self.member).collect(),
            epoch,
            applied: group.applied,
            last: group.last,
        })
    }
}

/// A cluster was not brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// There is no manager's data.
    #[error("{} holds no manager that is left of a cluster", .path.display())]
    NoData {
        /// Where it should be.
        path: PathBuf,
    },
    /// The node's files refuse; it runs, for example.
    #[error(transparent)]
    Files(FileError),
    /// The manager's own files refuse.
    #[error(transparent)]
    Keys(KeysError),
    /// The store refuses.
    #[error("the manager's store cannot be used")]
    Storage(#[source] StorageError),
    /// A table refuses.
    #[error("the manager's store is damaged")]
    Fault(#[source] certus_ca::store::Fault),
    /// Its group does not allow it.
    #[error("this manager cannot be made the only one")]
    Alone(#[from] AloneError),
    /// The log cannot be opened.
    #[error("the manager's log cannot be opened")]
    Open(#[source] Box<OpenError>),
    /// The state cannot be read.
    #[error(transparent)]
    Unanswered(Unanswered),
    /// It is the only one now, and may not begin a generation.
    #[error("{manager} is the only voter now, and began no new generation")]
    NotBegun {
        /// Which manager.
        manager: SpiffeId,
        /// Where the cluster stands.
        epoch: Epoch,
    },
}

impl Explain for RecoverError {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        match self {
            RecoverError::NoData { path } => new(code::NO_MANAGER_DATA)
                .halves("the data of a stopped manager", path.display())
                .hint("certus cluster recover --data-dir DIR"),
            RecoverError::Files(error) => error.explain(),
            RecoverError::Keys(error) => error.explain(),
            RecoverError::Storage(error) => error.explain(),
            RecoverError::Fault(error) => new(code::STORE).fact("because", error),
            RecoverError::Alone(AloneError::Already) => new(code::NOT_RECOVERABLE)
                .halves("a manager whose group has other voters", "the only voter of its group")
                .hint("nothing is to be done: certus manager start"),
            RecoverError::Alone(AloneError::Storage(error)) => error.explain(),
            RecoverError::Alone(error) => new(code::NOT_RECOVERABLE)
                .fact("because", error)
                .hint("choose another manager that is left, or certus cluster restore FILE"),
            RecoverError::Open(error) => new(code::STORE).fact("because", error),
            RecoverError::Unanswered(error) => error.explain(),
            RecoverError::NotBegun { epoch, .. } => new(code::PERMISSION_DENIED)
                .fact("epoch", epoch)
                .hint("was this manager revoked? see certus node list once it runs"),
        }
    }
}

#[cfg(test)]
mod tests;
