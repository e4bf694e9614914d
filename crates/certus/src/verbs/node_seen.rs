//! `certus node failures`, `connections`, `strict` and `shadow`: what a node of this machine sees of its peers, asked
//! at its admin socket.

use std::path::Path;

use certus_node::admin;
use certus_node::files::admin_socket;
use certus_pki::{Explain, Explanation, code};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::args::{Seen, Shadow};
use crate::terminal::{Exit, count, table};

#[derive(Serialize, Deserialize)]
struct Failures {
    total: u64,
    failures: Vec<Failure>,
}

#[derive(Serialize, Deserialize)]
struct Failure {
    at: String,
    side: String,
    name: String,
    transport: String,
    from: String,
    peer: String,
    why: Why,
}

#[derive(Serialize, Deserialize)]
struct Why {
    code: String,
    message: String,
    facts: serde_json::Map<String, serde_json::Value>,
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Connections {
    connections: Vec<Connection>,
}

#[derive(Serialize, Deserialize)]
struct Connection {
    peer: Option<String>,
    agent: Option<String>,
    plaintext: bool,
    side: String,
    resumed: bool,
    since: String,
    not_after: Option<String>,
    key: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Strict {
    listeners: Vec<Permissive>,
}

#[derive(Serialize, Deserialize)]
struct Permissive {
    name: String,
    transport: String,
    until: String,
    watched_since: String,
    last: Option<String>,
    quiet: Option<String>,
    ready: bool,
    live: u64,
    connections: u64,
    callers: Vec<ClearCaller>,
    forgotten: u64,
}

#[derive(Serialize, Deserialize)]
struct ClearCaller {
    from: String,
    first: String,
    last: String,
    connections: u64,
}

#[derive(Serialize, Deserialize)]
struct Shadowed {
    live: u64,
    refused: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    connection: Connection,
    why: Why,
}

/// `certus node failures`.
pub(super) async fn failures(context: &Context, seen: Seen) -> Result<Exit, Explanation> {
    let report: Failures = asked(context, seen, Ask::Get("/failures")).await?;
    context.terminal.report(&report, || {
        let mut lines = Vec::new();
        for Failure { at, side, name, transport, from, peer, why } in &report.failures {
            let who = if peer.is_empty() { from.clone() } else { format!("{peer} ({from})") };
            lines.push(format!("{at}  {side}  {name} ({transport})  {who}"));
            lines.push(format!("  {}  {}", why.code, why.message));
            for (label, value) in &why.facts {
                lines.push(format!("      {label:<10}  {}", value.as_str().unwrap_or_default()));
            }
        }
        let shown = report.failures.len();
        lines.push(format!("{shown} of {}, newest first", count(report.total, "failure")));
        lines.join("\n")
    });
    Ok(Exit::Done)
}

/// `certus node connections`.
pub(super) async fn connections(context: &Context, seen: Seen) -> Result<Exit, Explanation> {
    let report: Connections = asked(context, seen, Ask::Get("/connections")).await?;
    context.terminal.report(&report, || {
        let rows = report.connections.iter().map(|one| {
            vec![
                one.name(),
                one.side.clone(),
                one.since.clone(),
                one.not_after.clone().unwrap_or_default(),
                if one.resumed { "resumed" } else { "full" }.to_owned(),
            ]
        });
        let table = table(&["PEER", "SIDE", "SINCE", "ITS CERTIFICATE ENDS", "HANDSHAKE"], rows);
        format!("{table}\n{}", count(report.connections.len() as u64, "connection"))
    });
    Ok(Exit::Done)
}

/// `certus node strict`.
pub(super) async fn strict(context: &Context, seen: Seen) -> Result<Exit, Explanation> {
    let report: Strict = asked(context, seen, Ask::Get("/strict")).await?;
    context.terminal.report(&report, || {
        if report.listeners.is_empty() {
            return "no listener is permissive: nobody comes in the clear".to_owned();
        }
        report.listeners.iter().map(Permissive::told).collect::<Vec<_>>().join("\n")
    });
    let ready = report.listeners.iter().all(|one| one.ready);
    Ok(if ready { Exit::Done } else { Exit::Problems })
}

impl Permissive {
    fn told(&self) -> String {
        let Permissive { name, transport, until, watched_since, .. } = self;
        let mut lines = vec![format!("{name} ({transport}), plaintext until {until}")];
        let since = match &self.last {
            Some(last) => format!("no plaintext since {last}"),
            None => format!("no plaintext since it is watched, {watched_since}"),
        };
        lines.push(match &self.quiet {
            Some(quiet) if self.ready => {
                format!("  {since} ({quiet}): strict is safe for all who come at least that often")
            }
            Some(quiet) => format!("  {since} ({quiet}): too short to tell, wait for a day"),
            None => format!("  {} in the clear here now", count(self.live, "connection")),
        });
        if self.callers.is_empty() {
            return lines.join("\n");
        }
        let came = count(self.connections, "connection");
        lines.push(format!("  {came} in the clear since {watched_since}, the last callers first:"));
        let rows = self.callers.iter().map(|one| {
            vec![one.from.clone(), one.first.clone(), one.last.clone(), one.connections.to_string()]
        });
        let table = table(&["FROM", "FIRST", "LAST", "CONNECTIONS"], rows);
        lines.extend(table.lines().map(|line| format!("  {line}")));
        if self.forgotten > 0 {
            lines.push(format!("  and {} that came before them", count(self.forgotten, "caller")));
        }
        lines.join("\n")
    }
}

/// `certus node shadow`.
pub(super) async fn shadow(context: &Context, shadow: Shadow) -> Result<Exit, Explanation> {
    let pem = std::fs::read_to_string(&shadow.bundle).map_err(|error| {
        Explanation::new(code::FILE, format!("cannot read {}", shadow.bundle.display()))
            .fact("the system says", error)
    })?;
    let report: Shadowed = asked(context, shadow.seen, Ask::Post("/shadow", pem)).await?;
    context.terminal.report(&report, || {
        let mut lines: Vec<String> = report
            .refused
            .iter()
            .map(|one| {
                let Connection { side, since, .. } = &one.connection;
                format!(
                    "refused  {} ({side}, since {since}): {} {}",
                    one.connection.name(),
                    one.why.code,
                    one.why.message
                )
            })
            .collect();
        let live = count(report.live, "live connection");
        lines.push(match report.refused.len() {
            0 => format!("none of {live} would be refused"),
            refused => format!("{refused} of {live} would be refused"),
        });
        lines.join("\n")
    });
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Problems })
}

