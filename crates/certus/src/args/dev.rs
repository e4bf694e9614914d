//! `certus dev`.

use std::path::PathBuf;

use clap::Args;

/// `certus dev`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus dev
      one manager, two workers and a service on loopback, until ctrl-c
  certus dev --tour
      plays the story in steps; exits 0 only if each was really observed
  certus dev --dir lab
      in a directory that stays")]
pub(crate) struct Dev {
    /// Work here and keep it [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Play the whole story as steps and end
    #[arg(long)]
    pub(crate) tour: bool,
}
