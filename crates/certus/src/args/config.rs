//! `certus config …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with a configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigVerb {
    /// Read a configuration and say what it does, or what is wrong with it
    Check(Check),
}

/// `certus config check`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus config check certus.yaml")]
pub(crate) struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
