//! Resumption stays on, and never outlives trust (I11). TLS 1.3 throughout.

use certus_pki::{Lifetime, Rejection, SpiffeId};
use certus_tls::{Client, HandshakeError, Publisher, Server, Snapshot, explain_read_error};

use crate::world::*;

const M1: &str = "spiffe://prod/manager/m1";
const WORKERS: [&str; 2] = ["spiffe://prod/worker/web-1", "spiffe://prod/worker/web-2"];

/// A manager's server, and two workers that have each resumed once already.
struct Scene {
    prod: Authority,
    dial: Dial,
    manager: Publisher,
    server: Server,
    workers: [(Publisher, Client); 2],
}

impl Scene {
    async fn new(lifetimes: [Lifetime; 2]) -> Scene {
        let (prod, dial) = (Authority::new("prod"), Dial::new());
        let trust = bundle("prod", 1, &[&prod], &[]);
        let manager = node(&prod.identity_for(M1, Lifetime::from_days(9)), &trust, &dial);
        let server = server(&manager, &["spiffe://prod/worker/*"]);
        let [one, two] = [(WORKERS[0], lifetimes[0]), (WORKERS[1], lifetimes[1])].map(|(id, lifetime)| {
            let worker = node(&prod.identity_for(id, lifetime), &trust, &dial);
            let client = client(&worker, &[M1]);
            (worker, client)
        });
        let scene = Scene { prod, dial, manager, server, workers: [one, two] };
        for (_, client) in &scene.workers {
            assert!(!connect(&scene.server, client).await.0.resumed());
            let (served, dialed) = connect(&scene.server, client).await;
            assert!(served.resumed() && dialed.resumed(), "both sides resume");
        }
        scene
    }

    /// The first worker, who has a session, tries again; the second resumes as if nothing had happened.
    async fn first_refused(&self, second_resumes: bool) -> (Rejection, &'static str) {
        let (served, dialed) = meet(&self.server, &self.workers[0].1).await;
        let HandshakeError::Rejected(rejection) = refused(served) else { panic!("not refused by us") };
        let told = explain_read_error(&read_error(&mut dialed.ok().unwrap()).await);
        let Some(HandshakeError::PeerRejectedUs { alert, .. }) = told else { panic!("{told:?}") };
        let (served, _) = connect(&self.server, &self.workers[1].1).await;
        assert_eq!(served.resumed(), second_resumes);
        assert_eq!(served.peer().unwrap().peer.identity, WORKERS[1].parse::<SpiffeId>().ok());
        (rejection, alert)
    }

    fn id(&self, worker: usize) -> certus_pki::Revocation {
        self.prod.revoke(self.workers[worker].0.current().identity().unwrap())
    }
}

#[tokio::test]
async fn i11_a_revoked_peer_does_not_come_back_by_resumption() {
    let scene = Scene::new([DAY, DAY]).await;
    let trust = bundle("prod", 2, &[&scene.prod], &[scene.id(0)]);
    let identity = scene.manager.current().identity().cloned();
    scene.manager.publish(Snapshot::new(identity, trust)).unwrap();
    let (rejection, alert) = scene.first_refused(true).await;
    assert!(matches!(rejection, Rejection::Revoked { .. }), "{rejection:?}");
    assert_eq!(alert, "certificate_revoked");
}

#[tokio::test]
async fn i11_an_expired_peer_does_not_come_back_by_resumption() {
    let scene = Scene::new([Lifetime::from_hours(1), DAY]).await;
    scene.dial.advance(Lifetime::from_hours(2));
    let (rejection, alert) = scene.first_refused(true).await;
    assert!(matches!(rejection, Rejection::Expired { .. }), "{rejection:?}");
    assert_eq!(alert, "certificate_expired");
}

#[tokio::test]
async fn i11_a_refused_policy_does_not_come_back_by_resumption() {
    let scene = Scene::new([DAY, DAY]).await;
    scene.server.set_accept(only(&[WORKERS[1]]));
    // A changed policy begins with no sessions at all.
    let (rejection, alert) = scene.first_refused(false).await;
    assert!(matches!(rejection, Rejection::NotAllowed { .. }), "{rejection:?}");
    assert_eq!(alert, "access_denied");
    let (served, _) = connect(&scene.server, &scene.workers[1].1).await;
    assert!(served.resumed(), "and then resumes again");
}

