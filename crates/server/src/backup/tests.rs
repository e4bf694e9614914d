//! Whole backups in memory: what comes back, what is refused, and the bytes that must stay readable.

use std::collections::BTreeMap;

use certus_ca::store::{Store as _, Table};
use certus_pki::{Explain, Passphrase, code};
use redb::backends::InMemoryBackend;

use super::BackupError;
use super::give::Writer;
use super::read::{self, Backup, Hashing};
use super::records::{Manifest, Sink};
use super::seal::{BackupKey, CHUNK, HEAD, Head, TAG};
use crate::replica::{Outgoing, SnapshotEnd, SnapshotRows};
use crate::storage::{Own, Settle, Storage, StorageError};

/// One as the version that brought backups wrote it.
const GOLDEN: &str = include_str!("../../tests/golden/backup-1.hex");

fn passphrase() -> Passphrase {
    Passphrase::new("golden".to_owned())
}

fn fixed() -> (Head, BackupKey) {
    BackupKey::with_random(&passphrase(), &[0x5a; 23]).ok().unwrap()
}

fn manifest() -> Manifest {
    Manifest {
        cluster: "prod".to_owned(),
        generation: 1,
        revision: 118,
        made_at: 1_795_305_600,
        manager: "spiffe://prod/manager/m1".to_owned(),
        version: "0.1.0".to_owned(),
        term: 7,
        applied: 42,
    }
}

/// The tables of the golden example; those that come later are not in it.
const FIRST: [Table; 3] = [Table::Meta, Table::Nodes, Table::Certs];

/// A state of `rows` rows in each table, each value `size` bytes long.
fn storage(tables: &[Table], rows: u32, size: usize) -> Storage {
    let storage = Storage::on_backends(InMemoryBackend::new(), InMemoryBackend::new()).unwrap();
    let filled = storage.write_state(|pending| {
        for table in tables.iter().copied() {
            for row in 0..rows {
                pending.put(table, &row.to_be_bytes(), &vec![row as u8; size]).unwrap();
            }
        }
        pending.put_own(Own::At, &1_795_305_600_i64.to_be_bytes())?;
        Ok::<_, StorageError>(((), Settle::Durable))
    });
    filled.unwrap();
    storage
}

fn written(storage: &Storage, head: Head, key: &BackupKey) -> Vec<u8> {
    let mut writer = Writer::new(head, key).unwrap();
    writer.manifest(&manifest()).unwrap();
    writer.secret("cluster.key", &[7; 32]).unwrap();
    writer.secret("issuer.crt", b"issuer").unwrap();
    let mut outgoing = Outgoing::new(storage.view().unwrap().into());
    while let Some(chunk) = outgoing.next_chunk().unwrap() {
        writer.chunk(&chunk).unwrap();
    }
    writer.finish().unwrap()
}

/// Keeps everything.
#[derive(Default)]
struct Kept {
    secrets: BTreeMap<String, Vec<u8>>,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    at: Vec<u8>,
}

impl Sink for Kept {
    fn secret(&mut self, name: &str, content: &[u8]) -> Result<(), BackupError> {
        self.secrets.insert(name.to_owned(), content.to_vec());
        Ok(())
    }

    fn rows(&mut self, rows: &SnapshotRows<'_>) -> Result<(), BackupError> {
        for (key, value) in &rows.rows {
            self.rows.insert((rows.table, key.to_vec()), value.to_vec());
        }
        Ok(())
    }

    fn end(&mut self, end: &SnapshotEnd) -> Result<(), BackupError> {
        self.at = end.at.clone();
        Ok(())
    }
}

fn read(bytes: &[u8], key: &BackupKey) -> Result<(Backup, Kept), BackupError> {
    let mut kept = Kept::default();
    let head = Head::from_bytes(&bytes[..HEAD.min(bytes.len())])?;
    let input = Hashing::new(&bytes[HEAD..]);
    let backup = read::read_with(key, head, input, &mut kept, |_| ())?;
    Ok((backup, kept))
}

