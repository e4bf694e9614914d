//! Three replicas over a bus in this process: elections, failover, learners, changes of members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex as StdMutex;

use tokio::time::{Instant, sleep};

use super::*;

/// Who is there, and who hears nobody.
#[derive(Clone, Default)]
struct Bus(Arc<StdMutex<Switchboard>>);

#[derive(Default)]
struct Switchboard {
    replicas: BTreeMap<MemberId, Replica<Ledger>>,
    cut: BTreeSet<MemberId>,
    /// Whether a member was sent a snapshot.
    snapshots: BTreeSet<MemberId>,
    /// How many were sent, and whether they are kept on their way.
    sent: usize,
    slow: bool,
}

/// One member's end of the bus.
#[derive(Clone)]
struct Wire {
    own: MemberId,
    bus: Bus,
}

impl Wire {
    fn reach(&self, target: MemberId, member: &Member) -> Result<Replica<Ledger>, PeerError> {
        let board = self.bus.0.lock().unwrap();
        if board.cut.contains(&self.own) || board.cut.contains(&target) {
            return Err(PeerError::Unreachable("cut off".to_owned()));
        }
        assert!(member.address.is_empty() || member.address.starts_with(&format!("m{target}")));
        let found = board.replicas.get(&target).cloned();
        found.ok_or_else(|| PeerError::Unreachable("not running".to_owned()))
    }
}

fn refused(error: AnswerError) -> PeerError {
    PeerError::Refused(error.to_string())
}

impl Peers for Wire {
    async fn call(&self, target: MemberId, member: &Member, message: Vec<u8>) -> Result<Vec<u8>, PeerError> {
        assert_eq!(sender_of(&message).unwrap(), self.own);
        self.reach(target, member)?.answer(&message).await.map_err(refused)
    }

    async fn send_snapshot(
        &self,
        target: MemberId,
        member: &Member,
        head: Vec<u8>,
        mut outgoing: Outgoing,
    ) -> Result<Vec<u8>, PeerError> {
        let replica = self.reach(target, member)?;
        {
            let mut board = self.bus.0.lock().unwrap();
            board.snapshots.insert(target);
            board.sent += 1;
        }
        while self.bus.0.lock().unwrap().slow {
            sleep(Duration::from_millis(5)).await;
        }
        let mut receiving = replica.receive_snapshot(&head).map_err(refused)?;
        while let Some(chunk) = outgoing.next_chunk().map_err(|e| PeerError::Refused(e.to_string()))? {
            receiving.accept(&chunk).map_err(refused)?;
        }
        receiving.finish().await.map_err(refused)
    }
}

const CADENCE: Cadence =
    Cadence { commands: 8, barrier: 7, snapshot: 9, keep: 4, purge: 3, hold: Duration::from_secs(5) };

struct Group {
    bus: Bus,
    times: BTreeMap<MemberId, Time>,
    storages: BTreeMap<MemberId, tempfile::TempDir>,
}

impl Group {
    fn new() -> Group {
        Group { bus: Bus::default(), times: BTreeMap::new(), storages: BTreeMap::new() }
    }

    /// Opens a member, where it left off if it was there before.
    async fn start(&mut self, id: MemberId) -> Replica<Ledger> {
        let directory = self.storages.entry(id).or_insert_with(|| tempfile::tempdir().unwrap());
        let storage = Storage::in_directory(&directory.path().join("manager")).unwrap();
        let time = self.times.entry(id).or_insert_with(|| Time::at(1_000));
        let wire = Wire { own: id, bus: self.bus.clone() };
        let replica = Replica::join_group(storage, time.clock(), CADENCE, id, wire).await.unwrap();
        self.bus.0.lock().unwrap().replicas.insert(id, replica.clone());
        replica
    }

    async fn stop(&self, id: MemberId) {
        let replica = self.bus.0.lock().unwrap().replicas.remove(&id).unwrap();
        replica.shutdown().await.unwrap();
    }

    fn cut(&self, id: MemberId, cut: bool) {
        let mut board = self.bus.0.lock().unwrap();
        let _ = if cut { board.cut.insert(id) } else { board.cut.remove(&id) };
    }

    fn replicas(&self) -> Vec<Replica<Ledger>> {
        self.bus.0.lock().unwrap().replicas.values().cloned().collect()
    }

    fn replica(&self, id: MemberId) -> Replica<Ledger> {
        self.bus.0.lock().unwrap().replicas[&id].clone()
    }

    /// Three voters.
    async fn of_three() -> Group {
        let mut group = Group::new();
        let founder = group.start(1).await;
        founder.initialize().await.unwrap();
        founder.set_address(1, "m1:1").await.unwrap();
        for id in [2, 3] {
            group.start(id).await;
            founder.add_learner(id, Member::at(format!("m{id}:1"))).await.unwrap();
            founder.promote(id).await.unwrap();
        }
        group
    }

