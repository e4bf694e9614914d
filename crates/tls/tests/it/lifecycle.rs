//! What becomes of live connections: each kind of change, by each rule, of the peer's certificate and of
//! our own. On a clock that stands still but for its timers.

use std::time::Duration;

use certus_pki::{Change, Delta, Epoch, Lifetime, Rejection};
use certus_tls::{Action, CutReason, CutRecord, Lifecycle, Publisher, Server, ServerOptions};
use tokio::io::DuplexStream;
use tokio::time::Instant;

use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const A: &str = "spiffe://prod/worker/a";
const B: &str = "spiffe://prod/worker/b";
const ALL: &[&str] = &["spiffe://prod/*"];
const GRACE: Duration = Duration::from_secs(30);
const HOUR: Lifetime = Lifetime::from_hours(1);

type Pair = (certus_tls::TlsStream<DuplexStream>, certus_tls::TlsStream<DuplexStream>);

const KEEP: Lifecycle = Lifecycle {
    on_expiry: Action::Keep,
    on_rotation: Action::Keep,
    on_revocation: Action::Keep,
    on_policy_change: Action::Keep,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Expiry,
    Revocation,
    IssuerStruck,
    RootRemoved,
    Policy,
    OwnExpiry,
    OwnRevocation,
    OwnIssuerStruck,
    OwnRootRemoved,
    OwnRotation,
}

use Event::*;

const PEERS: [Event; 5] = [Expiry, Revocation, IssuerStruck, RootRemoved, Policy];
const OURS: [Event; 5] = [OwnExpiry, OwnRevocation, OwnIssuerStruck, OwnRootRemoved, OwnRotation];

impl Event {
    /// Everything else is kept, so that the one rule is seen.
    fn rules(self, action: Action) -> Lifecycle {
        match self {
            Expiry | OwnExpiry => Lifecycle { on_expiry: action, ..KEEP },
            Policy => Lifecycle { on_policy_change: action, ..KEEP },
            OwnRotation => Lifecycle { on_rotation: action, ..KEEP },
            _ => Lifecycle { on_revocation: action, ..KEEP },
        }
    }

    fn explains(self, reason: &CutReason) -> bool {
        match self {
            Expiry => matches!(reason, CutReason::Peer(Rejection::Expired { what: "the certificate", .. })),
            Revocation => matches!(reason, CutReason::Peer(Rejection::Revoked { .. })),
            IssuerStruck => matches!(reason, CutReason::Peer(Rejection::IssuerNotActive { .. })),
            RootRemoved => matches!(reason, CutReason::Peer(Rejection::UnknownAuthority { .. })),
            Policy => matches!(reason, CutReason::Peer(Rejection::NotAllowed { .. })),
            OwnExpiry => matches!(reason, CutReason::OwnExpired { .. }),
            OwnRevocation => matches!(reason, CutReason::OwnRevoked { .. }),
            OwnIssuerStruck | OwnRootRemoved => matches!(reason, CutReason::OwnUntrusted { .. }),
            OwnRotation => matches!(reason, CutReason::OwnReplaced),
        }
    }
}

/// Two callers of one listener, and the first of them at another that keeps everything.
struct Scene {
    event: Event,
    dial: Dial,
    /// Who stands above us, above the first caller, above the second.
    above: [Authority; 3],
    one: Publisher,
    first_id: std::sync::Arc<certus_tls::Identity>,
    server: Server,
    _keeping: Server,
    first: Pair,
    second: Pair,
    kept: Pair,
}

impl Scene {
    async fn new(event: Event, action: Action) -> Scene {
        let dial = Dial::new();
        let above = [(); 3].map(|()| Authority::new("prod"));
        let trust = bundle("prod", 1, &[&above[0], &above[1], &above[2]], &[]);
        let lifetime = |of| if event == of { HOUR } else { DAY };
        let one = node(&above[0].identity_for(WEB_1, lifetime(OwnExpiry)), &trust, &dial);
        let with = |lifecycle| {
            Server::new(one.credentials(), ServerOptions { lifecycle, ..ServerOptions::new(only(ALL)) })
        };
        let (server, keeping) = (with(event.rules(action)), with(KEEP));
        let first_id = above[1].identity_for(A, lifetime(Expiry));
        // Callers on the same machine as far as trust goes: their own rules touch nothing.
        let callers = [&first_id, &above[2].identity(B)].map(|id| client(&node(id, &trust, &dial), ALL));
        let first = connect(&server, &callers[0]).await;
        let second = connect(&server, &callers[1]).await;
        let kept = connect(&keeping, &callers[0]).await;
        Scene { event, dial, above, one, first_id, server, _keeping: keeping, first, second, kept }
    }

