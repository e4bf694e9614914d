//! What the scenes share: the stage, a long-lived connection, and ways to look at what happened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certus_node::system_clock;
use certus_pki::{Accept, Bundle, Explain, Explanation, IdPattern, Signer, code};
use certus_tls::{
    Client, ClientOptions, Credentials, HandshakeError, Identity, Publisher, Snapshot, TlsStream,
};
use prometheus_client::registry::Registry;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{http, not_observed};
use crate::dev::service::GREETING;
use crate::dev::stage::{Stage, WEB_1, WEB_2, worker};

/// Longer than anything on loopback takes; what did not happen by then will not.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at something that changes by itself.
const LOOK: Duration = Duration::from_millis(2);

/// The story so far.
pub(super) struct Story {
    pub(super) stage: Stage,
    /// A connection through the carrier, opened when the service was first called.
    pub(super) live: Option<TcpStream>,
}

impl Story {
    /// Founds the cluster.
    pub(super) async fn begin(dir: &Path) -> Result<(Story, String), Explanation> {
        let stage = Stage::found(dir).await?;
        let status = stage.managers.status().await?;
        if status.roots.is_empty() || status.issuers.is_empty() {
            return Err(not_observed("the cluster has no root or no issuer", "one of each", "none"));
        }
        Ok((Story { stage, live: None }, "root, issuer, operator".to_owned()))
    }

    /// Both workers join, and the manager's record names the keys that lie in their directories.
    pub(super) async fn join(&mut self) -> Result<String, Explanation> {
        self.stage.join().await?;
        for id in [WEB_1, WEB_2] {
            let stored = self.stage.files(id).load().map_err(|error| error.explain())?;
            let stored = stored.ok_or_else(|| not_observed("a worker kept no key", id, "no file"))?;
            let recorded = self.newest_key(id).await?;
            let own = stored.key.public_key().hash().as_bytes().to_vec();
            if recorded != own {
                return Err(not_observed("the certificate is over another key", "the worker's own", id));
            }
        }
        Ok("keys made on the node".to_owned())
    }

    /// A plain call at web-2's door is answered by the service behind web-1.
    pub(super) async fn call(&mut self) -> Result<String, Explanation> {
        let mut tcp = connect(self.stage.entrance()).await?;
        let (status, body) = asked(&mut tcp).await?;
        if (status, body.as_str()) != (200, GREETING) {
            return Err(not_observed("the service did not answer", GREETING, format!("{status}, {body}")));
        }
        self.live = Some(tcp);
        Ok(format!("{status}, \"{body}\""))
    }

    /// Ends everything.
    pub(super) async fn end(self) {
        drop(self.live);
        self.stage.strike().await;
    }

    /// What every node trusts now.
    pub(super) async fn bundle(&self) -> Result<Bundle, Explanation> {
        self.stage.managers.bundle().await
    }

    /// What a worker shows and trusts, read from its files: who holds them is the worker.
    pub(super) async fn posing_as(&self, id: &str) -> Result<Credentials, Explanation> {
        let stored = self.stage.files(id).load().map_err(|error| error.explain())?;
        let stored = stored.ok_or_else(|| not_observed("a worker kept no key", id, "no file"))?;
        let identity = Identity::new(&stored.key, stored.chain).map_err(|error| error.explain())?;
        Ok(credentials(Some(identity), self.bundle().await?))
    }

    /// SHA-256 of the key in the newest certificate that the manager has on record for a worker.
    pub(super) async fn newest_key(&self, id: &str) -> Result<Vec<u8>, Explanation> {
        let certs = self.stage.managers.cert(id).await?;
        let newest = certs.into_iter().find(|cert| cert.newest);
        newest
            .map(|cert| cert.key_hash)
            .ok_or_else(|| not_observed("a worker has no certificate", id, "none"))
    }

    /// How many callers web-1 has refused for `reason`, as its metrics count them.
    pub(super) fn refused(&self, reason: &str) -> u64 {
        let outcome = format!("outcome=\"{reason}\"");
        self.counted("certus_handshakes_total", &["side=\"server\"", &outcome])
    }

    /// How many live connections web-1 has cut.
    pub(super) fn cut(&self) -> u64 {
        self.counted("certus_connections_cut_total", &[])
    }

