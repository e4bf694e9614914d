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
    /// How the node's own source is doing, where it has one.
    own_status: Option<watch::Receiver<SourceStatus>>,
    others: Arc<Mutex<Vec<Other>>>,
    stop: CancellationToken,
}

struct Other {
    spec: MaterialSpec,
    credentials: Credentials,
    status: watch::Receiver<SourceStatus>,
    stop: CancellationToken,
}

impl Wallet {
    /// The node's own, and none besides yet.
    pub fn new(own: Credentials) -> Wallet {
        Wallet { own, own_status: None, others: Arc::default(), stop: CancellationToken::new() }
    }

    /// The same where the node's own come from a source.
    pub(crate) fn watching(self, own_status: Option<watch::Receiver<SourceStatus>>) -> Wallet {
        Wallet { own_status, ..self }
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
        let stop = self.stop.child_token();
        let (credentials, status) = layer(self.own.clone(), source, stop.clone()).await?;
        others.push(Other { spec: spec.clone(), credentials: credentials.clone(), status, stop });
        Ok(credentials)
    }

    /// Stops following what none of `specs` names, and no live connection stands on.
    pub(crate) async fn keep(&self, specs: &[MaterialSpec]) {
        self.others.lock().await.retain(|other| {
            let stays = specs.contains(&other.spec) || other.credentials.registry().live() > 0;
            if !stays {
                other.stop.cancel();
            }
            stays
        });
    }

    /// How every source is doing, by what it reads. Those that are being read for the first time are
    /// left out.
    pub fn statuses(&self) -> Vec<(String, SourceStatus)> {
        let own = self.own_status.iter().map(|status| ("own".to_owned(), status.borrow().clone()));
        let others = self.others.try_lock();
        let others = others.iter().flat_map(|others| others.iter());
        own.chain(others.map(|other| (label(&other.spec), other.status.borrow().clone()))).collect()
    }

    /// Stops following.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// What a source is called in metrics: the first file it reads.
fn label(spec: &MaterialSpec) -> String {
    let first = [&spec.cert, &spec.key, &spec.ca].into_iter().flatten().find_map(|pem| match pem {
        Pem::File(path) => Some(path.display().to_string()),
        Pem::Text(_) => None,
    });
    first.unwrap_or_else(|| "inline".to_owned())
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
