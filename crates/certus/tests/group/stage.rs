//! A cluster of several managers, each a process with a data directory and an address of its own.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certus_node::files::IdentityDir;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Daemon, Said, World, port, until};

/// Two at a time: managers, their callers and the command line want much, and wait for elections more.
static PLACES: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The lengths of the nightly run instead of the short ones.
pub(crate) fn at_length() -> bool {
    std::env::var_os("CERTUS_FAULTS").is_some_and(|value| value == "full")
}

/// `short` in every run, `full` in the nightly one.
pub(crate) fn seconds(short: u64, full: u64) -> Duration {
    Duration::from_secs(if at_length() { full } else { short })
}

/// One manager; `daemon` is none while it is off.
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) daemon: Option<Daemon>,
}

/// The cluster, and the machine while it has it.
pub(crate) struct Group {
    pub(crate) places: Vec<Place>,
    pub(crate) world: World,
    /// A network of its own for each manager, where the test has them.
    pub(crate) wrap: Option<fn(&str) -> Vec<String>>,
    _machine: MutexGuard<'static, ()>,
}

impl Group {
    /// Three managers that vote.
    pub(crate) fn of_three() -> Group {
        let mut group = Group::of_one(&[]);
        group.join("m2");
        group.join("m3");
        group.voters(3);
        group
    }

    /// One manager, `m1`; `options` of `cluster init`.
    pub(crate) fn of_one(options: &[&str]) -> Group {
        let mut group = Group::nobody();
        group.found(&format!("127.0.0.1:{}", port()), options);
        group.start("m1");
        group
    }

    /// No manager yet.
    pub(crate) fn nobody() -> Group {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES.len();
        let machine = PLACES[place].lock().unwrap_or_else(PoisonError::into_inner);
        Group { places: Vec::new(), world: World::new(), wrap: None, _machine: machine }
    }

    /// Founds the cluster at `address`; returns what was said.
    pub(crate) fn found(&mut self, address: &str, options: &[&str]) -> Said {
        let init = ["cluster", "init", "--name", "prod", "--id", "m1", "--data-dir", "m1", "--no-start"];
        let said = self.world.run(&[&init[..], &["--listen", address], options].concat()).ok();
        self.places.push(Place { id: "m1".to_owned(), address: address.to_owned(), daemon: None });
        said
    }

