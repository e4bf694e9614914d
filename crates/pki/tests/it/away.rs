//! What those trust who were away, or whose clock was wrong for a while.

use certus_pki::{
    Bundle, CertId, Issuers, Lifetime, PeerQuery, Purpose, Reason, Rejection, Revocation, Serial, UnixTime,
};

use crate::world::{NOW, World, bundle, key_hash, web};

/// A caller that was away when an issuer was added must be able to hear of it, and of nothing else.
#[test]
fn i13_an_unknown_issuer_will_do_only_where_that_is_said_and_only_below_our_root() {
    let prod = World::new("prod");
    let later = World::under(prod.root.clone());
    let leaf = later.leaf(&web());
    let from = |bundle: &Bundle, issuers| {
        PeerQuery { issuers, ..PeerQuery::new(bundle, NOW, Purpose::Server) }.verify(&leaf.chain_der)
    };
    let known = from(&prod.bundle(), Issuers::Known);
    assert!(matches!(known, Err(Rejection::IssuerNotActive { .. })));
    let peer = from(&prod.bundle(), Issuers::AnyBelowRoot).unwrap();
    assert_eq!(peer.cert.issuer, key_hash(&later.issuer));
    let mut struck = bundle(&[&prod.root], &[&prod.issuer, &later.issuer], []);
    let epoch = certus_pki::Epoch { generation: 0, revision: struck.epoch().revision + 1 };
    let changes = vec![certus_pki::Change::IssuerRemoved(key_hash(&later.issuer))];
    struck.apply(&certus_pki::Delta { epoch, changes });
    let refused = from(&struck, Issuers::AnyBelowRoot);
    assert!(matches!(refused, Err(Rejection::IssuerNotActive { .. })), "struck is not unheard of");
    assert!(from(&struck, Issuers::StruckToo).is_ok(), "for managers, who hold it against the record");
    let foreign = from(&World::new("prod").bundle(), Issuers::AnyBelowRoot);
    assert!(matches!(foreign, Err(Rejection::UnknownAuthority { .. })));
    let revocation =
        Revocation { cert: peer.cert, at: NOW, reason: Reason::KeyCompromise, not_after: peer.not_after };
    let revoked = from(&bundle(&[&prod.root], &[&prod.issuer], [revocation]), Issuers::AnyBelowRoot);
    assert!(matches!(revoked, Err(Rejection::Revoked { .. })));
}

/// A clock that ran a year ahead for a moment brings no revoked peer back.
#[test]
fn i10_what_is_forgotten_is_forgotten_by_the_clusters_time() {
    let prod = World::new("prod");
    let revoked = |number: u8, at: UnixTime, days| Revocation {
        cert: CertId { issuer: key_hash(&prod.issuer), serial: Serial::from_random([number; 16]) },
        at,
        reason: Reason::KeyCompromise,
        not_after: NOW.plus(Lifetime::from_days(days)),
    };
    let later = NOW.plus(Lifetime::from_days(20));
    let mut trust = bundle(&[&prod.root], &[&prod.issuer], [revoked(1, NOW, 10), revoked(2, NOW, 90)]);
    trust.forget_ended(NOW.plus(Lifetime::from_days(365)));
    assert_eq!(trust.revocations().len(), 2);
    let mut trust = bundle(&[&prod.root], &[&prod.issuer], [revoked(1, NOW, 10), revoked(2, later, 90)]);
    trust.forget_ended(NOW);
    assert_eq!(trust.revocations().len(), 2);
    trust.forget_ended(NOW.plus(Lifetime::from_days(365)));
    assert_eq!(trust.revocations().len(), 1, "the first had ended when the second was made");
}
