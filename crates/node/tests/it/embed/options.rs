//! Each option, with a handshake that shows it.

use certus_forge::KeyType;
use certus_node::embed::{KeyPolicy, Lifetime, danger};
use certus_pki::code;

use super::*;

/// A peer whose certificate ended so many seconds ago, and the clock by which it is still good.
async fn ended(site: &Site, name: &str, ago: i64) -> Endpoint {
    let now = system_clock()().secs();
    let spec = LeafSpec { not_before: now - 100 * 86_400, not_after: now - ago, ..Site::spec(name) };
    let slow: certus_tls::Clock = Arc::new(move || certus_pki::UnixTime::from_secs(now - ago - 10));
    let options = TlsOptions::new(site.files_of(name, &spec));
    Node::builder().tls(options).clock(slow).build().await.unwrap()
}

#[tokio::test]
async fn client_certificates_are_required_optional_or_not_asked_for() {
    let site = Site::new();
    let (_kept, stranger) = site.stranger(Allow::Anyone);
    let listening = |wanted| {
        let options = TlsOptions::new(site.files("web")).client_certificates(wanted);
        async move { echo(&built(options).await).await }
    };
    let required = listening(ClientCertificate::Required).await;
    let refused = dial_bare(&stranger, &required.address).await.unwrap_err();
    let told = explain_error(&refused).unwrap();
    assert!(told.message.contains("we showed none, and it wants one"), "{told}");
    for wanted in [ClientCertificate::Optional, ClientCertificate::NotAsked] {
        let mut echo = listening(wanted).await;
        dial_bare(&stranger, &echo.address).await.unwrap();
        assert!(echo.who().await.identity().is_none());
        reaches(&site.endpoint("peer").await, &echo).await;
        assert_eq!(echo.who().await.identity().is_some(), wanted == ClientCertificate::Optional);
    }
}

#[tokio::test]
async fn chains_are_verified_unless_danger_was_asked_for() {
    let (site, elsewhere) = (Site::new(), Site::new());
    let foreign = elsewhere.endpoint("peer").await;
    let web = site.endpoint("web").await;
    let echo_of_web = echo(&web).await;
    assert_eq!(cannot_reach(&foreign, &echo_of_web).await.code, code::UNKNOWN_AUTHORITY);

    let open = built(danger::unverified(TlsOptions::new(elsewhere.files("peer")))).await;
    assert!(!danger::unverified(TlsOptions::new(elsewhere.files("peer"))).verifies_chains());
    let told = cannot_reach(&open, &echo_of_web).await;
    assert_eq!(told.code, code::PEER_REJECTED_US, "who verifies goes on verifying: {told}");
    let mut echo_of_open = echo(&open).await;
    reaches(&open, &echo_of_open).await;
    assert!(echo_of_open.who().await.identity().is_none());
    assert!(open.set_policy(certus_node::embed::Policy::allowing("dns:a.test".parse().unwrap())).is_err());
}

#[tokio::test]
async fn required_names_are_looked_for_on_both_sides() {
    let site = Site::new();
    let wanting = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        built(TlsOptions::new(site.files("web")).required_sans(names))
    };
    let peer = site.endpoint("peer").await;
    let strict = wanting(&["*.site.test", "peer.site.test"]).await;
    reaches(&peer, &echo(&strict).await).await;
    let other = site.endpoint("other").await;
    let mut events = strict.audit();
    let told = cannot_reach(&other, &echo(&strict).await).await;
    assert_eq!(told.code, code::PEER_REJECTED_US);
    let refused = event(&mut events, AuditKind::Refused).await;
    assert_eq!(refused.why.code, code::NAME_MISSING);
    assert!(refused.why.to_string().contains("peer.site.test"), "{}", refused.why);
    // A wildcard stands for one label.
    let deep = wanting(&["*.test"]).await;
    assert_eq!(cannot_reach(&peer, &echo(&deep).await).await.code, code::PEER_REJECTED_US);
    // The same as a dialer.
    let told = cannot_reach(&strict, &echo(&other).await).await;
    assert_eq!(told.code, code::NAME_MISSING, "{told}");
}

