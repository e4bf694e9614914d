//! Live connections end when their peer loses trust, and no others do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use certus_pki::{Accept, Explain, Lifetime, Rejection, code};
use certus_tls::{Cut, CutReason, Publisher, Snapshot, TlsStream, explain_source, sweep_each_second};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const ALL: &[&str] = &["spiffe://prod/*"];

type Pair = (TlsStream<DuplexStream>, TlsStream<DuplexStream>);

fn republish(node: &Publisher, trust: Arc<certus_pki::Bundle>) -> Vec<certus_tls::CutRecord> {
    node.publish(Snapshot::new(node.current().identity().cloned(), trust)).unwrap()
}

fn reason(error: &std::io::Error) -> CutReason {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Cut>());
    inner.unwrap_or_else(|| panic!("not cut: {error:?}")).reason.clone()
}

async fn lives((served, dialed): &mut Pair) {
    talk(served, dialed).await;
}

#[tokio::test]
async fn a_revocation_cuts_its_connections_and_no_others() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let server = server(&one, ALL);
    let ids = ["spiffe://prod/worker/a", "spiffe://prod/worker/b"].map(|id| prod.identity(id));
    let [a, b] = ids.clone().map(|id| client(&node(&id, &trust, &dial), ALL));
    let (mut first, mut second) = (connect(&server, &a).await, connect(&server, &a).await);
    let mut other = connect(&server, &b).await;
    assert_eq!(one.registry().live(), 3);

    // One of them waits for a byte when the news comes.
    let cancelled = first.0.cancelled();
    let waiting = tokio::spawn(async move { (first.0.read(&mut [0; 4]).await, first) });
    tokio::task::yield_now().await;
    let cuts = republish(&one, bundle("prod", 2, &[&prod], &[prod.revoke(&ids[0])]));
    assert_eq!(cuts.len(), 2);
    assert!(cuts.iter().all(|cut| cut.peer == "spiffe://prod/worker/a"));
    assert!(cuts.iter().all(|cut| matches!(cut.reason, CutReason::Peer(Rejection::Revoked { .. }))));
    assert_eq!(one.registry().live(), 1, "signalled before publish returned");
    assert!(cancelled.is_cancelled());

    let (woken, first) = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(matches!(reason(&woken.unwrap_err()), CutReason::Peer(Rejection::Revoked { .. })));
    let error = second.0.write_all(b"more").await.unwrap_err();
    assert!(matches!(reason(&error), CutReason::Peer(Rejection::Revoked { .. })));
    assert_eq!(explain_source(&error).unwrap().code, code::REVOKED);
    assert!(second.0.cut().unwrap().explain().message.starts_with("the connection was cut"));
    assert!(second.0.shutdown().await.is_err());
    drop((first, second));
    lives(&mut other).await;
    assert!(connect(&server, &b).await.0.resumed(), "the others still resume");
}

#[tokio::test]
async fn a_struck_issuer_and_a_removed_root_cut_what_hangs_on_them() {
    let dial = Dial::new();
    let [old, new] = [Authority::new("prod"), Authority::new("prod")];
    let both = bundle("prod", 1, &[&old, &new], &[]);
    let one = node(&new.identity(WEB_1), &both, &dial);
    let server = server(&one, ALL);
    let of = |authority: &Authority, id| client(&node(&authority.identity(id), &both, &dial), ALL);
    let [a, b] = [of(&old, "spiffe://prod/worker/a"), of(&new, "spiffe://prod/worker/b")];

    let (_first, mut other) = (connect(&server, &a).await, connect(&server, &b).await);
    let struck = certus_pki::Delta {
        epoch: certus_pki::Epoch { generation: 1, revision: 2 },
        changes: vec![certus_pki::Change::IssuerRemoved(old.issuer.key_hash())],
    };
    let cuts = one.apply(&struck).unwrap();
    assert_eq!(cuts.len(), 1);
    assert!(matches!(cuts[0].reason, CutReason::Peer(Rejection::IssuerNotActive { .. })));
    lives(&mut other).await;

    assert!(republish(&one, bundle("prod", 3, &[&old, &new], &[])).is_empty());
    let _second = connect(&server, &a).await;
    let cuts = republish(&one, bundle("prod", 4, &[&new], &[]));
    assert_eq!(cuts.len(), 1);
    assert!(matches!(cuts[0].reason, CutReason::Peer(Rejection::UnknownAuthority { .. })));
    lives(&mut other).await;
}

#[tokio::test]
async fn a_changed_policy_cuts_only_on_its_own_listener() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let [strict, open] = [server(&one, ALL), server(&one, ALL)];
    let a = client(&node(&prod.identity("spiffe://prod/worker/a"), &trust, &dial), ALL);
    let (mut here, mut there) = (connect(&strict, &a).await, connect(&open, &a).await);
    let cuts = strict.set_accept(Accept::only(Vec::new()));
    assert_eq!(cuts.len(), 1);
    let error = read_error(&mut here.0).await;
    assert!(matches!(reason(&error), CutReason::Peer(Rejection::NotAllowed { .. })));
    lives(&mut there).await;
    // The dialing side has the same rule.
    assert_eq!(a.set_accept(only(&["spiffe://prod/manager/*"])).len(), 2);
}

#[tokio::test]
async fn the_end_of_a_certificate_is_the_end_of_its_connections() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let server = server(&one, ALL);
    let short = prod.identity_for("spiffe://prod/worker/a", Lifetime::from_minutes(10));
    let [a, b] = [short.clone(), prod.identity("spiffe://prod/worker/b")]
        .map(|id| client(&node(&id, &trust, &dial), ALL));
    let (mut first, mut other) = (connect(&server, &a).await, connect(&server, &b).await);

    let reported = Arc::new(Mutex::new(Vec::new()));
    let report = reported.clone();
    let sweeping = tokio::spawn(sweep_each_second(one.credentials(), move |cuts| {
        report.lock().unwrap().extend(cuts);
    }));
    dial.advance(Lifetime::from_minutes(10));
    assert!(one.registry().sweep(dial.now()).is_empty(), "its last moment is still valid");
    dial.advance(Lifetime::from_secs(1));
    let error = tokio::time::timeout(Duration::from_secs(5), read_error(&mut first.0)).await.unwrap();
    let CutReason::Peer(Rejection::Expired { what, not_after, .. }) = reason(&error) else {
        panic!("{error:?}")
    };
    assert_eq!((what, not_after), ("the certificate", short.leaf().not_after));
    lives(&mut other).await;
    assert_eq!(reported.lock().unwrap().len(), 1);
    drop(one);
    tokio::time::timeout(Duration::from_secs(5), sweeping).await.unwrap().unwrap();
}
