//! Listeners and peers come, change and go, and only those notice whom it concerns; on every transport.

use certus_node::{Backend, Reloaded, Transport};
use certus_pki::code;
use tokio::net::{TcpListener, TcpStream};

use crate::authority::Authority;
use crate::until;
use crate::world::{
    End, allow, ask, carried, echo, is_refused, is_reset, listener, ping, reaching, service, tcp, to,
};

/// An address that is free now, so that a specification can name it.
async fn free(transport: Transport) -> String {
    if transport == Transport::Quic {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        return socket.local_addr().unwrap().to_string();
    }
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_narrower_policy_cuts_whom_it_excludes_however_often_it_changed_before() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
        let publisher = authority.publisher("worker/web-1");
        let mut one = End::new(publisher, vec![spec.clone()], vec![]).await;
        let at = one.port();
        let two = reaching(&authority, transport, "worker/web-2", at).await;
        let three = reaching(&authority, transport, "worker/web-3", at).await;
        let (mut of_two, mut of_three) = (carried(two.port()).await, carried(three.port()).await);

        // The same again is nothing.
        let done = one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap();
        assert_eq!(done, Reloaded::default(), "{what}");
        // Another service, for new connections only; then another still.
        for _ in 0..2 {
            let other =
                service(
                    |mut tcp| async move { tokio::io::AsyncWriteExt::write_all(&mut tcp, b"another").await },
                );
            spec.forward = Some(Backend::Tcp(other.await.to_string()));
            let done = one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap();
            assert_eq!((done.changed, done.cut), (1, 0), "{what}");
            ping(&mut of_two).await.unwrap();
        }
        assert_eq!(one.port(), at, "{what}");
        // Kept connections carry on to the service that they found; a new one finds the new.
        let four = reaching(&authority, transport, "worker/web-4", at).await;
        assert_eq!(ask(four.port(), b"").await.unwrap(), b"another", "{what}");

        // The live ones are of two reloads ago, and are judged all the same.
        spec.allow = allow(&["spiffe://prod/worker/web-3"]);
        let done = one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap();
        assert!(done.cut >= 1, "{what}: {done:?}");
        is_reset(&what, &mut of_two).await;
        ping(&mut of_three).await.unwrap();
        is_refused(&what, two.port()).await;
        one.failed_with(&what, code::NOT_ALLOWED).await;
        ping(&mut of_three).await.unwrap();
    }
}

#[tokio::test]
async fn listeners_and_peers_come_and_go() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let (first, second) = (free(transport).await, free(transport).await);
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
        spec.address.clone_from(&first);
        let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
        let mut more = spec.clone();
        (more.name, more.address) = ("more".to_owned(), second);
        let done = one.carrier.reload(vec![spec.clone(), more.clone()], vec![]).await.unwrap();
        assert_eq!((done.added, done.changed, done.removed), (1, 0, 0), "{what}");
        let at = one.carrier.bound("more").unwrap();
        let two = reaching(&authority, transport, "worker/web-2", at).await;
        drop(carried(two.port()).await);

        // Gone: its port is free again, and nobody is served there.
        let done = one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap();
        assert_eq!((done.added, done.changed, done.removed), (0, 0, 1), "{what}");
        assert_eq!(one.carrier.bound("more"), None);
        drop(two);
        one.live_is(&what, 0).await;
        let rebind = async {
            while one.carrier.reload(vec![spec.clone(), more.clone()], vec![]).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        crate::soon("the port", rebind).await;
        let two = reaching(&authority, transport, "worker/web-2", at).await;
        drop(carried(two.port()).await);
    }
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
        let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut live = carried(two.port()).await;
        let (tcp_taken, udp_taken);
        let taken = if transport == Transport::Quic {
            udp_taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            udp_taken.local_addr().unwrap()
        } else {
            tcp_taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            tcp_taken.local_addr().unwrap()
        };
        let mut narrower = spec.clone();
        narrower.allow = allow(&[]);
        let mut more = spec.clone();
        (more.name, more.address) = ("more".to_owned(), taken.to_string());
        let error = one.carrier.reload(vec![narrower, more], vec![]).await.unwrap_err();
        assert!(error.to_string().contains(&taken.to_string()), "{what}: {error}");
        ping(&mut live).await.unwrap();
        drop(carried(two.port()).await);
        assert_eq!(one.carrier.bound("more"), None, "{what}");
    }
}

