//! Who is let in, who is not, and what each side is told.

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{AgentId, code};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::super::handshake::{Refusal, SECOND_BYTES, answer, dial, within};
use super::super::prologue::Shape;
use super::*;

/// Both ends' outcomes, as errors; `accept`'s check fails the test if it is asked.
async fn refused(expected: AgentId, theirs: &AgentKey, here: Prologue, there: Prologue) -> [E2eError; 2] {
    let (a, b) = duplex(1 << 10);
    let mine = key();
    let never = |_: &AgentId| -> Result<(), Explanation> { panic!("asked about a call that does not open") };
    let dialled = connect(a, &mine, expected, here);
    let (dialled, answered) = soon(async { tokio::join!(dialled, accept(b, theirs, there, never)) }).await;
    [dialled.err().unwrap(), answered.err().unwrap()]
}

#[tokio::test]
async fn a_wrong_agent_is_refused_by_name() {
    let (expected, theirs) = (key().id(), key());
    let [dialled, answered] = refused(expected, &theirs, PLAIN, PLAIN).await;
    let why = dialled.explain();
    assert_eq!(why.code, code::E2E_WRONG_PEER);
    assert_eq!(why.message, format!("the other end does not hold the key of {expected}"));
    assert_eq!(why.facts[0], ("expected".to_owned(), expected.to_string()));
    assert_eq!(why.facts[1], ("it says it is".to_owned(), theirs.id().to_string()));
    let why = answered.explain();
    assert_eq!(why.code, code::E2E_FAILED);
    assert_eq!(why.facts[0], ("this agent".to_owned(), theirs.id().to_string()));
}

#[tokio::test]
async fn a_caller_that_is_not_accepted_is_told_so_and_not_why() {
    let ((a, b), mine, theirs) = (duplex(1 << 10), key(), key());
    let policy = |peer: &AgentId| {
        assert_eq!(*peer, mine.id());
        Err(Explanation::new(code::NOT_ALLOWED, "not one of ours").hint("secret of the house"))
    };
    let dialled = connect(a, &mine, theirs.id(), PLAIN);
    let (dialled, answered) = soon(async { tokio::join!(dialled, accept(b, &theirs, PLAIN, policy)) }).await;
    let why = dialled.err().unwrap().explain();
    assert_eq!(why.code, code::E2E_REFUSED);
    assert!(why.facts.contains(&("refused by".to_owned(), theirs.id().to_string())));
    assert!(why.facts.contains(&("this agent".to_owned(), mine.id().to_string())));
    assert!(why.facts.contains(&("its reason".to_owned(), "CT-1108".to_owned())));
    assert!(!why.to_string().contains("house") && !why.to_string().contains("ours"));
    let why = answered.err().unwrap().explain();
    assert_eq!((why.code, why.message.as_str()), (code::NOT_ALLOWED, "not one of ours"));
    assert_eq!(why.facts[0], ("agent".to_owned(), mine.id().to_string()));
}

#[tokio::test]
async fn two_ends_that_bind_it_differently_have_no_session() {
    let bound = |byte| Prologue { transport: "tcp", exporter: Some([byte; 32]) };
    let quic = Prologue { transport: "quic", ..PLAIN };
    let cases = [
        (PLAIN, quic, "not bound", "quic, not bound"),
        (PLAIN, bound(1), "tcp, not bound", "tcp, bound"),
        (bound(1), PLAIN, "tcp, bound", "tcp, not bound"),
        // Somebody between the two ends TLS, and nobody said so.
        (bound(1), bound(2), "tcp, bound", "tcp, bound"),
    ];
    for (here, there, is_here, is_there) in cases {
        let theirs = key();
        let [dialled, answered] = refused(theirs.id(), &theirs, here, there).await;
        let why = dialled.explain();
        assert_eq!(why.code, code::E2E_FAILED);
        assert!(why.facts[0].1.contains(is_here) && why.facts[1].1.contains(is_there), "{why}");
        assert_eq!(why.hint.unwrap().contains("TLS ends somewhere between"), here.shape() == there.shape());
        assert!(matches!(answered, E2eError::NotForUs { .. }));
    }
    // And where they agree, they have one.
    let ((a, b), mine, theirs) = (duplex(1 << 10), key(), key());
    let dialled = connect(a, &mine, theirs.id(), bound(1));
    let (dialled, answered) =
        soon(async { tokio::join!(dialled, accept(b, &theirs, bound(1), anyone)) }).await;
    assert!(dialled.is_ok() && answered.is_ok());
}

#[tokio::test]
async fn who_cannot_make_the_answer_is_not_the_agent() {
    let ((a, mut b), mine, expected) = (duplex(1 << 10), key(), key().id());
    let impostor = async {
        let mut first = [0; 98];
        b.read_exact(&mut first).await.unwrap();
        b.write_all(&[&[0, SECOND_BYTES as u8], &[9; SECOND_BYTES][..]].concat()).await.unwrap();
    };
    let (dialled, ()) = soon(async { tokio::join!(connect(a, &mine, expected, PLAIN), impostor) }).await;
    let why = dialled.err().unwrap();
    assert!(matches!(why, E2eError::WrongPeer { claims: None, .. }));
    assert_eq!(why.explain().code, code::E2E_WRONG_PEER);
}

