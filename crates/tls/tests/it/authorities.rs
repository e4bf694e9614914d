//! Trust without a cluster: roots from files, peers by name and key, a grace for those that ended.

use std::sync::Arc;

use certus_forge::{Ca, KeyType, LeafSpec};
use certus_pki::accept::Allow;
use certus_pki::{Accept, Bundle, Epoch, KeyPolicy, Lifetime, PrivateKey, Rejection, Root, San};
use certus_tls::{CutReason, HandshakeError, Identity, Publisher, Snapshot};

use crate::places::*;
use crate::world::{Dial, START};

const HOUR: Lifetime = Lifetime::from_hours(1);
const BOTH: [Over; 2] = [Over::Stream, Over::Udp];

fn trust(revision: u64, roots: &[&Ca]) -> Arc<Bundle> {
    let roots = roots.iter().map(|root| Root::from_der(&root.root_der).unwrap()).collect();
    Arc::new(Bundle::of_authorities(Epoch { generation: 0, revision }, roots, []))
}

fn identity(ca: &Ca, spec: &LeafSpec) -> Arc<Identity> {
    let leaf = ca.leaf(spec);
    let key = PrivateKey::from_pkcs8_der(&leaf.key_pkcs8_der).ok().unwrap();
    Arc::new(Identity::of_any_authority(&key, leaf.chain_der).ok().unwrap())
}

fn named(names: &[&str]) -> LeafSpec {
    LeafSpec { dns: names.iter().map(|name| (*name).to_owned()).collect(), ..LeafSpec::named("some process") }
}

fn node(identity: &Arc<Identity>, trust: &Arc<Bundle>, dial: &Dial) -> Publisher {
    Publisher::new(Snapshot::new(Some(identity.clone()), trust.clone()), dial.clock())
}

fn anyone() -> Accept {
    Accept::new(Allow::Anyone)
}

fn rejection(error: HandshakeError) -> Rejection {
    let HandshakeError::Rejected(rejection) = error else { panic!("{error:?}") };
    rejection
}

/// One authority, and a server below it.
struct Scene {
    ca: Ca,
    dial: Dial,
    trust: Arc<Bundle>,
    one: Publisher,
}

impl Scene {
    fn new() -> Scene {
        let (ca, dial) = (Ca::root("company").intermediate("company issuer", 0), Dial::new());
        let trust = trust(1, &[&ca]);
        let one = node(&identity(&ca, &named(&["web.internal"])), &trust, &dial);
        Scene { ca, dial, trust, one }
    }

    fn caller(&self, spec: &LeafSpec) -> Publisher {
        node(&identity(&self.ca, spec), &self.trust, &self.dial)
    }

    /// How a server with this policy refuses whoever shows this: by both ways the same.
    async fn refused(&self, spec: &LeafSpec, accept: Accept) -> Rejection {
        let place = Place::accepting(&self.one, accept);
        let client = dialer(&self.caller(spec), anyone());
        let [stream, udp] = [place.refusal(BOTH[0], &client).await, place.refusal(BOTH[1], &client).await];
        assert_eq!(stream, udp);
        rejection(stream.0)
    }
}

#[tokio::test]
async fn peers_need_no_identity_of_ours_and_may_have_one() {
    let scene = Scene::new();
    let place = Place::accepting(&scene.one, anyone());
    for over in BOTH {
        let plain = dialer(&scene.caller(&named(&["db.internal"])), anyone());
        let (served, _dialed) = place.connect(over, &plain).await;
        let peer = &served.admission().peer().unwrap().peer;
        assert_eq!((peer.identity.as_ref(), peer.name().as_str()), (None, "db.internal"));
        let spiffe = LeafSpec::spiffe("db", "spiffe://prod/worker/db");
        let (served, _dialed) = place.connect(over, &dialer(&scene.caller(&spiffe), anyone())).await;
        let peer = &served.admission().peer().unwrap().peer;
        assert_eq!(peer.name(), "spiffe://prod/worker/db");
    }
    // An identity is still one that a policy can want.
    let accept = Accept::only(vec!["spiffe://prod/worker/db".parse().unwrap()]);
    let refused = scene.refused(&named(&["db.internal"]), accept).await;
    assert!(matches!(refused, Rejection::NotAllowed { came, .. } if came == "db.internal"));
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let scene = Scene::new();
    let stranger =
        node(&identity(&Ca::root("company"), &named(&["web.internal"])), &scene.trust, &scene.dial);
    let place = Place::accepting(&scene.one, anyone());
    for over in BOTH {
        let (said, alert) = place.refusal(over, &dialer(&stranger, anyone())).await;
        assert!(matches!(rejection(said), Rejection::UnknownAuthority { .. }));
        assert_eq!(alert, "unknown_ca");
    }
}

