//! Child processes: the bench itself, started again in another role, and what they cost.
//!
//! A child says on its standard output where it listens, and ends when its standard input does.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::Failure;

/// What a child is: set for children alone.
const ROLE: &str = "CERTUS_BENCH_ROLE";

/// Linux tells user programs times in hundredths of a second (`USER_HZ`), whatever the kernel's tick.
const TICKS: f64 = 100.0;

/// The role and its arguments, if this process is a child.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    Some(role.split('\t').map(str::to_owned).collect())
}

/// Says where a child listens, and waits until nobody wants it any more.
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failure> {
    println!("{address}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// A child at work; ended when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) address: SocketAddr,
}

impl Child {
    pub(crate) fn start(role: &[&str]) -> Result<Child, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ROLE, role.join("\t"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = process.stdout.take().ok_or("a child without output")?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("{role:?} said `{}`", line.trim()))?;
        Ok(Child { process, address })
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // proc(5): fields 14 and 15, counted from behind the name, which may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut ticks = 0.0;
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<f64>()?;
        }
        Ok(ticks / TICKS)
    }

    /// Its proportional share of memory, in KiB.
    pub(crate) fn pss(&self) -> Result<f64, Failure> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
