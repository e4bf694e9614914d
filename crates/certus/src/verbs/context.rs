//! What every verb is given: the terminal, this user's home, and a way to the managers.

use std::sync::OnceLock;

use certus_pki::{Explanation, code};

use crate::args::{Global, Signs};
use crate::home::Home;
use crate::managers::Managers;
use crate::terminal::Terminal;

/// What every verb is given.
pub(crate) struct Context {
    /// The voice.
    pub(crate) terminal: Terminal,
    /// This user's directory.
    pub(crate) home: Home,
    /// What every command takes.
    pub(crate) global: Global,
    /// The managers that were called.
    called: OnceLock<Managers>,
}

impl Context {
    /// From the options that every command takes.
    pub(crate) fn new(global: Global, terminal: Terminal) -> Result<Context, Explanation> {
        let home = Home::at(global.home.as_deref())?;
        for manager in &global.manager {
            if !crate::config::is_address(manager) {
                return Err(Explanation::new(code::USAGE, format!("`{manager}` is not a manager's address"))
                    .fact("expected", "HOST:PORT, as 10.0.0.7:7443"));
            }
        }
        Ok(Context { terminal, home, global, called: OnceLock::new() })
    }

    /// Whether a CA in files is meant: one is named, and no manager is.
    pub(crate) fn is_offline(&self, signs: &Signs) -> bool {
        signs.ca.is_some() && self.global.manager.is_empty()
    }

    /// The managers, to be dialed with this user's identity.
    pub(crate) async fn managers(&self) -> Result<Managers, Explanation> {
        let managers = Managers::of(&self.home, &self.global.manager).await?;
        let _ = self.called.set(managers.clone());
        Ok(managers)
    }

    /// After a command that has said all it had to say: looks whether its cluster's managers are still
    /// where they were, so that a later command finds one when those of today are gone.
    pub(crate) async fn remember_managers(&self) {
        if let Some(managers) = self.called.get() {
            managers.remember(&self.home).await;
        }
    }
}
