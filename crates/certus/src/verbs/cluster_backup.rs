//! `certus cluster backup`: a copy of the cluster that was read back, under a passphrase.

use std::path::Path;
use std::time::Instant;

use certus_pki::{Explain, Explanation, Passphrase, code};
use certus_server::backup::{self, BackupOptions, Progress};
use serde::Serialize;

use super::Context;
use super::{offline, show};
use crate::args::Backup;
use crate::terminal::{Exit, Terminal, count, thousands};

#[derive(Serialize)]
struct Report {
    file: String,
    #[serde(flatten)]
    backup: BackupData,
    took_ms: u64,
}

/// A backup as data, for `backup` and `restore` alike.
#[derive(Serialize)]
pub(super) struct BackupData {
    cluster: String,
    generation: u64,
    revision: u64,
    made_at: String,
    manager: String,
    version: String,
    rows: u64,
    tables: std::collections::BTreeMap<String, u64>,
    bytes: u64,
    sha256: String,
}

impl BackupData {
    pub(super) fn of(backup: &backup::Backup) -> BackupData {
        BackupData {
            cluster: backup.cluster.clone(),
            generation: backup.generation,
            revision: backup.revision,
            made_at: backup.made_at.to_string(),
            manager: backup.manager.clone(),
            version: backup.version.clone(),
            rows: backup.rows,
            tables: backup.tables.clone(),
            bytes: backup.bytes,
            sha256: backup.sha256.clone(),
        }
    }
}

pub(super) async fn run(context: &Context, asked: Backup) -> Result<Exit, Explanation> {
    let data_dir = asked.data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
    if !certus_server::is_founded(&data_dir) {
        return Err(Explanation::new(code::NO_MANAGER_DATA, "there is no manager's data")
            .halves("the data directory of a manager of this machine", data_dir.display())
            .hint("certus cluster backup FILE --data-dir DIR"));
    }
    let passphrase = passphrase(context, asked.passphrase_file.as_deref(), true)?;
    let mut options = BackupOptions::new(data_dir, asked.file.clone(), passphrase);
    options.force = asked.force;
    let begin = Instant::now();
    let made = backup::backup(&options, told(context.terminal)).await;
    context.terminal.progress("");
    let made = made.map_err(|error| error.explain())?;
    let took = begin.elapsed();
    let report = Report {
        file: asked.file.display().to_string(),
        backup: BackupData::of(&made),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    let words = || {
        format!(
            "backup    {}   {} bytes, {} in {}\n{}\nchecked   read back whole: sha256 {}",
            report.file,
            thousands(made.bytes),
            count(made.rows, "row"),
            show::duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            what(&made),
            made.sha256,
        )
    };
    context.terminal.report(&report, words);
    Ok(Exit::Done)
}

/// Cluster, epoch, time and manager of a backup, for people.
pub(super) fn what(backup: &backup::Backup) -> String {
    format!(
        "cluster   {}   generation {}, revision {}\nmade      {}   of {}, by certus {}",
        backup.cluster, backup.generation, backup.revision, backup.made_at, backup.manager, backup.version
    )
}

/// Tells a person how far long work is.
pub(super) fn told(terminal: Terminal) -> impl FnMut(Progress) + Send {
    let mut last = None::<Instant>;
    move |progress| {
        if last.is_some_and(|last| last.elapsed().as_millis() < 200) {
            return;
        }
        last = Some(Instant::now());
        let text = match progress {
            Progress::Writing { bytes } => format!("writing   {} bytes", thousands(bytes)),
            Progress::Checking { rows } => format!("checking  {} rows", thousands(rows)),
            Progress::Restoring { rows, of } => {
                format!("restoring {} of {} rows", thousands(rows), thousands(of))
            }
            _ => return,
        };
        terminal.progress(&text);
    }
}

/// The passphrase of a backup: from a file, or from who is there.
pub(super) fn passphrase(
    context: &Context,
    file: Option<&Path>,
    new: bool,
) -> Result<Passphrase, Explanation> {
    if let Some(file) = file {
        return offline::passphrase(file);
    }
    if !context.terminal.can_ask() {
        return Err(Explanation::new(code::PASSPHRASE_NEEDED, "a backup is kept under a passphrase")
            .hint("--passphrase-file FILE"));
    }
    let asked = inquire::Password::new("passphrase of the backup");
    let asked = if new { asked } else { asked.without_confirmation() };
    let given = asked.prompt().ok().filter(|given| !given.is_empty());
    let given = given.ok_or_else(|| {
        Explanation::new(code::USAGE, "no passphrase was given").hint("--passphrase-file FILE")
    })?;
    Ok(Passphrase::new(given))
}
