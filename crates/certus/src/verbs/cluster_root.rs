//! `certus cluster root`: the root's key to a file and out of the cluster, and back.
//!
//! Nothing is destroyed before the file was read back and opened.

use std::path::Path;

use certus_pki::key::Passphrase;
use certus_pki::{Explain, Explanation, PrivateKey, Sha256, Signer, code};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::offline::{self, SECRET};
use super::own_manager::OwnManager;
use super::{Context, secret};
use crate::args::{BringOnline, RootVerb, TakeOffline};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    file: String,
    root_key_hash: String,
    offline: bool,
    issuing_until: String,
}

#[derive(Deserialize)]
struct Exported {
    root: String,
    key: String,
}

#[derive(Deserialize)]
struct Answer {
    root: String,
    offline: bool,
    issuing_until: String,
}

pub(super) async fn run(context: &Context, verb: RootVerb) -> Result<Exit, Explanation> {
    match verb {
        RootVerb::TakeOffline(take) => take_offline(context, take).await,
        RootVerb::BringOnline(bring) => bring_online(context, bring).await,
    }
}

async fn take_offline(context: &Context, take: TakeOffline) -> Result<Exit, Explanation> {
    let manager = OwnManager::of(context, take.which)?;
    refuse_place(&take.file, manager.data_dir(), take.force)?;
    let question = "passphrase for the root's key:";
    let passphrase = secret::given_or_chosen(context, take.passphrase_file.as_deref(), question)?;
    let exported: Exported = manager.post("/root/export", passphrase.as_str().to_owned()).await?;
    let root: Sha256 = exported
        .root
        .parse()
        .map_err(|_| Explanation::new(code::BAD_MESSAGE, "the manager's answer is not understood"))?;
    offline::write(context, &take.file, exported.key.as_bytes(), SECRET, take.force)?;
    read_back(&take.file, &passphrase, root)?;
    let answer: Answer = manager.post("/root/take-offline", exported.root).await.map_err(|why| {
        why.fact("file", format!("{} holds the root's key; it was not destroyed", take.file.display()))
    })?;
    report(context, &take.file, answer, |report| {
        format!(
            "offline   root {}   its key is in {} and nowhere else: keep it and its passphrase apart\n\
             issuing   goes on until {}",
            short(&report.root_key_hash),
            report.file,
            report.issuing_until,
        )
    });
    Ok(Exit::Done)
}

async fn bring_online(context: &Context, bring: BringOnline) -> Result<Exit, Explanation> {
    let manager = OwnManager::of(context, bring.which)?;
    if offline::is_standard(&bring.file) && bring.passphrase_file.as_deref().is_some_and(offline::is_standard)
    {
        let told = Explanation::new(code::USAGE, "key and passphrase cannot both come from standard input");
        return Err(told.hint("name one of them as a file, or use CERTUS_PASSPHRASE"));
    }
    let key = Zeroizing::new(offline::read_text(&bring.file)?);
    let question = "passphrase of the root's key:";
    let passphrase = secret::given_or_asked(context, bring.passphrase_file.as_deref(), question)?;
    let body = format!("{}\n{}", passphrase.as_str(), key.as_str());
    let answer: Answer = manager.post("/root/bring-online", body).await?;
    report(context, &bring.file, answer, |report| {
        format!(
            "online    root {}\nissuing   goes on until {}, and further while the root is online\n\
             file      {} holds the same key: keep it",
            short(&report.root_key_hash),
            report.issuing_until,
            report.file,
        )
    });
    Ok(Exit::Done)
}

fn report(context: &Context, file: &Path, answer: Answer, words: impl FnOnce(&Report) -> String) {
    let report = Report {
        file: offline::shown(file),
        root_key_hash: answer.root,
        offline: answer.offline,
        issuing_until: answer.issuing_until,
    };
    context.terminal.report(&report, || words(&report));
}

/// Before a passphrase is asked for: a place that could not be read back, or that is the manager's own.
fn refuse_place(file: &Path, data_dir: &Path, force: bool) -> Result<(), Explanation> {
    if offline::is_standard(file) {
        let told = Explanation::new(code::USAGE, "the root's key goes to a file, which is read back");
        return Err(told.halves("a file", "-"));
    }
    if file.exists() && !force {
        let message = format!("{} is there already", file.display());
        return Err(Explanation::new(code::ALREADY_EXISTS, message).hint("--force replaces it"));
    }
    let parent = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inside = parent.canonicalize().ok().zip(data_dir.canonicalize().ok());
    if inside.is_some_and(|(place, data_dir)| place.starts_with(data_dir)) {
        let told = Explanation::new(code::USAGE, "a file in the manager's data directory is not offline");
        return Err(told.halves("another disk, another machine, a safe", file.display()));
    }
    Ok(())
}

/// Whether the file on disk opens, and holds what is about to be destroyed.
fn read_back(file: &Path, passphrase: &Passphrase, root: Sha256) -> Result<(), Explanation> {
    let text = Zeroizing::new(offline::read_text(file)?);
    let key = PrivateKey::from_pem_with(&text, Some(passphrase)).map_err(|error| {
        error.explain().fact("file", file.display()).hint("nothing was destroyed: try another place")
    })?;
    if key.public_key().hash() == root {
        return Ok(());
    }
    let told = Explanation::new(code::KEY_MISMATCH, "what was read back is not the root's key");
    Err(told.halves(root.short(), key.public_key().hash().short()).hint("nothing was destroyed"))
}

fn short(hash: &str) -> String {
    hash.parse::<Sha256>().map_or_else(|_| hash.to_owned(), |hash| hash.short().to_string())
}
