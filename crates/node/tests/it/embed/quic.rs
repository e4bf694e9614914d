//! Both ends over QUIC.

use certus_node::embed::{ListenOptions, Policy, QuicPeer};
use certus_pki::code;

use super::*;

async fn quic_echo(endpoint: &Endpoint) -> Echo {
    let mut listener = endpoint.quic_listen("127.0.0.1:0", ListenOptions::default()).await.unwrap();
    let address = listener.local_addr().to_string();
    let (tell, came) = mpsc::channel(100);
    tokio::spawn(async move {
        loop {
            let peer = listener.accept().await;
            let _ = tell.try_send(peer.peer().clone());
            tokio::spawn(async move {
                while let Ok((mut send, mut receive)) = peer.accept_bi().await {
                    let said = receive.read_to_end(100).await.unwrap_or_default();
                    let _ = send.write_all(&said).await;
                    let _ = send.finish();
                }
            });
        }
    });
    Echo { address, came }
}

async fn say(peer: &QuicPeer) -> io::Result<Vec<u8>> {
    let (mut send, mut receive) = peer.open_bi().await?;
    send.write_all(b"hello").await?;
    send.finish().map_err(io::Error::other)?;
    match soon("an echo", receive.read_to_end(100)).await {
        Ok(said) => Ok(said),
        Err(_) => Err(soon("the reason", peer.closed()).await),
    }
}

#[tokio::test]
async fn streams_are_of_a_peer_that_is_known() {
    let site = Site::new();
    let (web, client) = (site.endpoint("web").await, site.endpoint("peer").await);
    let mut echo = quic_echo(&web).await;
    let connector = client.connector();
    let quic = connector.connect_quic(&echo.address).await.unwrap();
    assert_eq!(say(&quic).await.unwrap(), b"hello");
    assert_eq!(echo.who().await.name(), "peer.site.test");
    assert_eq!(quic.peer().name(), "web.site.test");
    assert_eq!(web.registry().live() + client.registry().live(), 2);
    drop(quic);
    crate::until("dropped, it is closed", || web.registry().live() == 0).await;
}

#[tokio::test]
async fn who_is_refused_learns_why() {
    let site = Site::new();
    let nobody = TlsOptions::new(site.files("web")).allow(Allow::Any(Vec::new()));
    let web = built(nobody).await;
    let (echo, mut events) = (quic_echo(&web).await, web.audit());
    let client = site.endpoint("peer").await;
    let refused = match client.connector().connect_quic(&echo.address).await {
        Ok(quic) => explain_error(&say(&quic).await.unwrap_err()).expect("a reason"),
        Err(error) => certus_pki::Explain::explain(&error),
    };
    assert_eq!(refused.code, code::PEER_REJECTED_US, "{refused}");
    let told = event(&mut events, AuditKind::Refused).await;
    assert_eq!((told.why.code, told.transport), (code::NOT_ALLOWED, "quic"));
    let foreign = Site::new().endpoint("peer").await;
    let error = foreign.connector().connect_quic(&echo.address).await.err().unwrap();
    assert_eq!(certus_pki::Explain::explain(&error).code, code::UNKNOWN_AUTHORITY);
}

#[tokio::test]
async fn a_new_policy_closes_who_is_no_longer_accepted() {
    let site = Site::new();
    let (web, client) = (site.endpoint("web").await, site.endpoint("peer").await);
    let (echo, mut events) = (quic_echo(&web).await, web.audit());
    let connector = client.connector_to("dns:web.site.test".parse::<Allow>().unwrap());
    let quic = connector.connect_quic(&echo.address).await.unwrap();
    say(&quic).await.unwrap();
    assert_eq!(web.set_policy(Policy::allowing("dns:other.test".parse().unwrap())).unwrap().len(), 1);
    assert_eq!(event(&mut events, AuditKind::Cut).await.transport, "quic");
    let told = soon("the close", quic.closed()).await;
    assert!(told.to_string().contains("CT-1108"), "{told}");
}
