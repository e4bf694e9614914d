//! Changes that are good: told by the system, found by polling, in one file or several.

use std::os::unix::fs::symlink;

use certus_node::sources::{EnvSource, Ephemeral, InlinePem};
use zeroize::Zeroizing;

use super::*;

#[tokio::test]
async fn a_change_is_seen_by_polling_alone() {
    let (files, time) = (Files::new(), Time::new());
    let watch = start(files.polled(), &time).await;
    assert!(!watch.status().borrow().watching);
    let next = files.leaf();
    files.put_pair(&next);
    taken(&watch, &next).await;
    let status = watch.status().borrow().clone();
    assert_eq!((status.reloads, status.last_failure), (1, None));
}

#[tokio::test]
async fn a_change_is_seen_when_the_system_tells_of_it() {
    let (files, time) = (Files::new(), Time::new());
    let mut watch = start(files.told(), &time).await;
    assert!(watch.status().borrow().watching);
    for _ in 0..3 {
        let next = files.leaf();
        files.put_pair(&next);
        taken(&watch, &next).await;
        soon("a change", watch.changed()).await.unwrap();
    }
    assert_eq!(watch.status().borrow().reloads, 3);
}

#[tokio::test]
async fn files_written_in_place_are_seen_too() {
    let (files, time) = (Files::new(), Time::new());
    let watch = start(files.told(), &time).await;
    let next = files.leaf();
    fs::write(files.path("node.crt"), &next.chain_pem).unwrap();
    fs::write(files.path("node.key"), &next.key_pem).unwrap();
    taken(&watch, &next).await;
}

#[tokio::test]
async fn a_key_that_comes_late_is_waited_for() {
    let (files, time) = (Files::new(), Time::new());
    let watch = start(files.polled().settle_within(Duration::from_secs(3600)), &time).await;
    let next = files.leaf();
    files.put("node.crt", &next.chain_pem);
    // Read several times in between, as a pair that does not fit.
    tokio::time::sleep(Duration::from_millis(200)).await;
    files.put("node.key", &next.key_pem);
    taken(&watch, &next).await;
    assert_eq!(watch.status().borrow().failures, 0, "somebody was writing: no failure");
}

#[tokio::test]
async fn a_replaced_directory_is_watched_again() {
    let (files, time) = (Files::new(), Time::new());
    let dir = files.dir.path().join("certs");
    let fill = |dir: &Path, leaf: &Leaf| {
        fs::create_dir(dir).unwrap();
        put(&dir.join("ca.crt"), &files.root.pem);
        put(&dir.join("node.key"), &leaf.key_pem);
        put(&dir.join("node.crt"), &leaf.chain_pem);
    };
    fill(&dir, &files.leaf());
    let paths = FilePaths::separate(dir.join("node.crt"), dir.join("node.key"), Some(dir.join("ca.crt")));
    let source = FileSource::new(paths, Needs::BOTH).ok().unwrap().poll(Duration::from_secs(3600));
    let watch = start(source, &time).await;
    for _ in 0..3 {
        let good = watch.current().digest();
        fs::remove_dir_all(&dir).unwrap();
        let status = refused(&watch, certus_pki::code::FILE, good).await;
        assert!(status.failures > 0);
        let next = files.leaf();
        fill(&dir, &next);
        taken(&watch, &next).await;
        // And files in it again.
        let next = files.leaf();
        put(&dir.join("node.key"), &next.key_pem);
        put(&dir.join("node.crt"), &next.chain_pem);
        taken(&watch, &next).await;
    }
}

#[tokio::test]
async fn a_swap_of_a_projected_directory_is_told() {
    let (files, time) = (Files::new(), Time::new());
    let dir = tempfile::tempdir().unwrap();
    let project = |number: u32, leaf: &Leaf| {
        let stamp = dir.path().join(format!("..2026_{number}"));
        fs::create_dir(&stamp).unwrap();
        put(&stamp.join("tls.crt"), &leaf.chain_pem);
        put(&stamp.join("tls.key"), &leaf.key_pem);
        put(&stamp.join("ca.crt"), &files.root.pem);
        let old = fs::read_link(dir.path().join("..data"));
        symlink(stamp.file_name().unwrap(), dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        if let Ok(old) = old {
            fs::remove_dir_all(dir.path().join(old)).unwrap();
        }
    };
    project(0, &files.leaf());
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
    }
    let at = |name: &str| dir.path().join(name);
    let paths = FilePaths::separate(at("tls.crt"), at("tls.key"), Some(at("ca.crt")));
    let source = FileSource::new(paths, Needs::BOTH).ok().unwrap().poll(Duration::from_secs(3600));
    let watch = start(source, &time).await;
    for number in 1..6 {
        let next = files.leaf();
        project(number, &next);
        taken(&watch, &next).await;
    }
    assert_eq!(watch.status().borrow().failures, 0);
}

