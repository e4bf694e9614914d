//! `certus config show`: the effective configuration, every default filled in, secrets not shown.

use certus_pki::Explanation;

use super::Context;
use super::config_check::read;
use crate::args::Document;
use crate::config::{Doc, show};
use crate::terminal::Exit;

pub(super) fn run(context: &Context, document: &Document) -> Result<Exit, Explanation> {
    let config = read(document)?;
    let shown = show(&config, &context.home.data_dir(config.node.as_str()));
    if context.terminal.json() {
        context.terminal.data(&Doc::Map(vec![
            ("file", Doc::text(document.file.display())),
            ("role", Doc::text(config.node.as_str())),
            ("configuration", shown),
        ]));
        return Ok(Exit::Done);
    }
    let heading = format!("# {}, read for the role {}", document.file.display(), config.node.as_str());
    context.terminal.result(&format!("{heading}\n{}", shown.to_yaml().trim_end()));
    Ok(Exit::Done)
}
