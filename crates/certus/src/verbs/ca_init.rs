//! `certus ca init`: a CA in files, certificates for hosts, and what to do with them.

mod steps;

use std::path::Path;

use certus_cadir::{
    CaDir, Existing, Layout, LeafKey, MadeAuthority, MadeLeaf, NewAuthority, NewLeaf, Place, Role, Secrets,
};
use certus_pki::{Explain, Explanation, KeyType, Lifetime, NameConstraints, Names, Subject, UnixTime, code};
use serde::Serialize;

use super::Context;
use super::offline::{as_named, passphrase, read_text, serials};
use super::show;
use crate::args::CaInit;
use crate::hosts::{self, Host};
use crate::terminal::Exit;
use steps::Step;

#[derive(Serialize)]
struct Report {
    directory: String,
    preset: &'static str,
    made: Vec<MadeData>,
    skipped: Vec<String>,
    next: Vec<Step>,
}

#[derive(Serialize)]
pub(super) struct MadeData {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) file: String,
    pub(super) key_file: Option<String>,
    pub(super) names: Vec<String>,
    pub(super) key_type: String,
    pub(super) serial: String,
    pub(super) expires_at: String,
    #[serde(skip)]
    until: String,
}

pub(super) async fn run(context: &Context, init: CaInit) -> Result<Exit, Explanation> {
    let yaml = init.hosts_file.as_deref().map(read_text).transpose()?;
    let hosts = hosts::all(&init.hosts, yaml.as_deref())?;
    check(&init, &hosts)?;
    let now = show::now();
    let signs = crate::args::Signs { passphrase_file: init.passphrase_file.clone(), ..Default::default() };
    let mut made = Vec::new();
    let mut dir;
    let secrets;
    if init.add_hosts {
        (dir, made) = add_only(context, &init, &signs, &hosts, now)?;
    } else {
        secrets = Secrets {
            passphrase: init.passphrase_file.as_deref().map(passphrase).transpose()?,
            ca_key: None,
        };
        dir = CaDir::make(&init.output_dir, init.preset).map_err(|error| error.explain())?;
        refuse_other_names(&init, &dir)?;
        refuse_replacing(&init, &dir)?;
        let authorities = found(&mut dir, &init, &secrets, now)?;
        let dev_note = init.preset == Layout::Dev;
        made.extend(authorities.iter().map(|ca| authority_data(ca, &dir, &init.output_dir)));
        let signing = dir.signing(&secrets, now).map_err(|error| error.explain())?;
        let leaves = leaves(&init, &hosts, signing.key_type());
        let existing = if init.force { Existing::Replace } else { Existing::Refuse };
        let issued =
            dir.issue(&signing, leaves, existing, now, &mut serials()).map_err(|error| error.explain())?;
        note_shortened(context, &issued);
        made.extend(issued.iter().map(|leaf| leaf_data(leaf, &dir, &init.output_dir)));
        if dev_note {
            context.terminal.note("development only: whoever has these files is everybody");
        }
    }
    let skipped = skipped(&hosts, &made, init.add_hosts);
    let next = steps::of(&init, &dir, &made);
    let report = Report {
        directory: init.output_dir.display().to_string(),
        preset: dir.layout().as_str(),
        made,
        skipped,
        next,
    };
    context.terminal.report(&report, || words(&report, &init));
    Ok(Exit::Done)
}

/// Combinations that make no sense.
fn check(init: &CaInit, hosts: &[Host]) -> Result<(), Explanation> {
    let wrong = |what: &str| Err(Explanation::new(code::USAGE, what).hint("certus ca init --help"));
    if init.add_hosts && hosts.is_empty() {
        return wrong("--add-hosts adds nothing: no host is named with --hosts or --hosts-file");
    }
    if init.add_hosts && (init.ca_days.is_some() || init.ca_lifetime.is_some() || init.cn.is_some()) {
        return wrong(
            "with --add-hosts the CA stays as it is: --cn, --ca-days and --ca-lifetime are for a new one",
        );
    }
    if init.hosts_file.as_deref() == Some(Path::new("-"))
        && init.passphrase_file.as_deref() == Some(Path::new("-"))
    {
        return wrong("standard input can be read once: the hosts or the passphrase");
    }
    Ok(())
}

