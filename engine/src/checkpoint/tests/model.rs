//! Random histories of tables, as plain maps and as checkpoints.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::super::compact::Compacted;
use super::super::*;
use super::memory::Memory;
use crate::Result;
use crate::released::Released;

pub(super) const PARTITIONS: u32 = 16;

type Key = (u32, Vec<u8>, Option<Vec<u8>>);
pub(super) type Table<V> = BTreeMap<Key, V>;
pub(super) type Model = BTreeMap<String, Table<Vec<u8>>>;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Change {
        map: bool,
        key: u8,
        sub_key: u8,
        value: Option<Vec<u8>>,
    },
    Checkpoint {
        workers: u32,
    },
    Compact,
    /// Takes what came of the compaction.
    Adopt,
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        12 => (any::<bool>(), 0..60_u8, 0..3_u8, value).prop_map(|(map, key, sub_key, value)| {
            Step::Change { map, key, sub_key, value }
        }),
        4 => (1..5_u32).prop_map(|workers| Step::Checkpoint { workers }),
        2 => Just(Step::Compact),
        2 => Just(Step::Adopt),
    ]
}

pub(super) fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = proptest::collection::vec(steps(), count..=count);
    strategy.new_tree(&mut runner).unwrap().current()
}

pub(super) fn schema(name: &str) -> TableSchema {
    TableSchema {
        name: name.into(),
        key: "u8".into(),
        sub_key: (name == "map").then(|| "u8".into()),
        value: "Vec<u8>".into(),
        codec: Codec::Bitcode,
    }
}

/// A program that changes tables and makes checkpoints of them.
pub(super) struct Run {
    store: Store,
    pub(super) checkpointer: Checkpointer,
    generation: u64,
    epoch: u64,
    now: Model,
    /// What changed since the last checkpoint.
    dirty: BTreeMap<String, Table<Option<Vec<u8>>>>,
    /// The tables at the last checkpoint.
    pub(super) at_last: Model,
    /// The mark of the compaction that was run, and what came of it.
    compacting: Option<(String, Result<Compacted>)>,
}

/// What a store may have after a crash.
#[derive(Debug)]
pub(super) struct Crashed {
    pub(super) at_last: Option<Model>,
    pub(super) at_next: Option<Model>,
}

impl Run {
    pub(super) fn new(store: &Store, generation: u64, last: Option<Manifest>) -> Self {
        let epoch = last.as_ref().map_or(0, |last| last.epoch);
        let writer = Writer { generation, program: "test".into(), partitions: PARTITIONS };
        let names = ["map", "plain"];
        let empty: Model = names.iter().map(|name| ((*name).into(), Table::new())).collect();
        Self {
            store: store.clone(),
            checkpointer: Checkpointer::new(store, writer, last),
            generation,
            epoch,
            now: empty.clone(),
            dirty: names.iter().map(|name| ((*name).into(), Table::new())).collect(),
            at_last: empty,
            compacting: None,
        }
    }

    /// The next generation, from what `restored` has.
    pub(super) fn resumed(store: &Store, generation: u64, restored: Option<&Restored>) -> Self {
        let mut run = Self::new(store, generation, restored.map(|it| it.manifest.clone()));
        if let Some(restored) = restored {
            run.now = model_of(restored, 0..PARTITIONS);
            run.at_last = run.now.clone();
        }
        run
    }

