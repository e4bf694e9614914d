//! Files that are replaced while they are read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn wanted(dir: &Path, names: &[&str]) -> Vec<Wanted> {
    names.iter().map(|name| Wanted { path: dir.join(name), mode_max: None }).collect()
}

/// What Kubernetes' AtomicWriter does: a new directory, a symlink beside, a rename over `..data`.
fn project(dir: &Path, number: usize, names: &[&str]) {
    let (stamp, old) = (format!("..2026_{number}"), fs::read_link(dir.join(DATA_LINK)));
    fs::create_dir(dir.join(&stamp)).unwrap();
    for name in names {
        fs::write(dir.join(&stamp).join(name), format!("{number}")).unwrap();
    }
    symlink(&stamp, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join(DATA_LINK)).unwrap();
    for name in names {
        let link = dir.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA_LINK).join(name), link).unwrap();
        }
    }
    if let Ok(old) = old {
        fs::remove_dir_all(dir.join(old)).unwrap();
    }
}

#[test]
fn i9_swaps_of_a_projected_directory_never_mix_two_generations() {
    const READS: usize = 2000;
    let dir = tempfile::tempdir().unwrap();
    let names = ["tls.crt", "tls.key", "ca.crt"];
    project(dir.path(), 0, &names);
    let (done, swaps) = (AtomicBool::new(false), std::sync::atomic::AtomicUsize::new(0));
    let mut generations = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                project(dir.path(), number, &names);
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let wanted = wanted(dir.path(), &names);
        let mut reads = 0;
        // The writer may be slow to begin on a busy machine.
        while reads < READS || generations.len() < 20 {
            match read(&wanted) {
                Ok(snapshot) => {
                    let texts: Vec<&str> = snapshot.texts.iter().map(|text| text.as_str()).collect();
                    let mixed = texts.iter().any(|text| *text != texts[0] || text.is_empty());
                    if mixed {
                        done.store(true, Ordering::Relaxed);
                    }
                    assert!(!mixed, "{texts:?}");
                    generations.insert(texts[0].to_owned());
                    reads += 1;
                }
                // Removed faster than it could be read, sixteen times in a row: said, not guessed.
                Err(error) => assert!(matches!(error, SourceError::Io { .. }), "{error:?}"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn projected_names_in_folders_and_files_beside_the_projection_are_found() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), 7, &["tls.crt"]);
    fs::create_dir(dir.path().join("..2026_7/deep")).unwrap();
    fs::write(dir.path().join("..2026_7/deep/tls.key"), "deep").unwrap();
    symlink("..data/deep", dir.path().join("deep")).unwrap();
    fs::write(dir.path().join("own.crt"), "own").unwrap();
    let all = read(&wanted(dir.path(), &["tls.crt", "deep/tls.key", "own.crt"])).ok().unwrap();
    let texts: Vec<&str> = all.texts.iter().map(|text| text.as_str()).collect();
    assert_eq!(texts, ["7", "deep", "own"]);
}

#[test]
fn a_file_that_grows_or_is_replaced_is_not_taken_half() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "a".repeat(4096)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut letters = ["b", "a"].iter().cycle();
            while !done.load(Ordering::Relaxed) {
                let beside = dir.path().join("beside");
                fs::write(&beside, letters.next().unwrap().repeat(4096)).unwrap();
                fs::rename(beside, &path).unwrap();
            }
        });
        for _ in 0..500 {
            if let Ok(snapshot) = read(&wanted(dir.path(), &["file"])) {
                let text = snapshot.texts[0].as_str();
                let one = text.len() == 4096 && text.bytes().all(|byte| byte == text.as_bytes()[0]);
                if !one {
                    done.store(true, Ordering::Relaxed);
                }
                assert!(one, "{} bytes", text.len());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn keys_that_others_can_read_are_refused_by_their_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "key").unwrap();
    let with = |mode, max| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&[Wanted { path: path.clone(), mode_max: Some(max) }])
    };
    for (mode, max) in [(0o600, 0o600), (0o400, 0o600), (0o640, 0o640), (0o440, 0o640), (0o700, 0o600)] {
        assert!(with(mode, max).is_ok(), "{mode:o} with {max:o}");
    }
    for (mode, max) in [(0o640, 0o600), (0o644, 0o640), (0o660, 0o640), (0o604, 0o600), (0o620, 0o600)] {
        let error = with(mode, max).err().unwrap();
        assert!(matches!(error, SourceError::Mode { .. }), "{mode:o} with {max:o}: {error:?}");
    }
}

#[test]
fn what_is_no_file_of_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = |name: &str| read(&wanted(dir.path(), &[name])).err().unwrap();
    assert!(matches!(one("absent"), SourceError::Io { verb: "read", .. }));
    assert!(matches!(one("absent/file"), SourceError::Io { verb: "open the directory", .. }));
    fs::create_dir(dir.path().join("folder")).unwrap();
    assert!(matches!(one("folder"), SourceError::Io { .. }));
    fs::write(dir.path().join("large"), vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(one("large"), SourceError::TooLarge { bytes, .. } if bytes == FILE_BYTES_MAX + 1));
    fs::write(dir.path().join("der"), b"ab\xff").unwrap();
    assert!(matches!(one("der"), SourceError::NotText { at: 2, .. }));
    // A pipe does not hold the reader up.
    rustix::fs::mknodat(
        CWD,
        dir.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(one("pipe"), SourceError::Io { .. }));
}
