//! The group's clients: they ask whoever they find, and remember what they were told.

use std::time::Duration;

use certus_server::replica::{Member, MemberId, MembershipError, ProposeError, limits};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::super::journal::{self, Receipt};
use super::super::{Broken, Invariant, Workload};
use super::Group;

/// A command on its way.
pub(super) struct Asked {
    id: u64,
    /// What was told to anybody before it was asked.
    floor: u64,
    begin: Instant,
    task: JoinHandle<Result<Receipt, ProposeError>>,
}

/// A read on its way: it gives the number of places seen, if it gives anything.
pub(super) struct Reading {
    member: MemberId,
    floor: u64,
    task: JoinHandle<Option<u64>>,
}

/// A change of the members on its way.
pub(super) struct Change {
    pub(super) what: Ask,
    task: JoinHandle<Result<(), MembershipError>>,
}

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Add(MemberId),
    Remove(MemberId),
}

impl<W: Workload> Group<W> {
    /// Some clients ask: mostly one that says it leads, sometimes anybody.
    pub(super) fn ask(&mut self) {
        for _ in 0..self.chance.below(CLIENTS) {
            let leader = self.some_leader().filter(|_| !self.chance.once_in(4));
            if let Some(id) = leader.or_else(|| self.anybody()) {
                self.propose(id);
            }
        }
        for _ in 0..self.chance.below(READERS) {
            self.read();
        }
    }

    /// A client asks this manager for something.
    pub(super) fn propose(&mut self, id: MemberId) {
        let Some(host) = self.hosts.get(&id) else { return };
        let Some(replica) = host.replica.clone() else { return };
        self.next_id += 1;
        let command = self.clients.command(&mut self.chance, self.history.known(), host.now());
        let command = (self.next_id, command);
        self.asked.push(Asked {
            id: self.next_id,
            floor: self.history.floor(),
            begin: Instant::now(),
            task: tokio::spawn(async move { replica.propose(&command).await }),
        });
    }

    /// A client reads at any manager, after asking the leader how far it must have come.
    fn read(&mut self) {
        let asked = self.some_leader().or_else(|| self.anybody());
        let (Some(asked), Some(member)) = (asked, self.anybody()) else { return };
        let (Ok(asked), Ok(reader)) = (self.replica(asked), self.replica(member)) else { return };
        let task = tokio::spawn(async move {
            let index = asked.read_index().await.ok()?;
            if !reader.wait_applied(index, READ).await {
                return None;
            }
            journal::next_place(&reader.view().ok()?).ok()
        });
        self.readings.push(Reading { member, floor: self.history.floor(), task });
    }

    pub(super) fn anybody(&mut self) -> Option<MemberId> {
        let running = self.running().map(|(id, _)| id).collect();
        self.one_of(running)
    }

    /// One that says it leads, whether it still does or not.
    fn some_leader(&mut self) -> Option<MemberId> {
        let leading = self.running().filter(|(_, replica)| replica.status().leading);
        let leading = leading.map(|(id, _)| id).collect();
        self.one_of(leading)
    }

    fn one_of(&mut self, ids: Vec<MemberId>) -> Option<MemberId> {
        let place = usize::try_from(self.chance.below(ids.len() as u64)).ok()?;
        ids.get(place).copied()
    }

    /// What clients were told since the last step.
    pub(super) async fn hear(&mut self) -> Result<(), Broken> {
        for asked in std::mem::take(&mut self.asked) {
            if !asked.task.is_finished() {
                let waited = asked.begin.elapsed();
                if waited > limits::PROPOSE + SLACK {
                    let what = format!("command {} has no outcome after {} ms", asked.id, waited.as_millis());
                    return Err((Invariant::Alive, what));
                }
                self.asked.push(asked);
                continue;
            }
            let Asked { id, floor, task, .. } = asked;
            match task.await {
                Ok(Ok(receipt)) if receipt.id != id => {
                    let what = format!("the client of command {id} was told {receipt:?}");
                    return Err((Invariant::I4, what));
                }
                Ok(Ok(receipt)) => {
                    self.outcome.answered += 1;
                    self.outcome.refused += u64::from(!receipt.accepted);
                    self.history.told(receipt, floor)?;
                }
                Ok(Err(error @ (ProposeError::NotLeading { .. } | ProposeError::ClockOff { .. }))) => {
                    self.outcome.denied += 1;
                    self.outcome.clock_off += u64::from(matches!(error, ProposeError::ClockOff { .. }));
                    self.history.denied(id, error)?;
                }
                Ok(Err(_)) | Err(_) => {
                    self.outcome.unknown += 1;
                    self.open.push(id);
                }
            }
        }
        for reading in std::mem::take(&mut self.readings) {
            if !reading.task.is_finished() {
                self.readings.push(reading);
                continue;
            }
            if let Ok(Some(places)) = reading.task.await {
                self.outcome.reads += 1;
                self.history.read(reading.member, places, reading.floor)?;
            }
        }
        self.hear_of_change().await;
        Ok(())
    }

    /// Asks the leader for a change of the members.
    pub(super) fn change(&mut self, what: Ask) {
        let Some(leader) = self.leader().and_then(|id| self.replica(id).ok()) else { return };
        let task = tokio::spawn(async move {
            let changed = timeout(CHANGE, async {
                match what {
                    Ask::Add(id) => {
                        leader.add_learner(id, Member::at(format!("m{id}"))).await?;
                        leader.promote(id).await
                    }
                    Ask::Remove(id) => leader.remove(id).await,
                }
            });
            changed.await.unwrap_or(Err(MembershipError::Unknown))
        });
        self.change = Some(Change { what, task });
    }

    async fn hear_of_change(&mut self) {
        let Some(Change { what, task }) = self.change.take_if(|change| change.task.is_finished()) else {
            return;
        };
        let told = task.await.unwrap_or(Err(MembershipError::Unknown));
        match (what, told) {
            (Ask::Add(id), Ok(())) => {
                self.outcome.added += 1;
                self.roll.voters.insert(id);
            }
            (Ask::Remove(id), Ok(())) => {
                self.outcome.removed += 1;
                self.roll.voters.remove(&id);
                self.roll.gone.insert(id);
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.retired = true;
                }
            }
            (
                Ask::Remove(_),
                Err(
                    MembershipError::NotLeading { .. }
                    | MembershipError::InProgress
                    | MembershipError::NotAMember { .. }
                    | MembershipError::LastVoter { .. },
                ),
            ) => {}
            (Ask::Add(id) | Ask::Remove(id), Err(_)) => {
                self.outcome.changes_open += 1;
                self.roll.open.insert(id);
            }
        }
    }
}

/// One more than the clients that ask in a step, at the most.
const CLIENTS: u64 = 4;
/// One more than the readers in a step, at the most.
const READERS: u64 = 4;
/// What the simulation itself adds to the limit of a proposal: a step.
const SLACK: Duration = Duration::from_secs(1);
/// What a reader waits for its own replica.
const READ: Duration = Duration::from_secs(5);
/// What an operator waits for a change; then it stays open.
const CHANGE: Duration = Duration::from_secs(25);
