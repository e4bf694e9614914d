//! Sieges of a node in a process of its own: what it may use is limited, and what it used is measured.

mod attempts;
mod descriptors;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use certus_forge::{Ca, LeafSpec};
use certus_node::{
    AgentKey, AgentOptions, E2e, ListenerSpec, MaterialSpec, Mtls, Node, PeerId, PeerSpec, Pem, TlsSpec,
    Transport,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::soon;
use crate::world::{allow, echo, ping, tcp, to};

/// Says where the besieged keeps what it was given; its absence, that this is no siege.
const PLACE: &str = "CERTUS_TEST_BESIEGED";

/// A node with one listener for each transport, in a process of its own. Killed when dropped.
struct Besieged {
    child: Child,
    dir: TempDir,
    ca: Ca,
    ports: BTreeMap<&'static str, SocketAddr>,
}

/// Certificate, key and roots, in files.
fn material(dir: &Path, ca: &Ca, leaf: &LeafSpec) -> MaterialSpec {
    let leaf = ca.leaf(leaf);
    let put = |name: &str, text: &str| {
        fs::write(dir.join(name), text).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("tls.crt", &leaf.chain_pem);
    put("tls.key", &leaf.key_pem);
    put("ca.crt", &ca.pem);
    material_in(dir)
}

fn material_in(dir: &Path) -> MaterialSpec {
    let file = |name: &str| Some(Pem::File(dir.join(name)));
    MaterialSpec { cert: file("tls.crt"), key: file("tls.key"), ca: file("ca.crt") }
}

fn strict() -> TlsSpec {
    TlsSpec { strict: true, mtls: Mtls::Required, ..TlsSpec::mesh() }
}

impl Besieged {
    /// With at most so many file descriptors, if told.
    async fn start(descriptors: Option<usize>) -> Besieged {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::root("mesh"));
        let leaf = LeafSpec { ips: vec!["127.0.0.1".parse().unwrap()], ..LeafSpec::named("db") };
        material(dir.path(), &ca, &leaf);
        fs::write(dir.path().join("forward"), echo().await.to_string()).unwrap();
        let limit = descriptors.map_or_else(|| "hard".to_owned(), |limit| limit.to_string());
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!(r#"ulimit -n $([ {limit} = hard ] && ulimit -Hn || echo {limit}) && exec "$0" "$@""#),
        ]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "carry_siege::the_besieged", "--ignored", "--nocapture"]);
        command.env(PLACE, dir.path()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut ports = BTreeMap::new();
        crate::until("the besieged listens", || {
            assert!(child.try_wait().unwrap().is_none(), "the besieged ended");
            let Ok(said) = fs::read_to_string(dir.path().join("ports")) else { return false };
            let ports_said = said.lines().zip(Transport::ALL);
            ports = ports_said.map(|(port, over)| (over.as_str(), port.parse().unwrap())).collect();
            true
        })
        .await;
        Besieged { child, dir, ca, ports }
    }

    fn port(&self, transport: Transport) -> SocketAddr {
        self.ports[transport.as_str()]
    }

    /// Somebody who is let in on every transport.
    async fn friend(&self) -> Friend {
        let dir = tempfile::tempdir().unwrap();
        let leaf = LeafSpec { dns: vec!["web.mesh".into()], ..LeafSpec::named("web") };
        let mut options = AgentOptions::new(dir.path().join("node"));
        options.material = material(dir.path(), &self.ca, &leaf);
        options.peers = Transport::ALL.iter().map(|transport| self.peer(*transport)).collect();
        Friend { node: Node::start_agent(options).await.unwrap(), _dir: dir }
    }

    fn peer(&self, transport: Transport) -> PeerSpec {
        let mut peer = to(&Authority::new("none"), transport, "worker/none", self.port(transport));
        peer.name = transport.to_string();
        (peer.id, peer.tls) = (PeerId::Agent(AgentKey::generate().unwrap().id()), strict());
        peer.e2e = E2e::Never;
        peer
    }

    /// How many file descriptors it has open.
    fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// What it has in memory, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn proc(&self, what: &str) -> PathBuf {
        format!("/proc/{}/{what}", self.child.id()).into()
    }

    /// One of its numbers.
    fn number(&self, name: &str) -> Option<u64> {
        let mut admin = UnixStream::connect(self.dir.path().join("node/admin.sock")).unwrap();
        admin.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        admin.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|number| number.parse().unwrap())
    }
}

impl Drop for Besieged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Friend {
    node: Node,
    _dir: TempDir,
}

impl Friend {
    fn port(&self, transport: Transport) -> SocketAddr {
        self.node.bound(transport.as_str()).unwrap()
    }

    /// Tries until it is served, once.
    async fn is_served(&self, what: &str, transport: Transport) -> TcpStream {
        let served = async {
            loop {
                // Its own port may reset a caller while it is besieged itself.
                if let Ok(mut tcp) = TcpStream::connect(self.port(transport)).await
                    && ping(&mut tcp).await.is_ok()
                {
                    return tcp;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        soon(&format!("{transport}, {what}; {:?}", self.node.failures().last().0.first()), served).await
    }
}

/// The other side: started by [`Besieged::start`], and nothing by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the sieges, in a process of its own"]
async fn the_besieged() {
    let Some(dir) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let forward: SocketAddr = fs::read_to_string(dir.join("forward")).unwrap().parse().unwrap();
    let mut options = AgentOptions::new(dir.join("node"));
    options.material = material_in(&dir);
    let listener = |transport: Transport| {
        let mut spec = ListenerSpec::new(
            transport.as_str(),
            transport,
            "127.0.0.1:0",
            tcp(forward),
            allow(&["dns:web.mesh"]),
        );
        spec.tls = strict();
        spec
    };
    options.listeners = Transport::ALL.into_iter().map(listener).collect();
    let node = Node::start_agent(options).await.unwrap();
    let port = |transport: &Transport| node.bound(transport.as_str()).unwrap().to_string();
    let ports: Vec<String> = Transport::ALL.iter().map(port).collect();
    fs::write(dir.join("ports.new"), ports.join("\n")).unwrap();
    fs::rename(dir.join("ports.new"), dir.join("ports")).unwrap();
    // Until whoever started it is gone.
    let gone = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = gone.await;
}
