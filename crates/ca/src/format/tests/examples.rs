//! An example of every variant of everything that is persisted.

use certus_pki::{
    CertId, Change, Delta, Directive, Epoch, Grant, IssuerRef, Lifetime, PublicKey, Reason, Revocation, Role,
    San, Serial, Sha256, TokenId, UnixTime,
};

use super::unhex;
use crate::command::{
    Command, CreateToken, Enlist, Genesis, Issued, JoinAsk, RenewAsk, Reply, Settings, Target,
};
use crate::record::{CertRecord, Event, How, ManagerRecord, NodeRecord, NodeState, TokenRecord};
use crate::refusal::{Barred, Refusal};
use crate::tests::{id, manager, operator, worker};

pub(crate) const AT: UnixTime = UnixTime::from_secs(1_795_305_600);

pub(crate) fn digest(byte: u8) -> Sha256 {
    Sha256::from_bytes([byte; 32])
}

pub(crate) fn cert() -> CertId {
    CertId { issuer: digest(0x11), serial: Serial::from_random([0x22; 16]) }
}

pub(crate) fn token_id() -> TokenId {
    TokenId::from_bytes([1, 2, 3, 4, 5, 6])
}

/// The base point of P-256 (SEC 2, 2.4.2), which nobody holds the key of.
pub(crate) fn public_key() -> PublicKey {
    let spki = "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f2\
                77037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb640\
                6837bf51f5";
    PublicKey::from_spki_der(&unhex(spki)).unwrap()
}

pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let by = operator();
    let genesis = Genesis {
        cluster: "prod".parse().unwrap(),
        settings: Settings {
            leaf_lifetime: Lifetime::from_days(90),
            issuer_lifetime: Lifetime::from_days(365),
        },
        root_der: b"root".to_vec(),
        root_key_sealed: b"sealed".to_vec(),
        issuer_der: b"issuer".to_vec(),
        manager_der: b"manager".to_vec(),
        operator_der: b"operator".to_vec(),
        generation: 7,
    };
    let create = CreateToken {
        secret_hash: digest(1),
        root: digest(2),
        role: Role::Worker,
        id: Some(id("web-1")),
        sans: sans(),
        ttl: Lifetime::from_hours(24),
        uses: 1,
        replace: true,
        grant: Grant::None,
        by: by.clone(),
    };
    let join =
        JoinAsk { secret_hash: digest(1), role: Role::Worker, id: id("web-1"), public_key: public_key() };
    let renew = RenewAsk { node: worker("web-1"), from: cert(), public_key: public_key() };
    let enlist = Enlist {
        node: manager("m2"),
        address: "m2.internal:7443".into(),
        issuer_der: b"issuer".to_vec(),
        voter: true,
        by: manager("m1"),
    };
    let reason = Reason::KeyCompromise;
    let directive = Directive::RenewNow;
    vec![
        ("genesis", Command::Genesis(genesis)),
        ("create-token", Command::CreateToken(create)),
        ("revoke-token", Command::RevokeToken { token: token_id(), by: by.clone() }),
        ("admit", Command::Admit { ask: join, planned_at: AT, der: b"leaf".to_vec() }),
        ("renew", Command::Renew { ask: renew, planned_at: AT, der: b"leaf".to_vec() }),
        ("revoke-node", Command::Revoke { target: Target::Node(worker("web-1")), reason, by: by.clone() }),
        ("revoke-cert", Command::Revoke { target: Target::Cert(cert()), reason, by: by.clone() }),
        ("direct", Command::Direct { node: worker("web-1"), directive, by: by.clone() }),
        ("add-issuer", Command::AddIssuer { der: b"issuer".to_vec(), by: by.clone() }),
        ("enlist", Command::Enlist(enlist)),
        ("announce", Command::Announce { node: manager("m2"), address: "m2.internal:7443".into() }),
        ("promote", Command::Promote { node: manager("m2"), by: by.clone() }),
        ("remove-manager", Command::RemoveManager { node: manager("m2"), compromised: true, by: by.clone() }),
        ("strike-issuers", Command::StrikeIssuers { member: 2, by }),
    ]
}

pub(crate) fn sans() -> Vec<San> {
    ["web-1.internal", "10.0.0.7", "::1"].map(|san| san.parse().unwrap()).to_vec()
}

pub(crate) fn replies() -> Vec<Reply> {
    let issued = Issued { node: worker("web-1"), cert: cert(), der: b"leaf".to_vec(), again: false };
    vec![
        Reply::Founded { epoch: Epoch { generation: 7, revision: 1 } },
        Reply::TokenCreated { token: token_id(), expires_at: AT },
        Reply::TokenRevoked { token: token_id() },
        Reply::Admitted(issued.clone()),
        Reply::Renewed(Issued { again: true, ..issued }),
        Reply::Revoked { node: worker("web-1"), certs: vec![cert()], revision: 118 },
        Reply::Directed { revision: 119 },
        Reply::IssuerAdded { key_hash: digest(3), revision: 120 },
        Reply::Enlisted { member: 2, revision: 121 },
        Reply::Announced { member: 2 },
        Reply::Promoted { member: 2 },
        Reply::ManagerRemoved { member: Some(2), certs: vec![cert()], revision: 122 },
        Reply::IssuersStruck { issuers: vec![digest(3)], revision: 123 },
    ]
}