    /// The one that can show that it leads.
    async fn leader(&self) -> Replica<Ledger> {
        let begin = Instant::now();
        loop {
            for replica in self.replicas() {
                if replica.read_index().await.is_ok() {
                    return replica;
                }
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "nobody leads: {:?}", self.replicas());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until everybody has what the leader has.
    async fn level(&self) {
        let index = self.leader().await.read_index().await.unwrap();
        for replica in self.replicas() {
            assert!(replica.wait_applied(index, Duration::from_secs(60)).await, "{replica:?}");
        }
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn three_agree_and_only_the_leader_takes_proposals() {
    let group = Group::of_three().await;
    let leader = group.leader().await;
    assert_eq!(propose(&leader, "web-1").await, Ok((1, 1_000)));
    let committed = leader.propose_encoded(b"web-2".to_vec()).await.unwrap();
    assert_eq!(committed.reply, Ok((2, 1_000)));
    for replica in group.replicas() {
        assert!(replica.wait_applied(committed.index, Duration::from_secs(60)).await);
        assert_eq!(names(&replica.view().unwrap()), 2);
        assert_eq!(*replica.revision().borrow(), 2);
        let members = replica.members();
        assert!(members.iter().all(|member| member.voter && member.address.ends_with(":1")), "{members:?}");
    }
    let leads = leader.status().member;
    let matched: Vec<_> = leader.members().iter().map(|member| member.matched.is_some()).collect();
    assert_eq!(matched, [true; 3]);
    for replica in group.replicas().iter().filter(|replica| replica.status().member != leads) {
        eventually("the leader is known", || replica.status().leader == Some(leads)).await;
        assert_eq!(replica.status().leader_address, Some(format!("m{leads}:1")));
        let error = replica.propose(&"web-3".to_owned()).await.unwrap_err();
        assert_eq!(error, ProposeError::NotLeading { leader: Some(leads) });
        let error = replica.read_index().await.unwrap_err();
        assert_eq!(error, ProposeError::NotLeading { leader: Some(leads) });
        let error = replica.remove(1).await.unwrap_err();
        assert_eq!(error, MembershipError::NotLeading { leader: Some(leads) });
    }
}

#[tokio::test]
async fn a_leader_that_dies_is_replaced_and_finds_back() {
    let mut group = Group::of_three().await;
    let leader = group.leader().await;
    propose(&leader, "web-1").await.unwrap();
    let dead = leader.status().member;
    group.stop(dead).await;
    let next = group.leader().await;
    assert_ne!(next.status().member, dead);
    assert_eq!(propose(&next, "web-1").await, Err("taken"));
    assert_eq!(propose(&next, "web-2").await, Ok((2, 1_000)));
    let back = group.start(dead).await;
    group.level().await;
    assert_eq!(names(&back.view().unwrap()), 2);
}

#[tokio::test]
async fn a_leader_that_is_cut_off_promises_nothing() {
    let group = Group::of_three().await;
    let old = group.leader().await;
    propose(&old, "web-1").await.unwrap();
    let id = old.status().member;
    group.cut(id, true);
    // In its log, and perhaps in nobody else's.
    let error = old.propose(&"lost".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::Unknown);
    // By now it knows that it is alone.
    let error = old.propose(&"never".to_owned()).await.unwrap_err();
    assert_eq!(error, ProposeError::NotLeading { leader: None });
    assert_eq!(old.read_index().await.unwrap_err(), ProposeError::NotLeading { leader: None });
    assert!(old.status().quorum_silence.unwrap() > limits::QUORUM_SILENCE);
    let new = group.leader().await;
    assert_ne!(new.status().member, id);
    assert_eq!(propose(&new, "web-2").await, Ok((2, 1_000)));
    group.cut(id, false);
    group.level().await;
    assert!(!group.replica(id).status().leading);
    for replica in group.replicas() {
        assert_eq!(names(&replica.view().unwrap()), 2, "{replica:?}");
    }
}

#[tokio::test]
async fn a_learner_far_behind_gets_a_snapshot_and_votes_only_when_level() {
    let mut group = Group::of_three().await;
    let leader = group.leader().await;
    for n in 0..60 {
        propose(&leader, &format!("node-{n}")).await.unwrap();
    }
    // Nobody answers under that number yet: it is a learner, and may not vote.
    let adding = tokio::spawn({
        let leader = leader.clone();
        async move { leader.add_learner(4, Member::at("m4:1")).await }
    });
    eventually("the learner is known", || leader.members().len() == 4).await;
    assert!(!leader.members()[3].voter);
    let error = leader.promote(4).await.unwrap_err();
    assert!(matches!(error, MembershipError::NotCaughtUp { id: 4, .. }), "{error}");
    let learner = group.start(4).await;
    adding.await.unwrap().unwrap();
    assert!(group.bus.0.lock().unwrap().snapshots.contains(&4), "the log had been cut");
    assert!(!learner.status().voter);
    leader.promote(4).await.unwrap();
    group.level().await;
    eventually("it votes", || learner.status().voter).await;
    assert_eq!(names(&learner.view().unwrap()), 60);
    // A restart after a snapshot finds everything.
    group.stop(4).await;
    propose(&leader, "later").await.unwrap();
    let learner = group.start(4).await;
    group.level().await;
    assert_eq!(names(&learner.view().unwrap()), 61);
}

/// The state travels for longer than the log keeps entries; the entries that came meanwhile are still there.
#[tokio::test]
async fn a_learner_is_sent_the_state_once_however_much_is_committed_meanwhile() {
    let mut group = Group::of_three().await;
    let leader = group.leader().await;
    for n in 0..60 {
        propose(&leader, &format!("node-{n}")).await.unwrap();
    }
    group.bus.0.lock().unwrap().slow = true;
    let learner = group.start(4).await;
    let adding = tokio::spawn({
        let leader = leader.clone();
        async move { leader.add_learner(4, Member::at("m4:1")).await }
    });
    let bus = group.bus.clone();
    eventually("the state is on its way", || bus.0.lock().unwrap().sent == 1).await;
    for n in 60..160 {
        propose(&leader, &format!("node-{n}")).await.unwrap();
    }
    bus.0.lock().unwrap().slow = false;
    adding.await.unwrap().unwrap();
    group.level().await;
    assert_eq!(names(&learner.view().unwrap()), 160);
    assert_eq!(bus.0.lock().unwrap().sent, 1);
}

#[tokio::test]
async fn a_member_that_was_away_for_long_is_brought_back_by_a_snapshot() {
    let mut group = Group::of_three().await;
    let leader = group.leader().await;
    let away = if leader.status().member == 3 { 2 } else { 3 };
    propose(&leader, "before").await.unwrap();
    group.stop(away).await;
    for n in 0..60 {
        propose(&leader, &format!("node-{n}")).await.unwrap();
    }
    let storage = leader.inner.storage.clone();
    eventually("the log is cut", || storage.entries(..).unwrap().len() < 30).await;
    group.start(away).await;
    group.level().await;
    assert!(group.bus.0.lock().unwrap().snapshots.contains(&away));
    assert_eq!(names(&group.replica(away).view().unwrap()), 61);
}

#[tokio::test]
async fn members_are_removed_even_the_leader_itself_but_not_the_last() {
    let group = Group::of_three().await;
    let leader = group.leader().await;
    let first = leader.status().member;
    let error = leader.remove(9).await.unwrap_err();
    assert_eq!(error, MembershipError::NotAMember { id: 9, members: vec![1, 2, 3] });
    leader.remove(first).await.unwrap();
    group.stop(first).await;
    let leader = group.leader().await;
    assert_eq!(leader.members().len(), 2);
    propose(&leader, "web-1").await.unwrap();
    let second = leader.members().iter().map(|member| member.id).find(|id| *id != leader.status().member);
    let second = second.unwrap();
    leader.set_address(second, format!("m{second}:2")).await.unwrap();
    assert!(leader.members().iter().any(|member| member.address == format!("m{second}:2")));
    propose(&leader, "web-2").await.unwrap();
    leader.remove(second).await.unwrap();
    group.stop(second).await;
    assert_eq!(propose(&leader, "web-3").await, Ok((3, 1_000)));
    let last = leader.status().member;
    assert_eq!(leader.remove(last).await, Err(MembershipError::LastVoter { id: last }));
}

#[tokio::test]
async fn a_leader_whose_clock_is_off_stands_aside() {
    let group = Group::of_three().await;
    let leader = group.leader().await;
    propose(&leader, "web-1").await.unwrap();
    let off = leader.status().member;
    group.times[&off].set(1_000_000);
    let error = leader.propose(&"web-2".to_owned()).await.unwrap_err();
    assert!(matches!(error, ProposeError::ClockOff { own: 1_000_000, others: 1_000..=1_090 }), "{error}");
    let next = group.leader().await;
    assert_ne!(next.status().member, off);
    let (revision, at) = propose(&next, "web-2").await.unwrap();
    assert_eq!((revision, at), (2, 1_000));
    // Two against one: it is enough that most of the others agree with us.
    let other = (1..=3).find(|id| *id != off && *id != next.status().member).unwrap();
    group.times[&off].set(1_000);
    group.times[&other].set(1_000_000);
    group.level().await;
    assert_eq!(propose(&group.leader().await, "web-3").await, Ok((3, 1_000)));
}

#[tokio::test]
async fn messages_for_another_member_are_refused() {
    let group = Group::of_three().await;
    let vote = openraft::raft::VoteRequest { vote: openraft::Vote::new(99, 2), last_log_id: None };
    let error = group.replica(1).answer(&message::encode_vote_request(3, &vote)).await.unwrap_err();
    assert_eq!(error.to_string(), "the message is for manager 3, this is manager 1");
}

#[tokio::test]
async fn a_leader_that_is_restarted_reads_nothing_stale() {
    let mut group = Group::of_three().await;
    let leader = group.leader().await;
    propose(&leader, "web-1").await.unwrap();
    let committed = leader.propose_encoded(b"web-2".to_vec()).await.unwrap();
    let id = leader.status().member;
    group.stop(id).await;
    // It leads on in its term, and knows less of what it had committed than it did.
    let back = group.start(id).await;
    let begin = Instant::now();
    let index = loop {
        match back.read_index().await {
            Ok(index) => break index,
            Err(ProposeError::NotLeading { leader: Some(_) }) => return,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    assert!(index >= committed.index, "{index} is before {}", committed.index);
}