    pub(super) fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Change { map, key, sub_key, value } => {
                let name = if map { "map" } else { "plain" };
                let sub_key = map.then(|| vec![sub_key]);
                let key = (u32::from(key) % PARTITIONS, vec![key], sub_key);
                let rows = self.now.get_mut(name).unwrap();
                match value.clone() {
                    Some(value) => drop(rows.insert(key.clone(), value)),
                    None => drop(rows.remove(&key)),
                }
                self.dirty.get_mut(name).unwrap().insert(key, value);
            }
            Step::Checkpoint { workers } => self.checkpoint(workers)?,
            Step::Compact => {
                if self.compacting.is_none() {
                    let due = self.checkpointer.due().map(|due| due.pass_of(100));
                    self.compacting = due.map(|due| (due.mark(), due.run()));
                }
            }
            Step::Adopt => {
                if let Some((_, compacted)) = self.compacting.take() {
                    self.checkpointer.took(compacted);
                }
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, workers: u32) -> Result<()> {
        self.epoch += 1;
        let mut parts = Vec::new();
        for worker in 0..workers {
            let own = PARTITIONS * worker / workers..PARTITIONS * (worker + 1) / workers;
            let mut part = WorkerPart::default();
            if worker == 0 {
                let source = SourcePosition { source: "in".into(), ..SourcePosition::default() };
                part.sources.push(SourcePosition { next_offset: self.epoch, ..source });
                part.sinks.push(SinkPosition {
                    name: "out".into(),
                    position: vec![0, 255],
                    released: Some(Released { records: 1, digest: 2 }),
                });
            }
            for name in ["map", "plain"] {
                let schema = schema(name);
                let (epoch, generation) = (self.epoch, self.generation);
                let mut writer = TableWriter::new(
                    &self.store,
                    &schema,
                    epoch,
                    generation,
                    worker as usize,
                    own.clone(),
                )?
                .cut_at(600);
                let mut block = Rows::default();
                for ((partition, key, sub_key), value) in &self.dirty[name] {
                    if own.contains(partition) {
                        let (sub_key, value) = (sub_key.as_deref(), value.as_deref());
                        block.push(RowBytes { partition: *partition, key, sub_key, value });
                        if block.len() == 7 {
                            writer.block(&block)?;
                            block.take();
                        }
                    }
                }
                writer.block(&block)?;
                part.tables.push(TablePart { schema, files: writer.finish()?, replaces: false });
            }
            parts.push(part);
        }
        // The files are written: from here on it is for the checkpointer to see that they count.
        self.dirty.values_mut().for_each(BTreeMap::clear);
        let extra = serde_json::json!({ "epoch": self.epoch });
        self.checkpointer.commit(self.epoch, parts, extra)?;
        self.at_last = self.now.clone();
        Ok(())
    }

    /// There are two checkpoints at most, and no file that neither they nor a compaction need.
    pub(super) fn assert_clean(&self, memory: &Memory) {
        let store = memory.store();
        let ids = Manifest::list(&store).unwrap();
        assert!(!ids.is_empty() && ids.len() <= 2, "{ids:?}");
        let named: Vec<String> = ids
            .iter()
            .flat_map(|id| {
                Manifest::load(&store, *id).unwrap().files().cloned().collect::<Vec<_>>()
            })
            .map(|file| file.path)
            .collect();
        for entry in store.list("tables").unwrap() {
            let known = named.contains(&entry.path)
                || self.compacting.as_ref().is_some_and(|(mark, _)| entry.path.contains(mark));
            assert!(known, "{} is left", entry.path);
        }
    }
}

/// A history of one process, until it ends or its store fails.
pub(super) fn random_run(seed: u64, memory: &Memory) -> Result<(), Crashed> {
    let mut run = Run::new(&memory.store(), 1, None);
    for step in random_steps(seed, 120) {
        let failed = run.step(step).is_err();
        let (next, last) = (run.now.clone(), run.checkpointer.last().is_some());
        // Also what fails without an error to the caller: compaction and removal.
        if failed || memory.has_failed() {
            let at_last = last.then(|| run.at_last.clone());
            return Err(Crashed { at_last, at_next: Some(next) });
        }
    }
    Ok(())
}

pub(super) fn model_of(restored: &Restored, partitions: Range<u32>) -> Model {
    let mut model = Model::new();
    for table in &restored.manifest.tables {
        let name = &table.schema.name;
        let rows = model.entry(name.clone()).or_default();
        restored
            .rows(name, partitions.clone(), |row| {
                let key = (row.partition, row.key.to_vec(), row.sub_key.map(<[u8]>::to_vec));
                match row.value {
                    Some(value) => drop(rows.insert(key, value.to_vec())),
                    None => drop(rows.remove(&key)),
                }
                Ok(())
            })
            .unwrap();
    }
    model
}
