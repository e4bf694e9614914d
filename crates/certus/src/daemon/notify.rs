//! What a daemon tells its service manager: that it is ready, stops, and is alive (sd_notify(3)).
//!
//! One datagram a message to the socket that `NOTIFY_SOCKET` names. Nobody waits for an answer, and
//! without such a socket nothing is said.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A start may take as long as it has to: a locked manager waits for its key. While it waits it says so
/// this often, each time asking for [`START_MORE`].
pub(super) const START_EVERY: Duration = Duration::from_secs(10);
/// Six messages may be lost before the start is given up.
const START_MORE: Duration = Duration::from_secs(60);
/// Two signs of life fit into the time within which one is expected.
const SIGNS_PER_TIMEOUT: u32 = 2;

/// The service manager, where there is one.
pub(crate) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Notify {
        let read = |name: &str| std::env::var_os(name);
        Notify::of(read("NOTIFY_SOCKET"), read("WATCHDOG_USEC"), read("WATCHDOG_PID"))
    }

    fn of(socket: Option<OsString>, usec: Option<OsString>, pid: Option<OsString>) -> Notify {
        let number = |text: &OsString| text.to_str()?.parse::<u64>().ok();
        let ours = pid.as_ref().is_none_or(|pid| number(pid) == Some(std::process::id().into()));
        let watchdog = usec.as_ref().and_then(number).filter(|usec| ours && *usec > 0);
        let watchdog = watchdog.map(|usec| Duration::from_micros(usec) / SIGNS_PER_TIMEOUT);
        let Some(name) = socket.filter(|name| !name.is_empty()) else {
            return Notify { to: None, watchdog: None };
        };
        let opened = address(&name).and_then(|to| Ok((UnixDatagram::unbound()?, to)));
        match opened {
            Ok((socket, to)) => {
                // A service manager that does not read must not hold us up.
                let _ = socket.set_nonblocking(true);
                Notify { to: Some((socket, to)), watchdog }
            }
            Err(error) => {
                tracing::warn!(%error, socket = %name.display(), "the service manager cannot be told anything");
                Notify { to: None, watchdog: None }
            }
        }
    }

    /// How often it wants a sign of life, if it does.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start takes a while.
    pub(super) fn starting(&self) {
        self.say(&format!("EXTEND_TIMEOUT_USEC={}", START_MORE.as_micros()));
    }

    /// The daemon does its work now.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// The daemon ends.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A sign of life.
    pub(super) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(words.as_bytes(), to) {
            tracing::debug!(%error, words, "the service manager was not told");
        }
    }
}

/// A path, or a name of the abstract namespace (unix(7)), which is written with an `@`.
fn address(name: &OsString) -> std::io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("certus-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, told) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into()),
        ] {
            let notify = Notify::of(Some(told), Some("4000000".into()), None);
            assert_eq!(notify.watchdog(), Some(Duration::from_secs(2)));
            notify.ready("serves\nhere");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=serves here");
            notify.alive();
            notify.stopping();
            assert_eq!([heard(&socket), heard(&socket)], ["WATCHDOG=1", "STOPPING=1"]);
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_asks() {
        let none = Notify::of(None, Some("1000000".into()), None);
        none.ready("to nobody");
        assert_eq!(none.watchdog(), None);
        let another = Notify::of(Some("@x".into()), Some("1000000".into()), Some("1".into()));
        assert_eq!(another.watchdog(), None, "the watchdog of another process");
        let gone = Notify::of(Some("/nowhere/at/all".into()), None, None);
        gone.alive();
    }
}
