//! Errors over gRPC: an explanation travels whole in a status' details.

use certus_pki::explain::Explanation;
use certus_pki::{Code, code};
use prost::Message;
use tonic::Status;

use crate::v1;

/// The status that carries `explanation`.
pub fn to_status(explanation: &Explanation) -> Status {
    let details = explanation_to_wire(explanation);
    let message = format!("{}: {}", explanation.code, explanation.message);
    Status::with_details(grpc_code(explanation.code), message, details.encode_to_vec().into())
}

/// An explanation as a message carries it.
pub fn explanation_to_wire(explanation: &Explanation) -> v1::Explanation {
    let facts = explanation.facts.iter();
    v1::Explanation {
        code: explanation.code.number().into(),
        message: explanation.message.clone(),
        facts: facts.map(|(label, value)| v1::Fact { label: label.clone(), value: value.clone() }).collect(),
        hint: explanation.hint.clone(),
    }
}

/// The explanation that a message carries; none without a code.
pub fn explanation_from_wire(carried: v1::Explanation) -> Option<Explanation> {
    let code = u16::try_from(carried.code).ok().filter(|number| *number > 0)?;
    Some(Explanation {
        code: Code::from_number(code),
        message: carried.message,
        facts: carried.facts.into_iter().map(|fact| (fact.label, fact.value)).collect(),
        hint: carried.hint,
    })
}

/// The explanation that `status` carries; one that carries none is explained by its message.
pub fn from_status(status: &Status) -> Explanation {
    let carried = (!status.details().is_empty())
        .then(|| v1::Explanation::decode(status.details()).ok())
        .flatten()
        .and_then(explanation_from_wire);
    carried.unwrap_or_else(|| {
        let code = match status.code() {
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => code::DEADLINE,
            tonic::Code::Unavailable | tonic::Code::Unknown => code::UNREACHABLE,
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => code::PERMISSION_DENIED,
            _ => code::UNAVAILABLE,
        };
        Explanation::new(code, status.message().to_owned())
    })
}

/// Whether the same call may succeed later without anybody changing anything.
pub fn is_passing(explanation: &Explanation) -> bool {
    matches!(
        explanation.code,
        code::UNAVAILABLE
            | code::UNREACHABLE
            | code::DEADLINE
            | code::RATE_LIMITED
            | code::HANDSHAKE_TIMEOUT
            | code::HANDSHAKE_FAILED
    )
}

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        code::NO_CERTIFICATE => tonic::Code::Unauthenticated,
        code::PERMISSION_DENIED
        | code::REVOKED
        | code::RENEWAL_BARRED
        | code::TOKEN_EXPIRED
        | code::TOKEN_USED_UP
        | code::TOKEN_REVOKED
        | code::TOKEN_WRONG_ROLE
        | code::TOKEN_WRONG_ID
        | code::UNKNOWN_TOKEN => tonic::Code::PermissionDenied,
        code::UNKNOWN_NODE | code::UNKNOWN_CERTIFICATE => tonic::Code::NotFound,
        code::ID_IN_USE | code::ALREADY_REVOKED => tonic::Code::AlreadyExists,
        code::RATE_LIMITED => tonic::Code::ResourceExhausted,
        code::UNAVAILABLE => tonic::Code::Unavailable,
        code::BAD_MESSAGE | code::BAD_REQUEST | code::BAD_NAME | code::BAD_KEY | code::OUT_OF_BOUNDS => {
            tonic::Code::InvalidArgument
        }
        _ => tonic::Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_arrives_whole() {
        let sent = Explanation::new(code::TOKEN_EXPIRED, "the token expired 3 h ago")
            .fact("now", "2026-11-22T14:03:10Z")
            .hint("certus token create");
        assert_eq!(from_status(&to_status(&sent)), sent);
    }

    #[test]
    fn a_foreign_status_is_explained_by_its_message() {
        let status = Status::unavailable("tcp connect error");
        assert_eq!(from_status(&status).code, code::UNREACHABLE);
        let odd = Status::with_details(tonic::Code::Internal, "x", vec![0xff, 0xff].into());
        assert_eq!(from_status(&odd).message, "x");
    }
}
