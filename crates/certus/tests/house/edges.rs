//! Who may use whom: the stairs of ARCHITECTURE.md, read from Cargo's own view of the workspace.

use std::process::Command;

use serde_json::Value;

use crate::source::{Tree, root};

/// A room, the rooms it may use, and the foreign crates it must do without.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    without: &'static [&'static str],
}

/// Must agree with the rooms table in ARCHITECTURE.md. A room may use less than it is allowed.
#[rustfmt::skip]
const ROOMS: &[Room] = &[
    Room { name: "pki", uses: &[], without: &["tokio", "rand", "tonic", "openraft", "redb", "serde", "tracing"] },
    Room { name: "ca", uses: &["pki"], without: &["tokio", "rand", "tonic", "prost", "openraft", "redb", "aws-lc-rs", "rustls", "tracing"] },
    Room { name: "cadir", uses: &["pki"], without: &["tokio", "rustls", "serde", "serde_json", "tracing", "aws-lc-rs"] },
    Room { name: "acme", uses: &["pki"], without: &["tokio", "axum", "hyper", "reqwest"] },
    Room { name: "tls", uses: &["pki"], without: &["tonic", "openraft", "redb", "notify"] },
    Room { name: "wire", uses: &["pki"], without: &["tokio", "rand", "openraft", "redb"] },
    Room { name: "node", uses: &["pki", "cadir", "acme", "tls", "wire"], without: &["openraft", "redb", "serde-saphyr", "clap"] },
    Room { name: "server", uses: &["pki", "ca", "acme", "tls", "wire", "node"], without: &["serde-saphyr", "clap"] },
    Room { name: "certus", uses: &["pki", "ca", "cadir", "acme", "tls", "wire", "node", "server"], without: &["openraft", "redb"] },
    Room { name: "forge", uses: &[], without: &[] },
    Room { name: "testkit", uses: &["pki", "ca", "acme", "tls", "wire", "node", "server", "forge"], without: &[] },
    Room { name: "benches", uses: &["pki", "ca", "cadir", "acme", "tls", "wire", "node", "server", "forge", "testkit"], without: &[] },
    Room { name: "examples", uses: &["pki", "ca", "acme", "tls", "wire", "node", "server"], without: &[] },
];

/// Rooms whose integration tests may start clusters. Not those below: Cargo would build the room
/// twice for its unit tests, and the two would not fit together.
const TESTKIT_USERS: [&str; 3] = ["node", "server", "certus"];

/// Crates that no room uses, with what to use instead.
const NOWHERE: [(&str, &str); 8] = [
    ("anyhow", "an error enum of the room with thiserror"),
    ("openssl", "aws-lc-rs"),
    ("openssl-sys", "aws-lc-rs"),
    ("ring", "aws-lc-rs"),
    ("native-tls", "rustls"),
    ("chrono", "jiff"),
    ("serde_yaml", "serde-saphyr"),
    ("lazy_static", "std::sync::LazyLock"),
];

/// Edges between rooms that go up the stairs or across a floor.
pub(crate) fn between_rooms() -> Vec<String> {
    let mut complaints = Vec::new();
    for edge in edges() {
        let Edge { from, to, kind } = &edge;
        let Some(room) = ROOMS.iter().find(|room| room.name == from) else {
            complaints.push(format!(
                "crates/{from}/Cargo.toml: an unknown room; add it to ARCHITECTURE.md and ROOMS"
            ));
            continue;
        };
        let Some(to) = room_name(to) else { continue };
        let in_tests =
            kind == "dev" && (to == "forge" || (to == "testkit" && TESTKIT_USERS.contains(&room.name)));
        if !room.uses.contains(&to) && !in_tests {
            complaints.push(format!(
                "crates/{from}/Cargo.toml: {from} may not use {to} ({kind}); it may use {:?}: move \
                 the shared word down, or the code up",
                room.uses
            ));
        }
    }
    complaints.sort();
    complaints.dedup();
    complaints
}

