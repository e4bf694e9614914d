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

/// A panic is an event like others; with RUST_BACKTRACE it is told at length as well.
fn hear_panics() {
    let at_length = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let what = payload.downcast_ref::<&str>().copied();
        let what =
            what.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words");
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, what, "came upon what cannot be: a bug, or data that a failing disk made up");
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
            at_length(panic);
        }
    }));
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
    if who == Who::Daemon {
        hear_panics();
    }
    // A second start, as in tests of one process, keeps the first.
    let _ = match form {
        LogForm::Text => lines.with_target(false).with_ansi(false).try_init(),
        LogForm::Json => lines.json().flatten_event(true).with_target(true).try_init(),
    };
}
