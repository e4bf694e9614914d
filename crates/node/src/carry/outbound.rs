//! A peer: a local port that leads to another node's listener, and to nobody else's.

use std::net::SocketAddr;
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Accept, Allow};
use certus_tls::{Client, ClientOptions, Credentials, TlsStream, explain_read_error};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::accept::End;
use super::pump::{Broken, Carried, carry};
use crate::api::{connect_tcp, unreachable};
use crate::metrics::{Metrics, Side};
use crate::spec::{PeerId, PeerSpec};

/// What a goodbye may take; the other end may be gone.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Outbound {
    spec: PeerSpec,
    client: Client,
    metrics: Metrics,
}

impl Outbound {
    pub(super) fn new(spec: PeerSpec, credentials: Credentials, metrics: Metrics) -> Outbound {
        let options = ClientOptions::new(Accept::new(match &spec.id {
            PeerId::Spiffe(id) => Allow::from(id.clone()),
            PeerId::Agent(id) => Allow::Agent(*id),
        }));
        Outbound { client: Client::new(credentials, options), spec, metrics }
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>, Explanation> {
        let address = &self.spec.address;
        let tcp = connect_tcp(address).await.map_err(|error| unreachable("the peer", address, &error))?;
        let outcome = self.client.connect(tcp).await;
        self.metrics.handshake(Side::Client, outcome.as_ref().map(drop));
        outcome.map_err(|error| error.explain())
    }
}

impl End for Outbound {
    fn name(&self) -> &str {
        &self.spec.name
    }

    async fn carry(&self, plain: TcpStream, from: SocketAddr, ending: CancellationToken) {
        let (name, peer) = (self.spec.name.as_str(), &self.spec.id);
        let outcome = tokio::select! {
            () = ending.cancelled() => return,
            outcome = self.dial() => outcome,
        };
        let tls = match outcome {
            Ok(tls) => tls,
            Err(why) => {
                tracing::warn!(name, %from, %peer, code = %why.code, %why, "could not reach a peer");
                plain.reset();
                return;
            }
        };
        let (carried, ended) = carry_until(tls, plain, false, &ending).await;
        let (towards, back) = (carried.towards, carried.back);
        match ended {
            Ok(how) => tracing::info!(name, %from, %peer, towards, back, how, "a connection ended"),
            Err(why) => {
                if why.code == certus_pki::code::PEER_REJECTED_US {
                    self.metrics.late_refusal();
                    tracing::warn!(name, %from, %peer, code = %why.code, %why, "a peer refused this node");
                } else {
                    tracing::info!(name, %from, %peer, towards, back, code = %why.code, %why, "a connection broke");
                }
            }
        }
    }
}

/// A plain connection that can be ended so that its other end does not take it for complete.
pub(super) trait Reset {
    /// Makes the close that follows a reset.
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        let _ = self.set_zero_linger();
    }
}

/// Carries until both directions ended, either side broke, the peer lost trust, or `ending`. Says how
/// it ended, or what broke it.
pub(super) async fn carry_until<P>(
    tls: TlsStream<TcpStream>,
    plain: P,
    inbound: bool,
    ending: &CancellationToken,
) -> (Carried, Result<&'static str, Explanation>)
where
    P: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let cut = tls.cancelled();
    let (mut tls, mut plain) = (split(tls), split(plain));
    let mut carried = Carried::default();
    let ended = tokio::select! {
        ended = carry(&mut tls, &mut plain, inbound, &mut carried) => Some(ended),
        // Woken even where both directions wait on the plain side.
        () = cut.cancelled() => None,
        () = ending.cancelled() => {
            // The end of the stream is said, so that the peer can tell it from one that was cut off.
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, tls.1.shutdown()).await;
            return (carried, Ok("this node ends"));
        }
    };
    let tls = tls.0.unsplit(tls.1);
    let outcome = match (tls.cut(), ended) {
        (Some(cut), _) => Err(cut.explain()),
        (None, Some(Err(broken))) => Err(explain(&broken)),
        (None, Some(Ok(())) | None) => Ok("both ends are done"),
    };
    if outcome.is_err() {
        plain.0.unsplit(plain.1).reset();
    }
    (carried, outcome)
}

fn explain(broken: &Broken) -> Explanation {
    use certus_pki::code::{BACKEND, PEER_UNREACHABLE};
    let new = |code, message, error: &std::io::Error| {
        Explanation::new(code, message).fact("the system says", error)
    };
    match broken {
        Broken::Tls(error) => match explain_read_error(error) {
            Some(refused) => refused.explain(),
            None => new(PEER_UNREACHABLE, "the connection to the peer broke", error),
        },
        Broken::Plain(error) => new(BACKEND, "the plain side of the connection broke", error),
    }
}