#[tokio::test]
async fn i11_a_removed_issuer_does_not_come_back_by_resumption() {
    let scene = Scene::new([DAY, DAY]).await;
    let other = Authority::new("prod");
    let identity = other.identity(M1);
    let trust = bundle("prod", 2, &[&scene.prod, &other], &[]);
    scene.manager.publish(Snapshot::new(Some(identity.clone()), trust.clone())).unwrap();
    // One more full handshake each under the new identity, then the issuer is struck.
    for (worker, client) in &scene.workers {
        let own = worker.current().identity().cloned();
        worker.publish(Snapshot::new(own, trust.clone())).unwrap();
        assert!(!connect(&scene.server, client).await.0.resumed());
        assert!(connect(&scene.server, client).await.0.resumed());
    }
    let struck = certus_pki::Delta {
        epoch: certus_pki::Epoch { generation: 1, revision: 3 },
        changes: vec![certus_pki::Change::IssuerRemoved(scene.prod.issuer.key_hash())],
    };
    scene.manager.apply(&struck).unwrap();
    let (served, dialed) = meet(&scene.server, &scene.workers[0].1).await;
    assert!(matches!(refused(served), HandshakeError::Rejected(Rejection::IssuerNotActive { .. })));
    let told = explain_read_error(&read_error(&mut dialed.ok().unwrap()).await);
    assert!(matches!(told, Some(HandshakeError::PeerRejectedUs { alert: "unknown_ca", .. })));
}

#[tokio::test]
async fn i11_a_removed_root_does_not_come_back_by_resumption() {
    let dial = Dial::new();
    let [old, new] = [Authority::new("prod"), Authority::new("prod")];
    let both = bundle("prod", 1, &[&old, &new], &[]);
    let manager = node(&new.identity(M1), &both, &dial);
    let server = server(&manager, &["spiffe://prod/worker/*"]);
    let of = |authority: &Authority, id| {
        let worker = node(&authority.identity(id), &both, &dial);
        let client = client(&worker, &[M1]);
        (worker, client)
    };
    let [(_one, old_worker), (_two, new_worker)] = [of(&old, WORKERS[0]), of(&new, WORKERS[1])];
    for client in [&old_worker, &new_worker] {
        connect(&server, client).await;
        assert!(connect(&server, client).await.0.resumed());
    }
    let identity = manager.current().identity().cloned();
    manager.publish(Snapshot::new(identity, bundle("prod", 2, &[&new], &[]))).unwrap();
    let (served, dialed) = meet(&server, &old_worker).await;
    let said = refused(served);
    assert!(matches!(said, HandshakeError::Rejected(Rejection::UnknownAuthority { .. })), "{said:?}");
    let told = explain_read_error(&read_error(&mut dialed.ok().unwrap()).await);
    assert!(matches!(told, Some(HandshakeError::PeerRejectedUs { alert: "unknown_ca", .. })));
    assert!(!connect(&server, &new_worker).await.0.resumed(), "changed roots begin with no sessions");
    assert!(connect(&server, &new_worker).await.0.resumed());
}

#[tokio::test]
async fn i11_a_dialer_does_not_resume_with_a_revoked_server() {
    let scene = Scene::new([DAY, DAY]).await;
    let (worker, client) = &scene.workers[0];
    // Only this worker knows of the revocation: the server goes on resuming.
    let revocation = scene.prod.revoke(scene.manager.current().identity().unwrap());
    let trust = bundle("prod", 2, &[&scene.prod], &[revocation]);
    worker.publish(Snapshot::new(worker.current().identity().cloned(), trust)).unwrap();
    let (served, dialed) = meet(&scene.server, client).await;
    assert!(matches!(refused(dialed), HandshakeError::Rejected(Rejection::Revoked { .. })));
    // In a full handshake the server would have got an alert: it was a resumption, refused at its end.
    assert_eq!(refused(served).label(), "io");
}

#[tokio::test]
async fn i11_a_session_opens_one_listener_only() {
    let scene = Scene::new([DAY, DAY]).await;
    let other = server(&scene.manager, &["spiffe://prod/worker/*"]);
    let client = &scene.workers[0].1;
    assert!(!connect(&other, client).await.0.resumed());
    assert!(connect(&other, client).await.0.resumed());
}

#[tokio::test]
async fn a_renewed_identity_is_seen_at_once() {
    let scene = Scene::new([DAY, DAY]).await;
    let (worker, client) = &scene.workers[0];
    let renewed = scene.prod.identity(WORKERS[0]);
    let serial = renewed.leaf().serial;
    worker.publish(Snapshot::new(Some(renewed), worker.current().bundle().clone())).unwrap();
    let (served, _) = connect(&scene.server, client).await;
    assert!(!served.resumed(), "the old session would show the old certificate");
    assert_eq!(served.peer().unwrap().peer.cert.serial, serial);
}
