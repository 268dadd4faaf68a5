//! A store in memory that fails when it is told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::checkpoint::store::{Backend, Entry, Store};

/// When operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    Never,
    /// The n-th and all after it: the process died.
    From(usize),
    /// The n-th alone.
    Once(usize),
}

#[derive(Debug)]
struct Inner {
    files: BTreeMap<String, Vec<u8>>,
    operations: usize,
    failing: Failing,
    /// Whether the first operation that fails has been done nevertheless.
    done: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Mutex<Inner>>);

impl Memory {
    pub(super) fn new(failing: Failing, done: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { files: BTreeMap::new(), operations: 0, failing, done })))
    }

    pub(super) fn store(&self) -> Store {
        Store::over(Arc::new(self.clone()), "memory:").hurried()
    }

    pub(super) fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    pub(super) fn has_failed(&self) -> bool {
        let inner = self.0.lock().unwrap();
        matches!(inner.failing, Failing::From(from) if inner.operations > from)
    }

    /// From now on nothing fails.
    pub(super) fn heal(&self) {
        self.0.lock().unwrap().failing = Failing::Never;
    }

    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    /// A store of its own with the same files.
    pub(super) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let memory = Self::new(Failing::Never, false);
        memory.0.lock().unwrap().files = files;
        memory
    }

    fn operate<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> io::Result<T> {
        let mut inner = self.0.lock().unwrap();
        let number = inner.operations;
        inner.operations += 1;
        let (fails, first) = match inner.failing {
            Failing::Never => (false, false),
            Failing::From(from) => (number >= from, number == from),
            Failing::Once(at) => (number == at, number == at),
        };
        let died = || io::Error::other(format!("operation {number} fails"));
        if fails {
            if first && inner.done {
                act(&mut inner.files);
            }
            return Err(died());
        }
        Ok(act(&mut inner.files))
    }
}

impl Backend for Memory {
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate(|files| drop(files.insert(path.into(), bytes.into())))
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        self.operate(|files| {
            let absent = !files.contains_key(path);
            files.entry(path.into()).or_insert_with(|| bytes.into());
            absent
        })
    }

    fn get(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        let found = self.operate(|files| files.get(path).cloned())?;
        match found {
            Some(bytes) if bytes.len() as u64 > max => {
                Err(crate::checkpoint::local::too_large(bytes.len() as u64, max))
            }
            found => Ok(found),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        self.operate(|files| {
            let inside = files.iter().filter(|(path, _)| path.starts_with(&format!("{folder}/")));
            inside
                .map(|(path, bytes)| Entry { path: path.clone(), bytes: bytes.len() as u64 })
                .collect()
        })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        self.operate(|files| drop(files.remove(path)))
    }
}
