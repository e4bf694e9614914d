//! From a few words to a running endpoint.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use certus_pki::AltName;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::Clock;
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::endpoint::{Endpoint, Ends, Inner, Rules};
use super::error::EndpointError;
use super::options::TlsOptions;
use super::source::TlsSource;
use crate::clock::system_clock;
use crate::node::Node;
use crate::sources::publish::{Follow, nobody};
use crate::sources::{Development, EnvSource, Ephemeral, FileSource, Source, SourceError};

/// What an ephemeral certificate is called where no id was given.
const NAMELESS: &str = "certus-endpoint";

impl Node {
    /// Begins an [`Endpoint`]: mutual TLS for the servers and clients of your own program.
    ///
    /// A [`Node`] itself is a daemon that carries services of other programs; it is started by
    /// [`Node::start`] and [`Node::start_agent`], and can be an endpoint's source
    /// ([`TlsSource::cluster`]).
    ///
    /// ```no_run
    /// use certus_node::Node;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let endpoint = Node::builder()
    ///     .id("dev-node")
    ///     .name("Development node")
    ///     .address("localhost:8443")
    ///     .cert_dir("./certs")
    ///     .development()
    ///     .build()
    ///     .await?;
    /// let mut listener = endpoint.listen("localhost:8443").await?;
    /// let stream = listener.accept().await;
    /// println!("{} is here", stream.peer().name());
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> EndpointBuilder {
        EndpointBuilder::new()
    }
}

/// Makes an [`Endpoint`]. A source of certificates must be named, by
/// [`development`](EndpointBuilder::development) or [`tls`](EndpointBuilder::tls).
#[derive(Clone)]
#[must_use]
pub struct EndpointBuilder {
    id: Option<String>,
    name: Option<String>,
    address: Option<String>,
    names: Vec<AltName>,
    cert_dir: Option<PathBuf>,
    options: Option<TlsOptions>,
    clock: Clock,
}

impl EndpointBuilder {
    pub(super) fn new() -> EndpointBuilder {
        EndpointBuilder {
            id: None,
            name: None,
            address: None,
            names: Vec::new(),
            cert_dir: None,
            options: None,
            clock: system_clock(),
        }
    }

    /// Which node it is. Development certificates and their files are named by it.
    pub fn id(mut self, id: impl Into<String>) -> EndpointBuilder {
        self.id = Some(id.into());
        self
    }

    /// What people call it, in logs and audit events; its id unless set.
    pub fn name(mut self, name: impl Into<String>) -> EndpointBuilder {
        self.name = Some(name.into());
        self
    }

    /// Where others reach it, `host:port`. Development certificates are for that host too. Nothing listens
    /// there by itself.
    pub fn address(mut self, address: impl Into<String>) -> EndpointBuilder {
        self.address = Some(address.into());
        self
    }

    /// More names for certificates that are made here, development and ephemeral.
    pub fn names(mut self, names: impl IntoIterator<Item = AltName>) -> EndpointBuilder {
        self.names.extend(names);
        self
    }

    /// The directory of development certificates. Nodes that name the same directory share its CA, and
    /// trust each other.
    pub fn cert_dir(mut self, dir: impl Into<PathBuf>) -> EndpointBuilder {
        self.cert_dir = Some(dir.into());
        self
    }

    /// Certificates for development, made in [`cert_dir`](EndpointBuilder::cert_dir) on first use and taken
    /// from there afterwards: `ca-cert.pem`, `ca-key.pem`, `ID-cert.pem`, `ID-key.pem`. Never for
    /// production: whoever can read the directory can be every node.
    ///
    /// The same as `tls(TlsOptions::new(TlsSource::development()))`; of several calls the last one holds.
    pub fn development(self) -> EndpointBuilder {
        self.tls(TlsOptions::new(TlsSource::Development))
    }

    /// Certificates and rules.
    pub fn tls(mut self, options: TlsOptions) -> EndpointBuilder {
        self.options = Some(options);
        self
    }

    /// Where the time comes from; the machine's clock unless set.
    pub fn clock(mut self, clock: Clock) -> EndpointBuilder {
        self.clock = clock;
        self
    }

    /// Reads or makes the first certificates, and keeps them live from then on. Must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    /// Options that contradict each other, or certificates that cannot be used, with what is wrong in words.
    pub async fn build(self) -> Result<Endpoint, EndpointError> {
        let options = self.options.clone().ok_or(EndpointError::NoSource)?;
        options.check()?;
        let name = self.name.clone().or_else(|| self.id.clone()).unwrap_or_else(|| NAMELESS.to_owned());
        if !options.verify_chain {
            tracing::warn!(
                endpoint = name,
                "NOBODY'S CERTIFICATE IS VERIFIED (danger::unverified): whoever connects or answers is taken"
            );
        }
        if let Some(grace) = options.policy.allow_expired {
            tracing::warn!(endpoint = name, %grace, "certificates that ended are taken for a while");
        }
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (credentials, following) = match &options.source {
            TlsSource::Cluster(credentials) => (credentials.clone(), None),
            _ => {
                let source = self.source(&options)?;
                let base = nobody(self.clock.clone());
                let follow = Follow { base, keys: options.policy.keys, stop: stop.clone() };
                let following = follow.start(source).await.map_err(EndpointError::Material)?;
                (following.credentials, Some((following.status, following.reload)))
            }
        };
        let clock = credentials.clock().clone();
        let inner = Inner {
            id: self.id,
            address: self.address,
            rules: Rules {
                client_certificates: options.client_certificates,
                versions: options.versions,
                lifecycle: options.lifecycle,
                verify_chain: options.verify_chain,
            },
            credentials,
            following,
            ends: Mutex::new(Ends { policy: options.policy, servers: Vec::new(), dialers: Vec::new() }),
            audit: Audit::new(name.clone(), clock),
            stop: guard.disarm(),
            name,
        };
        tracing::info!(endpoint = inner.name, source = %options.source.kind(), "the endpoint is ready");
        Ok(Endpoint(Arc::new(inner)))
    }

    /// The source, as the room that reads it wants it.
    fn source(&self, options: &TlsOptions) -> Result<Source, EndpointError> {
        let wrong = |error: SourceError| EndpointError::Material(error.explain());
        let needs = options.needs();
        match &options.source {
            TlsSource::Env { cert, key, ca } => Ok(EnvSource::named(cert, key, ca, needs).into()),
            TlsSource::Ephemeral => {
                let called = self.id.as_deref().unwrap_or(NAMELESS);
                Ephemeral::new(called, self.names.clone()).map(Source::from).map_err(wrong)
            }
            TlsSource::Development => {
                let id = self.id.as_deref().ok_or(EndpointError::Missing("an id"))?;
                let dir = self.cert_dir.clone().ok_or(EndpointError::Missing("a cert_dir"))?;
                let made = Development::new(dir, id, self.address.as_deref(), self.names.clone());
                made.map(Source::from).map_err(wrong)
            }
            source => {
                let Some(paths) = source.paths() else { return Err(EndpointError::NoSource) };
                let files = FileSource::combined(paths, source.texts(), needs).map_err(wrong)?;
                Ok(files.allow_group_read(options.allow_group_read).into())
            }
        }
    }
}

/// What an error of a connection, or of a protocol that runs over one, means: found in its chain of
/// sources. For hyper's, tonic's and tungstenite's errors, and for those of plain reads.
pub fn explain_error(error: &(dyn std::error::Error + 'static)) -> Option<Explanation> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(known) = error.downcast_ref::<EndpointError>() {
            return Some(known.explain());
        }
        next = error.source();
    }
    certus_tls::explain_source(error)
}
