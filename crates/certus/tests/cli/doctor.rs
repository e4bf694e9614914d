//! `certus doctor`: each check fails where something is wrong, in words, and nothing else does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use certus_pki::Lifetime;
use certus_server::{Manager, ManagerOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::harness::{Said, World, port, until};

const CHECKS: [&str; 11] = [
    "clock",
    "permissions",
    "reachability",
    "identity",
    "renewals",
    "disk",
    "limits",
    "versions",
    "quorum",
    "root",
    "core dumps",
];

fn doctor(world: &World, words: &[&str]) -> Said {
    world.run(&[&["doctor", "--json"], words].concat())
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

/// The state of a check, and the codes of its findings.
fn outcome(report: &Value, name: &str) -> (String, Vec<String>) {
    let check = check(report, name);
    let codes =
        check["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned());
    (check["state"].as_str().unwrap().to_owned(), codes.collect())
}

#[track_caller]
fn fails(said: Said, name: &str, code: &str) -> Value {
    let report = said.json();
    assert_eq!(said.code, 3, "{report:#}");
    assert_eq!(outcome(&report, name), ("failure".to_owned(), vec![code.to_owned()]), "{report:#}");
    let finding = check(&report, name)["findings"][0].clone();
    assert!(finding["hint"].is_string(), "{finding:#}");
    finding
}

fn founded(world: &World, options: &[&str]) -> String {
    let listen = format!("127.0.0.1:{}", port());
    let words = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"];
    world.run(&[&words[..], options].concat()).ok();
    listen
}

#[test]
fn a_machine_with_nothing_has_nothing_wrong() {
    let world = World::new();
    let said = doctor(&world, &[]).ok();
    let report = said.json();
    let checks: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(checks, CHECKS);
    for name in CHECKS.iter().filter(|name| **name != "core dumps") {
        assert_eq!(outcome(&report, name).0, "skipped", "{report:#}");
    }
}

#[test]
fn a_healthy_cluster_passes_from_a_manager_a_worker_and_a_laptop() {
    let world = World::new();
    let _manager = world.manager();
    world.token("w1.token", &[]);
    let config = format!(
        "listeners: [{{transport: tcp, address: '127.0.0.1:{}', forward: '127.0.0.1:1', limits: {{connections: 10}}}}]\n",
        port()
    );
    world.write("w1.yaml", &config);
    let address = world.manager_address();
    let start = ["worker", "start", "--data-dir", "w1", "--id", "web-1", "--config", "w1.yaml"];
    let worker = world.daemon(&[&start[..], &["--manager", &address, "--token-file", "w1.token"]].concat());
    worker.ready(&world.path("w1"));
    let good = |report: &Value, names: &[&str]| {
        for name in names {
            assert_eq!(outcome(report, name), ("ok".to_owned(), vec![]), "{report:#}");
        }
    };
    let cluster = ["clock", "reachability", "renewals", "versions", "quorum", "root"];
    let machine = ["permissions", "identity", "disk", "core dumps"];
    let laptop = doctor(&world, &["--strict"]).ok().json();
    good(&laptop, &cluster);
    good(&doctor(&world, &["--data-dir", "m1"]).ok().json(), &[&cluster[..], &machine].concat());
    // A worker's machine: nobody's home, the worker's own identity asks.
    let mut command = world.command(&["doctor", "--json", "--data-dir", "w1", "--config", "w1.yaml"]);
    command.env("CERTUS_HOME", world.path("nobody"));
    let worker = world.run_with(command, "").ok().json();
    good(&worker, &machine);
    good(&worker, &["clock", "reachability", "versions", "quorum", "limits"]);
    assert_eq!(outcome(&worker, "renewals").0, "skipped", "{worker:#}");
    let text = world.run(&["doctor"]).ok().stdout;
    assert!(text.contains("ok        clock         within a second of 1 manager"), "{text}");
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much() {
    let world = World::new();
    founded(&world, &["--leaf-lifetime", "1h"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ahead = |minutes: u32| {
        let mut options = ManagerOptions::new(world.path("m1"));
        let machine = options.clock.clone();
        options.clock = Arc::new(move || machine().plus(Lifetime::from_minutes(minutes)));
        runtime.block_on(Manager::start(options)).unwrap()
    };
    let manager = ahead(10);
    let finding = fails(doctor(&world, &[]), "clock", "CT-3301");
    assert!(finding["message"].as_str().unwrap().contains("10 min behind"), "{finding:#}");
    runtime.block_on(manager.shutdown()).unwrap();
    // By now its certificate is not valid yet for us: nothing else can be asked, and the clock is known.
    let manager = ahead(45);
    let told = || {
        let report = doctor(&world, &[]).json();
        outcome(&report, "reachability").1 == ["CT-1103"]
            && check(&report, "clock")["findings"][0]["message"].to_string().contains("45 min behind")
    };
    until("the clock is told without a valid certificate", told, || doctor(&world, &[]).stdout);
    runtime.block_on(manager.shutdown()).unwrap();
}

#[test]
fn keys_that_others_can_read_and_directories_that_they_can_change_are_named() {
    let world = World::new();
    founded(&world, &[]);
    let mode =
        |path: &str, mode| fs::set_permissions(world.path(path), Permissions::from_mode(mode)).unwrap();
    let permissions = || doctor(&world, &["--data-dir", "m1"]);
    assert_eq!(outcome(&permissions().json(), "permissions").0, "ok");
    mode("m1/manager/cluster.key", 0o640);
    let finding = fails(permissions(), "permissions", "CT-3102");
    assert!(finding["message"].as_str().unwrap().ends_with("m1/manager/cluster.key can be read by others"));
    assert_eq!(finding["facts"]["came"], "mode 0640");
    mode("m1/manager/cluster.key", 0o600);
    mode("m1/certs", 0o770);
    fails(permissions(), "permissions", "CT-3102");
    mode("m1/certs", 0o700);
    fails(doctor(&world, &["--data-dir", "nowhere"]), "permissions", "CT-3101");
}

#[test]
fn a_manager_that_is_away_is_named_with_its_code() {
    let world = World::new();
    let manager = world.manager();
    let (here, away) = (world.manager_address(), format!("127.0.0.1:{}", port()));
    let both = format!("{here},{away}");
    let finding = fails(doctor(&world, &["--manager", &both]), "reachability", "CT-2301");
    assert!(finding["message"].as_str().unwrap().contains(&away), "{finding:#}");
    manager.end();
    let finding = fails(doctor(&world, &[]), "reachability", "CT-2301");
    assert!(finding["message"].as_str().unwrap().contains(&here), "{finding:#}");
}

#[test]
fn an_identity_that_ended_is_a_failure() {
    let world = World::new();
    founded(&world, &["--leaf-lifetime", "10s"]);
    let ended = || {
        outcome(&doctor(&world, &["--data-dir", "m1"]).json(), "identity")
            == ("failure".into(), vec!["CT-1102".into()])
    };
    until("the identity has ended", ended, || doctor(&world, &[]).stdout);
    let finding = fails(doctor(&world, &["--data-dir", "m1"]), "identity", "CT-1102");
    assert!(finding["hint"].as_str().unwrap().contains("start the manager"), "{finding:#}");
}

#[test]
fn a_node_that_missed_its_renewal_is_named() {
    let world = World::new();
    founded(&world, &["--leaf-lifetime", "30s"]);
    let manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    manager.ready(&world.path("m1"));
    world.token("w1.token", &[]);
    let address = world.manager_address();
    let start = ["worker", "start", "--data-dir", "w1", "--id", "web-1", "--token-file", "w1.token"];
    let worker = world.daemon(&[&start[..], &["--manager", &address]].concat());
    worker.ready(&world.path("w1"));
    worker.end();
    let missed = || {
        // Any command but this one renews the operator's own certificate.
        world.run(&["cluster", "status"]).ok();
        outcome(&doctor(&world, &[]).json(), "renewals").0 == "failure"
    };
    until("the renewal was missed", missed, || doctor(&world, &[]).stdout);
    world.run(&["cluster", "status"]).ok();
    let report = doctor(&world, &[]).json();
    let finding = &check(&report, "renewals")["findings"][0];
    assert_eq!(finding["code"], "CT-3307");
    assert!(finding["facts"]["spiffe://prod/worker/web-1"].is_string(), "{finding:#}");
}

#[test]
fn a_disk_without_room_and_too_few_open_files_are_failures() {
    let world = World::new();
    founded(&world, &[]);
    let finding = fails(doctor(&world, &["--data-dir", "m1", "--min-free", "1000T"]), "disk", "CT-3302");
    assert_eq!(finding["facts"]["expected"], "at least 1000.0 TiB free");
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 200; exec \"$0\" manager start --data-dir m1",
        env!("CARGO_BIN_EXE_certus"),
    ]);
    command.current_dir(world.path(""));
    let manager = world.daemon_with(command);
    manager.ready(&world.path("m1"));
    let finding = fails(doctor(&world, &["--data-dir", "m1"]), "limits", "CT-3303");
    assert_eq!(finding["facts"]["came"], "200");
}

#[test]
fn two_managers_are_a_warning_and_one_of_two_a_failure() {
    let world = World::new();
    let _first = world.manager();
    let (address, listen) = (world.manager_address(), format!("127.0.0.1:{}", port()));
    let token = world.run(&["token", "create", "--role", "manager", "--id", "m2"]).ok().stdout;
    world.write("m2.token", &token);
    // Its token says which id it gets.
    let join = ["manager", "join", "--manager", &address, "--token-file", "m2.token"];
    let second = world.daemon(&[&join[..], &["--data-dir", "m2", "--listen", &listen]].concat());
    second.ready(&world.path("m2"));
    let identities = std::fs::read_dir(world.path("m2/certs")).unwrap().count();
    assert_eq!(identities, 1, "nothing is left of the id that was tried first");
    let warned =
        || outcome(&doctor(&world, &[]).json(), "quorum") == ("warning".into(), vec!["CT-3305".into()]);
    until("both vote", warned, || doctor(&world, &[]).stdout);
    assert_eq!(doctor(&world, &["--strict"]).code, 3, "warnings count where they are asked for");
    second.end_by(rustix::process::Signal::KILL);
    let report = doctor(&world, &[]).json();
    assert_eq!(outcome(&report, "reachability"), ("failure".into(), vec!["CT-2301".into()]), "{report:#}");
    let (state, codes) = outcome(&report, "quorum");
    assert_eq!(state, "failure", "{report:#}");
    assert!(codes.iter().all(|code| code == "CT-3305"), "{report:#}");
}

#[test]
fn a_locked_manager_is_a_failure() {
    let world = World::new();
    founded(&world, &["--autolock"]);
    let _manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    let locked = || outcome(&doctor(&world, &["--data-dir", "m1"]).json(), "root").0 == "failure";
    until("the manager waits for its key", locked, || doctor(&world, &["--data-dir", "m1"]).stdout);
    let finding = fails(doctor(&world, &["--data-dir", "m1"]), "root", "CT-4120");
    assert!(finding["hint"].as_str().unwrap().contains("certus node unlock"), "{finding:#}");
}

#[test]
fn a_daemon_that_may_dump_its_memory_is_a_failure() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    if maximum == Some(0) {
        writeln_skipped("core dumps cannot be turned on here");
        return;
    }
    // This process stands for the daemon: the socket is its own.
    setrlimit(Resource::Core, Rlimit { current: maximum, maximum }).unwrap();
    let world = World::new();
    fs::create_dir(world.path("w1")).unwrap();
    let socket = UnixListener::bind(world.path("w1/admin.sock")).unwrap();
    std::thread::spawn(move || socket.incoming().for_each(drop));
    let finding = fails(doctor(&world, &["--data-dir", "w1"]), "core dumps", "CT-3306");
    assert!(finding["message"].as_str().unwrap().contains(&std::process::id().to_string()), "{finding:#}");
}

/// Said where the test runner shows it.
fn writeln_skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
