//! Sources at work: files that rotate, break, vanish and come back; other programs' certificates.

mod broken;
mod development;
pub(crate) mod interop;
mod rotation;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use certus_forge::{Ca, Leaf, LeafSpec};
use certus_node::sources::{FilePaths, FileSource, Material, Needs, Source, SourceStatus, Watch};
use certus_pki::{Sha256, UnixTime};
use certus_tls::Clock;
use tempfile::TempDir;

use crate::{soon, until};

/// Within the validity of everything that the forge makes.
const NOW: i64 = 1_900_000_000;

/// A clock that tests set.
#[derive(Clone)]
struct Time(Arc<AtomicI64>);

impl Time {
    fn new() -> Time {
        Time(Arc::new(AtomicI64::new(NOW)))
    }

    fn set(&self, secs: i64) {
        self.0.store(secs, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let time = self.0.clone();
        Arc::new(move || UnixTime::from_secs(time.load(Ordering::SeqCst)))
    }
}

/// A directory with `node.crt`, `node.key` and `ca.crt`.
struct Files {
    dir: TempDir,
    root: Ca,
}

impl Files {
    fn new() -> Files {
        let files = Files { dir: tempfile::tempdir().unwrap(), root: Ca::root("root") };
        files.put("ca.crt", &files.root.pem.clone());
        files.put_pair(&files.leaf());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn leaf(&self) -> Leaf {
        self.root.leaf(&LeafSpec { dns: vec!["web.test".into()], ..LeafSpec::named("web") })
    }

    fn put(&self, name: &str, text: &str) {
        put(&self.path(name), text);
    }

    fn put_pair(&self, leaf: &Leaf) {
        self.put("node.key", &leaf.key_pem);
        self.put("node.crt", &leaf.chain_pem);
    }

    fn paths(&self) -> FilePaths {
        FilePaths::separate(self.path("node.crt"), self.path("node.key"), Some(self.path("ca.crt")))
    }

    /// Polled often, and told nothing.
    fn polled(&self) -> FileSource {
        let source = FileSource::new(self.paths(), Needs::BOTH).ok().unwrap();
        source.notify(false).poll(Duration::from_millis(20)).settle_within(Duration::from_millis(100))
    }

    /// Told, and polled once an hour.
    fn told(&self) -> FileSource {
        let source = FileSource::new(self.paths(), Needs::BOTH).ok().unwrap();
        source.poll(Duration::from_secs(3600)).settle_within(Duration::from_millis(100))
    }
}

/// A file of mode 0600, written beside its place.
pub(crate) fn put(path: &Path, text: &str) {
    let beside = path.with_extension("beside");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}

async fn start(source: FileSource, time: &Time) -> Watch {
    Source::from(source).start(time.clock()).await.ok().unwrap()
}

fn serves(material: &Material, leaf: &Leaf) -> bool {
    material.pair().is_some_and(|pair| pair.chain() == leaf.chain_der)
}

/// Waits until the source has taken `leaf`.
async fn taken(watch: &Watch, leaf: &Leaf) {
    until("the new generation is in force", || serves(&watch.current(), leaf)).await;
}

/// Waits until a failure with this code is told, and the generation in force is still the one before.
async fn refused(watch: &Watch, code: certus_pki::Code, good: Sha256) -> SourceStatus {
    let mut status = watch.status();
    let told = |status: &SourceStatus| status.last_failure.as_ref().is_some_and(|why| why.code == code);
    let waited = soon("a failure", status.wait_for(told)).await.unwrap().clone();
    assert_eq!(watch.current().digest(), good, "the last good generation is in force");
    waited
}