    fn happens(&self) -> Vec<CutRecord> {
        let [ours, first, second] = [&self.above[0], &self.above[1], &self.above[2]];
        let revoked = |revocation| bundle("prod", 2, &[ours, first, second], &[revocation]);
        let struck = |authority: &Authority| Delta {
            epoch: Epoch { generation: 1, revision: 2 },
            changes: vec![Change::IssuerRemoved(authority.issuer.key_hash())],
        };
        let own = self.one.current().identity().cloned().unwrap();
        let cuts = match self.event {
            Expiry | OwnExpiry => {
                self.dial.advance(HOUR);
                self.dial.advance(Lifetime::from_secs(1));
                Ok(self.one.registry().sweep(self.dial.now()))
            }
            Revocation => self.one.publish_bundle(revoked(first.revoke(&self.first_id))),
            OwnRevocation => self.one.publish_bundle(revoked(ours.revoke(&own))),
            IssuerStruck => self.one.apply(&struck(first)),
            OwnIssuerStruck => self.one.apply(&struck(ours)),
            RootRemoved => self.one.publish_bundle(bundle("prod", 2, &[ours, second], &[])),
            OwnRootRemoved => self.one.publish_bundle(bundle("prod", 2, &[first, second], &[])),
            Policy => Ok(self.server.set_accept(only(&[B]))),
            OwnRotation => self.one.publish_identity(ours.identity(WEB_1)),
        };
        cuts.unwrap()
    }

    /// The connections that the event touches, and those that it does not.
    fn into_touched(self) -> (Vec<Pair>, Vec<Pair>, Publisher) {
        if OURS.contains(&self.event) {
            (vec![self.first, self.second], vec![self.kept], self.one)
        } else {
            (vec![self.first], vec![self.second, self.kept], self.one)
        }
    }
}

fn every_event() -> impl Iterator<Item = Event> {
    PEERS.into_iter().chain(OURS)
}

