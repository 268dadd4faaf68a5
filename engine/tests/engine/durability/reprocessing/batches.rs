//! Of batches whose items have an identity, a batch of corrections is told for each key.

use super::*;

#[test]
fn batches_are_corrected_as_batches() {
    let folder = Folder::new("reprocess-batches");
    let told = Released::<Vec<Correction<u32, u64>>>::new();
    let draw = |app: &App, factor: u64, count: i64, to: Released<_>| {
        let batch = |time: i64| (Some(time), vec![time as u32 * 2, time as u32 * 2 + 1]);
        app.source("batches", Memory::new(vec![(0..count).map(batch).collect()]))
            .key_by(|batch: &Vec<u32>| (batch[0] % 4 / 2) as u8)
            .items_identified_by(|item: &u32| *item)
            .try_batch("multiply", (), move |item, (), out| {
                out.emit(u64::from(*item) * factor);
                Ok(())
            })
            .sink("told", to);
    };
    let start = |factor, count, workers| {
        let (config, to) = (folder.config(workers), told.clone());
        bounded(move || {
            let build = move |app: &App| {
                draw(app, factor, count, to.clone());
                Ok(())
            };
            run(&config, build).map(drop).unwrap();
        });
    };
    start(1, 10, 1);
    let build = move |app: &App| {
        draw(app, 3, 0, Released::new());
        Ok(())
    };
    reprocess(&folder.config(1), None, build).unwrap();
    start(3, 11, 2);
    let lines = told.lines();
    // A batch of each key, and what came after.
    assert_eq!(lines.len(), 10 + 2 + 1, "{lines:?}");
    let updates = lines[10..12].iter().map(|line| line.matches("op: Update").count());
    assert_eq!(updates.sum::<usize>(), 19, "that of item 0 is the same");
    assert!(lines[12].contains("value: Some(60)") && lines[12].contains("value: Some(63)"));
}
