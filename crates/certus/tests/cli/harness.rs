//! Starting the binary: commands that end, daemons that are waited for, and a service to carry.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes on a busy machine; what is waited for comes much earlier.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a command said and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The command did what it should.
    #[track_caller]
    pub(crate) fn ok(self) -> Said {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The command failed with this exit code and error code.
    #[track_caller]
    pub(crate) fn failed(self, exit: i32, code: &str) -> Said {
        let first = self.stderr.lines().find(|line| line.starts_with("error ")).unwrap_or_default();
        let right = self.code == exit && first.starts_with(&format!("error {code}:"));
        assert!(right, "exit {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A directory of its own, a user of their own, and everything that was said there.
pub(crate) struct World {
    dir: tempfile::TempDir,
    said: Mutex<String>,
    daemons: AtomicUsize,
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::Builder::new().prefix("certus-cli-").tempdir().unwrap();
        World { dir, said: Mutex::default(), daemons: AtomicUsize::new(0) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The binary with nothing of this machine's user: its own home, and no settings of theirs.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certus"));
        for name in ["CERTUS_MANAGER", "CERTUS_LOG", "CERTUS_TOKEN", "CERTUS_PASSPHRASE", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.env("HOME", self.path("user")).env("CERTUS_HOME", self.path("home"));
        command.env("USER", "ann").args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        self.run_with(self.command(words), "")
    }

    /// Runs a prepared command to its end, with `input` on its standard input.
    pub(crate) fn run_with(&self, mut command: Command, input: &str) -> Said {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input may be gone before it is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        self.said.lock().unwrap().push_str(&said.stderr);
        said
    }

    /// Starts a daemon; what it says goes to a file.
    pub(crate) fn daemon(&self, words: &[&str]) -> Daemon {
        self.daemon_with(self.command(words))
    }

    pub(crate) fn daemon_with(&self, mut command: Command) -> Daemon {
        let number = self.daemons.fetch_add(1, Ordering::Relaxed);
        let (out, log) =
            (self.path(&format!("daemon-{number}.out")), self.path(&format!("daemon-{number}.log")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap());
        Daemon { child: command.spawn().unwrap(), out, log }
    }

    /// What every command and daemon has said on standard error so far.
    pub(crate) fn everything_said(&self) -> String {
        let mut said = self.said.lock().unwrap().clone();
        for number in 0..self.daemons.load(Ordering::Relaxed) {
            for kind in ["out", "log"] {
                said.push_str(&fs::read_to_string(self.path(&format!("daemon-{number}.{kind}"))).unwrap());
            }
        }
        said
    }

    /// Founds a cluster `prod` in `m1` and runs its manager.
    pub(crate) fn manager(&self) -> Daemon {
        let listen = format!("127.0.0.1:{}", port());
        self.run(&[
            "cluster",
            "init",
            "--name",
            "prod",
            "--data-dir",
            "m1",
            "--listen",
            &listen,
            "--no-start",
        ])
        .ok();
        let manager = self.daemon(&["manager", "start", "--data-dir", "m1"]);
        manager.ready(&self.path("m1"));
        manager
    }

    /// Where the manager that was founded here listens.
    pub(crate) fn manager_address(&self) -> String {
        let known = fs::read_to_string(self.path("home").join("clusters.json")).unwrap();
        let known: Value = serde_json::from_str(&known).unwrap();
        known["clusters"][0]["managers"][0].as_str().unwrap().to_owned()
    }

    /// A token in a file.
    pub(crate) fn token(&self, name: &str, options: &[&str]) -> String {
        let said = self.run(&[&["token", "create", "--role", "worker"], options].concat()).ok();
        assert_eq!((said.stdout.len(), said.stdout.trim_end().len()), (65, 64), "{}", said.stdout);
        self.write(name, &said.stdout);
        said.stdout.trim_end().to_owned()
    }
}

/// A running daemon. Killed if the test ends before it.
pub(crate) struct Daemon {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Waits until the daemon says that it is ready.
    #[track_caller]
    pub(crate) fn ready(&self, data_dir: &Path) {
        let socket = data_dir.join("admin.sock");
        until("the daemon is ready", || is_ready(&socket), || self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    /// Its process.
    #[allow(dead_code, reason = "for the tests of hardening, which share this file")]
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// The file that the daemon's words are in, also after it ended.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Tells the daemon to end, and waits until it has.
    #[track_caller]
    pub(crate) fn end(self) -> i32 {
        self.end_by(rustix::process::Signal::TERM)
    }

    #[track_caller]
    pub(crate) fn end_by(self, signal: rustix::process::Signal) -> i32 {
        self.signal(signal);
        self.ended()
    }

    /// Sends the daemon a signal that it may survive.
    #[track_caller]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the daemon has ended by itself.
    #[track_caller]
    pub(crate) fn ended(mut self) -> i32 {
        let status = std::cell::Cell::new(None::<ExitStatus>);
        let child = std::cell::RefCell::new(&mut self.child);
        let look = || {
            status.set(child.borrow_mut().try_wait().unwrap());
            status.get().is_some()
        };
        let log = fs::read_to_string(&self.log);
        until("the daemon ends", look, || log.unwrap_or_default());
        status.get().and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let asked = stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// Looks until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool, otherwise: impl FnOnce() -> String) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < DEADLINE, "never came: {what}\n{}", otherwise());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port of loopback for this process alone: below those that the system hands out by itself, so that
/// no other socket takes it between now and its use.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + u16::try_from(std::process::id() % 100).unwrap() * 100;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed) % 2000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A plain HTTP service that says `hello`, for as long as the tests run.
pub(crate) fn service() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    let mut asked = Vec::new();
    let mut byte = [0];
    while matches!(stream.read(&mut byte), Ok(1)) {
        asked.push(byte[0]);
        if asked.ends_with(b"\r\n\r\n") {
            asked.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").is_err() {
                return;
            }
        }
    }
}

/// A connection on which the service can be asked again and again.
pub(crate) fn open(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Whether the service answers on a connection of its own; a node that was revoked may have ended.
pub(crate) fn is_reached(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut stream| answers(&mut stream))
}

/// Whether the service answers on this connection.
pub(crate) fn answers(stream: &mut TcpStream) -> bool {
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let mut answer = vec![0; expected.len()];
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == expected.as_bytes()
}
