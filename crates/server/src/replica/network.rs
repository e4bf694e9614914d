//! The network of a cluster with one manager: nobody is there to talk to.
//!
//! A peer that the membership names but that nobody can be reached as is unreachable, in words.

use std::future::Future;

use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};

use super::machine::Machine;
use super::types::{Member, MemberId, Types, Vote};

/// Knows no peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone;

impl<M: Machine> RaftNetworkFactory<Types<M>> for Alone {
    type Network = NoPeer;

    async fn new_client(&mut self, target: MemberId, _member: &Member) -> NoPeer {
        NoPeer { target }
    }
}

/// A peer that cannot be reached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("manager {target} cannot be reached: this manager knows no peers")]
pub(super) struct NoPeer {
    target: MemberId,
}

impl<M: Machine> RaftNetwork<Types<M>> for NoPeer {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types<M>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<MemberId>, RPCError<MemberId, Member, RaftError<MemberId>>> {
        Err(Unreachable::new(self).into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<MemberId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<MemberId>, RPCError<MemberId, Member, RaftError<MemberId>>> {
        Err(Unreachable::new(self).into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<Types<M>>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<MemberId>, StreamingError<Types<M>, Fatal<MemberId>>> {
        Err(Unreachable::new(self).into())
    }
}
