//! Nodes that join and renew, an operator that revokes, and the witness of what they were answered.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use certus_node::{ApiError, JoinError, Joined, join, system_clock};
use certus_pki::{Bundle, Certificate, Csr, JoinToken, KeyType, PrivateKey, Reason, Role, Serial, TokenId};
use certus_testkit::cluster::Operator;
use certus_wire::v1;
use tokio::task::JoinSet;

/// Nodes that renew on and on in each life of the manager.
const RENEWING: usize = 6;
/// Tasks that join new nodes.
const JOINING: usize = 2;

/// A node as its own files would have it: what it has, and the key of an answer it still waits for.
pub(crate) struct Member {
    pub(crate) id: String,
    key: PrivateKey,
    chain: Vec<Vec<u8>>,
    bundle: Bundle,
    pending: Option<PrivateKey>,
    pub(crate) revoked: bool,
}

impl Member {
    /// Renews with a fresh key, or with the one whose answer was lost.
    pub(crate) async fn renew(&mut self, address: SocketAddr) -> Result<Serial, ApiError> {
        let caller = Operator::new(&self.key, self.chain.clone(), self.bundle.clone(), address);
        let key = match self.pending.take() {
            Some(key) => key,
            None => PrivateKey::generate(KeyType::P256).unwrap(),
        };
        let csr = Csr::make(&key, &self.id).unwrap();
        let answer = caller.api().node(async |mut c| c.renew(v1::RenewRequest { csr }).await).await;
        match answer {
            Ok(credentials) => {
                self.chain = credentials.chain;
                self.key = key;
                Ok(serial_of(&self.chain))
            }
            Err(error) => {
                self.pending = Some(key);
                Err(error)
            }
        }
    }
}

/// Everything that was answered.
#[derive(Default)]
pub(crate) struct Witness {
    nodes: Vec<Member>,
    joined: Vec<Serial>,
    renewed: Vec<Serial>,
    unchecked: Vec<Serial>,
    revoked: Vec<Serial>,
    spent: Vec<JoinToken>,
    spare: Vec<JoinToken>,
}

impl Witness {
    pub(crate) fn unchecked(&self) -> &[Serial] {
        &self.unchecked
    }

    pub(crate) fn checked(&mut self) {
        self.unchecked.clear();
    }

    pub(crate) fn revoked(&self) -> &[Serial] {
        &self.revoked
    }

    pub(crate) fn every(&self) -> impl Iterator<Item = &Serial> {
        self.joined.iter().chain(&self.renewed)
    }

    pub(crate) fn spent_tokens(&self) -> &[JoinToken] {
        &self.spent
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut [Member] {
        &mut self.nodes
    }

    pub(crate) fn joined(&self) -> usize {
        self.joined.len()
    }

    pub(crate) fn renewed(&self) -> usize {
        self.renewed.len()
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (joined, renewed, revoked) = (self.joined.len(), self.renewed.len(), self.revoked.len());
        write!(
            f,
            "{joined} joined, {renewed} renewed, {revoked} revoked, {} tokens used up",
            self.spent.len()
        )
    }
}

/// The load of one life of the manager.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Seen>,
}

/// What one task was answered.
enum Seen {
    Renewals { node: Box<Member>, serials: Vec<Serial> },
    Joins { nodes: Vec<Member>, spent: Vec<JoinToken>, spare: Vec<JoinToken> },
}

impl Load {
    pub(crate) async fn start(
        round: u64,
        operator: &Operator,
        address: SocketAddr,
        witness: &mut Witness,
    ) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        // One node is revoked in every third life, while the others work.
        if round % 3 == 1
            && let Some(node) = witness.nodes.iter_mut().find(|node| !node.revoked)
        {
            let request =
                v1::RevokeRequest { name: node.id.clone(), reason: Reason::Unspecified.number().into() };
            let reply = operator.api().cluster(async |mut c| c.revoke(request).await).await;
            let certs = reply.expect("the manager was just started").certs;
            node.revoked = true;
            let serials = certs.iter().map(|cert| Serial::from_be_bytes(&cert.serial).unwrap());
            witness.revoked.extend(serials);
        }
        let mut resting = Vec::new();
        for node in witness.nodes.drain(..) {
            if node.revoked || tasks.len() >= RENEWING {
                resting.push(node);
            } else {
                tasks.spawn(renew_on(node, address, stop.clone()));
            }
        }
        witness.nodes = resting;
        let mut tokens = std::mem::take(&mut witness.spare);
        while tokens.len() < 40 {
            tokens.push(token(operator).await);
        }
        let share = tokens.len() / JOINING;
        for task in 0..JOINING {
            let tokens =
                if task + 1 == JOINING { std::mem::take(&mut tokens) } else { tokens.split_off(share) };
            tasks.spawn(join_on(format!("n{round}-{task}"), tokens, address, stop.clone()));
        }
        Load { stop, tasks }
    }

    /// Ends the load, and takes down what it was answered.
    pub(crate) async fn stop(mut self, witness: &mut Witness) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(seen) = self.tasks.join_next().await {
            match seen.unwrap() {
                Seen::Renewals { node, serials } => {
                    witness.nodes.push(*node);
                    witness.unchecked.extend(&serials);
                    witness.renewed.extend(serials);
                }
                Seen::Joins { nodes, spent, spare } => {
                    let serials: Vec<Serial> = nodes.iter().map(|node| serial_of(&node.chain)).collect();
                    witness.unchecked.extend(&serials);
                    witness.joined.extend(serials);
                    witness.nodes.splice(0..0, nodes);
                    witness.spent.extend(spent);
                    witness.spare.extend(spare);
                }
            }
        }
    }
}

