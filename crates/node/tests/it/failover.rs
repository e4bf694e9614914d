//! Several managers: calls, joins and watches go on at another when one is gone, and nothing happens twice.

mod proxy;

use std::sync::Arc;
use std::time::Duration;

use certus_node::api::join_any;
use certus_node::{Api, ApiError, JoinError, Node, NodeDir, NodeOptions};
use certus_pki::{Change, Explain, Explanation, Role, code};
use certus_wire::v1;

use crate::authority::{Authority, key};
use crate::life::{options, start};
use crate::manager::{Manager, Scripted};
use crate::{soon, until};
use proxy::{Proxy, closing, dead, silent};

/// Somebody who is none of the managers that answer.
async fn none_of_use(authority: &Arc<Authority>) -> Vec<(&'static str, String)> {
    let closes = closing(authority.publisher("manager/m9"));
    vec![("a dead port", dead()), ("a silent socket", silent()), ("one that hangs up", closes)]
}

async fn status(api: &Api) -> Result<v1::ClusterStatus, ApiError> {
    soon("a status", api.cluster(async |mut c| c.status(v1::StatusRequest {}).await)).await
}

async fn revoke(api: &Api) -> Result<v1::RevokeReply, ApiError> {
    let ask = v1::RevokeRequest { name: "web-9".into(), reason: 0 };
    soon("a revocation", api.cluster(async |mut c| c.revoke(ask).await)).await
}

async fn remove(api: &Api) -> Result<v1::RemoveManagerReply, ApiError> {
    let ask = v1::RemoveManagerRequest { name: "m9".into(), compromised: false };
    soon("a removal", api.cluster(async |mut c| c.remove_manager(ask).await)).await
}

fn unavailable() -> Scripted {
    Scripted::Refuse(Explanation::new(code::UNAVAILABLE, "no leader now"))
}

fn already_revoked() -> Scripted {
    Scripted::Refuse(Explanation::new(code::ALREADY_REVOKED, "web-9 was revoked before"))
}

fn script(manager: &Manager, steps: impl IntoIterator<Item = Scripted>) {
    manager.seen(|seen| seen.script = steps.into_iter().collect());
}

fn calls(manager: &Manager) -> Vec<String> {
    manager.seen(|seen| seen.calls.clone())
}

/// A caller of both managers who begins at the first.
struct World {
    authority: Arc<Authority>,
    first: Manager,
    second: Manager,
    caller: certus_tls::Publisher,
}

impl World {
    fn new() -> World {
        let authority = Arc::new(Authority::new("prod"));
        let (first, second) = (Manager::start(&authority), Manager::start(&authority));
        let caller = authority.publisher("client/ann");
        World { authority, first, second, caller }
    }

    fn api(&self) -> Api {
        self.over(vec![self.first.address.to_string(), self.second.address.to_string()])
    }

    fn over(&self, addresses: Vec<String>) -> Api {
        Api::new(addresses, self.caller.credentials())
    }
}

#[tokio::test]
async fn a_call_passes_over_whoever_is_none() {
    let world = World::new();
    for (who, address) in none_of_use(&world.authority).await {
        let api = world.over(vec![address.clone(), world.second.address.to_string()]);
        status(&api).await.unwrap_or_else(|error| panic!("{who}: {}", error.explain()));
        assert_eq!(api.working(), Some(world.second.address.to_string()), "{who}");
        // The next call does not try it again.
        assert_eq!(api.addresses().last(), Some(&address), "{who}");
        status(&api).await.unwrap();
    }
    assert_eq!(calls(&world.second).len(), 6);
}

