//! Three or five managers on simulated disks, clocks and a network, and everything that befalls them.
//!
//! One seed decides it all; time is simulated, so that a minute takes a moment. After every step
//! each replica is held against the one history of the group; when the troubles end, the group must
//! work again within [`LIVENESS`].

mod bus;
mod clients;
mod history;
mod host;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use certus_server::replica::{Machine as _, Member, MemberId, seed_elections};
use tokio::time::{Instant, sleep};

use self::bus::{Bus, Subjected, Weather};
use self::clients::{Asked, Change, Reading};
use self::history::{History, Roll};
use self::host::{Host, true_time};
use super::journal::I8_MARK;
use super::{Broken, Invariant, Violation, Workload};
use crate::chance::Chance;

pub use self::bus::Traffic;

/// Runs one seed to its end, with three managers if it is odd and five if it is even.
pub fn run<W: Workload>(seed: u64, clients: W) -> Result<Outcome, Violation> {
    let violation = |(invariant, what): Broken| Violation { invariant, seed, what };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| violation((Invariant::Alive, error.to_string())))?;
    let mut chance = Chance::new(seed);
    seed_elections(Some(chance.draw()));
    let ran = runtime.block_on(async {
        let mut group = Group::new(seed, chance, clients);
        let lived = group.live().await;
        let at = group.begin.elapsed().as_millis();
        lived.map(|()| group.outcome()).map_err(|(invariant, what)| {
            (invariant, format!("after {at} ms, {} steps: {what}", group.outcome.steps))
        })
    });
    drop(runtime);
    seed_elections(None);
    ran.map_err(violation)
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Managers at the beginning.
    pub managers: u64,
    /// Steps taken.
    pub steps: u64,
    /// Commands that clients were told the outcome of.
    pub answered: u64,
    /// Of these, how many were refused.
    pub refused: u64,
    /// Commands that clients were told nothing certain of.
    pub unknown: u64,
    /// Of these, how many were found applied in the end.
    pub unknown_applied: u64,
    /// Commands that surely were not proposed.
    pub denied: u64,
    /// Of these, for the leader's clock.
    pub clock_off: u64,
    /// Linearizable reads.
    pub reads: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Machines that lost power.
    pub power_cuts: u64,
    /// Replicas that stopped because their disk failed, filled up or lost power.
    pub stopped: u64,
    /// Processes that did not come up for the same reasons.
    pub stillborn: u64,
    /// Times the network was cut in parts.
    pub cuts: u64,
    /// Times a disk became slow.
    pub slow_disks: u64,
    /// Times a clock jumped.
    pub clock_jumps: u64,
    /// Managers added and made voters.
    pub added: u64,
    /// Managers removed.
    pub removed: u64,
    /// Changes of members whose outcome stayed open.
    pub changes_open: u64,
    /// The last term: how often there was an election.
    pub terms: u64,
    /// Rows of the history.
    pub places: u64,
    /// Milliseconds from the end of all troubles to the first proposal that was committed.
    pub recovered_ms: u64,
    /// Milliseconds from there until every member had everything.
    pub level_ms: u64,
    /// What passed through the network.
    pub traffic: Traffic,
    /// A hash of everything applied, of the disks' operations and of what passed.
    pub digest: u64,
}

/// A group of managers, and their clients.
struct Group<W: Workload> {
    chance: Chance,
    clients: W,
    begin: Instant,
    bus: Bus<W::Machine>,
    hosts: BTreeMap<MemberId, Host<W::Machine>>,
    history: History,
    roll: Roll,
    asked: Vec<Asked>,
    readings: Vec<Reading>,
    change: Option<Change>,
    next_id: u64,
    next_member: MemberId,
    /// Commands whose clients know nothing certain.
    open: Vec<u64>,
    outcome: Outcome,
}

impl<W: Workload> Group<W> {
    fn new(seed: u64, mut chance: Chance, clients: W) -> Group<W> {
        let managers = if seed.is_multiple_of(2) { 5 } else { 3 };
        Group {
            bus: Bus::new(chance.draw()),
            chance,
            clients,
            begin: Instant::now(),
            hosts: BTreeMap::new(),
            history: History::new(),
            roll: Roll::default(),
            asked: Vec::new(),
            readings: Vec::new(),
            change: None,
            next_id: 0,
            next_member: 1,
            open: Vec::new(),
            outcome: Outcome { seed, managers, ..Outcome::default() },
        }
    }

    async fn live(&mut self) -> Result<(), Broken> {
        self.found().await?;
        for _ in 0..STEPS {
            self.outcome.steps += 1;
            self.trouble().await?;
            self.ask();
            self.step().await?;
        }
        self.recover().await
    }

