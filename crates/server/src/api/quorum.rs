//! What managers ask of each other: the log's own messages, commands on their way to the leader, and what
//! only the manager knows that a node is connected to.

use std::sync::Arc;

use certus_wire::v1;
use certus_wire::v1::proposed::Kind;
use tonic::{Request, Response, Status, Streaming};

use super::cluster::{enforcement_here, presence};
use super::{Caller, caller_of, refuse};
use crate::enlist::EnlistAsk;
use crate::replica::limits::BATCH_COMMANDS;
use crate::replica::{ProposeError, sender_of};
use crate::shared::Shared;

pub(crate) struct Quorum {
    pub(crate) shared: Arc<Shared>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl v1::quorum_server::Quorum for Quorum {
    async fn replicate(&self, request: Request<v1::ReplicaMessage>) -> Answer<v1::ReplicaMessage> {
        self.speaks_for_itself(&request, &request.get_ref().body)?;
        let answered = self.shared.truth.replica.answer(&request.get_ref().body).await;
        let body = answered.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(v1::ReplicaMessage { body }))
    }

    async fn snapshot(&self, request: Request<Streaming<v1::ReplicaMessage>>) -> Answer<v1::ReplicaMessage> {
        let refused = |error: &dyn std::error::Error| Status::failed_precondition(error.to_string());
        let caller = request.extensions().get::<Caller>().cloned();
        let mut parts = request.into_inner();
        let head = parts.message().await?;
        let head = head.ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
        let mut asked = Request::new(());
        caller.map(|caller| asked.extensions_mut().insert(caller));
        self.speaks_for_itself(&asked, &head.body)?;
        let replica = &self.shared.truth.replica;
        let received = async {
            let mut receiving = replica.receive_snapshot(&head.body).map_err(|error| refused(&error))?;
            while let Some(part) = parts.message().await? {
                receiving.accept(&part.body).map_err(|error| refused(&error))?;
            }
            receiving.finish().await.map_err(|error| refused(&error))
        };
        let received: Result<Vec<u8>, Status> = received.await;
        self.shared.metrics.snapshot_received(received.is_ok());
        Ok(Response::new(v1::ReplicaMessage { body: received? }))
    }

    async fn propose(&self, request: Request<v1::ProposeRequest>) -> Answer<v1::ProposeReply> {
        let commands = request.into_inner().commands;
        if commands.len() > BATCH_COMMANDS {
            let words = format!("{} commands at once, at most {BATCH_COMMANDS}", commands.len());
            return Err(Status::invalid_argument(words));
        }
        let proposed = commands.into_iter().map(|command| self.propose_one(command));
        let proposed = futures_util::future::join_all(proposed).await;
        Ok(Response::new(v1::ProposeReply { proposed }))
    }

    async fn read_index(&self, _request: Request<v1::ReadIndexRequest>) -> Answer<v1::ReadIndexReply> {
        match self.shared.truth.replica.read_index().await {
            Ok(index) => Ok(Response::new(v1::ReadIndexReply { index })),
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    }

    async fn enlist(&self, request: Request<v1::EnlistRequest>) -> Answer<v1::EnlistReply> {
        let node = caller_of(&request)?;
        let request = request.into_inner();
        let csr = certus_wire::csr_of(&request.issuer_csr).map_err(|error| refuse(&error))?;
        let ask = EnlistAsk {
            node,
            address: request.address,
            issuer_key: csr.public_key,
            sealing_key: request.public_key,
            voter: request.voter,
        };
        let enlisted = self.shared.enlist(ask).await.map_err(|error| refuse(&error))?;
        Ok(Response::new(enlisted))
    }

    async fn keys(&self, request: Request<v1::KeysRequest>) -> Answer<v1::KeysReply> {
        let node = caller_of(&request)?;
        let sealed = self.shared.keys_for(&node, &request.get_ref().public_key);
        let (encapsulated, sealed) = sealed.map_err(|error| refuse(&error))?;
        Ok(Response::new(v1::KeysReply { encapsulated, sealed }))
    }

    async fn retire(&self, request: Request<v1::RetireRequest>) -> Answer<v1::RetireReply> {
        let retired = self.shared.retire_if_leading(request.get_ref()).await;
        let retired = retired.map_err(|error| refuse(&error))?;
        retired.map(Response::new).ok_or_else(|| Status::failed_precondition("this manager does not lead"))
    }

    async fn connected(&self, _request: Request<v1::ConnectedRequest>) -> Answer<v1::ConnectedList> {
        let connected = self.shared.presence.connected().into_iter().map(presence).collect();
        Ok(Response::new(v1::ConnectedList { connected }))
    }

    async fn enforcement_here(
        &self,
        request: Request<v1::EnforcementRequest>,
    ) -> Answer<v1::EnforcementReply> {
        Ok(Response::new(enforcement_here(&self.shared, request.get_ref()).await))
    }
}

impl Quorum {
    /// A message of the log speaks for a member: the one that calls, and no other.
    fn speaks_for_itself<T>(&self, request: &Request<T>, message: &[u8]) -> Result<(), Status> {
        let node = caller_of(request)?;
        let sender = sender_of(message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let known = self.shared.truth.read(|view| certus_ca::manager(view, &node));
        // One that is behind may not know it yet (see the gate).
        match known.map_err(|error| refuse(&error))? {
            Some(known) if known.member != sender => {
                let words =
                    format!("{node} is manager {}, and the message speaks for {sender}", known.member);
                Err(Status::permission_denied(words))
            }
            _ => Ok(()),
        }
    }

    async fn propose_one(&self, command: Vec<u8>) -> v1::Proposed {
        let kind = match self.commit(command).await {
            Ok(committed) => Kind::Committed(committed),
            Err(kind) => kind,
        };
        v1::Proposed { kind: Some(kind) }
    }

    async fn commit(&self, command: Vec<u8>) -> Result<v1::Committed, Kind> {
        // What this version cannot read must not reach the log: there it would stop every replica.
        let read = certus_ca::format::decode_command(&command);
        let read = read.map_err(|error| Kind::Failed(format!("the command cannot be read: {error}")))?;
        certus_ca::format::carry_command(&read).map_err(|refusal| Kind::Failed(refusal.to_string()))?;
        match self.shared.truth.replica.propose_encoded(command).await {
            Ok(committed) => Ok(v1::Committed {
                outcome: certus_ca::format::encode_outcome(&committed.reply),
                index: committed.index,
            }),
            Err(ProposeError::NotLeading { leader }) => Err(Kind::NotLeading(v1::NotLeading { leader })),
            Err(
                error @ (ProposeError::TooLarge { .. }
                | ProposeError::ClockOff { .. }
                | ProposeError::ClockLeapt { .. }),
            ) => Err(Kind::Failed(error.to_string())),
            Err(error) => Err(Kind::Unknown(error.to_string())),
        }
    }
}
