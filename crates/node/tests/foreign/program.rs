//! Programs that are started, listened to, and never left behind.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes on the slowest machine; a program that takes so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What a program may take to end when it is asked to; then it is killed.
const GOODBYE: Duration = Duration::from_secs(2);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Whether a program is there; a failure where it must be.
pub(crate) fn is_there(program: &str) -> bool {
    // Not by starting it: what a program does with words that it does not know is its own affair.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    told(there, program)
}

/// Whether Python has a module; a failure where it must.
pub(crate) fn has_module(module: &str) -> bool {
    let there = is_there("python3") && {
        let mut python = Command::new("python3");
        python.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
        python.status().unwrap().success()
    };
    told(there, &format!("Python's {module}"))
}

#[allow(clippy::print_stderr)] // A skip is for people to see.
fn told(there: bool, what: &str) -> bool {
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "{what} is not installed, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: {what} is not installed");
    }
    there
}

/// A program at work. Killed when dropped.
pub(crate) struct Program {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts it. What it writes, to either stream, is kept in the order it came.
    pub(crate) fn start(command: &mut Command) -> Program {
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let readers = streams.into_iter().map(|stream| listen(stream, said.clone())).collect();
        Program { line, stdin: child.stdin.take(), child, said, readers }
    }

    /// Writes to its standard input, which stays open.
    pub(crate) fn tell(&mut self, text: &str) {
        // It may have ended already; what it said then tells more than this.
        let _ = self.stdin.as_mut().unwrap().write_all(text.as_bytes());
    }

    /// What it said until now.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until it has said `text`.
    #[track_caller]
    pub(crate) fn until_says(&mut self, text: &str) {
        let done = patiently(|| self.said().contains(text) || self.child.try_wait().unwrap().is_some());
        if self.said().contains(text) {
            return;
        }
        self.end_readers(done);
        assert!(self.said().contains(text), "did not say {text:?}: {}\n{}", self.line, self.said());
    }

    /// Waits until it has ended by itself: whether it was content, and all that it said.
    #[track_caller]
    pub(crate) fn ended(self) -> (bool, String) {
        self.ended_within(PATIENCE)
    }

    #[track_caller]
    fn ended_within(mut self, limit: Duration) -> (bool, String) {
        let ended = within(limit, || self.child.try_wait().unwrap().is_some());
        assert!(ended, "still running: {}\n{}", self.line, self.said());
        self.end_readers(true);
        (self.child.wait().unwrap().success(), self.said())
    }

    /// Ends its input, and waits as [`Program::ended`].
    #[track_caller]
    pub(crate) fn finish(self) -> (bool, String) {
        self.finish_within(PATIENCE)
    }

    /// The same for one that needs another limit.
    #[track_caller]
    pub(crate) fn finish_within(mut self, limit: Duration) -> (bool, String) {
        self.stdin = None;
        self.ended_within(limit)
    }

    /// The last of what an ended program said is still on its way.
    fn end_readers(&mut self, ended: bool) {
        if ended {
            // A grandchild may hold the other end open, so this is bounded too.
            patiently(|| self.readers.iter().all(JoinHandle::is_finished));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Asked first: what it started in its turn is known to it alone.
        let pid = rustix::process::Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            within(GOODBYE, || !matches!(self.child.try_wait(), Ok(None)));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut stream: Box<dyn Read + Send>, said: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            said.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    })
}

/// Runs a program to its end, with nothing to read: whether it was content, and all that it said.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> (bool, String) {
    Program::start(command).finish()
}

/// Looks until `condition` holds, or [`PATIENCE`] has passed; whether it held.
fn patiently(condition: impl FnMut() -> bool) -> bool {
    within(PATIENCE, condition)
}

fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Waits until `look` finds something; of what it found instead the last is told.
#[track_caller]
pub(crate) fn until<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let mut last = None;
    patiently(|| {
        last = Some(look());
        last.as_ref().is_some_and(Result::is_ok)
    });
    last.unwrap().unwrap_or_else(|error| panic!("still waiting until {what}: {error:?}"))
}

/// A port that was free a moment ago, for programs that cannot be asked which one they took.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until somebody listens there.
#[track_caller]
pub(crate) fn until_listens(server: &mut Program, at: SocketAddr) {
    until("somebody listens", || match server.child.try_wait().unwrap() {
        Some(_) => panic!("ended: {}\n{}", server.line, server.said()),
        None => TcpStream::connect(at).map(drop),
    });
}
