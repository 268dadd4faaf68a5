//! A journal of version 1, as it was written once: it must load for ever.

use super::*;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-1")
}

fn write(root: &Path) {
    let (mut first, _woken) = start(root, 1);
    append(&mut first, 0, &frame(1, 0, 2, 20));
    append(&mut first, 0, &frame(2, 2, 1, 0));
    first.close().unwrap();
    let (second, _woken) = start(root, 2);
    let mut second = second.with_limits(0, 0);
    append(&mut second, 0, &frame(2, 3, 1, 40));
    append(&mut second, 0, &frame(9, 4, 0, 0));
    append(&mut second, 0, &frame(1_000, 4, 3, 5));
    second.close().unwrap();
}

#[test]
fn version_1_loads_and_is_still_written() {
    let frames = [
        frame(1, 0, 2, 20),
        frame(2, 2, 1, 0),
        frame(2, 3, 1, 40),
        frame(9, 4, 0, 0),
        frame(1_000, 4, 3, 5),
    ];
    assert_eq!(lanes(&fixture()).unwrap(), [lane(0)]);
    assert_eq!(look(&fixture(), &lane(0), 0).unwrap(), frames);
    assert_eq!(look(&fixture(), &lane(0), 9).unwrap(), frames[3..]);
    let folder = Folder::new();
    write(&folder.path);
    let kept = segment::list(&lane(0).folder(&fixture())).unwrap();
    assert_eq!(segment::list(&lane(0).folder(&folder.path)).unwrap(), kept);
    for path in folder.segments(&lane(0)) {
        let kept = lane(0).folder(&fixture()).join(path.file_name().unwrap());
        // What was on the disk when a frame was made is not the same each time: read, not compared.
        let (written, kept) = (fs::read(path).unwrap(), fs::read(kept).unwrap());
        assert_eq!(written.split_at(96).0, kept.split_at(96).0);
    }
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), frames);
}

#[test]
fn another_version_is_refused_by_its_number() {
    let folder = Folder::new();
    write(&folder.path);
    for path in folder.segments(&lane(0)) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 2;
        fs::write(&path, bytes).unwrap();
    }
    let refused = look(&folder.path, &lane(0), 0).unwrap_err().to_string();
    assert!(refused.contains("version 2") && refused.contains("knows version 1"), "{refused}");
}

/// Makes the fixture anew, only when the format has a new version: `cargo test -- --ignored fixture`.
#[test]
#[ignore = "writes into the source tree"]
fn make_the_fixture() {
    let _ = fs::remove_dir_all(fixture());
    write(&fixture());
}
