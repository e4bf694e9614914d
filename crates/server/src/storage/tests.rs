//! The storage alone: layout, locks, formats, and the two implementations of the tables agreeing.

use std::fs;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use certus_ca::store::{MemStore, Row, Store, Table, View};
use certus_pki::{Explain, code};
use redb::backends::InMemoryBackend;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::log::Word;
use super::open::{LOG_FILE, LOG_FORMAT, STATE_FILE, STATE_FORMAT};
use super::{Own, Pending, Settle, Storage, StorageError};

fn in_memory() -> Storage {
    Storage::on_backends(InMemoryBackend::new(), InMemoryBackend::new()).unwrap()
}

/// A directory that the storage makes, inside one that goes with the test.
fn directory() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/manager");
    (parent, directory)
}

fn change(storage: &Storage, settle: Settle, change: impl FnOnce(&mut Pending<'_>)) {
    let written = storage.write_state(|pending| {
        change(pending);
        Ok::<_, StorageError>(((), settle))
    });
    written.unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn tables_are_numbered_in_their_order() {
    for (place, table) in Table::ALL.into_iter().enumerate() {
        assert_eq!(table as usize, place, "{}", table.name());
    }
}

#[test]
fn rows_survive_closing_and_files_are_private() {
    let (_parent, directory) = directory();
    let storage = Storage::in_directory(&directory).unwrap();
    change(&storage, Settle::Durable, |pending| {
        pending.put(Table::Nodes, b"web-1", b"record").unwrap();
    });
    storage.append([(0, b"entry".to_vec())], None).unwrap();
    storage.close();

    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(LOG_FILE)), 0o600);
    assert_eq!(mode(&directory.join(STATE_FILE)), 0o600);
    let storage = Storage::in_directory(&directory).unwrap();
    let record = storage.view().unwrap().get(Table::Nodes, b"web-1").unwrap();
    assert_eq!(record.as_deref(), Some(&b"record"[..]));
    assert_eq!(storage.entries(..).unwrap(), [(0, b"entry".to_vec())]);
}

#[test]
fn a_second_opener_is_refused_in_words() {
    let (_parent, directory) = directory();
    let _first = Storage::in_directory(&directory).unwrap();
    let error = Storage::in_directory(&directory).unwrap_err();
    assert!(matches!(error, StorageError::InUse { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("log.redb is in use by another process"), "{words}");
}

#[test]
fn files_that_others_can_read_are_refused() {
    let (_parent, directory) = directory();
    drop(Storage::in_directory(&directory).unwrap());
    let state = directory.join(STATE_FILE);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o640)).unwrap();
    let words = Storage::in_directory(&directory).unwrap_err().to_string();
    assert!(words.contains("mode 0640, expected at most 0600"), "{words}");

    fs::set_permissions(&state, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let words = Storage::in_directory(&directory).unwrap_err().to_string();
    assert!(words.contains("mode 0755, expected at most 0700"), "{words}");
}

#[test]
fn a_newer_format_and_a_foreign_file_are_refused() {
    let (_parent, directory) = directory();
    drop(Storage::in_directory(&directory).unwrap());
    let state = directory.join(STATE_FILE);
    set_format(&state, "state", STATE_FORMAT + 7);
    let words = Storage::in_directory(&directory).unwrap_err().to_string();
    assert!(words.ends_with("has format 9, this version knows formats up to 2"), "{words}");

    fs::remove_file(&state).unwrap();
    fs::copy(directory.join(LOG_FILE), &state).unwrap();
    let words = Storage::in_directory(&directory).unwrap_err().to_string();
    assert!(words.contains("is not a Certus state file"), "{words}");
}

fn set_format(path: &Path, kind: &str, number: u64) {
    let database = Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<&str, u64>::new("certus_format")).unwrap().insert(kind, number).unwrap();
    txn.commit().unwrap();
}

fn format_of(path: &Path, kind: &str) -> u64 {
    let database = redb::ReadOnlyDatabase::open(path).unwrap();
    let txn = redb::ReadableDatabase::begin_read(&database).unwrap();
    let table = txn.open_table(TableDefinition::<&str, u64>::new("certus_format")).unwrap();
    table.get(kind).unwrap().unwrap().value()
}

#[test]
fn a_newer_format_of_either_file_is_refused_before_a_byte_is_changed() {
    for (file, kind) in [(LOG_FILE, "log"), (STATE_FILE, "state")] {
        let (_parent, directory) = directory();
        let storage = Storage::in_directory(&directory).unwrap();
        storage.append([(0, b"entry".to_vec())], None).unwrap();
        drop(storage);
        set_format(&directory.join(file), kind, 1000);
        let bytes = || [LOG_FILE, STATE_FILE].map(|file| fs::read(directory.join(file)).unwrap());
        let before = bytes();
        let error = Storage::in_directory(&directory).unwrap_err();
        assert!(matches!(error, StorageError::NewerFormat { found: 1000, .. }), "{error:?}");
        let told = error.explain();
        assert_eq!(told.code, code::NEWER_FORMAT);
        assert!(told.hint.is_some());
        assert!(bytes() == before, "{kind}: the files were changed");
    }
}

