//! The root's key outside the cluster: handed out under a passphrase, forgotten, brought back, and an
//! alert while issuers that were signed ahead still have time.
//!
//! The key leaves this process only encrypted; what opens it here is destroyed once the log says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use certus_ca::store::{Fault, View};
use certus_ca::{ClusterState, Command, NodeFilter, RootRecord};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::key::Passphrase;
use certus_pki::{CaPlan, Certificate, PrivateKey, Role, Sha256, Signer, UnixTime, Validity, code};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::house::{House, HouseError};
use crate::issuers::tag;
use crate::sealing::{Purpose, SealingKey};
use crate::socket::{answer, secret_text};
use crate::storage::blocking;

/// With less than this many thousandths of an issuer's lifetime left, the root is needed soon: half a
/// year where issuers live a year, so that whoever holds the file can be found.
const SOON_PERMILLE: i64 = 500;
/// With less than this many thousandths it is urgent: two months where issuers live a year.
const URGENT_PERMILLE: i64 = 167;
/// While it is so, it is said again: what is said once is overlooked.
const SAY_AGAIN: i64 = 24 * 3600;
/// How often it is looked at where issuers live long; where they live minutes, at a share of their life.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOKS_A_LIFE: u32 = 40;
/// Managers that are looked at; a cluster has a handful.
const MANAGERS_MAX: usize = 100;

/// Who takes the root out or brings it back, one at a time, and who waits for it.
#[derive(Default)]
pub(crate) struct RootGate {
    busy: tokio::sync::Mutex<()>,
    back: tokio::sync::Notify,
    awaited: AtomicBool,
}

/// How long the cluster can go on without its root's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    pub(crate) root: Sha256,
    pub(crate) offline: bool,
    /// The last moment at which every manager can issue.
    pub(crate) issuing_until: UnixTime,
    pub(crate) alert: Option<Alert>,
}

/// How much it presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alert {
    Soon,
    Urgent,
    Over,
}

impl Outlook {
    /// What the tables say at `now`; nothing before the cluster is founded.
    pub(crate) fn read(view: &dyn View, now: UnixTime) -> Result<Option<Outlook>, Fault> {
        let roots = certus_ca::roots(view)?;
        let root = roots.into_iter().filter(|root| root.active).max_by_key(|root| root.not_after);
        let Some((cluster, root)) = certus_ca::cluster(view)?.zip(root) else { return Ok(None) };
        let ends = ends_of_managers(view, &cluster)?;
        let last = ends.into_iter().filter_map(|(_, end)| end).min().unwrap_or(now);
        Ok(Some(Outlook::of(&cluster, &root, last, now)))
    }

    fn of(cluster: &ClusterState, root: &RootRecord, last: UnixTime, now: UnixTime) -> Outlook {
        // A leaf must end within its issuer.
        let issuing_until = last.minus(cluster.settings.leaf_lifetime);
        let (left, life) =
            (issuing_until.secs_since(now), i64::from(cluster.settings.issuer_lifetime.secs()));
        let alert = match left {
            left if left <= 0 => Some(Alert::Over),
            left if left < life * URGENT_PERMILLE / 1000 => Some(Alert::Urgent),
            left if left < life * SOON_PERMILLE / 1000 => Some(Alert::Soon),
            _ => None,
        };
        let offline = root.is_offline();
        Outlook { root: root.key_hash, offline, issuing_until, alert: alert.filter(|_| offline) }
    }

    /// The alert in words, while there is one.
    pub(crate) fn explain_alert(&self, now: UnixTime) -> Option<Explanation> {
        let message = match self.alert? {
            Alert::Soon | Alert::Urgent => {
                "the root's key is offline, and the last issuer signed ahead ends soon"
            }
            Alert::Over => "the root's key is offline, and the last issuer signed ahead can issue no more",
        };
        let until = format!("{} ({})", self.issuing_until, self.issuing_until.relative_to(now));
        let told = Explanation::new(code::ROOT_NEEDED, message).fact("issuing until", until);
        Some(told.hint("certus cluster root bring-online FILE"))
    }
}

