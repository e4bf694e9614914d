//! Who gets in, who does not, and what each side is told.

use certus_pki::{Explain, Lifetime, Rejection, code};
use certus_tls::{
    Client, ClientCertificate, ClientOptions, HandshakeError, Identity, Publisher, Server, ServerOptions,
    Snapshot, Versions, explain_read_error, explain_source,
};

use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const WEB_2: &str = "spiffe://prod/worker/web-2";

#[tokio::test]
async fn both_ends_know_each_other() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 4, &[&prod], &[]);
    let [one, two] = [WEB_1, WEB_2].map(|id| node(&prod.identity(id), &trust, &dial));
    let options = ServerOptions { alpn: vec![b"h2".to_vec()], ..ServerOptions::new(only(&[WEB_2])) };
    let server = Server::new(one.credentials(), options);
    let options = ClientOptions { alpn: vec![b"h2".to_vec()], ..ClientOptions::new(only(&[WEB_1])) };
    let client = Client::new(two.credentials(), options);
    let (served, dialed) = connect(&server, &client).await;
    assert_eq!(served.peer().unwrap().peer.identity, WEB_2.parse().ok());
    assert_eq!(dialed.peer().unwrap().peer.identity, WEB_1.parse().ok());
    assert_eq!((served.epoch(), served.alpn()), (trust.epoch(), Some(&b"h2"[..])));
    assert!(!served.resumed() && served.cut().is_none());
    let exported = served.exporter(b"certus test", b"context");
    assert!(exported.is_some() && exported == dialed.exporter(b"certus test", b"context"));
    assert_ne!(exported, dialed.exporter(b"certus test", b"another"));
    let listed = one.registry().connections();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].peer.as_ref(), served.peer());
}

/// What the server says, and what the client reads, when `caller` dials a server of web-1.
async fn refusal(
    caller: Publisher,
    prod: &Authority,
    accept: &[&str],
    dial: &Dial,
) -> (HandshakeError, HandshakeError) {
    let trust = bundle("prod", 1, &[prod], &[]);
    let one = node(&prod.identity_for(WEB_1, Lifetime::from_days(9)), &trust, dial);
    let server = server(&one, accept);
    let client = client(&caller, &[WEB_1]);
    let (served, dialed) = meet(&server, &client).await;
    let told = match dialed {
        Ok(mut dialed) => {
            let error = read_error(&mut dialed).await;
            let explained = explain_read_error(&error).unwrap_or_else(|| panic!("unexplained: {error:?}"));
            assert_eq!(explain_source(&error), Some(explained.explain()));
            explained
        }
        Err(told) => told,
    };
    (refused(served), told)
}

#[tokio::test]
async fn the_refused_side_gets_the_alert_that_fits() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let foreign = Authority::new("prod");
    let trust = bundle("prod", 1, &[&prod], &[]);
    let alert = |told: &HandshakeError| match told {
        HandshakeError::PeerRejectedUs { alert, .. } => *alert,
        other => panic!("{other:?}"),
    };

    let nobody = Publisher::new(Snapshot::new(None, trust.clone()), dial.clock());
    let (said, told) = refusal(nobody, &prod, &[WEB_2], &dial).await;
    assert_eq!(said, HandshakeError::Rejected(Rejection::NoCertificate));
    assert_eq!(alert(&told), "certificate_required");
    assert_eq!(told.explain().code, code::PEER_REJECTED_US);

    // It trusts us, but its own certificate is of another CA.
    let stranger = node(&foreign.identity(WEB_2), &trust, &dial);
    let (said, told) = refusal(stranger, &prod, &[WEB_2], &dial).await;
    assert!(matches!(said, HandshakeError::Rejected(Rejection::UnknownAuthority { .. })), "{said:?}");
    assert_eq!(alert(&told), "unknown_ca");

    let other = node(&prod.identity("spiffe://prod/worker/web-3"), &trust, &dial);
    let (said, told) = refusal(other, &prod, &[WEB_2, "spiffe://prod/manager/*"], &dial).await;
    assert!(matches!(said, HandshakeError::Rejected(Rejection::NotAllowed { .. })), "{said:?}");
    assert_eq!((said.label(), alert(&told)), ("not_allowed", "access_denied"));

    let late = node(&prod.identity_for(WEB_2, Lifetime::from_hours(1)), &trust, &dial);
    dial.advance(Lifetime::from_hours(2));
    let (said, told) = refusal(late, &prod, &[WEB_2], &dial).await;
    assert!(matches!(said, HandshakeError::Rejected(Rejection::Expired { .. })), "{said:?}");
    assert_eq!(alert(&told), "certificate_expired");
}

