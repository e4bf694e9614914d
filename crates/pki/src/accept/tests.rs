//! Policies: what their words mean, and what they say of callers.

use super::*;
use crate::revoke::CertId;
use crate::serial::Serial;
use crate::time::UnixTime;

fn peer(identity: &str, sans: &[&str]) -> Peer {
    Peer {
        identity: identity.parse().ok(),
        subject: "somebody".to_owned(),
        sans: sans.iter().map(|san| san.parse().unwrap()).collect(),
        cert: CertId { issuer: Sha256::of(b"issuer"), serial: Serial::from_random([1; 16]) },
        key_hash: Sha256::of(b"key"),
        key_type: KeyType::P256,
        fingerprint: Sha256::of(b"certificate"),
        not_after: UnixTime::from_secs(2),
        root: Sha256::of(b"root"),
        chain_not_after: UnixTime::from_secs(2),
        expired: false,
    }
}

fn allow(text: &str) -> Allow {
    text.parse().unwrap()
}

#[test]
fn conditions_read_and_print() {
    let key = "ab".repeat(32);
    for text in [
        "any",
        "plaintext",
        "spiffe://prod/worker/*",
        "dns:*.internal",
        "ip:10.0.0.0/8",
        "ip:10.0.0.7",
        &format!("key:{key}"),
        &format!("agent:{key}"),
    ] {
        assert_eq!(allow(text).to_string(), text);
    }
    for text in
        ["", "web-1", "dns:10.0.0.7", "ip:web", "key:12", "agent:xyz", "nobody:x", "dns:", "spiffe://x"]
    {
        assert!(text.parse::<Allow>().is_err(), "{text}");
    }
}

#[test]
fn conditions_combine() {
    let web = peer("spiffe://prod/worker/web-1", &["web.internal", "10.0.0.7"]);
    let says = |allow: &Allow| allow.judge(&Caller::verified(&web));
    let (id, other) = (allow("spiffe://prod/worker/web-1"), allow("spiffe://prod/worker/web-2"));
    let (dns, ip) = (allow("dns:*.internal"), allow("ip:10.0.0.0/8"));
    assert_eq!(says(&Allow::All(vec![id.clone(), dns, ip])), Verdict::Yes);
    assert_eq!(says(&Allow::All(vec![id.clone(), other.clone()])), Verdict::No);
    assert_eq!(says(&Allow::Any(vec![other.clone(), id.clone()])), Verdict::Yes);
    assert_eq!(says(&Allow::Not(Box::new(other))), Verdict::Yes);
    assert_eq!(says(&Allow::Any(Vec::new())), Verdict::No);
    assert_eq!(says(&Allow::Key(web.key_hash)), Verdict::Yes);
    assert_eq!(says(&Allow::Plaintext), Verdict::No);
    assert_eq!(Allow::Anyone.judge(&Caller::in_the_clear()), Verdict::No);
    let not = Allow::Not(Box::new(id));
    assert_eq!(not.judge(&Caller::in_the_clear()), Verdict::No);
    assert_eq!(not.judge(&Caller::known(None, AgentProof::Absent)), Verdict::No);
}

#[test]
fn an_awaited_agent_decides_only_where_it_matters() {
    let agent = AgentId::from_bytes([7; 32]);
    let of_agent = Allow::Agent(agent);
    let stranger = |proof| Caller::known(None, proof);
    assert_eq!(of_agent.judge(&stranger(AgentProof::Awaited)), Verdict::Awaited);
    assert_eq!(of_agent.judge(&stranger(AgentProof::Absent)), Verdict::No);
    assert_eq!(of_agent.judge(&stranger(AgentProof::Is(agent))), Verdict::Yes);
    let not = Allow::Not(Box::new(of_agent.clone()));
    assert_eq!(not.judge(&stranger(AgentProof::Awaited)), Verdict::Awaited);
    let both = Allow::All(vec![of_agent.clone(), allow("spiffe://prod/*")]);
    assert_eq!(both.judge(&stranger(AgentProof::Awaited)), Verdict::No);
    let either = Allow::Any(vec![of_agent, Allow::Anyone]);
    assert_eq!(either.judge(&stranger(AgentProof::Awaited)), Verdict::Yes);
}

#[test]
fn names_that_must_be_there() {
    let web = peer("spiffe://prod/worker/web-1", &["web.internal", "*.apps.internal", "10.0.0.7"]);
    let wants = |names: &[&str]| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        Accept::new(Allow::Anyone).requiring(names).check(&web)
    };
    assert_eq!(wants(&["web.internal", "*.internal", "10.0.0.0/8"]), Ok(()));
    let missing = Rejection::NameMissing {
        expected: "db.internal".to_owned(),
        came: vec!["web.internal".to_owned(), "*.apps.internal".to_owned(), "10.0.0.7".to_owned()],
    };
    assert_eq!(wants(&["web.internal", "db.internal"]), Err(missing));
    let dialed = |name: &str| Accept::new(Allow::Anyone).named(name.parse().unwrap()).check(&web);
    for name in ["web.internal", "a.apps.internal", "10.0.0.7"] {
        assert_eq!(dialed(name), Ok(()), "{name}");
    }
    for name in ["apps.internal", "a.b.apps.internal", "10.0.0.8", "webxinternal.example"] {
        assert!(matches!(dialed(name), Err(Rejection::WrongName { .. })), "{name}");
    }
}

#[test]
fn keys_of_other_kinds_are_refused_with_both_halves() {
    let refused = KeyPolicy::elliptic().check(KeyType::Rsa(2048)).unwrap_err();
    assert_eq!(refused.to_string(), "certificate must use ECDSA or Ed25519, got RSA-2048");
    assert_eq!(KeyPolicy::any().check(KeyType::Rsa(2048)), Ok(()));
    let large = KeyPolicy::of_words(["rsa4096", "ecdsa"]).unwrap();
    assert!(large.check(KeyType::Rsa(3072)).is_err() && large.check(KeyType::Rsa(4096)).is_ok());
    assert!(large.check(KeyType::Ed25519).is_err());
    assert!(KeyPolicy::of_words(["dsa"]).is_err() && KeyPolicy::of_words([]).is_err());
}