#[tokio::test]
async fn a_peer_that_changes_leads_elsewhere() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let say = |word: &'static [u8]| {
            service(move |mut tcp| async move {
                tokio::io::AsyncWriteExt::write_all(&mut tcp, word).await?;
                let mut byte = [0];
                tokio::io::AsyncReadExt::read(&mut tcp, &mut byte).await.map(drop)
            })
        };
        let one = crate::world::serving(&authority, transport, say(b"one").await).await;
        let other = listener(transport, tcp(say(b"two").await), &["spiffe://prod/worker/*"]);
        let other = End::new(authority.publisher("worker/web-9"), vec![other], vec![]).await;
        let mut peer = to(&authority, transport, "worker/web-1", one.port());
        let mut two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer.clone()]).await;
        let port = two.port();
        let hear = |port| async move {
            let mut tcp = TcpStream::connect(port).await.unwrap();
            let mut word = [0; 3];
            tokio::io::AsyncReadExt::read_exact(&mut tcp, &mut word).await.unwrap();
            (word, tcp)
        };
        let (word, live) = hear(port).await;
        assert_eq!(&word, b"one");
        peer.id = to(&authority, transport, "worker/web-9", other.port()).id;
        peer.address = other.port().to_string();
        let done = two.carrier.reload(vec![], vec![peer]).await.unwrap();
        assert_eq!((done.changed, done.cut), (1, 1), "{what}: whoever is no longer meant is cut");
        let (mut live, what_was) = (live, what.clone());
        is_reset(&what_was, &mut live).await;
        assert_eq!(&hear(port).await.0, b"two", "{what}");
        // Nothing of the old peer stays.
        one.live_is(&what, 0).await;
    }
}

#[tokio::test]
async fn a_link_is_made_anew_when_its_peer_changes() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let what = format!("{transport}");
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*"]);
        spec.forward = None;
        let one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
        let other = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let mut peer = to(&authority, transport, "worker/web-1", one.port());
        peer.listen = None;
        let mut two = End::new(authority.publisher("worker/web-2"), vec![], vec![peer.clone()]).await;
        one.live_is(&what, 1).await;
        until("it is counted", || two.numbers().contains(r#"peer_linked{name="web"} 1"#)).await;
        peer.address = other.port().to_string();
        two.carrier.reload(vec![], vec![peer]).await.unwrap();
        other.live_is(&what, 1).await;
        one.live_is(&what, 0).await;
        two.carrier.reload(vec![], vec![]).await.unwrap();
        other.live_is(&what, 0).await;
    }
}

/// Two listeners on any port are two, whatever their addresses look like.
#[tokio::test]
async fn listeners_on_any_port_keep_apart() {
    let authority = Authority::new("prod");
    let mut one_spec = listener(Transport::Tcp, tcp(echo().await), &["spiffe://prod/worker/*"]);
    let mut other_spec = one_spec.clone();
    other_spec.name = "more".to_owned();
    let publisher = authority.publisher("worker/web-1");
    let mut one = End::new(publisher, vec![one_spec.clone(), other_spec.clone()], vec![]).await;
    let (web, more) = (one.carrier.bound("web"), one.carrier.bound("more"));
    one_spec.allow = allow(&[]);
    let done = one.carrier.reload(vec![other_spec, one_spec], vec![]).await.unwrap();
    assert_eq!((done.added, done.changed, done.removed), (0, 1, 0));
    assert_eq!((one.carrier.bound("web"), one.carrier.bound("more")), (web, more));
    let two = reaching(&authority, Transport::Tcp, "worker/web-2", more.unwrap()).await;
    drop(carried(two.port()).await);
    let three = reaching(&authority, Transport::Tcp, "worker/web-3", web.unwrap()).await;
    is_refused("web", three.port()).await;
}
