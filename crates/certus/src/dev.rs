//! `certus dev`: a live cluster on this machine, everything in this process, nothing kept.
//!
//! Never touches `~/.certus`: the operator's identity lies in its own directory.

pub(crate) mod service;
pub(crate) mod stage;

use std::path::{Path, PathBuf};

use certus_pki::{Explanation, code};
use serde::Serialize;

use crate::args::Dev;
use crate::daemon::Ending;
use crate::terminal::{Exit, Terminal};
use crate::tour;
use crate::verbs::Context;
use stage::Stage;

/// Where `dev` works: a directory that stays, or one that is removed with this value.
pub(crate) enum Place {
    /// Named by the user.
    Kept(PathBuf),
    /// Made for this run.
    Passing(tempfile::TempDir),
}

impl Place {
    fn of(dir: Option<PathBuf>) -> Result<Place, Explanation> {
        let cannot = |error: std::io::Error| {
            Explanation::new(code::FILE, "cannot make a directory to work in").fact("the system says", error)
        };
        match dir {
            Some(dir) => {
                std::fs::create_dir_all(&dir).map_err(cannot)?;
                std::path::absolute(&dir).map(Place::Kept).map_err(cannot)
            }
            None => {
                tempfile::Builder::new().prefix("certus-dev-").tempdir().map(Place::Passing).map_err(cannot)
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Place::Kept(dir) => dir,
            Place::Passing(dir) => dir.path(),
        }
    }
}

#[derive(Serialize)]
struct Report {
    cluster: String,
    home: String,
    manager: String,
    root_key_hash: String,
    root_expires_at: String,
    service: String,
    listener: String,
    entrance: String,
}

pub(crate) async fn run(context: &Context, dev: Dev) -> Result<Exit, Explanation> {
    let mut ending = Ending::listen()?;
    let place = Place::of(dev.dir)?;
    if dev.tour {
        let played = ending.unless_told(tour::play(context.terminal, place.path())).await;
        return played.unwrap_or(Ok(Exit::Done));
    }
    let Some(stage) = ending.unless_told(raise(place.path())).await else { return Ok(Exit::Done) };
    let stage = stage?;
    let report = Report::of(&stage);
    let kept = matches!(place, Place::Kept(_));
    context.terminal.report(&report, || words(&report, &stage, kept));
    let failure = tokio::select! {
        _ = ending.told() => None,
        failure = stage.manager.failed() => Some(failure),
    };
    say_goodbye(context.terminal, kept);
    stage.strike().await;
    drop(place);
    failure.map_or(Ok(Exit::Done), Err)
}

/// Founds the cluster, or goes on with the one that is there, and has both workers join.
async fn raise(dir: &Path) -> Result<Stage, Explanation> {
    let mut stage = Stage::found(dir).await?;
    stage.join().await?;
    Ok(stage)
}

fn say_goodbye(terminal: Terminal, kept: bool) {
    terminal.say(if kept { "\nending" } else { "\nending, and removing everything" });
}

impl Report {
    fn of(stage: &Stage) -> Report {
        Report {
            cluster: stage::CLUSTER.to_owned(),
            home: stage.home.dir().display().to_string(),
            manager: stage.manager.address().to_string(),
            root_key_hash: stage.root.key_hash().to_string(),
            root_expires_at: stage.root.not_after().to_string(),
            service: stage.service.address().to_string(),
            listener: stage.listener().to_string(),
            entrance: stage.entrance().to_string(),
        }
    }
}

fn words(report: &Report, stage: &Stage, kept: bool) -> String {
    let Report { home, manager, service, entrance, .. } = report;
    let (root, until) = (stage.root.key_hash().short(), stage.root.not_after().date());
    let lifetime = if kept { format!("kept in {}", stage.dir.display()) } else { "nothing kept".to_owned() };
    let program = program();
    let end = if kept { "ctrl-c stops everything" } else { "ctrl-c stops and removes everything" };
    let listing = format!("{program} --home {home} cert list");
    let revoking = format!("{program} --home {home} cert revoke web-2 --wait");
    let curl = format!("curl http://{entrance}");
    let wide = listing.len().max(curl.len()).max(36);
    format!(
        "certus dev · cluster \"dev\" · everything on this machine, {lifetime}\n
  manager   {manager:<21}   root {root}  valid until {until}
  web-1     spiffe://dev/worker/web-1   serves http://{service} to web-2 only
  web-2     spiffe://dev/worker/web-2   reaches it at http://{entrance}\n
try    {curl:<wide$}   through mutual TLS
       {listing:<wide$}   what has been issued
       {revoking}
{end}"
    )
}

/// How this program was called, so that what is printed can be typed.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    let in_path = !called.contains('/');
    let absolute = std::path::absolute(&called).ok().filter(|_| !in_path);
    absolute.map_or_else(|| "certus".to_owned(), |path| path.display().to_string())
}
