//! The manager of this machine, asked at its admin socket, which only its own user can open.

use std::path::{Path, PathBuf};

use certus_node::admin;
use certus_node::files::admin_socket;
use certus_pki::{Code, Explain, Explanation, code};
use serde::Deserialize;

use super::Context;
use crate::args::Which;

/// One manager of this machine.
pub(super) struct OwnManager {
    data_dir: PathBuf,
}

/// What a node or a manager of this machine says where it refuses.
#[derive(Deserialize)]
pub(super) struct Refusal {
    /// Why.
    pub(super) error: Told,
}

/// An explanation as the admin socket sends it.
#[derive(Deserialize)]
pub(super) struct Told {
    code: u16,
    message: String,
    facts: Vec<(String, String)>,
    hint: Option<String>,
}

impl From<Told> for Explanation {
    fn from(told: Told) -> Explanation {
        let Told { code, message, facts, hint } = told;
        Explanation { code: Code::from_number(code), message, facts, hint }
    }
}

impl OwnManager {
    /// The manager that was meant; its data must be there.
    pub(super) fn of(context: &Context, which: Which) -> Result<OwnManager, Explanation> {
        let data_dir = which.data_dir.unwrap_or_else(|| context.home.data_dir("manager"));
        if certus_server::is_founded(&data_dir) {
            return Ok(OwnManager { data_dir });
        }
        Err(Explanation::new(code::NO_MANAGER_DATA, "there is no manager's data")
            .halves("the data directory of a manager of this machine", data_dir.display())
            .hint("--data-dir DIR"))
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its answer to a question.
    pub(super) async fn get<T: for<'de> Deserialize<'de>>(&self, route: &str) -> Result<T, Explanation> {
        self.told(admin::get_from(&admin_socket(&self.data_dir), route).await)
    }

    /// Its answer to an order.
    pub(super) async fn post<T: for<'de> Deserialize<'de>>(
        &self,
        route: &str,
        body: String,
    ) -> Result<T, Explanation> {
        self.told(admin::post(&admin_socket(&self.data_dir), route, body).await)
    }

    /// Whether it is ready; why not, in its own words, where it is not. Nothing where nobody answers.
    pub(super) async fn readiness(&self) -> Option<Result<(), String>> {
        let (status, answer) = admin::get_from(&admin_socket(&self.data_dir), "/ready").await.ok()?;
        Some(if status.is_success() { Ok(()) } else { Err(answer.trim().to_owned()) })
    }

    fn told<T: for<'de> Deserialize<'de>>(
        &self,
        answered: Result<(impl Into<u16>, String), admin::AdminError>,
    ) -> Result<T, Explanation> {
        let hint = "the manager must run, and this command as its user: certus manager start";
        let (status, answer) = answered.map_err(|error| error.explain().hint(hint))?;
        let answer = zeroize::Zeroizing::new(answer);
        let not_understood = |error: serde_json::Error| {
            Explanation::new(code::BAD_MESSAGE, "the manager's answer is not understood")
                .fact("manager", self.data_dir.display())
                .fact("because", error)
        };
        if (200..300).contains(&status.into()) {
            return serde_json::from_str(&answer).map_err(not_understood);
        }
        let refusal: Refusal = serde_json::from_str(&answer).map_err(not_understood)?;
        Err(refusal.error.into())
    }
}
