//! I7 on processes: no core dumps, memory that is not swapped, and no key or token where others look.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use certus_pki::PrivateKey;

use crate::harness::{World, port, until};
use crate::process::{ask, proc, status};

/// Nobody in particular.
const NOBODY: u32 = 65_534;

/// Texts that no place but the key's or token's own may hold.
fn secrets(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map_while(Result::ok) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            secrets(&entry.path(), found);
        } else if kind.is_file() {
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let pem: Vec<&str> = text.lines().skip_while(|line| !line.contains("BEGIN PRIVATE")).collect();
            found.extend(pem.get(2).map(|line| (*line).to_owned()));
        }
    }
}

#[test]
fn i7_a_daemon_dumps_no_core_and_its_memory_is_not_swapped() {
    let world = World::new();
    let manager = world.manager();
    let pid = manager.pid();
    let limits = proc(pid, "limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(files[0], files[1], "as many files as the system allows");
    let locked: u64 = status(pid, "VmLck:").trim_end_matches(" kB").parse().unwrap();
    let says = manager.log().contains("memory is not locked");
    assert!((locked > 0) != says, "{locked} KiB are locked, and: {}", manager.log());
    assert_eq!(manager.end(), 0);
}

/// What nobody may dump, nobody of the same user may look into: the system shows it as root's.
#[test]
fn i7_a_daemon_cannot_be_looked_into_by_its_own_user() {
    if !crate::process::is_root("another user") {
        return;
    }
    let world = World::new();
    let config = format!(
        "agent: {{data_dir: a1}}\nlisteners:\n  - {{name: web, transport: tcp, address: \"127.0.0.1:{}\", forward: \"127.0.0.1:1\", allow: any}}\n",
        port()
    );
    world.write("a.yaml", &config);
    std::os::unix::fs::chown(world.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = world.command(&["agent", "start", "--config", "a.yaml"]);
    command.uid(NOBODY).gid(NOBODY);
    let agent = world.daemon_with(command);
    until("it runs, or cannot", || !agent.log().is_empty(), String::new);
    agent.ready(&world.path("a1"));
    let seen = fs::metadata(format!("/proc/{}/environ", agent.pid().as_raw_nonzero())).unwrap();
    assert_eq!(seen.uid(), 0, "its memory and environment are readable for its user");
    assert_eq!(status(agent.pid(), "Uid:").split_whitespace().next(), Some("65534"));
    assert!(agent.log().contains("memory is not locked"), "{}", agent.log());
    assert_eq!(agent.end(), 0);
}

#[test]
fn i7_no_key_or_token_is_where_others_look() {
    let world = World::new();
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"];
    let unlock = world.run(&[&init[..], &["--autolock"]].concat()).ok().stdout;
    let key = unlock.split_whitespace().max_by_key(|word| word.len()).unwrap().to_owned();
    world.write("unlock.key", &key);
    let loud = |words: &[&str]| {
        let mut command = world.command(words);
        command.env("CERTUS_LOG", "trace");
        world.daemon_with(command)
    };
    let manager = loud(&["manager", "start", "--data-dir", "m1", "--passphrase-file", "unlock.key"]);
    manager.ready(&world.path("m1"));
    let token = world.token("token", &["--id", "web-1"]);
    let start = [
        "worker",
        "start",
        "--manager",
        &listen,
        "--id",
        "web-1",
        "--data-dir",
        "w1",
        "--token-file",
        "token",
    ];
    let worker = loud(&start);
    worker.ready(&world.path("w1"));
    world.write("backup.pass", "correct horse battery staple\n");
    let backup = ["cluster", "backup", "prod.backup", "--data-dir", "m1", "--passphrase-file", "backup.pass"];
    world.run(&backup).ok();

    let mut hidden = vec![token.clone(), token[..32].to_owned(), key, "correct horse battery".to_owned()];
    for dir in ["m1", "w1", "home"] {
        secrets(&world.path(dir), &mut hidden);
    }
    assert!(hidden.len() >= 7, "keys were found to look for: {}", hidden.len());
    let mut places: Vec<(String, String)> = Vec::new();
    for (name, daemon, dir) in [("manager", &manager, "m1"), ("worker", &worker, "w1")] {
        for file in ["cmdline", "environ", "comm"] {
            places.push((format!("{file} of the {name}"), proc(daemon.pid(), file)));
        }
        for path in ["/metrics", "/ready", "/health", "/failures", "/connections"] {
            places.push((format!("{path} of the {name}"), ask(&world.path(dir), path)));
        }
    }
    drop((manager, worker));
    places.push(("what was said".to_owned(), world.everything_said()));
    let backup = fs::read(world.path("prod.backup")).unwrap();
    places.push(("the backup".to_owned(), String::from_utf8_lossy(&backup).into_owned()));
    for (place, text) in &places {
        for secret in &hidden {
            assert!(!text.contains(secret.as_str()), "a secret is in {place}");
        }
    }
    assert!(world.everything_said().contains("TRACE"));
    backup_holds_no_key(&world, &backup);
}

/// Nor the bytes that the texts spell.
fn backup_holds_no_key(world: &World, backup: &[u8]) {
    for path in pem_keys(&world.path("m1")) {
        let key = PrivateKey::from_pem(&fs::read_to_string(path).unwrap()).ok().unwrap();
        let der = key.to_pkcs8_der().unwrap();
        let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
        let secret = &der[at..at + 32];
        assert!(!backup.windows(32).any(|bytes| bytes == secret), "a key's bytes are in the backup");
    }
}

fn pem_keys(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map_while(Result::ok) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(pem_keys(&entry.path()));
        } else if kind.is_file()
            && fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("BEGIN PRIVATE KEY"))
        {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn i7_no_key_of_a_configuration_is_shown_quoted_or_kept() {
    let world = World::new();
    let made = Command::new(env!("CARGO_BIN_EXE_certus"))
        .args(["key", "new", "--out", "inline.key"])
        .env("CERTUS_HOME", world.path("home"))
        .current_dir(world.path(""))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = fs::read_to_string(world.path("inline.key")).unwrap();
    let secret = key.lines().nth(2).unwrap().to_owned();
    let indented: String = key.lines().map(|line| format!("    {line}\n")).collect();
    let pem = format!("tls:\n  key_pem: |\n{indented}");
    let listener =
        "listeners:\n  - {transport: tcp, address: \"127.0.0.1:1\", forward: \"127.0.0.1:2\", allow: any}\n";
    let documents = [
        format!("agent: {{data_dir: a1}}\n{pem}{listener}"),
        format!("agent: {{data_dir: a1}}\n{pem}  colour: blue\n{listener}"),
        format!("agent: {{data_dir: a1}}\n{pem}{listener}  broken"),
        format!("agent: {{data_dir: a1}}\ntls:\n  key_pem: \"${{KEY}}\"\n  colour: blue\n{listener}"),
        format!("agent: {{data_dir: a1}}\ntls: {{key_pem: {}}}\n", secret),
    ];
    for (number, document) in documents.iter().enumerate() {
        let name = format!("c{number}.yaml");
        world.write(&name, document);
        for words in [
            &["config", "show", &name][..],
            &["config", "show", &name, "--json"],
            &["config", "check", &name],
            &["agent", "start", "--config", &name, "--data-dir", "a2"],
        ] {
            let mut command = world.command(words);
            command.env("KEY", &key).env("CERTUS_LOG", "trace");
            if words[0] == "agent" && number == 0 {
                continue;
            }
            let said = world.run_with(command, "");
            let all = format!("{}{}", said.stdout, said.stderr);
            assert!(!all.contains(&secret), "{name} {words:?}: a key is in what was said");
        }
    }
    // A configuration that is written over is not kept beside it.
    let kept: Vec<_> = fs::read_dir(world.path("")).unwrap().map_while(Result::ok).collect();
    let backups = kept.iter().filter(|entry| entry.file_name().to_string_lossy().ends_with(".bak"));
    assert_eq!(backups.count(), 0);
}
