//! The command line: what each verb takes, and what its help says.
//!
//! Parsing only; what a verb does stands in `verbs`.

mod alias;
mod backup;
mod ca;
mod cert;
mod cert_files;
mod cluster;
mod completions;
mod config;
mod csr;
mod dev;
mod doctor;
mod files;
mod init;
mod key;
mod keys;
mod manager;
mod node;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;

use certus_pki::{Explanation, JoinToken, code};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub(crate) use backup::{Backup, Recover, Restore};
pub(crate) use ca::{AddIssuer, CaCrl, CaInit, CaRotate, CaVerb};
pub(crate) use cert::{CertVerb, Info, List, Order, Revoke, Rotate};
pub(crate) use cert_files::{CertCheck, Export, For, Issue, Side, Sign, Verify};
pub(crate) use cluster::{Bundle, BundleForm, ClusterVerb, Init, Operator};
pub(crate) use completions::{Completions, Man, Shell, commands, commands_and_aliases};
pub(crate) use config::{ConfigVerb, Document};
pub(crate) use csr::{CsrInfo, CsrNew, CsrVerb};
pub(crate) use dev::Dev;
pub(crate) use doctor::Doctor;
pub(crate) use files::Signs;
pub(crate) use init::Configure;
pub(crate) use key::{ChangePassphrase, KeyInspect, KeyNew, KeyVerb};
pub(crate) use keys::{AutolockVerb, BringOnline, Lock, RootVerb, TakeOffline, Unlock, Which};
pub(crate) use manager::{Join, ManagerVerb, Remove};
pub(crate) use node::{ListNodes, NodeRole, NodeVerb, RemoveNode, Seen, Shadow, Start};
pub(crate) use token::{Create, TokenRole, TokenVerb};

/// The whole command line.
#[derive(Parser)]
#[command(name = "certus", version, about = ABOUT, long_about = None, after_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

const ABOUT: &str = "\
Identities for every process, and mutually authenticated connections between them.

Does something keep running that signs?
  yes           certus cluster init --name prod   a cluster that is its own CA
  only trying   certus dev                        a live cluster on this machine, nothing kept
  no            certus tls init --hosts host-a      a CA and certificates, as files
  no, and no CA certus init                       agents that know each other by their keys";

const AFTER_HELP: &str = "\
Same as:
  certus worker start     certus node start --role worker
  certus manager start    certus node start --role manager
  certus agent start      certus node start --role agent
  certus node promote     certus manager promote
  certus tls init         certus ca init --preset fleet
  certus cert ca          certus ca init --preset mesh
  certus cert agent       certus cert issue --role agent
  certus ca create-intermediate, create-server-cert, create-client-cert, sign, revoke, check-expiry
                          certus ca add-issuer, cert issue --role …, cert sign, cert revoke, cert check

Exit codes: 0 done, 1 failed, 2 the command was wrong, 3 a check found problems.
Results go to standard output, everything else to standard error.";

/// What every command takes.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// Print results, and errors, as JSON
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// Managers to ask, HOST:PORT [env: CERTUS_MANAGER; else those that `init` saved]
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "CERTUS_MANAGER",
        hide_env = true,
        value_delimiter = ',',
        help_heading = "Everywhere"
    )]
    pub(crate) manager: Vec<String>,
    /// Where this user's identity is kept [env: CERTUS_HOME; else ~/.certus]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CERTUS_HOME",
        hide_env = true,
        help_heading = "Everywhere"
    )]
    pub(crate) home: Option<PathBuf>,
    /// How log lines are written; how many: CERTUS_LOG=debug
    #[arg(long, global = true, value_name = "FORM", default_value = "text", help_heading = "Everywhere")]
    pub(crate) log: LogForm,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    Text,
    Json,
}

