//! The handshake: who is at the other end, before anything of the application moves.
//!
//! Decides nothing about who is accepted; that is asked of the caller.

use std::future::Future;
use std::time::Duration;

use certus_pki::explain::Explanation;
use certus_pki::{AgentId, Code, defaults};
use snow::{Builder, Error, HandshakeState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::LENGTH_BYTES;
use super::error::E2eError;
use super::key::AgentKey;
use super::prologue::{Prologue, Shape};
use super::resolver::{Resolver, TAG_BYTES};
use super::stream::E2eStream;
use crate::clock::duration;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_SHA256";
/// The whole handshake's limit.
pub(super) const LIMIT: Duration = duration(defaults::HANDSHAKE_TIMEOUT);

/// `e, es, s, ss` and an empty payload.
pub(super) const FIRST_BYTES: usize = 2 * AgentId::BYTES + 2 * TAG_BYTES;
const VERDICT_BYTES: usize = 2;
/// `e, ee, se` and the verdict.
pub(super) const SECOND_BYTES: usize = AgentId::BYTES + VERDICT_BYTES + TAG_BYTES;
/// An empty payload.
pub(super) const CONFIRMATION_BYTES: usize = TAG_BYTES;
/// The longest of them.
const HANDSHAKE_BYTES_MAX: usize = FIRST_BYTES;

/// Opens a session to the agent `expected` over `io`, and to no other.
///
/// # Errors
/// The other end is not that agent, does not accept this one, binds the session to something else, or
/// says nothing in time. Nothing of the application was sent.
pub async fn connect<IO>(
    io: IO,
    key: &AgentKey,
    expected: AgentId,
    prologue: Prologue,
) -> Result<E2eStream<IO>, E2eError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    within(LIMIT, dial(io, key, expected, prologue)).await
}

/// Answers whoever calls over `io`. `accepted` is asked once the caller has named itself; when this
/// returns, the caller has proved that it holds the key now, and did not replay another's call.
///
/// # Errors
/// The call was not for this agent, the caller is not accepted, or it says nothing in time. A caller that
/// is not accepted is told so, under the session's seal, with the code of the reason and nothing more.
pub async fn accept<IO>(
    io: IO,
    key: &AgentKey,
    prologue: Prologue,
    accepted: impl Fn(&AgentId) -> Result<(), Explanation>,
) -> Result<E2eStream<IO>, E2eError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    within(LIMIT, answer(io, key, prologue, accepted)).await
}

pub(super) async fn within<T>(
    limit: Duration,
    handshake: impl Future<Output = Result<T, E2eError>>,
) -> Result<T, E2eError> {
    tokio::time::timeout(limit, handshake).await.unwrap_or(Err(E2eError::Timeout))
}

pub(super) async fn dial<IO>(
    mut io: IO,
    key: &AgentKey,
    expected: AgentId,
    prologue: Prologue,
) -> Result<E2eStream<IO>, E2eError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let bound = prologue.encode();
    let builder = builder(key, &bound)?.remote_public_key(expected.as_bytes());
    let mut noise = builder.and_then(Builder::build_initiator).map_err(E2eError::library)?;
    let mut first = [0; FIRST_BYTES];
    noise.write_message(&[], &mut first).map_err(|error| match error {
        Error::Dh => E2eError::NotAKey { id: expected },
        other => E2eError::library(other),
    })?;
    send(&mut io, &first).await?;

    let mut buffer = [0; HANDSHAKE_BYTES_MAX];
    let possible = |length| length == SECOND_BYTES || Refusal::LENGTHS.contains(&length);
    let second = receive(&mut io, &mut buffer, possible, "an agent's answer").await?;
    if second.len() != SECOND_BYTES {
        return Err(Refusal::parse(second)?.explained(expected, &prologue));
    }
    let mut verdict = [0; VERDICT_BYTES];
    // Only who holds the key can have made it.
    noise.read_message(second, &mut verdict).map_err(|_| E2eError::WrongPeer { expected, claims: None })?;
    match u16::from_be_bytes(verdict) {
        0 => {}
        number => {
            let code = Code::from_number(number);
            return Err(E2eError::RefusedUs { peer: expected, us: key.id(), code });
        }
    }
    let mut noise = noise.into_transport_mode().map_err(E2eError::library)?;
    let mut confirmation = [0; CONFIRMATION_BYTES];
    noise.write_message(&[], &mut confirmation).map_err(E2eError::library)?;
    send(&mut io, &confirmation).await?;
    Ok(E2eStream::new(io, noise, expected))
}