#[test]
fn an_older_format_is_read_and_from_then_on_refused_by_older_versions() {
    let (_parent, directory) = directory();
    let storage = Storage::in_directory(&directory).unwrap();
    change(&storage, Settle::Durable, |pending| pending.put(Table::Nodes, b"web-1", b"record").unwrap());
    storage.append([(0, b"entry".to_vec())], None).unwrap();
    drop(storage);
    let files = [(LOG_FILE, "log", LOG_FORMAT), (STATE_FILE, "state", STATE_FORMAT)];
    for (file, kind, _) in files {
        set_format(&directory.join(file), kind, 1);
    }
    let storage = Storage::in_directory(&directory).unwrap();
    let record = storage.view().unwrap().get(Table::Nodes, b"web-1").unwrap();
    assert_eq!(record.as_deref(), Some(&b"record"[..]));
    assert_eq!(storage.entries(..).unwrap(), [(0, b"entry".to_vec())]);
    drop(storage);
    for (file, kind, number) in files {
        assert_eq!(format_of(&directory.join(file), kind), number);
    }
}

#[test]
fn redb_and_memory_answer_every_scan_alike() {
    let storage = in_memory();
    let mut memory = MemStore::default();
    let keys: [&[u8]; 6] = [b"", b"a", b"a\0", b"ab", b"b", b"\xff"];
    change(&storage, Settle::Later, |pending| {
        for store in [pending as &mut dyn Store, &mut memory] {
            for table in [Table::Meta, Table::Nodes, Table::Audit] {
                for key in keys {
                    store.put(table, key, &[key, table.name().as_bytes()].concat()).unwrap();
                }
                store.delete(table, b"ab").unwrap();
                store.delete(table, b"absent").unwrap();
            }
        }
    });
    let view = storage.view().unwrap();
    let mut ends = vec![Bound::Unbounded];
    for key in keys {
        ends.extend([Bound::Included(key), Bound::Excluded(key)]);
    }
    for table in Table::ALL {
        for from in &ends {
            for to in &ends {
                for limit in [0, 1, 3, 100] {
                    let found = view.scan(table, *from, *to, limit).unwrap();
                    let expected: Vec<Row> = memory.scan(table, *from, *to, limit).unwrap();
                    assert_eq!(found, expected, "{table:?} {from:?} {to:?} {limit}");
                }
            }
        }
    }
}

#[test]
fn a_failed_change_leaves_nothing() {
    let storage = in_memory();
    let failed = storage.write_state(|pending| -> Result<((), Settle), StorageError> {
        pending.put(Table::Nodes, b"web-1", b"record").unwrap();
        assert!(pending.get(Table::Nodes, b"web-1").unwrap().is_some());
        Err(StorageError::Closed { file: "here".into() })
    });
    failed.unwrap_err();
    let found = storage.view().unwrap().get(Table::Nodes, b"web-1").unwrap();
    assert_eq!(found, None);
}

#[test]
fn a_view_stays_as_it_is_and_a_closed_storage_gives_none() {
    let storage = in_memory();
    let before = storage.view().unwrap();
    change(&storage, Settle::Later, |pending| {
        pending.put(Table::Nodes, b"web-1", b"record").unwrap();
    });
    assert_eq!(before.get(Table::Nodes, b"web-1").unwrap(), None);
    storage.close();
    assert!(matches!(storage.view(), Err(StorageError::Closed { .. })));
}

#[test]
fn the_log_is_cut_at_both_ends_and_never_past_what_is_durable() {
    let storage = in_memory();
    let entries = (0..10).map(|index| (index, vec![index as u8]));
    storage.append(entries, Some(b"committed")).unwrap();
    assert_eq!(storage.word(Word::Committed).unwrap().as_deref(), Some(&b"committed"[..]));
    storage.truncate(8).unwrap();
    assert_eq!(storage.last_entry().unwrap(), Some((7, vec![7])));

    storage.purge(3, b"id").unwrap_err();
    assert_eq!(storage.entries(..).unwrap().len(), 8);
    change(&storage, Settle::Later, |pending| {
        pending.put_own(Own::AppliedNext, &6_u64.to_be_bytes()).unwrap();
    });
    assert_eq!(storage.durable_next(), 0);
    storage.purge(3, b"id").unwrap();
    assert_eq!(storage.durable_next(), 6, "a purge is preceded by a barrier");
    let left: Vec<u64> = storage.entries(2..7).unwrap().into_iter().map(|(i, _)| i).collect();
    assert_eq!(left, [4, 5, 6]);
    assert_eq!(storage.word(Word::Purged).unwrap().as_deref(), Some(&b"id"[..]));
}
