//! Taking the root's key out of the cluster, and bringing it back.
//!
//! What is kept here is sealed, and never opened: whose key it is, the manager that proposes it has seen.

use certus_pki::{Sha256, SpiffeId};

use super::Draft;
use crate::command::Reply;
use crate::limits::ROOT_KEY_SEALED_MAX;
use crate::plan::Stop;
use crate::read;
use crate::record::{Event, RootRecord};
use crate::refusal::Refusal;
use crate::store::Table;

pub(super) fn take_offline(draft: &mut Draft<'_>, root: &Sha256, by: &SpiffeId) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let record = active(draft, root)?;
    if record.is_offline() {
        return Err(Refusal::RootOffline { root: *root }.into());
    }
    put(draft, RootRecord { key_sealed: Vec::new(), ..record });
    draft.audit(Some(by.clone()), Event::RootTakenOffline { root: *root }, None);
    Ok(Reply::RootTakenOffline { root: *root })
}

pub(super) fn bring_online(
    draft: &mut Draft<'_>,
    root: &Sha256,
    key_sealed: &[u8],
    by: &SpiffeId,
) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let record = active(draft, root)?;
    if !record.is_offline() {
        return Err(Refusal::RootOnline { root: *root }.into());
    }
    if key_sealed.is_empty() || key_sealed.len() > ROOT_KEY_SEALED_MAX {
        let (what, allowed) = ("sealed root key", format!("1 to {ROOT_KEY_SEALED_MAX} bytes"));
        return Err(Refusal::out_of_bounds(what, allowed, key_sealed.len()).into());
    }
    put(draft, RootRecord { key_sealed: key_sealed.to_vec(), ..record });
    draft.audit(Some(by.clone()), Event::RootBroughtOnline { root: *root }, None);
    Ok(Reply::RootBroughtOnline { root: *root })
}

fn active(draft: &Draft<'_>, root: &Sha256) -> Result<RootRecord, Stop> {
    let record = read::root(draft.view, root)?.filter(|record| record.active);
    Ok(record.ok_or(Refusal::RootNotActive { came: *root })?)
}

fn put(draft: &mut Draft<'_>, record: RootRecord) {
    draft.put(Table::Roots, record.key_hash.as_bytes().to_vec(), &record);
}
