//! Typed rows: which key stands in which table, and what its value is.
//!
//! Keys are built so that their byte order is the order of what they say.

use std::ops::Bound;

use certus_pki::{CertId, ClusterName, Epoch, Role, Serial, Sha256, SpiffeId, TokenId, UnixTime};

use crate::command::Settings;
use crate::format::Document;
use crate::store::{Fault, Row, Table, View};

/// What was settled when the cluster was founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    pub(crate) name: ClusterName,
    pub(crate) settings: Settings,
    pub(crate) founded_at: UnixTime,
}

/// What grows with every command that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) epoch: Epoch,
    pub(crate) last_at: UnixTime,
}

/// The end of the audit chain. Apart from [`Counters`]: a refusal moves this and nothing else (I8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuditHead {
    pub(crate) count: u64,
    pub(crate) hash: Sha256,
}

/// Rows of [`Table::Meta`].
pub(crate) const META_FOUNDING: &[u8] = b"founding";
pub(crate) const META_COUNTERS: &[u8] = b"counters";
pub(crate) const META_AUDIT: &[u8] = b"audit";

/// The value under `key`, read.
pub(crate) fn get<T: Document>(view: &dyn View, table: Table, key: &[u8]) -> Result<Option<T>, Fault> {
    view.get(table, key)?.map(|bytes| decode(table, &bytes)).transpose()
}

/// The value under `key`, which another row says is there.
pub(crate) fn must<T: Document>(view: &dyn View, table: Table, key: &[u8]) -> Result<T, Fault> {
    let missing = || Fault { table, what: "a row that another points to is missing".to_owned() };
    get(view, table, key)?.ok_or_else(missing)
}

/// A row's value, read.
pub(crate) fn decode<T: Document>(table: Table, bytes: &[u8]) -> Result<T, Fault> {
    T::decode(bytes).map_err(|error| Fault { table, what: error.to_string() })
}

/// Every row of `from..to`, `chunk` at a time, until `each` says stop by returning false.
pub(crate) fn walk(
    view: &dyn View,
    table: Table,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    chunk: usize,
    mut each: impl FnMut(Row) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let mut last: Option<Vec<u8>> = None;
    loop {
        let start = last.as_deref().map_or(from, Bound::Excluded);
        let rows = view.scan(table, start, to, chunk)?;
        let more = rows.len() == chunk;
        last = rows.last().map(|(key, _)| key.clone());
        for row in rows {
            if !each(row)? {
                return Ok(());
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// Keys, by table.
pub(crate) mod key {
    use super::*;

    /// `ROLE/ID`: all nodes are of one cluster. No id holds a byte below `-`, so that no key followed
    /// by a zero byte is the beginning of another's.
    /// What the keys of all nodes of a role begin with.
    pub(crate) fn role(role: Role) -> Vec<u8> {
        format!("{role}/").into_bytes()
    }

    pub(crate) fn node(node: &SpiffeId) -> Vec<u8> {
        format!("{}/{}", node.role, node.id).into_bytes()
    }

    pub(crate) fn cert(cert: &CertId) -> Vec<u8> {
        [&cert.issuer.as_bytes()[..], cert.serial.as_bytes()].concat()
    }

    pub(crate) fn token(token: &TokenId) -> Vec<u8> {
        token.as_bytes().to_vec()
    }

    pub(crate) fn by_expiry(not_after: UnixTime, id: &CertId) -> Vec<u8> {
        [&time(not_after)[..], &cert(id)].concat()
    }

    /// The beginning of the keys of one node's certificates.
    pub(crate) fn by_node_prefix(id: &SpiffeId) -> Vec<u8> {
        let mut key = node(id);
        key.push(0);
        key
    }

    /// The beginning of the keys of one node's certificates issued at `issued_at` or later.
    pub(crate) fn by_node_from(id: &SpiffeId, issued_at: UnixTime) -> Vec<u8> {
        [by_node_prefix(id), time(issued_at).to_vec()].concat()
    }

    pub(crate) fn by_node(id: &SpiffeId, issued_at: UnixTime, of: &CertId) -> Vec<u8> {
        [by_node_from(id, issued_at), cert(of)].concat()
    }

    pub(crate) fn by_key(secret_hash: &Sha256, key_hash: &Sha256) -> Vec<u8> {
        [*secret_hash.as_bytes(), *key_hash.as_bytes()].concat()
    }

    /// The row of a revoked key: it stands where a token's hash would be zero, which none is.
    pub(crate) fn revoked_key(key_hash: &Sha256) -> Vec<u8> {
        by_key(&Sha256::from_bytes([0; 32]), key_hash)
    }

    pub(crate) fn due(renew_by: UnixTime, id: &SpiffeId) -> Vec<u8> {
        [&time(renew_by)[..], &node(id)].concat()
    }

    pub(crate) fn number(number: u64) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    /// Seconds with the sign turned, so that earlier sorts first.
    pub(crate) fn time(at: UnixTime) -> [u8; 8] {
        (at.secs().cast_unsigned() ^ (1 << 63)).to_be_bytes()
    }

    /// The smallest key after all that begin with `prefix`; `prefix` does not end in 0xff.
    pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
        let mut end = prefix.to_vec();
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        end
    }

    /// The certificate named by the last 52 bytes of an index key.
    pub(crate) fn cert_at_end(table: Table, key: &[u8]) -> Result<CertId, Fault> {
        let broken = || Fault { table, what: "a key is too short".to_owned() };
        let (rest, serial) = key.split_last_chunk::<{ Serial::BYTES_MAX }>().ok_or_else(broken)?;
        let (_, issuer) = rest.split_last_chunk::<32>().ok_or_else(broken)?;
        let serial = Serial::from_be_bytes(serial).ok_or_else(broken)?;
        Ok(CertId { issuer: Sha256::from_bytes(*issuer), serial })
    }

    /// The deadline and node in a key of [`Table::Due`].
    pub(crate) fn due_parts(cluster: &ClusterName, key: &[u8]) -> Result<(UnixTime, SpiffeId), Fault> {
        let broken = || Fault { table: Table::Due, what: "a key is not a deadline and a node".to_owned() };
        let (time, node) = key.split_first_chunk::<8>().ok_or_else(broken)?;
        let renew_by = (u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed();
        let node = std::str::from_utf8(node).map_err(|_| broken())?;
        let (role, id) = node.split_once('/').ok_or_else(broken)?;
        let role: Role = role.parse().map_err(|_| broken())?;
        let id = id.parse().map_err(|_| broken())?;
        Ok((UnixTime::from_secs(renew_by), SpiffeId { cluster: cluster.clone(), role, id }))
    }
}
