//! TLS and plaintext on one port, on the way from the one to the other.

use certus_node::{Mtls, Transport, transports};
use certus_pki::{Lifetime, UnixTime, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// A byte there and back without TLS.
async fn in_the_clear(transport: Transport, one: &End) -> std::io::Result<()> {
    let mut plain = TcpStream::connect(one.port()).await?;
    match transport {
        Transport::H2 => {
            let limits = transports::h2::Limits::default();
            let (client, driver) =
                transports::h2::connect(plain, limits).await.map_err(std::io::Error::other)?;
            tokio::spawn(driver);
            let opened = soon("a stream", client.open(&transports::h2::Ask::new("web"))).await;
            ping(&mut opened.map_err(std::io::Error::other)?).await
        }
        Transport::Ws => {
            let opened = transports::ws::connect(plain, &transports::ws::Ask::new("web")).await;
            ping(&mut opened.map_err(std::io::Error::other)?).await
        }
        _ => ping(&mut plain).await,
    }
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

fn tomorrow(authority: &Authority) -> UnixTime {
    UnixTime::from_secs(authority.clock()().secs() + 86_400)
}
