//! Who loses trust loses live connections, within the publish, and nobody else does; on every transport.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use certus_node::{Transport, transports};
use certus_pki::{Bundle, Change, Epoch, Lifetime, Root, code};
use certus_tls::{Action, Client, ClientOptions, sweep_each_second};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::authority::{Authority, delta};
use crate::soon;
use crate::world::{
    End, allow, carried, echo, is_refused, is_reset, listener, pair, ping, reaching, serving, tcp, to,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Revocation,
    Struck,
    RootRemoved,
    Expiry,
    OwnRevocation,
}

const LOSSES: [Loss; 5] =
    [Loss::Revocation, Loss::Struck, Loss::RootRemoved, Loss::Expiry, Loss::OwnRevocation];

#[tokio::test]
async fn i10_lost_trust_cuts_the_live_connection_and_no_other() {
    for transport in Transport::ALL {
        for loss in LOSSES {
            let what = format!("{transport}, {loss:?}");
            let authority = Authority::new("prod");
            let one = serving(&authority, transport, echo().await).await;
            if loss == Loss::Expiry {
                authority.leaf_lifetime.store(600, Ordering::Relaxed);
            }
            let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
            authority.leaf_lifetime.store(86_400, Ordering::Relaxed);
            let three = reaching(&authority, transport, "worker/web-3", one.port()).await;
            let (mut of_two, mut of_three) = (carried(two.port()).await, carried(three.port()).await);

            let cuts = match loss {
                Loss::Revocation => {
                    let leaf = two.publisher.current().identity().unwrap().leaf().clone();
                    one.publisher.apply(&delta(2, vec![Change::Revoked(authority.revocation(&leaf))]))
                }
                Loss::Struck => {
                    let bundle = one.publisher.current().bundle().clone();
                    let issuer = bundle.issuers().next().unwrap().key_hash;
                    one.publisher.apply(&delta(2, vec![Change::IssuerRemoved(issuer)]))
                }
                Loss::RootRemoved => {
                    let other = Authority::new("prod");
                    let root = Root::from_der(&other.root.certificate().der).unwrap();
                    let epoch = Epoch { generation: 0, revision: 2 };
                    let issuers: Vec<_> = authority.bundle().issuers().copied().collect();
                    let bundle = Bundle::new(authority.cluster.clone(), epoch, vec![root], issuers, []);
                    one.publisher.publish_bundle(Arc::new(bundle))
                }
                Loss::Expiry => {
                    authority.pass(Lifetime::from_secs(3_600));
                    tokio::spawn(sweep_each_second(one.publisher.credentials(), |_| {}));
                    Ok(Vec::new())
                }
                Loss::OwnRevocation => {
                    let leaf = one.publisher.current().identity().unwrap().leaf().clone();
                    one.publisher.apply(&delta(2, vec![Change::Revoked(authority.revocation(&leaf))]))
                }
            };
            let all = matches!(loss, Loss::Struck | Loss::RootRemoved | Loss::OwnRevocation);
            let cut = cuts.unwrap().len();
            if loss != Loss::Expiry {
                assert_eq!(cut, if all { 2 } else { 1 }, "{what}");
            }
            is_reset(&what, &mut of_two).await;
            if all {
                is_reset(&what, &mut of_three).await;
            } else {
                ping(&mut of_three).await.unwrap();
                one.live_is(&what, 1).await;
            }
            // Nor does it come back.
            if loss != Loss::OwnRevocation {
                is_refused(&what, two.port()).await;
            }
            if !all {
                ping(&mut of_three).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_dialler_cuts_what_it_no_longer_trusts() {
    for transport in Transport::ALL {
        let authority = Authority::new("prod");
        let (one, two) = pair(&authority, transport, echo().await).await;
        let mut live = carried(two.port()).await;
        let leaf = one.publisher.current().identity().unwrap().leaf().clone();
        let revoked = Change::Revoked(authority.revocation(&leaf));
        assert_eq!(two.publisher.apply(&delta(2, vec![revoked])).unwrap().len(), 1, "{transport}");
        is_reset(&format!("{transport}"), &mut live).await;
        one.live_is(&format!("{transport}"), 0).await;
        is_refused(&format!("{transport}"), two.port()).await;
        two.failed_with(&format!("{transport}"), code::REVOKED).await;
    }
}

/// Draining lets what lives end by itself; what is new goes elsewhere.
#[tokio::test]
async fn a_drain_lets_live_streams_finish_and_sends_new_ones_to_another_connection() {
    for transport in Transport::ALL {
        for drains in ["listener", "dialler"] {
            let what = format!("{transport}, {drains}");
            let authority = Authority::new("prod");
            let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
            if drains == "listener" {
                spec.tls.lifecycle.on_rotation = Action::Drain(Duration::from_secs(60));
            }
            let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
            let mut peer = to(&authority, transport, "worker/web-1", one.port());
            if drains == "dialler" {
                peer.tls.lifecycle.on_rotation = Action::Drain(Duration::from_secs(60));
            }
            let two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer]).await;
            let mut live = carried(two.port()).await;
            let (end, who) =
                if drains == "listener" { (&one, "worker/web-1") } else { (&two, "worker/web-2") };
            end.publisher.publish_identity(crate::world::renewed(&authority, who)).unwrap();
            ping(&mut live).await.unwrap();
            let mut other = carried(two.port()).await;
            one.live_is(&what, 2).await;
            ping(&mut live).await.unwrap();
            // The old connection goes with its last stream, and the other stays.
            drop(live);
            one.live_is(&what, 1).await;
            two.live_is(&what, 1).await;
            ping(&mut other).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_drain_has_an_end() {
    for transport in Transport::ALL {
        let authority = Authority::new("prod");
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
        spec.tls.lifecycle.on_revocation = Action::Drain(Duration::from_millis(200));
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut live = carried(two.port()).await;
        let leaf = two.publisher.current().identity().unwrap().leaf().clone();
        let revoked = Change::Revoked(authority.revocation(&leaf));
        assert_eq!(one.publisher.apply(&delta(2, vec![revoked])).unwrap().len(), 0);
        is_reset(&format!("{transport}"), &mut live).await;
    }
}

/// What a caller that is not ours sees of a cut: 1008 in WebSocket.
#[tokio::test]
async fn a_websocket_is_closed_with_1008() {
    let authority = Authority::new("prod");
    let one = serving(&authority, Transport::Ws, echo().await).await;
    let client = authority.publisher("worker/web-2");
    let options = ClientOptions::new(certus_pki::Accept::new(allow(&["spiffe://prod/worker/web-1"])));
    let client_end = Client::new(client.credentials(), options);
    let tls = client_end.connect(TcpStream::connect(one.port()).await.unwrap()).await.unwrap();
    let mut socket = transports::ws::connect(tls, &transports::ws::Ask::new("web-1")).await.unwrap();
    ping(&mut socket).await.unwrap();
    let leaf = client.current().identity().unwrap().leaf().clone();
    one.publisher.apply(&delta(2, vec![Change::Revoked(authority.revocation(&leaf))])).unwrap();
    let error = soon("the close", socket.read_u8()).await.unwrap_err();
    let closed = transports::ws::WsClosed::of(&error).expect("a close with words");
    assert_eq!(closed.code, transports::ws::CLOSE_POLICY);
    assert!(closed.reason.contains("revoked"), "{}", closed.reason);
}

/// And in HTTP/2: the stream is reset, the connection ends with GOAWAY.
#[tokio::test]
async fn an_http2_connection_is_ended_with_goaway() {
    let authority = Authority::new("prod");
    let one = serving(&authority, Transport::H2, echo().await).await;
    let client = authority.publisher("worker/web-2");
    let mut options = ClientOptions::new(certus_pki::Accept::new(allow(&["spiffe://prod/worker/web-1"])));
    options.alpn = vec![b"h2".to_vec()];
    let client_end = Client::new(client.credentials(), options);
    let tls = client_end.connect(TcpStream::connect(one.port()).await.unwrap()).await.unwrap();
    let limits = transports::h2::Limits::default();
    let (h2, driver) = transports::h2::connect(tls, limits).await.unwrap();
    let driver = tokio::spawn(driver);
    let mut stream = h2.open(&transports::h2::Ask::new("web")).await.unwrap();
    ping(&mut stream).await.unwrap();
    let leaf = client.current().identity().unwrap().leaf().clone();
    one.publisher.apply(&delta(2, vec![Change::Revoked(authority.revocation(&leaf))])).unwrap();
    soon("the end", stream.read_u8()).await.unwrap_err();
    let ended = soon("the connection's end", driver).await.unwrap().unwrap_err();
    let transports::h2::H2Error::Closed { is_goaway: true, .. } = &ended else { panic!("{ended:?}") };
}
