//! TLS and plaintext on one port, on the way from the one to the other.

use std::time::Duration;

use certus_node::{Mtls, Transport, transports};
use certus_pki::{Lifetime, UnixTime, code};
use certus_tls::Action;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::soon;
use crate::world::{End, carried, echo, is_refused, listener, ping, reaching, service, tcp};

const STREAMS: [Transport; 3] = [Transport::Tcp, Transport::H2, Transport::Ws];

async fn permissive(authority: &Authority, transport: Transport, allowed: &[&str]) -> End {
    let mut spec = listener(transport, tcp(echo().await), allowed);
    spec.tls.mtls = Mtls::Permissive { until: tomorrow(authority) };
    End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A stream without TLS that is carried and answered.
async fn clear(transport: Transport, one: &End) -> std::io::Result<Box<dyn Stream>> {
    let plain = TcpStream::connect(one.port()).await?;
    let mut stream: Box<dyn Stream> = match transport {
        Transport::H2 => {
            let limits = transports::h2::Limits::default();
            let (client, driver) =
                transports::h2::connect(plain, limits).await.map_err(std::io::Error::other)?;
            tokio::spawn(driver);
            let opened = soon("a stream", client.open(&transports::h2::Ask::new("web"))).await;
            Box::new(opened.map_err(std::io::Error::other)?)
        }
        Transport::Ws => {
            let opened = transports::ws::connect(plain, &transports::ws::Ask::new("web")).await;
            Box::new(opened.map_err(std::io::Error::other)?)
        }
        _ => Box::new(plain),
    };
    ping(&mut stream).await.map(|()| stream)
}

/// A byte there and back without TLS.
async fn in_the_clear(transport: Transport, one: &End) -> std::io::Result<()> {
    clear(transport, one).await.map(drop)
}

/// What the node does each second.
fn sweep(one: &End, authority: &Authority) -> usize {
    one.publisher.registry().sweep(authority.clock()()).len()
}

#[tokio::test]
async fn tls_and_plaintext_share_a_port_until_the_date() {
    let authority = Authority::new("prod");
    for transport in STREAMS {
        let what = format!("{transport}");
        let one = permissive(&authority, transport, &["spiffe://prod/worker/*", "plaintext"]).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut live = carried(two.port()).await;
        in_the_clear(transport, &one).await.unwrap();
        assert!(one.numbers().contains(r#"plaintext_connections_total{name="web"} 1"#), "{what}");
        authority.pass(Lifetime::from_days(2));
        in_the_clear(transport, &one).await.unwrap_err();
        one.failed_with(&what, code::PLAINTEXT).await;
        assert!(one.numbers().contains(r#"plaintext_connections_total{name="web"} 1"#), "{what}");
        ping(&mut live).await.unwrap();
    }
}

#[tokio::test]
async fn plaintext_is_taken_only_where_it_is_allowed() {
    let authority = Authority::new("prod");
    for transport in STREAMS {
        let one = permissive(&authority, transport, &["spiffe://prod/worker/*"]).await;
        in_the_clear(transport, &one).await.unwrap_err();
        one.failed_with(&format!("{transport}"), code::NOT_ALLOWED).await;
        // Nor does plaintext make TLS callers anybody.
        let only_plain = permissive(&authority, transport, &["plaintext"]).await;
        let two = reaching(&authority, transport, "worker/web-2", only_plain.port()).await;
        is_refused(&format!("{transport}"), two.port()).await;
        in_the_clear(transport, &only_plain).await.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_speaks_first_does_so_in_the_clear_too() {
    let authority = Authority::new("prod");
    let greeting = service(|mut tcp| async move {
        tcp.write_all(b"220 hello\r\n").await?;
        let mut line = [0; 6];
        tcp.read_exact(&mut line).await.map(drop)
    });
    let mut spec = listener(Transport::Tcp, tcp(greeting.await), &["plaintext"]);
    spec.tls.mtls = Mtls::Permissive { until: tomorrow(&authority) };
    let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
    let mut plain = TcpStream::connect(one.port()).await.unwrap();
    let mut line = [0; 11];
    soon("the greeting", plain.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"220 hello\r\n");
}

/// Who came in the clear ends with the date, as a change of policy says; who came with TLS stays.
#[tokio::test]
async fn live_plaintext_ends_with_the_date() {
    for transport in STREAMS {
        let what = format!("{transport}");
        let authority = Authority::new("prod");
        let one = permissive(&authority, transport, &["spiffe://prod/worker/*", "plaintext"]).await;
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let mut secure = carried(two.port()).await;
        let mut plain = clear(transport, &one).await.unwrap();
        assert_eq!(sweep(&one, &authority), 0, "{what}: not yet");
        authority.pass(Lifetime::from_days(2));
        assert_eq!(sweep(&one, &authority), 1, "{what}");
        let read = soon(&what, plain.read_u8()).await;
        assert!(read.is_err(), "{what}: {read:?}");
        one.live_is(&what, 1).await;
        ping(&mut secure).await.unwrap();
    }
}

#[tokio::test]
async fn the_date_keeps_drains_or_cuts_as_policy_says() {
    for (action, lives) in
        [(Action::Keep, 1), (Action::Drain(Duration::from_secs(3_600)), 1), (Action::Cut, 0)]
    {
        let authority = Authority::new("prod");
        let mut spec = listener(Transport::H2, tcp(echo().await), &["plaintext"]);
        spec.tls.mtls = Mtls::Permissive { until: tomorrow(&authority) };
        spec.tls.lifecycle.on_policy_change = action;
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        let plain = TcpStream::connect(one.port()).await.unwrap();
        let limits = transports::h2::Limits::default();
        let (client, driver) = transports::h2::connect(plain, limits).await.unwrap();
        let driver = tokio::spawn(driver);
        let mut live = client.open(&transports::h2::Ask::new("web")).await.unwrap();
        ping(&mut live).await.unwrap();
        authority.pass(Lifetime::from_days(2));
        assert_eq!(sweep(&one, &authority), 1 - lives);
        // What goes on, goes on; nothing new begins.
        assert_eq!(ping(&mut live).await.is_ok(), lives == 1, "{action:?}");
        let again = soon("an answer", client.open(&transports::h2::Ask::new("web"))).await;
        assert!(again.is_err(), "{action:?}");
        drop((live, client));
        one.live_is(&format!("{action:?}"), usize::from(action == Action::Keep)).await;
        driver.abort();
    }
}

/// A reload moves the date for those who are here too.
#[tokio::test]
async fn a_reload_moves_the_date_or_ends_it() {
    for transport in STREAMS {
        let what = format!("{transport}");
        let authority = Authority::new("prod");
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*", "plaintext"]);
        spec.tls.mtls = Mtls::Permissive { until: tomorrow(&authority) };
        let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
        let mut plain = clear(transport, &one).await.unwrap();
        let later = UnixTime::from_secs(tomorrow(&authority).secs() + 7 * 86_400);
        spec.tls.mtls = Mtls::Permissive { until: later };
        assert_eq!(one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap().cut, 0);
        authority.pass(Lifetime::from_days(2));
        assert_eq!(sweep(&one, &authority), 0, "{what}");
        ping(&mut plain).await.unwrap();
        spec.tls.mtls = Mtls::Required;
        spec.allow = crate::world::allow(&["spiffe://prod/worker/*", "plaintext"]);
        assert_eq!(one.carrier.reload(vec![spec], vec![]).await.unwrap().cut, 1, "{what}");
        soon(&what, plain.read_u8()).await.unwrap_err();
        one.live_is(&what, 0).await;
    }
}

/// Who still comes in the clear, and since when nobody does; a reload forgets nothing.
#[tokio::test]
async fn it_is_said_who_comes_in_the_clear_and_since_when_nobody_does() {
    for transport in STREAMS {
        let what = format!("{transport}");
        let authority = Authority::new("prod");
        let mut spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/*", "plaintext"]);
        spec.tls.mtls = Mtls::Permissive { until: tomorrow(&authority) };
        let mut one = End::new(authority.publisher("worker/web-1"), vec![spec.clone()], vec![]).await;
        let now = || authority.clock()();
        let seen = |one: &End| one.carrier.clear().seen().remove(0);
        assert_eq!((seen(&one).last, seen(&one).is_ready(now())), (None, false), "{what}");
        let two = reaching(&authority, transport, "worker/web-2", one.port()).await;
        let _secure = carried(two.port()).await;
        assert_eq!(seen(&one).connections, 0, "{what}: TLS is not plaintext");
        let plain = clear(transport, &one).await.unwrap();
        in_the_clear(transport, &one).await.unwrap();
        crate::until(&what, || seen(&one).live == 1).await;
        let (caller, live) = (seen(&one).callers.remove(0), seen(&one).live);
        assert_eq!((caller.from.is_loopback(), caller.connections, live), (true, 2, 1), "{what}");
        authority.pass(Lifetime::from_hours(20));
        assert_eq!(seen(&one).quiet(now()), None, "{what}: somebody is here");
        drop(plain);
        crate::until(&what, || seen(&one).live == 0).await;
        assert!(one.numbers().contains(r#"plaintext_live{name="web"} 0"#), "{what}");
        let last = seen(&one).last.unwrap();
        assert!(last.secs() > caller.last.secs(), "{what}: its end counts");
        spec.tls.mtls = Mtls::Permissive { until: UnixTime::from_secs(4_000_000_000) };
        one.carrier.reload(vec![spec.clone()], vec![]).await.unwrap();
        let after = seen(&one);
        assert_eq!((after.connections, after.until.secs()), (2, 4_000_000_000), "{what}");
        assert!(!after.is_ready(now()), "{what}");
        authority.pass(Lifetime::from_days(3));
        assert!(seen(&one).is_ready(now()), "{what}");
        let number = format!("plaintext_last_timestamp_seconds{{name=\"web\"}} {}", last.secs());
        assert!(one.numbers().contains(&number), "{what}");
        spec.tls.mtls = Mtls::Required;
        one.carrier.reload(vec![spec], vec![]).await.unwrap();
        crate::until(&what, || one.carrier.clear().seen().is_empty()).await;
    }
}

fn tomorrow(authority: &Authority) -> UnixTime {
    UnixTime::from_secs(authority.clock()().secs() + 86_400)
}