impl Connection {
    fn name(&self) -> String {
        match (&self.peer, &self.agent) {
            (Some(peer), _) => peer.clone(),
            (None, Some(agent)) => format!("agent:{agent}"),
            (None, None) if self.plaintext => "plaintext".to_owned(),
            (None, None) => "nobody known".to_owned(),
        }
    }
}

enum Ask {
    Get(&'static str),
    Post(&'static str, String),
}

/// The answer of the node whose data directory is meant.
async fn asked<T: for<'de> Deserialize<'de>>(
    context: &Context,
    seen: Seen,
    ask: Ask,
) -> Result<T, Explanation> {
    let usual = || {
        let [worker, agent] = ["worker", "agent"].map(|kind| context.home.data_dir(kind));
        // Where only an agent runs, it is meant.
        if !admin_socket(&worker).exists() && admin_socket(&agent).exists() { agent } else { worker }
    };
    let data_dir = seen.data_dir.unwrap_or_else(usual);
    let socket = admin_socket(&data_dir);
    let answered = match ask {
        Ask::Get(route) => admin::get_from(&socket, route).await,
        Ask::Post(route, body) => admin::post(&socket, route, body).await,
    };
    let (status, answer) = answered.map_err(|error| {
        error
            .explain()
            .hint("the node must run, and this command as its user: --data-dir names its directory")
    })?;
    if status.is_success() {
        return serde_json::from_str(&answer).map_err(|error| not_understood(&data_dir, &error));
    }
    #[derive(Deserialize)]
    struct Refusal {
        error: Why,
    }
    match serde_json::from_str::<Refusal>(&answer) {
        Ok(Refusal { error }) => {
            Err(Explanation::new(code::USAGE, error.message).fact("its code", error.code))
        }
        Err(error) => Err(not_understood(&data_dir, &error)),
    }
}

fn not_understood(data_dir: &Path, error: &serde_json::Error) -> Explanation {
    Explanation::new(code::BAD_MESSAGE, "the node's answer is not understood")
        .fact("node", data_dir.display())
        .fact("because", error)
}
