//! A cable that is pulled and put back: a manager and a worker in network namespaces of their own.

use std::process::Command;

use crate::harness::{Daemon, World, until};
use crate::process::{is_root, succeeds};

const MANAGER: &str = "10.77.0.1";
const WORKER: &str = "10.77.0.2";

/// Two namespaces with a cable between them, gone when dropped.
struct Cable {
    ends: [String; 2],
}

impl Cable {
    fn new() -> Option<Cable> {
        if !is_root("a network namespace") {
            return None;
        }
        let process = std::process::id();
        let cable = Cable { ends: [format!("ca{process}"), format!("cb{process}")] };
        let [one, other] = &cable.ends;
        let made = succeeds("ip", &["netns", "add", one])
            && succeeds("ip", &["netns", "add", other])
            && succeeds(
                "ip",
                &["link", "add", one, "netns", one, "type", "veth", "peer", "name", other, "netns", other],
            )
            && cable.ends.iter().zip([MANAGER, WORKER]).all(|(end, address)| {
                succeeds("ip", &["-n", end, "addr", "add", &format!("{address}/24"), "dev", end])
                    && succeeds("ip", &["-n", end, "link", "set", end, "up"])
                    && succeeds("ip", &["-n", end, "link", "set", "lo", "up"])
            });
        if !made {
            eprintln!("SKIPPED: no network namespaces could be made (ip netns)");
            return None;
        }
        Some(cable)
    }

    fn pulled(&self, pulled: bool) {
        let word = if pulled { "down" } else { "up" };
        assert!(succeeds("ip", &["-n", &self.ends[1], "link", "set", &self.ends[1], word]));
    }

    /// The command, at one end.
    fn at(&self, end: usize, world: &World, words: &[&str]) -> Command {
        let plain = world.command(words);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ends[end]]).arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(world.path(""));
        command
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &self.ends {
            succeeds("ip", &["netns", "del", end]);
        }
    }
}

#[test]
fn i9_a_cable_that_is_pulled_is_noticed_and_nothing_is_lost_when_it_is_back() {
    let world = World::new();
    let Some(cable) = Cable::new() else { return };
    let run = |words: &[&str]| world.run_with(cable.at(0, &world, words), "");
    let listen = format!("{MANAGER}:7443");
    run(&["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"]).ok();
    let manager = world.daemon_with(cable.at(0, &world, &["manager", "start", "--data-dir", "m1"]));
    manager.ready(&world.path("m1"));
    let token = run(&["token", "create", "--role", "worker", "--uses", "2"]).ok();
    world.write("token", &token.stdout);
    let worker = |end: usize, id: &str| -> Daemon {
        let start =
            ["worker", "start", "--manager", &listen, "--token-file", "token", "--id", id, "--data-dir", id];
        let worker = world.daemon_with(cable.at(end, &world, &start));
        worker.ready(&world.path(id));
        worker
    };
    let (far, near) = (worker(1, "far"), worker(0, "near"));

    cable.pulled(true);
    until("the worker notices", || far.log().contains("lost the managers"), || far.log());
    far.ready(&world.path("far"));
    // What happens meanwhile reaches those that are there, and the others when they are back.
    run(&["cert", "revoke", "near"]).ok();
    assert_eq!(near.ended(), 1, "it was told, and ends");
    assert!(!far.log().contains("a change of trust is in force"), "{}", far.log());
    cable.pulled(false);
    until("it is told", || far.log().contains("a change of trust is in force"), || far.log());
    let waited = run(&["cert", "revoke", "far", "--wait"]).ok();
    assert!(waited.stdout.contains("revoked"), "{}", waited.stdout);
    assert_eq!(far.ended(), 1);
    assert_eq!(manager.end(), 0);
}
