//! The named bounds of a cluster's truth, each with its reason (I6).

use certus_pki::Lifetime;

/// How far a plan's time may lie from the time of the log entry that carries it: several Raft
/// elections, and less than any lifetime that is meant seriously.
pub const PLAN_TOLERANCE: Lifetime = Lifetime::from_secs(120);

/// How many changes are kept for watchers; one that is further behind is sent the whole bundle.
pub const CHANGES_KEPT: u64 = 10_000;

/// How many certificates one node may be given within one lifetime. Twice as many can be live at
/// once, and their revocation must fit into one message to watchers (4 MiB, 80 bytes each).
pub const CERTS_PER_NODE_MAX: u32 = 10_000;

/// How many rows one page of a listing holds at most.
pub const PAGE_MAX: usize = 1_000;

/// How many rows a filter without an index reads for one page before it hands back a continuation.
pub const ROWS_READ_MAX: usize = 5_000;

/// The largest sealed root key: an RSA-4096 key has some 2.4 KiB.
pub const ROOT_KEY_SEALED_MAX: usize = 16 << 10;

/// How many rows a page reads at once at least: a filter that takes few of them does not ask for each.
pub(crate) const ROWS_AT_ONCE: usize = 64;

/// How many rows a walk over a whole table reads at once.
pub(crate) const CHUNK: usize = 1_000;

/// The largest byte string in a persisted value: several times the largest certificate.
pub const BYTES_MAX: usize = 1 << 20;

/// The most items in a persisted list: above twice [`CERTS_PER_NODE_MAX`].
pub const ITEMS_MAX: usize = 1 << 16;

/// How many managers a cluster has at most. Every write waits for a majority of them: more make it
/// slower, not safer.
pub const MANAGERS_MAX: usize = 9;

/// The longest address of a manager: a DNS name of 253 bytes, a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 259;
