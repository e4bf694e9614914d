//! The persisted form of commands, replies and refusals. Tags are never reused.

use super::{Document, Malformed, Persist, Reader, Writer, persist_enum, persist_struct};
use crate::command::{
    Command, CreateToken, Enlist, Genesis, Issued, JoinAsk, RenewAsk, Reply, Settings, Target, UnrecordedCert,
};
use crate::refusal::{Barred, Refusal};

persist_enum!(Command, "command" {
    1 = Genesis(genesis);
    2 = CreateToken(token);
    3 = RevokeToken { token, by };
    4 = Admit { ask, planned_at, der };
    5 = Renew { ask, planned_at, der };
    6 = Revoke { target, reason, by };
    7 = Direct { node, directive, by };
    8 = AddIssuer { der, by };
    9 = Enlist(enlist);
    10 = Announce { node, address };
    11 = Promote { node, by };
    12 = RemoveManager { node, compromised, by };
    13 = StrikeIssuers { member, by };
    30 = TakeRootOffline { root, by };
    31 = BringRootOnline { root, key_sealed, by };
    50 = Restore { made_at, by };
    51 = Recover { by };
    52 = RevokeUnrecorded { cert, reason, by };
});

persist_struct! {
    Settings { leaf_lifetime, issuer_lifetime }
    Genesis {
        cluster, settings, root_der, root_key_sealed, issuer_der, manager_der, operator_der, generation,
    }
    CreateToken { secret_hash, root, role, id, sans, ttl, uses, replace, grant, by }
    JoinAsk { secret_hash, role, id, public_key }
    RenewAsk { node, from, public_key }
    Issued { node, cert, der, again }
    Enlist { node, address, issuer_der, voter, by }
    UnrecordedCert { cert, node, key_hash, not_after }
}

persist_enum!(Target, "target" { 1 = Node(node); 2 = Cert(cert); });

persist_enum!(Reply, "reply" {
    1 = Founded { epoch };
    2 = TokenCreated { token, expires_at };
    3 = TokenRevoked { token };
    4 = Admitted(issued);
    5 = Renewed(issued);
    6 = Revoked { node, certs, revision };
    7 = Directed { revision };
    8 = IssuerAdded { key_hash, revision };
    9 = Enlisted { member, revision };
    10 = Announced { member };
    11 = Promoted { member };
    12 = ManagerRemoved { member, certs, revision };
    13 = IssuersStruck { issuers, revision };
    30 = RootTakenOffline { root };
    31 = RootBroughtOnline { root };
    50 = Restored { epoch, tokens };
    51 = Recovered { epoch };
});

persist_enum!(Refusal, "refusal" {
    1 = UnknownToken { token };
    2 = TokenExpired { now, created_at, expired_at, by, role, id };
    3 = TokenUsedUp { uses, role, id };
    4 = TokenRevoked { token, at };
    5 = TokenWrongRole { expected, came };
    6 = TokenWrongId { expected, came };
    7 = IdInUse { node, since, key };
    8 = NotFounded;
    9 = AlreadyFounded { cluster, at };
    10 = UnknownNode { node };
    11 = UnknownCertificate { cert };
    12 = RenewalBarred { node, why };
    13 = IssuerTooShort { issuer_lifetime, leaf_lifetime };
    14 = EndsTooSoon { signer, signer_ends, signed_ends };
    15 = IssuerNotActive { came };
    16 = RootNotActive { came };
    17 = PlanMismatch { what, expected, came };
    18 = StalePlan { planned_at, at };
    19 = SerialRepeated { cert };
    20 = AlreadyRevoked { what, since, reason };
    21 = OutOfBounds { what, allowed, came };
    22 = AlreadyExists { what };
    23 = NotPermitted { by, why };
    24 = LastOne { node, what };
    25 = NotAManager { node };
    40 = RootOffline { root };
    41 = RootOnline { root };
});

persist_enum!(Barred, "bar" {
    1 = NodeRevoked { at, reason };
    2 = CertRevoked { at, reason };
    3 = CertExpired { not_after };
    4 = NotItsCert;
    5 = OlderKey { newest_at };
    6 = KeyNotFresh;
    7 = KeyRevoked { at, reason };
    50 = NotOnRecord;
});

impl Persist for Result<Reply, Refusal> {
    fn write(&self, out: &mut Writer) {
        self.is_ok().write(out);
        match self {
            Ok(reply) => reply.write(out),
            Err(refusal) => refusal.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::read(from)? { Reply::read(from).map(Ok) } else { Refusal::read(from).map(Err) }
    }
}

impl Document for Command {
    const KIND: u8 = 0x01;
}

impl Document for Reply {
    const KIND: u8 = 0x02;
}

impl Document for Refusal {
    const KIND: u8 = 0x03;
}

impl Document for Result<Reply, Refusal> {
    const KIND: u8 = 0x04;
}
