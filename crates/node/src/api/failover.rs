//! One call, several managers: it goes to the one that works, and to the next where the answer does not
//! come and the call may be repeated.
//!
//! Below the generated clients, so that no caller can forget it. Repeats nothing that `repeat` forbids.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use certus_pki::defaults;
use certus_wire::MESSAGE_BYTES_MAX;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::dial::{Line, Unsent};
use super::error::{ApiError, Cause, Tried, of_status};
use super::lines::Lines;
use super::repeat::{Repeat, repeat};
use crate::clock::{duration, jitter};

/// Dialling one of several managers takes no longer: what answers at all answers in a tenth of it.
pub(super) const DIAL_MAX: Duration = Duration::from_secs(3);
/// Managers that elect a leader are asked again after this, and after twice as long each time.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A request and its answer are whole messages with a few bytes around them.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024;

/// What generated clients send their calls through.
#[derive(Clone)]
pub struct Failover {
    pub(super) lines: Arc<Lines>,
    pub(super) call: Arc<Call>,
}

/// One call while it is made.
pub(super) struct Call {
    begun: Instant,
    pub(super) limit: Duration,
    told: Mutex<Told>,
}

/// What became of a call, beside its status.
#[derive(Default)]
struct Told {
    error: Option<ApiError>,
    /// An earlier attempt may have taken effect.
    unknown: bool,
    /// The connection that the answer came on, or that was waited on.
    line: Option<Arc<Line>>,
}

impl Call {
    pub(super) fn within(limit: Duration) -> Call {
        Call { begun: Instant::now(), limit, told: Mutex::default() }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// What one of `managers` attempts that are left may take. A call that waits on purpose may wait so
    /// long everywhere.
    fn share(&self, managers: usize) -> Duration {
        let left = self.left();
        let waits = self.limit.saturating_sub(duration(defaults::CALL_TIMEOUT));
        let managers = u32::try_from(managers.max(1)).unwrap_or(u32::MAX);
        left.min(waits + left.saturating_sub(waits) / managers)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_error(&self) -> Option<ApiError> {
        self.told().error.take()
    }

    pub(super) fn is_repeated(&self) -> bool {
        self.told().unknown
    }

    pub(super) fn line(&self) -> Option<Arc<Line>> {
        self.told().line.clone()
    }
}

impl tower::Service<Request<Body>> for Failover {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Failover { lines, call } = self.clone();
        Box::pin(async move {
            let repeat = repeat(request.uri().path());
            let outgoing = Outgoing::of(request, repeat).await?;
            let mut making = Making {
                lines: &lines,
                call: &call,
                repeat,
                outgoing,
                held: Vec::new(),
                found: Found::default(),
            };
            making.answer().await.map_err(|error| {
                call.told().error = Some(error);
                Status::unavailable("no manager answered")
            })
        })
    }
}

/// A call in the making.
struct Making<'a> {
    lines: &'a Lines,
    call: &'a Call,
    repeat: Repeat,
    outgoing: Outgoing,
    /// Connections of earlier rounds: managers that elect a leader are not dialled anew each time.
    held: Vec<Arc<Line>>,
    found: Found,
}

/// What one attempt came to.
enum Attempt {
    Answered(Response<Body>),
    /// Another manager may do better.
    GoOn,
    /// No other manager may be asked, or would answer otherwise.
    Over(ApiError),
}

