//! `certus man`: the manual pages, made from the commands themselves.

use std::path::Path;

use certus_pki::{Explanation, code};
use clap::Command;
use clap_mangen::Man as Page;
use serde::Serialize;

use super::{Context, offline};
use crate::args::{Man, commands};
use crate::terminal::{Exit, count};

#[derive(Serialize)]
struct Report {
    directory: String,
    pages: Vec<String>,
}

pub(super) fn run(context: &Context, asked: &Man) -> Result<Exit, Explanation> {
    let tree = commands().disable_help_subcommand(true);
    // The name of a page is one line; what else the first help says stands with its notes.
    let about = tree.get_about().map(ToString::to_string).unwrap_or_default();
    let (name, question) = about.split_once("\n\n").unwrap_or((&about, ""));
    let notes = tree.get_after_help().map(ToString::to_string).unwrap_or_default();
    let notes = format!("{question}\n\n{notes}");
    let mut tree = tree.about(name.trim_end_matches('.').to_owned()).after_help(notes.trim().to_owned());
    tree.build();
    let Some(dir) = &asked.output_dir else {
        context.terminal.bytes(&page(&tree)?)?;
        return Ok(Exit::Done);
    };
    let made = std::fs::create_dir_all(dir);
    made.map_err(|error| {
        Explanation::new(code::FILE, format!("cannot make {}", dir.display())).fact("the system says", error)
    })?;
    let mut pages = Vec::new();
    write(context, &tree, dir, &mut pages)?;
    let report = Report { directory: dir.display().to_string(), pages };
    context.terminal.report(&report, || {
        format!("written   {}   {}", report.directory, count(report.pages.len() as u64, "page"))
    });
    Ok(Exit::Done)
}

/// A page for the command, and for each below it.
fn write(
    context: &Context,
    command: &Command,
    dir: &Path,
    pages: &mut Vec<String>,
) -> Result<(), Explanation> {
    let name = format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name()));
    offline::write(context, &dir.join(&name), &page(command)?, offline::PUBLIC, true)?;
    pages.push(name);
    command.get_subcommands().try_for_each(|below| write(context, below, dir, pages))
}

/// The page of one command. What stands behind its help is laid out by hand there, and stays as it is.
fn page(command: &Command) -> Result<Vec<u8>, Explanation> {
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = notes.split_once("Examples:\n").unwrap_or((&notes, ""));
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let page = Page::new(command.clone());
    let mut out = title(name).into_bytes();
    let mut made = page.render_name_section(&mut out).and_then(|()| page.render_synopsis_section(&mut out));
    out.extend_from_slice(as_it_is("DESCRIPTION", notes).as_bytes());
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        made = made.and_then(|()| page.render_options_section(&mut out));
    }
    if command.has_subcommands() {
        made = made.and_then(|()| page.render_subcommands_section(&mut out));
    }
    made.map_err(|error| Explanation::new(code::FILE, "a page cannot be made").fact("because", error))?;
    out.extend_from_slice(as_it_is("EXAMPLES", examples).as_bytes());
    Ok(out)
}

/// No date: equal sources make equal pages.
fn title(name: &str) -> String {
    format!(".TH {name} 1 \"\" \"certus {}\" Certus\n", env!("CARGO_PKG_VERSION"))
}

/// A section whose lines are not filled; see groff_man(7) and groff(7) for what has a meaning of its own.
fn as_it_is(heading: &str, text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let mut section = format!(".SH {heading}\n.nf\n");
    for line in text.trim_end().lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) {
            section.push_str("\\&");
        }
        section.push_str(&line);
        section.push('\n');
    }
    section.push_str(".fi\n");
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_an_order_to_the_formatter() {
        let section = as_it_is("NOTES", ".so /etc/passwd\na \\ b\n--all");
        assert_eq!(section, ".SH NOTES\n.nf\n\\&.so /etc/passwd\na \\e b\n\\-\\-all\n.fi\n");
    }
}
