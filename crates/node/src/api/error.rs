//! Why a call to the managers failed, sorted by who acts next.

use std::time::Duration;

use certus_pki::code;
use certus_pki::explain::{Explain, Explanation};
use certus_tls::{Cut, HandshakeError, explain_source};
use certus_wire::status::{from_status, is_passing};
use tonic::Status;

/// A call that was not answered as it should.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// A manager refused it: the caller acts.
    #[error("{}", .0.message)]
    Refused(Explanation),
    /// A manager refused it when it was asked a second time, because the first answer was lost: it may have
    /// taken effect then, and that may be the reason.
    #[error("{}", .0.message)]
    RefusedAgain(Explanation),
    /// Somebody answered, and one of the two ends refused the other's certificate.
    #[error("the manager at {address} and we refuse each other")]
    Handshake {
        /// Where.
        address: String,
        /// Who refused whom, and why.
        #[source]
        error: HandshakeError,
    },
    /// Nobody answered: the operator acts, or time heals it.
    #[error("no manager could be reached")]
    Unreachable {
        /// Each address with its reason.
        tried: Vec<Tried>,
    },
    /// No answer came within the time.
    #[error("no manager answered within {} s", .limit.as_secs_f32())]
    Deadline {
        /// How long was waited.
        limit: Duration,
        /// Where the managers are.
        addresses: Vec<String>,
    },
    /// The answer is not one that is understood.
    #[error("a manager's answer is not understood: {}", .0.message)]
    BadAnswer(Explanation),
}

/// One address, and why it was of no use.
#[derive(Clone, Debug)]
pub struct Tried {
    /// `host:port`.
    pub address: String,
    /// What happened there.
    pub(super) cause: Cause,
}

#[derive(Clone, Debug)]
pub(super) enum Cause {
    Io(String),
    Handshake(HandshakeError),
    Cut(Cut),
}

impl Cause {
    /// Who hangs up or does not speak is not there; who refuses is.
    pub(super) fn of(error: HandshakeError) -> Cause {
        match error {
            HandshakeError::Io { .. } | HandshakeError::Timeout => Cause::Io(error.to_string()),
            error => Cause::Handshake(error),
        }
    }
}

impl Tried {
    /// What happened there, in one line.
    pub fn why(&self) -> String {
        match &self.cause {
            Cause::Io(words) => words.clone(),
            Cause::Handshake(error) => error.explain().to_string(),
            Cause::Cut(cut) => cut.explain().to_string(),
        }
    }
}

impl ApiError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            ApiError::Refused(explanation) | ApiError::RefusedAgain(explanation) => is_passing(explanation),
            ApiError::Unreachable { .. } | ApiError::Deadline { .. } => true,
            ApiError::Handshake { .. } | ApiError::BadAnswer(_) => false,
        }
    }

    /// Whether a manager says that our certificate was revoked. Who says so proved to be a manager
    /// before it did, and no attempt under that certificate will ever succeed.
    pub fn says_revoked(&self) -> bool {
        match self {
            ApiError::Refused(explanation) | ApiError::RefusedAgain(explanation) => {
                explanation.code == code::REVOKED
            }
            ApiError::Handshake { error: HandshakeError::PeerRejectedUs { alert, .. }, .. } => {
                *alert == "certificate_revoked"
            }
            _ => false,
        }
    }

    /// Whether a manager says that it was revoked before, and an earlier attempt of the same call, whose
    /// answer was lost, may have done it.
    pub fn may_be_done(&self) -> bool {
        let codes = [code::ALREADY_REVOKED, code::TOKEN_REVOKED];
        matches!(self, ApiError::RefusedAgain(explanation) if codes.contains(&explanation.code))
    }

    /// An answer that does not hold what it should.
    pub(crate) fn bad_answer(error: &impl Explain) -> ApiError {
        ApiError::BadAnswer(error.explain())
    }
}

impl Explain for ApiError {
    fn explain(&self) -> Explanation {
        match self {
            ApiError::Refused(explanation) => explanation.clone(),
            ApiError::RefusedAgain(explanation) => explanation
                .clone()
                .fact("asked twice", "the first answer was lost, and it may have taken effect"),
            ApiError::Handshake { address, error } => by_clocks(error.explain().fact("manager", address)),
            ApiError::Unreachable { tried } if tried.is_empty() => {
                Explanation::new(code::UNREACHABLE, "no manager's address is known")
                    .hint("name one with --manager HOST:PORT")
            }
            ApiError::Unreachable { tried } => {
                let told = Explanation::new(code::UNREACHABLE, self.to_string());
                let told = tried.iter().fold(told, |told, one| told.fact(&one.address, one.why()));
                told.hint("check that the manager runs and that the address is its API's (port 7443)")
            }
            ApiError::Deadline { addresses, .. } => Explanation::new(code::DEADLINE, self.to_string())
                .fact("managers", addresses.join(", "))
                .hint("it may have taken effect all the same: look before you repeat it"),
            ApiError::BadAnswer(why) => {
                let mut told = why.clone();
                told.message = self.to_string();
                told
            }
        }
    }
}

/// A manager renews its certificate itself: where it is not in force, most likely one of the clocks is off,
/// and by how much the message says.
fn by_clocks(told: Explanation) -> Explanation {
    match told.code {
        code::NOT_YET_VALID => told.hint(
            "this machine's clock is behind by that much at least, or the manager's is ahead: \
             compare `date -u` on both machines",
        ),
        code::EXPIRED => told.hint(
            "this machine's clock is ahead by that much at least, or the manager could not renew its \
             certificate: compare `date -u` on both machines",
        ),
        _ => told,
    }
}

/// What a manager's own status means; `again` where an earlier attempt may have taken effect.
pub(super) fn of_answer(status: &Status, again: bool) -> ApiError {
    match of_status(status, Vec::new()) {
        ApiError::Refused(explanation) if again => ApiError::RefusedAgain(explanation),
        error => error,
    }
}

/// What a status means: the refusal it carries; else what happened to the connection, as the dialler
/// noted it, or as the status' sources tell.
pub(super) fn of_status(status: &Status, mut failures: Vec<Tried>) -> ApiError {
    if !status.details().is_empty() {
        return ApiError::Refused(from_status(status));
    }
    // One address that was reached and refused says more than others that were not.
    let spoke = failures.iter().position(|tried| matches!(tried.cause, Cause::Handshake(_)));
    if let Some(place) = spoke
        && let Tried { address, cause: Cause::Handshake(error) } = failures.swap_remove(place)
    {
        return ApiError::Handshake { address, error };
    }
    if !failures.is_empty() {
        return ApiError::Unreachable { tried: failures };
    }
    if let Some(explanation) = explain_source(status) {
        return ApiError::Refused(explanation);
    }
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled => {
            let cause = Cause::Io(status.message().to_owned());
            ApiError::Unreachable { tried: vec![Tried { address: "manager".to_owned(), cause }] }
        }
        _ => ApiError::Refused(from_status(status)),
    }
}