    /// One of web-1's numbers, as its metrics show it.
    fn counted(&self, name: &str, labels: &[&str]) -> u64 {
        let mut registry = Registry::default();
        let mut text = String::new();
        if let Some(node) = self.stage.first() {
            node.metrics().register(&mut registry);
        }
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        let wanted = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        text.lines().find(wanted).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    /// Calls web-1's listener as `client` and watches both sides refuse: the caller reads `alert`, and
    /// web-1 counts one more refusal for `reason`.
    pub(super) async fn refusal(
        &self,
        client: &Client,
        alert: &str,
        reason: &str,
    ) -> Result<(), Explanation> {
        let before = self.refused(reason);
        let seen = match self.dial(client).await {
            Ok(mut tls) => after_handshake(&mut tls).await,
            Err(error) => Seen::Refused(error),
        };
        match seen {
            Seen::Refused(HandshakeError::PeerRejectedUs { alert: came, .. }) if came == alert => {}
            Seen::Refused(other) => {
                return Err(not_observed("the caller was refused otherwise", alert, other.explain()));
            }
            Seen::Answered => return Err(not_observed("the caller was let in", alert, "an answer")),
            Seen::Silence(words) => return Err(not_observed("the caller read no alert", alert, words)),
        }
        let counted = || self.refused(reason) > before;
        until(counted).await.ok_or_else(|| not_observed("web-1 did not refuse it", reason, "no such refusal"))
    }

    /// One TLS connection to web-1's listener.
    pub(super) async fn dial(&self, client: &Client) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let tcp = TcpStream::connect(self.stage.listener()).await;
        let tcp = tcp.map_err(|error| HandshakeError::Io { kind: error.kind(), words: error.to_string() })?;
        client.connect(tcp).await
    }
}

/// What a caller saw after its own end of the handshake.
enum Seen {
    Refused(HandshakeError),
    Answered,
    Silence(String),
}

/// In TLS 1.3 a caller is judged after its handshake: read before believing.
async fn after_handshake(tls: &mut TlsStream<TcpStream>) -> Seen {
    match tokio::time::timeout(WITHIN, http::get(tls)).await {
        Ok(Ok(_)) => Seen::Answered,
        Ok(Err(error)) => match certus_tls::explain_read_error(&error) {
            Some(refused) => Seen::Refused(refused),
            None => {
                // The write met a closed connection first; what was said before it closed is still there.
                let mut rest = Vec::new();
                match tls.read_to_end(&mut rest).await.as_ref().map_err(certus_tls::explain_read_error) {
                    Err(Some(refused)) => Seen::Refused(refused),
                    _ => Seen::Silence(error.to_string()),
                }
            }
        },
        Err(_) => Seen::Silence(format!("nothing within {} s", WITHIN.as_secs())),
    }
}

/// A publisher's credentials for one scene.
pub(super) fn credentials(identity: Option<Identity>, bundle: Bundle) -> Credentials {
    let snapshot = Snapshot::new(identity.map(Arc::new), Arc::new(bundle));
    Publisher::new(snapshot, system_clock()).credentials()
}

/// A dialer that expects web-1.
pub(super) fn to_web_1(credentials: Credentials) -> Result<Client, Explanation> {
    let accept = Accept::only(vec![IdPattern::from(worker(WEB_1)?)]);
    Ok(Client::new(credentials, ClientOptions::new(accept)))
}

/// A plain connection to an address of this process.
pub(super) async fn connect(address: std::net::SocketAddr) -> Result<TcpStream, Explanation> {
    TcpStream::connect(address).await.map_err(|error| {
        Explanation::new(code::TOUR_FAILED, "an address of this process does not answer")
            .fact("address", address)
            .fact("the system says", error)
    })
}

/// One question and its answer over a connection that stays open.
pub(super) async fn asked<IO>(io: &mut IO) -> Result<(u16, String), Explanation>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    match tokio::time::timeout(WITHIN, http::get(io)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(not_observed("the service did not answer", "an answer", error)),
        Err(_) => Err(not_observed("the service did not answer", "an answer", "silence")),
    }
}

/// Waits until `seen`; nothing if it never was.
pub(super) async fn until(seen: impl Fn() -> bool) -> Option<()> {
    let looking = async {
        while !seen() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(WITHIN, looking).await.ok()
}
