//! How an endpoint speaks TLS: where its certificates come from, and which peers it takes.

use certus_pki::request::NamePattern;
use certus_pki::{Accept, Allow, KeyPolicy, Lifetime};
use certus_tls::{ClientCertificate, Lifecycle, Versions};

use super::error::EndpointError;
use super::source::TlsSource;
use crate::sources::Needs;

/// How an endpoint speaks TLS. Mutual, TLS 1.3, everybody whom its roots vouch for, unless told otherwise.
///
/// ```
/// use certus_node::embed::{KeyPolicy, Lifetime, TlsOptions, TlsSource, Versions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = TlsSource::files("/etc/app/node.crt", "/etc/app/node.key", "/etc/app/ca.crt");
/// let options = TlsOptions::new(source)
///     .required_sans(["*.app.internal".parse()?])
///     .key_types(KeyPolicy::of_words(["ecdsa", "rsa3072"])?)
///     .allow_expired(Lifetime::from_hours(4))
///     .versions(Versions::Tls12AndUp);
/// assert!(options.verifies_chains());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct TlsOptions {
    pub(super) source: TlsSource,
    pub(super) policy: Policy,
    pub(super) client_certificates: ClientCertificate,
    pub(super) versions: Versions,
    pub(super) lifecycle: Lifecycle,
    pub(super) allow_group_read: bool,
    pub(super) verify_chain: bool,
}

impl TlsOptions {
    /// Certificates of `source`, and everything else as it is by default.
    pub fn new(source: TlsSource) -> TlsOptions {
        TlsOptions {
            source,
            policy: Policy::default(),
            client_certificates: ClientCertificate::Required,
            versions: Versions::Tls13,
            lifecycle: Lifecycle::default(),
            allow_group_read: false,
            verify_chain: true,
        }
    }

    /// Whether peers' chains are verified. They are, unless [`super::danger::unverified`] was asked for.
    pub fn verifies_chains(&self) -> bool {
        self.verify_chain
    }

    /// Which verified callers listeners take; everybody unless set.
    #[must_use]
    pub fn allow(mut self, allow: Allow) -> TlsOptions {
        self.policy.allow = allow;
        self
    }

    /// Names of which a peer's certificate must have each, as a listener and as a dialer: `node.internal`,
    /// `*.internal` for one label, `10.0.0.0/8`, `spiffe://prod/worker/*`.
    #[must_use]
    pub fn required_sans(mut self, names: impl IntoIterator<Item = NamePattern>) -> TlsOptions {
        self.policy.required_sans = names.into_iter().collect();
        self
    }

    /// Takes peers' certificates that ended, for this long after their end; at most
    /// [`GRACE_MAX`](super::GRACE_MAX), and only where an authority that vouches for this endpoint too
    /// issued them. Each such peer is a warning and an audit event, and counted.
    ///
    /// A bridge over an outage of the authority, not a way of life.
    #[must_use]
    pub fn allow_expired(mut self, grace: Lifetime) -> TlsOptions {
        self.policy.allow_expired = Some(grace);
        self
    }

    /// Which keys certificates may have, the endpoint's own too; every sound one unless set (RSA of 2048
    /// bits and up).
    #[must_use]
    pub fn key_types(mut self, keys: KeyPolicy) -> TlsOptions {
        self.policy.keys = keys;
        self
    }

    /// All of who is accepted at once.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> TlsOptions {
        self.policy = policy;
        self
    }

    /// Whether callers must show a certificate; they must unless set.
    #[must_use]
    pub fn client_certificates(mut self, wanted: ClientCertificate) -> TlsOptions {
        self.client_certificates = wanted;
        self
    }

    /// Which versions of TLS are spoken; 1.3 unless set. QUIC has 1.3 only.
    #[must_use]
    pub fn versions(mut self, versions: Versions) -> TlsOptions {
        self.versions = versions;
        self
    }

    /// What becomes of live connections when trust changes; lost trust cuts unless set.
    #[must_use]
    pub fn lifecycle(mut self, lifecycle: Lifecycle) -> TlsOptions {
        self.lifecycle = lifecycle;
        self
    }

    /// Whether a key file may be readable by its group (mode 0640), as secrets in Kubernetes are for a
    /// process that does not run as root.
    #[must_use]
    pub fn allow_group_read(mut self, allow: bool) -> TlsOptions {
        self.allow_group_read = allow;
        self
    }

    /// What a generation of the source must hold.
    pub(super) fn needs(&self) -> Needs {
        let judges = self.verify_chain && self.client_certificates != ClientCertificate::NotAsked;
        Needs { identity: true, roots: judges }
    }

    /// Whether these can be used together.
    pub(super) fn check(&self) -> Result<(), EndpointError> {
        self.policy.check()?;
        if !self.verify_chain && !self.policy.is_open() {
            return Err(EndpointError::NothingVerified);
        }
        let authority_is_needed = self.needs().roots && matches!(self.source, TlsSource::Ephemeral);
        if authority_is_needed { Err(EndpointError::NoAuthority) } else { Ok(()) }
    }
}

/// Which verified peers an endpoint takes; replaced while it runs by
/// [`Endpoint::set_policy`](super::Endpoint::set_policy).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Which callers listeners take.
    pub allow: Allow,
    /// Names of which a peer's certificate must have each.
    pub required_sans: Vec<NamePattern>,
    /// Which keys peers may have.
    pub keys: KeyPolicy,
    /// How long after its end a peer's certificate is still taken.
    pub allow_expired: Option<Lifetime>,
}

impl Default for Policy {
    /// Everybody whom the roots vouch for.
    fn default() -> Policy {
        Policy {
            allow: Allow::Anyone,
            required_sans: Vec::new(),
            keys: KeyPolicy::any(),
            allow_expired: None,
        }
    }
}

impl Policy {
    /// Callers that `allow` takes.
    pub fn allowing(allow: Allow) -> Policy {
        Policy { allow, ..Policy::default() }
    }

    pub(super) fn check(&self) -> Result<(), EndpointError> {
        match self.allow_expired {
            Some(asked) if asked > super::GRACE_MAX => Err(EndpointError::GraceTooLong { asked }),
            _ => Ok(()),
        }
    }

    /// Whether it asks nothing of a peer.
    pub(super) fn is_open(&self) -> bool {
        *self == Policy::default()
    }

    /// The same for `allow` in the place of its own.
    pub(super) fn accept(&self, allow: Allow) -> Accept {
        let accept = Accept::new(allow).requiring(self.required_sans.clone()).with_keys(self.keys);
        match self.allow_expired {
            Some(grace) => accept.allowing_expired(grace),
            None => accept,
        }
    }
}