/// A directory keeps the file names it began with.
fn refuse_other_names(init: &CaInit, dir: &CaDir) -> Result<(), Explanation> {
    if dir.layout() == init.preset {
        return Ok(());
    }
    let told = format!("{} goes by other file names", init.output_dir.display());
    let told = Explanation::new(code::ALREADY_EXISTS, told).halves(dir.layout(), init.preset);
    Err(told.hint(format!("--preset {}, or another --output-dir", dir.layout())))
}

fn refuse_replacing(init: &CaInit, dir: &CaDir) -> Result<(), Explanation> {
    if !dir.has_root() || init.force {
        return Ok(());
    }
    let file = init.output_dir.join(dir.layout().root().cert);
    let told = Explanation::new(code::ALREADY_EXISTS, format!("there is a CA already: {}", file.display()));
    let told = match dir.root() {
        Ok(root) => told.fact("it is", &root.subject).fact("valid until", root.not_after),
        Err(_) => told,
    };
    Err(told.hint("--add-hosts makes certificates for more hosts; --force makes another CA in its place"))
}

fn found(
    dir: &mut CaDir,
    init: &CaInit,
    secrets: &Secrets,
    now: UnixTime,
) -> Result<Vec<MadeAuthority>, Explanation> {
    let layout = init.preset;
    let name = init.cn.clone().unwrap_or_else(|| "Certus CA".to_owned());
    let subject = match &init.subject {
        Some(subject) => subject.clone(),
        None => Subject::common_name(&name).map_err(|error| error.explain())?,
    };
    let issuer_name = format!("{} issuer", subject.first_common_name().unwrap_or(name));
    // Where no leaf is made, `--days` can only mean the CA's.
    let alone = if has_leaves(init) { None } else { init.lives.asked() };
    let lifetime = init.ca_lifetime.or(init.ca_days.map(Lifetime::from_days)).or(alone);
    let key_type = init.key_type.unwrap_or(layout.key_type());
    let constraints = NameConstraints { permitted: init.permit.clone(), excluded: init.exclude.clone() };
    let root = NewAuthority {
        subject,
        key_type,
        lifetime: lifetime.unwrap_or(layout.root_lifetime()),
        path_len: init.path_length,
        constraints: constraints.clone(),
    };
    let issuer = (layout == Layout::Private).then(|| {
        Ok::<_, Explanation>(NewAuthority {
            subject: Subject::common_name(&issuer_name).map_err(|error| error.explain())?,
            key_type,
            lifetime: init.issuer_lifetime.unwrap_or(layout.issuer_lifetime()),
            path_len: Some(0),
            constraints,
        })
    });
    let issuer = issuer.transpose()?;
    dir.found(&root, issuer.as_ref(), secrets, init.force, now, &mut serials())
        .map_err(|error| error.explain())
}

fn has_leaves(init: &CaInit) -> bool {
    !init.hosts.is_empty() || init.hosts_file.is_some() || init.preset == Layout::Fleet
}

/// Only what is missing, below the CA that is there.
fn add_only(
    context: &Context,
    init: &CaInit,
    signs: &crate::args::Signs,
    hosts: &[Host],
    now: UnixTime,
) -> Result<(CaDir, Vec<MadeData>), Explanation> {
    let signs = crate::args::Signs { ca: Some(init.output_dir.clone()), ..signs.clone() };
    let (mut dir, signing) = super::offline::open_to_sign(context, &signs, None, now)?;
    let mut wanted = leaves(init, hosts, signing.key_type());
    // The client was made with the first hosts.
    wanted.retain(|leaf| leaf.role == Role::Server);
    let existing = if init.force { Existing::Replace } else { Existing::Skip };
    let issued =
        dir.issue(&signing, wanted, existing, now, &mut serials()).map_err(|error| error.explain())?;
    note_shortened(context, &issued);
    let made = issued.iter().map(|leaf| leaf_data(leaf, &dir, &init.output_dir)).collect();
    Ok((dir, made))
}

