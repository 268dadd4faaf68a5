//! Checkpoints against a plain map: through changes, compaction, crashes, failures and damage.

mod commands;
mod damage;
mod memory;
mod model;
#[cfg(feature = "s3")]
mod s3;
mod stores;

use proptest::prelude::*;

use self::memory::{Failing, Memory};
use self::model::{PARTITIONS, Run, Step, model_of, random_run, steps};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_restored_equals_the_model_for_any_range(
        steps in proptest::collection::vec(steps(), 1..60),
        ranges in proptest::collection::vec((0..=PARTITIONS, 0..=PARTITIONS), 4),
    ) {
        let memory = Memory::new(Failing::Never, false);
        let mut run = Run::new(&memory.store(), 1, None);
        for step in steps {
            if !matches!(step, Step::Checkpoint { .. }) {
                run.step(step).unwrap();
                continue;
            }
            run.step(step).unwrap();
            let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
            prop_assert_eq!(&model_of(&restored, 0..PARTITIONS), &run.at_last);
            for &(start, end) in &ranges {
                let expected = run.at_last.iter().map(|(table, rows)| {
                    let inside = rows.iter().filter(|((partition, ..), _)| (start..end).contains(partition));
                    (table.clone(), inside.map(|(key, value)| (key.clone(), value.clone())).collect())
                }).collect();
                prop_assert_eq!(model_of(&restored, start..end), expected);
                for table in &restored.manifest.tables {
                    let name = &table.schema.name;
                    let about = |range| restored.about_rows(name, &range);
                    prop_assert!(about(start..end) <= about(0..PARTITIONS));
                    let base = table.files.iter().filter(|file| file.kind == FileKind::Base);
                    let base: u64 = base.map(|file| file.rows).sum();
                    prop_assert_eq!(about(0..PARTITIONS) as u64, base);
                }
            }
            run.assert_clean(&memory);
        }
    }
}

#[test]
fn a_crash_after_any_operation_leaves_the_last_checkpoint_or_the_next() {
    for seed in 0..3 {
        let whole = Memory::new(Failing::Never, false);
        random_run(seed, &whole).unwrap();
        let operations = whole.operations();
        assert!(operations > 100, "{operations}");
        for at in 0..operations {
            for done in [false, true] {
                let memory = Memory::new(Failing::From(at), done);
                let crashed = random_run(seed, &memory).expect_err("it crashes");
                memory.heal();
                let restored = newest(&memory.store(), |_| true);
                let restored = restored.unwrap_or_else(|e| panic!("seed {seed}, {at}: {e}"));
                let found = restored.as_ref().map(|restored| model_of(restored, 0..PARTITIONS));
                let is_right = found == crashed.at_last || found == crashed.at_next;
                assert!(is_right, "seed {seed}, crash at {at}, done {done}");

                // The next generation goes on from there and leaves nothing behind.
                let mut run = Run::resumed(&memory.store(), 2, restored.as_ref());
                for step in model::random_steps(seed + 99, 30) {
                    run.step(step).unwrap();
                }
                run.step(Step::Checkpoint { workers: 3 }).unwrap();
                let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
                assert_eq!(model_of(&restored, 0..PARTITIONS), run.at_last, "seed {seed}, {at}");
                run.assert_clean(&memory);
            }
        }
    }
}

#[test]
fn an_operation_that_fails_costs_no_row() {
    for seed in 0..3 {
        let whole = Memory::new(Failing::Never, false);
        random_run(seed, &whole).unwrap();
        for at in 0..whole.operations() {
            for done in [false, true] {
                let memory = Memory::new(Failing::Once(at), done);
                let mut run = Run::new(&memory.store(), 1, None);
                for step in model::random_steps(seed, 120) {
                    // The same process goes on, and brings what it could not write with the next.
                    let _ = run.step(step);
                }
                memory.heal();
                run.step(Step::Checkpoint { workers: 2 }).unwrap();
                let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
                let found = model_of(&restored, 0..PARTITIONS);
                assert_eq!(found, run.at_last, "seed {seed}, failure at {at}, done {done}");
                run.assert_clean(&memory);
            }
        }
    }
}

