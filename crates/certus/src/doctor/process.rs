//! The daemons that run here: who they are by their sockets, and what the system allows them.
//!
//! Reads `/proc`; asks a daemon for nothing but whether it is ready.

use std::path::{Path, PathBuf};

use certus_node::admin;
use certus_node::files::admin_socket;
use certus_pki::{Code, Explanation, code};
use rustix::process::{Resource, getrlimit};
use serde::Deserialize;

use super::{Check, Finding, Place, failure, warning};
use crate::terminal::thousands;

/// A connection that is carried has one on each side.
const PER_CONNECTION: u64 = 2;
/// The store, the logs, the sockets of listeners and of the admin interface, with room to spare.
const RESERVED: u64 = 128;
/// Below this a daemon cannot even start in good order.
const LEAST: u64 = 256;

/// A daemon that runs.
pub(super) struct Process {
    data_dir: PathBuf,
    pid: i32,
    limits: Option<Limits>,
    /// Why it is not ready, in its own words.
    pub(super) reasons: Vec<Explanation>,
}

/// Soft limits of a process; none is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    files: Option<u64>,
    core: Option<u64>,
}

/// The daemons whose data directories are known.
pub(super) async fn running(place: &Place) -> Vec<Process> {
    let mut all = Vec::new();
    for data_dir in &place.data_dirs {
        all.extend(process(data_dir).await);
    }
    all
}

async fn process(data_dir: &Path) -> Option<Process> {
    let socket = admin_socket(data_dir);
    // Of a socket that listens it is the process that began to.
    let pid = tokio::net::UnixStream::connect(&socket).await.ok()?.peer_cred().ok()?.pid()?;
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok();
    let reasons = match admin::get_from(&socket, "/ready").await {
        Ok((status, answer)) if !status.is_success() => reasons(&answer),
        _ => Vec::new(),
    };
    let limits = limits.as_deref().and_then(Limits::read);
    Some(Process { data_dir: data_dir.to_owned(), pid, limits, reasons })
}

impl Limits {
    /// As proc(5) writes them.
    fn read(text: &str) -> Option<Limits> {
        let soft = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let word = line.split_whitespace().next()?;
            if word == "unlimited" { Some(None) } else { word.parse().ok().map(Some) }
        };
        Some(Limits { files: soft("Max open files")?, core: soft("Max core file size")? })
    }
}

/// What a daemon answers that is not ready.
fn reasons(answer: &str) -> Vec<Explanation> {
    #[derive(Deserialize)]
    struct Answer {
        reasons: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: String,
        message: String,
        facts: std::collections::BTreeMap<String, String>,
        hint: Option<String>,
    }
    let answer: Option<Answer> = serde_json::from_str(answer).ok();
    let told = |reason: Reason| {
        let number =
            reason.code.strip_prefix("CT-").and_then(|digits| digits.parse().ok()).unwrap_or_default();
        let facts = reason.facts.into_iter().collect();
        Explanation { code: Code::from_number(number), message: reason.message, facts, hint: reason.hint }
    };
    answer.map_or_else(Vec::new, |answer| answer.reasons.into_iter().map(told).collect())
}

pub(super) fn limits(place: &Place, running: &[Process]) -> Check {
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    for data_dir in &place.data_dirs {
        let process = running.iter().find(|process| process.data_dir == *data_dir);
        let (files, whose) = match process {
            Some(process) => match process.limits {
                Some(limits) => (limits.files, format!("process {}", process.pid)),
                None => continue,
            },
            // A daemon that is started from here has the same.
            None => (getrlimit(Resource::Nofile).current, "a process started from here".to_owned()),
        };
        let wanted = wanted(place, data_dir);
        let shown = files.map_or_else(|| "unlimited".to_owned(), thousands);
        seen.push(format!("{shown} open files for {whose}, {} wanted", thousands(wanted)));
        findings.extend(files.and_then(|files| few(files, wanted, data_dir)));
    }
    if seen.is_empty() {
        return Check::skipped("limits", "there is no data directory of a daemon that can be looked at");
    }
    Check::of("limits", seen.join("; "), findings)
}

/// Open files for as many connections as are configured.
fn wanted(place: &Place, data_dir: &Path) -> u64 {
    let api = if certus_server::is_founded(data_dir) {
        certus_pki::defaults::MANAGER_CONNECTIONS_MAX as u64
    } else {
        0
    };
    let listeners = place.config.iter().flat_map(|config| &config.listeners);
    let carried: u64 = listeners.map(|listener| listener.limits.connections as u64).sum();
    RESERVED + api + carried.saturating_mul(PER_CONNECTION)
}

fn few(files: u64, wanted: u64, data_dir: &Path) -> Option<Finding> {
    if files >= wanted.max(LEAST) {
        return None;
    }
    let words = format!("{} can open too few files for all connections it takes", data_dir.display());
    let told = Explanation::new(code::LOW_LIMIT, words)
        .halves(format!("{} open files", wanted.max(LEAST)), files)
        .hint("LimitNOFILE= in its unit, or ulimit -n before it; or fewer connections in limits");
    Some(if files < LEAST { failure(told) } else { warning(told) })
}

pub(super) fn core_dumps(running: &[Process]) -> Check {
    let known: Vec<(&Process, Limits)> =
        running.iter().filter_map(|process| Some((process, process.limits?))).collect();
    let on = known.iter().filter(|(_, limits)| limits.core != Some(0)).map(|(process, limits)| {
        let size = limits.core.map_or_else(|| "no limit".to_owned(), |bytes| format!("{bytes} bytes"));
        let words = format!("process {} would leave its keys in a core dump", process.pid);
        let told = Explanation::new(code::CORE_DUMPS, words)
            .halves("core files of 0 bytes", size)
            .fact("directory", process.data_dir.display())
            .hint("start it anew: it turns them off at its start, unless something turned them on since");
        failure(told)
    });
    let seen = match known.len() {
        0 => "no daemon runs here; each turns them off at its start".to_owned(),
        _ => "off".to_owned(),
    };
    Check::of("core dumps", seen, on.collect())
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn limits_are_read_as_the_system_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        unlimited            unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(Limits::read(text), Some(Limits { files: Some(1024), core: None }));
        assert_eq!(Limits::read("nothing"), None);
    }

    #[test]
    fn too_few_files_warn_and_much_too_few_fail() {
        let dir = Path::new("w1");
        let state = |files| few(files, 20_128, dir).map(|finding| finding.state);
        assert_eq!(
            (state(20_128), state(1024), state(64)),
            (None, Some(State::Warning), Some(State::Failure))
        );
    }
}
