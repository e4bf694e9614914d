//! Completions and manual pages: what other programs make of them.
#![allow(clippy::print_stderr, reason = "a skip must be visible")]

use std::process::{Command, Output};

use crate::harness::World;

/// Runs another program; a visible skip where it is not installed, and a failure where it must be.
fn other(world: &World, program: &str, words: &[&str]) -> Option<Output> {
    match Command::new(program).args(words).current_dir(world.path("")).output() {
        Ok(output) => Some(output),
        Err(_) => {
            let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
            // No package of Debian has PowerShell, and a minimal system has no `man`.
            let there = !required || ["pwsh", "man"].contains(&program);
            assert!(there, "{program} is not installed, and CERTUS_REQUIRE_INTEROP=1");
            eprintln!("SKIPPED: {program} is not installed");
            None
        }
    }
}

#[test]
fn shells_take_the_completions() {
    let world = World::new();
    let checks: [(&str, &str, &[&str]); 4] = [
        ("bash", "bash", &["-n", "bash.out"]),
        ("zsh", "zsh", &["-n", "zsh.out"]),
        ("fish", "fish", &["--no-execute", "fish.out"]),
        ("powershell", "pwsh", &["-NoProfile", "-File", "powershell.out"]),
    ];
    for (shell, program, words) in checks {
        let script = world.run(&["completions", shell]).ok().stdout;
        world.write(&format!("{shell}.out"), &script);
        for word in ["expiring", "rotate", "worker", "tls", "create-server-cert"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        if let Some(output) = other(&world, program, words) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
        }
    }
    world.run(&["completions", "tcsh"]).failed(2, "CT-5101");
}

#[test]
fn bash_completes_verbs_options_and_other_spellings() {
    let world = World::new();
    let script = world.run(&["completions", "bash"]).ok().stdout;
    world.write("certus.bash", &script);
    let complete = |line: &str, expected: &str| {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let (last, before) = (words.len() - 1, words.len() - 2);
        let script = format!(
            "source ./certus.bash; COMP_WORDS=({}); COMP_CWORD={last}; _certus certus {} {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words[last],
            words[before],
        );
        let Some(output) = other(&world, "bash", &["-c", &script]) else { return };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.lines().any(|word| word == expected), "{line}: {said}");
    };
    complete("certus cert ro", "rotate");
    complete("certus cert list --exp", "--expiring");
    complete("certus cert list --sort ", "issued");
    complete("certus node rem", "remove");
    complete("certus wor", "worker");
    complete("certus worker start --tok", "--token-file");
    complete("certus tls in", "init");
}

#[test]
fn manual_pages_are_clean_and_hold_the_examples() {
    let world = World::new();
    let first = world.run(&["man"]).ok().stdout;
    assert!(first.starts_with(".TH certus 1 ") && first.contains("Does something keep running"), "{first}");
    let said = world.run(&["man", "--output-dir", "pages", "--json"]).ok().json();
    let pages: Vec<&str> = said["pages"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    for page in ["certus.1", "certus-cert-list.1", "certus-cluster-root-take-offline.1"] {
        assert!(pages.contains(&page), "{page}: {pages:?}");
    }
    let page = std::fs::read_to_string(world.path("pages/certus-cert-list.1")).unwrap();
    assert!(page.contains("\\-\\-expiring") && page.contains("certus cert list \\-\\-revoked"), "{page}");
    // Written again, over what an older version wrote.
    world.run(&["man", "--output-dir", "pages"]).ok();
    for page in pages {
        let file = format!("pages/{page}");
        if let Some(output) = other(&world, "mandoc", &["-T", "lint", "-W", "error", &file]) {
            assert!(output.status.success(), "{page}: {}", String::from_utf8_lossy(&output.stdout));
        }
        if let Some(output) = other(&world, "man", &["--warnings", "-l", &file]) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // A minimal system has `man` that says it was taken out, and shows nothing.
            if String::from_utf8_lossy(&output.stdout).contains("NAME") {
                assert!(output.status.success() && said.is_empty(), "{page}: {said}");
            }
        }
    }
}
