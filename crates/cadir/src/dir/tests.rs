//! Opening: locks, foreign directories, damaged ledgers.

use super::*;

const AT: UnixTime = UnixTime::from_secs(1_800_000_000);

fn line(number: u64) -> Change {
    let mut change = Change::default();
    let issuer = certus_pki::Sha256::of(b"x");
    change.record(Record::List { at: AT, issuer, number, next_update: AT });
    change
}

#[test]
fn writers_wait_for_each_other_and_lose_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let path = temp.path().to_owned();
            std::thread::spawn(move || {
                for number in 0..25 {
                    let mut dir = CaDir::make(&path, Layout::Mesh).unwrap();
                    dir.commit(line(writer * 100 + number), AT).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let dir = CaDir::at(temp.path(), Access::Read, None, Disk::default()).unwrap();
    assert_eq!(dir.records().unwrap().len(), 101);
}

#[test]
fn a_damaged_ledger_names_its_line_and_a_newer_one_its_version() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(LEDGER);
    for number in 0..3 {
        CaDir::make(temp.path(), Layout::Mesh).unwrap().commit(line(number), AT).unwrap();
    }
    let good = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    lines[2] = lines[2].replace("crl", "crx");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let damaged = CaDir::make(temp.path(), Layout::Mesh).unwrap().records();
    assert!(matches!(damaged, Err(CaDirError::Damaged { line: 3, .. })), "{damaged:?}");
    std::fs::write(&path, "certus-ca\t9\twhatever\n").unwrap();
    let newer = CaDir::make(temp.path(), Layout::Mesh);
    assert!(matches!(newer, Err(CaDirError::Newer { came, .. }) if came == "9"));
}

#[test]
fn directories_of_other_tools_are_known_by_their_files() {
    for (files, layout) in [
        (&["ca.crt"][..], Layout::Mesh),
        (&["ca-cert.pem"], Layout::Dev),
        (&["ca.crt", "intermediate.crt"], Layout::Private),
        (&["ca.crt", "host-a/server.crt"], Layout::Fleet),
    ] {
        let temp = tempfile::tempdir().unwrap();
        for file in files {
            let path = temp.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let dir = CaDir::open(temp.path(), Access::Read).unwrap();
        assert_eq!((dir.layout(), dir.records().unwrap()), (layout, Vec::new()));
        assert!(!temp.path().join(LEDGER).exists(), "looking changes nothing");
    }
    let empty = tempfile::tempdir().unwrap();
    let none = CaDir::open(empty.path(), Access::Change);
    assert!(matches!(none, Err(CaDirError::NoCa { .. })));
    assert!(!empty.path().join(LEDGER).exists(), "nothing is left where there is no CA");
}

#[test]
fn keys_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("k");
    std::fs::write(&path, "key").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read_secret(&path), Err(CaDirError::Mode { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read_secret(&path).unwrap().as_str(), "key");
}
