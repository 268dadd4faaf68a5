//! Orders to compute anew that cannot be carried out say why, and what to do.

use super::*;

#[test]
fn what_cannot_be_computed_anew_is_refused() {
    let refused = |world: &World| match world.reprocess(2, None) {
        Err(Error::Usage(why)) => why,
        other => panic!("{other:?}"),
    };
    let mut world = World::new(Nature::Live, 9);
    world.interval = "1h";
    let why = refused(&world);
    assert!(why.contains("is no data directory"), "{why}");
    world.run(1, 1, 1_000, 10);
    let why = refused(&world);
    assert!(why.contains("has no checkpoint yet") && why.contains("just start"), "{why}");
    world.run(1, 1, 1_000, usize::MAX);
    world.run(1, 1, 2_000, world.told.len() + 10);
    let why = refused(&world);
    assert!(
        why.contains("has gone on after checkpoint") && why.contains("end it in order"),
        "{why}"
    );
    world.run(1, 2, 2_000, usize::MAX);
    let late = world.reprocess(2, Some(Time::END)).unwrap_err().to_string();
    assert!(late.contains("nothing to compute anew: ask for an earlier --from"), "{late}");

    let plain = |app: &App| {
        app.source("numbers", anabranch::source::empty::<u64>())
            .sink("out", anabranch::sink::null());
        Ok(())
    };
    let none = reprocess(&Config::default(), None, plain).unwrap_err().to_string();
    assert!(none.starts_with("add --data-dir"), "{none}");
    let none = reprocess(&world.config(1), None, plain).unwrap_err().to_string();
    assert!(none.contains("has an identity of its records"), "{none}");
    let runs_on = |app: &App| {
        let (none, items) = (anabranch::sink::null(), input(Nature::Live, &[], 0));
        draw(app, 2, &items, anabranch::sink::null(), none);
        let sums = app.view("sums", SUMS, |t| t.map(|(key, _)| key));
        sums.changes().key_by(|told| told.record).compute(
            "see",
            SEEN,
            |_, _, _: &mut Context<()>| {},
        );
        Ok(())
    };
    let why = reprocess(&world.config(1), None, runs_on).unwrap_err().to_string();
    assert!(why.contains("a computation runs on what view `sums` tells"), "{why}");
    let data = DataDir::open(&world.folder.0, "anabranch", 1024).unwrap();
    let file = std::fs::File::open(world.folder.0.join("lock")).unwrap();
    file.lock().unwrap();
    let used = world.reprocess(2, None).unwrap_err();
    assert!(matches!(&used, Error::Cluster(why) if why.contains("is in use by")), "{used:?}");
    drop((data, file));

    // What is tried again later would be applied to what is computed anew by then.
    world.retry().unwrap();
    let why = refused(&world);
    assert!(why.contains("dead letters are to be tried again"), "{why}");
    world.run(1, 1, 3_000, usize::MAX);
    let why = refused(&world);
    assert!(why.contains("dead letters were tried again at") && why.contains("--from"), "{why}");

    // And what is to be computed anew is not tried again before.
    let world = {
        let mut world = World::new(Nature::Live, 9);
        world.run(1, 1, 1_000, usize::MAX);
        world.reprocess(2, None).unwrap();
        world
    };
    let why = world.retry().unwrap_err().to_string();
    assert!(why.contains("is to compute anew") && why.contains("start it"), "{why}");
}
