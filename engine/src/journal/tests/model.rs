//! Random appends, rolls, drops and restarts, beside a plain list.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// To that lane, so many epochs later, so many records and bytes.
    Append(usize, u64, u32, usize),
    Commit,
    Roll,
    /// Before that share of the epochs.
    Drop(u64),
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0_usize..2, 0_u64..3, 0_u32..4, prop_oneof![Just(0), 1_usize..300])
            .prop_map(|(lane, later, count, bytes)| Step::Append(lane, later, count, bytes)),
        4 => Just(Step::Commit),
        2 => Just(Step::Roll),
        3 => (0_u64..=100).prop_map(Step::Drop),
        2 => any::<bool>().prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 0..120)
}

/// What is to be there.
#[derive(Default)]
struct Model {
    frames: [Vec<Kept>; 2],
    epoch: u64,
    /// Everything of this epoch and later ones is there.
    whole_from: u64,
    dropped_before: u64,
}

impl Model {
    fn from(&self, lane: usize, epoch: u64) -> Vec<Kept> {
        self.frames[lane].iter().filter(|kept| kept.head.epoch >= epoch).cloned().collect()
    }

    fn position(&self, lane: usize) -> LanePosition {
        let mut position = LanePosition::default();
        for kept in &self.frames[lane] {
            position.next = kept.head.next;
            position.last_time = position.last_time.max(Some(kept.head.time));
            position.last_epoch = Some(kept.head.epoch);
            position.position = kept.position.clone().unwrap_or(position.position);
        }
        position
    }

    /// What is read from that epoch on is what should be there.
    fn check(&self, root: &Path, from: u64) -> Result<Vec<(LaneName, LaneEnd)>, TestCaseError> {
        let mut ends = Vec::new();
        for index in 0..2 {
            let name = lane(u32::try_from(index).unwrap());
            let mut reader = open(root, &name, from).map_err(|e| fail(&e))?;
            prop_assert_eq!(reader.end().position(), &self.position(index));
            prop_assert_eq!(rest(&mut reader).map_err(|e| fail(&e))?, self.from(index, from));
            prop_assert_eq!(reader.position(), &self.position(index));
            ends.push((name, reader.end().clone()));
        }
        Ok(ends)
    }
}

fn fail(error: &Error) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

fn run(steps: Vec<Step>, durability: Durability) -> Result<(), TestCaseError> {
    let folder = Folder::new();
    let root = folder.path.join("journal");
    let mut model = Model::default();
    let mut generation = 1;
    let begin = |generation, ends| {
        let (journal, woken) = start_with(&root, generation, durability, ends).unwrap();
        (journal.with_limits(100, 700), woken)
    };
    let (mut journal, mut woken) = begin(generation, model.check(&root, 0)?);
    for step in steps {
        match step {
            Step::Append(lane, later, count, bytes) => {
                model.epoch += later;
                let first = model.frames[lane].last().map_or(0, |kept| kept.head.next);
                let kept = frame(model.epoch, first, count, bytes);
                append(&mut journal, lane, &kept);
                model.frames[lane].push(kept);
            }
            Step::Commit => {
                model.epoch += 1;
                journal.commit(model.epoch);
                until_durable(&journal, &woken, model.epoch);
                for lane in 0..2 {
                    let next = model.frames[lane].last().map_or(0, |kept| kept.head.next);
                    prop_assert_eq!(journal.durable_next(lane), next);
                }
                if durability == Durability::Sync {
                    prop_assert_eq!(journal.synced(), journal.durable());
                }
                model.check_looking(&root)?;
            }
            Step::Roll => journal.roll(),
            Step::Drop(share) => {
                let epoch = model.epoch * share / 100;
                let whole = journal.drop_before(epoch);
                model.dropped_before = model.dropped_before.max(epoch);
                prop_assert!(whole <= model.dropped_before, "{whole} is still needed");
                model.whole_from = whole;
            }
            Step::Restart(closed) => {
                let before = journal.position(0).cloned();
                prop_assert_eq!(before, Some(model.position(0)));
                // Both write what there is; only one says how it went.
                if closed {
                    journal.close().unwrap();
                } else {
                    drop(journal);
                }
                generation += 1;
                model.check(&root, model.whole_from)?;
                let ends = model.check(&root, model.epoch.max(model.whole_from))?;
                (journal, woken) = begin(generation, ends);
                // Of segments that were not read less is known: what it is then has to be true too.
                model.whole_from = journal.drop_before(0);
                prop_assert!(model.whole_from <= model.dropped_before);
            }
        }
    }
    journal.close().unwrap();
    model.check(&root, model.whole_from)?;
    model.check(&root, model.epoch)?;
    Ok(())
}