    /// A moment passes; then everything is looked at.
    async fn step(&mut self) -> Result<(), Broken> {
        sleep(Duration::from_millis(1 + self.chance.below(STEP_MS))).await;
        self.look()?;
        self.hear().await
    }

    /// The first manager founds the cluster, the others join.
    async fn found(&mut self) -> Result<(), Broken> {
        let alive = |what: String| (Invariant::Alive, what);
        let first = self.new_host();
        self.start(first).await?;
        let founder = self.replica(first)?;
        founder.initialize().await.map_err(|error| alive(error.to_string()))?;
        self.roll.voters.insert(first);
        self.propose(first);
        while self.history.places() == 0 {
            self.step().await?;
        }
        for _ in 1..self.outcome.managers {
            let id = self.new_host();
            self.start(id).await?;
            let member = Member::at(format!("m{id}"));
            founder.add_learner(id, member).await.map_err(|error| alive(error.to_string()))?;
            founder.promote(id).await.map_err(|error| alive(error.to_string()))?;
            self.roll.voters.insert(id);
            self.step().await?;
        }
        Ok(())
    }

    /// Every replica is held against the history.
    fn look(&mut self) -> Result<(), Broken> {
        let at_most = true_time(self.begin) + CLOCKS_OFF_S;
        let ids: Vec<MemberId> = self.hosts.keys().copied().collect();
        for id in ids {
            let Some(host) = self.hosts.get_mut(&id) else { continue };
            let Some(replica) = host.replica.clone() else { continue };
            let found = match replica.failure() {
                Some(failure) if failure.what.contains(I8_MARK) => {
                    return Err((Invariant::I8, failure.what.to_string()));
                }
                // No disk excuses a panic of the engine.
                Some(failure) if PANICS.iter().any(|panic| failure.what.contains(panic)) => {
                    return Err((Invariant::Alive, format!("manager {id}: {}", failure.what)));
                }
                Some(failure) => Err((Invariant::Alive, failure.what.to_string())),
                None => look_at(host, &replica, &mut self.history, at_most, &self.clients),
            };
            match found {
                Ok(()) => {}
                // A disk that fails stops its replica, and may not be readable until then.
                Err((Invariant::Alive, _)) if host.doomed.is_some() => {
                    self.outcome.stopped += 1;
                    host.crash(&self.bus, false);
                }
                Err((invariant, what)) => return Err((invariant, format!("manager {id}: {what}"))),
            }
        }
        Ok(())
    }

