//! Bad material never replaces good (I9).

use std::sync::Arc;

use certus_pki::{Explain, Lifetime, Rejection, code};
use certus_tls::{NotPublished, Snapshot};

use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const WEB_2: &str = "spiffe://prod/worker/web-2";

#[tokio::test]
async fn i9_a_bad_reload_never_replaces_good_material() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let foreign = Authority::new("prod");
    let trust = bundle("prod", 5, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let two = node(&prod.identity(WEB_2), &trust, &dial);
    let (server, client) = (server(&one, &[WEB_2]), client(&two, &[WEB_1]));
    let (mut served, mut dialed) = connect(&server, &client).await;
    let good = one.current();
    let own = || good.identity().cloned();
    let short = prod.identity_for(WEB_1, Lifetime::from_secs(1));
    dial.advance(Lifetime::from_secs(2));
    let empty = bundle("prod", 6, &[], &[]);
    let staging = Authority::new("staging");
    let other = bundle("staging", 6, &[&staging], &[]);
    let revoked = bundle("prod", 6, &[&prod], &[prod.revoke(good.identity().unwrap())]);

    let refused = |snapshot: Snapshot| one.publish(snapshot).unwrap_err();
    let older = refused(Snapshot::new(own(), bundle("prod", 4, &[&prod], &[])));
    assert!(matches!(older, NotPublished::OlderEpoch { .. }));
    assert_eq!(older.explain().code, code::OWN_CERTIFICATE);
    assert_eq!(refused(Snapshot::new(own(), empty)), NotPublished::NoRoots);
    assert!(matches!(refused(Snapshot::new(own(), other)), NotPublished::AnotherCluster { .. }));
    assert_eq!(refused(Snapshot::new(None, trust.clone())), NotPublished::IdentityLost);
    let expired = refused(Snapshot::new(Some(short), trust.clone()));
    assert!(matches!(expired, NotPublished::Identity(Rejection::Expired { .. })), "{expired:?}");
    let strange = refused(Snapshot::new(Some(foreign.identity(WEB_1)), trust.clone()));
    assert!(matches!(strange, NotPublished::Identity(Rejection::UnknownAuthority { .. })));

    assert!(Arc::ptr_eq(&one.current(), &good), "what was in force is in force");
    talk(&mut served, &mut dialed).await;
    assert!(connect(&server, &client).await.0.resumed());

    // The news of one's own revocation is taken: it must not keep the rest of the bundle away.
    one.publish(Snapshot::new(own(), revoked)).unwrap();
    assert_eq!(one.current().epoch().revision, 6);
    assert!(one.current().check(dial.now()).is_err());
}

#[tokio::test]
async fn readers_are_told_of_each_change() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let mut credentials = one.credentials();
    let identity = one.current().identity().cloned();
    one.publish(Snapshot::new(identity, bundle("prod", 2, &[&prod], &[]))).unwrap();
    assert!(credentials.changed().await);
    assert_eq!(credentials.current().epoch().revision, 2);
    drop(one);
    assert!(!credentials.changed().await);
}
