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

/// After a member was sent the state: what it gets to read the entries that came meanwhile, before the
/// log is cut again. It installs a million certificates in less.
pub const HOLD_LOG: Duration = Duration::from_secs(120);

/// Entries cut at least at a time, so that not every entry pays for a purge.
pub const PURGE_ENTRIES: u64 = 256;

/// Entries read from the log at a time, for a manager that catches up.
pub const REPLICATE_ENTRIES: u64 = 64;

/// Bytes of entries read from the log at a time, but one entry at least, so that an append stays
/// below gRPC's usual 4 MiB message.
pub const REPLICATE_BYTES: usize = 1 << 20;

/// How often a leader speaks, about: it looks at its clock every one and a half of it.
pub const HEARTBEAT: Duration = Duration::from_millis(300);

/// The least a manager waits, after the lease of a silent leader has ended, before it stands for
/// election. Also how long a candidate waits for a vote: a disk has to write it.
pub const ELECTION_MIN: Duration = Duration::from_millis(600);

/// The longest such wait, and the lease of a leader: within it nobody else is voted for. The spread
/// keeps two managers from standing at once. A dead leader is thus replaced after two to three
/// seconds; five heartbeats may get lost before a live one is.
pub const ELECTION_MAX: Duration = Duration::from_millis(1_200);

/// Between the times at which members with neighbouring numbers stand, where openraft does not see to it.
pub const STAND_APART: Duration = Duration::from_millis(100);

/// A leader that heard no majority for so long takes no proposals: by then another may lead.
pub const QUORUM_SILENCE: Duration = Duration::from_millis(2_400);

/// A proposal or a read that was not settled by then ends. A new leader is found in three seconds.
pub const PROPOSE: Duration = Duration::from_secs(10);

/// What an entry under way gets to be settled by the next leader, once this one has lost the lead.
pub const LOST_LEAD: Duration = Duration::from_secs(3);

/// How long a member that cannot be reached is left alone before it is tried again.
pub const BACKOFF: Duration = Duration::from_millis(400);

/// Seconds between our clock and most of the others' from which on we do not propose. Far beyond
/// what NTP leaves, far below what a token lives.
pub const CLOCK_OFF_S: u64 = 60;

/// A leader whose clock is off falls silent for so long, so that another is elected...
pub const STAND_ASIDE: Duration = Duration::from_secs(5);

/// ... and then speaks for so long again, in case nobody was, to hear the others' clocks anew.
pub const STAND_ASIDE_PAUSE: Duration = Duration::from_secs(2);

/// A snapshot sent and installed: a million certificates take a minute or two. It pins pages
/// meanwhile, so it must end.
pub const SNAPSHOT: Duration = Duration::from_secs(900);

/// What a learner gets to receive the state and the log: a snapshot and some retries.
pub const CATCH_UP: Duration = Duration::from_secs(1_800);

/// What a learner that is to vote gets to have the newest entries.
pub const CATCH_UP_TO_VOTE: Duration = Duration::from_secs(10);

/// Entries a member may lack and still count as caught up: what one append brings.
pub const CAUGHT_UP_ENTRIES: u64 = REPLICATE_ENTRIES;

/// A change of the members: two entries, and an election in between.
pub const MEMBERSHIP: Duration = Duration::from_secs(20);

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
    /// See [`HOLD_LOG`].
    pub hold: Duration,
}

impl Default for Cadence {
    fn default() -> Cadence {
        Cadence {
            commands: BATCH_COMMANDS,
            barrier: BARRIER_ENTRIES,
            snapshot: SNAPSHOT_ENTRIES,
            keep: LOG_KEEP_ENTRIES,
            purge: PURGE_ENTRIES,
            hold: HOLD_LOG,
        }
    }
}