#[tokio::test]
async fn a_dialed_host_must_be_in_the_certificate() {
    let site = Site::new();
    let spec = LeafSpec { dns: vec!["web.site.test".into()], ips: vec![], ..Site::spec("web") };
    let web = built(TlsOptions::new(site.files_of("web", &spec))).await;
    let (client, echo) = (site.endpoint("peer").await, echo(&web).await);
    let told = cannot_reach(&client, &echo).await;
    assert_eq!(told.code, code::WRONG_NAME, "{told}");
    let named = client.connector().server_name("web.site.test".parse().unwrap());
    ping(&mut named.connect(&echo.address).await.unwrap()).await.unwrap();
    let known = client.connector_to("dns:web.site.test".parse::<Allow>().unwrap());
    ping(&mut known.connect(&echo.address).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_ended_is_taken_within_the_grace_and_told_of() {
    let site = Site::new();
    let peer = ended(&site, "peer", 3_600).await;
    let strict = site.endpoint("web").await;
    let mut events = strict.audit();
    assert_eq!(cannot_reach(&peer, &echo(&strict).await).await.code, code::PEER_REJECTED_US);
    assert_eq!(event(&mut events, AuditKind::Refused).await.why.code, code::EXPIRED);

    let lenient = built(TlsOptions::new(site.files("web")).allow_expired(Lifetime::from_hours(4))).await;
    let (echo, mut events) = (echo(&lenient).await, lenient.audit());
    reaches(&peer, &echo).await;
    let told = event(&mut events, AuditKind::ExpiredAdmitted).await;
    assert!(told.why.message.contains("was taken") && told.peer == "peer.site.test", "{told:?}");
    assert_eq!(lenient.expired_admitted(), 1);
    // Resumed too.
    let connector = peer.connector();
    for resumed in [false, true] {
        let mut stream = connector.connect(&echo.address).await.unwrap();
        ping(&mut stream).await.unwrap();
        assert_eq!(stream.peer().resumed(), resumed);
        event(&mut events, AuditKind::ExpiredAdmitted).await;
    }
    assert_eq!(lenient.expired_admitted(), 3);

    let later = ended(&site, "later", 5 * 3_600).await;
    assert_eq!(cannot_reach(&later, &echo).await.code, code::PEER_REJECTED_US, "past the grace");
    assert_eq!(event(&mut events, AuditKind::Refused).await.why.code, code::EXPIRED);
    assert_eq!(lenient.expired_admitted(), 3);
}

#[tokio::test]
async fn a_grace_that_is_taken_back_cuts_who_lives_by_it() {
    let site = Site::new();
    let lenient = built(TlsOptions::new(site.files("web")).allow_expired(Lifetime::from_hours(4))).await;
    let echo = echo(&lenient).await;
    let mut stream = reaches(&ended(&site, "peer", 3_600).await, &echo).await;
    let mut good = reaches(&site.endpoint("good").await, &echo).await;
    let cuts = lenient.set_policy(certus_node::embed::Policy::default()).unwrap();
    assert_eq!(cuts.len(), 1);
    assert!(ping(&mut stream).await.is_err());
    ping(&mut good).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_does_not_vouch_for_us_gets_no_grace() {
    let (site, elsewhere) = (Site::new(), Site::new());
    let mut trusted = site.root.pem.clone();
    trusted.push_str(&elsewhere.root.pem);
    for place in [&site, &elsewhere] {
        crate::sources::put(&place.path("ca.crt"), &trusted);
    }
    let lenient = built(TlsOptions::new(site.files("web")).allow_expired(Lifetime::from_hours(4))).await;
    let echo = echo(&lenient).await;
    reaches(&elsewhere.endpoint("good").await, &echo).await;
    let mut events = lenient.audit();
    cannot_reach_at_all(&ended(&elsewhere, "ended", 3_600).await, &echo).await;
    assert_eq!(event(&mut events, AuditKind::Refused).await.why.code, code::EXPIRED);
    reaches(&ended(&site, "ours", 3_600).await, &echo).await;
    assert_eq!(lenient.expired_admitted(), 1);
}

/// Hung up on after the handshake, with no alert to explain.
async fn cannot_reach_at_all(client: &Endpoint, echo: &Echo) {
    if let Ok(mut stream) = client.connector().connect(&echo.address).await {
        assert!(ping(&mut stream).await.is_err());
    }
}

#[tokio::test]
async fn keys_of_other_kinds_are_refused_ours_too() {
    let site = Site::new();
    let rsa = LeafSpec { key_type: KeyType::Rsa2048, ..Site::spec("rsa") };
    let rsa = site.files_of("rsa", &rsa);
    let elliptic = TlsOptions::new(site.files("web")).key_types(KeyPolicy::elliptic());
    let elliptic = built(elliptic).await;
    let mut events = elliptic.audit();
    let peer = built(TlsOptions::new(rsa.clone())).await;
    assert_eq!(cannot_reach(&peer, &echo(&elliptic).await).await.code, code::PEER_REJECTED_US);
    let told = event(&mut events, AuditKind::Refused).await.why;
    assert_eq!(told.code, code::KEY_NOT_ACCEPTED, "{told}");
    reaches(&peer, &echo(&site.endpoint("web").await).await).await;

    let large = KeyPolicy::of_words(["ecdsa", "rsa3072"]).unwrap();
    let told = not_built(TlsOptions::new(rsa).key_types(large)).await;
    assert_eq!(told.code, code::KEY_NOT_ACCEPTED, "{told}");
    assert!(told.to_string().contains("3072") && told.to_string().contains("RSA-2048"), "{told}");
}

#[tokio::test]
async fn who_is_allowed_gets_in_and_no_other() {
    let site = Site::new();
    let allow = Allow::Any(vec!["dns:peer.site.test".parse().unwrap()]);
    let web = built(TlsOptions::new(site.files("web")).allow(allow)).await;
    let echo = echo(&web).await;
    reaches(&site.endpoint("peer").await, &echo).await;
    let told = cannot_reach(&site.endpoint("other").await, &echo).await;
    assert!(told.message.contains("our identity is not accepted there"), "{told}");
    crate::until("the failure is kept", || web.failures().last().1 == 1).await;
    let (failures, total) = web.failures().last();
    assert_eq!((failures[0].why.code, total), (code::NOT_ALLOWED, 1));
}