#[test]
fn everything_comes_back_as_it_was() {
    let (head, key) = fixed();
    let bytes = written(&storage(&Table::ALL, 300, 900), head, &key);
    assert!(bytes.len() > 10 * CHUNK);
    let (backup, kept) = read(&bytes, &key).unwrap();
    assert_eq!((backup.rows, backup.secrets), (300 * Table::ALL.len() as u64, 2));
    assert!(backup.tables.values().all(|rows| *rows == 300));
    assert_eq!((backup.term, backup.applied, backup.revision), (7, 42, 118));
    assert_eq!(kept.secrets["cluster.key"], [7; 32]);
    assert_eq!(kept.rows.len() as u64, backup.rows);
    assert_eq!(kept.at, 1_795_305_600_i64.to_be_bytes());
    assert!(!bytes.windows(10).any(|window| window == b"spiffe://p"), "nothing is readable");
}

#[test]
fn cut_at_every_chunk_or_flipped_in_any_it_is_refused_in_words() {
    let (head, key) = fixed();
    let bytes = written(&storage(&Table::ALL, 300, 900), head, &key);
    let whole = CHUNK + TAG;
    for end in (HEAD..bytes.len()).step_by(whole) {
        let error = read(&bytes[..end], &key).err().unwrap();
        assert!(matches!(error, BackupError::CutShort { .. }), "{end}: {error:?}");
        let told = error.explain();
        assert_eq!(told.code, code::BACKUP_DAMAGED);
        assert!(told.message.contains("cut short") && told.hint.is_some());
    }
    for start in (HEAD..bytes.len()).step_by(whole) {
        for at in [start, (start + 999).min(bytes.len() - 1)] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            let error = read(&flipped, &key).err().unwrap();
            assert_eq!(error.explain().code, code::BACKUP_DAMAGED, "{at}: {error:?}");
        }
    }
    for at in 0..HEAD {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(read(&flipped, &key).is_err(), "head byte {at}");
    }
    assert!(read(&[&bytes[..], b"more"].concat(), &key).is_err());
}

/// A sealed file may still hold what no version writes.
#[test]
fn records_out_of_order_and_names_that_lead_elsewhere_are_refused() {
    let (head, key) = fixed();
    let state = storage(&FIRST, 1, 1);
    let mut rows = Outgoing::new(state.view().unwrap().into());
    let chunk = rows.next_chunk().unwrap().unwrap();
    type Case<'a> = &'a dyn Fn(&mut Writer) -> Result<(), BackupError>;
    let cases: [Case<'_>; 4] = [
        &|writer| writer.secret("issuer.crt", b"x"),
        &|writer| writer.chunk(&chunk),
        &|writer| writer.manifest(&manifest()).and_then(|()| writer.secret("../issuer.crt", b"x")),
        &|writer| {
            writer.manifest(&manifest())?;
            writer.chunk(&chunk)?;
            writer.secret("issuer.crt", b"late")
        },
    ];
    for (place, case) in cases.iter().enumerate() {
        let mut writer = Writer::new(head.clone(), &key).unwrap();
        case(&mut writer).unwrap();
        let bytes = writer.cut_off().unwrap();
        let error = read(&bytes, &key).err().unwrap();
        assert!(matches!(error, BackupError::Record { .. }), "case {place}: {error:?}");
    }
}

#[test]
fn the_first_backup_of_all_is_still_read() {
    let golden = unhex(GOLDEN.trim());
    let head = Head::from_bytes(&golden[..HEAD]).unwrap();
    let key = BackupKey::of(&head, &passphrase()).ok().unwrap();
    let (backup, kept) = read(&golden, &key).unwrap();
    assert_eq!((backup.cluster.as_str(), backup.generation, backup.revision), ("prod", 1, 118));
    assert_eq!((backup.rows, backup.secrets), (2 * FIRST.len() as u64, 2));
    assert_eq!(kept.secrets["issuer.crt"], b"issuer");
    assert_eq!(kept.rows[&(Table::Nodes, 1_u32.to_be_bytes().to_vec())], [1; 3]);
}

/// Where this fails, the format has changed: raise its number, keep the old example with its test, and add
/// one of the new.
#[test]
fn todays_backups_are_those_of_the_newest_example() {
    let (head, key) = fixed();
    let today = hex(&written(&storage(&FIRST, 2, 3), head, &key));
    assert!(today == GOLDEN.trim(), "backup-1.hex would now be:\n{today}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
