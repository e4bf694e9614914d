//! What changes while an endpoint runs, and what a connection notices of it.

use std::time::Duration;

use certus_node::embed::{Action, Lifecycle, Policy};
use certus_pki::code;

use super::*;
use crate::until;

fn serial(peer: &PeerInfo) -> String {
    peer.identity().unwrap().peer.cert.serial.to_string()
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let site = Site::new();
    let (web, peer) = (site.endpoint("web").await, site.endpoint("peer").await);
    let echo = echo(&web).await;
    let connector = peer.connector();
    let mut old = connector.connect(&echo.address).await.unwrap();
    ping(&mut old).await.unwrap();
    site.put("web", &site.root.leaf(&Site::spec("web")));
    web.reload();
    until("the new certificate is in force", || web.status().unwrap().borrow().reloads == 1).await;
    until("and served", || {
        let leaf = web.credentials().current().identity().unwrap().leaf().serial;
        leaf.to_string() != serial(old.peer())
    })
    .await;
    let mut new = connector.connect(&echo.address).await.unwrap();
    ping(&mut new).await.unwrap();
    assert_ne!(serial(new.peer()), serial(old.peer()));
    ping(&mut old).await.expect("a renewal disturbs nobody");
}

#[tokio::test]
async fn i9_a_broken_file_changes_nothing() {
    let site = Site::new();
    let web = site.endpoint("web").await;
    let (echo, mut status) = (echo(&web).await, web.status().unwrap());
    crate::sources::put(&site.path("web.crt"), "-----BEGIN CERTIFICATE-----\nnonsense\n");
    web.reload();
    let told =
        soon("a failure", status.wait_for(|status| status.last_failure.is_some())).await.unwrap().clone();
    assert!(told.failures > 0 && told.reloads == 0);
    reaches(&site.endpoint("peer").await, &echo).await;
}

#[tokio::test]
async fn a_root_that_is_taken_out_cuts_who_came_by_it() {
    let (site, elsewhere) = (Site::new(), Site::new());
    let both = format!("{}{}", site.root.pem, elsewhere.root.pem);
    for place in [&site, &elsewhere] {
        crate::sources::put(&place.path("ca.crt"), &both);
    }
    let web = site.endpoint("web").await;
    let echo = echo(&web).await;
    let [ours, theirs] = [site.endpoint("ours").await, elsewhere.endpoint("theirs").await];
    let [mut ours, mut foreign] = [reaches(&ours, &echo).await, reaches(&theirs, &echo).await];
    let mut events = web.audit();
    crate::sources::put(&site.path("ca.crt"), &site.root.pem);
    web.reload();
    let cut = event(&mut events, AuditKind::Cut).await;
    assert_eq!(cut.why.code, code::UNKNOWN_AUTHORITY);
    assert!(ping(&mut foreign).await.is_err());
    ping(&mut ours).await.expect("who is still trusted stays");
    assert_eq!(cannot_reach(&theirs, &echo).await.code, code::PEER_REJECTED_US);
}

#[tokio::test]
async fn a_new_policy_holds_at_once_for_everybody() {
    let site = Site::new();
    let (web, one, two) =
        (site.endpoint("web").await, site.endpoint("one").await, site.endpoint("two").await);
    let echo = echo(&web).await;
    let to_web = two.connector();
    let [mut first, mut second] = [reaches(&one, &echo).await, to_web.connect(&echo.address).await.unwrap()];
    ping(&mut second).await.unwrap();
    let mut events = web.audit();
    let cuts = web.set_policy(Policy::allowing("dns:one.site.test".parse().unwrap())).unwrap();
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].peer, "two.site.test");
    assert!(ping(&mut second).await.is_err());
    assert_eq!(event(&mut events, AuditKind::Cut).await.why.code, code::NOT_ALLOWED);
    ping(&mut first).await.expect("who is still accepted stays");
    // No session of before leads back in.
    let mut again = to_web.connect(&echo.address).await.unwrap();
    let told = explain_error(&ping(&mut again).await.unwrap_err()).unwrap();
    assert_eq!(told.code, code::PEER_REJECTED_US);
    // A connector lives by its endpoint's policy too.
    let mut stream = reaches(&one, &echo).await;
    let mut policy = one.policy();
    policy.required_sans = vec!["*.other.test".parse().unwrap()];
    assert_eq!(one.set_policy(policy).unwrap().len(), 2);
    assert!(ping(&mut stream).await.is_err());
    assert_eq!(cannot_reach(&one, &echo).await.code, code::NAME_MISSING);
}

#[tokio::test]
async fn a_lifecycle_can_let_connections_finish() {
    let site = Site::new();
    let lifecycle =
        Lifecycle { on_policy_change: Action::Drain(Duration::from_secs(3600)), ..Lifecycle::default() };
    let web = built(TlsOptions::new(site.files("web")).lifecycle(lifecycle)).await;
    let mut echo = echo(&web).await;
    let mut stream = reaches(&site.endpoint("peer").await, &echo).await;
    let who = echo.who().await;
    assert!(web.set_policy(Policy::allowing("dns:other.site.test".parse().unwrap())).unwrap().is_empty());
    soon("to be asked to finish", who.draining().cancelled()).await;
    assert!(!who.cancelled().is_cancelled());
    ping(&mut stream).await.expect("it may finish");
}

#[tokio::test]
async fn an_endpoint_lives_as_long_as_what_is_made_of_it() {
    let site = Site::new();
    let web = site.endpoint("web").await;
    let (echo, mut status) = (echo(&web).await, web.status().unwrap());
    drop(web);
    site.put("web", &site.root.leaf(&Site::spec("web")));
    soon("a reload", status.wait_for(|status| status.reloads == 1)).await.unwrap();
    reaches(&site.endpoint("peer").await, &echo).await;
}

#[tokio::test]
async fn who_is_refused_late_is_told_before_it_writes() {
    let site = Site::new();
    let nobody = TlsOptions::new(site.files("web")).allow(Allow::Any(Vec::new()));
    let closed = echo(&built(nobody).await).await;
    let open = echo(&site.endpoint("web").await).await;
    let client = site.endpoint("peer").await;
    let limit = Duration::from_secs(20);
    let mut stream = client.connector().connect(&open.address).await.unwrap();
    assert!(stream.confirm(limit).await.unwrap());
    ping(&mut stream).await.unwrap();

    let mut events = client.audit();
    let mut stream = client.connector().connect(&closed.address).await.expect("TLS 1.3 tells later");
    let told = stream.confirm(limit).await.unwrap_err();
    assert!(told.to_string().contains("our identity is not accepted there"), "{told}");
    assert_eq!(event(&mut events, AuditKind::RejectedByPeer).await.why.code, code::PEER_REJECTED_US);
    let confirmed = client.connector().confirm_within(limit).connect(&closed.address).await;
    assert_eq!(certus_pki::Explain::explain(&confirmed.err().unwrap()).code, code::PEER_REJECTED_US);
}

#[tokio::test]
async fn what_confirming_read_is_read_again() {
    let site = Site::new();
    let web = site.endpoint("web").await;
    let mut listener = web.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().to_string();
    let client = site.endpoint("peer").await;
    let (mut served, mut dialed) =
        tokio::join!(listener.accept(), async { client.connector().connect(&address).await.unwrap() });
    served.write_all(b"a greeting").await.unwrap();
    served.shutdown().await.unwrap();
    assert!(dialed.confirm(Duration::from_secs(20)).await.unwrap());
    let mut said = String::new();
    dialed.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "a greeting");
}
