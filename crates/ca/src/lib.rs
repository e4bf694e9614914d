//! The truth of a cluster: what a command changes, decided by arithmetic over tables.
//!
//! No clock, no randomness, no keys, no I/O: time, serials and signed certificates arrive inside
//! commands, and equal logs give equal state (I2). The way of a certificate:
//!
//! 1. [`plan_join`] or [`plan_renew`] says whether a node may have one, and what it shall say;
//! 2. whoever holds an issuer's key draws a serial and signs it;
//! 3. [`Command::Admit`] or [`Command::Renew`] carries it through the log;
//! 4. [`apply`] plans again on every replica, holds the certificate against the plan, and records it.
//!    Only then it may leave (I4).

mod command;
mod decide;
pub mod format;
pub mod limits;
mod plan;
pub mod read;
mod record;
mod refusal;
pub mod store;
mod tables;
#[cfg(test)]
mod tests;

pub use command::{
    Admission, Command, CreateToken, Enlist, Genesis, Issued, JoinAsk, RenewAsk, Reply, Settings, Target,
    UnrecordedCert, check_settings,
};
pub use decide::{Decision, Write, apply, decide};
pub use plan::{plan_join, plan_renew};
pub use read::{
    CertFilter, CertOrder, Cursor, Deltas, NodeFilter, Page, active_nodes, audit, bundle, cert, certs,
    certs_by_serial, cluster, deltas_since, due, epoch, find_node, issuer, issuers, latest_cert, live_certs,
    manager, managers, newest_of_issuer, node, nodes, revision, root, roots, state_hash, token, tokens,
};
pub use record::{
    AuditRecord, CertRecord, ClusterState, DueNode, Event, How, IssuerRecord, ManagerRecord, NodeRecord,
    NodeState, RootRecord, TokenRecord,
};
pub use refusal::{Barred, Refusal};
