//! The manager's side: a backup of itself, sealed, to whoever may open its admin socket.
//!
//! The socket has mode 0600 in a directory of 0700: that is the manager's own user. Keys leave this process
//! sealed only.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use certus_pki::UnixTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::BackupError;
use super::records::{self, Kind, Manifest, RECORD_HEAD, is_plain_name};
use super::seal::{BackupKey, HEAD, Head, Sealer};
use crate::house::House;
use crate::keys::ManagerDir;
use crate::replica::{Outgoing, SnapshotRows, Tally};
use crate::storage::blocking;

/// Each holds old pages of the store, and reads all of it.
const AT_ONCE: usize = 1;
/// Pieces that wait for the reader, some 256 KiB each.
const PIECES_QUEUED: usize = 4;
/// A reader that takes nothing for so long is gone; what it pinned is let go.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// No secret file of a manager is larger.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// An issuer may be replaced while its files are read.
const SECRETS_TRIES: usize = 5;

#[derive(Clone)]
struct Giver {
    house: House,
    places: Arc<Semaphore>,
}

/// `POST /backup`: head and key, answered with the sealed backup.
pub(crate) fn router(house: House) -> Router {
    let giver = Giver { house, places: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new().route("/backup", post(give)).with_state(giver)
}

async fn give(State(giver): State<Giver>, body: Bytes) -> Response {
    let refused = |status, why: String| (status, format!("{why}\n")).into_response();
    let asked = body
        .split_at_checked(HEAD)
        .and_then(|(head, key)| Some((Head::from_bytes(head).ok()?, BackupKey::from_bytes(key)?)));
    let Some((head, key)) = asked else {
        return refused(StatusCode::BAD_REQUEST, "the head or the key is not in this version's form".into());
    };
    let Ok(place) = giver.places.clone().try_acquire_owned() else {
        return refused(StatusCode::CONFLICT, "another backup is being made".into());
    };
    let giving = blocking(|| Giving::open(&giver.house, head, &key, place));
    drop(key);
    match giving {
        Ok(giving) => {
            let (sender, pieces) = mpsc::channel(PIECES_QUEUED);
            tokio::spawn(giving.run(sender));
            Body::from_stream(ReceiverStream::new(pieces)).into_response()
        }
        Err(error) => {
            warn!(%error, "a backup could not be begun");
            refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}

/// A backup under way.
struct Giving {
    writer: Writer,
    rows: Outgoing,
    made_at: UnixTime,
    _place: OwnedSemaphorePermit,
}

impl Giving {
    fn open(
        house: &House,
        head: Head,
        key: &BackupKey,
        place: OwnedSemaphorePermit,
    ) -> Result<Giving, BackupError> {
        // The secrets first: an issuer is on record before its files are written, so the rows read afterwards
        // know every issuer that is here.
        let secrets = secrets(&house.place)?;
        let replica = &house.shared.truth.replica;
        let view = Arc::new(replica.view().map_err(BackupError::Storage)?);
        let made_at = house.shared.truth.now();
        let cluster = certus_ca::cluster(&*view).map_err(BackupError::Fault)?;
        let cluster = cluster.ok_or_else(|| BackupError::Refused { why: "there is no cluster".into() })?;
        let (term, applied) = crate::replica::applied_in(&view).map_err(BackupError::Rows)?;
        let manifest = Manifest {
            cluster: cluster.name.to_string(),
            generation: cluster.epoch.generation,
            revision: cluster.epoch.revision,
            made_at: made_at.secs(),
            manager: house.shared.identity.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            term,
            applied,
        };
        let mut writer = Writer::new(head, key)?;
        writer.manifest(&manifest)?;
        for (name, content) in secrets {
            writer.secret(&name, &content)?;
        }
        Ok(Giving { writer, rows: Outgoing::new(view), made_at, _place: place })
    }

    async fn run(mut self, sender: mpsc::Sender<io::Result<Bytes>>) {
        let made_at = self.made_at;
        loop {
            let more = blocking(|| match self.rows.next_chunk() {
                Ok(Some(chunk)) => self.writer.chunk(&chunk).map(|()| true),
                Ok(None) => Ok(false),
                Err(error) => Err(BackupError::Rows(error)),
            });
            let piece = match more {
                Ok(true) => self.writer.take(),
                Ok(false) => break,
                Err(error) => return broken(&sender, &error).await,
            };
            if !passed_on(&sender, piece).await {
                return;
            }
        }
        let rows = self.writer.tally.rows();
        match self.writer.finish() {
            Ok(last) => {
                if passed_on(&sender, last).await {
                    info!(%made_at, rows, "a backup was given at the admin socket");
                }
            }
            Err(error) => broken(&sender, &error).await,
        }
    }
}

/// Whether the reader took it.
async fn passed_on(sender: &mpsc::Sender<io::Result<Bytes>>, piece: Vec<u8>) -> bool {
    if piece.is_empty() {
        return true;
    }
    match tokio::time::timeout(TAKEN_WITHIN, sender.send(Ok(piece.into()))).await {
        Ok(Ok(())) => true,
        Ok(Err(_)) | Err(_) => {
            warn!("whoever asked for a backup took no more of it");
            false
        }
    }
}

/// The reader's answer breaks off, and has no last chunk.
async fn broken(sender: &mpsc::Sender<io::Result<Bytes>>, error: &BackupError) {
    warn!(%error, "a backup broke off");
    let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
}

/// Records into sealed bytes.
pub(crate) struct Writer {
    sealer: Sealer,
    out: Vec<u8>,
    pub(crate) tally: Tally,
    tables: BTreeMap<certus_ca::store::Table, u64>,
    end: Option<crate::replica::SnapshotEnd>,
}

impl Writer {
    pub(crate) fn new(head: Head, key: &BackupKey) -> Result<Writer, BackupError> {
        let out = head.as_bytes().to_vec();
        let sealer = Sealer::new(head, key)?;
        Ok(Writer { sealer, out, tally: Tally::default(), tables: BTreeMap::new(), end: None })
    }

    fn record(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), BackupError> {
        let head: [u8; RECORD_HEAD] = records::head(kind, bytes.len())?;
        self.sealer.push(&head, &mut self.out)?;
        self.sealer.push(bytes, &mut self.out)
    }

    pub(crate) fn manifest(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let json = serde_json::to_vec(manifest).map_err(|error| BackupError::Json { error })?;
        self.record(Kind::Manifest, &json)
    }

    pub(crate) fn secret(&mut self, name: &str, content: &[u8]) -> Result<(), BackupError> {
        self.record(Kind::Secret, &records::secret(name, content)?)
    }

    /// A chunk of the snapshot, as it came.
    pub(crate) fn chunk(&mut self, chunk: &[u8]) -> Result<(), BackupError> {
        match self.tally.take(chunk).map_err(BackupError::Rows)? {
            None => {
                let rows = SnapshotRows::of(chunk).map_err(BackupError::Rows)?;
                *self.tables.entry(rows.table).or_insert(0) += rows.rows.len() as u64;
            }
            Some(end) => self.end = Some(end),
        }
        self.record(Kind::Rows, chunk)
    }

    /// What was sealed since it was last taken.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// What was written so far as if that were all, for tests.
    #[cfg(test)]
    pub(crate) fn cut_off(self) -> Result<Vec<u8>, BackupError> {
        let mut out = self.out;
        self.sealer.finish(&mut out)?;
        Ok(out)
    }

    /// The rest, to the last chunk.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, BackupError> {
        let end = self.end.take().ok_or_else(|| BackupError::record("the end of the rows", 0))?;
        let totals = records::totals(end.rows, end.hash, std::mem::take(&mut self.tables));
        let json = serde_json::to_vec(&totals).map_err(|error| BackupError::Json { error })?;
        self.record(Kind::End, &json)?;
        let mut out = self.out;
        self.sealer.finish(&mut out)?;
        Ok(out)
    }
}

type Secrets = Vec<(String, Zeroizing<Vec<u8>>)>;

/// The files of a manager's directory, as they are: what is sealed in them stays sealed.
fn secrets(place: &ManagerDir) -> Result<Secrets, BackupError> {
    for _ in 0..SECRETS_TRIES {
        if let Some(secrets) = secrets_once(place)? {
            return Ok(secrets);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(BackupError::Refused { why: "the manager's issuer is being replaced; try again".into() })
}

/// None where a file went away while they were read.
fn secrets_once(place: &ManagerDir) -> Result<Option<Secrets>, BackupError> {
    let path = place.path();
    let entries = std::fs::read_dir(path).map_err(|error| BackupError::io("read", path, error))?;
    let mut secrets = Secrets::new();
    for entry in entries {
        let entry = entry.map_err(|error| BackupError::io("read", path, error))?;
        let file = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let read = entry.metadata().and_then(|about| {
            let wanted = about.is_file() && !name.ends_with(".new") && is_plain_name(&name);
            match wanted && about.len() <= SECRET_BYTES_MAX {
                true => std::fs::read(&file).map(|content| Some(Zeroizing::new(content))),
                false => Ok(None),
            }
        });
        match read {
            Ok(content) => secrets.extend(content.map(|content| (name, content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BackupError::io("read", &file, error)),
        }
    }
    secrets.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Some(secrets))
}
