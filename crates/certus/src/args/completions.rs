//! `certus completions` and `certus man`, and the whole tree of commands that both show.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, ValueEnum};

use super::alias::ALIASES;

/// `certus completions`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus completions bash > /usr/share/bash-completion/completions/certus
  certus completions zsh > ~/.zfunc/_certus
      with fpath+=~/.zfunc before compinit in .zshrc
  certus completions fish > ~/.config/fish/completions/certus.fish
  certus completions powershell >> $PROFILE")]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// The shells that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// `certus man`.
#[derive(Args)]
#[command(after_help = "Examples:
  certus man | man -l -
  certus man --output-dir /usr/local/share/man/man1
      certus.1 and a page for each command, certus-cert-list.1")]
pub(crate) struct Man {
    /// Write a page for each command there, instead of the first to standard output
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
}

/// The tree of commands.
pub(crate) fn commands() -> Command {
    super::Cli::command()
}

/// The same with the other spellings of commands as commands of their own: shells complete those too.
pub(crate) fn commands_and_aliases() -> Command {
    let mut tree = commands();
    for (from, to) in ALIASES {
        let ([noun, verb], Some(target)) = (*from, reached(&tree, to)) else { continue };
        if verb.starts_with('-') {
            continue;
        }
        let spelt = target.clone().name(*verb);
        tree = if tree.find_subcommand(noun).is_some() {
            tree.mut_subcommand(*noun, |noun| noun.subcommand(spelt))
        } else {
            let about = target.get_about().cloned().unwrap_or_default();
            tree.subcommand(Command::new(*noun).about(about).subcommand(spelt))
        };
    }
    tree
}

/// The command that the words before the first option lead to.
fn reached<'a>(tree: &'a Command, words: &[&str]) -> Option<&'a Command> {
    let words = words.iter().take_while(|word| !word.starts_with('-'));
    words.copied().try_fold(tree, |command, word| command.find_subcommand(word))
}
