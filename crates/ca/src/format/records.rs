//! The persisted form of the tables' rows. Tags are never reused.

use certus_pki::{CertId, Change, Code, Delta, Directive, IssuerRef, Revocation};

use super::{Document, Malformed, Persist, Reader, Writer, persist_enum, persist_struct};
use crate::record::{
    AuditRecord, CertRecord, Event, How, IssuerRecord, ManagerRecord, NodeRecord, NodeState, RootRecord,
    TokenRecord,
};
use crate::tables::{AuditHead, Counters, Founding};

persist_struct! {
    NodeRecord {
        identity, grant, state, sans, newest, previous, admitted_at, admitted_by, window_from, window_count,
    }
    CertRecord { cert, node, der, issued_at, not_after, key_hash, renew_by, how, revoked }
    TokenRecord {
        token, secret_hash, root, role, id, sans, created_at, expires_at, uses, used, revoked_at, by, replace,
        grant,
    }
    IssuerRecord { key_hash, der, subject_der, not_after, active, added_at }
    RootRecord { key_hash, der, not_after, active, key_sealed }
    ManagerRecord { member, node, address, voter, joined_at, removed_at, issuers }
    AuditRecord { number, at, previous, by, event, refused }
    Founding { name, settings, founded_at }
    Counters { epoch, last_at }
    AuditHead { count, hash }
    Delta { epoch, changes }
    Revocation { cert, at, reason, not_after }
    IssuerRef { key_hash, not_after }
}

persist_enum!(NodeState, "node state" { 1 = Active; 2 = Revoked { at, reason }; });
persist_enum!(How, "way of issuing" { 1 = Founded; 2 = Joined; 3 = Renewed; 50 = Unrecorded; });
persist_enum!(Directive, "directive" { 1 = RenewNow; 2 = Removed; });

persist_enum!(Change, "change" {
    1 = Revoked(revocation);
    2 = IssuerAdded(issuer);
    3 = IssuerRemoved(key_hash);
    4 = Direct { node, directive };
});

persist_enum!(Event, "event" {
    1 = Founded { cluster, root };
    2 = TokenCreated { token, role, id, grant, uses };
    3 = TokenRevoked { token };
    4 = Joined { node, token, cert, replaced };
    5 = Renewed { from, cert };
    6 = NodeRevoked { node, reason };
    7 = CertRevoked { cert, reason };
    8 = Directed { node, directive };
    9 = IssuerAdded { fingerprint };
    10 = ManagerEnlisted { node, member };
    11 = ManagerAnnounced { node };
    12 = ManagerPromoted { node };
    13 = ManagerRemoved { node, compromised };
    14 = IssuersStruck { member };
    30 = RootTakenOffline { root };
    31 = RootBroughtOnline { root };
    50 = Restored { made_at, from, to, tokens };
    51 = Recovered { from, to };
    52 = UnrecordedRevoked { cert, node, reason };
});

impl Persist for Code {
    fn write(&self, out: &mut Writer) {
        self.number().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Code::from_number(u16::read(from)?))
    }
}

/// The name of a certificate, as the indexes hold it.
impl Document for CertId {
    const KIND: u8 = 0x10;
}

macro_rules! documents {
    ($($type:ty = $kind:literal;)*) => {$(
        impl Document for $type {
            const KIND: u8 = $kind;
        }
    )*};
}

documents! {
    NodeRecord = 0x11;
    CertRecord = 0x12;
    TokenRecord = 0x13;
    IssuerRecord = 0x14;
    RootRecord = 0x15;
    AuditRecord = 0x16;
    Delta = 0x17;
    Revocation = 0x18;
    Founding = 0x19;
    Counters = 0x1a;
    AuditHead = 0x1b;
    ManagerRecord = 0x1c;
}
