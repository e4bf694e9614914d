//! One among many.

use crate::world::*;

const WEB_1: &str = "spiffe://prod/worker/web-1";
const ALL: &[&str] = &["spiffe://prod/*"];
/// Enough that a look at each would be found in a profile; ten thousand are for a benchmark.
const MANY: usize = 2000;
/// Handshakes are slow without optimisation: callers share identities, in this many groups.
const IDENTITIES: usize = 40;

#[tokio::test]
async fn i10_a_revocation_among_thousands_cuts_one_peer_only() {
    let (prod, dial) = (Authority::new("prod"), Dial::new());
    let trust = bundle("prod", 1, &[&prod], &[]);
    let one = node(&prod.identity(WEB_1), &trust, &dial);
    let server = server(&one, ALL);
    let victim = prod.identity("spiffe://prod/worker/victim");
    let leaving = client(&node(&victim, &trust, &dial), ALL);
    let others: Vec<_> = (0..IDENTITIES)
        .map(|n| client(&node(&prod.identity(&format!("spiffe://prod/worker/w-{n}")), &trust, &dial), ALL))
        .collect();
    let mut pairs = Vec::with_capacity(MANY);
    for n in 0..MANY - 1 {
        pairs.push(connect(&server, &others[n % IDENTITIES]).await);
    }
    let (cut, _dialed) = connect(&server, &leaving).await;
    assert_eq!(one.registry().live(), MANY);

    let cuts = one.publish_bundle(bundle("prod", 2, &[&prod], &[prod.revoke(&victim)])).unwrap();
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].peer, "spiffe://prod/worker/victim");
    assert!(cut.cut().is_some());
    assert_eq!(one.registry().live(), MANY - 1);
    for (served, dialed) in &mut pairs {
        talk(served, dialed).await;
    }
    for caller in &others {
        assert!(connect(&server, caller).await.0.resumed());
    }
    assert!(meet(&server, &leaving).await.0.is_err());
    drop(pairs);
    assert_eq!(one.registry().live(), 0);
}