#[tokio::test]
async fn targets_of_symlinks_are_watched() {
    let (files, time) = (Files::new(), Time::new());
    let links = tempfile::tempdir().unwrap();
    let link = |name: &str| links.path().join(name);
    for name in ["node.crt", "node.key", "ca.crt"] {
        symlink(files.path(name), link(name)).unwrap();
    }
    let paths = FilePaths::separate(link("node.crt"), link("node.key"), Some(link("ca.crt")));
    let source = FileSource::new(paths, Needs::BOTH).ok().unwrap().poll(Duration::from_secs(3600));
    let watch = start(source, &time).await;
    let next = files.leaf();
    files.put_pair(&next);
    taken(&watch, &next).await;
}

#[tokio::test]
async fn one_bundle_is_one_generation() {
    let (files, time) = (Files::new(), Time::new());
    let put = |leaf: &Leaf| {
        files.put("credentials.pem", &format!("{}{}{}", leaf.key_pem, leaf.chain_pem, files.root.pem));
    };
    put(&files.leaf());
    let paths = FilePaths::bundle(files.path("credentials.pem"));
    let source = FileSource::new(paths, Needs::BOTH).ok().unwrap().poll(Duration::from_secs(3600));
    let watch = start(source, &time).await;
    assert_eq!(watch.current().roots().len(), 1);
    let next = files.leaf();
    put(&next);
    taken(&watch, &next).await;
}

#[tokio::test]
async fn inline_texts_win_over_files_and_the_rest_still_rotates() {
    let (files, time) = (Files::new(), Time::new());
    let own = files.leaf();
    let inline = InlinePem {
        cert: Some(own.chain_pem.clone()),
        key: Some(Zeroizing::new(own.key_pem.clone())),
        ca: None,
    };
    let source = FileSource::combined(files.paths(), inline.clone(), Needs::BOTH).ok().unwrap();
    assert!(!source.is_static());
    let watch = start(source.notify(false).poll(Duration::from_millis(20)), &time).await;
    assert!(serves(&watch.current(), &own));
    let other = Ca::root("other");
    files.put("ca.crt", &format!("{}{}", files.root.pem, other.pem));
    until("two roots are trusted", || watch.current().roots().len() == 2).await;
    assert!(serves(&watch.current(), &own));
    // All of it inline: nothing can come.
    let inline = InlinePem { ca: Some(files.root.pem.clone()), ..inline };
    let source = FileSource::combined(files.paths(), inline, Needs::BOTH).ok().unwrap();
    let watch = start(source, &time).await;
    assert!(watch.status().borrow().static_source);
    // Half of a pair is no pair.
    let half = InlinePem { cert: Some(own.chain_pem.clone()), ..InlinePem::default() };
    assert!(FileSource::combined(files.paths(), half, Needs::BOTH).is_err());
    let twice = FilePaths { bundle: Some("x".into()), ..files.paths() };
    assert!(FileSource::new(twice, Needs::BOTH).is_err());
    assert!(FileSource::new(FilePaths::default(), Needs::ROOTS).is_err());
}

#[tokio::test]
async fn what_cannot_rotate_sounds_its_alarm_in_time() {
    let (files, time) = (Files::new(), Time::new());
    let (not_before, not_after) = (NOW - 300, NOW + 600);
    let own = files.root.leaf(&LeafSpec { not_before, not_after, ..LeafSpec::named("web") });
    let inline = InlinePem {
        cert: Some(own.chain_pem.clone()),
        key: Some(Zeroizing::new(own.key_pem.clone())),
        ca: None,
    };
    let source = FileSource::combined(FilePaths::default(), inline, Needs::IDENTITY).ok().unwrap();
    let watch = start(source, &time).await;
    assert_eq!(watch.status().borrow().alarm, None);
    time.set(NOW + 301);
    watch.reload();
    let mut status = watch.status();
    let alarmed = soon("an alarm", status.wait_for(|status| status.alarm.is_some())).await.unwrap().clone();
    assert!(alarmed.alarm.unwrap().hint.unwrap().contains("cannot rotate"));
}

#[tokio::test]
async fn an_ephemeral_certificate_is_renewed_before_it_ends() {
    let time = Time::new();
    let watch =
        Source::from(Ephemeral::new("node", []).ok().unwrap()).start(time.clock()).await.ok().unwrap();
    let first = watch.current();
    time.set(Ephemeral::due_at(&first).unwrap().secs());
    watch.reload();
    until("the next is in force", || watch.current().digest() != first.digest()).await;
    watch.shutdown().await;
}

#[tokio::test]
async fn an_unset_variable_is_named_at_start() {
    let source = EnvSource::named("CERTUS_TEST_NO_SUCH_CERT", "B", "C", Needs::IDENTITY);
    let error = Source::from(source).start(Time::new().clock()).await.err().unwrap();
    assert!(error.to_string().contains("CERTUS_TEST_NO_SUCH_CERT"), "{error}");
}

#[tokio::test]
async fn a_dropped_watch_ends() {
    let (files, time) = (Files::new(), Time::new());
    let watch = start(files.polled(), &time).await;
    let mut status = watch.status();
    drop(watch);
    let ended = async { while status.changed().await.is_ok() {} };
    soon("the task's end", ended).await;
}
