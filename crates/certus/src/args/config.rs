//! `certus config …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::For;

/// What can be done with a configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigVerb {
    /// Read a configuration and say what it does, or what is wrong with it
    #[command(after_help = "Reads what `certus node start` would read, and starts nothing.

Examples:
  certus config check certus.yaml
  certus config check certus.yaml --role worker --json")]
    Check(Document),
    /// The effective configuration: every default filled in, secrets not shown
    #[command(after_help = "Examples:
  certus config show certus.yaml
  certus config show certus.yaml --json")]
    Show(Document),
    /// The JSON Schema of the configuration, for editors
    #[command(after_help = "Examples:
  certus config schema > certus.schema.json
      then, as the first line of certus.yaml: # yaml-language-server: $schema=certus.schema.json")]
    Schema,
}

/// A configuration, and for whom it is read.
#[derive(Args)]
pub(crate) struct Document {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// For which kind of node [default: a worker's where it names managers, a token or SPIFFE ids]
    #[arg(long)]
    role: Option<ConfigRole>,
}

/// The kinds of nodes that have a configuration.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConfigRole {
    Worker,
    Agent,
}

impl Document {
    /// For which kind of node, where that was said.
    pub(crate) fn node(&self) -> Option<For> {
        self.role.map(|role| match role {
            ConfigRole::Worker => For::Worker,
            ConfigRole::Agent => For::Agent,
        })
    }
}
