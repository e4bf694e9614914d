//! A node's life: joined, renewed, told, left alone, removed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use certus_node::{Backend, Node, NodeOptions, StartError, Transport};
use certus_pki::{Change, Directive, Epoch, Explain, Explanation, Lifetime, Role, Sha256, code};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::manager::Manager;
use crate::world::{End, echo, listener, ping, to};
use crate::{soon, until};

pub(crate) fn options(authority: &Authority, manager: &Manager, dir: &Path) -> NodeOptions {
    let mut options = NodeOptions::new(dir.join("w1"), Role::Worker);
    options.id = Some("web-1".parse().unwrap());
    options.managers = vec![manager.address.to_string()];
    options.token = Some(manager.token());
    options.clock = authority.clock();
    options
}

pub(crate) async fn start(options: NodeOptions) -> Node {
    match soon("a start", Node::start(options)).await {
        Ok(node) => node,
        Err(error) => panic!("{}", error.explain()),
    }
}

/// What a restart is told: the data directory and the role.
fn again(options: &NodeOptions) -> NodeOptions {
    let mut again = NodeOptions::new(&options.data_dir, Role::Worker);
    again.clock = options.clock.clone();
    again
}

fn key_of(node: &Node) -> Sha256 {
    node.credentials().current().identity().unwrap().leaf().key_hash()
}

fn epoch_of(node: &Node) -> Epoch {
    node.credentials().current().epoch()
}

/// A node that serves an echo to `web-2`, that peer, and a connection through both.
async fn carrying(options: NodeOptions, authority: &Authority) -> (Node, End, TcpStream) {
    let mut options = options;
    let forward = Backend::Tcp(echo().await.to_string());
    options.listeners = vec![listener(Transport::Tcp, forward, &["spiffe://prod/worker/web-2"])];
    let node = start(options).await;
    let to_node = vec![to(authority, Transport::Tcp, "worker/web-1", node.bound("web").unwrap())];
    let two = End::new(authority.publisher("worker/web-2"), vec![], to_node).await;
    let mut tcp = TcpStream::connect(two.port()).await.unwrap();
    ping(&mut tcp).await.unwrap();
    (node, two, tcp)
}

#[tokio::test]
async fn a_node_joins_once_and_starts_again_with_what_it_kept() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let options = options(&authority, &manager, temp.path());
    let node = start(options.clone()).await;
    assert_eq!(node.identity(), Some(&authority.id("worker/web-1")));
    assert!(node.reasons().is_empty());
    let key = key_of(&node);
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    // The directory is its own.
    let second = Node::start(again(&options)).await.err().unwrap();
    assert_eq!(second.explain().code, code::DIRECTORY_IN_USE);
    soon("the end", node.shutdown()).await;

    let node = start(again(&options)).await;
    assert_eq!(key_of(&node), key);
    until("it watches again", || manager.seen(|seen| seen.resumed_from.len()) == 2).await;
    assert_eq!(manager.seen(|seen| seen.joins.len()), 1);
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_repeated_with_the_same_key() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    manager.seen(|seen| seen.lose_answer = true);
    let options = options(&authority, &manager, temp.path());
    let error = soon("a start", Node::start(options.clone())).await.err().unwrap();
    assert!(error.is_passing(), "{}", error.explain());
    start(options).await;
    let joins = manager.seen(|seen| std::mem::take(&mut seen.joins));
    let keys: Vec<_> =
        joins.iter().map(|join| certus_pki::Csr::read(&join.csr).unwrap().public_key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn who_cannot_start_is_told_what_to_do() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let told = options(&authority, &manager, temp.path());
    let explain = async |options: NodeOptions| -> (Explanation, bool) {
        let error: StartError = soon("a start", Node::start(options)).await.err().unwrap();
        (error.explain(), error.is_passing())
    };
    let nobody = explain(NodeOptions { token: None, ..told.clone() }).await.0;
    assert_eq!(nobody.code, code::NOT_ENROLLED);
    assert!(nobody.hint.unwrap().contains("certus token create --role worker --id web-1"));
    let unnamed = explain(NodeOptions { id: None, ..told.clone() }).await.0;
    assert_eq!((unnamed.code, unnamed.hint.unwrap()), (code::NOT_ENROLLED, "say which with --id ID".into()));
    let lost = explain(NodeOptions { managers: Vec::new(), ..told.clone() }).await.0;
    assert_eq!(lost.code, code::UNREACHABLE);
    manager.seen(|seen| seen.refuse = Some(Explanation::new(code::TOKEN_USED_UP, "used up")));
    let (refused, passing) = explain(told.clone()).await;
    assert_eq!((refused.code, passing), (code::TOKEN_USED_UP, false));

    soon("the end", start(told.clone()).await.shutdown()).await;
    authority.pass(Lifetime::from_days(91));
    let expired = explain(again(&told)).await.0;
    assert_eq!(expired.code, code::OWN_CERTIFICATE);
    assert!(expired.message.contains("expired"), "{expired}");
    assert!(expired.hint.unwrap().contains("--id web-1 --replace"));
    // With a token it becomes somebody again; the manager of those days has expired too.
    let manager = Manager::start(&authority);
    start(options(&authority, &manager, temp.path())).await;
}