impl Making<'_> {
    async fn answer(&mut self) -> Result<Response<Body>, ApiError> {
        let mut pause = PAUSE_FIRST;
        loop {
            let order = self.lines.order();
            let mut asked = Vec::with_capacity(order.len());
            self.found.alive = false;
            for (place, address) in order.iter().enumerate() {
                if self.call.left().is_zero() || asked.contains(address) {
                    continue;
                }
                match self.attempt(address, order.len() - place, &mut asked).await {
                    Attempt::Answered(answer) => return Ok(answer),
                    Attempt::GoOn => {}
                    Attempt::Over(error) => return Err(error),
                }
            }
            // Where some manager lives, others are soon elected or back. Where none does, that is said now.
            let worth = self.found.alive && order.len() > 1;
            let wait = pause.mul_f64(1.0 - f64::from(jitter()) / 510.0);
            if !worth || self.call.left() <= wait {
                return Err(self.found.error(self.call.limit, self.lines.all()));
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks one manager: that at `address`, or another to which there is a connection by now.
    async fn attempt(&mut self, address: &str, managers: usize, asked: &mut Vec<String>) -> Attempt {
        let share = self.call.share(managers);
        let dial = if managers > 1 { share.min(DIAL_MAX) } else { share };
        let held = self.held.iter().find(|line| line.address == address && line.is_usable()).cloned();
        let line = match held {
            Some(line) => Ok(line),
            None => self.lines.line(address, dial, asked).await,
        };
        let line = match line {
            Ok(line) => line,
            Err(cause) => {
                self.found.tried(address, cause);
                return Attempt::GoOn;
            }
        };
        asked.push(line.address.clone());
        let Some(request) = self.outgoing.next() else {
            return Attempt::Over(self.found.error(self.call.limit, self.lines.all()));
        };
        self.call.told().line = Some(line.clone());
        let waits = if self.repeat == Repeat::Never { self.call.left() } else { self.call.share(managers) };
        let sent = tokio::time::timeout(waits, async {
            let answer = line.send(request).await?;
            if self.repeat == Repeat::Stream { Ok(answer.map(Body::new)) } else { whole(&line, answer).await }
        });
        match sent.await {
            Ok(Ok(answer)) if self.is_elsewhere(&answer) => {
                self.call.told().unknown = true;
                self.found.unavailable(&line.address, &answer);
                self.lines.leave(&line);
                self.held.retain(|held| held.address != line.address);
                self.held.push(line);
                Attempt::GoOn
            }
            Ok(Ok(answer)) => {
                self.lines.answered(&line);
                Attempt::Answered(answer)
            }
            Ok(Err(unsent)) => {
                self.lines.broken(&line, unsent.cause.clone());
                self.broken(&line.address, unsent)
            }
            Err(_) => {
                let cause = Cause::Io(format!("no answer within {:.1} s", waits.as_secs_f32()));
                self.lines.broken(&line, cause.clone());
                self.found.silent = true;
                self.broken(&line.address, Unsent { cause, request: None })
            }
        }
    }

    /// Whether another manager may answer what this one cannot: it has no leader now, or does not know
    /// whether it was committed.
    fn is_elsewhere(&self, answer: &Response<Body>) -> bool {
        let status = Status::from_header_map(answer.headers());
        self.repeat == Repeat::Freely
            && self.lines.order().len() > 1
            && status.is_some_and(|status| status.code() == Code::Unavailable)
    }

    fn broken(&mut self, address: &str, unsent: Unsent) -> Attempt {
        let Unsent { cause, request } = unsent;
        self.found.tried(address, cause.clone());
        if let Cause::Handshake(error) = cause {
            // Who says that we are revoked needs no second to say so.
            let error = ApiError::Handshake { address: address.to_owned(), error };
            let over = error.says_revoked() || self.repeat != Repeat::Freely;
            return if over { Attempt::Over(error) } else { Attempt::GoOn };
        }
        self.found.alive = true;
        if let Some(request) = request {
            self.outgoing.give_back(request);
            return Attempt::GoOn;
        }
        self.call.told().unknown = true;
        match self.repeat {
            Repeat::Freely => Attempt::GoOn,
            Repeat::Never | Repeat::Stream => {
                Attempt::Over(self.found.error(self.call.limit, self.lines.all()))
            }
        }
    }
}

/// What the managers that were asked had to say.
#[derive(Default)]
struct Found {
    tried: Vec<Tried>,
    /// A manager that cannot answer now said so.
    refused: Option<ApiError>,
    silent: bool,
    /// In this round a manager was there.
    alive: bool,
}

impl Found {
    fn tried(&mut self, address: &str, cause: Cause) {
        self.tried.retain(|tried| tried.address != address);
        self.tried.push(Tried { address: address.to_owned(), cause });
    }

    /// A manager said that it cannot answer now.
    fn unavailable(&mut self, address: &str, answer: &Response<Body>) {
        self.alive = true;
        let Some(status) = Status::from_header_map(answer.headers()) else { return };
        match of_status(&status, Vec::new()) {
            refused @ ApiError::Refused(_) => self.refused = Some(refused),
            _ => self.tried(address, Cause::Io(status.message().to_owned())),
        }
    }

    /// What a manager says tells more than that others are not there.
    fn error(&self, limit: Duration, addresses: Vec<String>) -> ApiError {
        if let Some(refused) = &self.refused {
            return refused.clone();
        }
        let spoke = self.tried.iter().find_map(|tried| match &tried.cause {
            Cause::Handshake(error) => Some((tried.address.clone(), error.clone())),
            _ => None,
        });
        match spoke {
            Some((address, error)) => ApiError::Handshake { address, error },
            None if self.silent => ApiError::Deadline { limit, addresses },
            None => ApiError::Unreachable { tried: self.tried.clone() },
        }
    }
}

/// The request, for as many attempts as it may have.
struct Outgoing {
    whole: Option<(Parts, Bytes)>,
    once: Option<Request<Body>>,
}

impl Outgoing {
    async fn of(request: Request<Body>, repeat: Repeat) -> Result<Outgoing, Status> {
        if repeat == Repeat::Stream {
            return Ok(Outgoing { whole: None, once: Some(request) });
        }
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Status::out_of_range("the request is too large"))?.to_bytes();
        Ok(Outgoing { whole: Some((parts, body)), once: None })
    }

    fn next(&mut self) -> Option<Request<Body>> {
        if let Some((parts, body)) = &self.whole {
            return Some(Request::from_parts(parts.clone(), Body::new(Full::new(body.clone()))));
        }
        self.once.take()
    }

    fn give_back(&mut self, request: Request<Body>) {
        if self.whole.is_none() {
            self.once = Some(request);
        }
    }
}

/// The whole answer, its status among its headers: one that breaks off is none.
async fn whole(line: &Line, answer: Response<Incoming>) -> Result<Response<Body>, Unsent> {
    let (mut parts, body) = answer.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body: Collected<Bytes> =
        body.map_err(|error| Unsent { cause: line.cause(&*error), request: None })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    // Only of a refusal: with a status among its headers an answer would be taken for one without content.
    if Status::from_header_map(&trailers).is_some_and(|status| status.code() != Code::Ok) {
        parts.headers.extend(trailers);
    }
    Ok(Response::from_parts(parts, Body::new(body)))
}
