//! Sieges of a manager: whatever strangers send, its memory, its logs and the cluster's log stay bounded, and
//! whoever belongs to the cluster is served meanwhile.
//!
//! The whole siege: CERTUS_SIEGE=10 cargo test -p certus --test hard siege -- --nocapture

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use certus_pki::{Csr, JoinToken, KeyType, PrivateKey, Role};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Daemon, World, until};
use crate::process::{log_index, number, raise_files, resident};
use crate::stranger::{self, Stranger, address, connect, drain, pour};

/// What the sieges may cost together, in KiB: 4,096 strangers at 20 KiB in the middle of their handshakes,
/// a debug build's buffers, and as much again for what the allocator keeps of the sieges before.
const GROWTH_MAX: u64 = 256 << 10;
/// Lines that all sieges together may leave: one a minute for each reason and network, 64 at the most.
const LINES_MAX: usize = 64 * 3;
/// Held open without a word: more than one network, and more than all networks, may have.
const SILENT: usize = 5_000;
/// Connections at once.
const AT_ONCE: usize = 10_000;

/// How many times over.
fn times() -> usize {
    std::env::var("CERTUS_SIEGE").map_or(1, |times| times.parse().unwrap())
}

struct Besieged {
    world: World,
    manager: Daemon,
    worker: Daemon,
    at: SocketAddr,
    /// A token that somebody could use.
    real: String,
    index: u64,
    memory: u64,
    lines: usize,
}

impl Besieged {
    fn start() -> Besieged {
        let world = World::new();
        let manager = world.manager();
        let at: SocketAddr = world.manager_address().parse().unwrap();
        world.token("token", &["--id", "web-1"]);
        let start = ["worker", "start", "--manager", &at.to_string(), "--id", "web-1", "--data-dir", "w1"];
        let worker = world.daemon(&[&start[..], &["--token-file", "token"]].concat());
        worker.ready(&world.path("w1"));
        let real = world.token("real", &[]);
        let mut besieged = Besieged { world, manager, worker, at, real, index: 0, memory: 0, lines: 0 };
        // What the manager does by itself after its start is done by then.
        let mut last = (0, Instant::now());
        until("the log is quiet", || besieged.is_quiet(&mut last), || besieged.manager.log());
        besieged.served("before");
        besieged.index = besieged.index_now();
        besieged.memory = resident(besieged.manager.pid());
        besieged.lines = besieged.manager.log().lines().count();
        besieged
    }

    fn index_now(&self) -> u64 {
        log_index(&self.world.path("m1"))
    }