/// The active managers, and the end of the last issuer of each; none where a manager has none.
fn ends_of_managers(
    view: &dyn View,
    cluster: &ClusterState,
) -> Result<Vec<(certus_pki::SpiffeId, Option<UnixTime>)>, Fault> {
    let active = certus_ca::issuers(view)?.into_iter().filter(|issuer| issuer.active);
    let issuers: Vec<(String, UnixTime)> = active
        .filter_map(|issuer| {
            let certificate = Certificate::from_der(&issuer.der).ok()?;
            Some((certificate.common_name().to_owned(), issuer.not_after))
        })
        .collect();
    let filter = NodeFilter { role: Some(Role::Manager), active: true, ..Default::default() };
    let managers = certus_ca::nodes(view, &filter, None, MANAGERS_MAX)?;
    let ends = managers.items.into_iter().map(|manager| {
        // Only its name matters; it is cut as the issuer's was.
        let any = Validity { not_before: cluster.founded_at, not_after: cluster.founded_at };
        let name = CaPlan::issuer(&cluster.name, &tag(&manager.identity.id), any).common_name;
        let end = issuers.iter().filter(|(of, _)| *of == name).map(|(_, end)| *end).max();
        (manager.identity, end)
    });
    Ok(ends.collect())
}

impl House {
    /// Does what an offline root asks for: what opens its key goes, and it is said in time that the root
    /// is needed.
    pub(crate) async fn watch_root(&self) {
        let mut said: Option<(Alert, UnixTime)> = None;
        let mut opened = None;
        loop {
            let now = self.shared.truth.now();
            match self.look_at_root(now) {
                Ok(outlook) => {
                    if !outlook.offline {
                        self.have_root_at_hand(now, &mut opened).await;
                    }
                    said = say(&outlook, said, now);
                }
                Err(failed) => warn!(explanation = %failed.explain(), "the root cannot be looked at"),
            }
            let life = self.signing().map_or(0, |(cluster, _)| cluster.settings.issuer_lifetime.secs());
            let share = Duration::from_secs((life / LOOKS_A_LIFE).max(1).into());
            tokio::time::sleep(share.min(LOOK_EVERY)).await;
        }
    }

    /// Where the root is online and what is here does not open its key, asks the other managers: it was
    /// brought back at one of them. What was kept from before it left opens nothing now.
    /// `opened` is the sealed key that was last found to open: it is not opened again to see.
    async fn have_root_at_hand(&self, now: UnixTime, opened: &mut Option<Sha256>) {
        let Ok((cluster, root)) = self.signing() else { return };
        let Ok(_not_busy) = self.root.busy.try_lock() else { return };
        let sealed = Sha256::of(&root.key_sealed);
        if *opened == Some(sealed) {
            return;
        }
        if self.root_key(&cluster, &root).is_ok() {
            *opened = Some(sealed);
            return;
        }
        match self.shared.fetch_root_data_key(&root).await {
            Ok(true) => {
                *opened = Some(sealed);
                self.root.back.notify_waiters();
                if let Err(failed) = self.keep_issuers_at(now).await {
                    warn!(explanation = %failed.explain(), "the next issuer could not be signed yet");
                }
            }
            Ok(false) => warn!("no other manager has what opens the root's key"),
            Err(failed) => warn!(explanation = %failed.explain(), "what opens the root's key did not come"),
        }
    }

    fn look_at_root(&self, now: UnixTime) -> Result<Outlook, HouseError> {
        let outlook = self.shared.truth.read(|view| Outlook::read(view, now));
        let outlook = outlook.map_err(HouseError::Unanswered)?.ok_or(HouseError::NoIdentity)?;
        self.shared.metrics.root(outlook.offline, outlook.issuing_until);
        // Not while it is on its way back: then its key is written first, and put on record afterwards.
        if let (true, Ok(_not_busy)) = (outlook.offline, self.root.busy.try_lock()) {
            self.destroy_root_data_key()?;
        }
        Ok(outlook)
    }

    fn destroy_root_data_key(&self) -> Result<(), HouseError> {
        if self.place.destroy_root_data_key().map_err(HouseError::Keys)? {
            warn!("the root is offline: what opened its key on this manager is destroyed");
        }
        Ok(())
    }

