//! Log lines to standard error: one line an event, as text or JSON.

use tracing_subscriber::EnvFilter;

use crate::args::LogForm;

/// What a daemon logs unless `CERTUS_LOG` says otherwise: the story of its own rooms, others' warnings.
/// openraft repeats itself while a manager is away; that it is away is said once, by `server`.
const DAEMON: &str = "warn,certus=info,certus_node=info,certus_server=info,certus_tls=info,openraft=off";

/// What a command logs unless `CERTUS_LOG` says otherwise.
const COMMAND: &str = "error,certus=warn,certus_node=warn,certus_server=warn,certus_tls=warn";

/// Who logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Runs until it is told to end: events are its voice.
    Daemon,
    /// Ends with its result: speaks up only for warnings.
    Command,
    /// Provokes what others warn of.
    Tour,
}

/// Starts logging for the process. Text that is not a filter is left out, as tracing does.
pub(crate) fn start(who: Who, form: LogForm) {
    let default = match who {
        Who::Daemon => DAEMON,
        Who::Command => COMMAND,
        Who::Tour => "off",
    };
    let filter = match std::env::var("CERTUS_LOG") {
        Ok(wanted) if !wanted.trim().is_empty() => EnvFilter::new(wanted),
        _ => EnvFilter::new(default),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests of one process, keeps the first.
    let _ = match form {
        LogForm::Text => lines.with_target(false).with_ansi(false).try_init(),
        LogForm::Json => lines.json().flatten_event(true).with_target(true).try_init(),
    };
}
