//! The whole table of what could outlive trust (I11), for TLS 1.2, TLS 1.3 and QUIC: a caller that is not
//! ours keeps every session it was ever given, and tries each.

use certus_pki::{Change, Delta, Epoch, Lifetime, Revocation};
use certus_tls::{HandshakeError, Publisher, ServerOptions, Versions};

use crate::foreign::{Foreign, KINDS, Kind};
use crate::places::Place;
use crate::world::*;

const M1: &str = "spiffe://prod/manager/m1";
const FIRST: &str = "spiffe://prod/worker/web-1";
const SECOND: &str = "spiffe://prod/worker/web-2";
const WORKERS: &[&str] = &["spiffe://prod/worker/*"];
/// The leaf of the second, and the server's: longer than any session.
const LONG: Lifetime = Lifetime::from_days(9);

/// A manager under two roots, and two callers, one below each.
struct Scene {
    dial: Dial,
    old: Authority,
    new: Authority,
    manager: Publisher,
    place: Place,
    first: Foreign,
    second: Foreign,
}

fn options() -> ServerOptions {
    ServerOptions { versions: Versions::Tls12AndUp, ..ServerOptions::new(only(WORKERS)) }
}

impl Scene {
    /// Both were here, and came back by a session; each has some left.
    async fn new(kind: Kind) -> Scene {
        let dial = Dial::new();
        let [old, new] = [Authority::new("prod"), Authority::new("prod")];
        let trust = bundle("prod", 1, &[&old, &new], &[]);
        let manager = node(&new.identity_for(M1, LONG), &trust, &dial);
        let place = Place::new(&manager, options());
        let first = Foreign::new(kind, &old, FIRST, Lifetime::from_hours(1));
        let second = Foreign::new(kind, &new, SECOND, LONG);
        let scene = Scene { dial, old, new, manager, place, first, second };
        for caller in [&scene.first, &scene.second] {
            assert!(!caller.dial(&scene.place, None).await.unwrap().resumed());
            assert!(!caller.dial(&scene.place, None).await.unwrap().resumed());
            assert!(caller.dial(&scene.place, Some(0)).await.unwrap().resumed(), "{kind:?} resumes");
        }
        scene
    }

    /// With none of its sessions does the first get in.
    async fn first_is_refused(&self, label: &str) {
        let met = self.first.dial_with_each(&self.place).await;
        assert!(met.len() >= 2);
        for outcome in met {
            let Some(HandshakeError::Rejected(rejection)) = outcome.err() else { panic!("let in") };
            assert_eq!(rejection.label(), label);
        }
    }

    /// The second comes back by a session as if nothing had happened.
    async fn second_resumes(&self) {
        let last = self.second.sessions() - 1;
        assert!(self.second.dial(&self.place, Some(last)).await.unwrap().resumed());
    }

    /// None of its sessions is good any more, but it is let in, and its next ones are.
    async fn second_begins_anew(&self) {
        assert_begins_anew(&self.second, &self.place).await;
    }

    fn revoke(&self, authority: &Authority, caller: &Foreign) -> Revocation {
        let (issuer, leaf) = (authority.issuer.key_hash(), &caller.leaf);
        let cert = certus_pki::CertId { issuer, serial: leaf.serial };
        let reason = certus_pki::Reason::KeyCompromise;
        Revocation { cert, at: START, reason, not_after: leaf.not_after }
    }
}

async fn assert_begins_anew(caller: &Foreign, place: &Place) {
    let held = caller.sessions();
    for number in 0..held {
        assert!(!caller.dial(place, Some(number)).await.unwrap().resumed(), "session {number} of {held}");
    }
    let last = caller.sessions() - 1;
    assert!(last >= held);
    assert!(caller.dial(place, Some(last)).await.unwrap().resumed(), "and then it resumes again");
}

#[tokio::test]
async fn i11_a_revoked_caller_has_no_session_left_and_others_do() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        let revoked = scene.revoke(&scene.old, &scene.first);
        scene.manager.publish_bundle(bundle("prod", 2, &[&scene.old, &scene.new], &[revoked])).unwrap();
        scene.first_is_refused("revoked").await;
        scene.second_resumes().await;
    }
}

#[tokio::test]
async fn i11_an_expired_caller_has_no_session_left_and_others_do() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        scene.dial.advance(Lifetime::from_hours(1));
        scene.dial.advance(Lifetime::from_secs(1));
        scene.first_is_refused("expired").await;
        scene.second_resumes().await;
    }
}

#[tokio::test]
async fn i11_a_struck_issuer_leaves_no_session_and_others_resume() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        let epoch = Epoch { generation: 1, revision: 2 };
        let changes = vec![Change::IssuerRemoved(scene.old.issuer.key_hash())];
        scene.manager.apply(&Delta { epoch, changes }).unwrap();
        scene.first_is_refused("issuer_not_active").await;
        scene.second_resumes().await;
    }
}

#[tokio::test]
async fn i11_no_session_outlives_a_removed_root() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        scene.manager.publish_bundle(bundle("prod", 2, &[&scene.new], &[])).unwrap();
        scene.first_is_refused("unknown_authority").await;
        scene.second_begins_anew().await;
    }
}

#[tokio::test]
async fn i11_no_session_outlives_a_change_of_policy() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        scene.place.server.set_accept(only(&[SECOND]));
        scene.first_is_refused("not_allowed").await;
        scene.second_begins_anew().await;
    }
}

#[tokio::test]
async fn i11_no_session_outlives_our_own_renewal_or_its_day() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        scene.manager.publish_identity(scene.new.identity_for(M1, LONG)).unwrap();
        scene.second_begins_anew().await;
        scene.dial.advance(Lifetime::from_hours(25));
        scene.second_begins_anew().await;
    }
}

#[tokio::test]
async fn i11_a_session_of_one_listener_opens_no_other() {
    for kind in KINDS {
        let scene = Scene::new(kind).await;
        // The same process, the same policy.
        let other = Place::new(&scene.manager, options());
        assert_begins_anew(&scene.second, &other).await;
    }
}

/// A session of TLS 1.2 is good for more than one connection, so each use is checked.
#[tokio::test]
async fn i11_a_session_used_twice_is_checked_twice() {
    let scene = Scene::new(Kind::Tls12).await;
    for _ in 0..2 {
        assert!(scene.first.dial(&scene.place, Some(1)).await.unwrap().resumed());
    }
    let revoked = scene.revoke(&scene.old, &scene.first);
    scene.manager.publish_bundle(bundle("prod", 2, &[&scene.old, &scene.new], &[revoked])).unwrap();
    let refused = scene.first.dial(&scene.place, Some(1)).await.err().unwrap();
    assert_eq!(refused.label(), "revoked");
}
