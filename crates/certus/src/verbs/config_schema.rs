//! `certus config schema`: the JSON Schema of the configuration.

use super::Context;
use crate::terminal::Exit;

pub(super) fn run(context: &Context) -> Exit {
    context.terminal.data(&crate::config::schema());
    Exit::Done
}
