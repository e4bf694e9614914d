//! nginx, haproxy and stunnel with the same certificates, as servers and as tunnel pairs.
//!
//! Each is one process with one thread (stunnel: one for each connection), set up for TLS 1.3 with client
//! certificates and otherwise as it comes. What is not installed is left out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::Failure;
use super::child::{Child, free_port, is_installed, on_first_core};

/// Debian builds this module apart.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Somebody else's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    Haproxy,
    Stunnel,
}

/// What it shall do.
#[derive(Clone, Copy)]
enum Job {
    /// Answer HTTP over TLS with a bare 200.
    Serve,
    /// End TLS and forward.
    Listen(SocketAddr),
    /// Take plaintext and dial TLS.
    Dial(SocketAddr),
}

impl Program {
    pub(crate) const ALL: [Program; 3] = [Program::Nginx, Program::Haproxy, Program::Stunnel];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Program::Nginx => "nginx",
            Program::Haproxy => "haproxy",
            Program::Stunnel => "stunnel",
        }
    }

    pub(crate) fn is_here(self) -> bool {
        is_installed(self.name())
    }

    /// An HTTPS server; stunnel's answers come from `backend`.
    pub(crate) fn server(self, dir: &Path, backend: SocketAddr) -> Result<Child, Failure> {
        let job = if self == Program::Stunnel { Job::Listen(backend) } else { Job::Serve };
        self.start(dir, job, true)
    }

    /// A tunnel pair to `backend`: listener, then dialer.
    pub(crate) fn pair(self, dir: &Path, backend: SocketAddr) -> Result<Vec<Child>, Failure> {
        let listener = self.start(dir, Job::Listen(backend), false)?;
        let dialer = self.start(dir, Job::Dial(listener.address), false)?;
        Ok(vec![listener, dialer])
    }

    fn start(self, dir: &Path, job: Job, pinned: bool) -> Result<Child, Failure> {
        let address = free_port()?;
        let place = dir.join(format!("{}-{}", self.name(), address.port()));
        std::fs::create_dir_all(&place)?;
        let file = place.join("config");
        let text = match self {
            Program::Nginx => nginx(dir, &place, address, job),
            Program::Haproxy => haproxy(dir, address, job),
            Program::Stunnel => stunnel(dir, address, job),
        };
        std::fs::write(&file, text)?;
        let mut command = if pinned { on_first_core(self.name()) } else { Command::new(self.name()) };
        match self {
            Program::Nginx => command.arg("-p").arg(&place).arg("-e").arg("stderr").arg("-c").arg(&file),
            Program::Haproxy => command.arg("-q").arg("-db").arg("-f").arg(&file),
            Program::Stunnel => command.arg(&file),
        };
        Child::program(command, address)
    }
}

fn nginx(dir: &Path, place: &Path, address: SocketAddr, job: Job) -> String {
    let (dir, place) = (dir.display(), place.display());
    let ends_tls = format!(
        "listen {address} ssl; ssl_certificate {dir}/server.chain.pem;
         ssl_certificate_key {dir}/server.key.pem; ssl_client_certificate {dir}/root.pem;
         ssl_verify_client on; ssl_verify_depth 3; ssl_protocols TLSv1.3;
         ssl_session_cache shared:S:10m;"
    );
    let head = format!(
        "daemon off; master_process off; pid {place}/pid; error_log stderr crit;
         events {{ worker_connections 8192; }}\n"
    );
    let load = if Path::new(STREAM_MODULE).exists() {
        format!("load_module {STREAM_MODULE};\n")
    } else {
        String::new()
    };
    match job {
        Job::Serve => {
            format!("{head} http {{ access_log off; server {{ {ends_tls} location / {{ return 200; }} }} }}")
        }
        Job::Listen(backend) => {
            format!("{load}{head} stream {{ server {{ {ends_tls} proxy_pass {backend}; }} }}")
        }
        Job::Dial(to) => format!(
            "{load}{head} stream {{ server {{ listen {address}; proxy_pass {to}; proxy_ssl on;
             proxy_ssl_certificate {dir}/client.chain.pem; proxy_ssl_certificate_key {dir}/client.key.pem;
             proxy_ssl_trusted_certificate {dir}/root.pem; proxy_ssl_verify on; proxy_ssl_verify_depth 3;
             proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3; }} }}"
        ),
    }
}

fn haproxy(dir: &Path, address: SocketAddr, job: Job) -> String {
    let dir = dir.display();
    let mode = if matches!(job, Job::Serve) { "http" } else { "tcp" };
    let head = format!(
        "global\n nbthread 1\n maxconn 8000\ndefaults\n mode {mode}\n timeout connect 10s
 timeout client 100s\n timeout server 100s\nfrontend f\n"
    );
    let ends_tls = format!(
        " bind {address} ssl crt {dir}/server.both.pem ca-file {dir}/root.pem verify required ssl-min-ver TLSv1.3\n"
    );
    match job {
        Job::Serve => format!("{head}{ends_tls} http-request return status 200\n"),
        Job::Listen(backend) => {
            format!("{head}{ends_tls} default_backend b\nbackend b\n server s {backend}\n")
        }
        Job::Dial(to) => format!(
            "{head} bind {address}\n default_backend b\nbackend b\n server s {to} ssl \
             crt {dir}/client.both.pem ca-file {dir}/root.pem verify required verifyhost localhost \
             sni str(localhost) ssl-min-ver TLSv1.3\n"
        ),
    }
}

fn stunnel(dir: &Path, address: SocketAddr, job: Job) -> String {
    let dir = dir.display();
    let (client, name, to) = match job {
        Job::Listen(to) => ("no\nrequireCert = yes", "server", to),
        Job::Dial(to) => ("yes\ncheckHost = localhost", "client", to),
        Job::Serve => ("no\nrequireCert = yes", "server", address),
    };
    format!(
        "foreground = yes\npid =\ndebug = 2\n[s]\naccept = {address}\nconnect = {to}\n\
         client = {client}\ncert = {dir}/{name}.both.pem\nCAfile = {dir}/root.pem\n\
         verifyChain = yes\nsslVersionMin = TLSv1.3\n"
    )
}
