//! `certus completions`: what a shell needs to complete commands.

use certus_pki::Explanation;
use clap_complete::{Shell as Kind, generate};

use super::Context;
use crate::args::{Completions, Shell, commands_and_aliases};
use crate::terminal::Exit;

pub(super) fn run(context: &Context, asked: &Completions) -> Result<Exit, Explanation> {
    let kind = match asked.shell {
        Shell::Bash => Kind::Bash,
        Shell::Zsh => Kind::Zsh,
        Shell::Fish => Kind::Fish,
        Shell::Powershell => Kind::PowerShell,
    };
    let mut script = Vec::new();
    generate(kind, &mut commands_and_aliases(), "certus", &mut script);
    context.terminal.bytes(&script)?;
    Ok(Exit::Done)
}
