//! Peers of whom TLS says nothing: who they are is said inside, and the policy is asked then.

use std::sync::Arc;

use certus_pki::accept::Allow;
use certus_pki::{Accept, AgentId, Bundle, Epoch, Rejection};
use certus_tls::danger::client_of_any_server;
use certus_tls::{
    Client, ClientCertificate, ClientOptions, CutReason, HandshakeError, Publisher, ServerOptions, Snapshot,
};

use crate::places::*;
use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const KNOWN: AgentId = AgentId::from_bytes([1; 32]);
const STRANGER: AgentId = AgentId::from_bytes([2; 32]);

/// A listener that asks for no certificate, under trust that a test may change.
fn listener(accept: Allow, dial: &Dial) -> (Authority, Publisher, Place) {
    let prod = Authority::new("prod");
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), dial);
    let options = ServerOptions::new(Accept::new(accept));
    let options = ServerOptions { client_certificate: ClientCertificate::NotAsked, ..options };
    let place = Place::new(&one, options);
    (prod, one, place)
}

/// A dialer with no trust and no certificate.
fn nobody(dial: &Dial) -> Client {
    let nothing = Arc::new(Bundle::of_authorities(Epoch::default(), Vec::new(), []));
    let publisher = Publisher::new(Snapshot::new(None, nothing), dial.clock());
    client_of_any_server(publisher.credentials(), ClientOptions::new(Accept::new(Allow::Anyone)))
}

#[tokio::test]
async fn neither_end_knows_the_other_until_it_is_said_inside() {
    let dial = Dial::new();
    let (_prod, one, place) = listener(Allow::Agent(KNOWN), &dial);
    for over in [Over::Stream, Over::Udp] {
        let (served, dialed) = place.connect(over, &nobody(&dial)).await;
        let (served, dialed) = (served.admission(), dialed.admission());
        assert!(served.peer().is_none() && dialed.peer().is_none());
        assert_eq!(served.peer_name(), "nobody known");
        served.recheck().unwrap();
        served.prove_agent(KNOWN).unwrap();
        served.recheck().unwrap();
        assert_eq!(served.peer_name(), format!("agent:{KNOWN}"));
        assert_eq!(one.registry().connections()[0].agent, Some(KNOWN));
    }
}

#[tokio::test]
async fn another_agent_or_none_is_refused() {
    let dial = Dial::new();
    let (_prod, _one, place) = listener(Allow::Agent(KNOWN), &dial);
    let (served, _dialed) = place.connect(Over::Stream, &nobody(&dial)).await;
    let refused = served.admission().prove_agent(STRANGER).unwrap_err();
    let expected = format!("agent:{KNOWN}");
    assert_eq!(refused, Rejection::NotAllowed { came: format!("agent:{STRANGER}"), expected });
    assert!(served.admission().recheck().is_err(), "and stays so");
    let (served, _dialed) = place.connect(Over::Stream, &nobody(&dial)).await;
    assert!(matches!(served.admission().without_agent(), Err(Rejection::NotAllowed { .. })));
}

#[tokio::test]
async fn whom_no_agent_s_id_could_help_is_refused_at_once() {
    let dial = Dial::new();
    let (_prod, one, place) = listener(WEB_1.parse().unwrap(), &dial);
    let (served, _) = place.meet(Over::Stream, &nobody(&dial)).await;
    assert!(matches!(served.err(), Some(HandshakeError::Rejected(Rejection::NotAllowed { .. }))));
    // Over UDP the handshake ended well for the caller: the close says what the alert would have.
    let (said, alert) = place.refusal(Over::Udp, &nobody(&dial)).await;
    assert!(matches!(said, HandshakeError::Rejected(Rejection::NotAllowed { .. })));
    assert_eq!((alert, one.registry().live()), ("access_denied", 0));
}

#[tokio::test]
async fn a_changed_policy_reaches_agents() {
    let dial = Dial::new();
    let (_prod, _one, place) = listener(Allow::Any(vec![Allow::Agent(KNOWN), Allow::Agent(STRANGER)]), &dial);
    let (known, _a) = place.connect(Over::Stream, &nobody(&dial)).await;
    let (stranger, _b) = place.connect(Over::Stream, &nobody(&dial)).await;
    known.admission().prove_agent(KNOWN).unwrap();
    stranger.admission().prove_agent(STRANGER).unwrap();
    let cuts = place.server.set_accept(Accept::new(Allow::Agent(KNOWN)));
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].peer, format!("agent:{STRANGER}"));
    assert!(matches!(
        stranger.admission().cut().unwrap().reason,
        CutReason::Peer(Rejection::NotAllowed { .. })
    ));
    assert!(stranger.admission().recheck().is_err() && known.admission().recheck().is_ok());
}

#[tokio::test]
async fn a_certificate_and_an_agent_can_both_be_wanted() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let worker: Allow = "spiffe://prod/worker/*".parse().unwrap();
    let place = Place::accepting(&one, Accept::new(Allow::All(vec![worker, Allow::Agent(KNOWN)])));
    let caller = prod.identity("spiffe://prod/worker/web-2");
    let client = dialer(&node(&caller, &trust, &dial), only(&[WEB_1]));
    for over in [Over::Stream, Over::Udp] {
        let (served, _dialed) = place.connect(over, &client).await;
        assert!(served.admission().prove_agent(STRANGER).is_err());
        let (served, _dialed) = place.connect(over, &client).await;
        served.admission().prove_agent(KNOWN).unwrap();
        // Streams of a connection that carries many ask again: after news, and not before.
        served.admission().recheck().unwrap();
    }
    let (served, _dialed) = place.connect(Over::Udp, &client).await;
    served.admission().prove_agent(KNOWN).unwrap();
    one.publish_bundle(bundle("prod", 2, &[&prod], &[])).unwrap();
    served.admission().recheck().unwrap();
    one.publish_bundle(bundle("prod", 3, &[&prod], &[prod.revoke(&caller)])).unwrap();
    assert!(matches!(served.admission().recheck(), Err(Rejection::Revoked { .. })));
}

#[tokio::test]
async fn those_in_the_clear_are_let_in_only_where_the_policy_says_so() {
    let dial = Dial::new();
    let (_prod, one, place) = listener(Allow::Anyone, &dial);
    assert!(matches!(place.server.admit_plaintext(), Err(Rejection::NotAllowed { .. })));
    place.server.set_accept(Accept::new(Allow::Any(vec![Allow::Anyone, Allow::Plaintext])));
    let admission = place.server.admit_plaintext().unwrap();
    assert_eq!((admission.peer_name().as_str(), one.registry().live()), ("plaintext", 1));
    assert_eq!(place.server.set_accept(Accept::new(Allow::Anyone)).len(), 1);
    assert!(admission.cut().is_some() && admission.recheck().is_err());
}
