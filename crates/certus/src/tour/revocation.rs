//! The scene of a revocation: what web-2 could do before, and cannot any more.

use std::time::{Duration, Instant};

use certus_node::Api;
use certus_pki::{Csr, Explain, Explanation, KeyType, PrivateKey, Reason, code};
use certus_tls::{Client, Credentials};
use certus_wire::v1;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::not_observed;
use super::story::{Story, WITHIN, asked, to_web_1, until};
use crate::dev::stage::WEB_2;
use crate::verbs::duration;

/// web-2 is revoked: its live connection is cut; its handshake, resumption and renewal are refused.
pub(super) async fn of_the_caller(story: &mut Story) -> Result<String, Explanation> {
    let credentials = story.posing_as(WEB_2).await?;
    let resuming = to_web_1(credentials.clone())?;
    resumes(story, &resuming).await?;
    let Some(live) = story.live.take() else {
        return Err(not_observed("no connection was opened before", "one", "none"));
    };
    let ended = watch_end(live);
    // Held by somebody who enforces nothing: only web-1 can end it.
    let held = story.dial(&to_web_1(credentials.clone())?).await.map_err(|error| error.explain())?;

    let cut_before = story.cut();
    let start = Instant::now();
    let revoked = story.stage.managers.revoke(WEB_2, Reason::KeyCompromise).await?;
    let epoch = revoked.epoch.unwrap_or_default();
    let at =
        ended.await.ok().flatten().ok_or_else(|| {
            not_observed("web-2's live connection was not cut", "its end", "it still lives")
        })?;
    let cut_after = u64::try_from(at.duration_since(start).as_micros()).unwrap_or(u64::MAX);
    let enforcement = story.stage.managers.enforcement(epoch, Duration::from_secs(5)).await?;
    if !enforcement.pending.is_empty() {
        return Err(not_observed("not every node enforces it", "all", enforcement.pending.join(", ")));
    }
    // Not web-2's own end of it: web-1 must have acted.
    let by_web_1 = || story.cut() > cut_before;
    until(by_web_1).await.ok_or_else(|| not_observed("web-1 cut no connection", "one at least", "none"))?;
    drop(held);

    let fresh = to_web_1(credentials.clone())?;
    story.refusal(&fresh, "certificate_revoked", "revoked").await?;
    story.refusal(&resuming, "certificate_revoked", "revoked").await?;
    renewal_is_refused(story, credentials).await?;
    let cut_after = duration(cut_after);
    Ok(format!("live connection cut after {cut_after}, handshake, resumption and renewal refused"))
}

/// Before: the second connection resumes the session of the first.
async fn resumes(story: &Story, client: &Client) -> Result<(), Explanation> {
    for expected in [false, true] {
        let mut tls = story.dial(client).await.map_err(|error| error.explain())?;
        // The tickets come with the first bytes of an answer.
        asked(&mut tls).await?;
        if tls.resumed() != expected {
            let word = |resumed| if resumed { "a resumed session" } else { "a full handshake" };
            return Err(not_observed("sessions are not as expected", word(expected), word(tls.resumed())));
        }
    }
    Ok(())
}

/// Notes when a connection ends.
fn watch_end(mut live: TcpStream) -> JoinHandle<Option<Instant>> {
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(WITHIN, live.read_to_end(&mut rest)).await;
        end.ok().map(|_| Instant::now())
    })
}

/// The codes by which a manager turns a revoked node away: at its door, or at the call.
const TURNED_AWAY: [certus_pki::Code; 3] = [code::REVOKED, code::RENEWAL_BARRED, code::PEER_REJECTED_US];

async fn renewal_is_refused(story: &Story, credentials: Credentials) -> Result<(), Explanation> {
    let key = PrivateKey::generate(KeyType::P256).map_err(|error| error.explain())?;
    let csr = Csr::make(&key, WEB_2).map_err(|error| error.explain())?;
    let api = Api::new(vec![story.stage.manager.address().to_string()], credentials);
    let renewed = api.node(async |mut node| node.renew(v1::RenewRequest { csr }).await).await;
    match renewed.map_err(|error| error.explain()) {
        Err(told) if TURNED_AWAY.contains(&told.code) => Ok(()),
        Err(told) => Err(not_observed("the renewal failed otherwise", code::RENEWAL_BARRED, told)),
        Ok(_) => Err(not_observed("web-2 renewed", code::RENEWAL_BARRED, "a certificate")),
    }
}
