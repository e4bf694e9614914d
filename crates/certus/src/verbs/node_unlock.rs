//! `certus node unlock`: the key for a locked manager, and the wait until it serves.

use std::time::Duration;

use certus_pki::{Explanation, code};
use serde::{Deserialize, Serialize};

use super::own_manager::OwnManager;
use super::{Context, secret};
use crate::args::Unlock;
use crate::terminal::Exit;

/// Opening a large log and state takes seconds; after this something is wrong.
const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Report {
    data_dir: String,
    was_locked: bool,
    ready: bool,
}

#[derive(Deserialize)]
struct Answer {
    was_locked: bool,
}

pub(super) async fn run(context: &Context, unlock: Unlock) -> Result<Exit, Explanation> {
    let manager = OwnManager::of(context, unlock.which)?;
    let key = secret::given_or_asked(context, unlock.passphrase_file.as_deref(), "unlock key:")?;
    let Answer { was_locked } = manager.post("/unlock", key.as_str().to_owned()).await?;
    drop(key);
    if was_locked {
        served(&manager).await?;
    }
    let report = Report { data_dir: manager.data_dir().display().to_string(), was_locked, ready: was_locked };
    context.terminal.report(&report, || match was_locked {
        true => format!("unlocked  the manager in {} serves", report.data_dir),
        false => format!("unlocked  the manager in {} was not locked", report.data_dir),
    });
    Ok(Exit::Done)
}

/// Waits until the manager says that it is ready.
async fn served(manager: &OwnManager) -> Result<(), Explanation> {
    let mut last = "it does not answer".to_owned();
    let looking = async {
        loop {
            match manager.readiness().await {
                Some(Ok(())) => return,
                Some(Err(reasons)) => last = reasons,
                None => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(SERVES_WITHIN, looking).await.is_ok() {
        return Ok(());
    }
    Err(Explanation::new(code::UNAVAILABLE, "the key is right, but the manager does not serve yet")
        .fact("it says", last)
        .hint("see its log"))
}
