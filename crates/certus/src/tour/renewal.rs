//! The scene of a renewal under a connection that stays.

use certus_pki::{Explanation, Purpose, Sha256};

use super::not_observed;
use super::story::{Story, asked, until};
use crate::dev::stage::WEB_1;

/// web-1 is told to take a new key; the connection opened before goes on.
pub(super) async fn with_a_new_key(story: &mut Story) -> Result<String, Explanation> {
    let Some(node) = story.stage.first() else {
        return Err(not_observed("web-1 does not run", "a node", "none"));
    };
    let credentials = node.credentials();
    let key = || credentials.current().identity().map(|identity| identity.leaf().key_hash());
    // Its own calls to the manager are dialed anew under the new key, as they should.
    let live = || {
        let connections = node.registry().connections();
        let inbound = connections.iter().filter(|connection| connection.purpose == Purpose::Client);
        inbound.map(|connection| connection.id).collect::<Vec<_>>()
    };
    let (old_key, before) = (key(), live());
    if before.is_empty() {
        return Err(not_observed("no connection lives on web-1", "the one opened before", "none"));
    }
    story.stage.managers.rotate(WEB_1).await?;
    until(|| key() != old_key).await.ok_or_else(|| {
        not_observed("web-1 did not take a new key", "another key", old_key.map_or_else(String::new, short))
    })?;
    let recorded = story.newest_key(WEB_1).await?;
    if key().map(|key| key.as_bytes().to_vec()) != Some(recorded) {
        return Err(not_observed("the manager has another key on record", "web-1's new one", "another"));
    }
    let after = live();
    if let Some(gone) = before.iter().find(|connection| !after.contains(connection)) {
        return Err(not_observed("a connection was disturbed", format!("{gone:?} alive"), "gone"));
    }
    let Some(tcp) = story.live.as_mut() else {
        return Err(not_observed("no connection was opened before", "one", "none"));
    };
    let (status, _) = asked(tcp).await?;
    if status != 200 {
        return Err(not_observed("the old connection is of no use", 200, status));
    }
    let (old, new) = (old_key.map_or_else(String::new, short), key().map_or_else(String::new, short));
    let noun = if before.len() == 1 { "connection" } else { "connections" };
    Ok(format!("{} live {noun} undisturbed, key {old} is now {new}", before.len()))
}

fn short(key: Sha256) -> String {
    key.short()
}
