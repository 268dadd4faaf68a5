//! Every file of a store cut short and changed: what is loaded is a checkpoint that was written, or
//! the file is named.

use std::collections::BTreeMap;

use super::memory::{Failing, Memory};
use super::model::{Model, PARTITIONS, Run, Step, model_of, random_steps};
use crate::checkpoint::{Manifest, newest};

/// The files of a store with two checkpoints, and the tables at each.
fn two_checkpoints() -> (BTreeMap<String, Vec<u8>>, [Model; 2]) {
    let memory = Memory::new(Failing::Never, false);
    let mut run = Run::new(&memory.store(), 1, None);
    let mut models = Vec::new();
    for seed in 0..2 {
        for step in random_steps(seed, 80) {
            if !matches!(step, Step::Checkpoint { .. }) {
                run.step(step).unwrap();
            }
        }
        run.step(Step::Checkpoint { workers: 2 }).unwrap();
        models.push(run.at_last.clone());
    }
    let models: [Model; 2] = models.try_into().unwrap();
    assert_ne!(models[0], models[1]);
    (memory.files(), models)
}

/// What a store loads whose file `path` has `bytes`; the name that a refusal must have otherwise.
fn check(
    files: &BTreeMap<String, Vec<u8>>,
    models: &[Model; 2],
    path: &str,
    bytes: Option<Vec<u8>>,
) {
    let is_as_it_was = bytes.as_ref() == files.get(path);
    let mut files = files.clone();
    match bytes {
        Some(bytes) => drop(files.insert(path.into(), bytes)),
        None => drop(files.remove(path)),
    }
    match newest(&Memory::of(files).store(), |_| true) {
        Ok(Some(restored)) => {
            let found = model_of(&restored, 0..PARTITIONS);
            // The checkpoint that it says it is, and nothing else.
            let expected = &models[restored.manifest.epoch as usize - 1];
            assert_eq!(found, *expected, "{path}");
            assert!(!is_as_it_was || restored.manifest.epoch == 2);
        }
        Ok(None) => panic!("{path}: the checkpoints are not seen"),
        Err(refused) => assert!(refused.to_string().contains(path), "{path}: {refused}"),
    }
}

#[test]
fn a_file_that_is_cut_short_is_never_taken_for_whole() {
    let (files, models) = two_checkpoints();
    for (path, bytes) in &files {
        check(&files, &models, path, None);
        check(&files, &models, path, Some(bytes.clone()));
        for length in (0..bytes.len()).step_by(7) {
            check(&files, &models, path, Some(bytes[..length].to_vec()));
        }
    }
}

/// How many changes are made to each file; the full dose is `ANABRANCH_CHANGES=10000`.
fn changes_to_try() -> usize {
    std::env::var("ANABRANCH_CHANGES").map_or(2_000, |text| text.parse().unwrap())
}

#[test]
fn no_changed_byte_goes_unseen() {
    let (files, models) = two_checkpoints();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for (path, bytes) in &files {
        for _ in 0..changes_to_try() {
            let mut changed = bytes.clone();
            let at = random(changed.len());
            changed[at] ^= 1 + random(255) as u8;
            check(&files, &models, path, Some(changed));
        }
    }
    println!("{} changes of each of {} files", changes_to_try(), files.len());
}

#[test]
fn a_fall_back_is_to_the_checkpoint_before_and_the_damaged_one_goes_with_the_next() {
    let (mut files, models) = two_checkpoints();
    let ids = Manifest::list(&Memory::of(files.clone()).store()).unwrap();
    files.get_mut(&ids[0].path()).unwrap()[40] ^= 1;
    let memory = Memory::of(files.clone());
    let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
    assert_eq!(restored.manifest.id(), ids[1]);
    assert_eq!(model_of(&restored, 0..PARTITIONS), models[0]);
    let mut run = Run::resumed(&memory.store(), 2, Some(&restored));
    run.step(Step::Checkpoint { workers: 1 }).unwrap();
    let left = Manifest::list(&memory.store()).unwrap();
    assert_eq!(left.len(), 2);
    assert_eq!((left[0].generation, left[1]), (2, ids[1]));
    run.assert_clean(&memory);

    files.get_mut(&ids[1].path()).unwrap()[40] ^= 1;
    let refused = newest(&Memory::of(files).store(), |_| true).unwrap_err().to_string();
    assert!(refused.contains("no checkpoint in memory:/ can be loaded"), "{refused}");
    assert!(refused.contains(&ids[0].path()) && refused.contains("--data-dir"), "{refused}");
}

#[test]
fn a_checkpoint_that_is_not_accepted_is_passed_over() {
    let (files, models) = two_checkpoints();
    let memory = Memory::of(files);
    let restored = newest(&memory.store(), |manifest| manifest.epoch < 2).unwrap().unwrap();
    assert_eq!(model_of(&restored, 0..PARTITIONS), models[0]);
    assert!(newest(&memory.store(), |_| false).unwrap().is_none());
}

#[test]
fn a_newer_format_is_not_guessed_at() {
    let (files, _) = two_checkpoints();
    let memory = Memory::of(files);
    let restored = newest(&memory.store(), |_| true).unwrap().unwrap();
    let newer = Manifest { version: 2, ..restored.manifest };
    let text = newer.encode().unwrap();
    let refused = Manifest::decode("m", &text).unwrap_err().to_string();
    assert!(refused.contains("m has version 2, but this program reads version 1"), "{refused}");
}
