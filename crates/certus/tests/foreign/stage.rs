//! What every case needs: a CA with certificates, agents, services, and programs that end in time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::harness::{Daemon, World, until};
use crate::judge::Server;

/// The TLS section of an agent that trusts the CA here and shows `node.test`'s certificate.
pub(crate) const TLS: &str = "tls: {ca: certs/ca.crt, cert: certs/node.test.crt, key: certs/node.test.key, strict: true, mtls: true}\n";

/// What a foreign program may take, in the words of `timeout`; most take a tenth of a second.
const LIMIT: &str = "90";

/// A world with a CA in `certs`, and `node.test` (also 127.0.0.1) and `caller.test` certified by it.
pub(crate) fn world() -> World {
    let world = World::new();
    world.run(&["cert", "ca", "--cn", "Ours", "-o", "certs"]).ok();
    issue(&world, "certs", "node.test", &[]);
    issue(&world, "certs", "caller.test", &[]);
    world
}

/// A certificate and its key, `DIR/NAME.crt` and `DIR/NAME.key`, for both roles and on 127.0.0.1.
pub(crate) fn issue(world: &World, dir: &str, name: &str, more: &[&str]) {
    let words = ["cert", "agent", "--cn", name, "--dns", name, "--ip", "127.0.0.1", "-o", dir];
    world.run(&[&words[..], more].concat()).ok();
}

/// Starts an agent; its configuration, and its id.
pub(crate) fn agent(world: &World, name: &str, config: &str) -> (Daemon, String) {
    let file = format!("{name}.yaml");
    world.write(&file, config);
    let agent = world.daemon(&["agent", "start", "--data-dir", name, "--config", &file]);
    agent.ready(&world.path(name));
    let id = |log: &str| {
        let at = log.find(" id=")? + 4;
        log.get(at..at + 64).filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned)
    };
    until("the agent says its id", || id(&agent.log()).is_some(), || agent.log());
    let id = id(&agent.log()).unwrap();
    (agent, id)
}

/// The id that an agent keeps in a data directory.
pub(crate) fn agent_id(world: &World, name: &str) -> String {
    let (agent, id) = agent(world, name, "peers: []\n");
    assert_eq!(agent.end(), 0);
    id
}

/// Runs a program in the world's directory until it ends: its exit code, and everything it said.
pub(crate) fn run(world: &World, line: &str) -> (i32, String) {
    run_with(world, line, "")
}

/// The same with something on its standard input.
pub(crate) fn run_with(world: &World, line: &str, input: &str) -> (i32, String) {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", LIMIT]).args(line.split_whitespace()).current_dir(world.path(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that does not read its input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Starts a foreign server and waits until it listens on `port`.
pub(crate) fn server(world: &World, line: &str, port: u16) -> Server {
    let words: Vec<_> = line.split_whitespace().collect();
    let log = std::fs::File::create(world.path(&format!("{}-{port}.log", words[0]))).unwrap();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(world.path("")).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let server = Server(command.spawn().unwrap());
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    let said = || std::fs::read_to_string(world.path(&format!("{}-{port}.log", words[0]))).unwrap();
    until(line, listens, said);
    server
}

/// A service that answers one HTTP request with `hello` and closes.
pub(crate) fn service_once() -> u16 {
    serve(|mut stream| {
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            asked.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    })
}

/// A service that sends back what it gets, until the caller has no more.
pub(crate) fn echo() -> u16 {
    serve(|stream| {
        let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream);
    })
}

/// A service that sends back the first bytes that come, and closes.
pub(crate) fn first_bytes() -> u16 {
    serve(|mut stream| {
        let mut first = [0; 4096];
        let read = stream.read(&mut first).unwrap_or(0);
        let _ = stream.write_all(&first[..read]);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

fn serve(each: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || each(stream));
        }
    });
    port
}
