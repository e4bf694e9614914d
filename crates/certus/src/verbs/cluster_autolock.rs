//! `certus cluster autolock`: a lock on a manager's cluster key, set by the running manager.

use certus_pki::key::Passphrase;
use certus_pki::{Explain, Explanation};
use serde::{Deserialize, Serialize};

use super::own_manager::OwnManager;
use super::{Context, secret};
use crate::args::{AutolockVerb, Lock};
use crate::terminal::Exit;

/// What is said of a fresh unlock key, wherever one is printed.
pub(super) const KEEP: &str =
    "keep it apart from this machine: it is shown once, and without it nothing opens after a restart";

#[derive(Serialize)]
struct Report {
    data_dir: String,
    autolock: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unlock_key: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    autolock: bool,
}

pub(super) async fn run(context: &Context, verb: AutolockVerb) -> Result<Exit, Explanation> {
    match verb {
        AutolockVerb::On(lock) => locked(context, "on", lock, true).await,
        AutolockVerb::Rotate(lock) => locked(context, "rotate", lock, false).await,
        AutolockVerb::Off(which) => {
            let manager = OwnManager::of(context, which)?;
            let answer: Answer = manager.post("/autolock/off", String::new()).await?;
            report(context, &manager, &answer, None);
            Ok(Exit::Done)
        }
        AutolockVerb::Status(which) => {
            let manager = OwnManager::of(context, which)?;
            let answer: Answer = manager.get("/autolock").await?;
            report(context, &manager, &answer, None);
            Ok(Exit::Done)
        }
    }
}

async fn locked(context: &Context, how: &str, lock: Lock, from_env: bool) -> Result<Exit, Explanation> {
    let manager = OwnManager::of(context, lock.which)?;
    let own = match &lock.passphrase_file {
        _ if lock.ask => Some(secret::asked(context, "new passphrase:", true)?),
        None if !from_env => None,
        file => secret::given(file.as_deref())?,
    };
    let (key, printed) = with_fresh(own)?;
    let answer = manager.post(&format!("/autolock/{how}"), key.as_str().to_owned()).await;
    let printed = printed.then(|| key.as_str().to_owned());
    match answer {
        Ok(answer) => {
            report(context, &manager, &answer, printed);
            Ok(Exit::Done)
        }
        // It was sent, and the answer was lost: it may be in force, and is known nowhere else.
        Err(why) if why.code == certus_pki::code::LISTEN && printed.is_some() => {
            context.terminal.note("if the manager had taken the key before it fell silent, it is this one");
            report(context, &manager, &Answer { autolock: true }, printed);
            Err(why)
        }
        Err(why) => Err(why),
    }
}

/// One's own passphrase, or a fresh key that must be printed.
pub(super) fn with_fresh(own: Option<Passphrase>) -> Result<(Passphrase, bool), Explanation> {
    match own {
        Some(own) => Ok((own, false)),
        None => Ok((certus_server::fresh_unlock_key().map_err(|error| error.explain())?, true)),
    }
}

fn report(context: &Context, manager: &OwnManager, answer: &Answer, unlock_key: Option<String>) {
    let data_dir = manager.data_dir().display().to_string();
    let report = Report { data_dir, autolock: answer.autolock, unlock_key };
    context.terminal.report(&report, || words(&report));
}

fn words(report: &Report) -> String {
    let state = match report.autolock {
        true => "on   the cluster key is locked; after a restart: certus node unlock",
        false => "off   the cluster key is in a plain file",
    };
    let key = report.unlock_key.as_ref();
    let key = key.map_or_else(String::new, |key| format!("\nunlock    {key}\n          {KEEP}"));
    format!("autolock  {state}{key}")
}
