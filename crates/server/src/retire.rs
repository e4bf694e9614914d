//! Taking a manager out: first of the log's membership, then off the record.
//!
//! In this order, because whoever is off the record is refused everywhere at once: in a cluster of two,
//! the one that stays could then not even write down that it is alone. The one that leads does it; where
//! that is the one that goes, the others are asked to.

use std::time::{Duration, Instant};

use certus_ca::{Command, Reply};
use certus_pki::SpiffeId;
use certus_pki::explain::Explain;
use certus_wire::v1;
use tonic::Code;
use tracing::info;

use crate::fleet::says_revoked;
use crate::replica::{MembershipError, ProposeError};
use crate::shared::Shared;
use crate::truth::Unanswered;

/// A manager that was taken out.
pub(crate) struct Retired {
    /// The revision that says so to watchers.
    pub(crate) revision: u64,
    /// Certificates that were revoked.
    pub(crate) certs: u32,
}

/// What one try came to.
enum Tried {
    Done(Retired),
    Refused(Unanswered),
    /// Somebody else leads, or nobody does yet.
    Elsewhere(String),
}

/// A caller waits ten seconds for its answer; a membership takes two entries and maybe an election.
const WITHIN: Duration = Duration::from_secs(9);
/// Between two tries: an election takes longer.
const AGAIN: Duration = Duration::from_millis(200);
/// A follower hears what is committed with the next heartbeat.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

impl Shared {
    /// Takes `node` out of the managers, whoever leads.
    pub(crate) async fn retire(
        &self,
        node: &SpiffeId,
        compromised: bool,
        by: &SpiffeId,
    ) -> Result<Retired, Unanswered> {
        let until = Instant::now() + WITHIN;
        loop {
            let tried = match self.truth.replica.status().leading {
                true => self.retire_here(node, compromised, by).await,
                false => self.retire_elsewhere(node, compromised, by).await,
            };
            match tried {
                Tried::Done(retired) => return Ok(retired),
                Tried::Refused(refused) => return Err(refused),
                Tried::Elsewhere(why) if Instant::now() >= until => {
                    return Err(Unanswered::Elsewhere { why });
                }
                Tried::Elsewhere(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// The same where this manager leads; refused where it does not.
    pub(crate) async fn retire_if_leading(
        &self,
        request: &v1::RetireRequest,
    ) -> Result<Option<v1::RetireReply>, Unanswered> {
        let (Ok(node), Ok(by)) = (request.node.parse(), request.by.parse()) else {
            return Err(Unanswered::Mismatched { asked: "identity" });
        };
        if !self.truth.replica.status().leading {
            return Ok(None);
        }
        match self.retire_here(&node, request.compromised, &by).await {
            Tried::Done(Retired { revision, certs }) => {
                let index = self.truth.replica.status().applied.unwrap_or_default();
                Ok(Some(v1::RetireReply { revision, certs, index }))
            }
            Tried::Refused(refused) => Err(refused),
            Tried::Elsewhere(_) => Ok(None),
        }
    }

    async fn retire_here(&self, node: &SpiffeId, compromised: bool, by: &SpiffeId) -> Tried {
        let command = Command::RemoveManager { node: node.clone(), compromised, by: by.clone() };
        let now = self.truth.now();
        // Asked before anything moves: what the rules refuse must not cost a voter.
        let decided = self.truth.read(|view| Ok(certus_ca::decide(view, now, &command)?.reply));
        let member = match decided {
            Ok(Ok(Reply::ManagerRemoved { member, .. })) => member,
            Ok(Ok(_)) => return Tried::Refused(Unanswered::Mismatched { asked: "removal" }),
            Ok(Err(refusal)) => return Tried::Refused(Unanswered::Refused(refusal)),
            Err(error) => return Tried::Refused(error),
        };
        if let Some(member) = member {
            self.retiring(|retiring| retiring.insert(member));
            let out = self.out_of_membership(member).await;
            if let Err(why) = out {
                self.retiring(|retiring| retiring.remove(&member));
                return Tried::Elsewhere(why);
            }
        }
        let proposed = self.truth.propose(&command).await;
        if let Some(member) = member {
            self.retiring(|retiring| retiring.remove(&member));
        }
        match proposed {
            Ok(Reply::ManagerRemoved { certs, revision, .. }) => {
                info!(%node, compromised, %by, "manager removed");
                Tried::Done(Retired { revision, certs: u32::try_from(certs.len()).unwrap_or(u32::MAX) })
            }
            Ok(_) => Tried::Refused(Unanswered::Mismatched { asked: "removal" }),
            Err(Unanswered::Proposal(error @ ProposeError::NotLeading { .. })) => {
                Tried::Elsewhere(error.to_string())
            }
            Err(error) => Tried::Refused(error),
        }
    }

    async fn out_of_membership(&self, member: u64) -> Result<(), String> {
        let replica = &self.truth.replica;
        let Some(known) = replica.members().into_iter().find(|known| known.id == member) else {
            // One that took itself out may lead for a moment more; what it proposes then is lost.
            return match member == replica.status().member {
                true => Err("this manager is out of the membership already".to_owned()),
                false => Ok(()),
            };
        };
        match replica.remove(member).await {
            // Who takes itself out leads no more: the rest is for the others to do.
            Ok(()) if known.leader => Err("this manager took itself out of the membership".to_owned()),
            Ok(()) | Err(MembershipError::NotAMember { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn retire_elsewhere(&self, node: &SpiffeId, compromised: bool, by: &SpiffeId) -> Tried {
        let request = v1::RetireRequest { node: node.to_string(), compromised, by: by.to_string() };
        let mut why = "no manager leads".to_owned();
        let present = match self.present_managers() {
            Ok(present) => present,
            Err(error) => return Tried::Refused(error),
        };
        let others = present.into_iter().filter(|manager| manager.node != self.identity);
        for manager in others {
            let line = self.truth.lines().and_then(|lines| lines.to(manager.member, Some(&manager.address)));
            let Some(mut client) = line else { continue };
            match tokio::time::timeout(WITHIN, client.retire(request.clone())).await {
                Ok(Ok(reply)) => {
                    let reply = reply.into_inner();
                    // One that was taken out itself does not hear of it, and need not.
                    if node != &self.identity {
                        self.truth.replica.wait_applied(reply.index, APPLIED_WITHIN).await;
                    }
                    return Tried::Done(Retired { revision: reply.revision, certs: reply.certs });
                }
                // Its own removal cuts the line on which the answer would come, and then it is known by that.
                Ok(Err(status)) if node == &self.identity && says_revoked(&status) => {
                    let revision = *self.truth.replica.revision().borrow();
                    return Tried::Done(Retired { revision, certs: 0 });
                }
                Ok(Err(status)) => {
                    let refused = certus_wire::status::from_status(&status);
                    let cut = node == &self.identity && status.code() == Code::Cancelled;
                    let elsewhere =
                        matches!(status.code(), Code::Unavailable | Code::Unknown | Code::FailedPrecondition);
                    if !cut && !elsewhere {
                        return Tried::Refused(Unanswered::ByAnother(refused));
                    }
                    why = refused.explain().message;
                }
                Err(_) => why = format!("{} did not answer", manager.node),
            }
        }
        Tried::Elsewhere(why)
    }
}