    /// The troubles end. The group must work again in time, and everybody have everything.
    async fn recover(&mut self) -> Result<(), Broken> {
        self.bus.heal();
        self.bus.speed_up();
        self.bus.set_weather(Weather { delay_ms: bus::FAIR_DELAY_MS, ..Weather::default() });
        for host in self.hosts.values_mut() {
            host.set_skew(0);
            host.mend();
        }
        // Whose disk failed before it was mended is stopped by now, or after the next operation.
        let down: Vec<MemberId> = self
            .hosts
            .values()
            .filter(|host| !host.retired && host.replica.as_ref().is_none_or(|r| r.failure().is_some()))
            .map(|host| host.id)
            .collect();
        for id in down {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.crash(&self.bus, false);
            }
            self.start(id).await?;
        }
        let healed = Instant::now();
        let answered = self.outcome.answered;
        while self.outcome.answered == answered {
            if healed.elapsed() > LIVENESS {
                let stands: Vec<_> = self.running().map(|(_, replica)| replica.status()).collect();
                let what = format!(
                    "no proposal was committed {} s after the last fault: {stands:?}",
                    LIVENESS.as_secs()
                );
                return Err((Invariant::Alive, what));
            }
            if let Some(leader) = self.leader() {
                self.propose(leader);
            }
            self.step().await?;
        }
        self.outcome.recovered_ms = u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX);
        // What was asked before ends by itself, if only by its limit.
        while !(self.asked.is_empty() && self.readings.is_empty() && self.change.is_none()) {
            self.step().await?;
        }
        self.level().await
    }

    /// Everybody who is a member has everything that was told.
    async fn level(&mut self) -> Result<(), Broken> {
        let begin = Instant::now();
        loop {
            self.step().await?;
            if let Some(members) = self.agreed().await {
                let voters = members.iter().filter(|(_, voter)| *voter).map(|(id, _)| *id).collect();
                self.roll.check(&voters, &members.iter().map(|(id, _)| *id).collect())?;
                break;
            }
            if begin.elapsed() > LIVENESS {
                let stands: Vec<_> = self.running().map(|(_, replica)| replica.status()).collect();
                let what = format!("not everybody has everything after {} s: {stands:?}", LIVENESS.as_secs());
                return Err((Invariant::Alive, what));
            }
        }
        self.outcome.level_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.look()?;
        for host in self.hosts.values_mut() {
            host.looked_at = 0;
        }
        self.look()?;
        self.history.check_all_told()
    }

    /// The members and whether they vote, once all of them have what the leader has.
    async fn agreed(&self) -> Option<Vec<(MemberId, bool)>> {
        let leader = self.hosts.get(&self.leader()?)?.replica.clone()?;
        let index = leader.read_index().await.ok()?;
        if !leader.wait_applied(index, LIVENESS).await {
            return None;
        }
        let members = leader.members();
        for member in &members {
            let replica = self.hosts.get(&member.id)?.replica.clone()?;
            if replica.status().applied < Some(index) {
                return None;
            }
        }
        Some(members.iter().map(|member| (member.id, member.voter)).collect())
    }

    fn new_host(&mut self) -> MemberId {
        let id = self.next_member;
        self.next_member += 1;
        let host = Host::new(id, self.chance.draw(), self.begin);
        host.set_skew(self.small_skew());
        self.hosts.insert(id, host);
        id
    }

    /// Starts a manager's process. It may fail to come up where its disk fails.
    async fn start(&mut self, id: MemberId) -> Result<(), Broken> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        match host.start(&self.bus).await {
            Ok(()) => Ok(()),
            Err(_) if host.doomed.is_some() => {
                self.outcome.stillborn += 1;
                host.crash(&self.bus, false);
                Ok(())
            }
            Err(what) => Err((Invariant::Alive, format!("manager {id} does not come up: {what}"))),
        }
    }

    fn running(&self) -> impl Iterator<Item = (MemberId, &Subjected<W::Machine>)> {
        self.hosts.values().filter_map(|host| Some((host.id, host.replica.as_ref()?)))
    }

    fn replica(&self, id: MemberId) -> Result<Subjected<W::Machine>, Broken> {
        let running = self.running().find(|(found, _)| *found == id);
        running.map(|(_, replica)| replica.clone()).ok_or((Invariant::Alive, format!("manager {id} is down")))
    }

    /// Whoever says that it leads; the one with the newest term, if two do.
    fn leader(&self) -> Option<MemberId> {
        let leading = self.running().map(|(id, replica)| (replica.status(), id));
        let leading = leading.filter(|(status, _)| status.leading).map(|(status, id)| (status.term, id));
        leading.max().map(|(_, id)| id)
    }

    fn outcome(&mut self) -> Outcome {
        let mut outcome = self.outcome.clone();
        outcome.unknown_applied = self.open.iter().filter(|id| self.history.has(**id)).count() as u64;
        outcome.terms = self.running().map(|(_, replica)| replica.status().term).max().unwrap_or(0);
        outcome.places = self.history.places();
        outcome.traffic = self.bus.traffic();
        let Traffic { sent, lost, doubled, .. } = outcome.traffic;
        let disks = self.hosts.values().map(Host::counts);
        let numbers = disks.flat_map(|(operations, syncs)| [operations, syncs]).chain([sent, lost, doubled]);
        outcome.digest = numbers.fold(self.history.digest(), |hash, number| {
            (hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(7)
        });
        outcome
    }
}

fn look_at<W: Workload>(
    host: &mut Host<W::Machine>,
    replica: &Subjected<W::Machine>,
    history: &mut History,
    at_most: i64,
    clients: &W,
) -> Result<(), Broken> {
    let unreadable = |what: String| (Invariant::Alive, what);
    let view = replica.view().map_err(|error| unreadable(error.to_string()))?;
    let places = history.look(host.id, &view, host.looked_at, at_most, clients)?;
    if places > host.looked_at {
        history.compare(host.id, &view, places)?;
    }
    host.looked_at = places;
    let found = W::Machine::revision(&view).map_err(|fault| unreadable(fault.to_string()))?;
    let known = *replica.revision().borrow();
    match found == known {
        true => Ok(()),
        false => Err((Invariant::I5, format!("watchers know revision {known}, the state has {found}"))),
    }
}

/// Within so long after the last fault a proposal must be committed, and again so long later every
/// member have everything. Two elections at the most, three seconds each, and a snapshot.
pub const LIVENESS: Duration = Duration::from_secs(10);

/// What a replica says whose engine panicked.
const PANICS: [&str; 2] = ["panicked", "the Raft core ended"];
/// Steps of a run, before it heals.
const STEPS: u64 = 120;
/// The longest step; half of it on the average. A run takes about half a minute of its own time.
const STEP_MS: u64 = 500;
/// How far the time of an entry may be ahead: 60 s by the rule, what clocks differ anyway, and a
/// second for each rounding.
const CLOCKS_OFF_S: i64 = 60 + trouble::SMALL_SKEW_S + 2;
