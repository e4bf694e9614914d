//! Development certificates of nodes that run in processes of their own.

use std::process::{Command, Stdio};

use certus_node::sources::Development;
use certus_node::system_clock;

use super::*;

const DIR: &str = "CERTUS_TEST_DEVELOPMENT_DIR";

#[tokio::test]
async fn two_processes_that_start_at_once_have_one_ca() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let program = std::env::current_exe().unwrap();
    let start = |id: &str| {
        let name = "sources::development::a_node_in_a_process_of_its_own";
        let mut command = Command::new(&program);
        command
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(DIR, &certs)
            .env("CERTUS_TEST_ID", id);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let nodes: Vec<_> = ["one", "two", "three"].into_iter().map(start).collect();
    for node in nodes {
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let root = fs::read_to_string(certs.join("ca-cert.pem")).unwrap();
    for id in ["one", "two", "three"] {
        let source = Development::new(&certs, id, None, []).ok().unwrap();
        let watch = Source::from(source).start(system_clock()).await.ok().unwrap();
        let current = watch.current();
        assert!(current.concerns(system_clock()()).is_empty(), "the one CA vouches for {id}");
        let mine = certus_pki::pem::encode("CERTIFICATE", current.roots()[0].der());
        assert_eq!(mine.trim(), root.trim());
    }
}

#[test]
#[ignore = "a part of another test, started by it"]
fn a_node_in_a_process_of_its_own() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let id = std::env::var("CERTUS_TEST_ID").unwrap();
    let source = Development::new(dir, &id, Some("localhost:8443"), []).ok().unwrap();
    source.ensure(system_clock()()).ok().unwrap();
}

#[tokio::test]
async fn a_node_gets_a_new_certificate_when_another_made_the_ca_anew() {
    let (dir, time) = (tempfile::tempdir().unwrap(), Time::new());
    let source = |id| Development::new(dir.path(), id, None, []).ok().unwrap();
    let watch = Source::from(source("one")).start(time.clock()).await.ok().unwrap();
    let first = watch.current();
    let later = NOW + 300 * 86_400;
    let other = source("two").ensure(UnixTime::from_secs(later)).ok().unwrap();
    assert_ne!(other.roots(), first.roots());
    time.set(later);
    watch.reload();
    until("the new CA is trusted", || watch.current().roots() == other.roots()).await;
}
