//! Who is refused, and in which words, at both ends; on every transport.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use certus_node::{Carrier, ListenerSpec, Means, Metrics, Mtls, Transport};
use certus_pki::{Change, Code, Explain, Lifetime, Signer, code};
use certus_tls::{Identity, Publisher, Snapshot};

use crate::authority::{Authority, delta, key};
use crate::world::{End, echo, is_refused, listener, serving, tcp, to};

/// What is wrong, and the codes that the listener and the dialler say it with.
struct Case {
    what: &'static str,
    at_listener: Code,
    at_dialler: Code,
    /// A word of what the dialler is told.
    word: &'static str,
}

const REJECTED: Code = code::PEER_REJECTED_US;

const CASES: [Case; 7] = [
    Case {
        what: "unknown authority",
        at_listener: code::UNKNOWN_AUTHORITY,
        at_dialler: REJECTED,
        word: "unknown_ca",
    },
    Case { what: "expired", at_listener: code::EXPIRED, at_dialler: REJECTED, word: "certificate_expired" },
    Case { what: "revoked", at_listener: code::REVOKED, at_dialler: REJECTED, word: "certificate_revoked" },
    Case { what: "not allowed", at_listener: code::NOT_ALLOWED, at_dialler: REJECTED, word: "access_denied" },
    Case {
        what: "no certificate",
        at_listener: code::NO_CERTIFICATE,
        at_dialler: REJECTED,
        word: "certificate_required",
    },
    Case {
        what: "another listener",
        at_listener: REJECTED,
        at_dialler: code::NOT_ALLOWED,
        word: "worker/web-7",
    },
    Case {
        what: "a listener of another authority",
        at_listener: REJECTED,
        at_dialler: code::UNKNOWN_AUTHORITY,
        word: "",
    },
];

/// Somebody who trusts `authority` and is who `signed` says.
fn somebody(authority: &Authority, signed: Option<&Authority>, id: &str) -> Publisher {
    let identity = signed.map(|signed| {
        let key = key();
        Arc::new(Identity::of_any_authority(&key, signed.chain(id, key.public_key())).unwrap())
    });
    Publisher::new(Snapshot::new(identity, Arc::new(authority.bundle())), authority.clock())
}

#[tokio::test]
async fn both_ends_say_why_and_the_application_sees_a_reset() {
    for transport in Transport::ALL {
        for case in CASES {
            let what = format!("{transport}, {}", case.what);
            let (authority, other) = (Authority::new("prod"), Authority::new("prod"));
            let service = echo().await;
            let (mut who, mut meant, mut trusted) = ("worker/web-2", "worker/web-1", &authority);
            let mut signed = Some(&authority);
            match case.what {
                "unknown authority" => signed = Some(&other),
                "expired" => authority.leaf_lifetime.store(60, Ordering::Relaxed),
                "not allowed" => who = "worker/stranger",
                "no certificate" => signed = None,
                "another listener" => meant = "worker/web-7",
                "a listener of another authority" => trusted = &other,
                _ => {}
            }
            let dialler = somebody(trusted, signed, who);
            authority.leaf_lifetime.store(86_400, Ordering::Relaxed);
            let spec = listener(transport, tcp(service), &["spiffe://prod/worker/web-2"]);
            let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
            let peer = to(&authority, transport, meant, one.port());
            let two = End::new(dialler, vec![], vec![peer]).await;
            match case.what {
                "expired" => authority.pass(Lifetime::from_secs(3_600)),
                "revoked" => {
                    let leaf = two.publisher.current().identity().unwrap().leaf().clone();
                    let revoked = Change::Revoked(authority.revocation(&leaf));
                    one.publisher.apply(&delta(2, vec![revoked])).unwrap();
                }
                _ => {}
            }
            is_refused(&what, two.port()).await;
            let at_listener = one.failed_with(&format!("{what}, listener"), case.at_listener).await;
            assert_eq!((at_listener.name.as_str(), at_listener.transport), ("web", transport.as_str()));
            let at_dialler = two.failed_with(&format!("{what}, dialler"), case.at_dialler).await;
            assert!(at_dialler.why.to_string().contains(case.word), "{what}: {}", at_dialler.why);
            if case.at_dialler == REJECTED {
                assert!(
                    at_dialler.why.message.starts_with("the peer rejected our certificate: "),
                    "{what}: {}",
                    at_dialler.why
                );
                assert!(
                    two.numbers().contains(r#"handshakes_total{side="client",outcome="peer_rejected_us"} 1"#),
                    "{what}: counted once"
                );
            }
            assert_eq!((one.live(), two.live()), (0, 0), "{what}");
        }
    }
}

/// A refusal comes after a client of TLS 1.3 believes to be connected: one that sends much at once must
/// not lose the reason.
#[tokio::test]
async fn a_caller_that_sends_at_once_still_learns_why() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let spec = listener(transport, tcp(echo().await), &["spiffe://prod/worker/web-2"]);
        let one = End::new(authority.publisher("worker/web-1"), vec![spec], vec![]).await;
        for _ in 0..10 {
            let peer = to(&authority, transport, "worker/web-1", one.port());
            let two = End::new(authority.publisher("worker/web-9"), vec![], vec![peer]).await;
            let mut tcp = tokio::net::TcpStream::connect(two.port()).await.unwrap();
            // A write that fails has seen the reset; a read would not see it again.
            if tokio::io::AsyncWriteExt::write_all(&mut tcp, &vec![7; 4 << 20]).await.is_ok() {
                crate::world::is_reset(&format!("{transport}"), &mut tcp).await;
            }
            two.failed_with(&format!("{transport}"), REJECTED).await;
        }
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_said_at_the_listener_and_reset_at_the_caller() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let one = serving(&authority, transport, address).await;
        let two = crate::world::reaching(&authority, transport, "worker/web-2", one.port()).await;
        is_refused(&format!("{transport}"), two.port()).await;
        one.failed_with(&format!("{transport}"), code::BACKEND).await;
        // It is back, and so is the connection.
        let _back = tokio::net::TcpListener::bind(address).await.unwrap();
        let port = two.port();
        let answered = tokio::spawn(async move { tokio::net::TcpStream::connect(port).await });
        crate::soon("the service", _back.accept()).await.unwrap();
        drop(answered);
    }
}