    fn is_quiet(&self, last: &mut (u64, Instant)) -> bool {
        let index = self.index_now();
        if index != last.0 {
            *last = (index, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(2)
    }

    /// Whoever belongs to the cluster is served.
    #[track_caller]
    fn served(&self, when: &str) {
        let said = self.world.run(&["node", "list", "--json"]);
        assert_eq!(said.code, 0, "{when}: {}\n{}", said.stderr, self.manager.log());
        let connected = said.json()["nodes"].to_string().contains("\"connected_since\":\"");
        assert!(connected, "{when}: the worker lost its stream: {}", self.worker.log());
    }

    /// What a siege cost while it lasted, and that nothing of it reached the log.
    #[track_caller]
    fn holds(&self, siege: &str) {
        self.served(siege);
        let memory = resident(self.manager.pid());
        let lines = self.manager.log().lines().count() - self.lines;
        println!(
            "{siege}: {} KiB before, {memory} KiB now, {lines} lines of log since the first",
            self.memory
        );
        assert!(memory < self.memory + GROWTH_MAX, "{siege}: {} KiB before, {memory} after", self.memory);
        assert!(lines < LINES_MAX, "{siege}: {lines} lines:\n{}", self.manager.log());
        assert_eq!(self.index_now(), self.index, "{siege}: a stranger wrote to the cluster's log (I6)");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_besieged_manager_serves_its_nodes_and_writes_nothing() {
    let files = raise_files();
    let besieged = Besieged::start();
    let stranger = Stranger::of(&besieged.world);
    for _ in 0..times() {
        garbage(&besieged).await;
        besieged.holds("garbage");
        let held = half_open(&besieged, SILENT, files).await;
        besieged.holds("half-open connections, held");
        drop(held);
        slow(&besieged, &stranger).await;
        oversized(&besieged, &stranger).await;
        besieged.holds("oversized messages");
        floods(&besieged, &stranger).await;
        besieged.holds("floods of Info and Join");
        joins_with_tokens(&besieged).await;
        besieged.holds("joins with tokens that nobody made");
        let crowd = half_open(&besieged, AT_ONCE, files).await;
        println!("{} of {AT_ONCE} connections at once", crowd.len());
        besieged.holds("ten thousand at once");
    }
    // It is as much alive as before: what it is told reaches the worker.
    besieged.world.run(&["cert", "revoke", "web-1", "--wait"]).ok();
    assert!(besieged.index_now() > besieged.index);
    let refused = number(&besieged.world.path("m1"), "certus_manager_calls_refused_total{code=\"CT-2210\"}");
    assert!(refused.unwrap_or_default() > 0.0, "the floods were limited, and counted");
    assert_eq!(besieged.manager.end(), 0);
}

/// What is no TLS, and what only begins like it.
async fn garbage(besieged: &Besieged) {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let huge = [b"\x16\x03\x01\xff\xff".to_vec(), vec![0x55; 256 << 10]].concat();
    let rubbish: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        stranger::preface(),
        vec![0; 64 << 10],
        (0..=255).cycle().take(64 << 10).collect(),
        [hello.to_vec(), vec![0xff; 4096]].concat(),
        huge,
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec(),
        Vec::new(),
    ];
    let mut all = JoinSet::new();
    for number in 0..400 {
        let (bytes, at) = (rubbish[number % rubbish.len()].clone(), besieged.at);
        all.spawn(async move {
            let Some(mut tcp) = connect(address(number % 5), at).await else { return };
            pour(&mut tcp, &bytes, Duration::from_secs(5)).await;
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

/// Connections that say nothing, from as many addresses as it takes; whoever holds them keeps them open.
async fn half_open(besieged: &Besieged, count: usize, files: u64) -> Vec<TcpStream> {
    let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(500);
    if room < count {
        eprintln!("SKIPPED in part: RLIMIT_NOFILE of {files} leaves {room} of {count} connections");
    }
    let mut held = Vec::new();
    let mut all = JoinSet::new();
    for task in 0..16 {
        let at = besieged.at;
        let share = count.min(room) / 16;
        all.spawn(async move {
            let mut held = Vec::new();
            for _ in 0..share {
                held.extend(connect(address(task), at).await);
            }
            held
        });
    }
    while let Some(one) = all.join_next().await {
        held.extend(one.unwrap());
    }
    held
}

/// Hellos byte by byte, and HTTP/2 that never comes to its headers: served are others meanwhile.
async fn slow(besieged: &Besieged, stranger: &Stranger) {
    let mut held = Vec::new();
    let mut open = Vec::new();
    for number in 0..50 {
        held.extend(connect(address(number), besieged.at).await);
        open.extend(stranger.tls(address(number), besieged.at).await);
    }
    assert!(open.len() > 40, "handshakes end: {}", open.len());
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let halves =
        [stranger::preface(), stranger::frame(1, 0, 1, &stranger::headers("/certus.v1.Bootstrap/Info"))];
    let halves = halves.concat();
    for place in 0..hello.len() {
        for tcp in &mut held {
            pour(tcp, &hello[place..=place], Duration::from_secs(1)).await;
        }
        for tls in &mut open {
            pour(tls, &halves[place * 4..place * 4 + 4], Duration::from_secs(1)).await;
        }
        if place % 4 == 0 {
            besieged.served("slow handshakes and headers");
        }
    }
    besieged.holds("slow handshakes and headers");
}

/// More than a call, a header, a frame may have.
async fn oversized(besieged: &Besieged, stranger: &Stranger) {
    let join = stranger::join_request(&vec![7; 8 << 20], "x", &[1]);
    let many: Vec<u8> = (0..2_000).flat_map(|_| stranger::field("x-many", &"y".repeat(100))).collect();
    let long = [stranger::headers("/certus.v1.Bootstrap/Info"), many].concat();
    let continued: Vec<u8> = std::iter::once(stranger::frame(1, 0, 1, &long[..16_384]))
        .chain(long[16_384..].chunks(16_384).map(|chunk| stranger::frame(9, 0, 1, chunk)))
        .flatten()
        .collect();
    let endless: Vec<u8> = (0..2_000).flat_map(|_| stranger::frame(9, 0, 1, &[])).collect();
    let settings: Vec<u8> = (0..5_000).flat_map(|_| stranger::frame(4, 0, 0, &[])).collect();
    let resets: Vec<u8> = (0..2_000_u32)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            let open = stranger::frame(1, 4, stream, &stranger::headers("/certus.v1.Bootstrap/Info"));
            [open, stranger::frame(3, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let large = [vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], vec![0; 1 << 20]].concat();
    let sieges = [
        stranger::call("/certus.v1.Bootstrap/Join", 1, &join),
        continued,
        [stranger::frame(1, 0, 1, &stranger::headers("/x")), endless].concat(),
        settings,
        resets,
        large,
    ];
    let mut all = JoinSet::new();
    for (number, siege) in sieges.iter().cycle().take(60).enumerate() {
        let Some(mut tls) = stranger.tls(address(number), besieged.at).await else { continue };
        let bytes = [stranger::preface(), siege.clone()].concat();
        all.spawn(async move {
            pour(&mut tls, &bytes, Duration::from_secs(5)).await;
            drain(&mut tls, Duration::from_secs(2)).await;
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

/// More calls than anybody without a certificate has to make, many on one connection.
async fn floods(besieged: &Besieged, stranger: &Stranger) {
    let key = PrivateKey::generate(KeyType::P256).unwrap();
    let csr = Csr::make(&key, "flood").unwrap();
    let mut all = JoinSet::new();
    for number in 0..40 {
        let Some(mut tls) = stranger.tls(address(number % 4), besieged.at).await else { continue };
        let mut bytes = stranger::preface();
        for call in 0..100_u32 {
            let stream = call * 2 + 1;
            if number % 2 == 0 {
                bytes.extend(stranger::call("/certus.v1.Bootstrap/Info", stream, &[]));
            } else {
                let secret = [u8::try_from(call).unwrap(); 16];
                let join = stranger::join_request(&secret, &format!("x{call}"), &csr);
                bytes.extend(stranger::call("/certus.v1.Bootstrap/Join", stream, &join));
            }
        }
        all.spawn(async move {
            pour(&mut tls, &bytes, Duration::from_secs(5)).await;
            drain(&mut tls, Duration::from_secs(2)).await
        });
    }
    let mut answered = 0;
    while let Some(one) = all.join_next().await {
        answered += one.unwrap();
    }
    assert!(answered > 10_000, "the calls were calls, and were answered: {answered} bytes");
}

/// The right cluster, and secrets that were guessed.
async fn joins_with_tokens(besieged: &Besieged) {
    let real = &besieged.real;
    let mut refused = 0;
    for number in 0..50_u8 {
        let guess: JoinToken =
            format!("{}{}", format!("{number:02x}").repeat(16), &real[32..]).parse().unwrap();
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let id = format!("guess-{number}").parse().unwrap();
        let at = besieged.at.to_string();
        let clock = certus_node::system_clock();
        let joined = certus_node::join(&at, &guess, Role::Worker, &id, &key, &clock).await;
        refused += usize::from(joined.is_err());
    }
    assert_eq!(refused, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_without_a_descriptor_left_accepts_again() {
    let world = World::new();
    drop(world.manager());
    let mut command = std::process::Command::new("sh");
    let plain = world.command(&["manager", "start", "--data-dir", "m1"]);
    command.args(["-c", r#"ulimit -n 90 && exec "$0" "$@""#]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(world.path(""));
    let manager = world.daemon_with(command);
    manager.ready(&world.path("m1"));
    let at: SocketAddr = world.manager_address().parse().unwrap();
    let mut crowd = Vec::new();
    for number in 0..150 {
        crowd.extend(connect(address(number), at).await);
    }
    let failures = || number(&world.path("m1"), "certus_accept_failures_total").unwrap_or_default();
    until(
        "it has no descriptor left",
        || failures() > 0.0 || manager.log().contains("refused to accept"),
        || manager.log(),
    );
    // Those who say nothing give way.
    world.run(&["cluster", "status"]).ok();
    let lines = manager.log().matches("refused to accept").count();
    assert_eq!(lines, 1, "once a minute:\n{}", manager.log());
    drop(crowd);
    world.run(&["cluster", "status"]).ok();
    assert_eq!(manager.end(), 0);
}