#[tokio::test]
async fn a_renewal_has_a_fresh_key_and_leaves_live_connections_up() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let options = options(&authority, &manager, temp.path());
    let (node, two, mut lives) = carrying(options.clone(), &authority).await;
    let old = key_of(&node);
    soon("a renewal", node.renew_now()).await.unwrap();
    let new = key_of(&node);
    assert_ne!(old, new);
    ping(&mut lives).await.unwrap();
    let mut fresh = TcpStream::connect(two.port()).await.unwrap();
    ping(&mut fresh).await.unwrap();
    let keys: Vec<_> = two
        .publisher
        .registry()
        .connections()
        .into_iter()
        .filter_map(|connection| Some(connection.peer?.peer.key_hash))
        .collect();
    assert_eq!(keys, [old, new]);
    // The managers too are met under the new key: the stream is opened anew.
    until("it watches under the new key", || manager.seen(|seen| seen.resumed_from.len()) >= 2).await;
    drop((lives, fresh));
    soon("the end", node.shutdown()).await;
    assert_eq!(key_of(&start(again(&options)).await), new);
}

#[tokio::test]
async fn renewal_comes_when_it_is_due_and_when_a_manager_asks() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let node = start(options(&authority, &manager, temp.path())).await;
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    let first = key_of(&node);
    // A machine that slept: the clock jumps, and whatever wakes the node makes it look.
    authority.pass(Lifetime::from_days(61));
    manager.beat();
    until("it renewed by itself", || node.metrics().renewals() == (1, 0)).await;
    until("it watches under the new key", || manager.seen(|seen| seen.resumed_from.len()) == 2).await;
    let second = key_of(&node);
    assert_ne!(first, second);
    let another = Change::Direct { node: authority.id("worker/web-9"), directive: Directive::RenewNow };
    let this = Change::Direct { node: authority.id("worker/web-1"), directive: Directive::RenewNow };
    manager.commit(vec![another]);
    manager.commit(vec![this]);
    until("it renewed when asked", || node.metrics().renewals() == (2, 0)).await;
    assert_ne!(key_of(&node), second);
}

#[tokio::test]
async fn the_shortest_life_there_is_is_renewed_in_time() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    authority.leaf_lifetime.store(certus_pki::defaults::LEAF_LIFETIME_MIN.secs(), Ordering::Relaxed);
    let node = start(options(&authority, &manager, temp.path())).await;
    until("it renewed by itself", || node.metrics().renewals().0 >= 1).await;
    assert_eq!(node.metrics().renewals().1, 0);
    assert!(node.reasons().is_empty());
}

#[tokio::test]
async fn i9_without_a_manager_a_node_serves_backs_off_and_recovers() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let mut manager = Manager::start(&authority);
    let (node, two, mut lives) = carrying(options(&authority, &manager, temp.path()), &authority).await;
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    let old = key_of(&node);
    authority.pass(Lifetime::from_days(61));
    manager.kill();
    until("renewals fail", || node.metrics().renewals().1 >= 2).await;
    assert_eq!(key_of(&node), old);
    assert!(node.reasons().is_empty());
    ping(&mut lives).await.unwrap();
    let mut fresh = TcpStream::connect(two.port()).await.unwrap();
    ping(&mut fresh).await.unwrap();
    manager.restart();
    until("it renewed", || node.metrics().renewals().0 == 1).await;
    assert_ne!(key_of(&node), old);
    ping(&mut lives).await.unwrap();
}

