//! A manager in a process of its own, to be killed.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certus_node::system_clock;
use certus_server::{FoundOptions, Founded, OperatorIdentity, found};
use certus_testkit::cluster::Operator;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A founded manager that runs as a process, or does not.
pub(crate) struct Killable {
    dir: TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl Killable {
    pub(crate) async fn found() -> (Killable, Operator) {
        // Beside the build: a temporary directory may be in memory, where nothing needs an fsync.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let id = |id: &str| id.parse().unwrap();
        let data_dir = dir.path().join("m1");
        let options = FoundOptions::new("prod".parse().unwrap(), data_dir, address, id("m1"), id("op"));
        let Founded { operator, .. } = found(&options, system_clock()).await.ok().unwrap();
        let OperatorIdentity { key, chain, bundle, .. } = operator;
        let operator = Operator::new(&key, chain, bundle, address);
        (Killable { dir, address, process: None }, operator)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let log = self.dir.path().join("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_certus"))
            .args(["manager", "start", "--data-dir"])
            .arg(self.dir.path().join("m1"))
            .env("CERTUS_HOME", self.dir.path().join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(process.try_wait().unwrap().is_none(), "the manager ended: {}", log());
            assert!(begin.elapsed() < Duration::from_secs(60), "the manager does not answer: {}", log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.process = Some(process);
    }

    /// SIGKILL: no chance to finish anything.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
