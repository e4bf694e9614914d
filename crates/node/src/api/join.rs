//! Joining: a token admits a node that made its own key.
//!
//! The secret leaves only after the other end proved to be a manager under the pinned root (I13), and
//! only over that same connection. What comes back is believed only if it fits pin and key.

use std::time::Duration;

use certus_pki::csr::BadRequest;
use certus_pki::explain::{Explain, Explanation};
use certus_pki::pin::PinnedManager;
use certus_pki::verify::verify_peer;
use certus_pki::{
    Bundle, Certificate, ClusterName, Csr, JoinToken, NodeId, PrivateKey, Purpose, Rejection, Role, Signer,
    SpiffeId, UnixTime, code, defaults,
};
use certus_tls::{Clock, HandshakeError, connect_pinned};
use certus_wire::{MESSAGE_BYTES_MAX, credentials_from_wire, v1};
use tokio::time::Instant;
use tonic::Status;

use super::dial::{ALPN, channel_over, connect_tcp};
use super::error::{ApiError, Cause, Tried, of_status};
use super::failover::{DIAL_MAX, PAUSE_FIRST, PAUSE_MAX};
use crate::clock::{duration, jitter};

type BootstrapClient = v1::bootstrap_client::BootstrapClient<tonic::transport::Channel>;

/// What a join yields.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Who the node is now.
    pub identity: SpiffeId,
    /// Leaf first, then its issuer.
    pub chain: Vec<Vec<u8>>,
    /// What it trusts.
    pub bundle: Bundle,
    /// Where managers are, as this one says.
    pub managers: Vec<String>,
}

/// Joins the cluster of the manager at `address` as `role` and `id`, with a certificate over `key`.
///
/// Asking again with the same token and key, after an answer that was lost, yields the same certificate.
///
/// # Errors
/// A [`JoinError`]; nothing secret was sent if it is about the connection.
pub async fn join(
    address: &str,
    token: &JoinToken,
    role: Role,
    id: &NodeId,
    key: &PrivateKey,
    clock: &Clock,
) -> Result<Joined, JoinError> {
    let limit = duration(defaults::CALL_TIMEOUT);
    join_at(address, &Asking { token, role, id, key, clock }, limit, limit).await
}

