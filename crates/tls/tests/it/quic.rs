//! QUIC is judged as TLS over a byte stream is: the same answers, the same words, the same cuts.

use std::sync::Arc;

use certus_forge::{Ca, Eku, LeafSpec};
use certus_pki::cert::Certificate;
use certus_pki::{
    Accept, Bundle, Epoch, IssuerRef, KeyPolicy, Lifetime, PrivateKey, Rejection, Root, San, UnixTime,
};
use certus_tls::{CutReason, HandshakeError, Identity, Publisher, ServerOptions, Snapshot};
use quinn::crypto::rustls::QuicClientConfig;

use crate::foreign::{Foreign, Kind};
use crate::places::*;
use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const WEB_2: &str = "spiffe://prod/worker/web-2";
const ALL: &[&str] = &["spiffe://prod/*"];

/// An authority that signs what ours does not, and the bundle that trusts it.
struct Forge {
    issuer: Ca,
    trust: Arc<Bundle>,
}

impl Forge {
    fn new() -> Forge {
        let root = Ca::root("prod");
        let issuer = root.intermediate("prod issuer", 0);
        let certificate = Certificate::from_der(&issuer.der).unwrap();
        let known = IssuerRef { key_hash: certificate.key_hash(), not_after: certificate.not_after };
        let epoch = Epoch { generation: 1, revision: 1 };
        let roots = vec![Root::from_der(&root.der).unwrap()];
        let trust = Bundle::new("prod".parse().unwrap(), epoch, roots, [known], []);
        Forge { issuer, trust: Arc::new(trust) }
    }

    fn identity(&self, spec: &LeafSpec) -> Arc<Identity> {
        let leaf = self.issuer.leaf(spec);
        let key = PrivateKey::from_pkcs8_der(&leaf.key_pkcs8_der).ok().unwrap();
        Arc::new(Identity::of_any_authority(&key, leaf.chain_der).ok().unwrap())
    }
}

/// One who is refused: what it shows, under whose trust the server judges it, by which policy.
struct Case {
    label: &'static str,
    alert: &'static str,
    shows: Option<Arc<Identity>>,
    trust: Arc<Bundle>,
    accept: Accept,
}

fn cases(prod: &Authority, forge: &Forge) -> Vec<Case> {
    let trust = bundle("prod", 1, &[prod], &[]);
    let known = prod.identity(WEB_2);
    let revoked = bundle("prod", 1, &[prod], &[prod.revoke(&known)]);
    let foreign = Authority::new("prod").identity(WEB_2);
    let gone = prod.identity_for(WEB_2, Lifetime::from_secs(60));
    let early = prod.identity_from(WEB_2, UnixTime::from_secs(START.secs() + 86_400));
    let serving = forge.identity(&LeafSpec { eku: Eku::Server, ..LeafSpec::spiffe("web-2", WEB_2) });
    let other = forge.identity(&LeafSpec::spiffe("web-2", "spiffe://staging/worker/web-2"));
    let case = |label, alert, shows: &Arc<Identity>, trust: &Arc<Bundle>, accept| {
        let (shows, trust) = (Some(shows.clone()), trust.clone());
        Case { label, alert, shows, trust, accept }
    };
    let internal = vec!["*.internal".parse().unwrap()];
    let nobody =
        Case { shows: None, ..case("no_certificate", "certificate_required", &known, &trust, only(ALL)) };
    vec![
        nobody,
        case("unknown_authority", "unknown_ca", &foreign, &trust, only(ALL)),
        case("expired", "certificate_expired", &gone, &trust, only(ALL)),
        case("not_yet_valid", "certificate_expired", &early, &trust, only(ALL)),
        case("revoked", "certificate_revoked", &known, &revoked, only(ALL)),
        case("not_allowed", "access_denied", &known, &trust, only(&["spiffe://prod/worker/web-9"])),
        case("wrong_purpose", "unsupported_certificate", &serving, &forge.trust, only(ALL)),
        case("wrong_cluster", "access_denied", &other, &forge.trust, only(ALL)),
        case(
            "key_not_accepted",
            "access_denied",
            &known,
            &trust,
            only(ALL).with_keys(KeyPolicy::of_words(["ed25519"]).unwrap()),
        ),
        case("name_missing", "access_denied", &known, &trust, only(ALL).requiring(internal)),
        case(
            "wrong_name",
            "bad_certificate",
            &known,
            &trust,
            only(ALL).named(San::Dns("web.internal".to_owned())),
        ),
    ]
}

#[tokio::test]
async fn each_refusal_is_the_same_as_over_a_byte_stream() {
    let (prod, forge, dial) = (Authority::new("prod"), Forge::new(), Dial::new());
    dial.advance(Lifetime::from_hours(1));
    for Case { label, alert, shows, trust, accept } in cases(&prod, &forge) {
        let own = forge.identity(&LeafSpec::spiffe("web-1", WEB_1));
        let own = if Arc::ptr_eq(&trust, &forge.trust) { own } else { prod.identity(WEB_1) };
        let place = Place::accepting(&node(&own, &trust, &dial), accept);
        let trusting = Publisher::new(Snapshot::new(shows, trust), dial.clock());
        let client = dialer(&trusting, only(&[WEB_1]));
        let over_stream = place.refusal(Over::Stream, &client).await;
        let over_udp = place.refusal(Over::Udp, &client).await;
        assert_eq!(over_stream, over_udp);
        assert_eq!((over_udp.0.label(), over_udp.1), (label, alert));
        assert!(matches!(over_udp.0, HandshakeError::Rejected(_)), "{label}");
        assert_eq!(trusting.registry().live(), 0);
    }
}

