//! What the certificate says, and when the next is made.

use certus_pki::Lifetime;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

#[test]
fn it_signs_itself_and_is_no_ca() {
    let source = Ephemeral::new("node-1", ["node-1.internal".parse().unwrap()]).ok().unwrap();
    let material = source.make(NOW).ok().unwrap();
    let leaf = material.pair().unwrap().leaf();
    assert_eq!((leaf.subject.as_str(), leaf.issuer.as_str()), ("CN=node-1", "CN=node-1"));
    assert!(!leaf.is_ca && leaf.verify_signed_by(leaf));
    assert_eq!(leaf.usage, Usage::ANY);
    let names: Vec<String> = leaf.sans.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["localhost", "127.0.0.1", "::1", "node-1.internal"]);
    assert_eq!(leaf.not_after.secs_since(NOW), 90 * 86_400);
    assert!(material.roots().is_empty());
    // Each start has a key of its own.
    assert_ne!(source.make(NOW).ok().unwrap().digest(), material.digest());
}

#[test]
fn the_next_is_made_after_two_thirds_and_when_the_clock_was_set_back() {
    let source = Ephemeral::new("node-1", []).ok().unwrap();
    let material = source.make(NOW).ok().unwrap();
    let due = Ephemeral::due_at(&material).unwrap();
    assert_eq!(due.secs_since(NOW) / 86_400, 60);
    let next = |at| source.read(Some(&material), at).ok().unwrap();
    assert!(next(UnixTime::from_secs(due.secs() - 1)).is_none());
    assert!(next(due).is_some());
    assert!(next(NOW.minus(Lifetime::from_days(1))).is_some());
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    assert!(Ephemeral::new(&"x".repeat(65), []).is_err());
    assert!(Ephemeral::new("", []).is_err());
}
