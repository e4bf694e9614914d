//! The `certus` binary: arguments and YAML to checked options, and one verb a file.
//!
//! Decides nothing about certificates; the rooms below do.

mod args;
mod config;
mod daemon;
mod dev;
mod doctor;
mod harden;
mod home;
mod hosts;
mod log;
mod managers;
mod probe;
mod terminal;
mod tour;
mod verbs;

use std::process::ExitCode;

use certus_pki::{Explanation, code};

use crate::args::NoCommand;
use crate::terminal::{Exit, Terminal};

fn main() -> ExitCode {
    harden::process();
    let argv: Vec<_> = std::env::args_os().collect();
    let json = args::wants_json(&argv);
    let cli = match args::parse(argv) {
        Ok(cli) => cli,
        Err(NoCommand::Asked(text)) => {
            Terminal::new(json).result(text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(NoCommand::Help(text)) => {
            Terminal::new(json).say(text.trim_end());
            return ExitCode::from(Exit::failure(code::USAGE));
        }
        Err(NoCommand::Wrong(told)) => return failed(Terminal::new(json), &told),
    };
    let terminal = Terminal::new(cli.global.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let told = Explanation::new(code::UNAVAILABLE, format!("cannot start threads: {error}"));
            return failed(terminal, &told);
        }
    };
    match runtime.block_on(verbs::run(cli, terminal)) {
        Ok(exit) => ExitCode::from(exit.number()),
        Err(told) => failed(terminal, &told),
    }
}

fn failed(terminal: Terminal, told: &Explanation) -> ExitCode {
    terminal.error(told);
    ExitCode::from(Exit::failure(told.code))
}