pub(super) async fn answer<IO>(
    mut io: IO,
    key: &AgentKey,
    prologue: Prologue,
    accepted: impl Fn(&AgentId) -> Result<(), Explanation>,
) -> Result<E2eStream<IO>, E2eError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let bound = prologue.encode();
    let mut noise = builder(key, &bound)?.build_responder().map_err(E2eError::library)?;
    let mut buffer = [0; HANDSHAKE_BYTES_MAX];
    // Whoever sends anything else is no agent, and is told nothing.
    let first = receive(&mut io, &mut buffer, |length| length == FIRST_BYTES, "an agent's call").await?;
    if noise.read_message(first, &mut []).is_err() {
        let refusal = Refusal { id: key.id(), shape: prologue.shape() };
        send_last(&mut io, &refusal.encode()).await;
        return Err(E2eError::NotForUs { us: key.id(), here: prologue.shape().to_string() });
    }
    let peer = remote_static(&noise)?;
    let verdict = accepted(&peer);
    let number = verdict.as_ref().err().map_or(0, |why| why.code.number().max(1));
    let mut second = [0; SECOND_BYTES];
    noise.write_message(&number.to_be_bytes(), &mut second).map_err(E2eError::library)?;
    if let Err(why) = verdict {
        send_last(&mut io, &second).await;
        return Err(E2eError::Refused { peer, why });
    }
    send(&mut io, &second).await?;
    let mut noise = noise.into_transport_mode().map_err(E2eError::library)?;
    // Noise revision 34 §7.7: the first message of IK may be a replay; this one cannot be.
    let possible = |length| length == CONFIRMATION_BYTES;
    let confirmation = receive(&mut io, &mut buffer, possible, "the caller's confirmation").await?;
    noise.read_message(confirmation, &mut []).map_err(|_| E2eError::Changed)?;
    Ok(E2eStream::new(io, noise, peer))
}

fn builder<'a>(key: &'a AgentKey, bound: &'a [u8]) -> Result<Builder<'a>, E2eError> {
    let params = PATTERN.parse().map_err(E2eError::library)?;
    let builder = Builder::with_resolver(params, Box::new(Resolver)).prologue(bound);
    builder.and_then(|builder| builder.local_private_key(key.secret())).map_err(E2eError::library)
}

fn remote_static(noise: &HandshakeState) -> Result<AgentId, E2eError> {
    let id = noise.get_remote_static().and_then(|bytes| bytes.try_into().ok()).map(AgentId::from_bytes);
    id.ok_or_else(|| E2eError::Library { words: "the caller's key is not there".to_owned() })
}

/// Length and message in one write, so that they travel together.
async fn send<IO: AsyncWrite + Unpin>(io: &mut IO, message: &[u8]) -> Result<(), E2eError> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes(), message].concat();
    io.write_all(&framed).await.map_err(E2eError::io)?;
    io.flush().await.map_err(E2eError::io)
}

/// The last word of a handshake that failed already, for another reason than the stream's.
async fn send_last<IO: AsyncWrite + Unpin>(io: &mut IO, message: &[u8]) {
    if send(io, message).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

/// One message of a length that is `possible`. Reads not a byte beyond it.
async fn receive<'a, IO: AsyncRead + Unpin>(
    io: &mut IO,
    buffer: &'a mut [u8; HANDSHAKE_BYTES_MAX],
    possible: impl Fn(usize) -> bool,
    expected: &str,
) -> Result<&'a [u8], E2eError> {
    let mut length = [0; LENGTH_BYTES];
    io.read_exact(&mut length).await.map_err(E2eError::io)?;
    let length = usize::from(u16::from_be_bytes(length));
    let message = buffer.get_mut(..length).filter(|_| possible(length)).ok_or_else(|| {
        E2eError::Malformed { expected: expected.to_owned(), came: format!("a message of {length} bytes") }
    })?;
    io.read_exact(message).await.map_err(E2eError::io)?;
    Ok(message)
}

/// What an end says in the clear when it cannot open a call: who it is, and what it binds. Both stand in
/// its callers' configuration; the dialler says them to its operator as what they are, unproven. Who forges
/// this ends a handshake, as it could by cutting the stream, and nothing is tried in its place.
pub(super) struct Refusal {
    pub(super) id: AgentId,
    pub(super) shape: Shape,
}

impl Refusal {
    const FORM: u8 = 1;
    const HEAD_BYTES: usize = 2 + AgentId::BYTES;
    const TRANSPORT_BYTES_MAX: usize = 8;
    const LENGTHS: std::ops::RangeInclusive<usize> =
        Refusal::HEAD_BYTES + 1..=Refusal::HEAD_BYTES + Refusal::TRANSPORT_BYTES_MAX;

    pub(super) fn encode(&self) -> Vec<u8> {
        let head = [Refusal::FORM, u8::from(self.shape.bound)];
        [&head, &self.id.as_bytes()[..], self.shape.transport.as_bytes()].concat()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Refusal, E2eError> {
        let malformed = || E2eError::Malformed {
            expected: "an agent's answer".to_owned(),
            came: format!("{} bytes that are none", bytes.len()),
        };
        let (head, transport) = bytes.split_at_checked(Refusal::HEAD_BYTES).ok_or_else(malformed)?;
        let (form, id) = head.split_at(2);
        let fits = (1..=Refusal::TRANSPORT_BYTES_MAX).contains(&transport.len())
            && transport.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        match (form, id.try_into()) {
            ([Refusal::FORM, bound @ 0..=1], Ok(id)) if fits => {
                let transport = String::from_utf8_lossy(transport).into_owned();
                let shape = Shape { bound: *bound == 1, transport };
                Ok(Refusal { id: AgentId::from_bytes(id), shape })
            }
            _ => Err(malformed()),
        }
    }

    fn explained(self, expected: AgentId, prologue: &Prologue) -> E2eError {
        if self.id == expected {
            let (here, there) = (prologue.shape().to_string(), self.shape.to_string());
            E2eError::Differs { here, there }
        } else {
            E2eError::WrongPeer { expected, claims: Some(self.id) }
        }
    }
}