impl Model {
    fn check_looking(&self, root: &Path) -> Result<(), TestCaseError> {
        for index in 0..2 {
            let name = lane(u32::try_from(index).unwrap());
            let read = look(root, &name, self.whole_from).map_err(|e| fail(&e))?;
            prop_assert_eq!(read, self.from(index, self.whole_from));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_appended_is_read(steps in steps(), asynchronous in any::<bool>()) {
        let durability = if asynchronous { Durability::Async } else { Durability::Sync };
        run(steps, durability)?;
    }
}

#[test]
fn async_is_on_the_disk_only_after_a_roll() {
    let folder = Folder::new();
    let lanes = vec![(lane(0), LaneEnd::default())];
    let (mut journal, woken) = start_with(&folder.path, 1, Durability::Async, lanes).unwrap();
    append(&mut journal, 0, &frame(4, 0, 2, 100));
    journal.commit(5);
    until_durable(&journal, &woken, 5);
    assert_eq!((journal.durable_next(0), journal.synced()), (2, 0));
    journal.roll();
    while journal.synced() < 5 {
        woken.recv().unwrap();
    }
    assert_eq!(journal.health().unwrap(), Health::Writing);
    assert_eq!(journal.queued_bytes(), 0);
    journal.close().unwrap();
}

#[test]
fn unneeded_segments_are_dropped_and_the_files_with_them() {
    let folder = Folder::new();
    let (journal, woken) = start(&folder.path, 1);
    let mut journal = journal.with_limits(0, 100);
    for epoch in 0..10 {
        append(&mut journal, 0, &frame(epoch, epoch, 1, 200));
    }
    journal.commit(10);
    until_durable(&journal, &woken, 10);
    assert_eq!(folder.segments(&lane(0)).len(), 10);
    assert!(has_beginning(&folder.path).unwrap());
    let extent = || Extent::of(&folder.path).unwrap();
    let bytes: Vec<u64> = segment::list(&lane(0).folder(&folder.path))
        .unwrap()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    // The last one is written to, and stays.
    for (epoch, kept) in [(0, 0), (1, 1), (6, 6), (7, 7), (9, 9), (100, 9)] {
        assert_eq!(extent().since(epoch), bytes[kept..].iter().sum::<u64>(), "{epoch}");
    }
    assert_eq!(journal.drop_before(7), 7);
    assert_eq!(journal.drop_before(3), 7);
    assert_eq!(journal.drop_before(100), 9);
    journal.close().unwrap();
    assert!(!has_beginning(&folder.path).unwrap());
    assert_eq!(extent().since(0), bytes[9]);
    assert_eq!(folder.segments(&lane(0)).len(), 1, "the one that is written to stays");
    let refused = look(&folder.path, &lane(0), 8).unwrap_err().to_string();
    assert!(refused.contains("00000000000000000008-0000000001.seg"), "{refused}");
    assert_eq!(look(&folder.path, &lane(0), 9).unwrap(), [frame(9, 9, 1, 200)]);
}

#[test]
fn what_does_not_follow_is_refused_and_harms_nothing() {
    let folder = Folder::new();
    let (mut journal, _woken) = start(&folder.path, 1);
    append(&mut journal, 0, &frame(5, 0, 2, 9));
    let mut refuses = |kept: &Kept, why: &str| {
        let refused = journal.append(0, kept.head, None, &kept.payload).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert!(refused.contains("partition 0 of source `prices.eu`"), "{refused}");
    };
    refuses(&frame(5, 3, 1, 9), "from 2 to 3");
    refuses(&frame(5, 1, 1, 9), "from 2 to 1");
    refuses(&frame(4, 2, 1, 9), "back from 5 to 4");
    refuses(&frame(5, 2, 1, PAYLOAD_MAX + 1), "64 MiB");
    journal.commit(7);
    assert!(journal.append(0, frame(6, 2, 1, 9).head, None, b"").is_err());
    assert!(journal.append(1, frame(8, 2, 1, 9).head, None, b"").is_err());
    append(&mut journal, 0, &frame(7, 2, 1, 0));
    journal.close().unwrap();
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), [frame(5, 0, 2, 9), frame(7, 2, 1, 0)]);
}

#[test]
fn the_longest_frame_is_kept() {
    let folder = Folder::new();
    let (mut journal, _woken) = start(&folder.path, 1);
    let longest = frame(1, 0, 1, PAYLOAD_MAX);
    append(&mut journal, 0, &longest);
    journal.close().unwrap();
    assert!(look(&folder.path, &lane(0), 0).unwrap() == [longest]);
    assert_eq!(lanes(&folder.path).unwrap(), [lane(0)]);
}
