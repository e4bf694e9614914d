//! A directory for development: made, reused, and left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use certus_forge::{Ca, CaSpec};
use certus_pki::{Lifetime, code, pem};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

fn node(dir: &Path, id: &str) -> Development {
    Development::new(dir, id, Some("10.0.0.7:8443"), []).ok().unwrap()
}

fn days(number: u32) -> UnixTime {
    NOW.plus(Lifetime::from_days(number))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn leaf(material: &Material) -> &Certificate {
    material.pair().unwrap().leaf()
}

/// A CA that another program made.
fn foreign(dir: &Path, with_key: bool, spec: &CaSpec) {
    let ca = Ca::root_from(spec);
    fs::write(dir.join("ca-cert.pem"), pem::encode(pem::CERTIFICATE, &ca.der)).unwrap();
    if with_key {
        let path = dir.join("ca-key.pem");
        fs::write(&path, ca.key.pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn files_names_modes_and_lifetimes_are_as_promised() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("certs");
    let material = node(&dir, "dev-node").ensure(NOW).ok().unwrap();
    for (name, expected) in [
        ("ca-cert.pem", 0o644),
        ("ca-key.pem", 0o600),
        ("dev-node-cert.pem", 0o644),
        ("dev-node-key.pem", 0o600),
    ] {
        assert_eq!(mode(&dir.join(name)), expected, "{name}");
    }
    assert_eq!(mode(&dir), 0o700);
    let node = leaf(&material);
    let names: Vec<String> = node.sans.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["dev-node", "10.0.0.7", "localhost", "127.0.0.1", "::1"]);
    assert_eq!(node.usage, certus_pki::Usage::ANY);
    assert_eq!(node.not_after.secs_since(NOW), 90 * 86_400);
    assert!(node.subject.contains(ORGANIZATION), "{}", node.subject);
    let root = Certificate::from_der(material.roots()[0].der()).unwrap();
    assert_eq!(root.not_after.secs_since(NOW), 365 * 86_400);
    assert!(root.subject.contains(ORGANIZATION), "{}", root.subject);
    assert!(material.concerns(NOW).is_empty());
}

#[test]
fn what_is_there_is_used_again_and_shared_by_a_second_node() {
    let dir = tempfile::tempdir().unwrap();
    let first = node(dir.path(), "one").ensure(NOW).ok().unwrap();
    assert_eq!(node(dir.path(), "one").ensure(days(59)).ok().unwrap().digest(), first.digest());
    let second = node(dir.path(), "two").ensure(NOW).ok().unwrap();
    assert_eq!(second.roots(), first.roots());
    assert_ne!(second.digest(), first.digest());
    // Two thirds are over: a new key, the same CA.
    let renewed = node(dir.path(), "one").ensure(days(61)).ok().unwrap();
    assert_ne!(leaf(&renewed).public_key, leaf(&first).public_key);
    assert_eq!(renewed.roots(), first.roots());
    assert_eq!(Development::due_at(&renewed).unwrap().secs_since(days(61)) / 86_400, 60);
    // Another address is another name.
    let moved = Development::new(dir.path(), "two", Some("api.test:1"), []).ok().unwrap();
    let moved = moved.ensure(NOW).ok().unwrap();
    assert!(leaf(&moved).sans.contains(&"api.test".parse().unwrap()));
}

#[test]
fn a_ca_of_ours_that_ends_soon_is_made_anew_for_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (node(dir.path(), "one"), node(dir.path(), "two"));
    let first = one.ensure(NOW).ok().unwrap();
    two.ensure(NOW).ok().unwrap();
    let later = days(300);
    let next = one.ensure(later).ok().unwrap();
    assert_ne!(next.roots(), first.roots());
    assert_eq!(leaf(&next).not_after.secs_since(later), 90 * 86_400);
    let other = two.ensure(later).ok().unwrap();
    assert_eq!(other.roots(), next.roots());
    let ended = one.ensure(days(1000)).ok().unwrap();
    assert_ne!(ended.roots(), next.roots());
}

#[test]
fn two_that_start_at_once_have_one_ca() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("certs");
        let all: Vec<Material> = std::thread::scope(|scope| {
            let dir = &dir;
            let start = |id: String| scope.spawn(move || node(dir, &id).ensure(NOW).ok().unwrap());
            let threads: Vec<_> = (0..4).map(|number| start(format!("node-{}", number / 2))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|material| material.roots() == all[0].roots()));
        // And two of one id have one certificate.
        assert_eq!(all[0].digest(), all[1].digest());
    }
}

#[test]
fn somebody_elses_ca_is_used_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    foreign(dir.path(), true, &CaSpec::named("Corp"));
    let before = fs::read(dir.path().join("ca-cert.pem")).unwrap();
    let material = node(dir.path(), "one").ensure(NOW).ok().unwrap();
    assert_eq!(leaf(&material).issuer, "CN=Corp");
    assert_eq!(fs::read(dir.path().join("ca-cert.pem")).unwrap(), before);
    assert_eq!(node(dir.path(), "one").ensure(NOW).ok().unwrap().digest(), material.digest());
}

#[test]
fn somebody_elses_ca_is_refused_without_its_key_or_past_its_end() {
    let dir = tempfile::tempdir().unwrap();
    foreign(dir.path(), false, &CaSpec::named("Corp"));
    let refused = |dir: &Path| node(dir, "one").ensure(NOW).err().unwrap().explain();
    assert_eq!(refused(dir.path()).code, code::CA_KEY_ABSENT);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
    let dir = tempfile::tempdir().unwrap();
    foreign(dir.path(), true, &CaSpec { not_after: NOW.secs() - 1, ..CaSpec::named("Corp") });
    let told = refused(dir.path());
    assert_eq!(told.code, code::EXPIRED);
    assert!(told.message.contains("CN=Corp"), "{told}");
}

#[test]
fn a_ca_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    node(dir.path(), "one").ensure(NOW).ok().unwrap();
    let key = dir.path().join("ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let told = node(dir.path(), "two").ensure(NOW).err().unwrap().explain();
    assert_eq!(told.code, code::FILE_MODE);
    assert!(told.hint.unwrap().contains("chmod 600"));
}

#[test]
fn ids_and_addresses_that_cannot_be_names_are_told_apart() {
    assert!(Development::new("certs", "ca", None, []).is_err());
    assert!(Development::new("certs", "a/b", None, []).is_err());
    for address in ["0.0.0.0:1", "[::]:1", ":8443"] {
        assert_eq!(host(address), None, "{address}");
    }
    assert_eq!(host("localhost:8443"), Some(AltName::Dns("localhost".into())));
    assert_eq!(host("[2001:db8::1]:8443").unwrap().to_string(), "ip:2001:db8::1");
    assert_eq!(host("node.example.com").unwrap().to_string(), "dns:node.example.com");
}
