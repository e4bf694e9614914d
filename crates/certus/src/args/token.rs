//! `certus token …`.

use certus_pki::{Lifetime, NodeId, San, TokenId, defaults};
use clap::{Args, Subcommand, ValueEnum};

/// What can be done with tokens.
#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token; it alone is printed to standard output
    Create(Create),
    /// The tokens there are
    #[command(after_help = "Examples:
  certus token list
  certus token list --json")]
    List,
    /// Take a token back; nodes it has admitted stay
    #[command(after_help = "Examples:
  certus token revoke 3f09c1a2b4d5")]
    Revoke {
        /// The token's id, as `certus token list` shows it
        #[arg(value_name = "ID")]
        id: TokenId,
    },
}

/// The roles a token may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    Worker,
    Manager,
    Client,
}

/// `certus token create`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus token create --role worker > web-1.token
  certus token create --role worker --id web-1 --san web-1.internal --san 10.0.0.21
      admits web-1 only, with these names in its certificate
  certus token create --role worker --uses 50 --ttl 2h
      for a roll-out
  certus token create --role worker --id web-1 --replace
      lets a re-installed web-1 in again, with a new key
  certus token create --role manager --id m2 > m2.token
      for certus manager join")]
pub(crate) struct Create {
    /// What it admits
    #[arg(long)]
    pub(crate) role: TokenRole,
    /// The one id it admits [default: any that is free]
    #[arg(long, visible_alias = "name", value_name = "ID")]
    pub(crate) id: Option<NodeId>,
    /// A DNS name or address for the certificate; may be repeated
    #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
    pub(crate) san: Vec<San>,
    /// How long it admits
    #[arg(long, value_name = "TIME", default_value_t = defaults::TOKEN_TTL)]
    pub(crate) ttl: Lifetime,
    /// How many nodes it admits
    #[arg(long, value_name = "N", default_value_t = defaults::TOKEN_USES)]
    pub(crate) uses: u32,
    /// The id exists already: its key is lost, a new one may take its place
    #[arg(long, requires = "id")]
    pub(crate) replace: bool,
}
