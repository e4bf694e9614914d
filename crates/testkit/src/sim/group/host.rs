//! A simulated manager: its disk, its clock, and the process that runs on them for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use certus_server::replica::limits::Cadence;
use certus_server::replica::{Clock, MemberId, Replica};
use certus_server::storage::Storage;
use tokio::time::Instant;

use super::super::life::words;
use super::super::{START, Subject};
use super::bus::{Bus, Subjected};
use crate::disk::{FaultKind, SimDisk};

/// A manager.
pub(super) struct Host<M: Subject> {
    pub(super) id: MemberId,
    disk: SimDisk,
    begin: Instant,
    /// Seconds by which its clock is off.
    skew: Arc<AtomicI64>,
    life: u64,
    /// The running process.
    pub(super) replica: Option<Subjected<M>>,
    /// What is wrong with the disk: it excuses a replica that stops.
    pub(super) doomed: Option<Doom>,
    /// It was removed, and is not started again.
    pub(super) retired: bool,
    /// How many places of its journal were looked at since it was opened.
    pub(super) looked_at: u64,
}

/// What a disk is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    PowerCut,
    DiskError,
    DiskFull,
}

impl<M: Subject> Host<M> {
    pub(super) fn new(id: MemberId, seed: u64, begin: Instant) -> Host<M> {
        Host {
            id,
            disk: SimDisk::new(seed),
            begin,
            skew: Arc::new(AtomicI64::new(0)),
            life: 0,
            replica: None,
            doomed: None,
            retired: false,
            looked_at: 0,
        }
    }

    /// Starts the process. Fails where the disk does.
    pub(super) async fn start(&mut self, bus: &Bus<M>) -> Result<(), String> {
        self.life += 1;
        self.looked_at = 0;
        let storage = Storage::on_backends(self.disk.open("log"), self.disk.open("state"))
            .map_err(|error| words(&error))?;
        let wire = bus.wire(self.id, self.life);
        let replica = Replica::join_group(storage, self.clock(), CADENCE, self.id, wire).await;
        let replica = replica.map_err(|error| words(&error))?;
        bus.enter(self.id, self.life, replica.clone());
        self.replica = Some(replica);
        Ok(())
    }

    /// The process is gone at once; of what was not synced, chance decides if the power went too.
    pub(super) fn crash(&mut self, bus: &Bus<M>, power: bool) {
        bus.leave(self.id);
        match power || self.doomed == Some(Doom::PowerCut) {
            true => self.disk.cut_power(),
            false => self.disk.kill(),
        }
        self.disk.leave_room(None);
        self.doomed = None;
        if let Some(replica) = self.replica.take() {
            // Its files are dead already; this only ends the tasks of the process.
            tokio::spawn(async move { drop(replica.shutdown().await) });
        }
    }

    /// The process is told to stop.
    pub(super) async fn stop(&mut self, bus: &Bus<M>) -> Result<(), String> {
        bus.leave(self.id);
        let Some(replica) = self.replica.take() else { return Ok(()) };
        let stopped = replica.shutdown().await.map_err(|error| words(&error));
        self.disk.kill();
        stopped
    }

    /// The disk fails after some more operations, or when it is full.
    pub(super) fn doom(&mut self, doom: Doom, operations: u64) {
        match doom {
            Doom::PowerCut => self.disk.fail_after(operations, FaultKind::PowerCut),
            Doom::DiskError => self.disk.fail_after(operations, FaultKind::Io),
            Doom::DiskFull => self.disk.leave_room(Some(operations * ROOM_BYTES)),
        }
        self.doomed = Some(doom);
    }

    /// The disk is as good as new.
    pub(super) fn mend(&mut self) {
        self.disk.mend();
        self.doomed = None;
    }

    pub(super) fn set_skew(&self, seconds: i64) {
        self.skew.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn skew(&self) -> i64 {
        self.skew.load(Ordering::Relaxed)
    }

    /// What its clock says.
    pub(super) fn now(&self) -> i64 {
        self.clock()()
    }

    /// Operations and syncs of its disk so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        self.disk.counts()
    }

    fn clock(&self) -> Clock {
        let (begin, skew) = (self.begin, self.skew.clone());
        Arc::new(move || true_time(begin) + skew.load(Ordering::Relaxed))
    }
}

/// What a clock that is right says.
pub(super) fn true_time(begin: Instant) -> i64 {
    START + i64::try_from(begin.elapsed().as_secs()).unwrap_or(i64::MAX - START)
}

/// Every seam within a run: barriers, snapshots and purges every few entries.
const CADENCE: Cadence = Cadence {
    commands: 8,
    barrier: 7,
    snapshot: 9,
    keep: 4,
    purge: 3,
    hold: std::time::Duration::from_secs(2),
};
/// What one unit of chance leaves on a disk that fills up.
const ROOM_BYTES: u64 = 2_048;