async fn undisturbed(pairs: &mut [Pair]) {
    for (served, dialed) in pairs {
        assert!(served.cut().is_none() && !served.admission().draining().is_cancelled());
        talk(served, dialed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn keep_leaves_all() {
    for event in every_event() {
        let scene = Scene::new(event, Action::Keep).await;
        assert_eq!(scene.happens(), [], "{event:?}");
        let (mut touched, mut others, one) = scene.into_touched();
        tokio::time::sleep(2 * GRACE).await;
        undisturbed(&mut touched).await;
        undisturbed(&mut others).await;
        assert_eq!(one.registry().live(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn cut_ends_those_and_no_others() {
    for event in every_event() {
        let scene = Scene::new(event, Action::Cut).await;
        let cuts = scene.happens();
        let (touched, mut others, one) = scene.into_touched();
        assert_eq!(cuts.len(), touched.len(), "{event:?}");
        for (mut served, _dialed) in touched {
            let reason = served.cut().unwrap_or_else(|| panic!("{event:?}")).reason;
            assert!(event.explains(&reason), "{event:?}: {reason:?}");
            assert!(cuts.iter().any(|cut| cut.reason == reason));
            assert_eq!(read_error(&mut served).await.kind(), std::io::ErrorKind::ConnectionAborted);
        }
        undisturbed(&mut others).await;
        assert_eq!(one.registry().live(), others.len());
    }
}

#[tokio::test(start_paused = true)]
async fn drain_asks_first_and_cuts_what_is_left() {
    for event in every_event() {
        let scene = Scene::new(event, Action::Drain(GRACE)).await;
        let began = Instant::now();
        assert_eq!(scene.happens(), [], "{event:?}");
        let (mut touched, mut others, one) = scene.into_touched();
        for (served, dialed) in &mut touched {
            served.admission().draining().cancelled().await;
            assert!(served.cut().is_none());
            talk(served, dialed).await;
        }
        assert!(began.elapsed() <= GRACE / 2);
        for (served, _dialed) in &touched {
            served.cancelled().cancelled().await;
            assert!(began.elapsed() >= GRACE, "{event:?}");
            assert!(event.explains(&served.cut().unwrap().reason));
        }
        undisturbed(&mut others).await;
        assert_eq!(one.registry().live(), others.len());
    }
}

#[tokio::test(start_paused = true)]
async fn drained_connections_are_asked_one_after_the_other() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let lifecycle = Lifecycle { on_rotation: Action::Drain(GRACE), ..Lifecycle::default() };
    let server = Server::new(one.credentials(), ServerOptions { lifecycle, ..ServerOptions::new(only(ALL)) });
    let caller = client(&node(&prod.identity(A), &trust, &dial), ALL);
    let mut pairs = Vec::new();
    for _ in 0..20 {
        pairs.push(connect(&server, &caller).await);
    }
    let began = Instant::now();
    let asked = pairs.iter().map(|(served, _)| {
        let draining = served.admission().draining();
        tokio::spawn(async move {
            draining.cancelled().await;
            began.elapsed()
        })
    });
    let asked: Vec<_> = asked.collect();
    assert_eq!(one.publish_identity(prod.identity(WEB_1)).unwrap(), []);
    let mut fresh = connect(&server, &caller).await;
    let mut moments = Vec::new();
    for asked in asked {
        moments.push(asked.await.unwrap());
    }
    moments.sort();
    moments.dedup();
    assert_eq!(moments.len(), 20, "no two at once: {moments:?}");
    assert!(moments[19] <= GRACE / 2);
    // Who finishes in time is not cut.
    drop(pairs.split_off(5));
    for (served, _) in &pairs {
        served.cancelled().cancelled().await;
    }
    assert!(began.elapsed() >= GRACE);
    assert_eq!(one.registry().live(), 1);
    talk(&mut fresh.0, &mut fresh.1).await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_does_not_wait_for_a_drain() {
    let forever = Action::Drain(Duration::MAX);
    let scene = Scene::new(OwnRotation, forever).await;
    assert_eq!(scene.happens(), []);
    scene.first.0.admission().draining().cancelled().await;
    assert!(scene.first.0.cut().is_none());

    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let lifecycle = Lifecycle { on_rotation: Action::Drain(GRACE), ..Lifecycle::default() };
    let server = Server::new(one.credentials(), ServerOptions { lifecycle, ..ServerOptions::new(only(ALL)) });
    let identity = prod.identity(A);
    let (served, _dialed) = connect(&server, &client(&node(&identity, &trust, &dial), ALL)).await;
    one.publish_identity(prod.identity(WEB_1)).unwrap();
    served.admission().draining().cancelled().await;
    let cuts = one.publish_bundle(bundle("prod", 2, &[&prod], &[prod.revoke(&identity)])).unwrap();
    assert_eq!(cuts.len(), 1);
    assert!(matches!(served.cut().unwrap().reason, CutReason::Peer(Rejection::Revoked { .. })));
}

/// What is kept past its end is kept for its end alone.
#[tokio::test]
async fn a_certificate_that_ended_does_not_hide_that_its_root_is_gone() {
    let dial = Dial::new();
    let [old, new] = [Authority::new("prod"), Authority::new("prod")];
    let one = node(&new.identity(WEB_1), &bundle("prod", 1, &[&old, &new], &[]), &dial);
    let lifecycle = Lifecycle { on_expiry: Action::Keep, ..Lifecycle::default() };
    let server = Server::new(one.credentials(), ServerOptions { lifecycle, ..ServerOptions::new(only(ALL)) });
    let caller = node(&old.identity_for(A, HOUR), &bundle("prod", 1, &[&old, &new], &[]), &dial);
    let (served, _dialed) = connect(&server, &client(&caller, ALL)).await;
    dial.advance(HOUR);
    dial.advance(HOUR);
    assert_eq!(one.registry().sweep(dial.now()), []);
    assert!(one.publish_bundle(bundle("prod", 2, &[&old, &new], &[])).unwrap().is_empty());
    let cuts = one.publish_bundle(bundle("prod", 3, &[&new], &[])).unwrap();
    assert_eq!(cuts.len(), 1);
    assert!(matches!(served.cut().unwrap().reason, CutReason::Peer(Rejection::UnknownAuthority { .. })));
}

/// A dialer has rules of its own.
#[tokio::test]
async fn a_dialer_s_rotation_cuts_where_it_says_so() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let place = server(&node(&prod.identity(WEB_1), &trust, &dial), ALL);
    let caller = node(&prod.identity(A), &trust, &dial);
    let lifecycle = Lifecycle { on_rotation: Action::Cut, ..Lifecycle::default() };
    let options = certus_tls::ClientOptions { lifecycle, ..certus_tls::ClientOptions::new(only(ALL)) };
    let cutting = certus_tls::Client::new(caller.credentials(), options);
    let (_served, dialed) = connect(&place, &cutting).await;
    let mut kept = connect(&place, &client(&caller, ALL)).await;
    let cuts = caller.publish_identity(prod.identity(A)).unwrap();
    assert_eq!((cuts.len(), dialed.cut().unwrap().reason), (1, CutReason::OwnReplaced));
    talk(&mut kept.0, &mut kept.1).await;
}
