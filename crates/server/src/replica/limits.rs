//! Every bound of the replica, each with its reason.

use std::time::Duration;

/// Proposals that wait while one entry is being written; a further caller waits to be queued.
/// Four batches: the disk never idles, and nobody waits longer than five writes.
pub const QUEUE_COMMANDS: usize = 1_024;

/// Commands in one entry. Measured: throughput grows little beyond 256 to an fsync.
pub const BATCH_COMMANDS: usize = 256;

/// Bytes of commands in one entry, so that an entry stays below gRPC's usual 4 MiB message.
pub const BATCH_BYTES: usize = 512 << 10;

/// One command. A certificate and its record take about 2 KiB; sealed roots a little more.
pub const COMMAND_BYTES: usize = 256 << 10;

/// Entries after which the state is made durable: what a restart replays, at the most.
pub const BARRIER_ENTRIES: u64 = 1_000;

/// Bytes of commands after which the state is made durable, whatever their number: about 16,000
/// certificates, replayed in a second or two.
pub const BARRIER_BYTES: u64 = 32 << 20;

/// Entries after which the log is cut. A "snapshot" of ours costs one barrier, not a dump.
pub const SNAPSHOT_ENTRIES: u64 = 1_000;

/// Entries that stay when the log is cut, for a manager that was away for a moment.
pub const LOG_KEEP_ENTRIES: u64 = 1_000;

/// Entries cut at least at a time, so that not every entry pays for a purge.
pub const PURGE_ENTRIES: u64 = 256;

/// Entries read from the log at a time, for a manager that catches up.
pub const REPLICATE_ENTRIES: u64 = 64;

/// How often a leader speaks. Three misses are survived before an election.
pub const HEARTBEAT: Duration = Duration::from_millis(300);

/// The shortest silence after which another manager stands for election.
pub const ELECTION_MIN: Duration = Duration::from_millis(1_000);

/// The longest such silence; the spread keeps two managers from standing at once.
pub const ELECTION_MAX: Duration = Duration::from_millis(2_000);

/// A lone voter elects itself and replays what the state lacks. Longer means that it hangs.
pub const SETTLE: Duration = Duration::from_secs(120);

/// Bytes of rows in one chunk of a snapshot: a comfortable gRPC message.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Rows read at a time while a chunk is filled.
pub const CHUNK_READ_ROWS: usize = 64;

/// How the replica fills entries, and how often it settles and cuts its log, in entries.
///
/// The default is right for a manager; the simulation takes a few entries, to see every seam, and a
/// benchmark takes one command an entry, to see what the group commit is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// See [`BATCH_COMMANDS`].
    pub commands: usize,
    /// See [`BARRIER_ENTRIES`].
    pub barrier: u64,
    /// See [`SNAPSHOT_ENTRIES`].
    pub snapshot: u64,
    /// See [`LOG_KEEP_ENTRIES`].
    pub keep: u64,
    /// See [`PURGE_ENTRIES`].
    pub purge: u64,
}

impl Default for Cadence {
    fn default() -> Cadence {
        Cadence {
            commands: BATCH_COMMANDS,
            barrier: BARRIER_ENTRIES,
            snapshot: SNAPSHOT_ENTRIES,
            keep: LOG_KEEP_ENTRIES,
            purge: PURGE_ENTRIES,
        }
    }
}