/// Ways from `node` up to a room that holds a cluster's issuer keys, over whatever lies between (I3).
/// Development edges do not count: tests start managers, what is shipped does not.
pub(crate) fn from_node_to_issuer_keys() -> Vec<String> {
    let edges = edges();
    let shipped = |edge: &&Edge| edge.kind != "dev";
    let mut ways = vec![vec!["node".to_owned()]];
    let mut complaints = Vec::new();
    while let Some(way) = ways.pop() {
        let last = way.last().cloned().unwrap_or_default();
        for edge in edges.iter().filter(shipped).filter(|edge| edge.from == last) {
            let Some(room) = room_name(&edge.to) else { continue };
            let longer = [&way[..], &[room.to_owned()]].concat();
            if HOLDS_ISSUER_KEYS.contains(&room) {
                complaints.push(format!("crates/node: leads to issuer keys by {}", longer.join(" -> ")));
            } else if !way.iter().any(|passed| passed == room) {
                ways.push(longer);
            }
        }
    }
    complaints
}

/// Rooms that sign for a cluster, or keep what signs for it. Not `cadir`: a CA directory knows of no
/// cluster; that a node opens one only to make development certificates is a ban of its own.
const HOLDS_ISSUER_KEYS: [&str; 2] = ["ca", "server"];

/// Foreign crates in rooms that must do without them, and `rcgen` outside the forge.
pub(crate) fn foreign_crates() -> Vec<String> {
    let mut complaints = Vec::new();
    for Edge { from, to, kind } in edges() {
        let manifest = format!("crates/{from}/Cargo.toml");
        let room = ROOMS.iter().find(|room| room.name == from);
        if kind == "normal" && room.is_some_and(|room| room.without.contains(&to.as_str())) {
            complaints.push(format!(
                "{manifest}: {from} does without `{to}`; take the value as an argument, or do it \
                 in a room above"
            ));
        }
        if let Some((_, instead)) = NOWHERE.iter().find(|(name, _)| *name == to) {
            complaints.push(format!("{manifest}: `{to}` is used nowhere; use {instead}"));
        }
        if to == "rcgen" && from != "forge" {
            complaints.push(format!("{manifest}: `rcgen` makes test material only; use forge"));
        }
    }
    complaints
}

/// Dependencies whose version stands in a room's manifest instead of the workspace's table.
pub(crate) fn outside_the_table(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let manifests = tree.files.iter().filter(|f| f.path.ends_with("/Cargo.toml"));
    for file in manifests.filter(|f| !f.path.starts_with("fuzz/")) {
        let mut in_dependencies = false;
        for (number, line) in file.text.lines().enumerate() {
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                let (path, number) = (&file.path, number + 1);
                complaints.push(format!(
                    "{path}:{number}: `{line}`; put the version in [workspace.dependencies] and \
                     write `.workspace = true`"
                ));
            }
        }
    }
    complaints
}

/// Rooms whose row in ARCHITECTURE.md does not say what [`ROOMS`] says.
pub(crate) fn drawn_otherwise(tree: &Tree) -> Vec<String> {
    let text = &tree.file("ARCHITECTURE.md").text;
    let exists = |name: &str| tree.files.iter().any(|f| f.path == format!("crates/{name}/Cargo.toml"));
    let mut complaints = Vec::new();
    for room in ROOMS.iter().filter(|room| exists(room.name)) {
        let start = format!("| `crates/{}` |", room.name);
        let row = text.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
        let drawn = row.split('|').nth(3).unwrap_or_default();
        let drawn: Vec<&str> = drawn.split('`').skip(1).step_by(2).collect();
        let uses: Vec<&str> = room.uses.iter().copied().filter(|name| exists(name)).collect();
        if row.is_empty() || drawn != uses {
            complaints.push(format!(
                "ARCHITECTURE.md: {} is drawn using {drawn:?}, ROOMS says {uses:?}; decide which",
                room.name
            ));
        }
    }
    complaints
}

struct Edge {
    /// Directory name of a member.
    from: String,
    /// Package name of what it depends on.
    to: String,
    /// `normal`, `dev` or `build`.
    kind: String,
}

fn room_name(package: &str) -> Option<&str> {
    let name = if package == "certus" { package } else { package.strip_prefix("certus-")? };
    Some(name)
}

fn edges() -> Vec<Edge> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {stderr}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let mut edges = Vec::new();
    for package in list(&metadata["packages"]) {
        let package_name = text(&package["name"]);
        let from = room_name(&package_name).unwrap_or(&package_name);
        for dependency in list(&package["dependencies"]) {
            edges.push(Edge {
                from: from.to_owned(),
                to: text(&dependency["name"]),
                kind: dependency["kind"].as_str().unwrap_or("normal").to_owned(),
            });
        }
    }
    edges
}
