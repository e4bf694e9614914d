//! `certus cluster restore`: what is in a backup, and a manager out of it.

use std::sync::Arc;
use std::time::Instant;

use certus_node::system_clock;
use certus_pki::{Explain, Explanation};
use certus_server::backup::{self, RestoreOptions, Restored};
use serde::Serialize;

use super::cluster_backup::{BackupData, passphrase, told, what};
use super::show;
use super::{Context, offline};
use crate::args::Restore;
use crate::terminal::{Exit, count, table, thousands};

#[derive(Serialize)]
struct Checked {
    file: String,
    #[serde(flatten)]
    backup: BackupData,
}

#[derive(Serialize)]
struct Report {
    data_dir: String,
    manager: String,
    generation: u64,
    revision: u64,
    tokens_voided: u64,
    new_issuer: bool,
    listen: Option<String>,
    other_managers: Vec<String>,
    backup: BackupData,
    took_ms: u64,
}

pub(super) async fn run(context: &Context, asked: Restore) -> Result<Exit, Explanation> {
    let passphrase = passphrase(context, asked.passphrase_file.as_deref(), false)?;
    let telling = told(context.terminal);
    if asked.verify {
        let checked = backup::verify(&asked.file, &passphrase, telling);
        context.terminal.progress("");
        let checked = checked.map_err(|error| error.explain())?;
        let report = Checked { file: asked.file.display().to_string(), backup: BackupData::of(&checked) };
        context.terminal.report(&report, || contents(&report.file, &checked));
        return Ok(Exit::Done);
    }
    let data_dir = asked.data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
    let mut options = RestoreOptions::new(asked.file, passphrase, data_dir.clone());
    options.listen = asked.listen;
    if let Some(file) = &asked.unlock_file {
        options.unlock = Some(Arc::new(offline::passphrase(file)?));
    }
    let begin = Instant::now();
    let restored = backup::restore(&options, system_clock(), telling).await;
    context.terminal.progress("");
    let restored = restored.map_err(|error| error.explain())?;
    let took = begin.elapsed();
    let report = Report {
        data_dir: data_dir.display().to_string(),
        manager: restored.manager.to_string(),
        generation: restored.epoch.generation,
        revision: restored.epoch.revision,
        tokens_voided: restored.tokens_voided,
        new_issuer: restored.new_issuer,
        listen: restored.listen.map(|address| address.to_string()),
        other_managers: restored.other_managers.iter().map(ToString::to_string).collect(),
        backup: BackupData::of(&restored.backup),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    context.terminal.report(&report, || {
        words(&report, &restored, &show::duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)))
    });
    context.terminal.say(&format!("\nnext      certus manager start --data-dir {}", report.data_dir));
    Ok(Exit::Done)
}

fn contents(file: &str, backup: &backup::Backup) -> String {
    let rows = backup.tables.iter().map(|(name, rows)| vec![name.clone(), thousands(*rows)]);
    format!(
        "{}\nchecked   {file}   {} bytes, {}, {} of the manager: whole and unaltered\nsha256    {}\n\n{}",
        what(backup),
        thousands(backup.bytes),
        count(backup.rows, "row"),
        count(backup.secrets as u64, "file"),
        backup.sha256,
        table(&["TABLE", "ROWS"], rows),
    )
}

fn words(report: &Report, restored: &Restored, took: &str) -> String {
    let mut lines = vec![
        format!("restored  {}   {} in {took}", report.data_dir, count(restored.backup.rows, "row")),
        what(&restored.backup),
        format!("now       generation {}, revision {}", report.generation, report.revision),
        format!("manager   {}", report.manager),
        format!("tokens    {} voided", thousands(report.tokens_voided)),
    ];
    if report.new_issuer {
        lines.push("issuer    a new one: that of the backup would have ended too soon".to_owned());
    }
    for other in &report.other_managers {
        lines.push(format!("not in it {other}   must not start again; let it join anew"));
    }
    lines.join("\n")
}