#[tokio::test]
async fn a_recorded_call_is_not_believed_again() {
    let ((a, mut tap), mine, theirs) = (duplex(1 << 10), key(), key());
    let calling = tokio::spawn(async move {
        let mut first = vec![0; 98];
        tap.read_exact(&mut first).await.unwrap();
        first
    });
    assert!(soon(connect(a, &mine, theirs.id(), PLAIN)).await.is_err());
    let first = calling.await.unwrap();
    for then in [&[][..], &[&[0, 16], &[7; 16][..]].concat(), &first] {
        let (mut again, b) = duplex(1 << 10);
        again.write_all(&[&first, then].concat()).await.unwrap();
        again.shutdown().await.unwrap();
        let asked = std::sync::atomic::AtomicBool::new(false);
        let outcome = soon(accept(b, &theirs, PLAIN, |peer| {
            asked.store(*peer == mine.id(), std::sync::atomic::Ordering::Relaxed);
            Ok(())
        }));
        let error = outcome.await.err().expect("a replay is no session");
        assert_eq!(error.explain().code, code::E2E_FAILED);
        assert!(asked.into_inner(), "it was the real caller's first message");
    }
}

#[tokio::test]
async fn what_is_no_agent_is_refused_at_once_by_both_sides() {
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 200]].concat();
    let strangers: [&[u8]; 5] = [b"GET / HTTP/1.1\r\n\r\n", &hello, &[0; 64], &[0xff; 300], b"\0\x60 short"];
    for stranger in strangers {
        let (mine, theirs) = (key(), key());
        let (mut there, b) = duplex(1 << 10);
        there.write_all(stranger).await.unwrap();
        there.shutdown().await.unwrap();
        let why = soon(accept(b, &mine, PLAIN, anyone)).await.err().unwrap().explain();
        assert_eq!(why.code, code::E2E_FAILED, "{why}");
        let mut told = Vec::new();
        soon(there.read_to_end(&mut told)).await.unwrap();
        assert!(told.is_empty(), "a stranger is told nothing");

        let (mut there, a) = duplex(1 << 10);
        there.write_all(stranger).await.unwrap();
        there.shutdown().await.unwrap();
        let why = soon(connect(a, &mine, theirs.id(), PLAIN)).await.err().unwrap().explain();
        assert_eq!(why.code, code::E2E_FAILED, "{why}");
    }
}

#[tokio::test]
async fn an_end_that_says_nothing_is_not_waited_for_forever() {
    let limit = Duration::from_millis(20);
    let (mine, theirs) = (key(), key());
    let (a, _silent) = duplex(1 << 10);
    let why = soon(within(limit, dial(a, &mine, theirs.id(), PLAIN))).await.err().unwrap();
    assert!(matches!(why, E2eError::Timeout));
    assert_eq!(why.explain().code, code::HANDSHAKE_TIMEOUT);
    let (_silent, b) = duplex(1 << 10);
    let why = soon(within(limit, answer(b, &mine, PLAIN, anyone))).await.err().unwrap();
    assert!(matches!(why, E2eError::Timeout));
    // A caller that named itself, and never proves it.
    let ((a, mut tap), (mut there, b)) = (duplex(1 << 10), duplex(1 << 10));
    let expected = mine.id();
    let calling = tokio::spawn(async move { connect(a, &theirs, expected, PLAIN).await.is_err() });
    let mut first = [0; 98];
    tap.read_exact(&mut first).await.unwrap();
    there.write_all(&first).await.unwrap();
    let why = soon(within(limit, answer(b, &mine, PLAIN, anyone))).await.err().unwrap();
    assert!(matches!(why, E2eError::Timeout));
    drop(tap);
    assert!(soon(calling).await.unwrap());
}

#[tokio::test]
async fn ids_that_are_no_keys_are_not_dialled() {
    for id in [[0; 32], std::array::from_fn(|place| u8::from(place == 0))] {
        let (a, _there) = duplex(1 << 10);
        let why = soon(connect(a, &key(), AgentId::from_bytes(id), PLAIN)).await.err().unwrap();
        assert!(matches!(why, E2eError::NotAKey { .. }));
    }
}

/// Compiles only while the key cannot be printed.
#[test]
fn i7_an_agents_key_cannot_be_printed() {
    trait Printable<Marker> {
        fn is() {}
    }
    struct ByDebug;
    struct ByDisplay;
    impl<T: ?Sized> Printable<()> for T {}
    impl<T: ?Sized + std::fmt::Debug> Printable<ByDebug> for T {}
    impl<T: ?Sized + std::fmt::Display> Printable<ByDisplay> for T {}
    // With a second implementation the marker could not be inferred.
    <AgentKey as Printable<_>>::is();
}

proptest! {
    #[test]
    fn a_refusal_in_the_clear_comes_back(id: [u8; 32], bound: bool, transport in "[a-z0-9]{1,8}") {
        let refusal = Refusal { id: AgentId::from_bytes(id), shape: Shape { bound, transport } };
        let bytes = refusal.encode();
        let back = Refusal::parse(&bytes).unwrap();
        prop_assert!(back.id == refusal.id && back.shape == refusal.shape);
        for cut in 0..=34 {
            prop_assert!(Refusal::parse(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn any_answer_is_a_refusal_or_malformed(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(refusal) = Refusal::parse(&bytes) {
            prop_assert_eq!(refusal.encode(), bytes);
        }
    }

    #[test]
    fn any_first_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), framed: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcome = runtime.block_on(async {
            let (mut there, b) = duplex(1 << 10);
            let head: &[u8] = if framed { &[0, 96] } else { &[] };
            there.write_all(&[head, &bytes].concat()).await.unwrap();
            there.shutdown().await.unwrap();
            soon(accept(b, &key(), PLAIN, anyone)).await
        });
        prop_assert!(outcome.is_err());
    }
}
