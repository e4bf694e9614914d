//! Tokens: made and voided. What they admit is decided in `plan`.

use certus_pki::defaults::{TOKEN_TTL_MAX, TOKEN_USES_MAX};
use certus_pki::{Grant, Role, San, SpiffeId, TokenId};

use super::Draft;
use crate::command::{CreateToken, Reply};
use crate::plan::Stop;
use crate::read;
use crate::record::{Event, NodeRecord, TokenRecord};
use crate::refusal::Refusal;
use crate::store::Table;
use crate::tables::key;

pub(super) fn create(draft: &mut Draft<'_>, create: &CreateToken) -> Result<Reply, Stop> {
    let asker = draft.asker(&create.by)?;
    may_hand_on(&asker, create)?;
    within_bounds(create)?;
    if !read::root(draft.view, &create.root)?.is_some_and(|root| root.active) {
        return Err(Refusal::RootNotActive { came: create.root }.into());
    }
    let token = TokenId::from(create.secret_hash);
    if read::token(draft.view, &token)?.is_some() {
        return Err(Refusal::AlreadyExists { what: format!("token {token}") }.into());
    }
    let expires_at = draft.at.plus(create.ttl);
    let record = TokenRecord {
        token,
        secret_hash: create.secret_hash,
        root: create.root,
        role: create.role,
        id: create.id.clone(),
        sans: create.sans.clone(),
        created_at: draft.at,
        expires_at,
        uses: create.uses,
        used: 0,
        revoked_at: None,
        by: create.by.clone(),
        replace: create.replace,
        grant: create.grant,
    };
    draft.put(Table::Tokens, key::token(&token), &record);
    draft.audit(Some(create.by.clone()), created(create), None);
    Ok(Reply::TokenCreated { token, expires_at })
}

pub(super) fn created(create: &CreateToken) -> Event {
    Event::TokenCreated {
        token: TokenId::from(create.secret_hash),
        role: create.role,
        id: create.id.clone(),
        grant: create.grant,
        uses: create.uses,
    }
}

/// A manager speaks for the cluster; anyone else hands on at most what it has, and a manager's place is
/// worth everything.
fn may_hand_on(asker: &NodeRecord, create: &CreateToken) -> Result<(), Refusal> {
    let worth = if create.role == Role::Manager { Grant::Admin } else { create.grant };
    if asker.identity.role == Role::Manager || worth <= asker.grant {
        return Ok(());
    }
    let why = format!("the token is worth the grant {worth}, its own is {}", asker.grant);
    Err(Refusal::NotPermitted { by: create.by.clone(), why })
}

fn within_bounds(create: &CreateToken) -> Result<(), Refusal> {
    let refuse = |what: &str, allowed: String, came: String| Err(Refusal::out_of_bounds(what, allowed, came));
    if create.ttl > TOKEN_TTL_MAX || create.ttl.secs() == 0 {
        return refuse("token lifetime", format!("at most {TOKEN_TTL_MAX}"), create.ttl.to_string());
    }
    // An id belongs to one key, so a token that names one admits one.
    let uses_max = if create.id.is_some() { 1 } else { TOKEN_USES_MAX };
    if create.uses == 0 || create.uses > uses_max {
        return refuse("number of uses", format!("1 to {uses_max}"), create.uses.to_string());
    }
    if create.sans.len() > San::PER_CERTIFICATE_MAX {
        let allowed = format!("at most {}", San::PER_CERTIFICATE_MAX);
        return refuse("number of names", allowed, create.sans.len().to_string());
    }
    if create.replace && create.id.is_none() {
        return refuse("replacing", "a token that names an id".into(), "a token without one".into());
    }
    if create.grant != Grant::None && create.role != Role::Client {
        return refuse("grant", format!("none for a {}", create.role), create.grant.to_string());
    }
    Ok(())
}

pub(super) fn revoke(draft: &mut Draft<'_>, token: &TokenId, by: &SpiffeId) -> Result<Reply, Stop> {
    draft.asker(by)?;
    let unknown = || Refusal::UnknownToken { token: *token };
    let record = read::token(draft.view, token)?.ok_or_else(unknown)?;
    if let Some(at) = record.revoked_at {
        return Err(Refusal::TokenRevoked { token: *token, at }.into());
    }
    let record = TokenRecord { revoked_at: Some(draft.at), ..record };
    draft.put(Table::Tokens, key::token(token), &record);
    draft.audit(Some(by.clone()), Event::TokenRevoked { token: *token }, None);
    Ok(Reply::TokenRevoked { token: *token })
}
