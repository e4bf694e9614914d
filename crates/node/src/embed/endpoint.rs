//! A built endpoint: credentials that stay live, and the ends that are made of them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use certus_pki::{Allow, San};
use certus_tls::{
    Client, ClientCertificate, ClientOptions, Credentials, CutRecord, Lifecycle, Registry, Server,
    ServerOptions, Versions,
};
use tokio::net::ToSocketAddrs;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, AuditEvent};
use super::connector::Connector;
use super::error::EndpointError;
use super::listener::{ListenOptions, Listener};
use super::options::Policy;
use super::quic::QuicListener;
use crate::carry::Failures;
use crate::metrics::Metrics;
use crate::sources::SourceStatus;

/// One identity in this process, and everything that listens and dials under it. Cheap to clone.
///
/// Its certificates, trusted roots, revocations and policy change while it runs, and new handshakes see the
/// newest; connections that lost their trust are cut. That goes on for as long as the endpoint, or a
/// listener, connector or stream made of it, lives.
#[derive(Clone)]
pub struct Endpoint(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) address: Option<String>,
    pub(super) rules: Rules,
    pub(super) credentials: Credentials,
    pub(super) following: Option<(watch::Receiver<SourceStatus>, Arc<Notify>)>,
    pub(super) ends: Mutex<Ends>,
    pub(super) audit: Audit,
    pub(super) stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What does not change while an endpoint runs.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) client_certificates: ClientCertificate,
    pub(super) versions: Versions,
    pub(super) lifecycle: Lifecycle,
    pub(super) verify_chain: bool,
}

/// The policy in force, and those who live by it.
pub(super) struct Ends {
    pub(super) policy: Policy,
    pub(super) servers: Vec<Weak<Server>>,
    pub(super) dialers: Vec<Weak<Dialer>>,
}

/// What a connection came by, held for as long as it lives: a new policy reaches it through this.
#[derive(Clone)]
pub(super) enum End {
    Server { _kept: Arc<Server> },
    Dialer { _kept: Arc<Dialer> },
}

/// One destination.
pub(super) struct Dialer {
    pub(super) client: Client,
    allow: Allow,
    name: Option<San>,
}

impl Endpoint {
    /// Its id, if it was given one.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where others reach it, as the builder was told.
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }

    /// Listens on `address` for callers that the policy takes, without an application protocol (ALPN).
    ///
    /// # Errors
    /// [`EndpointError::Listen`].
    pub async fn listen(&self, address: impl ToSocketAddrs + ToString) -> Result<Listener, EndpointError> {
        self.listen_with(address, ListenOptions::default()).await
    }

    /// The same with protocols and limits.
    ///
    /// # Errors
    /// [`EndpointError::Listen`].
    pub async fn listen_with(
        &self,
        address: impl ToSocketAddrs + ToString,
        options: ListenOptions,
    ) -> Result<Listener, EndpointError> {
        Listener::bind(self.0.clone(), address, options).await
    }

    /// Listens for QUIC connections on `address`, a UDP port.
    ///
    /// # Errors
    /// [`EndpointError::Listen`], or there is no certificate to serve with.
    pub async fn quic_listen(
        &self,
        address: impl ToSocketAddrs + ToString,
        options: ListenOptions,
    ) -> Result<QuicListener, EndpointError> {
        QuicListener::bind(self.0.clone(), address, options).await
    }

    /// Dials servers by their host names: the certificate must be for the host that was dialed (RFC 9525).
    pub fn connector(&self) -> Connector {
        Connector::new(self.0.clone(), None)
    }

    /// Dials servers by who they are, whatever the address: `allow` must take their certificate, such as
    /// `spiffe://prod/worker/web-1` or `key:…`. No host name is looked at unless
    /// [`Connector::server_name`] asks for one, so [`Allow::Anyone`] takes every certificate that the roots
    /// vouch for.
    pub fn connector_to(&self, allow: impl Into<Allow>) -> Connector {
        Connector::new(self.0.clone(), Some(allow.into()))
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.0.ends().policy.clone()
    }

    /// Replaces the policy, for every listener and connector at once. Sessions begun under the old one
    /// cannot be resumed; live connections that the new one does not take end as the lifecycle says, and
    /// those that were cut are returned.
    ///
    /// The keys of the endpoint's own certificate are not judged again.
    ///
    /// # Errors
    /// A policy that contradicts itself or the endpoint; then the old one stays.
    pub fn set_policy(&self, policy: Policy) -> Result<Vec<CutRecord>, EndpointError> {
        policy.check()?;
        if !self.0.rules.verify_chain && !policy.is_open() {
            return Err(EndpointError::NothingVerified);
        }
        let mut ends = self.0.ends();
        ends.policy = policy;
        ends.forget_gone();
        let mut cuts = Vec::new();
        for server in ends.servers.iter().filter_map(Weak::upgrade) {
            cuts.extend(server.set_accept(ends.policy.accept(ends.policy.allow.clone())));
        }
        for dialer in ends.dialers.iter().filter_map(Weak::upgrade) {
            let accept = ends.policy.accept(dialer.allow.clone());
            let accept = match &dialer.name {
                Some(name) => accept.named(name.clone()),
                None => accept,
            };
            cuts.extend(dialer.client.set_accept(accept));
        }
        tracing::info!(endpoint = self.0.name, cut = cuts.len(), "a new policy is in force");
        Ok(cuts)
    }

    /// What it trusts and who it is, now and from now on: for ends that are not made here.
    pub fn credentials(&self) -> Credentials {
        self.0.credentials.clone()
    }

    /// Its live connections.
    pub fn registry(&self) -> &Arc<Registry> {
        self.0.credentials.registry()
    }

    /// How its source is doing: age, failures, expiry alarms. Nothing for a cluster's node, whose own
    /// metrics say more.
    pub fn status(&self) -> Option<watch::Receiver<SourceStatus>> {
        self.0.following.as_ref().map(|(status, _)| status.clone())
    }

    /// Looks at once whether the source has something new; it does so by itself too.
    pub fn reload(&self) {
        if let Some((_, reload)) = &self.0.following {
            reload.notify_one();
        }
    }

    /// What failed last.
    pub fn failures(&self) -> &Failures {
        &self.0.audit.failures
    }

    /// Every validation failure from now on, and every expired peer that was taken. A subscriber that falls
    /// behind is told how many it missed.
    pub fn audit(&self) -> broadcast::Receiver<AuditEvent> {
        self.0.audit.subscribe()
    }

    /// How many peers were taken though their certificate had ended.
    pub fn expired_admitted(&self) -> u64 {
        self.0.audit.expired_admitted()
    }

    /// Its numbers, to be put into a registry.
    pub fn metrics(&self) -> &Metrics {
        &self.0.audit.metrics
    }
}

