//! The network between simulated managers: bytes that are late, lost, doubled or out of order.
//!
//! What is late overtakes or is overtaken. A message finds whoever runs at its target when it
//! arrives; what a dead process sends or would have answered reaches nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certus_server::replica::{AnswerError, Member, MemberId, Outgoing, PeerError, Peers, Replica};
use tokio::time::sleep;

use super::super::{Journaled, Subject};
use crate::chance::Chance;

pub(super) type Subjected<M> = Replica<Journaled<M>>;

/// The network. Clones are handles to the same one.
pub(super) struct Bus<M: Subject>(Arc<Mutex<Switch<M>>>);

struct Switch<M: Subject> {
    chance: Chance,
    /// The process of each machine that runs, from its start on.
    lives: BTreeMap<MemberId, u64>,
    /// Those that answer.
    present: BTreeMap<MemberId, Present<M>>,
    weather: Weather,
    /// Who does not reach whom.
    cut: BTreeSet<(MemberId, MemberId)>,
    /// Milliseconds by which a member's disk makes it late.
    slow: BTreeMap<MemberId, u64>,
    counted: Traffic,
}

struct Present<M: Subject> {
    life: u64,
    replica: Subjected<M>,
}

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// One message in so many is lost; 0 for none.
    pub(super) loss_in: u64,
    /// One request in so many comes twice; 0 for none.
    pub(super) double_in: u64,
    /// The longest delay of one way, in milliseconds.
    pub(super) delay_ms: u64,
}

/// What passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent, one way.
    pub sent: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Requests that came twice.
    pub doubled: u64,
    /// Snapshots that were begun.
    pub snapshots: u64,
    /// Of these, received and installed.
    pub installed: u64,
}

/// What becomes of one way of a message.
struct Way {
    delay: Duration,
    lost: bool,
}

impl<M: Subject> Bus<M> {
    pub(super) fn new(seed: u64) -> Bus<M> {
        Bus(Arc::new(Mutex::new(Switch {
            chance: Chance::new(seed),
            lives: BTreeMap::new(),
            present: BTreeMap::new(),
            weather: Weather { delay_ms: FAIR_DELAY_MS, ..Weather::default() },
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            counted: Traffic::default(),
        })))
    }

    /// The end of the network of a process that is being started.
    pub(super) fn wire(&self, own: MemberId, life: u64) -> Wire<M> {
        self.lock().lives.insert(own, life);
        Wire { own, life, bus: self.clone() }
    }

    pub(super) fn enter(&self, member: MemberId, life: u64, replica: Subjected<M>) {
        self.lock().present.insert(member, Present { life, replica });
    }

    pub(super) fn leave(&self, member: MemberId) {
        let mut switch = self.lock();
        switch.lives.remove(&member);
        switch.present.remove(&member);
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    pub(super) fn cut(&self, from: MemberId, to: MemberId) {
        self.lock().cut.insert((from, to));
    }

    pub(super) fn heal(&self) {
        self.lock().cut.clear();
    }

    pub(super) fn slow_down(&self, member: MemberId, by_ms: u64) {
        self.lock().slow.insert(member, by_ms);
    }

    pub(super) fn speed_up(&self) {
        self.lock().slow.clear();
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.lock().counted
    }

    fn lock(&self) -> MutexGuard<'_, Switch<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Subject> Clone for Bus<M> {
    fn clone(&self) -> Self {
        Bus(self.0.clone())
    }
}

impl<M: Subject> Switch<M> {
    fn way(&mut self, from: MemberId, to: MemberId) -> Way {
        let Weather { loss_in, delay_ms, .. } = self.weather;
        // One in ten is far later than the others: it is overtaken.
        let spread = if self.chance.once_in(10) { delay_ms * 6 } else { delay_ms };
        let late = self.slow.get(&from).copied().unwrap_or(0);
        let delay = Duration::from_millis(1 + self.chance.below(spread) + self.chance.below(late + 1));
        let lost = (loss_in > 0 && self.chance.once_in(loss_in)) || self.cut.contains(&(from, to));
        self.counted.sent += 1;
        self.counted.lost += u64::from(lost);
        Way { delay, lost }
    }
}

/// One member's end of the network, while it lives.
#[derive(Clone)]
pub(super) struct Wire<M: Subject> {
    own: MemberId,
    life: u64,
    bus: Bus<M>,
}

impl<M: Subject> Wire<M> {
    /// Whether the process at this end still runs.
    fn alive(&self) -> bool {
        self.bus.lock().lives.get(&self.own) == Some(&self.life)
    }

