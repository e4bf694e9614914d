//! The credentials of listeners and peers: the node's own, or others in their place, each read once
//! however many use it.

use std::sync::Arc;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Bundle, Epoch};
use certus_tls::{Credentials, Identity, Publisher, Snapshot, sweep_each_second};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::sources::{
    Ephemeral, FilePaths, FileSource, InlinePem, Material, Needs, Source, SourceStatus, Watch,
};
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

/// One generation as a snapshot; `own` fills in what it leaves out. The identity of `last` stays where the
/// certificate did: a new one would end everybody's sessions.
fn snapshot(
    material: &Material,
    own: &Snapshot,
    last: Option<&Snapshot>,
    revision: u64,
) -> Result<Snapshot, Explanation> {
    let last = last.and_then(Snapshot::identity);
    let identity = match material.pair() {
        Some(pair) if last.is_some_and(|last| last.chain() == pair.chain()) => last.cloned(),
        Some(pair) => {
            let identity = Identity::of_any_authority(pair.key(), pair.chain().to_vec());
            Some(Arc::new(identity.map_err(|error| error.explain())?))
        }
        None => own.identity().cloned(),
    };
    let roots = material.roots();
    if roots.is_empty() {
        return Ok(Snapshot::new(identity, own.bundle().clone()));
    }
    let epoch = Epoch { generation: 0, revision };
    // What a cluster revoked stays revoked where its roots are trusted under another heading too.
    let revoked = own.bundle().revocations().copied();
    Ok(Snapshot::new(identity, Arc::new(Bundle::of_authorities(epoch, roots.to_vec(), revoked))))
}

/// Puts what `source` gives on top of `base`, and follows both.
async fn layer(
    base: Credentials,
    source: Source,
    stop: CancellationToken,
) -> Result<(Credentials, watch::Receiver<SourceStatus>), Explanation> {
    let clock = base.clock().clone();
    let watch = source.start(clock.clone()).await.map_err(|error| error.explain())?;
    let status = watch.status();
    let publisher = Publisher::new(snapshot(&watch.current(), &base.current(), None, 1)?, clock);
    let credentials = publisher.credentials();
    tokio::spawn(sweep_each_second(credentials.clone(), |cuts| {
        tracing::info!(connections = cuts.len(), "connections ended with their certificates");
    }));
    tokio::spawn(follow(publisher, watch, base, stop));
    Ok((credentials, status))
}

/// Publishes every new generation, and every change of what lies below.
async fn follow(publisher: Publisher, mut watch: Watch, mut base: Credentials, stop: CancellationToken) {
    let mut revision = 1;
    let mut base_lives = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = watch.changed() => if changed.is_none() { break },
            lives = base.changed(), if base_lives => {
                base_lives = lives;
                if !lives {
                    continue;
                }
            }
        }
        revision += 1;
        let last = publisher.current();
        let next = snapshot(&watch.current(), &base.current(), Some(&last), revision);
        let published = next.and_then(|next| publisher.publish(next).map_err(|error| error.explain()));
        match published {
            Ok(cuts) => tracing::info!(revision, cut = cuts.len(), "new certificates or roots are in force"),
            Err(why) => {
                tracing::error!(code = %why.code, %why, "new certificates or roots are not used; the old stay");
            }
        }
    }
    watch.shutdown().await;
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
    let nobody = Snapshot::new(None, Arc::new(Bundle::of_authorities(Epoch::default(), Vec::new(), [])));
    let nobody = Publisher::new(nobody, clock).credentials();
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
