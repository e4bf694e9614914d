//! What the system says of a process, and what a daemon says of itself.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// What is in memory, in KiB.
pub(crate) fn resident(pid: Pid) -> u64 {
    let line = status(pid, "VmRSS:");
    line.trim_end_matches(" kB").parse().unwrap()
}

/// A line of `/proc/PID/status`.
pub(crate) fn status(pid: Pid, key: &str) -> String {
    let status = proc(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{key} is not in {status}")).trim().to_owned()
}

pub(crate) fn proc(pid: Pid, file: &str) -> String {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A daemon's answer at its admin socket.
pub(crate) fn ask(data_dir: &Path, path: &str) -> String {
    let Ok(mut stream) = UnixStream::connect(data_dir.join("admin.sock")) else { return String::new() };
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// One of a daemon's numbers.
pub(crate) fn number(data_dir: &Path, name: &str) -> Option<f64> {
    let numbers = ask(data_dir, "/metrics");
    let found = numbers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.and_then(|value| value.parse().ok())
}

/// How far the manager's log is.
pub(crate) fn log_index(data_dir: &Path) -> u64 {
    number(data_dir, "certus_manager_log_applied_index").expect("the manager counts its log") as u64
}

/// Raises the limit of open files of this process as far as the system lets it; says how far.
pub(crate) fn raise_files() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether this test may do what only root can: mount, and make network namespaces. Says so where not.
pub(crate) fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {what} wants root");
    }
    root
}

/// Whether a program of the system does what it is told; says why not.
pub(crate) fn succeeds(program: &str, words: &[&str]) -> bool {
    let ran = Command::new(program).args(words).stdin(Stdio::null()).output();
    match ran {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            false
        }
    }
}

/// A file system in memory, of so many KiB, while it lives. None where it cannot be had; that is said.
pub(crate) struct Small {
    path: std::path::PathBuf,
}

impl Small {
    pub(crate) fn mount(path: &Path, kib: u32) -> Option<Small> {
        fs::create_dir_all(path).unwrap();
        let (place, size) = (path.display().to_string(), format!("size={kib}k,mode=0700"));
        if !is_root("a small disk") {
            return None;
        }
        if !succeeds("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &place]) {
            eprintln!("SKIPPED: no file system could be mounted");
            return None;
        }
        Some(Small { path: path.to_owned() })
    }

    pub(crate) fn remount(&self, options: &str) {
        let place = self.path.display().to_string();
        assert!(succeeds("mount", &["-o", &format!("remount,{options}"), &place]));
    }

    /// Takes what room is left; giving it back is removing the file.
    pub(crate) fn fill(&self) -> std::path::PathBuf {
        let path = self.path.join("ballast");
        let mut ballast = fs::File::create(&path).unwrap();
        for block in [64 << 10, 512, 1] {
            while ballast.write_all(&vec![0; block]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        succeeds("umount", &["-l", &self.path.display().to_string()]);
    }
}