#[tokio::test]
async fn a_join_passes_over_whoever_is_none() {
    let world = World::new();
    let mut addresses: Vec<String> =
        none_of_use(&world.authority).await.into_iter().map(|(_, address)| address).collect();
    addresses.push(world.second.address.to_string());
    world.second.seen(|seen| seen.managers = vec!["m1.internal:7443".into()]);
    let (token, id, clock) = (world.second.token(), "web-1".parse().unwrap(), world.authority.clock());
    let key = key();
    let joined = soon("a join", join_any(&addresses, &token, Role::Worker, &id, &key, &clock)).await;
    let (manager, joined) = joined.unwrap();
    assert_eq!(manager, world.second.address.to_string());
    assert_eq!(joined.managers, ["m1.internal:7443"]);
    // A token that is refused is refused everywhere: nobody else is asked.
    let both = [world.first.address.to_string(), world.second.address.to_string()];
    world.first.seen(|seen| seen.refuse = Some(Explanation::new(code::TOKEN_EXPIRED, "expired")));
    let refused = soon("a join", join_any(&both, &token, Role::Worker, &id, &key, &clock)).await;
    let refused = refused.err().flatten().map(|error: JoinError| error.explain().code);
    assert_eq!(refused, Some(code::TOKEN_EXPIRED));
    assert_eq!(world.second.seen(|seen| seen.joins.len()), 1);
}

#[tokio::test]
async fn a_join_waits_for_a_leader() {
    let world = World::new();
    let both = [world.first.address.to_string(), world.second.address.to_string()];
    let electing = Explanation::new(code::UNAVAILABLE, "no leader now");
    for manager in [&world.first, &world.second] {
        manager.seen(|seen| seen.refuse = Some(electing.clone()));
    }
    let (token, id, clock) = (world.second.token(), "web-1".parse().unwrap(), world.authority.clock());
    let key = key();
    soon("a join", join_any(&both, &token, Role::Worker, &id, &key, &clock)).await.unwrap();
    let joins = [&world.first, &world.second].map(|manager| manager.seen(|seen| seen.joins.len()));
    assert_eq!(joins, [2, 1]);
}

#[tokio::test]
async fn a_call_whose_manager_is_cut_off_is_answered_by_the_next() {
    let world = World::new();
    let proxy = Proxy::to(world.first.address).await;
    let api = world.over(vec![proxy.address(), world.second.address.to_string()]);
    status(&api).await.unwrap();
    assert_eq!((calls(&world.first).len(), calls(&world.second).len()), (1, 0));
    // Between two calls.
    proxy.cut();
    status(&api).await.unwrap();
    assert_eq!((calls(&world.first).len(), calls(&world.second).len()), (1, 1));

    // In the middle of one: what may be repeated is, what may not is not.
    for (repeated, expected) in [(true, 1), (false, 0)] {
        let world = World::new();
        let proxy = Proxy::to(world.first.address).await;
        let api = world.over(vec![proxy.address(), world.second.address.to_string()]);
        script(&world.first, [Scripted::Hang]);
        let calling = tokio::spawn(async move {
            if repeated { status(&api).await.map(drop) } else { remove(&api).await.map(drop) }
        });
        until("the call arrived", || calls(&world.first).len() == 1).await;
        proxy.cut();
        let outcome = soon("the answer", calling).await.unwrap();
        assert_eq!(outcome.is_ok(), repeated, "{outcome:?}");
        assert!(outcome.err().is_none_or(|error| error.is_passing()));
        assert_eq!(calls(&world.second).len(), expected);
    }
}

#[tokio::test]
async fn a_call_whose_manager_hangs_is_answered_by_the_next_in_time() {
    let world = World::new();
    let api = world.api();
    status(&api).await.unwrap();
    // It took the connection, and the call, and says no more.
    script(&world.first, [Scripted::Hang]);
    status(&api).await.unwrap();
    assert_eq!((calls(&world.first).len(), calls(&world.second).len()), (2, 1));
    // What may not be repeated takes the whole time, and is not asked of the next.
    let world = World::new();
    script(&world.first, [Scripted::Hang]);
    let error = remove(&world.api()).await.unwrap_err();
    assert_eq!(error.explain().code, code::DEADLINE, "{}", error.explain());
    assert_eq!(calls(&world.second), Vec::<String>::new());
}

