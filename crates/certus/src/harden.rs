//! What keeps the keys in this process where they are: no core dumps, no swap, files for their user alone.
//!
//! Asks the system, and goes on where it refuses: a daemon that says so is better than none.

use certus_pki::defaults::FILES_WANTED;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Every command, before it reads anything (I7).
pub(crate) fn process() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Refused only where the limit is lower already.
    let _ = setrlimit(Resource::Core, none);
    // A collector that cores are piped to is not bound by the limit (core(5)); and no other process of
    // this user reads the memory.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// A daemon besides: its memory is not swapped where the system allows that, and it may open as many files
/// as the system lets it. Says what it could not do.
pub(crate) fn daemon() {
    match lock_memory() {
        Ok(()) => tracing::debug!("memory is locked: keys are never written to swap"),
        Err(why) => tracing::info!(
            why,
            "memory is not locked: keys may be written to swap; LimitMEMLOCK=infinity allows locking"
        ),
    }
    let files = raise_files();
    if files.is_some_and(|files| files < FILES_WANTED) {
        tracing::warn!(
            files,
            wanted = FILES_WANTED,
            "few connections fit the limit of open files (LimitNOFILE)"
        );
    }
}

/// All of it, on first use: keys pass through buffers of libraries that nobody could lock one by one.
///
/// Only where no limit applies. Below one, a later allocation would fail and end the process (mlockall(2)).
fn lock_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    if let Some(bytes) = limit.current
        && !may_lock()
    {
        return Err(format!("the limit of locked memory is {} KiB", bytes >> 10));
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|error| error.to_string())
}

/// Whether the limit does not bind this process: it has CAP_IPC_LOCK.
fn may_lock() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1)
}

/// The soft limit is low for the sake of programs that use select(2); none here does. Says what holds now.
fn raise_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}
