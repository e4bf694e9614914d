//! Child processes: the bench itself, started again in another role, or somebody else's server; and what
//! they cost.
//!
//! A child of ours says on its standard output where it listens, takes orders on its standard input, and
//! ends when that does. Others are waited for at their port.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::Failure;

/// What a child is: set for children alone.
const ROLE: &str = "CERTUS_BENCH_ROLE";

/// What children are started under, such as `valgrind --tool=massif`.
const UNDER: &str = "CERTUS_BENCH_UNDER";

/// What a child may take to end by itself, so that a profiler can write what it found.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// Linux tells user programs times in hundredths of a second (`USER_HZ`), whatever the kernel's tick.
const TICKS: f64 = 100.0;

/// What somebody else's server may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The role and its arguments, if this process is a child.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    Some(role.split('\t').map(str::to_owned).collect())
}

/// Says where a child listens, and waits until nobody wants it any more.
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failure> {
    obey(address, |_| Ok(String::new())).await
}

/// The same for a child that carries out orders, one a line, and answers each with one.
pub(crate) async fn obey(
    address: SocketAddr,
    mut order: impl FnMut(&str) -> Result<String, Failure> + Send + 'static,
) -> Result<(), Failure> {
    println!("{address}");
    let orders = move || {
        for line in std::io::stdin().lines() {
            let answer = order(&line?)?;
            println!("{answer}");
        }
        Ok::<(), Failure>(())
    };
    tokio::task::spawn_blocking(orders).await?
}

/// A child at work; ended when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    orders: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Child {
    /// This program in another role.
    pub(crate) fn start(role: &[&str]) -> Result<Child, Failure> {
        let program = std::env::current_exe()?;
        let under = std::env::var(UNDER).unwrap_or_default();
        let mut words = under.split_whitespace();
        let command = words.next().map(|profiler| {
            let mut command = Command::new(profiler);
            command.args(words).arg(&program);
            command
        });
        Child::launch(command.unwrap_or_else(|| Command::new(&program)), role)
    }

    /// The same on the first core alone, where `taskset` is installed.
    pub(crate) fn pinned(role: &[&str]) -> Result<Child, Failure> {
        Child::launch(on_first_core(std::env::current_exe()?), role)
    }

    fn launch(mut command: Command, role: &[&str]) -> Result<Child, Failure> {
        let mut process =
            command.env(ROLE, role.join("\t")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let mut answers = BufReader::new(process.stdout.take().ok_or("a child without output")?);
        answers.read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("{role:?} said `{}`", line.trim()))?;
        let orders = process.stdin.take();
        Ok(Child { process, orders, answers: Some(answers), address })
    }

    /// Somebody else's server, which shall listen at `address`.
    pub(crate) fn program(mut command: Command, address: SocketAddr) -> Result<Child, Failure> {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut child = Child { process, orders: None, answers: None, address };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(ended) = child.process.try_wait()? {
                return Err(format!("{command:?} ended: {ended}").into());
            }
            if begin.elapsed() > READY_WITHIN {
                return Err(format!("{command:?} does not listen at {address}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }

    /// A program that listens nowhere, or is waited for elsewhere.
    pub(crate) fn running(process: std::process::Child, address: SocketAddr) -> Child {
        Child { process, orders: None, answers: None, address }
    }

    /// Gives an order and waits for the answer.
    pub(crate) fn order(&mut self, order: &str) -> Result<String, Failure> {
        let orders = self.orders.as_mut().ok_or("a child that takes no orders")?;
        writeln!(orders, "{order}")?;
        let answers = self.answers.as_mut().ok_or("a child that answers nothing")?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // proc(5): fields 14 and 15, counted from behind the name, which may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut ticks = 0.0;
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<f64>()?;
        }
        Ok(ticks / TICKS)
    }

    /// The most that was ever resident of it, in KiB.
    pub(crate) fn peak(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Its proportional share of memory, in KiB.
    pub(crate) fn pss(&self) -> Result<f64, Failure> {
        self.rolled_up("Pss:")
    }

    /// What it has of that beside mapped files, in KiB: its heap and stacks.
    pub(crate) fn anonymous(&self) -> Result<f64, Failure> {
        self.rolled_up("Pss_Anon:")
    }

    fn rolled_up(&self, what: &str) -> Result<f64, Failure> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix(what)).ok_or("no such line")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let asked = self.orders.take().map(drop).is_some();
        let begin = Instant::now();
        while asked && begin.elapsed() < ENDS_WITHIN && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `program` on the first core, so that who dials has the others.
pub(crate) fn on_first_core(program: impl AsRef<OsStr>) -> Command {
    if !is_installed("taskset") {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

/// Whether a program is to be found.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A loopback port that nobody listens at now.
pub(crate) fn free_port() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// As many open files as the system allows this process: how many that is.
pub(crate) fn many_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
