//! The directory as a store, and URLs.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::model::{PARTITIONS, Run, Step, model_of, random_steps};
use crate::checkpoint::{Store, newest};

fn folder(test: &str) -> std::path::PathBuf {
    let name = format!("anabranch-store-{}-{test}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn a_directory_keeps_whole_files() {
    let root = folder("whole");
    let store = Store::open(&format!("file://{}/deep/er", root.display())).unwrap();
    assert_eq!(store.get("a/b", 9).unwrap(), None);
    assert!(store.list("a").unwrap().is_empty());
    store.put("a/b", b"one").unwrap();
    store.put("a/b", b"three").unwrap();
    store.put("a/a", b"").unwrap();
    assert_eq!(store.get("a/b", 5).unwrap().unwrap(), b"three");
    let large = store.get("a/b", 4).unwrap_err().to_string();
    assert!(large.contains("a/b") && large.contains("5 bytes, but at most 4"), "{large}");
    assert!(!store.put_if_absent("a/b", b"four").unwrap());
    assert!(store.put_if_absent("a/c", b"four").unwrap());
    let names = |folder| {
        let entries = store.list(folder).unwrap();
        entries.into_iter().map(|entry| (entry.path, entry.bytes)).collect::<Vec<_>>()
    };
    let listed = [("a/a".to_owned(), 0), ("a/b".to_owned(), 5), ("a/c".to_owned(), 4)];
    assert_eq!(names("a"), listed, "no partial file is left");
    store.delete("a/b").unwrap();
    store.delete("a/b").unwrap();
    assert_eq!(names("a").len(), 2);
    for path in ["", "..", "a/../../b", "/etc/passwd"] {
        let refused = store.put(path, b"").unwrap_err().to_string();
        assert!(refused.contains("leads out of the store"), "{path}: {refused}");
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn of_several_who_write_at_once_one_is_first() {
    let root = folder("race");
    let store = Store::directory(&root);
    let winner = AtomicUsize::new(usize::MAX);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, winner) = (store.clone(), &winner);
            scope.spawn(move || {
                if store.put_if_absent("generations/1", &[thread as u8; 100]).unwrap() {
                    assert_eq!(winner.swap(thread, Ordering::Relaxed), usize::MAX);
                }
            });
        }
    });
    let winner = winner.load(Ordering::Relaxed) as u8;
    assert_eq!(store.get("generations/1", 100).unwrap().unwrap(), [winner; 100]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_a_killed_process_left_half_written_is_removed() {
    let root = folder("partial");
    let store = Store::directory(&root);
    let mut run = Run::new(&store, 1, None);
    run.step(Step::Checkpoint { workers: 1 }).unwrap();
    let tables = root.join("tables");
    std::fs::create_dir_all(&tables).unwrap();
    let old = "00000000000000000001-0000000001-w00000-plain-00000.rows.77-3.partial";
    let later = "00000000000000000999-0000000001-w00000-plain-00000.rows.77-4.partial";
    for name in [old, later, "notes.txt"] {
        std::fs::write(tables.join(name), "half").unwrap();
    }
    for step in random_steps(1, 80) {
        run.step(step).unwrap();
    }
    run.step(Step::Checkpoint { workers: 2 }).unwrap();
    assert!(!tables.join(old).exists());
    assert!(tables.join(later).exists(), "it may be in the making");
    assert!(tables.join("notes.txt").exists(), "it is not ours");
    let restored = newest(&store, |_| true).unwrap().unwrap();
    assert_eq!(model_of(&restored, 0..PARTITIONS), run.at_last);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_url_says_what_is_missing() {
    let refused = |url: &str| Store::open(url).unwrap_err().to_string();
    assert!(refused("ftp://x/y").contains("`ftp://`"));
    for (url, feature) in [("s3://b/p", "s3"), ("gs://b/p", "gcs"), ("az://c/p", "azure")] {
        let built = match feature {
            "s3" => cfg!(feature = "s3"),
            "gcs" => cfg!(feature = "gcs"),
            _ => cfg!(feature = "azure"),
        };
        if !built {
            let message = refused(url);
            assert!(message.contains(&format!("the feature `{feature}`")), "{message}");
        }
    }
}