#[test]
fn an_earlier_generation_commits_nothing_and_removes_nothing() {
    let memory = Memory::new(Failing::Never, false);
    let mut old = Run::new(&memory.store(), 1, None);
    for step in model::random_steps(5, 60) {
        old.step(step).unwrap();
    }
    old.step(Step::Checkpoint { workers: 2 }).unwrap();
    let restored = newest(&memory.store(), |_| true).unwrap();
    let mut new = Run::resumed(&memory.store(), 2, restored.as_ref());
    new.step(Step::Checkpoint { workers: 1 }).unwrap();
    let before = memory.files();
    let refused = old.step(Step::Checkpoint { workers: 2 }).unwrap_err();
    assert!(refused.to_string().contains("generation 1 has lost its place"), "{refused}");
    let after = memory.files();
    for (path, bytes) in &before {
        assert_eq!(after.get(path), Some(bytes), "{path}");
    }
    // What it had written for nothing goes with the next checkpoint.
    new.step(Step::Checkpoint { workers: 1 }).unwrap();
    new.assert_clean(&memory);
    let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
    assert_eq!(restored.manifest.generation, 2);
    assert_eq!(model_of(&restored, 0..PARTITIONS), new.at_last);
}

#[test]
fn the_fence_is_asked_before_the_manifest_and_before_each_removal() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let memory = Memory::new(Failing::Never, false);
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let mut run = Run::new(&memory.store(), 1, None);
    let asked = Arc::clone(&left);
    run.checkpointer = run.checkpointer.fenced_by(move || match asked.load(Ordering::Relaxed) {
        0 => Err(crate::Error::Data("fenced off".into())),
        n => {
            asked.store(n - 1, Ordering::Relaxed);
            Ok(())
        }
    });
    for step in model::random_steps(7, 60) {
        run.step(step).unwrap();
    }
    run.step(Step::Checkpoint { workers: 2 }).unwrap();
    // The manifest, but no removal.
    left.store(1, Ordering::Relaxed);
    let before = memory.files();
    run.step(Step::Checkpoint { workers: 2 }).unwrap();
    let after = memory.files();
    assert!(before.keys().all(|path| after.contains_key(path)), "something was removed");
    assert!(after.len() > before.len());
    // Not even the manifest.
    let refused = run.step(Step::Checkpoint { workers: 2 }).unwrap_err();
    assert!(refused.to_string().contains("fenced off"), "{refused}");
    let count = |memory: &Memory| Manifest::list(&memory.store()).unwrap().len();
    assert_eq!(count(&memory), count(&Memory::of(after)));
}

