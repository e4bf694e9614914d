//! Trust that grows old: a manager that is there and says nothing, what follows, and what a restart remembers.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{answers, is_reached, open, until};
use crate::process::{ask, number};
use crate::siege_worker::Pair;

/// A silent stream is noticed in 30 s; the rest is a busy machine's.
const NOTICED_WITHIN: Duration = Duration::from_secs(45);

#[test]
fn i9_a_manager_that_falls_silent_is_noticed_and_stale_trust_follows_the_policy() {
    let pair = Pair::start(&["tcp"], "revocation_stale_after: 20s\non_revocation_stale: closed");
    let (entrance, log) = (pair.entrances[0], || pair.web_1.log());
    let mut live = open(entrance);
    assert!(answers(&mut live));

    // Its sockets stay open, and nothing comes.
    pair.manager.signal(Signal::STOP);
    let begin = Instant::now();
    until("trust is stale", || log().contains("revocations are stale"), log);
    until("the connection ends", || !answers(&mut live), log);
    assert!(!is_reached(entrance), "nobody is accepted by trust that is stale: {}", log());
    let ready = ask(&pair.world.path("web-1"), "/ready");
    assert!(ready.contains("503") && ready.contains("CT-3120"), "{ready}");
    assert_eq!(number(&pair.world.path("web-1"), "certus_revocations_stale"), Some(1.0));
    until("the silence is noticed", || log().contains("lost the managers"), log);
    assert!(begin.elapsed() < NOTICED_WITHIN, "noticed after {:?}", begin.elapsed());

    // A restart does not make old trust new.
    let Pair { world, manager, web_1, web_2, listeners, entrances } = pair;
    assert_eq!(web_1.end(), 0);
    let start = ["worker", "start", "--data-dir", "web-1", "--id", "web-1", "--config", "web-1.yaml"];
    let web_1 = world.daemon(&start);
    until(
        "it says why it is not ready",
        || ask(&world.path("web-1"), "/ready").contains("CT-3120"),
        || web_1.log(),
    );
    assert!(!is_reached(entrance));

    manager.signal(Signal::CONT);
    let pair = Pair { world, manager, web_1, web_2, listeners, entrances };
    pair.reached("when the manager is heard of again");
    pair.web_1.ready(&pair.world.path("web-1"));
    assert_eq!(number(&pair.world.path("web-1"), "certus_revocations_stale"), Some(0.0));
}

#[test]
fn i10_a_node_that_starts_again_refuses_whom_it_refused() {
    let pair = Pair::start(&["tcp", "h2"], "revocation_stale_after: 20s");
    // A thief's copy of what web-2 is.
    copy(&pair.world.path("web-2"), &pair.world.path("thief"));
    pair.world.run(&["cert", "revoke", "web-2", "--wait"]).ok();
    for entrance in &pair.entrances {
        assert!(!is_reached(*entrance));
    }
    let Pair { world, manager, web_1, web_2, entrances, .. } = pair;
    assert_eq!(web_2.ended(), 1);
    assert_eq!(manager.end(), 0);
    // Killed, not ended: what it was told is on disk already.
    web_1.signal(Signal::KILL);
    web_1.ended();
    let start = |dir: &str, id: &str, config: &str| {
        let daemon = world.daemon(&["worker", "start", "--data-dir", dir, "--id", id, "--config", config]);
        daemon.ready(&world.path(dir));
        daemon
    };
    let web_1 = start("web-1", "web-1", "web-1.yaml");
    let _thief = start("thief", "web-2", "web-2.yaml");
    for entrance in entrances {
        assert!(!is_reached(entrance), "a revoked certificate passes after a restart: {}", web_1.log());
    }
    let failures = world.run(&["node", "failures", "--data-dir", "web-1", "--json"]).ok();
    assert!(failures.stdout.contains("1105"), "{}", failures.stdout);
    // Without a manager it goes on, and raises the alarm.
    until("the alarm", || web_1.log().contains("going on with what is known"), || web_1.log());
    web_1.ready(&world.path("web-1"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap().map_while(Result::ok) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_file() => drop(fs::copy(entry.path(), &to).unwrap()),
            _ => {}
        }
    }
}