#[tokio::test]
async fn the_dialer_refuses_too() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let two = node(&prod.identity(WEB_2), &trust, &dial);
    // A worker where a manager is expected.
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let (served, dialed) = meet(&server(&one, &[WEB_2]), &client(&two, &["spiffe://prod/manager/*"])).await;
    assert!(matches!(refused(dialed), HandshakeError::Rejected(Rejection::NotAllowed { .. })));
    assert!(matches!(refused(served), HandshakeError::PeerRejectedUs { alert: "access_denied", .. }));
    // A client-only certificate cannot serve.
    let ann = node(&prod.identity("spiffe://prod/client/ann"), &trust, &dial);
    let (_, dialed) = meet(&server(&ann, &[WEB_2]), &client(&two, &["spiffe://prod/*"])).await;
    assert!(matches!(refused(dialed), HandshakeError::Rejected(Rejection::WrongPurpose { .. })));
    // Nobody may be anybody: an empty list.
    let (_, dialed) = meet(&server(&one, &[WEB_2]), &client(&two, &[])).await;
    assert!(matches!(refused(dialed), HandshakeError::Rejected(Rejection::NotAllowed { .. })));
}

#[tokio::test]
async fn callers_without_a_certificate_get_in_only_where_that_is_asked_for() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity("spiffe://prod/manager/m1"), &trust, &dial);
    let mut options = ServerOptions::new(only(&["spiffe://prod/*"]));
    options.client_certificate = ClientCertificate::Optional;
    options.versions = Versions::Tls12AndUp;
    let server = Server::new(one.credentials(), options);
    let nobody = Publisher::new(Snapshot::new(None, trust.clone()), dial.clock());
    let anonymous = client(&nobody, &["spiffe://prod/manager/*"]);
    let (served, _) = connect(&server, &anonymous).await;
    assert_eq!((served.peer(), one.registry().live()), (None, 1));
    let (served, _) = connect(&server, &anonymous).await;
    assert!(served.resumed() && served.peer().is_none());
    // Who shows one must be trusted all the same.
    let stranger = node(&Authority::new("prod").identity(WEB_2), &trust, &dial);
    let (served, _) = meet(&server, &client(&stranger, &["spiffe://prod/manager/*"])).await;
    assert!(matches!(refused(served), HandshakeError::Rejected(Rejection::UnknownAuthority { .. })));
    let known = node(&prod.identity(WEB_2), &trust, &dial);
    let (served, _) = connect(&server, &client(&known, &["spiffe://prod/manager/*"])).await;
    assert!(served.peer().is_some());
}

#[tokio::test]
async fn what_is_not_tls_is_said_so() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let one = node(&prod.identity(WEB_1), &bundle("prod", 1, &[&prod], &[]), &dial);
    let server = server(&one, &[WEB_2]);
    let speaks = |bytes: &'static [u8]| {
        let (mut near, far) = tokio::io::duplex(1024);
        let said = async move { tokio::io::AsyncWriteExt::write_all(&mut near, bytes).await };
        let server = &server;
        async move { tokio::join!(server.accept(far), said).0 }
    };
    let http = refused(speaks(b"GET / HTTP/1.1\r\n\r\n").await);
    assert_eq!((http.label(), http.explain().code), ("tls", code::HANDSHAKE_FAILED));
    assert_eq!(refused(speaks(b"").await).label(), "io");
    let nobody = Publisher::new(Snapshot::new(None, one.current().bundle().clone()), dial.clock());
    let server = crate::world::server(&nobody, &[WEB_2]);
    let (_, far) = tokio::io::duplex(64);
    assert_eq!(refused(server.accept(far).await), HandshakeError::NoIdentity);
}

