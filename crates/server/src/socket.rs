//! What a manager's own user asks at its admin socket, and how it is answered: secrets in, JSON out.
//!
//! The socket has mode 0600 in a directory of 0700: whoever opens it could read the manager's files.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use certus_pki::explain::Explanation;
use certus_pki::{Code, code};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

/// The text of a request's body, which may hold a secret: it is zeroed on drop, and so is the body where
/// nobody else holds it. What the system's socket buffers held is out of reach.
pub(crate) fn secret_text(body: Bytes) -> Result<Zeroizing<String>, Explanation> {
    let text = std::str::from_utf8(&body).map(|text| Zeroizing::new(text.to_owned()));
    if let Ok(mut bytes) = body.try_into_mut() {
        bytes.as_mut().zeroize();
    }
    text.map_err(|_| Explanation::new(code::BAD_ENCODING, "the request is not text"))
}

/// An answer, or why there is none.
pub(crate) fn answer(outcome: Result<Value, Explanation>) -> Response {
    let (status, body) = match outcome {
        Ok(value) => (StatusCode::OK, value),
        Err(why) => (status_of(why.code), json!({ "error": told(&why) })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn status_of(code: Code) -> StatusCode {
    match code {
        code::RATE_LIMITED => StatusCode::TOO_MANY_REQUESTS,
        code::LOCKED => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

/// An explanation whole, so that the command that asked can tell it as its own.
pub(crate) fn told(why: &Explanation) -> Value {
    json!({ "code": why.code.number(), "message": why.message, "facts": why.facts, "hint": why.hint })
}
