//! `certus manager leave`: the manager of this machine leaves its cluster.

use std::path::PathBuf;

use certus_node::admin;
use certus_node::files::admin_socket;
use certus_pki::{Explain, Explanation, code};
use serde::Serialize;

use super::Context;
use crate::terminal::Exit;

/// Stable.
#[derive(Serialize)]
struct Report {
    data_dir: String,
    /// What the manager says of it.
    answer: String,
}

pub(super) async fn run(context: &Context, data_dir: Option<PathBuf>) -> Result<Exit, Explanation> {
    let data_dir = data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
    if certus_server::listen_address(&data_dir).is_none() {
        let told =
            Explanation::new(code::NO_MANAGER_DATA, "there is no manager's data, or it never listened");
        return Err(told
            .halves("the data directory of a manager of this machine", data_dir.display())
            .hint("certus manager leave --data-dir DIR"));
    }
    let asked = admin::post(&admin_socket(&data_dir), "/leave", String::new()).await;
    let (status, answer) = asked.map_err(|error| {
        error.explain().hint("the manager must run, and this command as its user: certus manager start")
    })?;
    let answer = answer.trim().to_owned();
    if !status.is_success() {
        let told = Explanation::new(code::UNAVAILABLE, "the manager did not leave");
        return Err(told.fact("because", answer).hint("certus manager list"));
    }
    let report = Report { data_dir: data_dir.display().to_string(), answer };
    context.terminal.report(&report, || match &report.answer[..] {
        "" => "left      it is a manager of its cluster no more".to_owned(),
        answer => format!("left      {answer}"),
    });
    Ok(Exit::Done)
}
