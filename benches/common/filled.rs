//! A cluster with as many certificates on record as one likes, made through the log in a minute or two.
//!
//! Every certificate is a command like any other: planned, proposed in full entries, decided and applied by the
//! same code as at a manager. What is left out is gRPC, and the signature: the issuer's key is the manager's
//! own, so the bytes of another stand in its place. Nobody ever shows these certificates.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use certus_ca::{Admission, Command, CreateToken, JoinAsk};
use certus_node::system_clock;
use certus_pki::key::{PublicKey, SigningFailed};
use certus_pki::{
    Grant, Issuer, JoinToken, Lifetime, NodeId, PrivateKey, Role, Serial, Sha256, Signer, SpiffeId, UnixTime,
};
use certus_server::storage::Storage;
use certus_server::{CaMachine, replica::Replica};

use super::Failure;
use super::authority::key;
use super::cluster::Cluster;

/// Over how long the certificates seem to have been issued.
const SPREAD: Lifetime = Lifetime::from_days(1);
/// Keys that are used in turn; a token never sees one twice.
const KEYS: usize = 1_000;
/// Commands on their way at once: several full entries.
const AT_ONCE: usize = 1_024;

/// A founded cluster in `dir` with `count` certificates of as many workers, `n0000000` and on. Nothing runs.
pub(crate) async fn fill(dir: &Path, count: usize) -> Result<Cluster, Failure> {
    let end = system_clock()();
    let begin = end.minus(SPREAD);
    let (cluster, operator) = Cluster::found(dir, Arc::new(move || begin)).await?;
    let now = Arc::new(AtomicI64::new(begin.secs()));
    let clock = Arc::new({
        let now = now.clone();
        move || now.load(Ordering::Relaxed)
    });
    // The store of a manager's directory.
    let storage = Storage::in_directory(&cluster.data_dir("m1").join("manager").join("store"))?;
    let replica = Replica::<CaMachine>::open(storage, clock).await?;
    let issuers = certus_ca::issuers(&replica.view()?)?;
    let issuer = Issuer::from_der(&issuers.first().ok_or("no issuer")?.der)?;
    let stand_in = StandIn::of(&issuer)?;
    let filler = Arc::new(Filler { replica, issuer, stand_in, operator: operator.identity });
    let keys: Vec<PublicKey> =
        (0..KEYS).map(|_| Ok::<_, Failure>(key()?.public_key().clone())).collect::<Result<_, _>>()?;
    let keys = Arc::new(keys);
    for batch in 0..count.div_ceil(KEYS) {
        let at =
            begin.secs() + i64::from(SPREAD.secs()) * i64::try_from(batch * KEYS)? / i64::try_from(count)?;
        now.store(at, Ordering::Relaxed);
        let secret = filler.token(batch).await?;
        let numbers: Vec<usize> = (batch * KEYS..((batch + 1) * KEYS).min(count)).collect();
        let mut admitting = tokio::task::JoinSet::new();
        for part in numbers.chunks(KEYS.div_ceil(4)).map(<[usize]>::to_vec) {
            let (filler, keys) = (filler.clone(), keys.clone());
            admitting.spawn(async move { filler.admit_all(&part, &secret, &keys, at).await });
        }
        while let Some(part) = admitting.join_next().await {
            part??;
        }
    }
    filler.replica.shutdown().await?;
    Ok(cluster)
}

struct Filler {
    replica: Replica<CaMachine>,
    issuer: Issuer,
    stand_in: StandIn,
    operator: SpiffeId,
}

impl Filler {
    /// A token for `KEYS` nodes; its secret's hash.
    async fn token(&self, batch: usize) -> Result<Sha256, Failure> {
        let root = certus_ca::roots(&self.replica.view()?)?.first().ok_or("no root")?.key_hash;
        let mut secret = [7; JoinToken::HALF];
        secret[..8].copy_from_slice(&u64::try_from(batch)?.to_be_bytes());
        let secret_hash = JoinToken::new(secret, &root).secret_hash();
        let create = CreateToken {
            secret_hash,
            root,
            role: Role::Worker,
            id: None,
            sans: Vec::new(),
            ttl: Lifetime::from_days(1),
            uses: u32::try_from(KEYS)?,
            replace: false,
            grant: Grant::None,
            by: self.operator.clone(),
        };
        self.replica.propose(&Command::CreateToken(create)).await??;
        Ok(secret_hash)
    }

    async fn admit_all(
        &self,
        numbers: &[usize],
        secret_hash: &Sha256,
        keys: &[PublicKey],
        at: i64,
    ) -> Result<(), Failure> {
        for some in numbers.chunks(AT_ONCE) {
            let mut commands = Vec::with_capacity(some.len());
            for number in some {
                let id: NodeId = format!("n{number:07}").parse()?;
                let public_key = keys[number % KEYS].clone();
                let ask = JoinAsk { secret_hash: *secret_hash, role: Role::Worker, id, public_key };
                commands.push(self.command(ask, *number, UnixTime::from_secs(at))?);
            }
            let proposals = commands.iter().map(|command| self.replica.propose(command));
            for reply in futures_util::future::join_all(proposals).await {
                reply??;
            }
        }
        Ok(())
    }

    fn command(&self, ask: JoinAsk, number: usize, planned_at: UnixTime) -> Result<Command, Failure> {
        let planned = certus_ca::plan_join(&self.replica.view()?, planned_at, &ask)??;
        let Admission::New(plan) = planned else { return Err("this one is on record".into()) };
        // As random serials do, they come in no order: the tables are ordered by them.
        let digest = Sha256::of(&number.to_be_bytes());
        let mut serial = [0; 16];
        serial.copy_from_slice(&digest.as_bytes()[..16]);
        serial[0] &= 0x7f;
        let der = self.issuer.sign_leaf(&plan, Serial::from_random(serial), &self.stand_in)?;
        Ok(Command::Admit { ask, planned_at, der })
    }
}

/// Has the issuer's public key, and one signature for everything.
struct StandIn {
    public: PublicKey,
    signature: Vec<u8>,
}

impl StandIn {
    fn of(issuer: &Issuer) -> Result<StandIn, Failure> {
        let other: PrivateKey = key()?;
        let public = issuer.certificate().public_key.clone();
        Ok(StandIn { public, signature: other.sign(b"a signature that nobody looks at")? })
    }
}

impl Signer for StandIn {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        Ok(self.signature.clone())
    }
}
