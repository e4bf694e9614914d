//! The line from one manager to another: one address, one identity.
//!
//! It never takes another manager for the one that was meant, and tries no other address.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use certus_pki::{Accept, IdPattern, Issuers, Role, SpiffeId};
use certus_tls::{Client, ClientOptions, Credentials};
use hyper_util::rt::TokioIo;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::dial::{ALPN, connect_tcp};
use crate::metrics::{Metrics, Side};

/// A channel to the manager at `address`. It must be `who`; where that is not known yet, a manager of the
/// cluster that `credentials` trust. Dials when it is first used, and again when its connection broke.
pub fn manager_channel(
    address: String,
    who: Option<SpiffeId>,
    credentials: Credentials,
    metrics: Metrics,
) -> Channel {
    let cluster = credentials.current().bundle().cluster().cloned();
    let pattern = match who {
        Some(who) => Some(IdPattern::from(who)),
        None => cluster.map(|cluster| IdPattern::role(cluster, Role::Manager)),
    };
    let mut options = ClientOptions::new(Accept::only(pattern.into_iter().collect()));
    // As in every call to a manager: one that was away has yet to hear of the other's new issuer.
    options.issuers = Issuers::AnyBelowRoot;
    options.alpn = vec![ALPN.to_vec()];
    let client = Arc::new(Client::new(credentials, options));
    // TLS is ours, so tonic is told of none; the name is never resolved.
    Endpoint::from_static("http://certus")
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect_with_connector_lazy(service_fn(move |_| {
            let (client, metrics, address) = (client.clone(), metrics.clone(), address.clone());
            async move {
                let failed = |why: String| NotConnected { address: address.clone(), why };
                let tcp = connect_tcp(&address).await.map_err(|error| failed(error.to_string()))?;
                let outcome = client.connect(tcp).await;
                metrics.handshake(Side::Client, outcome.as_ref().map(drop));
                let tls =
                    outcome.map_err(|error| failed(certus_pki::Explain::explain(&error).to_string()))?;
                Ok::<_, NotConnected>(TokioIo::new(tls))
            }
        }))
}

/// There is no connection to another manager, so that nothing was sent to it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no connection to {address}: {why}")]
struct NotConnected {
    address: String,
    why: String,
}

/// Whether a call ended before there was a connection to make it on: then it was surely never made.
pub fn never_sent(status: &Status) -> bool {
    let mut cause = Error::source(status);
    while let Some(error) = cause {
        if error.is::<NotConnected>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A manager that vanished is noticed within two of these: sooner than its log would be missed.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// A batch of the log is at most 4 MiB, and a line carries several at once.
const WINDOW_BYTES: u32 = 8 << 20;
