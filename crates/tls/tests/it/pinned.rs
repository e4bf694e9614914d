//! The first dial: nothing is sent to whoever is not a manager under the pinned root (I13).

use std::sync::Arc;

use certus_pki::pin::{PinError, PinnedManager};
use certus_pki::{Explain, Issuer, JoinToken, Lifetime, Rejection, code};
use certus_tls::{
    ClientCertificate, HandshakeError, Identity, Server, ServerOptions, TlsStream, connect_pinned,
};
use tokio::io::DuplexStream;

use crate::world::*;

const M1: &str = "spiffe://prod/manager/m1";

/// Dials whoever holds `identity`, with a token for `pinned`.
async fn first_dial(
    identity: Arc<Identity>,
    of: &Authority,
    send_roots: bool,
    pinned: &Issuer,
    dial: &Dial,
) -> Result<(TlsStream<DuplexStream>, PinnedManager), PinError> {
    let cluster = identity.id().unwrap().cluster.to_string();
    let other = node(&identity, &bundle(&cluster, 1, &[of], &[]), dial);
    let mut options = ServerOptions::new(only(&["spiffe://prod/*"]));
    options.client_certificate = ClientCertificate::Optional;
    options.send_roots = send_roots;
    options.alpn = vec![b"h2".to_vec()];
    let server = Server::new(other.credentials(), options);
    let (near, far) = tokio::io::duplex(64 << 10);
    let pin = JoinToken::new([7; 16], &pinned.key_hash()).pin();
    let (served, dialed) =
        tokio::join!(server.accept(far), connect_pinned(near, pin, vec![b"h2".to_vec()], dial.now()));
    match dialed {
        Ok((mut stream, manager)) => {
            let mut served = served.ok().unwrap();
            assert!(served.peer().is_none());
            talk(&mut served, &mut stream).await;
            Ok((stream, manager))
        }
        Err(HandshakeError::NotPinned(error)) => {
            assert!(matches!(served.err(), Some(HandshakeError::PeerRejectedUs { .. })));
            Err(error)
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn i13_a_manager_under_the_pinned_root_is_believed() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let (stream, manager) = first_dial(prod.identity(M1), &prod, true, &prod.root, &dial).await.ok().unwrap();
    assert_eq!(*manager.identity(), M1.parse().unwrap());
    assert_eq!((manager.cluster.as_str(), manager.root.key_hash()), ("prod", prod.root.key_hash()));
    assert_eq!(
        (stream.peer().unwrap().peer.identity.as_ref().unwrap().role, stream.alpn()),
        (certus_pki::Role::Manager, Some(&b"h2"[..]))
    );
}

#[tokio::test]
async fn i13_whoever_is_no_manager_of_the_pinned_root_is_refused() {
    let [prod, foreign] = [Authority::new("prod"), Authority::new("prod")];
    let dial = Dial::new();
    let error = |outcome: Result<_, PinError>| outcome.err().unwrap();

    let worker = prod.identity("spiffe://prod/worker/web-1");
    let posing = error(first_dial(worker, &prod, true, &prod.root, &dial).await);
    assert!(matches!(posing, PinError::NotAManager { .. }), "{posing:?}");
    assert_eq!(posing.explain().code, code::NOT_A_MANAGER);

    let client = prod.identity("spiffe://prod/client/ann");
    let posing = error(first_dial(client, &prod, true, &prod.root, &dial).await);
    assert!(matches!(posing, PinError::Rejected(Rejection::WrongPurpose { .. })), "{posing:?}");

    let stranger = error(first_dial(foreign.identity(M1), &foreign, true, &prod.root, &dial).await);
    assert!(matches!(stranger, PinError::WrongPin { .. }), "{stranger:?}");
    assert_eq!(stranger.explain().code, code::WRONG_PIN);

    // A foreign leaf with our root appended.
    let key = key();
    let mut chain = foreign.chain(M1, &key, DAY);
    chain.push(prod.root.certificate().der.clone());
    let dressed_up = Arc::new(Identity::new(&key, chain).ok().unwrap());
    let refused = error(first_dial(dressed_up, &foreign, false, &prod.root, &dial).await);
    assert!(matches!(refused, PinError::NotUnderRoot(_)), "{refused:?}");
    assert_eq!(refused.explain().code, code::NOT_A_MANAGER);

    let silent = error(first_dial(prod.identity(M1), &prod, false, &prod.root, &dial).await);
    assert!(matches!(silent, PinError::WrongPin { .. }), "the root must be sent: {silent:?}");

    // A manager of another cluster that the same root signed.
    let elsewhere = prod.identity("spiffe://staging/manager/m1");
    let refused = error(first_dial(elsewhere, &prod, true, &prod.root, &dial).await);
    assert!(matches!(refused, PinError::NotAManager { .. }), "{refused:?}");

    let manager = prod.identity_for(M1, Lifetime::from_hours(1));
    dial.advance(Lifetime::from_hours(2));
    let late = error(first_dial(manager, &prod, true, &prod.root, &dial).await);
    assert!(matches!(late, PinError::Rejected(Rejection::Expired { .. })), "{late:?}");
}