async fn renew_on(mut node: Member, address: SocketAddr, stop: Arc<AtomicBool>) -> Seen {
    let mut serials = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match node.renew(address).await {
            Ok(serial) => serials.push(serial),
            Err(_) => break,
        }
    }
    Seen::Renewals { node: Box::new(node), serials }
}

async fn join_on(
    name: String,
    mut tokens: Vec<JoinToken>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
) -> Seen {
    let (mut nodes, mut spent) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed)
        && let Some(token) = tokens.pop()
    {
        let id = format!("{name}-{}", nodes.len());
        match join_with(&token, &id, address).await {
            Ok((key, joined)) => {
                let Joined { chain, bundle, .. } = joined;
                nodes.push(Member { id, key, chain, bundle, pending: None, revoked: false });
                spent.push(token);
            }
            // The manager may have used it all the same: it is nobody's any more.
            Err(_) => break,
        }
    }
    Seen::Joins { nodes, spent, spare: tokens }
}

pub(crate) async fn join_with(
    token: &JoinToken,
    id: &str,
    address: SocketAddr,
) -> Result<(PrivateKey, Joined), JoinError> {
    let key = PrivateKey::generate(KeyType::P256).unwrap();
    let id = id.parse().unwrap();
    let joined = join(&address.to_string(), token, Role::Worker, &id, &key, &system_clock()).await?;
    Ok((key, joined))
}

async fn token(operator: &Operator) -> JoinToken {
    let request =
        v1::CreateTokenRequest { role: "worker".into(), ttl_secs: 3600, uses: 1, ..Default::default() };
    let reply = operator.api().cluster(async |mut c| c.create_token(request).await).await;
    reply.expect("the manager runs").token.parse().unwrap()
}

/// What the cluster has on record under a serial.
pub(crate) async fn record_of(operator: &Operator, serial: &Serial) -> Option<v1::Cert> {
    let request = v1::GetCertRequest { name: serial.to_string() };
    let reply = operator.api().cluster(async |mut c| c.get_cert(request).await).await;
    reply.ok().and_then(|mut list| list.certs.pop())
}

/// Every certificate on record.
pub(crate) async fn all_records(operator: &Operator) -> Vec<v1::Cert> {
    let (mut all, mut after) = (Vec::new(), Vec::new());
    loop {
        let request = v1::ListCertsRequest { after, all: true, ..Default::default() };
        let page = operator.api().cluster(async |mut c| c.list_certs(request).await).await;
        let page = page.expect("the certificates are listed");
        all.extend(page.certs);
        after = page.next;
        if after.is_empty() {
            return all;
        }
    }
}

/// The tokens whose uses are spent, as the cluster has them.
pub(crate) async fn used_up_tokens(operator: &Operator) -> BTreeSet<TokenId> {
    let (mut spent, mut after) = (BTreeSet::new(), Vec::new());
    loop {
        let request = v1::ListRequest { after, limit: 0 };
        let page = operator.api().cluster(async |mut c| c.list_tokens(request).await).await;
        let page = page.expect("the tokens are listed");
        let used_up = page.tokens.iter().filter(|token| token.used >= token.uses);
        spent.extend(used_up.map(|token| certus_wire::token_id(&token.id).unwrap()));
        after = page.next;
        if after.is_empty() {
            return spent;
        }
    }
}

fn serial_of(chain: &[Vec<u8>]) -> Serial {
    Certificate::from_der(&chain[0]).unwrap().serial
}
