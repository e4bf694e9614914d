//! What the managers know together: who they are, and who is connected to which of them.
//!
//! A manager that does not answer is left out: its nodes count as not connected, which errs towards
//! naming somebody as away.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use certus_ca::ManagerRecord;
use certus_ca::store::Fault;
use certus_pki::{SpiffeId, code};
use certus_wire::v1;
use tonic::{Response, Status};

use crate::peers::{Known, ManagerClient, with_causes};
use crate::replica::MemberId;
use crate::shared::Shared;
use crate::storage::StateView;
use crate::truth::Unanswered;

/// Nodes that hold a watch stream at any manager.
pub(crate) type Connected = BTreeMap<SpiffeId, v1::Presence>;

/// Another manager answers such a question from memory, or is not there.
const ASK: Duration = Duration::from_secs(2);
/// What a client is told whose certificate was refused for that (the alert `certificate_revoked`).
const REVOKED_WORDS: &str = "it was revoked";
/// Leaves counted for one answer.
const LEAVES_MAX: u64 = 1_000_000;
/// Leaves looked up at a time.
const LEAVES_AT_ONCE: usize = 1_000;

impl Shared {
    /// The managers on record that were not removed, by number.
    pub(crate) fn present_managers(&self) -> Result<Vec<ManagerRecord>, Unanswered> {
        self.truth.read(present)
    }

    /// The managers, and where each stands in the log as far as this one can tell.
    pub(crate) fn managers_on_record(&self) -> Result<Vec<v1::Manager>, Unanswered> {
        let present = self.present_managers()?;
        let members = self.truth.replica.members();
        let last = self.truth.replica.status().last_log;
        let manager = |record: ManagerRecord| {
            let member = members.iter().find(|member| member.id == record.member);
            let matched = member.and_then(|member| member.matched);
            v1::Manager {
                member: record.member,
                node: record.node.to_string(),
                address: record.address,
                voter: member.is_some_and(|member| member.voter),
                leader: member.is_some_and(|member| member.leader),
                joined_at: record.joined_at.secs(),
                behind: last.zip(matched).map(|(last, matched)| last.saturating_sub(matched)),
            }
        };
        Ok(present.into_iter().map(manager).collect())
    }

    /// Tells the lines and the watchers who the managers are and where.
    pub(crate) fn know_managers(&self) -> Result<(), Unanswered> {
        let present = self.present_managers()?;
        if let Some(lines) = self.truth.lines() {
            let known = |record: &ManagerRecord| {
                let known = Known { node: Some(record.node.clone()), address: record.address.clone() };
                (record.member, known)
            };
            lines.know(present.iter().map(known).collect());
        }
        let addresses: Vec<String> = present.into_iter().map(|record| record.address).collect();
        self.managers.send_if_modified(|known| {
            let moved = *known != addresses && !addresses.is_empty();
            if moved {
                *known = addresses;
            }
            moved
        });
        Ok(())
    }

    /// How many live leaves of active nodes are of issuers of `node`.
    pub(crate) fn leaves_of(&self, node: &SpiffeId) -> Result<u64, Unanswered> {
        let now = self.truth.now();
        self.truth.scan(|view| {
            let mut count = 0;
            for issuer in certus_ca::manager(view, node)?.into_iter().flat_map(|manager| manager.issuers) {
                let mut after = None;
                loop {
                    let page =
                        certus_ca::newest_of_issuer(view, &issuer, now, after.as_ref(), LEAVES_AT_ONCE)?;
                    let others = page.items.iter().filter(|leaf| *leaf != node);
                    count += others.count() as u64;
                    after = page.next;
                    if after.is_none() || count >= LEAVES_MAX {
                        break;
                    }
                }
            }
            Ok(count)
        })
    }

    /// Whether every manager holds what opens the root's key.
    pub(crate) fn root_is_online(&self) -> Result<bool, Unanswered> {
        let roots = self.truth.read(|view| certus_ca::roots(view))?;
        Ok(roots.iter().any(|root| root.active && !root.key_sealed.is_empty()))
    }

    /// Everybody who holds a watch stream at any manager that answers.
    pub(crate) async fn connected_everywhere(&self) -> Connected {
        let here = self.presence.connected().into_iter().map(crate::api::presence);
        let elsewhere = self
            .ask_others(|mut client| async move { client.connected(v1::ConnectedRequest {}).await }, ASK)
            .await;
        let elsewhere = elsewhere.into_iter().flat_map(|list| list.connected);
        let mut connected = Connected::new();
        for presence in here.chain(elsewhere) {
            let Ok(node) = presence.node.parse::<SpiffeId>() else { continue };
            // A node that moved is at two for a moment: where it came last.
            let newer = connected.get(&node).is_none_or(|known| known.since <= presence.since);
            if newer {
                connected.insert(node, presence);
            }
        }
        connected
    }

    /// How far the nodes of the other managers are.
    pub(crate) async fn enforcement_elsewhere(
        &self,
        request: &v1::EnforcementRequest,
    ) -> Vec<v1::EnforcementReply> {
        let patience = Duration::from_millis(request.wait_ms.into()) * 2 + ASK;
        let request = *request;
        self.ask_others(|mut client| async move { client.enforcement_here(request).await }, patience).await
    }

    /// Whether another manager says that this one was removed. One that has been taken out of the log's
    /// membership does not hear of it there.
    pub(crate) async fn is_removed(&self) -> bool {
        let Some(lines) = self.truth.lines() else { return false };
        for manager in self.present_managers().unwrap_or_default() {
            if manager.node == self.identity {
                continue;
            }
            let Some(mut client) = lines.to(manager.member, Some(&manager.address)) else { continue };
            let asked = client.read_index(v1::ReadIndexRequest {});
            if let Ok(Err(status)) = tokio::time::timeout(ASK, asked).await
                && says_revoked(&status)
            {
                return true;
            }
        }
        false
    }

    /// Asks every other manager the same; those that do not answer in time are left out.
    async fn ask_others<T, F>(&self, ask: impl Fn(ManagerClient) -> F, within: Duration) -> Vec<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Some(lines) = self.truth.lines() else { return Vec::new() };
        let others: Vec<(MemberId, ManagerClient)> = self
            .present_managers()
            .unwrap_or_default()
            .into_iter()
            .filter(|record| record.node != self.identity)
            .filter_map(|record| Some((record.member, lines.to(record.member, Some(&record.address))?)))
            .collect();
        let asked = others.into_iter().map(|(member, client)| {
            let answer = tokio::time::timeout(within, ask(client));
            async move {
                match answer.await {
                    Ok(Ok(answer)) => Some(answer.into_inner()),
                    Ok(Err(status)) => {
                        tracing::debug!(member, %status, "another manager does not answer");
                        None
                    }
                    Err(_) => None,
                }
            }
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }
}

/// Whether another manager says that the certificate of this one was revoked.
pub(crate) fn says_revoked(status: &Status) -> bool {
    let revoked = certus_wire::status::from_status(status).code == code::REVOKED;
    revoked || with_causes(status).contains(REVOKED_WORDS)
}

/// The managers on record that were not removed.
pub(crate) fn present(view: &StateView) -> Result<Vec<ManagerRecord>, Fault> {
    let all = certus_ca::managers(view)?;
    Ok(all.into_iter().filter(|manager| manager.removed_at.is_none()).collect())
}
