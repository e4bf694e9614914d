//! What needs root and the tools of Linux: a visible skip where it is not to be had.

use std::process::Command;

/// Whether the test can have disks and networks of its own; a failure where it must.
pub(crate) fn can(what: &str, tool: &str, try_it: &[&str]) -> bool {
    let root = rustix::process::geteuid().is_root();
    let there = root && Command::new(tool).args(try_it).output().is_ok_and(|said| said.status.success());
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "{what} needs root and `{tool}`, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: {what} needs root and `{tool}`");
    }
    there
}

/// Runs a tool that must work.
#[track_caller]
pub(crate) fn tool(words: &[&str]) {
    let said = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
}