#[tokio::test]
async fn managers_without_a_leader_are_asked_again() {
    let world = World::new();
    script(&world.first, [unavailable(), unavailable()]);
    script(&world.second, [unavailable(), unavailable()]);
    let proxies = [Proxy::to(world.first.address).await, Proxy::to(world.second.address).await];
    status(&world.over(proxies.iter().map(Proxy::address).collect())).await.unwrap();
    let asked = calls(&world.first).len() + calls(&world.second).len();
    assert_eq!(asked, 5);
    // On the connections that there are.
    assert_eq!(proxies.map(|proxy| proxy.taken()), [1, 1]);
    // What may not be repeated is refused with the manager's words.
    script(&world.first, [unavailable()]);
    let error = remove(&world.api()).await.unwrap_err();
    assert_eq!(error.explain().message, "no leader now");
    let removals = calls(&world.second).iter().filter(|call| *call == "RemoveManager").count();
    assert_eq!(removals, 0);
    // One that is alone says so at once: there is nobody to wait for.
    script(&world.first, [unavailable()]);
    let alone = world.over(vec![world.first.address.to_string()]);
    assert_eq!(status(&alone).await.unwrap_err().explain().code, code::UNAVAILABLE);
}

#[tokio::test]
async fn what_was_done_by_an_attempt_whose_answer_was_lost_is_told_apart() {
    let world = World::new();
    script(&world.second, [already_revoked(), already_revoked()]);
    // Asked once, it was somebody else.
    let alone = world.over(vec![world.second.address.to_string()]);
    let error = revoke(&alone).await.unwrap_err();
    assert!(!error.may_be_done(), "{error:?}");
    // The first manager did it, and could not say so.
    script(&world.first, [unavailable()]);
    let error = revoke(&world.api()).await.unwrap_err();
    assert!(error.may_be_done(), "{error:?}");
    assert!(error.explain().to_string().contains("asked twice"), "{}", error.explain());
    // A first attempt that surely did not arrive is none.
    script(&world.second, [already_revoked()]);
    let error = revoke(&world.over(vec![dead(), world.second.address.to_string()])).await.unwrap_err();
    assert!(!error.may_be_done(), "{error:?}");
}

