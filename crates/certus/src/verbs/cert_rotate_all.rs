//! `certus cert rotate --all`: every node takes a new key and certificate, a few at a time.

use std::time::{Duration, Instant};

use certus_pki::{Explanation, Role};
use certus_wire::v1;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{Context, show};
use crate::args::Rotate;
use crate::managers::{Managers, PAGE};
use crate::terminal::{Exit, Listing, Terminal, count, thousands};

/// Between two looks at a node that was told: it makes a key, and asks a manager once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Who watches a log hears of long work this often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Managers one after another: while one renews, its lines to the others are dialled anew.
const MANAGERS_AT_ONCE: usize = 1;

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Became {
    /// It has a new certificate.
    Rotated,
    /// It is away, and is told when it is back.
    Kept,
    /// It was told, and had none in time.
    Late,
    /// It could not be told.
    Failed,
}

#[derive(Serialize)]
struct Entry {
    node: String,
    state: Became,
    /// Of the new certificate.
    serial: Option<String>,
    why: Option<String>,
}

/// What stands behind the nodes.
#[derive(Serialize)]
struct Rest {
    rotated: u64,
    kept: u64,
    late: u64,
    failed: u64,
    /// Clients renew when they are used; none was told.
    clients: u64,
    took_ms: u64,
}

const HEADINGS: &[&str] = &["NODE", "ROLE", "SERIAL", "STATE"];

struct Rotation {
    managers: Managers,
    terminal: Terminal,
    listing: Listing,
    timeout: Duration,
    rest: Rest,
    began: Instant,
    said: Instant,
    running: JoinSet<Entry>,
}

pub(super) async fn run(context: &Context, rotate: &Rotate) -> Result<Exit, Explanation> {
    let managers = context.managers().await?;
    let now = Instant::now();
    let mut rotation = Rotation {
        managers,
        terminal: context.terminal,
        listing: Listing::new(context.terminal, "nodes", HEADINGS),
        timeout: Duration::from_secs(rotate.timeout.secs().into()),
        rest: Rest { rotated: 0, kept: 0, late: 0, failed: 0, clients: 0, took_ms: 0 },
        began: now,
        said: now,
        running: JoinSet::new(),
    };
    rotation.role(Role::Worker, rotate.at_once.into()).await?;
    rotation.role(Role::Manager, MANAGERS_AT_ONCE).await?;
    rotation.clients().await?;
    Ok(rotation.end())
}

impl Rotation {
    /// Every node of `role`, `at_once` at a time.
    async fn role(&mut self, role: Role, at_once: usize) -> Result<(), Explanation> {
        let mut after = Vec::new();
        loop {
            let page = self.page(role, after).await?;
            for node in page.nodes {
                while self.running.len() >= at_once {
                    self.ended().await;
                }
                let (managers, timeout) = (self.managers.clone(), self.timeout);
                self.running.spawn(async move { one(&managers, &node, role, timeout).await });
            }
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        while !self.running.is_empty() {
            self.ended().await;
        }
        Ok(())
    }

    async fn page(&self, role: Role, after: Vec<u8>) -> Result<v1::NodeList, Explanation> {
        let ask = v1::ListNodesRequest {
            after,
            limit: PAGE,
            role: Some(role.to_string()),
            revoked: Some(false),
            without_der: true,
            ..Default::default()
        };
        self.managers.nodes(ask).await
    }

    async fn clients(&mut self) -> Result<(), Explanation> {
        let mut after = Vec::new();
        loop {
            let page = self.page(Role::Client, after).await?;
            self.rest.clients += page.nodes.len() as u64;
            after = page.next;
            if after.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits for one of those under way.
    async fn ended(&mut self) {
        let Some(Ok(entry)) = self.running.join_next().await else { return };
        let rest = &mut self.rest;
        *match entry.state {
            Became::Rotated => &mut rest.rotated,
            Became::Kept => &mut rest.kept,
            Became::Late => &mut rest.late,
            Became::Failed => &mut rest.failed,
        } += 1;
        // For people those that are as wanted are only counted.
        if self.terminal.json() || entry.state != Became::Rotated {
            self.terminal.progress("");
            let cells = |entry: &Entry| {
                let why = entry.why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
                vec![
                    show::short_node(&entry.node),
                    show::role(&entry.node),
                    entry.serial.clone().unwrap_or_else(|| "-".to_owned()),
                    format!("{}{why}", entry.state.words()),
                ]
            };
            let data = |entry: &Entry| Entry {
                node: entry.node.clone(),
                state: entry.state,
                serial: entry.serial.clone(),
                why: entry.why.clone(),
            };
            self.listing.page(&[entry], data, cells);
        }
        self.say();
    }

    fn say(&mut self) {
        let Rest { rotated, kept, late, failed, .. } = self.rest;
        let so_far = format!(
            "rotated {}, {} away, {} without success, {} under way",
            thousands(rotated),
            thousands(kept),
            thousands(late + failed),
            self.running.len()
        );
        self.terminal.progress(&so_far);
        if self.said.elapsed() >= SAY_EVERY && !self.terminal.can_ask() {
            self.said = Instant::now();
            self.terminal.say(&so_far);
        }
    }

    fn end(mut self) -> Exit {
        self.terminal.progress("");
        let took = self.began.elapsed();
        self.rest.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let rest = &self.rest;
        let unfinished = rest.late + rest.failed > 0;
        let words = || {
            let took = show::duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            let mut text = format!("rotated   {} in {took}", count(rest.rotated, "node"));
            if rest.kept > 0 {
                text.push_str(&format!("\nkept      {} away: told when back", count(rest.kept, "node")));
            }
            if rest.clients > 0 {
                text.push_str(&format!(
                    "\nleft      {}: they renew when used",
                    count(rest.clients, "client")
                ));
            }
            text
        };
        match self.terminal.json() || self.listing.shown() > 0 {
            true => self.listing.end(rest, words),
            false => self.terminal.result(&words()),
        }
        if unfinished { Exit::Problems } else { Exit::Done }
    }
}

impl Became {
    const fn words(self) -> &'static str {
        match self {
            Became::Rotated => "rotated",
            Became::Kept => "away, told when it is back",
            Became::Late => "told, and no new certificate in time",
            Became::Failed => "could not be told",
        }
    }
}

/// Tells one node, and looks until it has another certificate.
async fn one(managers: &Managers, node: &v1::NodeRecord, role: Role, timeout: Duration) -> Entry {
    let entry = |state, serial, why| Entry { node: node.identity.clone(), state, serial, why };
    let began = Instant::now();
    let before = node.newest.as_ref().and_then(show::serial);
    let told = match managers.rotate(&node.identity).await {
        Ok(told) => told,
        Err(why) => return entry(Became::Failed, None, Some(why.message)),
    };
    if !told.connected && role != Role::Manager {
        return entry(Became::Kept, None, None);
    }
    let mut trouble = None;
    while began.elapsed() < timeout {
        match managers.node(&node.identity).await {
            Ok(detail) => {
                let newest = detail.node.and_then(|node| node.newest).as_ref().and_then(show::serial);
                if newest.is_some() && newest != before {
                    return entry(Became::Rotated, newest.map(|serial| serial.to_string()), None);
                }
                if detail.revoked_at.is_some() {
                    return entry(Became::Failed, None, Some("it was revoked meanwhile".to_owned()));
                }
                trouble = None;
            }
            Err(why) => trouble = Some(why.message),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    entry(Became::Late, None, trouble)
}
