//! A cluster in memory: real keys and certificates, a clock that tests turn, and two ends that meet.
//! The unit tests of this room include it too.

#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use certus_pki::{
    Accept, Bundle, CaPlan, CertId, ClusterName, Epoch, IdPattern, Issuer, IssuerRef, KeyType, LeafPlan,
    Lifetime, PrivateKey, Reason, Revocation, Root, Serial, Signer, UnixTime, Validity,
};
use certus_tls::{
    Client, ClientOptions, Clock, HandshakeError, Identity, Publisher, Server, ServerOptions, Snapshot,
    TlsStream,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const START: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const DAY: Lifetime = Lifetime::from_days(1);

/// A root with an issuer below it.
pub(crate) struct Authority {
    pub(crate) root: Issuer,
    pub(crate) issuer: Issuer,
    pub(crate) root_key: PrivateKey,
    pub(crate) issuer_key: PrivateKey,
}

impl Authority {
    pub(crate) fn new(cluster: &str) -> Authority {
        let cluster: ClusterName = cluster.parse().unwrap();
        let [root_key, issuer_key] = [key(), key()];
        let plan = CaPlan::root(&cluster, Validity::starting(START, Lifetime::from_days(100)));
        let root = Issuer::self_signed(&plan, serial(), &root_key).unwrap();
        let plan = CaPlan::issuer(&cluster, "issuer", Validity::starting(START, Lifetime::from_days(50)));
        let issuer = root.sign_ca(&plan, issuer_key.public_key(), serial(), &root_key).unwrap();
        Authority { root, issuer, root_key, issuer_key }
    }

    /// The same root with an issuer that came later.
    pub(crate) fn with_another_issuer(&self) -> Authority {
        let cluster: ClusterName = "prod".parse().unwrap();
        let (issuer_key, validity) = (key(), Validity::starting(START, Lifetime::from_days(50)));
        let plan = CaPlan::issuer(&cluster, "issuer 2", validity);
        let issuer = self.root.sign_ca(&plan, issuer_key.public_key(), serial(), &self.root_key).unwrap();
        let root_key = PrivateKey::from_pkcs8_der(&self.root_key.to_pkcs8_der().ok().unwrap()).ok().unwrap();
        Authority { root: self.root.clone(), issuer, root_key, issuer_key }
    }

    /// The identity `spiffe://…` for `lifetime` from the start.
    pub(crate) fn identity_for(&self, id: &str, lifetime: Lifetime) -> Arc<Identity> {
        let key = key();
        Arc::new(Identity::new(&key, self.chain(id, &key, lifetime)).ok().unwrap())
    }

    pub(crate) fn identity(&self, id: &str) -> Arc<Identity> {
        self.identity_for(id, DAY)
    }

    /// The identity `spiffe://…` that is not valid yet.
    pub(crate) fn identity_from(&self, id: &str, not_before: UnixTime) -> Arc<Identity> {
        let (key, validity) = (key(), Validity { not_before, not_after: not_before.plus(DAY) });
        Arc::new(Identity::new(&key, self.chain_valid(id, &key, validity)).ok().unwrap())
    }

    pub(crate) fn chain(&self, id: &str, key: &PrivateKey, lifetime: Lifetime) -> Vec<Vec<u8>> {
        self.chain_valid(id, key, Validity::starting(START, lifetime))
    }

    fn chain_valid(&self, id: &str, key: &PrivateKey, validity: Validity) -> Vec<Vec<u8>> {
        let (identity, public_key) = (id.parse().unwrap(), key.public_key().clone());
        let plan = LeafPlan { identity, public_key, sans: Vec::new(), validity };
        let leaf = self.issuer.sign_leaf(&plan, serial(), &self.issuer_key).unwrap();
        vec![leaf, self.issuer.certificate().der.clone()]
    }

    pub(crate) fn root(&self) -> Root {
        Root::from_der(&self.root.certificate().der).unwrap()
    }

    pub(crate) fn issuer_ref(&self) -> IssuerRef {
        IssuerRef { key_hash: self.issuer.key_hash(), not_after: self.issuer.certificate().not_after }
    }

    pub(crate) fn revoke(&self, identity: &Identity) -> Revocation {
        Revocation {
            cert: CertId { issuer: self.issuer.key_hash(), serial: identity.leaf().serial },
            at: START,
            reason: Reason::KeyCompromise,
            not_after: identity.leaf().not_after,
        }
    }
}

/// The trust of `cluster` at `revision`.
pub(crate) fn bundle(
    cluster: &str,
    revision: u64,
    authorities: &[&Authority],
    revoked: &[Revocation],
) -> Arc<Bundle> {
    Arc::new(Bundle::new(
        cluster.parse().unwrap(),
        Epoch { generation: 1, revision },
        authorities.iter().map(|authority| authority.root()).collect(),
        authorities.iter().map(|authority| authority.issuer_ref()),
        revoked.iter().copied(),
    ))
}

/// A clock that a test turns.
#[derive(Clone)]
pub(crate) struct Dial(Arc<AtomicI64>);

impl Dial {
    pub(crate) fn new() -> Dial {
        Dial(Arc::new(AtomicI64::new(START.secs())))
    }

    pub(crate) fn advance(&self, by: Lifetime) {
        self.0.fetch_add(by.secs().into(), Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn clock(&self) -> Clock {
        let dial = self.clone();
        Arc::new(move || dial.now())
    }
}

/// One process: its publisher.
pub(crate) fn node(identity: &Arc<Identity>, trust: &Arc<Bundle>, dial: &Dial) -> Publisher {
    Publisher::new(Snapshot::new(Some(identity.clone()), trust.clone()), dial.clock())
}

pub(crate) fn only(patterns: &[&str]) -> Accept {
    Accept::only(patterns.iter().map(|pattern| pattern.parse::<IdPattern>().unwrap()).collect())
}

pub(crate) fn server(node: &Publisher, accept: &[&str]) -> Server {
    Server::new(node.credentials(), ServerOptions::new(only(accept)))
}

pub(crate) fn client(node: &Publisher, accept: &[&str]) -> Client {
    Client::new(node.credentials(), ClientOptions::new(only(accept)))
}

pub(crate) type Outcome = Result<TlsStream<DuplexStream>, HandshakeError>;

/// Lets a client dial a server: what each of the two says of it.
pub(crate) async fn meet(server: &Server, client: &Client) -> (Outcome, Outcome) {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::join!(server.accept(far), client.connect(near))
}

/// Both ends of a connection that is expected to come about, after a word in each direction.
pub(crate) async fn connect(
    server: &Server,
    client: &Client,
) -> (TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let (served, dialed) = meet(server, client).await;
    let (mut served, mut dialed) = (served.ok().unwrap(), dialed.ok().unwrap());
    talk(&mut served, &mut dialed).await;
    (served, dialed)
}

/// A word in each direction; the client has then read the tickets too.
pub(crate) async fn talk(served: &mut TlsStream<DuplexStream>, dialed: &mut TlsStream<DuplexStream>) {
    let mut word = [0; 4];
    served.write_all(b"ping").await.unwrap();
    // What was written may still lie in rustls: a write ends when that has it.
    served.flush().await.unwrap();
    dialed.read_exact(&mut word).await.unwrap();
    dialed.write_all(b"pong").await.unwrap();
    dialed.flush().await.unwrap();
    served.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"pong");
}

/// The error of the next read.
pub(crate) async fn read_error(stream: &mut TlsStream<DuplexStream>) -> std::io::Error {
    stream.read(&mut [0; 16]).await.expect_err("the read should fail")
}

pub(crate) fn refused(outcome: Outcome) -> HandshakeError {
    outcome.err().expect("the handshake should fail")
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::P256).ok().unwrap()
}

fn serial() -> Serial {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    Serial::from_random(bytes)
}
