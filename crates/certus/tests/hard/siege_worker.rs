//! A siege of a worker: its listener and its entrance, on each transport over TCP, as a process.
//!
//! The longer sieges of listeners: crates/node/tests/it/carry_siege.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::{Daemon, World, is_reached, port, service, until};
use crate::process::{number, resident};
use crate::stranger::{address, connect, pour, preface};

/// What a siege of three listeners may cost, in KiB.
const GROWTH_MAX: u64 = 96 << 10;
/// A burst of 32 and then one a second, which the whole test does not last a minute for.
const LINES_MAX: usize = 150;

/// Two workers: `web-1` serves over a transport each, `web-2` reaches it by as many entrances.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) manager: Daemon,
    pub(crate) web_1: Daemon,
    pub(crate) web_2: Daemon,
    pub(crate) listeners: Vec<u16>,
    pub(crate) entrances: Vec<u16>,
}

impl Pair {
    /// `more` stands in both configurations.
    pub(crate) fn start(transports: &[&str], more: &str) -> Pair {
        let world = World::new();
        let manager = world.manager();
        let service = service();
        let (mut serves, mut reaches) = (format!("{more}\nlisteners:\n"), format!("{more}\npeers:\n"));
        let (mut listeners, mut entrances) = (Vec::new(), Vec::new());
        for transport in transports {
            let (listener, entrance) = (port(), port());
            serves.push_str(&format!(
                "  - {{name: {transport}, transport: {transport}, address: \"127.0.0.1:{listener}\", \
                 forward: \"127.0.0.1:{service}\", allow: [\"spiffe://prod/worker/*\"]}}\n"
            ));
            reaches.push_str(&format!(
                "  - {{name: {transport}, id: \"spiffe://prod/worker/web-1\", transport: {transport}, \
                 address: \"127.0.0.1:{listener}\", listen: \"127.0.0.1:{entrance}\"}}\n"
            ));
            listeners.push(listener);
            entrances.push(entrance);
        }
        world.write("web-1.yaml", &serves);
        world.write("web-2.yaml", &reaches);
        let address = world.manager_address();
        let worker = |id: &str| {
            let (token, config, dir) = (format!("{id}.token"), format!("{id}.yaml"), id.to_owned());
            world.token(&token, &["--id", id]);
            let start = ["worker", "start", "--manager", &address, "--id", id, "--data-dir", &dir];
            let daemon = world.daemon(&[&start[..], &["--token-file", &token, "--config", &config]].concat());
            daemon.ready(&world.path(&dir));
            daemon
        };
        let (web_1, web_2) = (worker("web-1"), worker("web-2"));
        let pair = Pair { manager, web_1, web_2, listeners, entrances, world };
        pair.reached("at the beginning");
        pair
    }

    #[track_caller]
    pub(crate) fn reached(&self, when: &str) {
        for entrance in &self.entrances {
            until(
                &format!("{when}: the service is reached"),
                || is_reached(*entrance),
                || format!("{}\n{}", self.web_1.log(), self.web_2.log()),
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_besieged_worker_serves_its_peers() {
    let pair = Pair::start(&["tcp", "h2", "ws"], "");
    let (before, lines) = (resident(pair.web_1.pid()), pair.web_1.log().lines().count());
    let rubbish: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n".to_vec(),
        preface(),
        vec![0xff; 64 << 10],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        Vec::new(),
    ];
    let mut all = JoinSet::new();
    for (place, listener) in pair.listeners.iter().enumerate() {
        let at: SocketAddr = ([127, 0, 0, 1], *listener).into();
        for number in 0..300 {
            let bytes = rubbish[(place + number) % rubbish.len()].clone();
            all.spawn(async move {
                let mut tcp = connect(address(number), at).await?;
                pour(&mut tcp, &bytes, Duration::from_secs(2)).await;
                Some(tcp)
            });
        }
    }
    let mut held = Vec::new();
    while let Some(one) = all.join_next().await {
        held.extend(one.unwrap());
    }
    assert!(held.len() > 600, "they were held open: {}", held.len());
    pair.reached("while strangers hold connections");
    let after = resident(pair.web_1.pid());
    println!("{} KiB before, {after} KiB with {} strangers", before, held.len());
    assert!(after < before + GROWTH_MAX, "{before} KiB before, {after} after");
    drop(held);
    pair.reached("afterwards");
    let lines = pair.web_1.log().lines().count() - lines;
    assert!(lines < LINES_MAX, "{lines} lines:\n{}", pair.web_1.log());
    assert!(
        number(&pair.world.path("web-1"), "certus_manager_log_applied_index").is_none(),
        "a worker has no log"
    );
}