    /// As [`House::wake`]; where only the root could help and is offline, waits until it is brought back.
    pub(crate) async fn wake_with_root(&self) -> Result<(), HouseError> {
        loop {
            let back = self.root.back.notified();
            match self.wake().await {
                Err(failed) if failed.explain().code == code::ROOT_OFFLINE => {
                    error!(explanation = %failed.explain(), "the manager cannot serve until the root is back");
                    self.root.awaited.store(true, Ordering::Relaxed);
                    back.await;
                    self.root.awaited.store(false, Ordering::Relaxed);
                }
                woken => return woken,
            }
        }
    }

    /// Why the manager is not ready, if it waits for the root.
    pub(crate) fn awaits_root(&self) -> Option<Explanation> {
        let message = "the manager's own certificate and issuers ended, and the root's key is offline";
        let told =
            Explanation::new(code::ROOT_OFFLINE, message).hint("certus cluster root bring-online FILE");
        self.root.awaited.load(Ordering::Relaxed).then_some(told)
    }

    /// The root's key under `passphrase`, as the key verbs and openssl read it.
    fn export_root(&self, passphrase: &Passphrase) -> Result<Value, Explanation> {
        let (cluster, root) = self.signing().map_err(|error| error.explain())?;
        let key = self.root_key(&cluster, &root).map_err(|error| error.explain())?;
        let pem = blocking(|| key.to_encrypted_pem(passphrase)).map_err(|error| error.explain())?;
        warn!(root = %root.key_hash.short(), "the root's key was handed out, encrypted, at the admin socket");
        Ok(json!({ "root": root.key_hash.to_string(), "key": pem }))
    }

    /// Forgets the key of `root`, which its asker has in a file: everywhere by the log, and here at once.
    async fn take_root_offline(&self, root: Sha256) -> Result<Value, Explanation> {
        let _one_at_a_time = self.root.busy.lock().await;
        let now = self.shared.truth.now();
        let (cluster, record) = self.signing().map_err(|error| error.explain())?;
        if record.key_hash != root {
            let told = Explanation::new(code::KEY_MISMATCH, "the file does not hold the active root's key");
            return Err(told.halves(record.key_hash.short(), root.short()));
        }
        self.sign_ahead(now).await.map_err(|error| error.explain())?;
        self.all_have_issuers_ahead(&cluster, &record, now)?;
        let by = self.shared.identity.clone();
        let taken = self.shared.truth.propose(&Command::TakeRootOffline { root, by }).await;
        taken.map_err(|error| error.explain())?;
        self.destroy_root_data_key().map_err(|error| error.explain())?;
        warn!(root = %root.short(), "the root's key was taken offline");
        self.outlook_for_people(now)
    }