#[tokio::test]
async fn the_dialer_refuses_as_over_a_byte_stream() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let place = Place::accepting(&node(&prod.identity(WEB_1), &trust, &dial), only(ALL));
    let two = node(&prod.identity(WEB_2), &trust, &dial);
    let client = dialer(&two, only(&["spiffe://prod/manager/*"]));
    let mut said = Vec::new();
    for over in [Over::Stream, Over::Udp] {
        let (served, dialed) = place.meet(over, &client).await;
        assert!(matches!(served.err(), Some(HandshakeError::PeerRejectedUs { alert: "access_denied", .. })));
        said.push(dialed.err().unwrap());
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(said[0].label(), "not_allowed");
}

#[tokio::test]
async fn both_ends_know_each_other() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 4, &[&prod], &[]);
    let [one, two] = [WEB_1, WEB_2].map(|id| node(&prod.identity(id), &trust, &dial));
    let alpn = vec![b"certus".to_vec()];
    let place = Place::new(&one, ServerOptions { alpn: alpn.clone(), ..ServerOptions::new(only(&[WEB_2])) });
    let options = certus_tls::ClientOptions { alpn, ..certus_tls::ClientOptions::new(only(&[WEB_1])) };
    let client = certus_tls::Client::new(two.credentials(), options);
    let (served, dialed) = place.connect(Over::Udp, &client).await;
    let [Either::Udp(served), Either::Udp(dialed)] = [served, dialed] else { panic!("over UDP") };
    let identity =
        |end: &certus_tls::quic::QuicConnection| end.admission().peer().unwrap().peer.identity.clone();
    assert_eq!((identity(&served), identity(&dialed)), (WEB_2.parse().ok(), WEB_1.parse().ok()));
    assert_eq!((served.admission().epoch(), served.alpn()), (trust.epoch(), Some(b"certus".to_vec())));
    let exported = served.exporter(b"certus test", b"context");
    assert!(exported.is_some() && exported == dialed.exporter(b"certus test", b"context"));
    assert_ne!(exported, dialed.exporter(b"certus test", b"another"));
    assert_eq!((one.registry().live(), two.registry().live()), (1, 1));
    served.admission().recheck().unwrap();
    drop((served, dialed));
    assert_eq!((one.registry().live(), two.registry().live()), (0, 0));
}

#[tokio::test]
async fn i10_a_revocation_cuts_a_live_connection() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let place = Place::accepting(&one, only(ALL));
    let (leaves, stays) = (prod.identity(WEB_2), prod.identity("spiffe://prod/worker/web-3"));
    let [a, b] = [&leaves, &stays].map(|id| dialer(&node(id, &trust, &dial), only(ALL)));
    let (cut, _dialed) = place.connect(Over::Udp, &a).await;
    let (other, other_end) = place.connect(Over::Udp, &b).await;
    one.publish_bundle(bundle("prod", 2, &[&prod], &[prod.revoke(&leaves)])).unwrap();
    assert!(cut.admission().cancelled().is_cancelled());
    assert!(matches!(cut.admission().cut().unwrap().reason, CutReason::Peer(Rejection::Revoked { .. })));
    assert!(matches!(cut.admission().recheck(), Err(Rejection::Revoked { .. })));
    assert!(other.admission().cut().is_none() && other.admission().recheck().is_ok());
    let [Either::Udp(served), Either::Udp(dialed)] = [other, other_end] else { panic!("over UDP") };
    words(served.connection(), dialed.connection()).await;
    assert_eq!(one.registry().live(), 1);
}

/// Early data could be replayed, and would be read before the peer was checked.
#[tokio::test]
async fn i11_early_data_is_refused() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let place = Place::accepting(&one, only(ALL));
    let caller = Foreign::new(Kind::Quic, &prod, WEB_2, DAY);
    assert!(!caller.dial(&place, None).await.unwrap().resumed());
    assert!(caller.dial(&place, Some(0)).await.unwrap().resumed());
    let mut eager = rustls::ClientConfig::clone(&caller.config);
    eager.enable_early_data = true;
    caller.offer(Some(1));
    let eager = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(eager).unwrap()));
    let connecting = place.dialing.connect_with(eager, place.address(), "peer.invalid").unwrap();
    let Err(connecting) = connecting.into_0rtt() else { panic!("the ticket allows early data") };
    let (served, dialed) = tokio::join!(place.accept_quic(), connecting);
    assert!(served.unwrap().admission().resumed() && dialed.is_ok(), "the ticket is good all the same");
}

/// Nothing is known of a peer that was not verified, not even that it came back.
#[tokio::test]
async fn a_dialer_that_verifies_nobody_knows_nobody() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let place = Place::accepting(&node(&prod.identity(WEB_1), &trust, &dial), only(ALL));
    let two = node(&prod.identity(WEB_2), &trust, &dial);
    let options = certus_tls::ClientOptions::new(Accept::new(certus_pki::accept::Allow::Anyone));
    let client = certus_tls::danger::client_of_any_server(two.credentials(), options);
    let (_served, dialed) = place.connect(Over::Udp, &client).await;
    assert!(dialed.admission().peer().is_none() && !dialed.resumed());
    let (served, dialed) = place.connect(Over::Udp, &client).await;
    assert!(served.resumed() && dialed.resumed());
}
