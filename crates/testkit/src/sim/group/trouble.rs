//! What befalls a group: crashes, disks, the network, clocks, and changes of its members.

use certus_server::replica::MemberId;

use super::super::{Broken, Invariant, Workload};
use super::Group;
use super::bus::{FAIR_DELAY_MS, Weather};
use super::clients::Ask;
use super::host::Doom;

impl<W: Workload> Group<W> {
    /// One thing happens, or nothing.
    pub(super) async fn trouble(&mut self) -> Result<(), Broken> {
        match self.chance.below(40) {
            0..=2 => self.crash_one(),
            3 => self.doom_one(),
            4..=7 => self.start_one().await?,
            8 => self.cut(),
            9 | 10 => self.bus.heal(),
            11 => self.weather(),
            12 => self.slow_disk(),
            13 => self.clock_jumps(),
            14 => self.clocks_are_set(),
            15..=17 => self.change_members().await?,
            18 if self.chance.once_in(4) => self.lights_out(),
            19 => self.retire_one().await?,
            _ => {}
        }
        Ok(())
    }

    /// A process or a machine dies; seldom so many that no majority is left.
    fn crash_one(&mut self) {
        let running = self.running().count() as u64;
        let majority = self.roll.voters.len() as u64 / 2 + 1;
        if running <= majority && !self.chance.once_in(4) {
            return;
        }
        let leader = self.leader().filter(|_| self.chance.once_in(2));
        let Some(id) = leader.or_else(|| self.anybody()) else { return };
        let power = self.chance.once_in(2);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.crash(&self.bus, power);
            let counter = if power { &mut self.outcome.power_cuts } else { &mut self.outcome.kills };
            *counter += 1;
        }
    }

    fn doom_one(&mut self) {
        let Some(id) = self.anybody() else { return };
        let doom = self.some_doom();
        let operations = self.chance.below(OPERATIONS);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.doom(doom, operations);
        }
    }

    fn some_doom(&mut self) -> Doom {
        match self.chance.below(4) {
            0 | 1 => Doom::PowerCut,
            2 => Doom::DiskError,
            _ => Doom::DiskFull,
        }
    }

    async fn start_one(&mut self) -> Result<(), Broken> {
        let down: Vec<MemberId> = self
            .hosts
            .values()
            .filter(|host| host.replica.is_none() && !host.retired)
            .map(|host| host.id)
            .collect();
        let place = usize::try_from(self.chance.below(down.len() as u64)).unwrap_or(0);
        let Some(id) = down.get(place).copied() else { return Ok(()) };
        if self.chance.once_in(5) {
            // Its disk fails again while it comes up.
            let doom = self.some_doom();
            let operations = self.chance.below(OPERATIONS / 4);
            if let Some(host) = self.hosts.get_mut(&id) {
                host.doom(doom, operations);
            }
        }
        self.start(id).await
    }

    /// Two sides, or the leader alone, or one way of one line.
    fn cut(&mut self) {
        self.outcome.cuts += 1;
        let ids: Vec<MemberId> = self.hosts.keys().copied().collect();
        match self.chance.below(3) {
            0 => {
                let sides: Vec<bool> = ids.iter().map(|_| self.chance.once_in(2)).collect();
                self.cut_between(&ids, |place| sides[place]);
            }
            1 => {
                let Some(alone) = self.leader() else { return };
                self.cut_between(&ids, |place| ids[place] == alone);
            }
            _ => {
                let (Some(from), Some(to)) = (self.anybody(), self.anybody()) else { return };
                self.bus.cut(from, to);
            }
        }
    }

    fn cut_between(&self, ids: &[MemberId], side: impl Fn(usize) -> bool) {
        for (from, a) in ids.iter().enumerate() {
            for (to, b) in ids.iter().enumerate() {
                if side(from) != side(to) {
                    self.bus.cut(*a, *b);
                }
            }
        }
    }

    fn weather(&mut self) {
        let weather = match self.chance.below(3) {
            0 => Weather { delay_ms: FAIR_DELAY_MS, ..Weather::default() },
            1 => Weather { loss_in: 6, double_in: 6, delay_ms: 60 },
            _ => Weather { loss_in: 0, double_in: 3, delay_ms: 120 },
        };
        self.bus.set_weather(weather);
    }

    fn slow_disk(&mut self) {
        if self.chance.once_in(2) {
            self.bus.speed_up();
            return;
        }
        let Some(id) = self.anybody() else { return };
        self.outcome.slow_disks += 1;
        self.bus.slow_down(id, 50 + self.chance.below(800));
    }

    /// At most one clock is far off at a time: against two that agree, nobody could say who is right.
    /// For the same reason no jump is like those before it, which others may still believe in.
    fn clock_jumps(&mut self) {
        self.clocks_are_set();
        let leader = self.leader().filter(|_| self.chance.once_in(2));
        let Some(id) = leader.or_else(|| self.anybody()) else { return };
        let by = 200 + 300 * (self.outcome.clock_jumps % 16) + self.chance.below(100);
        let by = by.cast_signed();
        let back = self.chance.once_in(2);
        if let Some(host) = self.hosts.get(&id) {
            host.set_skew(host.skew() + if back { -by } else { by });
            self.outcome.clock_jumps += 1;
        }
    }

    fn clocks_are_set(&mut self) {
        let skews: Vec<i64> = (0..self.hosts.len()).map(|_| self.small_skew()).collect();
        for (host, skew) in self.hosts.values().zip(skews) {
            host.set_skew(skew);
        }
    }

    pub(super) fn small_skew(&mut self) -> i64 {
        self.chance.below(2 * SMALL_SKEW_S.unsigned_abs() + 1).cast_signed() - SMALL_SKEW_S
    }

    async fn change_members(&mut self) -> Result<(), Broken> {
        if self.change.is_some() || self.leader().is_none() {
            return Ok(());
        }
        let voters: Vec<MemberId> = self.roll.voters.iter().copied().collect();
        if voters.len() > MEMBERS_MIN && self.chance.once_in(2) {
            let place = usize::try_from(self.chance.below(voters.len() as u64)).unwrap_or(0);
            self.change(Ask::Remove(voters[place]));
        } else if voters.len() < MEMBERS_MAX {
            let id = self.new_host();
            self.start(id).await?;
            self.change(Ask::Add(id));
        }
        Ok(())
    }

    /// Somebody turns off a manager that was removed. Until then it goes on as if it were not.
    async fn retire_one(&mut self) -> Result<(), Broken> {
        let retired = self.hosts.values_mut().find(|host| host.retired && host.replica.is_some());
        if let Some(host) = retired
            && let Err(what) = host.stop(&self.bus).await
            && host.doomed.is_none()
        {
            return Err((Invariant::Alive, format!("manager {} does not stop: {what}", host.id)));
        }
        Ok(())
    }

    /// The power of everybody goes at once.
    fn lights_out(&mut self) {
        for host in self.hosts.values_mut().filter(|host| host.replica.is_some()) {
            host.crash(&self.bus, true);
            self.outcome.power_cuts += 1;
        }
    }
}

/// Seconds by which clocks that are right may be off.
pub(super) const SMALL_SKEW_S: i64 = 20;
/// A disk does some hundred operations in the seconds that a run takes.
const OPERATIONS: u64 = 800;
/// Fewer voters are left only by what stays open.
const MEMBERS_MIN: usize = 3;
const MEMBERS_MAX: usize = 6;
