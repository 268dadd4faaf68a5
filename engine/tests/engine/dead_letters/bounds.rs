//! Letters for which there is no room: the program ends, or the oldest or the newest go.

use super::*;

#[test]
fn more_letters_than_there_is_room_for_end_the_program() {
    let last = Arc::new(AtomicBool::new(true));
    let mut world = World::new("letters-stop", Nature::Live, &many(20), &last);
    world.flags = &["--dead-letters-max", "4"];
    let ended = world.run(2, |_| false).unwrap_err();
    assert_eq!(ended.exit_code(), 3);
    assert!(ended.to_string().contains("4 dead letters are open, which is all there is room for"));
    assert_eq!(world.list().len(), 4);
    // What people close makes room, before anything of it was seen by the program.
    assert_eq!(world.all(LettersAction::Ignore)[0], "4 ignored");
    let again = world.run(1, |_| false).unwrap_err();
    assert_eq!((again.exit_code(), world.list().len()), (3, 4));
    world.flags = &["--dead-letters-max", "6"];
    world.run(3, |_| false).unwrap();
    assert_eq!(world.list().len(), 6);
    assert_eq!(world.lines().len(), 10);
}

#[test]
fn the_oldest_or_the_newest_letters_go() {
    for (which, expected) in [("drop-oldest", [13, 15, 17, 19]), ("drop-newest", [1, 3, 5, 7])] {
        let last = Arc::default();
        let mut world = World::new("letters-drop", Nature::Live, &many(20), &last);
        world.flags = match which {
            "drop-oldest" => &["--dead-letters-max", "4", "--dead-letters-full", "drop-oldest"],
            _ => &["--dead-letters-max", "4", "--dead-letters-full", "drop-newest"],
        };
        world.run(2, |world| world.settled() == 10).unwrap();
        let names = |world: &World| -> Vec<String> {
            world.list().iter().map(|it| it.split("  ").next().unwrap().to_string()).collect()
        };
        let expected: Vec<_> = expected.iter().map(|n| format!("items-0-{n}/add")).collect();
        assert_eq!(names(&world), expected, "{which}");
        world.corrected.store(true, Ordering::SeqCst);
        assert!(world.all(LettersAction::Retry)[0].starts_with("4 to be tried"));
        last.store(true, Ordering::SeqCst);
        world.run(1, |_| false).unwrap();
        assert_eq!((world.list().len(), world.lines().len()), (0, 14), "{which}");
    }
}
