//! The credentials of listeners and peers: the node's own, or others in their place, each read once
//! however many use it.

use std::sync::Arc;

use certus_pki::KeyPolicy;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::Credentials;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::sources::publish::{Follow, nobody};
use crate::sources::{Ephemeral, FilePaths, FileSource, InlinePem, Needs, Source, SourceStatus};
use crate::spec::{MaterialSpec, Pem};

/// Everybody's credentials. Cheap to clone; all clones share what was read.
#[derive(Clone)]
pub struct Wallet {
    own: Credentials,
    others: Arc<Mutex<Vec<Other>>>,
    stop: CancellationToken,
}

struct Other {
    spec: MaterialSpec,
    credentials: Credentials,
    status: watch::Receiver<SourceStatus>,
}

impl Wallet {
    /// The node's own, and none besides yet.
    pub fn new(own: Credentials) -> Wallet {
        Wallet { own, others: Arc::default(), stop: CancellationToken::new() }
    }

    /// The node's own.
    pub fn own(&self) -> &Credentials {
        &self.own
    }

    /// The credentials that `spec` names; what it leaves out is the node's own, and follows it.
    ///
    /// # Errors
    /// What it names cannot be used.
    pub async fn credentials(&self, spec: &MaterialSpec) -> Result<Credentials, Explanation> {
        if spec.is_empty() {
            return Ok(self.own.clone());
        }
        let mut others = self.others.lock().await;
        if let Some(other) = others.iter().find(|other| other.spec == *spec) {
            return Ok(other.credentials.clone());
        }
        let needs = Needs { identity: spec.cert.is_some(), roots: spec.ca.is_some() };
        let source = source_of(spec, needs).map_err(|error| error.explain())?;
        let (credentials, status) = layer(self.own.clone(), source, self.stop.child_token()).await?;
        others.push(Other { spec: spec.clone(), credentials: credentials.clone(), status });
        Ok(credentials)
    }

    /// How every source is doing.
    pub async fn statuses(&self) -> Vec<SourceStatus> {
        self.others.lock().await.iter().map(|other| other.status.borrow().clone()).collect()
    }

    /// Stops following.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// The source that a specification names.
///
/// # Errors
/// Half a pair, or nothing of what is needed.
pub(crate) fn source_of(spec: &MaterialSpec, needs: Needs) -> Result<Source, crate::sources::SourceError> {
    let (mut paths, mut inline) = (FilePaths::default(), InlinePem::default());
    match &spec.cert {
        Some(Pem::File(path)) => paths.cert = Some(path.clone()),
        Some(Pem::Text(text)) => inline.cert = Some(String::clone(text)),
        None => {}
    }
    match &spec.key {
        Some(Pem::File(path)) => paths.key = Some(path.clone()),
        Some(Pem::Text(text)) => inline.key = Some(text.clone()),
        None => {}
    }
    match &spec.ca {
        Some(Pem::File(path)) => paths.ca = Some(path.clone()),
        Some(Pem::Text(text)) => inline.ca = Some(String::clone(text)),
        None => {}
    }
    FileSource::combined(paths, inline, needs).map(Source::from)
}

/// Puts what `source` gives on top of `base`, and follows both.
async fn layer(
    base: Credentials,
    source: Source,
    stop: CancellationToken,
) -> Result<(Credentials, watch::Receiver<SourceStatus>), Explanation> {
    let following = Follow { base, keys: KeyPolicy::any(), stop }.start(source).await?;
    Ok((following.credentials, following.status))
}

/// An agent's own credentials: what it was told, and a certificate made now where that is none.
///
/// # Errors
/// What it was told cannot be used.
pub(crate) async fn own_of(
    spec: &MaterialSpec,
    clock: certus_tls::Clock,
    name: &str,
    stop: CancellationToken,
) -> Result<(Credentials, watch::Receiver<SourceStatus>), Explanation> {
    let nobody = nobody(clock);
    if spec.cert.is_some() {
        let needs = Needs { identity: true, roots: spec.ca.is_some() };
        let source = source_of(spec, needs).map_err(|error| error.explain())?;
        return layer(nobody, source, stop).await;
    }
    let base = match &spec.ca {
        Some(_) => {
            let source = source_of(spec, Needs::ROOTS).map_err(|error| error.explain())?;
            layer(nobody, source, stop.clone()).await?.0
        }
        None => nobody,
    };
    let made = Ephemeral::new(name, []).map_err(|error| error.explain())?;
    layer(base, made.into(), stop).await
}
