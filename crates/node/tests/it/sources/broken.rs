//! Changes that are bad: the last good generation stays in force, and it is said (I9).

use certus_node::sources::SourceError;
use certus_pki::{Explain, code};

use super::*;

/// Breaks the files, sees it told with `code`, mends them, sees the next generation taken.
async fn breaks(code: certus_pki::Code, break_it: impl FnOnce(&Files)) {
    let (files, time) = (Files::new(), Time::new());
    let watch = start(files.polled(), &time).await;
    let good = watch.current().digest();
    break_it(&files);
    let status = refused(&watch, code, good).await;
    assert_eq!(status.reloads, 0);
    // It goes on failing, and goes on serving.
    let failures = status.failures;
    until("it was looked at again", || watch.status().borrow().failures > failures + 2).await;
    assert_eq!(watch.current().digest(), good);
    let next = files.leaf();
    if !files.dir.path().exists() {
        fs::create_dir(files.dir.path()).unwrap();
    }
    for name in ["node.crt", "node.key", "ca.crt"] {
        let _ = fs::remove_dir(files.path(name));
    }
    files.put("ca.crt", &files.root.pem);
    files.put_pair(&next);
    taken(&watch, &next).await;
    assert_eq!(watch.status().borrow().last_failure, None);
}

#[tokio::test]
async fn i9_a_half_written_file_is_not_taken() {
    breaks(code::BAD_ENCODING, |files| {
        let next = files.leaf();
        files.put("node.key", &next.key_pem);
        files.put("node.crt", &next.chain_pem[..next.chain_pem.len() / 2]);
    })
    .await;
}

#[tokio::test]
async fn i9_a_wrong_key_is_not_taken() {
    breaks(code::KEY_MISMATCH, |files| files.put("node.key", &files.leaf().key_pem)).await;
}

#[tokio::test]
async fn i9_an_expired_certificate_is_not_taken() {
    breaks(code::EXPIRED, |files| {
        let ended = LeafSpec { not_after: NOW - 1, ..LeafSpec::named("web") };
        files.put_pair(&files.root.leaf(&ended));
    })
    .await;
}

#[tokio::test]
async fn i9_an_empty_file_is_not_taken() {
    breaks(code::BAD_ENCODING, |files| files.put("node.crt", "")).await;
}

#[tokio::test]
async fn i9_empty_roots_are_not_taken() {
    breaks(code::BAD_ENCODING, |files| files.put("ca.crt", "\n")).await;
}

#[tokio::test]
async fn i9_a_deleted_file_is_a_failure() {
    breaks(code::FILE, |files| fs::remove_file(files.path("node.crt")).unwrap()).await;
}

#[tokio::test]
async fn i9_a_deleted_directory_is_a_failure() {
    breaks(code::FILE, |files| fs::remove_dir_all(files.dir.path()).unwrap()).await;
}

#[tokio::test]
async fn i9_a_key_that_others_can_read_is_not_taken() {
    breaks(code::FILE_MODE, |files| {
        files.put_pair(&files.leaf());
        fs::set_permissions(files.path("node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn i9_lost_permission_is_a_failure() {
    // The superuser may read everything: for it, a directory in the file's place stands for the refusal.
    breaks(code::FILE, |files| {
        fs::set_permissions(files.path("node.crt"), fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(files.path("node.crt")).is_ok() {
            fs::remove_file(files.path("node.crt")).unwrap();
            fs::create_dir(files.path("node.crt")).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_taken_when_it_is() {
    let (files, time) = (Files::new(), Time::new());
    let watch = start(files.polled(), &time).await;
    let good = watch.current().digest();
    let early = files.root.leaf(&LeafSpec { not_before: NOW + 3600, ..LeafSpec::named("web") });
    files.put_pair(&early);
    let status = refused(&watch, code::NOT_YET_VALID, good).await;
    assert_eq!(status.generation_read_at, UnixTime::from_secs(NOW));
    time.set(NOW + 3600);
    taken(&watch, &early).await;
    assert_eq!(watch.status().borrow().generation_read_at, UnixTime::from_secs(NOW + 3600));
}

#[tokio::test]
async fn the_old_files_put_back_end_the_failure() {
    let (files, time) = (Files::new(), Time::new());
    let own = files.leaf();
    files.put_pair(&own);
    let watch = start(files.polled(), &time).await;
    let good = watch.current().digest();
    files.put("node.key", "nothing");
    refused(&watch, code::BAD_ENCODING, good).await;
    files.put("node.key", &own.key_pem);
    until("all is well", || watch.status().borrow().last_failure.is_none()).await;
    assert_eq!(watch.status().borrow().reloads, 0);
}

#[tokio::test]
async fn a_bad_start_is_refused_with_the_file_and_the_line() {
    let (files, time) = (Files::new(), Time::new());
    let cut = files.root.pem.replace("-----END CERTIFICATE-----", "");
    files.put("ca.crt", &format!("# ours\n{cut}"));
    let error = Source::from(files.polled()).start(time.clock()).await.err().unwrap();
    assert!(matches!(error, SourceError::Material { .. }));
    let told = error.explain();
    assert!(told.message.contains("line 2"), "{told}");
    let from = told.facts.iter().find(|(label, _)| label == "from").unwrap();
    assert!(from.1.contains("ca.crt"), "{told}");
}

#[tokio::test]
async fn a_group_may_read_where_that_is_said() {
    let (files, time) = (Files::new(), Time::new());
    fs::set_permissions(files.path("node.key"), fs::Permissions::from_mode(0o440)).unwrap();
    let error = Source::from(files.polled()).start(time.clock()).await.err().unwrap().explain();
    assert_eq!(error.code, code::FILE_MODE);
    assert!(error.hint.unwrap().contains("chmod 600"));
    start(files.polled().allow_group_read(true), &time).await;
}