/// The nouns.
#[derive(Subcommand)]
pub(crate) enum Noun {
    /// A CA in files: make it, look at it
    #[command(subcommand, arg_required_else_help = true)]
    Ca(CaVerb),
    /// A cluster that is its own CA: found it, look at it
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterVerb),
    /// A running identity: start it, list them
    #[command(subcommand, arg_required_else_help = true)]
    Node(NodeVerb),
    /// The managers of a cluster: join, list, promote, remove, leave; and `manager start`
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "certus manager start is the same as certus node start --role manager."
    )]
    Manager(ManagerVerb),
    /// What admits a node
    #[command(subcommand, arg_required_else_help = true)]
    Token(TokenVerb),
    /// Certificates: issue, list, explain, check, rotate, revoke
    #[command(subcommand, arg_required_else_help = true)]
    Cert(CertVerb),
    /// Private keys: make, inspect, encrypt
    #[command(subcommand, arg_required_else_help = true)]
    Key(KeyVerb),
    /// Certificate requests: make, look at
    #[command(subcommand, arg_required_else_help = true)]
    Csr(CsrVerb),
    /// The configuration of a node
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigVerb),
    /// Asks what is needed, and writes a configuration or names the command
    Init(Box<Configure>),
    /// Looks at this machine and its cluster, and says what is wrong and what to do
    Doctor(Doctor),
    /// A live cluster on this machine, until ctrl-c
    Dev(Dev),
    /// What a shell needs to complete these commands
    Completions(Completions),
    /// The manual pages
    Man(Man),
}

/// Why parsing ended without a command.
pub(crate) enum NoCommand {
    /// The user asked for help or the version: text for standard output.
    Asked(String),
    /// Too little was said: help for standard error.
    Help(String),
    /// The command is wrong.
    Wrong(Explanation),
}

/// Reads the command line, aliases expanded.
pub(crate) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, NoCommand> {
    let argv = alias::expanded(argv.into_iter().collect());
    let command = command_of(&argv);
    Cli::try_parse_from(&argv).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoCommand::Asked(error.render().to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            NoCommand::Help(help_of(&command))
        }
        _ => NoCommand::Wrong(wrong(&error, &command)),
    })
}

/// Whether JSON was asked for, also where the rest could not be parsed.
pub(crate) fn wants_json(argv: &[OsString]) -> bool {
    argv.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// The command that the words begin to spell, `certus cert list`.
fn command_of(argv: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut spelt = vec!["certus".to_owned()];
    for word in argv.iter().skip(1).filter_map(|word| word.to_str()).filter(|word| !word.starts_with('-')) {
        let Some(below) = command.find_subcommand(word) else { continue };
        spelt.push(below.get_name().to_owned());
        command = below.clone();
    }
    spelt.join(" ")
}

/// The text with every token in it blanked out: clap repeats what it does not understand.
fn without_tokens(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let blanked = words.map(|word| {
        let digits = word.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits >= JoinToken::HALF * 2 { format!("…{}", &word[digits..]) } else { word.to_owned() }
    });
    blanked.collect()
}

/// The help of a command that was not finished.
fn help_of(command: &str) -> String {
    let words = command.split(' ').chain(["--help"]);
    Cli::try_parse_from(words).err().map_or_else(String::new, |help| help.render().to_string())
}

/// clap's error in our words.
fn wrong(error: &clap::Error, command: &str) -> Explanation {
    let rendered = error.render().to_string();
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    let message: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end_matches('.').to_owned();
    let mut told = Explanation::new(code::USAGE, without_tokens(&message));
    let usage = rendered.lines().find_map(|line| line.strip_prefix("Usage: "));
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue] {
        match error.get(kind) {
            Some(ContextValue::String(word)) => told = told.fact("meant", word),
            Some(ContextValue::Strings(words)) => told = told.fact("meant", words.join(" or ")),
            _ => {}
        }
    }
    if let Some(usage) = usage {
        told = told.fact("usage", usage);
    }
    told.hint(format!("{command} --help"))
}

#[cfg(test)]
mod tests;
