//! What a source gives, put in force: a publisher of credentials that follows it, each generation whole or
//! not at all.

use std::sync::Arc;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Bundle, Epoch, KeyPolicy};
use certus_tls::{Credentials, Identity, Publisher, Snapshot, sweep_each_second};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Material, Source, SourceStatus, Watch};

/// Credentials that follow a source.
pub(crate) struct Following {
    pub(crate) credentials: Credentials,
    pub(crate) status: watch::Receiver<SourceStatus>,
    /// Told, the source looks now.
    pub(crate) reload: Arc<Notify>,
}

/// How a source is followed.
pub(crate) struct Follow {
    /// What a generation leaves out is taken from here.
    pub(crate) base: Credentials,
    /// Which keys its certificates may have.
    pub(crate) keys: KeyPolicy,
    /// Ends it.
    pub(crate) stop: CancellationToken,
}

impl Follow {
    /// Puts what `source` gives on top of the base, and follows both.
    ///
    /// # Errors
    /// The first generation cannot be used. Of a later one the old stays in force (I9).
    pub(crate) async fn start(self, source: Source) -> Result<Following, Explanation> {
        let clock = self.base.clock().clone();
        let watch = source.start(clock.clone()).await.map_err(|error| error.explain())?;
        let status = watch.status();
        let first = self.snapshot(&watch.current(), None, 1)?;
        let publisher = Publisher::new(first, clock);
        let credentials = publisher.credentials();
        tokio::spawn(sweep_each_second(credentials.clone(), |cuts| {
            tracing::info!(connections = cuts.len(), "connections ended with their certificates");
        }));
        let reload = Arc::new(Notify::new());
        tokio::spawn(self.run(publisher, watch, reload.clone()));
        Ok(Following { credentials, status, reload })
    }

    /// Publishes every new generation, and every change of what lies below.
    async fn run(mut self, publisher: Publisher, mut watch: Watch, reload: Arc<Notify>) {
        let mut revision = 1;
        let mut base_lives = true;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = reload.notified() => {
                    watch.reload();
                    continue;
                }
                changed = watch.changed() => if changed.is_none() { break },
                lives = self.base.changed(), if base_lives => {
                    base_lives = lives;
                    if !lives {
                        continue;
                    }
                }
            }
            revision += 1;
            let last = publisher.current();
            let next = self.snapshot(&watch.current(), Some(&last), revision);
            let published = next.and_then(|next| publisher.publish(next).map_err(|error| error.explain()));
            match published {
                Ok(cuts) => {
                    tracing::info!(revision, cut = cuts.len(), "new certificates or roots are in force");
                }
                Err(why) => {
                    tracing::error!(code = %why.code, %why, "new certificates or roots are not used; the old stay");
                }
            }
        }
        watch.shutdown().await;
    }

    /// One generation as a snapshot; the base fills in what it leaves out. The identity of `last` stays
    /// where the certificate did: a new one would end everybody's sessions.
    fn snapshot(
        &self,
        material: &Material,
        last: Option<&Snapshot>,
        revision: u64,
    ) -> Result<Snapshot, Explanation> {
        let base = self.base.current();
        let last = last.and_then(Snapshot::identity);
        let identity = match material.pair() {
            Some(pair) if last.is_some_and(|last| last.chain() == pair.chain()) => last.cloned(),
            Some(pair) => {
                self.keys.check(pair.leaf().public_key.key_type()).map_err(|error| {
                    let mut why = error.explain();
                    why.message = format!("our own certificate: {}", why.message);
                    why
                })?;
                let identity = Identity::of_any_authority(pair.key(), pair.chain().to_vec());
                Some(Arc::new(identity.map_err(|error| error.explain())?))
            }
            None => base.identity().cloned(),
        };
        let roots = material.roots();
        if roots.is_empty() && base.bundle().cluster().is_some() {
            return Ok(Snapshot::new(identity, base.bundle().clone()));
        }
        let roots = if roots.is_empty() { base.bundle().roots() } else { roots };
        let epoch = Epoch { generation: 0, revision };
        // What a cluster revoked stays revoked where its roots are trusted under another heading too.
        let revoked = base.bundle().revocations().copied();
        Ok(Snapshot::new(identity, Arc::new(Bundle::of_authorities(epoch, roots.to_vec(), revoked))))
    }
}

/// Credentials of nobody, who trusts nobody: the base where there is no other.
pub(crate) fn nobody(clock: certus_tls::Clock) -> Credentials {
    let nobody = Snapshot::new(None, Arc::new(Bundle::of_authorities(Epoch::default(), Vec::new(), [])));
    Publisher::new(nobody, clock).credentials()
}
