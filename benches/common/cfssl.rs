//! `cfssl serve` as it comes, with a P-256 root, and clients that keep their connections.
//!
//! It records nothing and authenticates nobody: HTTP in the clear, one request after another.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certus_node::system_clock;
use certus_pki::{CaPlan, Csr, Issuer, Serial, Validity, defaults, pem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;
use super::authority::key;
use super::child::{Child, free_port, is_installed};

/// What it may put into certificates: as ours.
const CONFIG: &str = r#"{"signing":{"default":{"usages":["digital signature","server auth","client auth"],"expiry":"2160h"}}}"#;

pub(crate) fn is_here() -> bool {
    is_installed("cfssl")
}

pub(crate) fn start(dir: &Path) -> Result<Child, Failure> {
    let root_key = key()?;
    let plan = CaPlan::root(&"cfssl".parse()?, Validity::starting(system_clock()(), defaults::ROOT_LIFETIME));
    let root = Issuer::self_signed(&plan, Serial::from_random([0x55; 16]), &root_key)?;
    std::fs::write(dir.join("cfssl.pem"), pem::encode(pem::CERTIFICATE, &root.certificate().der))?;
    std::fs::write(dir.join("cfssl-key.pem"), root_key.to_pem()?.as_bytes())?;
    std::fs::write(dir.join("cfssl.json"), CONFIG)?;
    let address = free_port()?;
    let mut command = Command::new("cfssl");
    command.current_dir(dir).args(["serve", "-address", "127.0.0.1", "-port", &address.port().to_string()]);
    command.args(["-ca", "cfssl.pem", "-ca-key", "cfssl-key.pem", "-config", "cfssl.json"]);
    Child::program(command, address)
}

/// Whole HTTP requests, made ahead: each of a fresh key.
pub(crate) struct Requests {
    all: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Requests {
    pub(crate) fn make(count: usize) -> Result<Arc<Requests>, Failure> {
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let csr = Csr::make(&key()?, &format!("web-{number}"))?;
            let csr = pem::encode("CERTIFICATE REQUEST", &csr).replace('\n', "\\n");
            let body = format!(r#"{{"certificate_request":"{csr}","hosts":["web-{number}"]}}"#);
            let request = format!(
                "POST /api/v1/cfssl/sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            all.push(request.into_bytes());
        }
        Ok(Arc::new(Requests { all, next: AtomicUsize::new(0) }))
    }
}

/// Issues on `clients` connections for `slice`; how many, and how long it took.
pub(crate) async fn issue(
    to: SocketAddr,
    clients: usize,
    requests: &Arc<Requests>,
    slice: Duration,
) -> Result<(f64, Duration), Failure> {
    let begin = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let requests = requests.clone();
        running.spawn(async move {
            let mut tcp = TcpStream::connect(to).await?;
            tcp.set_nodelay(true)?;
            let mut made = 0_u32;
            while begin.elapsed() < slice {
                let Some(request) = requests.all.get(requests.next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                tcp.write_all(request).await?;
                let answer = answer(&mut tcp).await?;
                if !answer.contains("BEGIN CERTIFICATE-----") {
                    return Err(format!("cfssl says: {answer}").into());
                }
                made += 1;
            }
            Ok::<u32, Failure>(made)
        });
    }
    let mut made = 0;
    while let Some(one) = running.join_next().await {
        made += one??;
    }
    Ok((f64::from(made), begin.elapsed()))
}

async fn answer(tcp: &mut TcpStream) -> Result<String, Failure> {
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let count = tcp.read(&mut buffer).await?;
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return Err("the answer was cut short".into());
            }
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let whole = match length {
            Some(length) => body.len() >= length.trim().parse::<usize>()?,
            None => body.ends_with("0\r\n\r\n"),
        };
        if whole {
            return Ok(text.into_owned());
        }
        if count == 0 {
            return Err("the answer was cut short".into());
        }
    }
}