    /// Whether every manager has an issuer that outlives the present one.
    fn all_have_issuers_ahead(
        &self,
        cluster: &ClusterState,
        root: &RootRecord,
        now: UnixTime,
    ) -> Result<(), Explanation> {
        let ends = self.shared.truth.read(|view| ends_of_managers(view, cluster));
        let ends = ends.map_err(|error| error.explain())?;
        // One that was signed ahead ends later than one that begins now would; none outlives the root.
        let needed = now.plus(cluster.settings.issuer_lifetime);
        let needed = needed.min(root.not_after.minus(cluster.settings.leaf_lifetime));
        let lacking = ends.iter().filter(|(_, end)| end.is_none_or(|end| end < needed));
        let lacking: Vec<String> = lacking.map(|(manager, _)| manager.to_string()).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Explanation::new(code::UNAVAILABLE, "not every manager has an issuer signed ahead")
            .halves("one for each manager", format!("none for {}", lacking.join(", ")))
            .hint("a running manager has its own signed within a minute: start them, then try again"))
    }

    /// Takes the root's key back into the cluster, sealed under a fresh key, and has issuers signed.
    async fn bring_root_online(&self, passphrase: &Passphrase, pem: &str) -> Result<Value, Explanation> {
        let _one_at_a_time = self.root.busy.lock().await;
        let (cluster, record) = self.signing().map_err(|error| error.explain())?;
        let root = record.key_hash;
        let key = blocking(|| PrivateKey::from_pem_with(pem, Some(passphrase)));
        let key = key.map_err(|error| error.explain())?;
        if key.public_key().hash() != root {
            let told = Explanation::new(code::KEY_MISMATCH, "the file does not hold the active root's key");
            return Err(told.halves(root.short(), key.public_key().hash().short()));
        }
        if !record.is_offline() {
            return Err(certus_ca::Refusal::RootOnline { root }.explain());
        }
        let document = key.to_pkcs8_der().map_err(|error| error.explain())?;
        let cluster_key = self.place.cluster_key().map_err(|error| error.explain())?;
        let data_key = SealingKey::generate().map_err(|error| error.explain())?;
        let key_sealed = data_key.seal(Purpose::RootKey, &cluster.name, &root, &document);
        let key_sealed = key_sealed.map_err(|error| error.explain())?;
        // First what opens it. If the log refuses, it is destroyed as that of any offline root.
        let written = self.place.write_root_data_key(&cluster.name, &cluster_key, &root, &data_key);
        written.map_err(|error| error.explain())?;
        let by = self.shared.identity.clone();
        let brought = self.shared.truth.propose(&Command::BringRootOnline { root, key_sealed, by }).await;
        brought.map_err(|error| error.explain())?;
        warn!(root = %root.short(), "the root's key was brought back");
        let now = self.shared.truth.now();
        if let Err(failed) = self.keep_issuers_at(now).await {
            // It is tried again until it works; the root is back all the same.
            warn!(explanation = %failed.explain(), "the next issuer could not be signed yet");
        }
        self.root.back.notify_waiters();
        self.outlook_for_people(now)
    }

    fn outlook_for_people(&self, now: UnixTime) -> Result<Value, Explanation> {
        let outlook = self.look_at_issuers(now).map_err(|error| error.explain())?;
        Ok(json!({
            "root": outlook.root.to_string(),
            "offline": outlook.offline,
            "issuing_until": outlook.issuing_until.to_string(),
        }))
    }

    fn look_at_issuers(&self, now: UnixTime) -> Result<Outlook, HouseError> {
        let outlook = self.shared.truth.read(|view| Outlook::read(view, now));
        outlook.map_err(HouseError::Unanswered)?.ok_or(HouseError::NoIdentity)
    }
}

/// Says what is new, and what is still so a day later.
fn say(outlook: &Outlook, said: Option<(Alert, UnixTime)>, now: UnixTime) -> Option<(Alert, UnixTime)> {
    let Some((alert, told)) = outlook.alert.zip(outlook.explain_alert(now)) else {
        if said.is_some() {
            info!(issuing_until = %outlook.issuing_until, "issuers are signed ahead again");
        }
        return None;
    };
    if said.is_some_and(|(before, at)| before == alert && now.secs_since(at) < SAY_AGAIN) {
        return said;
    }
    match alert {
        Alert::Soon => warn!(explanation = %told, "bring the root online soon"),
        Alert::Urgent | Alert::Over => error!(explanation = %told, "bring the root online now"),
    }
    Some((alert, now))
}

/// `POST /root/export` with a passphrase, `/root/take-offline` with the root's key hash, and
/// `/root/bring-online` with a passphrase, a line's end, and the key in PEM.
pub(crate) fn router(house: House) -> Router {
    Router::new()
        .route("/root/export", post(export))
        .route("/root/take-offline", post(take_offline))
        .route("/root/bring-online", post(bring_online))
        .with_state(Arc::new(house))
}

async fn export(State(house): State<Arc<House>>, body: Bytes) -> Response {
    answer(secret_text(body).and_then(|passphrase| house.export_root(&Passphrase::new(passphrase))))
}

async fn take_offline(State(house): State<Arc<House>>, root: String) -> Response {
    let malformed = |_| Explanation::new(code::BAD_MESSAGE, "this is no key hash");
    match root.trim().parse().map_err(malformed) {
        Ok(root) => answer(house.take_root_offline(root).await),
        Err(why) => answer(Err(why)),
    }
}

async fn bring_online(State(house): State<Arc<House>>, body: Bytes) -> Response {
    let text = match secret_text(body) {
        Ok(text) => text,
        Err(why) => return answer(Err(why)),
    };
    let Some((passphrase, pem)) = text.split_once('\n') else {
        return answer(Err(Explanation::new(code::BAD_MESSAGE, "a passphrase and a key are needed")));
    };
    let passphrase = Passphrase::from_file_text(passphrase);
    answer(house.bring_root_online(&passphrase, pem).await)
}

#[cfg(test)]
mod tests;