/// What cannot be reached is said by name, and everybody that waits is told at once.
#[tokio::test]
async fn a_peer_that_is_down_is_said_to_all_that_wait() {
    let authority = Authority::new("prod");
    for transport in [Transport::Tcp, Transport::H2, Transport::Ws] {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let two = crate::world::reaching(&authority, transport, "worker/web-2", address).await;
        let port = two.port();
        let all: Vec<_> =
            (0..50).map(|_| tokio::spawn(async move { is_refused("down", port).await })).collect();
        for one in all {
            one.await.unwrap();
        }
        two.failed_with(&format!("{transport}"), code::PEER_UNREACHABLE).await;
    }
}

/// What QUIC cannot give is refused in words, at the start and at a reload, and changes nothing.
#[tokio::test]
async fn what_quic_has_not_is_refused_when_it_is_asked_for() {
    let authority = Authority::new("prod");
    let backend = crate::world::echo().await;
    let spec = || listener(Transport::Quic, tcp(backend), &["spiffe://prod/worker/*"]);
    let until = certus_pki::UnixTime::from_secs(4_000_000_000);
    type Ask = fn(&mut ListenerSpec, certus_pki::UnixTime);
    let cases: [(&str, Ask); 4] = [
        ("`plaintext`", |spec, _| spec.plaintext = true),
        ("Mtls::Permissive", |spec, until| spec.tls.mtls = Mtls::Permissive { until }),
        ("Allow::Plaintext", |spec, _| spec.allow = crate::world::allow(&["plaintext"])),
        ("proxy_protocol.accept", |spec, _| spec.proxy_protocol.accept = true),
    ];
    let mut one = End::new(authority.publisher("worker/web-1"), vec![spec()], vec![]).await;
    for (what, ask) in cases {
        let mut asking = spec();
        ask(&mut asking, until);
        let means = Means::new(one.publisher.credentials(), Metrics::new());
        let error = Carrier::start(means, vec![asking.clone()], vec![]).await.err().expect(what);
        let told = error.explain();
        assert_eq!(told.code, code::CONFIGURATION, "{what}");
        assert!(told.message.contains(what), "{told}");
        one.carrier.reload(vec![asking.clone()], vec![]).await.expect_err(what);
        // Over the others it is one's own affair.
        asking.transport = Transport::Tcp;
        let means = Means::new(one.publisher.credentials(), Metrics::new());
        Carrier::start(means, vec![asking], vec![]).await.expect(what);
    }
    let two = crate::world::reaching(&authority, Transport::Quic, "worker/web-2", one.port()).await;
    crate::world::ping(&mut crate::world::carried(two.port()).await).await.unwrap();
    let mut peer = to(&authority, Transport::Quic, "worker/web-1", one.port());
    peer.plaintext = true;
    let means = Means::new(one.publisher.credentials(), Metrics::new());
    assert!(Carrier::start(means, vec![], vec![peer]).await.is_err());
}
