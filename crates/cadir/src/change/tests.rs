//! Changes stopped at every step: afterwards the directory holds all of one or nothing of it.

use super::*;
use crate::dir::{Access, CaDir};
use crate::layout::Layout;
use certus_pki::UnixTime;

const AT: UnixTime = UnixTime::from_secs(1_800_000_000);

fn phase(number: u64) -> Record {
    let at = UnixTime::from_secs(AT.secs() + number as i64);
    Record::List { at, issuer: Sha256::of(b"x"), number, next_update: at }
}

/// Two files in two directories, one file gone, two lines.
fn change(dir: &Path, text: &str, number: u64) -> Change {
    let mut change = Change::default();
    change.public(dir.join("ca.crt"), text);
    change.secret(dir.join("host/server.key"), text);
    change.public(dir.join("host/server.crt"), text);
    change.remove(dir.join("old"));
    change.record(phase(number));
    change.record(phase(number + 1));
    change
}

fn text(dir: &Path, name: &str) -> Option<String> {
    fs::read_to_string(dir.join(name)).ok()
}

/// Everything the directory holds, as one value; litter too.
fn state(dir: &Path) -> (Vec<Option<String>>, Vec<Record>, Vec<String>) {
    let open = CaDir::at(dir, Access::Change, Some(Layout::Mesh), Disk::default()).unwrap();
    let files = ["ca.crt", "host/server.key", "host/server.crt", "old"].map(|name| text(dir, name));
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let litter = names(dir).into_iter().chain(names(&dir.join("host")));
    let litter = litter.filter(|name| name.starts_with('.')).collect();
    (files.to_vec(), open.records().unwrap(), litter)
}

#[test]
fn a_change_stopped_at_any_step_is_done_or_was_never_begun() {
    let mut finished = None;
    let (mut kept, mut dropped) = (0, 0);
    for steps in 0..200 {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        fs::write(dir.join("old"), "old").unwrap();
        let mut first = CaDir::at(dir, Access::Change, Some(Layout::Mesh), Disk::default()).unwrap();
        let mut begin = change(dir, "one", 1);
        begin.gone.clear();
        first.commit(begin, AT).unwrap();
        drop(first);
        let before = state(dir);
        assert_eq!(before.2, Vec::<String>::new());

        let stopping = Disk::stopping_after(steps);
        let done = CaDir::at(dir, Access::Change, Some(Layout::Mesh), stopping)
            .and_then(|mut open| open.commit(change(dir, "two", 3), AT));
        let after = state(dir);
        assert_eq!(after.2, Vec::<String>::new(), "litter after {steps} steps");
        if after.0 == before.0 {
            assert_eq!(after.1, before.1, "{steps}");
            assert!(done.is_err());
            dropped += 1;
        } else {
            let two = || Some("two".to_owned());
            assert_eq!(after.0, [two(), two(), two(), None], "{steps}");
            assert_eq!(after.1.len(), before.1.len() + 2, "{steps}");
            kept += 1;
        }
        if done.is_ok() {
            finished = Some(steps);
            break;
        }
    }
    assert!(finished.is_some() && kept > 5 && dropped > 10, "{finished:?} {kept} {dropped}");
}

#[test]
fn finishing_may_be_stopped_too() {
    for steps in 0..60 {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        // Far enough that it was decided, not far enough that it was finished.
        let decided = (20..80).find(|steps| {
            fs::remove_dir_all(dir.join("host")).ok();
            for name in ["ca.crt", "ca.ledger", PENDING, ".ca.pending.new", ".ca.crt.new"] {
                fs::remove_file(dir.join(name)).ok();
            }
            let open = CaDir::at(dir, Access::Change, Some(Layout::Mesh), Disk::stopping_after(*steps));
            let _ = open.and_then(|mut open| open.commit(change(dir, "two", 3), AT));
            is_pending(dir)
        });
        assert!(decided.is_some());
        let _ = CaDir::at(dir, Access::Change, Some(Layout::Mesh), Disk::stopping_after(steps));
        let after = state(dir);
        assert_eq!((after.1.len(), after.2.len()), (3, 0), "{steps}");
        assert_eq!(after.0[0].as_deref(), Some("two"));
    }
}

#[test]
fn what_cannot_be_written_leaves_everything_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir_all(dir.join("host/server.crt/in the way")).unwrap();
    let mut open = CaDir::make(dir, Layout::Mesh).unwrap();
    let refused = open.commit(change(dir, "one", 1), AT);
    assert!(matches!(refused, Err(CaDirError::Io { .. })), "{refused:?}");
    assert!(!dir.join("ca.crt").exists() && !dir.join("host/server.key").exists());
    assert_eq!(open.records().unwrap(), []);
}

#[test]
fn a_plan_reads_back_wherever_the_directory_is() {
    let plan = Plan {
        offset: 77,
        put: vec!["/a/b\tc.crt".into(), "/elsewhere/x".into()],
        gone: vec!["/a/d".into()],
        lines: "one\ntwo\n".into(),
    };
    let text = plan.text(Path::new("/a"));
    assert_eq!(Plan::read(&text, Path::new("/a")), Some(plan));
    let moved = Plan::read(&text, Path::new("/z")).unwrap();
    assert_eq!(moved.put, [PathBuf::from("/z/b\tc.crt"), PathBuf::from("/elsewhere/x")]);
    for end in 0..text.len() {
        assert_eq!(Plan::read(&text[..end], Path::new("/a")), None);
    }
}
