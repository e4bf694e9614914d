//! The log's membership follows the record of managers: the one that leads lets newcomers learn and vote,
//! takes out who was removed, and sees to it that what a removed manager signed is renewed elsewhere.
//!
//! It decides nothing: who is a manager was decided when the record was written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use certus_ca::{Command, ManagerRecord};
use certus_pki::{Directive, SpiffeId, UnixTime};
use tracing::{info, warn};

use crate::fleet::Connected;
use crate::replica::{Member, MemberId};
use crate::shared::Shared;
use crate::truth::Unanswered;

/// How often the record and the membership are compared: reading a table of at most nine rows.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a step that failed, before it is tried again: another manager may be restarting.
const AGAIN: Duration = Duration::from_secs(2);
/// How long leaves of a manager that left in peace are still accepted, so that nodes renew before.
const STRIKE_AFTER_SECS: i64 = 60;
/// Who comes to lead lets a moment pass before it lets members in: one may be on its way out.
const SETTLED: Duration = Duration::from_secs(3);
/// Nodes told to renew in one turn; the next turn tells the next.
const DIRECTED_AT_ONCE: usize = 200;
/// A node that was told and has not renewed is told again after this.
const DIRECT_AGAIN: Duration = Duration::from_secs(30);

/// Keeps the membership while this manager leads.
pub(crate) struct Members<'s> {
    shared: &'s Shared,
    /// Steps that failed, and when.
    failed: BTreeMap<MemberId, Instant>,
    /// Nodes that were told to renew, and when.
    directed: BTreeMap<SpiffeId, Instant>,
    /// Since when this manager leads.
    leads_since: Option<Instant>,
}

impl<'s> Members<'s> {
    pub(crate) fn new(shared: &'s Shared) -> Members<'s> {
        Members { shared, failed: BTreeMap::new(), directed: BTreeMap::new(), leads_since: None }
    }

    /// Compares and mends, for ever.
    pub(crate) async fn keep(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(failed) = self.shared.know_managers() {
                warn!(error = %failed, "the managers on record cannot be read");
                continue;
            }
            if !self.shared.truth.replica.status().leading {
                self.failed.clear();
                self.directed.clear();
                self.leads_since = None;
                continue;
            }
            if let Err(failed) = self.turn().await {
                warn!(error = %failed, "the managers on record could not be followed");
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Unanswered> {
        let all = self.shared.truth.read(|view| certus_ca::managers(view))?;
        if all.is_empty() {
            return Ok(());
        }
        self.failed.retain(|_, since| since.elapsed() < AGAIN);
        let (present, removed): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|manager| manager.removed_at.is_none());
        self.follow(&present).await;
        for manager in removed {
            self.renew_elsewhere(&manager).await?;
        }
        Ok(())
    }

    /// One step at a time: each is a change of the log's membership, and waits for the one before.
    async fn follow(&mut self, present: &[ManagerRecord]) {
        let replica = &self.shared.truth.replica;
        for member in replica.members() {
            let known = present.iter().any(|manager| manager.member == member.id);
            if !known && !self.failed.contains_key(&member.id) {
                let done = replica.remove(member.id).await;
                self.done(member.id, "out of the membership", done.map_err(|error| error.to_string()));
                return;
            }
        }
        let settled = self.leads_since.get_or_insert_with(Instant::now).elapsed() > SETTLED;
        for manager in present {
            let leaves = self.shared.retiring(|retiring| retiring.contains(&manager.member));
            if leaves || self.failed.contains_key(&manager.member) {
                continue;
            }
            let (id, address) = (manager.member, &manager.address);
            let member = replica.members().into_iter().find(|member| member.id == id);
            let (what, done) = match member {
                None if !settled => continue,
                None => ("in the membership", replica.add_learner(id, Member::at(address.clone())).await),
                Some(member) if member.address != *address => {
                    ("reached elsewhere", replica.set_address(id, address.clone()).await)
                }
                Some(member) if manager.voter && !member.voter => ("voting", replica.promote(id).await),
                Some(_) => continue,
            };
            self.done(id, what, done.map_err(|error| error.to_string()));
            return;
        }
    }

    fn done(&mut self, member: MemberId, what: &str, done: Result<(), String>) {
        match done {
            Ok(()) => info!(member, "a manager is now {what}"),
            Err(why) => {
                self.failed.insert(member, Instant::now());
                warn!(member, why, "a manager is not {what} yet");
            }
        }
    }

    /// What a manager signed before it was removed: its nodes are told to renew, and its issuers are
    /// struck when none is left, or after a while.
    async fn renew_elsewhere(&mut self, manager: &ManagerRecord) -> Result<(), Unanswered> {
        let Some(removed_at) = manager.removed_at else { return Ok(()) };
        let now = self.shared.truth.now();
        let mut left = false;
        for issuer in &manager.issuers {
            let record = self.shared.truth.read(|view| certus_ca::issuer(view, issuer))?;
            let Some(record) = record.filter(|record| record.not_after >= now) else { continue };
            let page = self.shared.truth.scan(|view| {
                certus_ca::newest_of_issuer(view, &record.key_hash, now, None, DIRECTED_AT_ONCE)
            })?;
            left |= !page.items.is_empty() || page.next.is_some();
            if page.items.is_empty() {
                continue;
            }
            let connected = self.shared.connected_everywhere().await;
            for node in page.items {
                self.direct(node, &connected).await?;
            }
        }
        if !left || now.secs_since(removed_at) >= STRIKE_AFTER_SECS {
            self.strike(manager, now).await?;
        }
        Ok(())
    }

    async fn direct(&mut self, node: SpiffeId, connected: &Connected) -> Result<(), Unanswered> {
        if self.directed.get(&node).is_some_and(|since| since.elapsed() < DIRECT_AGAIN) {
            return Ok(());
        }
        // One that is away asks for itself when it comes back: its certificate is due or refused.
        if connected.contains_key(&node) {
            let directive = Directive::RenewNow;
            let by = self.shared.identity.clone();
            self.shared.truth.propose(&Command::Direct { node: node.clone(), directive, by }).await?;
            info!(%node, "a node renews elsewhere: the manager that signed its certificate is gone");
            self.directed.insert(node, Instant::now());
        }
        Ok(())
    }

    async fn strike(&self, manager: &ManagerRecord, now: UnixTime) -> Result<(), Unanswered> {
        let active = self.shared.truth.read(|view| {
            let mut active = false;
            for issuer in &manager.issuers {
                active |= certus_ca::issuer(view, issuer)?.is_some_and(|issuer| issuer.active);
            }
            Ok(active)
        })?;
        if active {
            let by = self.shared.identity.clone();
            let strike = Command::StrikeIssuers { member: manager.member, by };
            self.shared.truth.propose(&strike).await?;
            info!(node = %manager.node, at = %now, "the issuers of a removed manager are struck");
        }
        Ok(())
    }
}