#[tokio::test]
async fn i9_what_a_manager_answers_wrongly_replaces_nothing() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let options = options(&authority, &manager, temp.path());
    let (node, _two, mut lives) = carrying(options.clone(), &authority).await;
    let old = key_of(&node);
    manager.seen(|seen| seen.wrong_key = true);
    let error = soon("a renewal", node.renew_now()).await.unwrap_err();
    assert_eq!(error.explain().code, code::KEY_MISMATCH, "{}", error.explain());
    assert_eq!(key_of(&node), old);
    ping(&mut lives).await.unwrap();

    // Nor does a bundle whose roots are another's, however new it says it is.
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) >= 1).await;
    let before = epoch_of(&node);
    let newer = |authority: &Authority, revision| {
        let bundle = authority.bundle();
        let epoch = Epoch { generation: 0, revision };
        let (cluster, roots) = (bundle.cluster().cloned().unwrap(), bundle.roots().to_vec());
        certus_pki::Bundle::new(cluster, epoch, roots, bundle.issuers().copied(), [])
    };
    manager.push_bundle(&newer(&Authority::new("prod"), 900));
    manager.push_bundle(&newer(&authority, 500));
    until("the next bundle is in force", || epoch_of(&node).revision == 500).await;
    assert!(before.revision < 500);
    ping(&mut lives).await.unwrap();
    drop(lives);
    soon("the end", node.shutdown()).await;
    let node = start(again(&options)).await;
    assert_eq!((key_of(&node), epoch_of(&node).revision), (old, 500));
}

#[tokio::test]
async fn i10_a_node_that_is_told_of_a_revocation_cuts_and_reports_it() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let (node, two, mut lives) = carrying(options(&authority, &manager, temp.path()), &authority).await;
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    let leaf = two.publisher.current().identity().unwrap().leaf().clone();
    let epoch = manager.commit(vec![Change::Revoked(authority.revocation(&leaf))]);
    until("it reported", || manager.seen(|seen| seen.reports.contains(&(epoch, 1)))).await;
    assert!(ping(&mut lives).await.is_err());
    let mut again = TcpStream::connect(two.port()).await.unwrap();
    assert!(ping(&mut again).await.is_err());
    assert_eq!(node.registry().connections().iter().filter(|c| c.purpose == SERVED).count(), 0);
}

const SERVED: certus_pki::Purpose = certus_pki::Purpose::Client;

#[tokio::test]
async fn a_watch_resumes_from_what_is_in_force_also_after_a_restart() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let mut manager = Manager::start(&authority);
    let options = options(&authority, &manager, temp.path());
    let node = start(options.clone()).await;
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    let other = authority.publisher("worker/web-2").current().identity().unwrap().leaf().clone();
    let second = manager.commit(vec![Change::Revoked(authority.revocation(&other))]);
    until("it reported", || manager.seen(|seen| seen.reports.contains(&(second, 0)))).await;
    manager.kill();
    // Committed while nobody hears it.
    let third = manager.commit(vec![]);
    manager.restart();
    until("it caught up", || epoch_of(&node) == third).await;
    until("it reported", || manager.seen(|seen| seen.reports.contains(&(third, 0)))).await;
    soon("the end", node.shutdown()).await;
    let fourth = manager.commit(vec![]);
    let node = start(again(&options)).await;
    until("it caught up", || epoch_of(&node) == fourth).await;
    let resumed = manager.seen(|seen| seen.resumed_from.clone());
    assert_eq!(resumed, [Epoch { generation: 0, revision: 1 }, second, third]);
    assert_eq!(node.credentials().current().bundle().revocations().len(), 1);
}

#[tokio::test]
async fn a_removed_node_says_so_and_asks_no_more() {
    let (authority, temp) = (Arc::new(Authority::new("prod")), tempfile::tempdir().unwrap());
    let manager = Manager::start(&authority);
    let told = options(&authority, &manager, temp.path());
    let node = start(told.clone()).await;
    until("it watches", || manager.seen(|seen| seen.resumed_from.len()) == 1).await;
    let leaf = node.credentials().current().identity().unwrap().leaf().clone();
    // The manager cuts the stream before anything is said on it; it is the next handshake that tells.
    manager.commit(vec![Change::Revoked(authority.revocation(&leaf))]);
    let why = soon("the end", node.failed()).await;
    assert_eq!(why.code, code::REMOVED);
    assert!(node.reasons().iter().any(|reason| reason.code == code::REMOVED));
    let error = soon("a renewal", node.renew_now()).await.unwrap_err();
    assert_eq!(error.explain().code, code::REMOVED);
    assert_eq!(manager.seen(|seen| seen.renewals.len()), 0);
    soon("the end", node.shutdown()).await;
    // Started again it knows, and a new token admits it again.
    let error = soon("a start", Node::start(again(&told))).await.err().unwrap();
    assert_eq!(error.explain().code, code::REMOVED);
    start(told).await;
}
