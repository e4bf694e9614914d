//! The port to the other members: bytes out, bytes back.
//!
//! What the bytes say is `message`'s affair; how they travel is whoever's that implements this.

use std::future::Future;

use super::snapshot::Outgoing;
use super::types::{Member, MemberId};

/// How a replica reaches the other members.
///
/// A call may be dropped at any moment. Whether a request that failed was received is not known, and
/// one that comes twice does no harm.
pub trait Peers: Clone + Send + Sync + 'static {
    /// One request (an append or a vote) and its answer.
    fn call(
        &self,
        target: MemberId,
        member: &Member,
        message: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, PeerError>> + Send;

    /// A snapshot: its head, then the chunks of `outgoing` in their order; the answer after the last.
    fn send_snapshot(
        &self,
        target: MemberId,
        member: &Member,
        head: Vec<u8>,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Vec<u8>, PeerError>> + Send;
}

/// A member did not answer as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It cannot be reached, or did not answer in time.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It answered that it will not.
    #[error("it refuses: {0}")]
    Refused(String),
}

/// Knows no peer: for a cluster of one, and for founding it.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Peers for Alone {
    async fn call(
        &self,
        _target: MemberId,
        _member: &Member,
        _message: Vec<u8>,
    ) -> Result<Vec<u8>, PeerError> {
        Err(nobody())
    }

    async fn send_snapshot(
        &self,
        _target: MemberId,
        _member: &Member,
        _head: Vec<u8>,
        _outgoing: Outgoing,
    ) -> Result<Vec<u8>, PeerError> {
        Err(nobody())
    }
}

fn nobody() -> PeerError {
    PeerError::Unreachable("this manager knows no peers".to_owned())
}
