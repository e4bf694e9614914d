//! openssl's command line as a judge; where it is not installed, a skip that can be seen.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::PathBuf;
use std::process::Command;

/// The program, with a directory of the test's own.
pub(crate) struct Openssl {
    directory: PathBuf,
}

impl Openssl {
    /// The program, or nothing and a word about it; `CERTUS_REQUIRE_INTEROP=1` makes its absence a failure.
    pub(crate) fn find(test: &str) -> Option<Openssl> {
        if Command::new("openssl").arg("version").output().is_err() {
            Openssl::skip(test, "openssl");
            return None;
        }
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pki-{test}"));
        std::fs::create_dir_all(&directory).unwrap();
        Some(Openssl { directory })
    }

    /// Says that a test skips for want of a program, or fails where none may.
    pub(crate) fn skip(test: &str, program: &str) {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "CERTUS_REQUIRE_INTEROP=1, and there is no {program} on the path");
        eprintln!("SKIPPED {test}: there is no {program} on the path");
    }

    /// Runs it in the test's directory and returns what it printed; it must succeed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str], files: &[&str]) -> String {
        let (succeeded, said) = self.ask(arguments, files);
        assert!(succeeded, "openssl {arguments:?} {files:?}\n{said}");
        said
    }

    /// Runs it in the test's directory: whether it succeeded, and what it printed.
    pub(crate) fn ask(&self, arguments: &[&str], files: &[&str]) -> (bool, String) {
        self.ask_program("openssl", &[arguments, files].concat())
    }

    /// Runs another program there.
    pub(crate) fn ask_program(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program).current_dir(&self.directory).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.directory.join(file), bytes).unwrap();
    }

    pub(crate) fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(file)).unwrap()
    }

    pub(crate) fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.join(file)).unwrap()
    }
}