fn leaves(init: &CaInit, hosts: &[Host], ca_key_type: KeyType) -> Vec<NewLeaf> {
    let lifetime = init.lives.asked().unwrap_or(init.preset.leaf_lifetime());
    let leaf = |role, name: &str, names, place| {
        let subject = Subject::common_name(name).unwrap_or_else(|_| Subject::empty());
        let key = LeafKey::New(init.key_type.unwrap_or(ca_key_type));
        NewLeaf { role, subject, names, lifetime, key, place, crl_urls: Vec::new() }
    };
    let servers = hosts
        .iter()
        .map(|host| leaf(Role::Server, &host.name, host.names.clone(), Place::Layout(host.name.clone())));
    let client = (init.preset == Layout::Fleet)
        .then(|| leaf(Role::Client, &init.client_cn, Names::none(), Place::FirstClient));
    servers.chain(client).collect()
}

/// Certificates that end with their CA, and earlier than was asked for.
pub(super) fn note_shortened(context: &Context, leaves: &[MadeLeaf]) {
    if let Some(leaf) = leaves.iter().find(|leaf| leaf.shortened) {
        let end = leaf.certificate.not_after;
        context.terminal.note(&format!("the CA ends {end}, and what it signs no later"));
    }
}

pub(super) fn authority_data(ca: &MadeAuthority, dir: &CaDir, named: &Path) -> MadeData {
    let file = |name: &str| as_named(&dir.file(name), dir, named).display().to_string();
    MadeData {
        kind: "ca",
        name: ca.certificate.common_name().to_owned(),
        file: file(&ca.files.cert),
        key_file: Some(file(&ca.files.key)),
        names: Vec::new(),
        key_type: ca.certificate.public_key.key_type().to_string(),
        serial: ca.certificate.serial.to_string(),
        expires_at: ca.certificate.not_after.to_string(),
        until: ca.certificate.not_after.date(),
    }
}

pub(super) fn leaf_data(leaf: &MadeLeaf, dir: &CaDir, named: &Path) -> MadeData {
    let file = |path: &std::path::PathBuf| as_named(path, dir, named).display().to_string();
    let certificate = &leaf.certificate;
    MadeData {
        kind: leaf.role.as_str(),
        name: certificate.common_name().to_owned(),
        file: leaf.cert.as_ref().map(file).unwrap_or_default(),
        key_file: leaf.key.as_ref().map(file),
        names: certificate.sans.iter().map(ToString::to_string).collect(),
        key_type: certificate.public_key.key_type().to_string(),
        serial: certificate.serial.to_string(),
        expires_at: certificate.not_after.to_string(),
        until: certificate.not_after.date(),
    }
}

/// `made  FILE  what it is, until when`, one line each.
pub(super) fn made_words(made: &[MadeData]) -> String {
    /// Of a fleet the first lines show how it goes on.
    const SHOWN_MAX: usize = 40;
    let width = made.iter().take(SHOWN_MAX).map(|made| made.file.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (place, made) in made.iter().take(SHOWN_MAX).enumerate() {
        let word = if place == 0 { "made" } else { "" };
        let what = match made.kind {
            "ca" => format!("{}, CA, until {}", made.key_type, made.until),
            _ => {
                let others = made.names.iter().filter(|name| **name != made.name);
                let names: Vec<&str> =
                    std::iter::once(&made.name).chain(others).map(String::as_str).collect();
                format!("{}, until {}", names.join(", "), made.until)
            }
        };
        lines.push(format!("{word:<4}  {:<width$}  {what}", made.file));
    }
    if made.len() > SHOWN_MAX {
        lines.push(format!("      and {} more", crate::terminal::thousands((made.len() - SHOWN_MAX) as u64)));
    }
    lines.join("\n")
}

fn skipped(hosts: &[Host], made: &[MadeData], add: bool) -> Vec<String> {
    if !add {
        return Vec::new();
    }
    let made: std::collections::BTreeSet<&str> = made.iter().map(|made| made.name.as_str()).collect();
    hosts.iter().filter(|host| !made.contains(host.name.as_str())).map(|host| host.name.clone()).collect()
}

fn words(report: &Report, init: &CaInit) -> String {
    let mut parts = Vec::new();
    if !report.made.is_empty() {
        parts.push(made_words(&report.made));
    }
    if !report.skipped.is_empty() {
        parts.push(format!("kept  {}: there already", report.skipped.join(", ")));
    }
    if !report.next.is_empty() {
        parts.push(String::new());
        parts.push(steps::words(&report.next));
    }
    if !init.add_hosts {
        parts.push(steps::keep_safe(init));
    }
    parts.join("\n")
}