#[tokio::test]
async fn a_dialer_finds_the_name_that_it_dialed_or_says_which_there_are() {
    let scene = Scene::new();
    let server = identity(&scene.ca, &named(&["web.internal", "*.web.internal"]));
    let place = Place::accepting(&node(&server, &scene.trust, &scene.dial), anyone());
    let caller = scene.caller(&named(&["db.internal"]));
    let dns = |name: &str| anyone().named(San::Dns(name.to_owned()));
    for over in BOTH {
        for good in ["web.internal", "eu.web.internal"] {
            place.connect(over, &dialer(&caller, dns(good))).await;
        }
        for (bad, said) in [
            ("api.internal", "certificate is valid for web.internal, *.web.internal, not api.internal"),
            (
                "a.b.web.internal",
                "certificate is valid for web.internal, *.web.internal, not a.b.web.internal",
            ),
        ] {
            let (served, dialed) = place.meet(over, &dialer(&caller, dns(bad))).await;
            assert_eq!(rejection(dialed.err().unwrap()).to_string(), said);
            assert!(matches!(served.err(), Some(HandshakeError::PeerRejectedUs { .. })));
        }
        let address = anyone().named(San::Ip([127, 0, 0, 1].into()));
        let (_, dialed) = place.meet(over, &dialer(&caller, address)).await;
        assert!(matches!(rejection(dialed.err().unwrap()), Rejection::WrongName { .. }));
    }
}

#[tokio::test]
async fn keys_and_required_names_are_refused_in_words() {
    let scene = Scene::new();
    let rsa = LeafSpec { key_type: KeyType::Rsa2048, ..named(&["db.internal"]) };
    let refused = scene.refused(&rsa, anyone().with_keys(KeyPolicy::elliptic())).await;
    assert_eq!(refused.to_string(), "certificate must use ECDSA or Ed25519, got RSA-2048");
    let internal = || anyone().requiring(vec!["*.internal".parse().unwrap()]);
    let refused = scene.refused(&named(&["a.db.internal"]), internal()).await;
    assert!(matches!(&refused, Rejection::NameMissing { expected, came } if expected == "*.internal"
        && came == &["a.db.internal"]));
    let client = dialer(&scene.caller(&named(&["example.com", "db.internal"])), anyone());
    Place::accepting(&scene.one, internal()).connect(Over::Stream, &client).await;
}

#[tokio::test]
async fn a_grace_takes_who_ended_and_ends_itself() {
    let scene = Scene::new();
    let ends = START.plus(HOUR);
    let spec = LeafSpec { not_after: ends.secs(), ..named(&["db.internal"]) };
    let client = dialer(&scene.caller(&spec), anyone());
    let place = Place::accepting(&scene.one, anyone().allowing_expired(HOUR));
    let (before, before_end) = place.connect(Over::Stream, &client).await;
    assert!(!before.admission().peer().unwrap().peer.expired);
    scene.dial.advance(HOUR);
    scene.dial.advance(Lifetime::from_secs(1));
    for over in BOTH {
        let (served, _dialed) = place.connect(over, &client).await;
        assert!(served.admission().peer().unwrap().peer.expired);
    }
    assert_eq!(scene.one.registry().sweep(scene.dial.now()), [], "who was here lives on too");
    before.admission().recheck().unwrap();
    scene.dial.advance(HOUR);
    let cuts = scene.one.registry().sweep(scene.dial.now());
    let now = scene.dial.now();
    let expired = Rejection::Expired { what: "the certificate", now, not_after: ends };
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].reason, CutReason::Peer(expired.clone()));
    drop((before, before_end));
    let (said, alert) = place.refusal(Over::Udp, &client).await;
    assert_eq!((rejection(said), alert), (expired, "certificate_expired"));
}

