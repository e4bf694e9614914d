//! What daemons tell their service manager: a socket of ours stands for it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use super::harness::{DEADLINE, World, port};

/// Waits for a message that has this line.
#[track_caller]
fn heard(socket: &UnixDatagram, line: &str) -> String {
    loop {
        let mut bytes = [0; 1024];
        let count = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("never came: {line}: {error}"));
        let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
        if text.lines().any(|one| one == line) {
            return text;
        }
    }
}

fn listening(socket: UnixDatagram) -> UnixDatagram {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[test]
fn a_manager_says_that_it_starts_serves_lives_and_ends() {
    let world = World::new();
    let listen = format!("127.0.0.1:{}", port());
    let init = ["cluster", "init", "--name", "prod", "--data-dir", "m1", "--listen", &listen, "--no-start"];
    world.run(&init).ok();
    let path = world.path("notify");
    let socket = listening(UnixDatagram::bind(&path).unwrap());
    let mut command = world.command(&["manager", "start", "--data-dir", "m1"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let manager = world.daemon_with(command);
    heard(&socket, "EXTEND_TIMEOUT_USEC=60000000");
    let ready = heard(&socket, "READY=1");
    assert!(ready.contains("STATUS=spiffe://prod/manager/") && ready.contains(&listen), "{ready}");
    // It serves by now: who is started after it finds it.
    world.run(&["cluster", "status"]).ok();
    heard(&socket, "WATCHDOG=1");
    heard(&socket, "WATCHDOG=1");
    ends_in_words(manager, &socket);
}

#[test]
fn an_agent_says_so_in_the_abstract_namespace() {
    let world = World::new();
    let name = format!("certus-test-{}-{}", std::process::id(), port());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = listening(UnixDatagram::bind_addr(&address).unwrap());
    let mut command = world.command(&["agent", "start", "--data-dir", "a1"]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let agent = world.daemon_with(command);
    heard(&socket, "READY=1");
    ends_in_words(agent, &socket);
}

#[test]
fn a_socket_that_nobody_reads_holds_up_nobody() {
    let world = World::new();
    let mut command = world.command(&["agent", "start", "--data-dir", "a1"]);
    command.env("NOTIFY_SOCKET", Path::new("/nowhere/notify"));
    let agent = world.daemon_with(command);
    agent.ready(&world.path("a1"));
    assert_eq!(agent.end(), 0);
}

#[track_caller]
fn ends_in_words(daemon: super::harness::Daemon, socket: &UnixDatagram) {
    let ended = std::thread::scope(|scope| {
        let ending = scope.spawn(|| daemon.end());
        heard(socket, "STOPPING=1");
        ending.join().unwrap()
    });
    assert_eq!(ended, 0);
}