    /// One way. What is lost leaves its sender waiting.
    async fn travel(&self, from: MemberId, to: MemberId) {
        let Way { delay, lost } = self.bus.lock().way(from, to);
        if lost || !self.alive() {
            pending::<()>().await;
        }
        sleep(delay).await;
    }

    /// Whoever runs at the target now.
    fn target(&self, target: MemberId) -> Result<(u64, Subjected<M>), PeerError> {
        let switch = self.bus.lock();
        let present = switch.present.get(&target);
        present
            .map(|present| (present.life, present.replica.clone()))
            .ok_or_else(|| PeerError::Unreachable("nobody listens".to_owned()))
    }

    /// What is answered by then comes from a process that is alive; a dead one's answer never comes.
    async fn check_life(&self, target: MemberId, life: u64) {
        let current = self.bus.lock().present.get(&target).map(|present| present.life);
        if current != Some(life) {
            pending::<()>().await;
        }
    }

    async fn deliver(&self, target: MemberId, message: &[u8]) -> Result<Vec<u8>, PeerError> {
        self.travel(self.own, target).await;
        let (life, replica) = self.target(target)?;
        let answer = replica.answer(message).await.map_err(refused);
        self.check_life(target, life).await;
        self.travel(target, self.own).await;
        answer
    }
}

impl<M: Subject> Peers for Wire<M> {
    async fn call(&self, target: MemberId, _member: &Member, message: Vec<u8>) -> Result<Vec<u8>, PeerError> {
        let doubled = {
            let mut switch = self.bus.lock();
            let double_in = switch.weather.double_in;
            let doubled = double_in > 0 && switch.chance.once_in(double_in);
            switch.counted.doubled += u64::from(doubled);
            doubled
        };
        if doubled {
            let (wire, message) = (self.clone(), message.clone());
            tokio::spawn(async move {
                // A copy that nobody waits for, up to a second later.
                let late = wire.bus.lock().chance.below(1_000);
                sleep(Duration::from_millis(late)).await;
                drop(tokio::time::timeout(COPY, wire.deliver(target, &message)).await);
            });
        }
        self.deliver(target, &message).await
    }

    async fn send_snapshot(
        &self,
        target: MemberId,
        _member: &Member,
        head: Vec<u8>,
        mut outgoing: Outgoing,
    ) -> Result<Vec<u8>, PeerError> {
        self.bus.lock().counted.snapshots += 1;
        let broken = || PeerError::Unreachable("the stream broke".to_owned());
        let (life, replica) = self.target(target)?;
        let mut receiving = replica.receive_snapshot(&head).map_err(refused)?;
        while let Some(chunk) =
            outgoing.next_chunk().map_err(|error| PeerError::Refused(error.to_string()))?
        {
            // A stream resends what is lost; it breaks when a process or the line is gone.
            let Way { delay, lost } = self.bus.lock().way(self.own, target);
            let (now, _) = self.target(target)?;
            if lost || now != life || !self.alive() {
                return Err(broken());
            }
            sleep(delay).await;
            receiving.accept(&chunk).map_err(refused)?;
        }
        let answer = receiving.finish().await.map_err(refused)?;
        let (now, _) = self.target(target)?;
        let Way { delay, lost } = self.bus.lock().way(target, self.own);
        if lost || now != life {
            return Err(broken());
        }
        self.bus.lock().counted.installed += 1;
        sleep(delay).await;
        Ok(answer)
    }
}

fn refused(error: AnswerError) -> PeerError {
    PeerError::Refused(error.to_string())
}

/// One way on a network that works.
pub(super) const FAIR_DELAY_MS: u64 = 20;
/// A copy whose answer is lost is forgotten.
const COPY: Duration = Duration::from_secs(5);
