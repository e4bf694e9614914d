//! The files in `deploy/`, judged by the programs that read them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::metrics::repository;

/// Of ten; see `docs/operating.md`. As systemd counts it, times ten.
const EXPOSURE_MAX: &str = "15";

/// Whether the program is there. Where skipping is not allowed, it has to be.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
    assert!(found || !required, "{program} is not installed");
    if !found {
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}

#[track_caller]
fn agrees(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The units with the path of the binary that is tested: systemd looks whether it is there.
fn units(dir: &Path) -> Vec<PathBuf> {
    let place = |name: &str| {
        let text = fs::read_to_string(repository().join("deploy/systemd").join(name)).unwrap();
        assert!(text.contains("\nExecStart=/usr/bin/certus "), "{name}");
        let unit = dir.join(name);
        fs::write(&unit, text.replace("/usr/bin/certus ", &format!("{} ", env!("CARGO_BIN_EXE_certus"))))
            .unwrap();
        unit
    };
    ["certus-manager.service", "certus-worker.service"].map(place).into()
}

#[test]
fn systemd_understands_the_units_and_finds_them_closed() {
    if !is_there("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for unit in units(dir.path()) {
        let said = agrees(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
        let about: Vec<&str> = said.lines().filter(|line| line.contains("certus")).collect();
        assert!(about.is_empty(), "{said}");
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        agrees(
            Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager", &threshold])
                .arg(&unit),
        );
    }
}

#[test]
fn the_units_start_what_the_binary_takes() {
    let dir = tempfile::tempdir().unwrap();
    for unit in units(dir.path()) {
        let text = fs::read_to_string(&unit).unwrap();
        // Without it no memory is locked, and keys may be swapped.
        assert!(text.lines().any(|line| line == "LimitMEMLOCK=infinity"), "{}", unit.display());
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        let output = command.args(words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_alert_rules_are_right_and_fire_when_they_should() {
    if !is_there("promtool") {
        return;
    }
    let dir = repository().join("deploy/prometheus");
    agrees(Command::new("promtool").args(["check", "rules", "alerts.yaml"]).current_dir(&dir));
    agrees(Command::new("promtool").args(["test", "rules", "alerts.test.yaml"]).current_dir(&dir));
}
