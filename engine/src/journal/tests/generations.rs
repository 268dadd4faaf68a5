//! Starts that follow each other, and those that come too late.

use super::*;

#[test]
fn a_reader_goes_over_two_generations() {
    let folder = Folder::new();
    let (mut first, _woken) = start(&folder.path, 1);
    append(&mut first, 0, &frame(1, 0, 2, 20));
    append(&mut first, 0, &frame(2, 2, 1, 20));
    first.close().unwrap();
    let (mut second, _woken) = start(&folder.path, 2);
    // The second one goes on in the epoch in which the first one ended.
    append(&mut second, 0, &frame(2, 3, 1, 0));
    append(&mut second, 0, &frame(9, 4, 1, 20));
    second.close().unwrap();
    let all = [frame(1, 0, 2, 20), frame(2, 2, 1, 20), frame(2, 3, 1, 0), frame(9, 4, 1, 20)];
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);
    assert_eq!(look(&folder.path, &lane(0), 2).unwrap(), all[1..]);
    assert_eq!(look(&folder.path, &lane(0), 3).unwrap(), all[3..]);
    let reader = open(&folder.path, &lane(0), 10).unwrap();
    assert_eq!((reader.end().position().next, reader.position().next), (5, 3));
    // No segment was rolled: each generation has its own.
    assert_eq!(folder.segments(&lane(0)).len(), 2);
}

#[test]
fn what_a_stale_generation_writes_is_no_part_of_the_journal() {
    let folder = Folder::new();
    let (stale, stale_woken) = start(&folder.path, 1);
    let mut stale = stale.with_limits(0, 250);
    append(&mut stale, 0, &frame(1, 0, 1, 20));
    stale.commit(2);
    until_durable(&stale, &stale_woken, 2);

    let (mut newer, newer_woken) = start(&folder.path, 2);
    // It wakes up: more frames, and a segment that is later than those of the newer one.
    append(&mut stale, 0, &frame(2, 1, 1, 70));
    append(&mut stale, 0, &frame(3, 2, 1, 80));
    append(&mut stale, 0, &frame(50, 3, 1, 80));
    stale.close().unwrap();
    append(&mut newer, 0, &frame(2, 1, 5, 30));
    newer.commit(3);
    until_durable(&newer, &newer_woken, 3);
    assert_eq!(folder.segments(&lane(0)).len(), 4);
    let all = [frame(1, 0, 1, 20), frame(2, 1, 5, 30)];
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);
    newer.close().unwrap();

    // Bytes that are no frames do no harm there either.
    let first = &folder.segments(&lane(0))[0];
    let mut bytes = fs::read(first).unwrap();
    bytes.extend_from_slice(b"half a frame");
    fs::write(first, bytes).unwrap();
    assert_eq!(look(&folder.path, &lane(0), 0).unwrap(), all);

    let (third, woken) = start(&folder.path, 3);
    let mut third = third.with_limits(0, 0);
    append(&mut third, 0, &frame(100, 6, 1, 1));
    append(&mut third, 0, &frame(101, 7, 1, 1));
    third.commit(102);
    until_durable(&third, &woken, 102);
    // What the stale one left goes with the rest.
    assert_eq!(third.drop_before(101), 101);
    third.close().unwrap();
    assert_eq!(folder.segments(&lane(0)).len(), 1);
    assert_eq!(look(&folder.path, &lane(0), 101).unwrap(), [frame(101, 7, 1, 1)]);
}

#[test]
fn a_generation_that_is_not_newer_cannot_begin() {
    let folder = Folder::new();
    let end = open(&folder.path, &lane(0), 0).unwrap().end().clone();
    let (journal, _woken) = start(&folder.path, 2);
    for stale in [1, 2] {
        let lanes = vec![(lane(0), end.clone())];
        let refused = start_with(&folder.path, stale, Durability::Sync, lanes).err().unwrap();
        assert!(refused.to_string().contains("was begun by generation 2"), "{refused}");
    }
    journal.close().unwrap();
}

#[test]
fn a_lane_may_begin_where_a_checkpoint_is() {
    let folder = Folder::new();
    let position = LanePosition {
        next: 500,
        last_time: Some(Time::from_nanos(7)),
        position: b"line 9".to_vec(),
        last_epoch: Some(41),
    };
    let end = LaneEnd { position: position.clone(), ..LaneEnd::default() };
    let lanes = vec![(lane(0), end)];
    let (mut journal, _woken) = start_with(&folder.path, 1, Durability::Sync, lanes).unwrap();
    assert_eq!((journal.durable_next(0), journal.position(0)), (500, Some(&position)));
    append(&mut journal, 0, &frame(42, 500, 1, 3));
    journal.close().unwrap();
    // Nothing was ever before it, so nothing is missing.
    let mut reader = open(&folder.path, &lane(0), 0).unwrap();
    assert_eq!(reader.position(), &position);
    assert_eq!(rest(&mut reader).unwrap(), [frame(42, 500, 1, 3)]);
}