/// Joins at the first of `addresses` that admits: those that are not there, are not managers of the pinned
/// root or cannot answer now are passed over, and one that says nothing holds up the others for seconds.
/// Returns where.
///
/// # Errors
/// The [`JoinError`] that says most; a token that is refused is refused everywhere. None where there is no
/// address.
pub async fn join_any(
    addresses: &[String],
    token: &JoinToken,
    role: Role,
    id: &NodeId,
    key: &PrivateKey,
    clock: &Clock,
) -> Result<(String, Joined), Option<JoinError>> {
    let asking = Asking { token, role, id, key, clock };
    let limit = duration(defaults::CALL_TIMEOUT);
    let (begin, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        let (mut worst, mut electing) = (None, false);
        for (place, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
            let dial = if left > 1 { DIAL_MAX } else { limit };
            match join_at(address, &asking, dial, (limit / left).max(DIAL_MAX)).await {
                Ok(joined) => return Ok((address.clone(), joined)),
                Err(error) if !error.is_elsewhere() => return Err(Some(error)),
                Err(error) => {
                    tracing::debug!(address, why = %error.explain(), "not joined there");
                    electing |= matches!(&error, JoinError::Api(ApiError::Refused(why)) if why.code == code::UNAVAILABLE);
                    worst = worst.filter(|worst: &JoinError| worst.weight() > error.weight()).or(Some(error));
                }
            }
        }
        // The same token and key again gives the same answer, so that asking again does no harm.
        if !electing || addresses.len() < 2 || begin.elapsed() + pause > limit {
            return Err(worst);
        }
        tokio::time::sleep(pause.mul_f64(1.0 - f64::from(jitter()) / 510.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Who asks for what.
struct Asking<'a> {
    token: &'a JoinToken,
    role: Role,
    id: &'a NodeId,
    key: &'a PrivateKey,
    clock: &'a Clock,
}

/// `first` is for the first sign of life, `limit` for the answer.
async fn join_at(
    address: &str,
    asking: &Asking<'_>,
    first: Duration,
    limit: Duration,
) -> Result<Joined, JoinError> {
    let Asking { token, role, id, key, clock } = *asking;
    let csr = Csr::make(key, id.as_str()).map_err(JoinError::Request)?;
    let reached = tokio::time::timeout(first, async {
        let (mut client, manager) = dial(address, token, clock()).await?;
        let info = client.info(v1::InfoRequest {}).await.map_err(|status| failed(address, &status))?;
        Ok((client, manager, info.into_inner()))
    });
    let (mut client, manager, info) = reached.await.unwrap_or_else(|_| Err(late(address, first)))?;
    let request =
        v1::JoinRequest { secret: token.secret().to_vec(), role: role.to_string(), id: id.to_string(), csr };
    let asked_at = clock();
    let answer = tokio::time::timeout(limit, client.join(request)).await;
    let answer =
        answer.map_err(|_| late(address, limit))?.map_err(|status| match failed(address, &status) {
            JoinError::Api(ApiError::Refused(why)) => {
                JoinError::Api(ApiError::Refused(with_clocks(why, asked_at, UnixTime::from_secs(info.now))))
            }
            other => other,
        })?;
    let answer = answer.into_inner();
    let (chain, bundle) = credentials_from_wire(&answer)
        .map_err(|malformed| JoinError::Api(ApiError::bad_answer(&malformed)))?;
    let bundle = bundle.ok_or(JoinError::Answer(BadAnswer::NoBundle))?;
    let wanted = Wanted { role, id, key };
    let joined = check(&chain, &bundle, &manager, &wanted, clock()).map_err(JoinError::Answer)?;
    Ok(Joined { managers: answer.managers, ..joined })
}

async fn dial(
    address: &str,
    token: &JoinToken,
    now: UnixTime,
) -> Result<(BootstrapClient, PinnedManager), JoinError> {
    let unreachable = |words: String| {
        let tried = vec![Tried { address: address.to_owned(), cause: Cause::Io(words) }];
        JoinError::Api(ApiError::Unreachable { tried })
    };
    let tcp = connect_tcp(address).await.map_err(|error| unreachable(error.to_string()))?;
    let pinned = connect_pinned(tcp, token.pin(), vec![ALPN.to_vec()], now).await;
    let (tls, manager) = pinned.map_err(|error| match error {
        // It hung up, or never spoke TLS: the next address may be the manager's.
        HandshakeError::Io { words, .. } => unreachable(words),
        error => JoinError::Api(ApiError::Handshake { address: address.to_owned(), error }),
    })?;
    let channel = channel_over(tls).await.map_err(|error| unreachable(error.to_string()))?;
    let client = BootstrapClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok((client, manager))
}

/// What was asked for.
struct Wanted<'a> {
    role: Role,
    id: &'a NodeId,
    key: &'a PrivateKey,
}

/// Believes an answer only if it fits what was asked, and whom.
fn check(
    chain: &[Vec<u8>],
    bundle: &Bundle,
    manager: &PinnedManager,
    wanted: &Wanted<'_>,
    now: UnixTime,
) -> Result<Joined, BadAnswer> {
    if bundle.cluster() != Some(&manager.cluster) {
        let (expected, came) = (manager.cluster.clone(), bundle.domain());
        return Err(BadAnswer::AnotherCluster { expected, came });
    }
    if !bundle.roots().contains(&manager.root) {
        return Err(BadAnswer::RootMissing { expected: manager.root.key_hash().short() });
    }
    let leaf =
        Certificate::from_der(&chain[0]).map_err(|bad| BadAnswer::Untrusted(Rejection::Certificate(bad)))?;
    let (expected, came) = (wanted.key.public_key().hash(), leaf.key_hash());
    if expected != came {
        return Err(BadAnswer::AnotherKey { expected: expected.short(), came: came.short() });
    }
    let peer = verify_peer(chain, bundle, now, Purpose::Client).map_err(BadAnswer::Untrusted)?;
    let expected = SpiffeId { cluster: manager.cluster.clone(), role: wanted.role, id: wanted.id.clone() };
    if peer.identity.as_ref() != Some(&expected) {
        return Err(BadAnswer::AnotherIdentity { expected, came: peer.name() });
    }
    Ok(Joined { identity: expected, chain: chain.to_vec(), bundle: bundle.clone(), managers: Vec::new() })
}

fn failed(address: &str, status: &Status) -> JoinError {
    let mut error = of_status(status, Vec::new());
    if let ApiError::Unreachable { tried } = &mut error {
        tried.iter_mut().for_each(|tried| address.clone_into(&mut tried.address));
    }
    JoinError::Api(error)
}

fn late(address: &str, limit: Duration) -> JoinError {
    JoinError::Api(ApiError::Deadline { limit, addresses: vec![address.to_owned()] })
}

/// Who is told that a token expired wants to know whose clock says so.
fn with_clocks(why: Explanation, ours: UnixTime, theirs: UnixTime) -> Explanation {
    let apart = ours.secs_since(theirs).abs();
    if apart <= CLOCKS_AGREE_SECS {
        return why;
    }
    why.fact("this machine's clock", ours).fact("the manager's clock", theirs)
}

/// A difference that an answer's journey may explain.
const CLOCKS_AGREE_SECS: i64 = 2;

/// A join that did not make this process a node.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JoinError {
    /// The request could not be made.
    #[error("the certificate request could not be made")]
    Request(#[source] BadRequest),
    /// The call failed.
    #[error(transparent)]
    Api(ApiError),
    /// The manager's answer does not fit what was asked.
    #[error("the manager's answer is not believed")]
    Answer(#[source] BadAnswer),
}

impl JoinError {
    /// Whether another manager, or the same one later, may answer otherwise.
    pub fn is_passing(&self) -> bool {
        matches!(self, JoinError::Api(error) if error.is_passing())
    }

    /// Whether another manager may answer otherwise.
    fn is_elsewhere(&self) -> bool {
        self.is_passing() || matches!(self, JoinError::Api(ApiError::Handshake { .. }))
    }

    /// How much it says: one address that refuses tells more than others that are not there.
    fn weight(&self) -> u8 {
        match self {
            JoinError::Api(ApiError::Refused(_)) => 3,
            JoinError::Api(ApiError::Handshake { .. }) => 2,
            JoinError::Api(ApiError::Deadline { .. }) => 1,
            _ => 0,
        }
    }
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Nothing to trust came with it.
    #[error("it holds no bundle")]
    NoBundle,
    /// The bundle is another cluster's.
    #[error("its bundle is another cluster's")]
    AnotherCluster {
        /// The cluster whose root is pinned.
        expected: ClusterName,
        /// The bundle's.
        came: String,
    },
    /// The bundle does not trust the pinned root.
    #[error("its bundle does not hold the pinned root")]
    RootMissing {
        /// The pinned root's key.
        expected: String,
    },
    /// The certificate is over another key.
    #[error("its certificate is over another key")]
    AnotherKey {
        /// Ours.
        expected: String,
        /// The certificate's.
        came: String,
    },
    /// The certificate names somebody else.
    #[error("its certificate names somebody else")]
    AnotherIdentity {
        /// Who asked.
        expected: SpiffeId,
        /// Who is named.
        came: String,
    },
    /// Its own bundle does not trust the certificate.
    #[error("its certificate does not verify against its bundle")]
    Untrusted(#[source] Rejection),
}

impl Explain for JoinError {
    fn explain(&self) -> Explanation {
        let believed = |why: &BadAnswer| {
            Explanation::new(code::BAD_MESSAGE, format!("the manager's answer is not believed: {why}"))
        };
        match self {
            JoinError::Request(bad) => bad.explain(),
            JoinError::Api(error) => error.explain(),
            JoinError::Answer(why) => match why {
                BadAnswer::NoBundle => believed(why).halves("a bundle", "none"),
                BadAnswer::AnotherCluster { expected, came } => believed(why).halves(expected, came),
                BadAnswer::RootMissing { expected } => believed(why).halves(expected, "other roots"),
                BadAnswer::AnotherKey { expected, came } => believed(why).halves(expected, came),
                BadAnswer::AnotherIdentity { expected, came } => believed(why).halves(expected, came),
                BadAnswer::Untrusted(rejection) => {
                    let told = rejection.explain();
                    believed(why).fact("why", told.to_string())
                }
            },
        }
    }
}
