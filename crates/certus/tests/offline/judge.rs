//! Other people's programs as judges; a visible skip where they are not installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::World;

/// Whether a program is there; a failure where it must be.
pub(crate) fn is_there(program: &str) -> bool {
    // Not by starting it: what a program does with words that it does not know is its own affair.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "{program} is not installed, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: {program} is not installed");
    }
    there
}

/// Runs openssl in the world's directory: whether it agreed, and what it said.
pub(crate) fn openssl(world: &World, line: &str) -> (bool, String) {
    asked(world, "openssl", &line.split_whitespace().collect::<Vec<_>>())
}

/// Runs a program in the world's directory: whether it agreed, and what it said.
pub(crate) fn asked(world: &World, program: &str, words: &[&str]) -> (bool, String) {
    let output =
        Command::new(program).args(words).current_dir(world.path("")).stdin(Stdio::null()).output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// openssl must agree.
#[track_caller]
pub(crate) fn agrees(world: &World, line: &str) -> String {
    let (agreed, said) = openssl(world, line);
    assert!(agreed, "openssl {line}\n{said}");
    said
}

/// A server that is killed when the test ends.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