impl Inner {
    fn ends(&self) -> std::sync::MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An accepting end that lives by the policy in force, now and later.
    pub(super) fn server(&self, alpn: Vec<Vec<u8>>, alpn_optional: bool) -> Arc<Server> {
        let mut ends = self.ends();
        let mut options = ServerOptions::new(ends.policy.accept(ends.policy.allow.clone()));
        options.client_certificate = if self.rules.verify_chain {
            self.rules.client_certificates
        } else {
            ClientCertificate::NotAsked
        };
        options.versions = self.rules.versions;
        options.lifecycle = self.rules.lifecycle;
        (options.alpn, options.alpn_optional) = (alpn, alpn_optional);
        let server = Arc::new(Server::new(self.credentials.clone(), options));
        ends.forget_gone();
        ends.servers.push(Arc::downgrade(&server));
        server
    }

    /// A dialing end for one destination, that lives by the policy in force, now and later.
    pub(super) fn dialer(&self, allow: Allow, name: Option<San>, alpn: Vec<Vec<u8>>) -> Arc<Dialer> {
        let mut ends = self.ends();
        let accept = ends.policy.accept(allow.clone());
        let accept = match &name {
            Some(name) => accept.named(name.clone()),
            None => accept,
        };
        let mut options = ClientOptions::new(accept);
        options.versions = self.rules.versions;
        options.lifecycle = self.rules.lifecycle;
        options.alpn = alpn;
        let client = if self.rules.verify_chain {
            Client::new(self.credentials.clone(), options)
        } else {
            certus_tls::danger::client_of_any_server(self.credentials.clone(), options)
        };
        let dialer = Arc::new(Dialer { client, allow, name });
        ends.forget_gone();
        ends.dialers.push(Arc::downgrade(&dialer));
        dialer
    }

    /// How long after its end a certificate is still taken.
    pub(super) fn grace(&self) -> Option<certus_pki::Lifetime> {
        self.ends().policy.allow_expired
    }
}

impl Ends {
    fn forget_gone(&mut self) {
        self.servers.retain(|server| server.strong_count() > 0);
        self.dialers.retain(|dialer| dialer.strong_count() > 0);
    }
}
