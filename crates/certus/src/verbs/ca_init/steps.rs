//! What to do with the files that were made: for people, and as data.

use std::path::Path;

use certus_cadir::{CaDir, Layout};
use serde::Serialize;

use super::MadeData;
use crate::args::CaInit;

/// Of a fleet the first hosts show how it goes on.
const SHOWN_MAX: usize = 8;

/// One step.
#[derive(Serialize)]
pub(super) struct Step {
    /// `copy`, `configure`, `restart`, `run`.
    action: &'static str,
    /// Which files.
    files: Vec<String>,
    /// Where to.
    to: Vec<String>,
    /// Into which directory or file there.
    target: Option<String>,
    /// The same in words.
    text: String,
}

/// The steps for exactly these files.
pub(super) fn of(init: &CaInit, dir: &CaDir, made: &[MadeData]) -> Vec<Step> {
    let root = init.output_dir.join(dir.layout().root().cert).display().to_string();
    match dir.layout() {
        Layout::Fleet => fleet(init, &root, made),
        layout => others(init, layout, &root),
    }
}

fn fleet(init: &CaInit, root: &str, made: &[MadeData]) -> Vec<Step> {
    let servers: Vec<&MadeData> = made.iter().filter(|made| made.kind == "server").collect();
    let client = made.iter().find(|made| made.kind == "client");
    let target = init.host_dir.display().to_string();
    let hosts: Vec<String> = servers.iter().map(|made| made.name.clone()).collect();
    let mut steps = Vec::new();
    let mut to = hosts.clone();
    let (whom, here) = if client.is_some() {
        ("every host and to the machine you work from", Some("the machine you work from"))
    } else {
        ("every host", None)
    };
    to.extend(here.map(str::to_owned));
    steps.push(Step {
        action: "copy",
        files: vec![root.to_owned()],
        to,
        target: Some(format!("{target}/ca.crt")),
        text: format!("copy {root} to {whom}   ({target}/ca.crt)"),
    });
    if !servers.is_empty() {
        let mut each: Vec<String> = servers
            .iter()
            .take(SHOWN_MAX)
            .map(|made| format!("{} to {}", both(&made.file), made.name))
            .collect();
        if servers.len() > SHOWN_MAX {
            each.push(format!("and so on for {} hosts", servers.len()));
        }
        let files = servers.iter().flat_map(|made| files(made)).collect();
        steps.push(Step {
            action: "copy",
            files,
            to: hosts.clone(),
            target: Some(target.clone()),
            text: format!("copy {}   ({target}/, keys 0600)", each.join(", ")),
        });
    }
    if let Some(client) = client {
        steps.push(Step {
            action: "copy",
            files: files(client),
            to: vec!["the machine you work from".to_owned()],
            target: None,
            text: format!("copy {} to the machine you work from", both(&client.file)),
        });
    }
    steps.push(Step {
        action: "configure",
        files: Vec::new(),
        to: hosts.clone(),
        target: None,
        text: format!("set tls.ca, tls.cert and tls.key on each   ({target}/ca.crt, server.crt, server.key)"),
    });
    steps.push(Step {
        action: "restart",
        files: Vec::new(),
        to: hosts,
        target: None,
        text: "restart the service on each host".to_owned(),
    });
    steps
}

fn others(init: &CaInit, layout: Layout, root: &str) -> Vec<Step> {
    let dir = init.output_dir.display();
    let role = if layout == Layout::Private { "server" } else { "agent" };
    let issue = format!("certus cert issue --role {role} NAME --dns NAME.example.com --ca {dir}");
    let step = |action, files: Vec<String>, text| Step { action, files, to: Vec::new(), target: None, text };
    let mut steps = vec![
        step("run", Vec::new(), format!("{issue}   makes a key and a certificate")),
        step("copy", vec![root.to_owned()], format!("copy {root} to every peer: it is what they trust")),
    ];
    if layout == Layout::Private {
        let key = init.output_dir.join(layout.root().key).display().to_string();
        let text =
            format!("move {key} to where no network is; only certus ca add-issuer and ca rotate need it");
        steps.push(step("move", vec![key], text));
    }
    steps
}

pub(super) fn words(steps: &[Step]) -> String {
    let line = |(place, step): (usize, &Step)| {
        let word = if place == 0 { "next" } else { "" };
        format!("{word:<4}  {}  {}", place + 1, step.text)
    };
    steps.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// The last line: what must not be lost, or found.
pub(super) fn keep_safe(init: &CaInit) -> String {
    let key = init.output_dir.join(init.preset.root().key).display().to_string();
    format!("keep {key} offline; it is only needed to make more certificates").replace(
        "make more certificates",
        if init.preset == Layout::Private { "make more issuers" } else { "make more certificates" },
    )
}

/// `certs/host-a/server.*` for both files of a pair.
fn both(cert: &str) -> String {
    Path::new(cert).with_extension("*").display().to_string()
}

fn files(made: &MadeData) -> Vec<String> {
    std::iter::once(made.file.clone()).chain(made.key_file.clone()).collect()
}
