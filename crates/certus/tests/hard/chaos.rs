//! Renewal under chaos: many nodes with short certificates, and a manager that is killed and paused all the
//! time. No node's certificate ends, and no live connection drops.
//!
//! The whole of it: CERTUS_CHAOS=1000 cargo test --release -p certus --test hard chaos -- --nocapture

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use certus_node::{Backend, ListenerSpec, Node, NodeOptions, PeerSpec, Transport};
use certus_pki::{Allow, JoinToken, Role, UnixTime};
use certus_tls::Action;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Daemon, World, port, until};
use crate::process::{raise_files, resident};

/// How large the chaos is.
struct Size {
    nodes: usize,
    lifetime: &'static str,
    lasts: Duration,
    /// The manager is away for so long at a time; a third of a lifetime is left for renewals.
    away: Duration,
    /// And there for so long in between.
    there: Duration,
}

impl Size {
    fn of_this_run() -> Size {
        match std::env::var("CERTUS_CHAOS") {
            Ok(nodes) => Size {
                nodes: nodes.parse().unwrap(),
                lifetime: "120s",
                lasts: Duration::from_secs(600),
                away: Duration::from_secs(12),
                there: Duration::from_secs(20),
            },
            Err(_) => Size {
                nodes: 50,
                lifetime: "15s",
                lasts: Duration::from_secs(25),
                away: Duration::from_secs(1),
                there: Duration::from_secs(4),
            },
        }
    }
}

/// What the watch over nodes and connections saw.
#[derive(Default)]
struct Seen {
    /// Looks at a certificate that had ended.
    expired: AtomicU64,
    /// The least time that was left of one, in seconds; more is what began.
    least_left: AtomicU64,
    /// Answers on live connections.
    pings: AtomicU64,
    /// Live connections that dropped.
    dropped: AtomicU64,
    renewals: AtomicU64,
    /// Connections that were refused before they began.
    dialed_again: AtomicU64,
}

fn now() -> UnixTime {
    certus_node::system_clock()()
}

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tcp.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

struct Fleet {
    manager: String,
    dir: PathBuf,
    token: JoinToken,
}

impl Fleet {
    /// A node that joins; with `serves` it is the one that the others reach.
    async fn node(&self, number: usize, serves: Option<SocketAddr>, reaches: Option<SocketAddr>) -> Node {
        let mut options = NodeOptions::new(self.dir.join(format!("n{number}")), Role::Worker);
        options.managers = vec![self.manager.clone()];
        options.id = Some(format!("n{number}").parse().unwrap());
        options.token = Some(self.token.clone());
        if let Some(service) = serves {
            let allow = Allow::Any(vec!["spiffe://prod/worker/*".parse().unwrap()]);
            let backend = Backend::Tcp(service.to_string());
            let mut listener = ListenerSpec::new("web", Transport::Tcp, "127.0.0.1:0", backend, allow);
            listener.tls.lifecycle.on_expiry = Action::Keep;
            options.listeners.push(listener);
        }
        if let Some(at) = reaches {
            let id = "spiffe://prod/worker/n0".parse().unwrap();
            let mut peer = PeerSpec::new("web", id, Transport::Tcp, at.to_string(), "127.0.0.1:0");
            // By default a connection ends with the certificates that it began with; here they are to last.
            peer.tls.lifecycle.on_expiry = Action::Keep;
            options.peers.push(peer);
        }
        loop {
            match Node::start(options.clone()).await.map_err(|error| certus_pki::Explain::explain(&error)) {
                Ok(node) => return node,
                // All of them come from one address, which may make 20 calls a second: the service manager's part.
                Err(why) if why.code == certus_pki::code::RATE_LIMITED => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(why) => panic!("n{number}: {why}"),
            }
        }
    }
}