#[tokio::test]
async fn a_grace_ends_with_the_root_and_not_with_an_issuer_that_ends_beside_its_leaf() {
    let dial = Dial::new();
    let ends = START.plus(HOUR);
    let root = Ca::root_valid("company", START.secs() - 60, ends.plus(HOUR).secs());
    let spec = certus_forge::CaSpec { not_after: ends.secs(), ..certus_forge::CaSpec::named("issuer") };
    let issuer = root.intermediate_from(&spec);
    let trust = trust(1, &[&root]);
    let one = node(&identity(&root, &named(&["web.internal"])), &trust, &dial);
    let caller = node(
        &identity(&issuer, &LeafSpec { not_after: ends.secs(), ..named(&["db.internal"]) }),
        &trust,
        &dial,
    );
    let place = Place::accepting(&one, anyone().allowing_expired(Lifetime::from_days(1)));
    let (served, _dialed) = place.connect(Over::Stream, &dialer(&caller, anyone())).await;
    dial.advance(HOUR);
    dial.advance(Lifetime::from_secs(1));
    assert_eq!(one.registry().sweep(dial.now()), []);
    dial.advance(HOUR);
    assert_eq!(one.registry().sweep(dial.now()).len(), 1);
    assert!(served.admission().cut().is_some());
}

#[tokio::test]
async fn a_shorter_grace_reaches_live_connections() {
    let scene = Scene::new();
    let ends = START.plus(HOUR);
    let spec = |ends: certus_pki::UnixTime| LeafSpec { not_after: ends.secs(), ..named(&["db.internal"]) };
    let place = Place::accepting(&scene.one, anyone().allowing_expired(Lifetime::from_days(2)));
    let (ended, _a) = place.connect(Over::Stream, &dialer(&scene.caller(&spec(ends)), anyone())).await;
    let later = dialer(&scene.caller(&spec(ends.plus(HOUR))), anyone());
    let (valid, _b) = place.connect(Over::Stream, &later).await;
    scene.dial.advance(HOUR);
    scene.dial.advance(Lifetime::from_secs(1));
    let cuts = place.server.set_accept(anyone());
    assert_eq!(cuts.len(), 1);
    assert!(ended.admission().cut().is_some() && valid.admission().recheck().is_ok());
    scene.dial.advance(HOUR);
    assert!(matches!(valid.admission().recheck(), Err(Rejection::Expired { .. })));
    assert_eq!(scene.one.registry().sweep(scene.dial.now()).len(), 1);
    assert!(valid.admission().cut().is_some());
}

#[tokio::test]
async fn a_removed_root_cuts_none_that_the_grace_takes() {
    let (dial, other) = (Dial::new(), Ca::root("another company"));
    let ca = Ca::root("company");
    let one = node(&identity(&ca, &named(&["web.internal"])), &trust(1, &[&ca, &other]), &dial);
    let place = Place::accepting(&one, anyone().allowing_expired(Lifetime::from_days(1)));
    let spec = LeafSpec { not_after: START.plus(HOUR).secs(), ..named(&["db.internal"]) };
    dial.advance(HOUR);
    dial.advance(HOUR);
    let both = trust(1, &[&ca, &other]);
    let of = |ca: &Ca| dialer(&node(&identity(ca, &spec), &both, &dial), anyone());
    let (ended, _a) = place.connect(Over::Stream, &of(&ca)).await;
    let (gone, _b) = place.connect(Over::Stream, &of(&other)).await;
    assert_eq!(one.publish_bundle(trust(2, &[&ca])).unwrap().len(), 1);
    assert!(ended.admission().cut().is_none() && gone.admission().cut().is_some());
}