#[test]
fn checkpoints_that_a_kept_journal_needs_are_kept_whole() {
    let memory = Memory::new(Failing::Never, false);
    let folder = std::env::temp_dir().join(format!("anabranch-retention-{}", std::process::id()));
    let lane = folder.join("words").join("0");
    std::fs::create_dir_all(&lane).unwrap();
    // One segment an epoch, of 100 bytes; the first is not the beginning.
    for epoch in 1..1000 {
        let name = format!("{epoch:020}-0000000001.seg");
        std::fs::write(lane.join(name), [1; 100]).unwrap();
    }
    let mut run = Run::new(&memory.store(), 1, None);
    let keep = crate::config::KeepJournal::Size(990 * 100);
    run.checkpointer = run.checkpointer.keeping(Retention::new(keep, &folder).unwrap());
    for step in model::random_steps(3, 400) {
        run.step(step).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let ids = Manifest::list(&memory.store()).unwrap();
    let (newest, oldest) = (ids[0].epoch, ids[ids.len() - 1].epoch);
    assert!(newest > 20 && (10..20).contains(&oldest), "{ids:?}");
    assert_eq!(run.checkpointer.journal_from(), oldest);
    for id in ids {
        verify(&memory.store(), &Manifest::load(&memory.store(), id).unwrap()).unwrap();
    }
}

#[test]
fn a_checkpoint_of_another_history_is_not_kept() {
    let memory = Memory::new(Failing::Never, false);
    let journal = std::env::temp_dir().join("anabranch-no-journal");
    let for_long = || Retention::new(crate::config::KeepJournal::Age(YEAR), &journal).unwrap();
    let checkpoint = |run: &mut Run| run.step(Step::Checkpoint { workers: 1 }).unwrap();
    let mut old = Run::new(&memory.store(), 1, None);
    old.checkpointer = old.checkpointer.keeping(for_long());
    (0..3).for_each(|_| checkpoint(&mut old));
    let ids = Manifest::list(&memory.store()).unwrap();
    // The next one goes on from the one before the newest, as if that had been written too late.
    let restored = Restored::open(&memory.store(), ids[1]).unwrap();
    let mut new = Run::resumed(&memory.store(), 2, Some(&restored));
    new.checkpointer = new.checkpointer.keeping(for_long());
    (0..3).for_each(|_| checkpoint(&mut new));
    let left = Manifest::list(&memory.store()).unwrap();
    assert!(!left.contains(&ids[0]) && left.contains(&ids[2]), "{left:?} of {ids:?}");
    for id in left {
        verify(&memory.store(), &Manifest::load(&memory.store(), id).unwrap()).unwrap();
    }
}

const YEAR: std::time::Duration = std::time::Duration::from_hours(24 * 365);

#[test]
fn a_table_that_is_replaced_or_not_named_any_more_leaves_nothing() {
    let memory = Memory::new(Failing::Never, false);
    let mut run = Run::new(&memory.store(), 1, None);
    for step in model::random_steps(11, 50) {
        run.step(step).unwrap();
    }
    run.step(Step::Checkpoint { workers: 2 }).unwrap();
    let schema = model::schema("plain");
    let mut writer = TableWriter::new(&memory.store(), &schema, 1000, 1, 0, 0..PARTITIONS).unwrap();
    let mut rows = Rows::default();
    rows.push(RowBytes { partition: 3, key: b"only", sub_key: None, value: Some(b"one") });
    writer.block(&rows).unwrap();
    let files = writer.finish().unwrap();
    let tables = vec![TablePart { schema, files, replaces: true }];
    let part = WorkerPart { tables, ..WorkerPart::default() };
    let manifest =
        run.checkpointer.commit(1000, vec![part], serde_json::Value::Null).unwrap().clone();
    assert_eq!(manifest.tables.len(), 1);
    let restored = Restored::open(&memory.store(), manifest.id()).unwrap();
    let model = model_of(&restored, 0..PARTITIONS);
    assert_eq!(model["plain"].len(), 1);
    assert_eq!(model["plain"][&(3, b"only".to_vec(), None)], b"one");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let memory = Memory::new(Failing::Never, false);
    let mut run = Run::new(&memory.store(), 1, None);
    run.step(Step::Checkpoint { workers: 2 }).unwrap();
    let null = serde_json::Value::Null;
    let mut refused = |epoch, parts: Vec<WorkerPart>| {
        run.checkpointer.commit(epoch, parts, null.clone()).unwrap_err().to_string()
    };
    let sink = || SinkPosition { name: "out".into(), position: vec![1], ..SinkPosition::default() };
    let part = |sinks| WorkerPart { sinks, ..WorkerPart::default() };
    let twice = refused(90, vec![part(vec![sink()]), part(vec![sink()])]);
    assert!(twice.contains("two workers tell the position"), "{twice}");
    let back = refused(0, Vec::new());
    assert!(back.contains("cannot follow"), "{back}");
    let of = |schema| WorkerPart {
        tables: vec![TablePart { schema, files: Vec::new(), replaces: false }],
        ..WorkerPart::default()
    };
    let other = TableSchema { value: "Other".into(), ..model::schema("plain") };
    let apart = refused(91, vec![of(model::schema("plain")), of(other)]);
    assert!(apart.contains("do not agree on what the table `plain` is"), "{apart}");
}

#[test]
fn a_background_compaction_enters_the_next_checkpoint() {
    let memory = Memory::new(Failing::Never, false);
    let mut run = Run::new(&memory.store(), 1, None);
    for step in model::random_steps(21, 300) {
        if !matches!(step, Step::Compact) {
            run.step(step).unwrap();
        }
    }
    run.step(Step::Checkpoint { workers: 3 }).unwrap();
    let files = |run: &Run| run.checkpointer.last().unwrap().files().count();
    let before = files(&run);
    for _ in 0..2 {
        run.checkpointer.compact_in_background();
        run.checkpointer.wait();
    }
    run.step(Step::Checkpoint { workers: 1 }).unwrap();
    assert!(files(&run) < before, "{} of {before}", files(&run));
    let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
    assert_eq!(model_of(&restored, 0..PARTITIONS), run.at_last);
}
