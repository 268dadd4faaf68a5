//! Checkpoints that have some of many retries, and starts that go on from them.

use super::*;

/// Some of them were tried when a checkpoint was made, others were not: a start that goes on from it tries the others.
fn from_checkpoints_in_the_middle(nature: Nature, name: &str) {
    let last = Arc::default();
    let mut items = many(20_000);
    // A chunk of recorded input is complete with its records.
    items.extend(vec![(0, LAST, false); 1_100]);
    let mut world = World::new(name, nature, &items, &last);
    world.flags = &["--in-flight-records", "500"];
    world.run(2, |world| world.settled() == 10_000).unwrap();
    world.corrected.store(true, Ordering::SeqCst);
    assert!(world.all(LettersAction::Retry)[0].starts_with("10000 to be tried again"));
    // Requests follow recorded input.
    last.store(nature == Nature::Recorded, Ordering::SeqCst);
    let folder = Arc::clone(&world.folder);
    world.kept.crawls = Some((10_000, Arc::new(move || position(&folder, "sums") as usize)));
    for workers in [3, 1, 4] {
        assert!(world.run(workers, |_| false).is_err(), "{workers} workers");
    }
    world.kept.crawls = None;
    last.store(true, Ordering::SeqCst);
    world.run(2, |world| world.list().is_empty()).unwrap();
    let (bad, good): (Vec<Item>, Vec<Item>) =
        items.iter().filter(|item| item.1 != LAST).partition(|item| item.2);
    assert!(world.lines() == sums(good.into_iter().chain(bad)));
    assert_eq!(world.all(LettersAction::List { groups: false }).len(), 10_000);
    let resumed = world.kept.resumed.lock().unwrap().clone();
    assert!(resumed.is_sorted_by(|one, next| one < next), "{resumed:?}");
    assert!(resumed.len() == 5 && resumed[1] == 10_000 && resumed[4] < 20_000, "{resumed:?}");
}

#[test]
fn retries_of_live_input_go_on_from_checkpoints_in_their_middle() {
    from_checkpoints_in_the_middle(Nature::Live, "letters-middle-live");
}

#[test]
fn retries_of_recorded_input_go_on_from_checkpoints_in_their_middle() {
    from_checkpoints_in_the_middle(Nature::Recorded, "letters-middle-recorded");
}

/// What a checkpoint has of the log ends where its boundary is, whatever it asked for meanwhile.
#[test]
fn the_letters_before_a_boundary_are_in_its_checkpoint() {
    for workers in [1, 2] {
        let last = Arc::default();
        let mut items = many(6_000);
        items.extend(vec![(0, LAST, false); 1_100]);
        let world = World::new("letters-boundary", Nature::Recorded, &items, &last);
        let at_the_end = |world: &World| position(&world.folder, "sums") == 3_000;
        world.run(workers, at_the_end).unwrap();
        assert_eq!(world.settled(), 3_000, "{workers} workers");
        // A start cuts what its checkpoint does not have.
        last.store(true, Ordering::SeqCst);
        world.run(3 - workers, |_| false).unwrap();
        assert_eq!(world.list().len(), 3_000, "{workers} workers");
    }
}
