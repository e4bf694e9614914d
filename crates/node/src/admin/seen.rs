//! What a node sees of its peers: the last failures, the live connections, who comes in the clear, and who
//! would be refused by another set of roots.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Bundle, Certificate, Lifetime, Purpose, Root, UnixTime};
use certus_tls::{ConnectionInfo, Credentials};
use serde_json::{Value, json};

use crate::carry::{ClearSeen, Failures, InTheClear};

/// What is shown.
#[derive(Clone)]
pub struct Seen {
    /// Whose connections.
    pub credentials: Credentials,
    /// What failed last.
    pub failures: Failures,
    /// Who comes in the clear.
    pub clear: InTheClear,
}

/// `GET /failures`, `GET /connections`, `GET /strict`, and `POST /shadow` with PEM roots as its body.
pub fn seen(seen: Seen) -> Router {
    Router::new()
        .route("/failures", get(failures))
        .route("/connections", get(connections))
        .route("/strict", get(strict))
        .route("/shadow", post(shadow))
        .with_state(seen)
}

async fn failures(State(seen): State<Seen>) -> Response {
    let (last, total) = seen.failures.last();
    let last: Vec<Value> = last
        .iter()
        .map(|failure| {
            json!({
                "at": failure.at.to_string(),
                "side": failure.side.as_str(),
                "name": failure.name,
                "transport": failure.transport,
                "from": failure.from,
                "peer": failure.peer,
                "why": told(&failure.why),
            })
        })
        .collect();
    answer(StatusCode::OK, &json!({ "total": total, "failures": last }))
}

async fn connections(State(seen): State<Seen>) -> Response {
    let live = seen.credentials.registry().connections();
    let live: Vec<Value> = live.iter().map(connection).collect();
    answer(StatusCode::OK, &json!({ "connections": live }))
}

async fn strict(State(seen): State<Seen>) -> Response {
    let now = seen.credentials.now();
    let listeners: Vec<Value> = seen.clear.seen().iter().map(|one| in_the_clear(one, now)).collect();
    answer(StatusCode::OK, &json!({ "listeners": listeners }))
}

fn in_the_clear(seen: &ClearSeen, now: UnixTime) -> Value {
    let callers = seen.callers.iter().map(|caller| {
        json!({
            "from": caller.from.to_string(),
            "first": caller.first.to_string(),
            "last": caller.last.to_string(),
            "connections": caller.connections,
        })
    });
    json!({
        "name": seen.name,
        "transport": seen.transport.as_str(),
        "until": seen.until.to_string(),
        "watched_since": seen.since.to_string(),
        "last": seen.last.map(|last| last.to_string()),
        "quiet": seen.quiet(now).map(|quiet| rounded(quiet).to_string()),
        "ready": seen.is_ready(now),
        "live": seen.live,
        "connections": seen.connections,
        "callers": callers.collect::<Vec<_>>(),
        "forgotten": seen.forgotten,
    })
}

/// Down to the largest unit: nobody wants to read 266,123 s.
fn rounded(time: Lifetime) -> Lifetime {
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| time.secs() >= *unit).unwrap_or(1);
    Lifetime::from_secs(time.secs() / unit * unit)
}

async fn shadow(State(seen): State<Seen>, pem: String) -> Response {
    let roots = match roots_of(&pem) {
        Ok(roots) => roots,
        Err(why) => return answer(StatusCode::BAD_REQUEST, &json!({ "error": told(&why) })),
    };
    let current = seen.credentials.current();
    let bundle = current.bundle();
    let (epoch, revoked) = (bundle.epoch(), bundle.revocations().copied());
    let candidate = match bundle.cluster() {
        Some(cluster) => {
            let issuers: Vec<_> = bundle.issuers().copied().collect();
            Bundle::new(cluster.clone(), epoch, roots, issuers, revoked)
        }
        None => Bundle::of_authorities(epoch, roots, revoked),
    };
    let registry = seen.credentials.registry();
    let refused: Vec<Value> = registry
        .shadow(&candidate, seen.credentials.now())
        .iter()
        .map(|(info, rejection)| json!({ "connection": connection(info), "why": told(&rejection.explain()) }))
        .collect();
    answer(StatusCode::OK, &json!({ "live": registry.live(), "refused": refused }))
}

fn roots_of(pem: &str) -> Result<Vec<Root>, Explanation> {
    let certificates = Certificate::many_from_pem(pem).map_err(|error| error.explain())?;
    certificates
        .iter()
        .map(|certificate| Root::from_der(&certificate.der).map_err(|error| error.explain()))
        .collect()
}

fn connection(info: &ConnectionInfo) -> Value {
    let peer = info.peer.as_ref().map(|peer| &peer.peer);
    json!({
        "peer": peer.map(|peer| peer.name()),
        "agent": info.agent.map(|agent| agent.to_string()),
        "plaintext": info.plaintext,
        "side": match info.purpose { Purpose::Server => "dialed", Purpose::Client => "accepted" },
        "resumed": info.resumed,
        "since": info.since.to_string(),
        "not_after": peer.map(|peer| peer.not_after.to_string()),
        "key": peer.map(|peer| peer.key_hash.to_string()),
    })
}

fn told(why: &Explanation) -> Value {
    let facts: serde_json::Map<String, Value> =
        why.facts.iter().map(|(label, value)| (label.clone(), value.as_str().into())).collect();
    json!({ "code": why.code.to_string(), "message": why.message, "facts": facts, "hint": why.hint })
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