/// Talks on one connection until told to stop.
async fn keep_talking(at: SocketAddr, seen: Arc<Seen>, stop: Arc<AtomicBool>, pause: Duration) {
    let mut byte = [0];
    // All dial at once, more than there are places for handshakes: a connection lives from its first answer on.
    let mut tcp = loop {
        let mut tcp = TcpStream::connect(at).await.unwrap();
        let answered = async { tcp.write_all(b"x").await.is_ok() && tcp.read_exact(&mut byte).await.is_ok() };
        if tokio::time::timeout(Duration::from_secs(30), answered).await == Ok(true) {
            break tcp;
        }
        seen.dialed_again.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    };
    while !stop.load(Ordering::Relaxed) {
        let answered = async { tcp.write_all(b"x").await.is_ok() && tcp.read_exact(&mut byte).await.is_ok() };
        match tokio::time::timeout(Duration::from_secs(30), answered).await {
            Ok(true) => drop(seen.pings.fetch_add(1, Ordering::Relaxed)),
            _ => {
                seen.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn look(nodes: &[Node], serials: &mut [Option<certus_pki::Serial>], seen: &Seen) {
    let at = now();
    for (node, serial) in nodes.iter().zip(serials) {
        let current = node.credentials().current();
        let leaf = current.identity().unwrap().leaf();
        let left = leaf.not_after.secs_since(at);
        match u64::try_from(left) {
            Ok(left) => drop(seen.least_left.fetch_min(left, Ordering::Relaxed)),
            Err(_) => drop(seen.expired.fetch_add(1, Ordering::Relaxed)),
        }
        if serial.replace(leaf.serial).is_some_and(|before| before != leaf.serial) {
            seen.renewals.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn start(world: &World) -> Daemon {
    let manager = world.daemon(&["manager", "start", "--data-dir", "m1"]);
    manager.ready(&world.path("m1"));
    manager
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_no_node_expires_while_the_manager_is_killed_and_paused() {
    let size = Size::of_this_run();
    raise_files();
    let world = World::new();
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"];
    world.run(&[&init[..], &["--leaf-lifetime", size.lifetime]].concat()).ok();
    let mut manager = start(&world);
    let token = world.token("token", &["--uses", &size.nodes.to_string()]).parse().unwrap();
    let fleet = Arc::new(Fleet { manager: listen, dir: world.path("nodes"), token });
    std::fs::create_dir(&fleet.dir).unwrap();
    let first = fleet.node(0, Some(echo().await), None).await;
    let at = first.bound("web").unwrap();
    let mut nodes = vec![first];
    let begin = Instant::now();
    for begins in (1..size.nodes).step_by(16) {
        let mut joining = JoinSet::new();
        for number in begins..(begins + 16).min(size.nodes) {
            let fleet = fleet.clone();
            joining.spawn(async move { fleet.node(number, None, Some(at)).await });
        }
        while let Some(node) = joining.join_next().await {
            nodes.push(node.unwrap());
        }
    }
    println!("{} nodes joined in {:.1?}", nodes.len(), begin.elapsed());

    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    seen.least_left.store(u64::MAX, Ordering::Relaxed);
    let mut talks = JoinSet::new();
    let pause = Duration::from_millis(size.nodes as u64 * 4);
    for node in &nodes[1..] {
        talks.spawn(keep_talking(node.bound("web").unwrap(), seen.clone(), stop.clone(), pause));
    }
    let mut serials = vec![None; nodes.len()];
    let (begin, mut kills, mut pauses) = (Instant::now(), 0, 0);
    let wait = async |nodes: &[Node], serials: &mut [Option<certus_pki::Serial>], lasts: Duration| {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            look(nodes, serials, &seen);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    while begin.elapsed() < size.lasts {
        wait(&nodes, &mut serials, size.there).await;
        if (kills + pauses) % 2 == 0 {
            manager.signal(Signal::KILL);
            manager.ended();
            kills += 1;
            wait(&nodes, &mut serials, size.away).await;
            manager = start(&world);
        } else {
            manager.signal(Signal::STOP);
            pauses += 1;
            wait(&nodes, &mut serials, size.away).await;
            manager.signal(Signal::CONT);
        }
    }
    wait(&nodes, &mut serials, size.there).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(talk) = talks.join_next().await {
        talk.unwrap();
    }
    let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} nodes, certificates of {}, {:.0?}: {kills} kills, {pauses} pauses of {:?}; {} renewals, \
         least time left {} s, {} expired; {} answers on {} live connections, {} dropped, {} dialed again at the beginning; manager {} KiB",
        nodes.len(),
        size.lifetime,
        begin.elapsed(),
        size.away,
        of(&seen.renewals),
        of(&seen.least_left),
        of(&seen.expired),
        of(&seen.pings),
        nodes.len() - 1,
        of(&seen.dropped),
        of(&seen.dialed_again),
        resident(manager.pid()),
    );
    assert_eq!(
        (of(&seen.expired), of(&seen.dropped)),
        (0, 0),
        "a certificate ended, or a connection dropped"
    );
    assert!(of(&seen.renewals) as usize >= nodes.len(), "every node renewed");
    until(
        "the manager is there at the end",
        || world.run(&["cluster", "status"]).code == 0,
        || manager.log(),
    );
    drop(nodes);
    assert_eq!(manager.end(), 0);
}