#[test]
fn a_key_and_another_certificate_make_no_identity() {
    let prod = Authority::new("prod");
    let chain = prod.chain(WEB_1, &key(), DAY);
    let label = |outcome: Result<Identity, certus_tls::BadIdentity>| outcome.err().unwrap().explain().code;
    assert_eq!(label(Identity::new(&key(), chain)), code::KEY_MISMATCH);
    assert_eq!(label(Identity::new(&key(), Vec::new())), code::MALFORMED_CERTIFICATE);
    assert_eq!(label(Identity::new(&key(), vec![b"nonsense".to_vec()])), code::MALFORMED_CERTIFICATE);
    let ca = vec![prod.issuer.certificate().der.clone()];
    assert_eq!(label(Identity::new(&prod.issuer_key, ca)), code::NO_IDENTITY);
}

/// Compiles only while none of these types can be printed.
#[test]
fn i7_secrets_cannot_be_printed() {
    trait Printable<Marker> {
        fn is() {}
    }
    struct ByDebug;
    struct ByDisplay;
    impl<T: ?Sized> Printable<()> for T {}
    impl<T: ?Sized + std::fmt::Debug> Printable<ByDebug> for T {}
    impl<T: ?Sized + std::fmt::Display> Printable<ByDisplay> for T {}
    // With a second implementation the marker could not be inferred.
    <Identity as Printable<_>>::is();
    <Snapshot as Printable<_>>::is();
    <certus_pki::PrivateKey as Printable<_>>::is();
    <certus_pki::JoinToken as Printable<_>>::is();
}

/// Who hangs up is said to hang up, in words without a library's address in them.
#[tokio::test]
async fn a_peer_that_hangs_up_is_described_in_plain_words() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let [one, two] = [WEB_1, WEB_2].map(|id| node(&prod.identity(id), &trust, &dial));
    let (server, client) = (server(&one, &[WEB_2]), client(&two, &[WEB_1]));

    let (near, far) = tokio::io::duplex(64 << 10);
    drop(far);
    let ended = refused(client.connect(near).await).to_string();
    assert!(ended.ends_with("the peer closed the connection"), "{ended}");
    let (near, far) = tokio::io::duplex(64 << 10);
    let hangs_up = async {
        use tokio::io::AsyncReadExt;
        let mut far = far;
        let _ = far.read(&mut [0; 64]).await;
    };
    let (ended, ()) = tokio::join!(client.connect(near), hangs_up);
    let ended = refused(ended).to_string();
    assert!(ended.ends_with("the peer closed the connection"), "{ended}");

    let (served, mut dialed) = connect(&server, &client).await;
    drop(served);
    assert_eq!(read_error(&mut dialed).await.to_string(), "the peer closed the connection");
}

/// What a caller of managers does: it knows them by their root, for its bundle may be old.
#[tokio::test]
async fn i13_a_dialer_that_may_reaches_an_issuer_it_has_not_heard_of() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let later = prod.with_another_issuer();
    let newer = bundle("prod", 2, &[&prod, &later], &[]);
    let one = node(&later.identity(WEB_1), &newer, &dial);
    let two = node(&prod.identity(WEB_2), &trust, &dial);
    let server = server(&one, &[WEB_2]);
    let (_, dialed) = meet(&server, &client(&two, &[WEB_1])).await;
    assert!(matches!(refused(dialed), HandshakeError::Rejected(Rejection::IssuerNotActive { .. })));
    let options =
        ClientOptions { issuers: certus_pki::Issuers::AnyBelowRoot, ..ClientOptions::new(only(&[WEB_1])) };
    let dialer = Client::new(two.credentials(), options);
    connect(&server, &dialer).await;
    assert!(connect(&server, &dialer).await.1.resumed());
}