    /// The command as `id`'s manager runs it: in its network, where it has one.
    pub(crate) fn command_of(&self, id: &str, words: &[&str]) -> Command {
        let command = self.world.command(words);
        let Some(wrap) = self.wrap else { return command };
        let before = wrap(id);
        let mut wrapped = Command::new(&before[0]);
        wrapped.args(&before[1..]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped.current_dir(self.world.path(""));
        wrapped
    }

    /// Starts a manager that was there before, and waits until it is ready.
    pub(crate) fn start(&mut self, id: &str) {
        self.start_with(id, &[]);
        self.ready(id);
    }

    /// Starts it, and does not wait.
    pub(crate) fn start_with(&mut self, id: &str, options: &[&str]) {
        let words = [&["manager", "start", "--data-dir", id][..], options].concat();
        let command = self.command_of(id, &words);
        let daemon = self.world.daemon_with(command);
        self.place_mut(id).daemon = Some(daemon);
    }

    pub(crate) fn ready(&self, id: &str) {
        self.daemon(id).ready(&self.world.path(id));
    }

    /// Joins a further manager at a new port of loopback. It may not vote yet.
    pub(crate) fn join(&mut self, id: &str) {
        self.join_at(id, &format!("127.0.0.1:{}", port()), &self.addresses(), &[]);
    }

    /// Joins at `address`, asking `managers`; `options` of `token create`.
    pub(crate) fn join_at(&mut self, id: &str, address: &str, managers: &str, options: &[&str]) {
        let file = format!("{id}.token");
        let create = ["token", "create", "--role", "manager", "--id", id];
        let said = self.world.run(&[&create[..], options].concat()).ok();
        self.world.write(&file, &said.stdout);
        let words = ["--manager", managers, "manager", "join", "--token-file", &file];
        let words = [&words[..], &["--data-dir", id, "--listen", address, "--id", id]].concat();
        let command = self.command_of(id, &words);
        let daemon = self.world.daemon_with(command);
        self.places.retain(|place| place.id != id);
        let place = Place { id: id.to_owned(), address: address.to_owned(), daemon: Some(daemon) };
        self.places.push(place);
        self.ready(id);
    }

    /// Waits until as many managers vote, and one leads.
    #[track_caller]
    pub(crate) fn voters(&self, count: usize) {
        let settled = || {
            let managers = self.listed();
            let voters = managers.iter().filter(|manager| manager["voter"] == true).count();
            voters == count && managers.len() == count && managers.iter().any(|one| one["leader"] == true)
        };
        until("the managers vote", settled, || format!("{:?}\n{}", self.listed(), self.logs()));
    }

    /// The managers on record, as the command line lists them; none where it cannot.
    pub(crate) fn listed(&self) -> Vec<Value> {
        let said = self.world.run(&["manager", "list", "--json"]);
        match said.code {
            0 => said.json()["managers"].as_array().unwrap().clone(),
            _ => Vec::new(),
        }
    }

    /// Who leads, once somebody does.
    #[track_caller]
    pub(crate) fn leader(&self) -> String {
        let mut leader = None;
        let found = || {
            let managers = self.listed();
            let leads = managers.iter().find(|manager| manager["leader"] == true);
            leader =
                leads.map(|one| one["identity"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
            leader.is_some()
        };
        until("a manager leads", found, || self.logs());
        leader.unwrap()
    }

    /// One that does not lead.
    pub(crate) fn follower(&self) -> String {
        let leader = self.leader();
        let place = self.places.iter().find(|place| place.id != leader && place.daemon.is_some());
        place.unwrap().id.clone()
    }

    pub(crate) fn place(&self, id: &str) -> &Place {
        self.places.iter().find(|place| place.id == id).unwrap()
    }

    pub(crate) fn place_mut(&mut self, id: &str) -> &mut Place {
        self.places.iter_mut().find(|place| place.id == id).unwrap()
    }

    pub(crate) fn daemon(&self, id: &str) -> &Daemon {
        self.place(id).daemon.as_ref().unwrap()
    }

    /// Takes the process, to be ended.
    pub(crate) fn take(&mut self, id: &str) -> Daemon {
        self.place_mut(id).daemon.take().unwrap()
    }

    /// SIGKILL: no chance to finish anything.
    pub(crate) fn kill(&mut self, id: &str) {
        self.take(id).end_by(Signal::KILL);
    }

    /// Every manager's address, for `--manager`.
    pub(crate) fn addresses(&self) -> String {
        self.every_address().join(",")
    }

    pub(crate) fn every_address(&self) -> Vec<String> {
        self.places.iter().map(|place| place.address.clone()).collect()
    }

    /// What the managers that run have said.
    pub(crate) fn logs(&self) -> String {
        let running = self.places.iter().filter_map(|place| Some((&place.id, place.daemon.as_ref()?)));
        running.map(|(id, daemon)| format!("--- {id}\n{}\n", tail(&daemon.log()))).collect()
    }

    /// The operator's identity, as the command line keeps it.
    pub(crate) fn operator(&self) -> IdentityDir {
        IdentityDir::at(self.world.path("home/certs/cli"))
    }

    /// A worker that joined with a token of its own and knows every manager.
    pub(crate) fn worker(&self, id: &str) -> Daemon {
        let file = format!("{id}.token");
        self.world.token(&file, &["--id", id]);
        let addresses = self.addresses();
        let words = ["--manager", &addresses, "worker", "start", "--token-file", &file];
        let node = self.world.daemon(&[&words[..], &["--id", id, "--data-dir", id]].concat());
        node.ready(&self.world.path(id));
        node
    }

    /// A manager that cannot go on where it is: taken off the record, and joined anew on an empty directory.
    pub(crate) fn rejoin_clean(&mut self, id: &str) {
        let before = self.listed().len();
        self.world.run(&["manager", "remove", id, "--yes"]).ok();
        self.voters(before - 1);
        fs::remove_dir_all(self.world.path(id)).unwrap();
        let address = self.place(id).address.clone();
        self.places.retain(|place| place.id != id);
        self.join_at(id, &address, &self.addresses(), &["--replace"]);
        self.voters(before);
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
