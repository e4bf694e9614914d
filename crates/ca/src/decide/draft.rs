//! A decision being written down: rows, changes for watchers, and the one audit record at its end.

use certus_pki::{CertId, Change, Code, Delta, Epoch, Reason, Revocation, SpiffeId, UnixTime};

use super::Write;
use crate::format::Document;
use crate::limits::CHANGES_KEPT;
use crate::plan::Stop;
use crate::read;
use crate::record::{AuditRecord, CertRecord, ClusterState, Event, NodeRecord, NodeState};
use crate::refusal::Refusal;
use crate::store::{Fault, Table, View};
use crate::tables::{AuditHead, Counters, META_AUDIT, META_COUNTERS, get, key};

/// Collects what one command writes. Reads always see the state before the command.
pub(crate) struct Draft<'a> {
    /// The state before the command.
    pub(crate) view: &'a dyn View,
    /// The command's time, never before the last one's.
    pub(crate) at: UnixTime,
    /// The cluster before the command.
    pub(crate) cluster: ClusterState,
    audit: AuditHead,
    changes: Vec<Change>,
    rows: Vec<Write>,
    audit_rows: Vec<Write>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(view: &'a dyn View, at: UnixTime, cluster: ClusterState) -> Result<Draft<'a>, Fault> {
        let start = AuditHead { count: 0, hash: certus_pki::Sha256::from_bytes([0; 32]) };
        let audit = get(view, Table::Meta, META_AUDIT)?.unwrap_or(start);
        Ok(Draft {
            view,
            at: at.max(cluster.last_at),
            cluster,
            audit,
            changes: Vec::new(),
            rows: Vec::new(),
            audit_rows: Vec::new(),
        })
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: &impl Document) {
        self.rows.push(Write::Put { table, key, value: value.encode() });
    }

    /// An index row: its key says all.
    pub(crate) fn mark(&mut self, table: Table, key: Vec<u8>) {
        self.rows.push(Write::Put { table, key, value: Vec::new() });
    }

    pub(crate) fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.rows.push(Write::Delete { table, key });
    }

    /// Something watchers must hear of; all changes of one command are one revision.
    pub(crate) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The revision that this command's changes will have.
    pub(crate) fn next_revision(&self) -> u64 {
        self.cluster.epoch.revision + 1
    }

    /// The epoch that will be in force after this command.
    pub(crate) fn next_epoch(&self) -> Epoch {
        let moved = u64::from(!self.changes.is_empty());
        Epoch { revision: self.cluster.epoch.revision + moved, ..self.cluster.epoch }
    }

    /// Records who did what; once a command.
    pub(crate) fn audit(&mut self, by: Option<SpiffeId>, event: Event, refused: Option<Code>) {
        let number = self.audit.count + 1;
        let previous = self.audit.hash;
        let value = AuditRecord { number, at: self.at, previous, by, event, refused }.encode();
        self.audit = AuditHead { count: number, hash: certus_pki::Sha256::of(&value) };
        self.audit_rows.push(Write::Put { table: Table::Audit, key: key::number(number), value });
    }

    /// Who asked must be of the cluster: a command that was on its way when its asker was revoked
    /// comes to nothing (I10).
    pub(crate) fn asker(&self, by: &SpiffeId) -> Result<NodeRecord, Stop> {
        let refuse = |why: &str| Refusal::NotPermitted { by: by.clone(), why: why.to_owned() };
        let record = read::node(self.view, by)?.ok_or_else(|| refuse("it is not of the cluster"))?;
        match record.state {
            NodeState::Active => Ok(record),
            NodeState::Revoked { .. } => Err(refuse("it was revoked").into()),
        }
    }

    /// Revokes one certificate and tells the watchers.
    pub(crate) fn revoke(&mut self, record: &CertRecord, reason: Reason) -> CertId {
        let (cert, at, not_after) = (record.cert, self.at, record.not_after);
        let revocation = Revocation { cert, at, reason, not_after };
        let record = CertRecord { revoked: Some((at, reason)), ..record.clone() };
        self.put(Table::Certs, key::cert(&cert), &record);
        self.put(Table::Revoked, key::cert(&cert), &revocation);
        self.put(Table::ByKey, key::revoked_key(&record.key_hash), &cert);
        self.change(Change::Revoked(revocation));
        cert
    }

    /// All rows, with the counters moved.
    pub(crate) fn finish(mut self) -> Vec<Write> {
        let mut epoch = self.cluster.epoch;
        if !self.changes.is_empty() {
            epoch.revision += 1;
            let delta = Delta { epoch, changes: std::mem::take(&mut self.changes) };
            self.put(Table::Changes, key::number(epoch.revision), &delta);
            if let Some(forgotten) = epoch.revision.checked_sub(CHANGES_KEPT) {
                self.delete(Table::Changes, key::number(forgotten));
            }
        }
        if !self.rows.is_empty() {
            let counters = Counters { epoch, last_at: self.at };
            self.put(Table::Meta, META_COUNTERS.to_vec(), &counters);
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.extend(self.into_audit_only());
        rows
    }

    /// Only the audit's rows: for a refusal.
    pub(crate) fn into_audit_only(self) -> Vec<Write> {
        let mut rows = self.audit_rows;
        if !rows.is_empty() {
            let (table, key) = (Table::Meta, META_AUDIT.to_vec());
            rows.push(Write::Put { table, key, value: self.audit.encode() });
        }
        rows
    }
}