#[tokio::test]
async fn what_may_not_be_repeated_happens_once_at_most() {
    let world = World::new();
    for (who, address) in none_of_use(&world.authority).await {
        let before = calls(&world.second).len();
        let api = world.over(vec![address, world.second.address.to_string()]);
        let outcome = remove(&api).await;
        let removals = calls(&world.second).len() - before;
        // Whoever hangs up after the handshake may have taken the call.
        assert_eq!(outcome.is_ok(), removals == 1, "{who}: {outcome:?}");
        assert!(who == "one that hangs up" || outcome.is_ok(), "{who}: {outcome:?}");
    }
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection_also_to_the_next_manager() {
    let world = World::new();
    let proxies = [Proxy::to(world.first.address).await, Proxy::to(world.second.address).await];
    let api = world.over(vec![silent(), proxies[0].address(), proxies[1].address()]);
    let at_once = async || {
        let calls = (0..50).map(|_| {
            let api = api.clone();
            tokio::spawn(async move { status(&api).await })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap().unwrap();
        }
    };
    at_once().await;
    assert_eq!((proxies[0].taken(), proxies[1].taken()), (1, 0));
    proxies[0].cut();
    at_once().await;
    assert_eq!(proxies[1].taken(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_while_managers_are_killed_in_turn() {
    let World { authority, mut first, mut second, caller } = World::new();
    let addresses = vec![first.address.to_string(), second.address.to_string()];
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let api = Api::new(addresses.clone(), caller.credentials());
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut made = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    status(&api).await.map_err(|error| error.explain().to_string())?;
                    made += 1;
                }
                Ok::<usize, String>(made)
            })
        })
        .collect();
    for round in 0..6 {
        let (down, up) = if round % 2 == 0 { (&mut first, &second) } else { (&mut second, &first) };
        let before = calls(up).len();
        down.kill();
        until("the other is called", || calls(up).len() > before + 100).await;
        down.restart();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for caller in callers {
        let made =
            soon("a caller", caller).await.unwrap().unwrap_or_else(|lost| panic!("a lost call: {lost}"));
        assert!(made > 0);
    }
    drop(authority);
}

/// A worker of both managers that begins at the first, and joined there.
async fn worker(authority: &Authority, first: &Manager, addresses: Vec<String>) -> (Node, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let mut options = options(authority, first, temp.path());
    options.managers = addresses;
    (start(options).await, temp)
}

fn streams(manager: &Manager) -> usize {
    manager.seen(|seen| seen.resumed_from.len())
}

#[tokio::test]
async fn a_watch_moves_to_the_next_manager_and_resumes_where_it_was() {
    let World { authority, first, second, .. } = World::new();
    let proxies = [Proxy::to(first.address).await, Proxy::to(second.address).await];
    let addresses = proxies.iter().map(Proxy::address).collect();
    let (node, _temp) = worker(&authority, &first, addresses).await;
    until("it watches", || streams(&first) + streams(&second) == 1).await;
    let (at, other) = if streams(&first) == 1 { (0, &second) } else { (1, &first) };
    let mine = if at == 0 { &first } else { &second };
    let leaf = authority.publisher("worker/web-2").current().identity().unwrap().leaf().clone();
    // Both know of it, as managers of one cluster do; the node heard it from the one it watches.
    let change = || vec![Change::Revoked(authority.revocation(&leaf))];
    let epoch = mine.commit(change());
    other.commit(change());
    until("it enforces", || node.credentials().current().epoch() == epoch).await;
    proxies[at].cut();
    until("it watches the other", || streams(other) == 1).await;
    assert_eq!(other.seen(|seen| seen.resumed_from.clone()), [epoch]);
    let next = other.commit(vec![]);
    until("it hears the other", || node.credentials().current().epoch() == next).await;
}

#[tokio::test]
async fn a_watch_leaves_a_manager_that_says_nothing_within_half_a_minute() {
    let World { authority, first, second, .. } = World::new();
    let proxies = [Proxy::to(first.address).await, Proxy::to(second.address).await];
    let addresses = proxies.iter().map(Proxy::address).collect();
    let (_node, _temp) = worker(&authority, &first, addresses).await;
    until("it watches", || streams(&first) + streams(&second) == 1).await;
    let (at, other) = if streams(&first) == 1 { (0, &second) } else { (1, &first) };
    proxies[at].hold();
    // Pings notice it after two heartbeats of 10 s; a stream's silence after 30 s.
    let moved = async {
        while streams(other) == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), moved).await.expect("it watches the other");
}

#[tokio::test]
async fn what_managers_say_of_their_addresses_is_kept_and_used_at_the_next_start() {
    let World { authority, mut first, second, .. } = World::new();
    let told = vec![first.address.to_string()];
    first.seen(|seen| seen.managers = vec![first.address.to_string(), "0.0.0.0:7443".into()]);
    let (node, temp) = worker(&authority, &first, told.clone()).await;
    let data = temp.path().join("w1");
    let kept = move || {
        let kept = std::fs::read_to_string(data.join("certs/worker-web-1/managers")).unwrap_or_default();
        kept.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // The join said so; what cannot be dialled is left out.
    assert_eq!(kept(), told);
    until("it watches", || streams(&first) == 1).await;
    let both = vec![first.address.to_string(), second.address.to_string()];
    first.push_managers(&both);
    until("it is kept", || kept() == both).await;
    // The one it was told of goes: it finds the other by itself.
    first.kill();
    until("it watches the other", || streams(&second) == 1).await;
    soon("a renewal", node.renew_now()).await.unwrap();
    assert_eq!(second.seen(|seen| seen.renewals.len()), 1);
    soon("the end", node.shutdown()).await;

    // And so does the next start, which is told nothing, or only of the one that is gone.
    for managers in [Vec::new(), told.clone()] {
        let streams_before = streams(&second);
        let mut again = NodeOptions::new(temp.path().join("w1"), Role::Worker);
        again.clock = authority.clock();
        again.managers = managers;
        let node = start(again).await;
        until("it watches the other again", || streams(&second) > streams_before).await;
        soon("the end", node.shutdown()).await;
    }
    // What it was told stands beside it, not in its place.
    assert_eq!(NodeDir::open(&temp.path().join("w1")).unwrap().managers().unwrap(), told);
}
