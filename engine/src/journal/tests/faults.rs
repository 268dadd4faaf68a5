//! Full disks, syncs that fail, and ends of the process at every step.

use std::process::Command;

use super::*;

/// The steps at which a process may end.
const STEPS: [&str; 11] = [
    "journal::create",
    "journal::created",
    "journal::header",
    "journal::folder-synced",
    "journal::write",
    "journal::short-write",
    "journal::written",
    "journal::sync",
    "journal::synced",
    "journal::drop",
    "journal::dropped",
];

fn frames() -> Vec<Kept> {
    (0..12).map(|n| frame(n, n, 1, 300)).collect()
}

#[test]
fn a_full_disk_is_waited_for() {
    let folder = Folder::alone();
    let (journal, woken) = start(&folder.path, 1);
    let mut journal = journal.with_limits(0, 500);
    let all = frames();
    for (epoch, kept) in (0..).zip(&all) {
        append(&mut journal, 0, kept);
        journal.commit(epoch + 1);
        // It fails with half of it written, again before the header of the next segment is, and goes on.
        let place = if epoch % 2 == 0 { "journal::short-write" } else { "journal::header" };
        until_durable(&journal, &woken, epoch + 1);
        assert_eq!(journal.health().unwrap(), Health::Writing);
        let fault = if epoch == 4 { "EDQUOT" } else { "ENOSPC" };
        fail::cfg(place, &format!("1*return({fault})->off")).unwrap();
    }
    for place in ["journal::short-write", "journal::header"] {
        fail::remove(place);
    }
    journal.close().unwrap();
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);
}

#[test]
fn a_disk_that_stays_full_is_said_and_leaves_whole_frames() {
    let folder = Folder::alone();
    let (mut journal, woken) = start(&folder.path, 1);
    append(&mut journal, 0, &frames()[0]);
    journal.commit(1);
    until_durable(&journal, &woken, 1);
    fail::cfg("journal::short-write", "return(ENOSPC)").unwrap();
    append(&mut journal, 0, &frames()[1]);
    journal.commit(2);
    let state = loop {
        match journal.health().unwrap() {
            Health::DiskFull(state) => break state,
            Health::Writing => std::thread::yield_now(),
        }
    };
    assert!(state.contains(".seg") && state.contains("make room"), "{state}");
    assert_eq!((journal.durable(), journal.durable_next(0)), (1, 1));
    assert!(journal.queued_bytes() > 300);
    let failed = journal.close().unwrap_err().to_string();
    assert!(failed.contains(".seg"), "{failed}");
    fail::remove("journal::short-write");
    let path = folder.segments(&lane(0)).remove(0);
    let length = fs::metadata(path).unwrap().len();
    let mut reader = open(&folder.path, &lane(0), 0).unwrap();
    assert_eq!(rest(&mut reader).unwrap(), frames()[..1]);
    assert_eq!(reader.end().prior.unwrap().length, length, "nothing had to be cut");
}

#[test]
fn a_failed_sync_or_write_ends_the_journal() {
    for place in ["journal::sync", "journal::write", "journal::written"] {
        let folder = Folder::alone();
        let (mut journal, woken) = start(&folder.path, 1);
        fail::cfg(place, "1*return(EIO)->off").unwrap();
        append(&mut journal, 0, &frames()[0]);
        journal.commit(1);
        woken.recv().unwrap();
        let failed = journal.health().unwrap_err().to_string();
        assert!(failed.contains(".seg") && failed.contains("error"), "{failed}");
        assert!(journal.append(0, frames()[1].head, None, b"").is_err());
        journal.commit(2);
        assert_eq!(journal.durable(), 0, "{place}: not tried again");
        assert!(journal.close().is_err());
        fail::remove(place);
        if place == "journal::sync" {
            // What the system shows is not what the disk has: the next start must not build on it.
            assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), []);
        }
    }
}

#[test]
fn a_thread_that_panics_is_a_failure() {
    let folder = Folder::alone();
    let (mut journal, woken) = start(&folder.path, 1);
    fail::cfg("journal::write", "panic").unwrap();
    append(&mut journal, 0, &frames()[0]);
    journal.commit(1);
    woken.recv().unwrap();
    assert!(journal.health().unwrap_err().to_string().contains("panicked"));
    assert!(journal.close().is_err());
    fail::remove("journal::write");
}

/// The process that is ended: it writes on from where the journal is, and says what is durable.
#[test]
#[ignore = "a part of the next one"]
fn child() {
    let Some(root) = std::env::var_os("JOURNAL_TEST_ROOT") else { return };
    let generation = std::env::var("JOURNAL_TEST_GENERATION").unwrap().parse().unwrap();
    let (journal, woken) = start(Path::new(&root), generation);
    let mut journal = journal.with_limits(0, 500);
    let done = journal.position(0).unwrap().next;
    for kept in frames().iter().skip(usize::try_from(done).unwrap()) {
        append(&mut journal, 0, kept);
        journal.commit(kept.head.epoch + 1);
        until_durable(&journal, &woken, kept.head.epoch + 1);
        fs::write(Path::new(&root).join("durable"), journal.durable_next(0).to_string()).unwrap();
        // Nothing may be missing from the beginning; that a segment can go is another matter.
        if kept.head.epoch == 11 {
            journal.drop_before(3);
        }
    }
    journal.close().unwrap();
}

#[test]
fn an_end_at_any_step_loses_nothing_durable() {
    for step in STEPS {
        let folder = Folder::new();
        let mut ended = 0;
        for generation in 1..40_u64 {
            let action = match (generation - 1) % 4 {
                0 => "return(abort)".to_owned(),
                passed => format!("{passed}*off->return(abort)"),
            };
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "journal::tests::faults::child", "--ignored"])
                .env("JOURNAL_TEST_ROOT", &folder.path)
                .env("JOURNAL_TEST_GENERATION", generation.to_string())
                .env("FAILPOINTS", format!("{step}={action}"))
                .output()
                .unwrap()
                .status;
            let durable = fs::read_to_string(folder.path.join("durable")).unwrap_or_default();
            let durable = durable.parse().unwrap_or(0);
            let access = if generation % 2 == 0 { Access::Look } else { Access::Recover };
            let mut reader =
                LaneReader::open(&folder.path, &lane(0), 3, Some(durable), access).unwrap();
            let read = rest(&mut reader).unwrap();
            assert_eq!(read, frames()[3..].split_at(read.len()).0, "{step}");
            if status.success() {
                assert_eq!(read.len(), 9);
                break;
            }
            ended += 1;
        }
        assert!(ended > 0, "{step} was never passed");
    }
}