pub(crate) fn refusals() -> Vec<Refusal> {
    let (node, reason) = (worker("web-1"), Reason::Superseded);
    let bars = [
        Barred::NodeRevoked { at: AT, reason },
        Barred::CertRevoked { at: AT, reason },
        Barred::CertExpired { not_after: AT },
        Barred::NotItsCert,
        Barred::OlderKey { newest_at: AT },
        Barred::KeyNotFresh,
        Barred::KeyRevoked { at: AT, reason },
    ];
    let (role, text) = (Role::Worker, || "text".to_owned());
    let mut refusals = vec![
        Refusal::UnknownToken { token: token_id() },
        Refusal::TokenExpired {
            now: AT,
            created_at: AT,
            expired_at: AT,
            by: operator(),
            role,
            id: id("web-1"),
        },
        Refusal::TokenUsedUp { uses: 3, role, id: id("web-1") },
        Refusal::TokenRevoked { token: token_id(), at: AT },
        Refusal::TokenWrongRole { expected: role, came: Role::Client },
        Refusal::TokenWrongId { expected: id("web-1"), came: id("web-2") },
        Refusal::IdInUse { node: node.clone(), since: AT, key: digest(4) },
        Refusal::NotFounded,
        Refusal::AlreadyFounded { cluster: "prod".parse().unwrap(), at: AT },
        Refusal::UnknownNode { node: node.clone() },
        Refusal::UnknownCertificate { cert: cert() },
        Refusal::IssuerTooShort {
            issuer_lifetime: Lifetime::from_days(1),
            leaf_lifetime: Lifetime::from_days(2),
        },
        Refusal::EndsTooSoon { signer: text(), signer_ends: AT, signed_ends: AT },
        Refusal::IssuerNotActive { came: text() },
        Refusal::RootNotActive { came: digest(5) },
        Refusal::PlanMismatch { what: text(), expected: text(), came: text() },
        Refusal::StalePlan { planned_at: AT, at: AT },
        Refusal::SerialRepeated { cert: cert() },
        Refusal::AlreadyRevoked { what: text(), since: AT, reason },
        Refusal::OutOfBounds { what: text(), allowed: text(), came: text() },
        Refusal::AlreadyExists { what: text() },
        Refusal::NotPermitted { by: operator(), why: text() },
        Refusal::LastOne { node: operator(), what: text() },
    ];
    refusals.extend(bars.map(|why| Refusal::RenewalBarred { node: node.clone(), why }));
    refusals.push(Refusal::NotAManager { node });
    refusals
}

pub(crate) fn node_record() -> NodeRecord {
    NodeRecord {
        identity: worker("web-1"),
        grant: Grant::None,
        state: NodeState::Revoked { at: AT, reason: Reason::CessationOfOperation },
        sans: sans(),
        newest: cert(),
        previous: Some(cert()),
        admitted_at: AT,
        admitted_by: Some(token_id()),
        window_from: AT,
        window_count: 2,
    }
}

pub(crate) fn cert_record() -> CertRecord {
    CertRecord {
        cert: cert(),
        node: worker("web-1"),
        der: b"leaf".to_vec(),
        issued_at: AT,
        not_after: AT,
        key_hash: digest(6),
        renew_by: AT,
        how: How::Renewed,
        revoked: Some((AT, Reason::KeyCompromise)),
    }
}

pub(crate) fn token_record() -> TokenRecord {
    TokenRecord {
        token: token_id(),
        secret_hash: digest(1),
        root: digest(2),
        role: Role::Client,
        id: None,
        sans: Vec::new(),
        created_at: AT,
        expires_at: AT,
        uses: 5,
        used: 4,
        revoked_at: Some(AT),
        by: operator(),
        replace: false,
        grant: Grant::Operate,
    }
}

pub(crate) fn events() -> Vec<Event> {
    let (node, reason) = (worker("web-1"), Reason::Unspecified);
    vec![
        Event::Founded { cluster: "prod".parse().unwrap(), root: digest(2) },
        Event::TokenCreated { token: token_id(), role: Role::Worker, id: None, grant: Grant::None, uses: 1 },
        Event::TokenRevoked { token: token_id() },
        Event::Joined { node: node.clone(), token: token_id(), cert: cert(), replaced: 2 },
        Event::Renewed { from: cert(), cert: Some(cert()) },
        Event::NodeRevoked { node: node.clone(), reason },
        Event::CertRevoked { cert: cert(), reason },
        Event::Directed { node, directive: Directive::Removed },
        Event::IssuerAdded { fingerprint: digest(7) },
        Event::ManagerEnlisted { node: manager("m2"), member: 2 },
        Event::ManagerAnnounced { node: manager("m2") },
        Event::ManagerPromoted { node: manager("m2") },
        Event::ManagerRemoved { node: manager("m2"), compromised: true },
        Event::IssuersStruck { member: 2 },
    ]
}

pub(crate) fn manager_record() -> ManagerRecord {
    ManagerRecord {
        member: 2,
        node: manager("m2"),
        address: "m2.internal:7443".into(),
        voter: true,
        joined_at: AT,
        removed_at: Some(AT),
        issuers: vec![digest(3)],
    }
}

pub(crate) fn delta() -> Delta {
    let revocation = Revocation { cert: cert(), at: AT, reason: Reason::PrivilegeWithdrawn, not_after: AT };
    let changes = vec![
        Change::Revoked(revocation),
        Change::IssuerAdded(IssuerRef { key_hash: digest(3), not_after: AT }),
        Change::IssuerRemoved(digest(3)),
        Change::Direct { node: worker("web-1"), directive: Directive::Removed },
    ];
    Delta { epoch: Epoch { generation: 7, revision: 118 }, changes }
}
