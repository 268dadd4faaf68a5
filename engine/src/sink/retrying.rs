//! [`retrying`]: a sink that is given a record again when it fails.
//!
//! Invariant: a worker never waits for a pause; records behind the one that failed wait, so the order stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Encoder, Guarantee, Outgoing, Sink, Taken, Writer};
use crate::lookup::runtime;
use crate::metrics::Counter;
use crate::source::{OpenContext, Waker};
use crate::{Error, Failure, Record, Result, Retry};

/// `sink`, to which a record that could not be written is given again after a pause, as `retry` says. After the
/// last try it is a [dead letter](crate::DeadLetter) of the computation that is named as the sink is, and the
/// sink goes on with the next one. The counters `<sink>.retries` and `<sink>.dead_letters` count.
///
/// A writer has failed when it gives [`Error::Connector`], or [`Error::Refused`], after which the record is not tried
/// again; the record is the one at the front of what it was
/// offered then, so a writer must have taken from there what it has written. If it fails to
/// [flush](Writer::flush), to say its [position](Writer::position) or to [close](Writer::close), no record can be blamed: that
/// is tried again too, and after the last try the program ends. So it does for any other error, and for the
/// sink of dead letters itself, of which there can be no letter.
///
/// **Exactly once.** With a data directory it is journaled that a record was refused before anything behind it
/// is written; a restart or a replay does not offer it again, even if the sink would take it now, and
/// its letter is the same. So the sink is given the same records in the same order for ever, and its
/// [`Guarantee`] holds for them, as long as a writer that skips what it has does not fail at that. What it cannot
/// tell: whether a receiver that failed had taken the record all the same.
///
/// ```
/// use anabranch::prelude::*;
/// use anabranch::{Retry, sink, source};
///
/// fn copy(app: &App) -> Result<()> {
///     app.source("lines", source::empty::<String>())
///         .sink("copies", sink::retrying(sink::null(), Retry::tries(3)));
///     Ok(())
/// }
/// # drop(copy);
/// ```
pub fn retrying<S: Sink>(sink: S, retry: Retry) -> Retrying<S> {
    Retrying { sink, retry }
}

/// A sink that is given a record again when it fails. Made by [`retrying`].
pub struct Retrying<S> {
    sink: S,
    retry: Retry,
}

impl<S: Sink> Sink for Retrying<S> {
    type Item = S::Item;

    fn describe(&self) -> String {
        self.sink.describe()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<S::Item>>> {
        Ok(Box::new(RetryingWriter::new(self.sink.open(context)?, self.retry, context)))
    }

    fn guarantee(&self) -> Guarantee {
        self.sink.guarantee()
    }

    fn encoder(&self) -> Option<Box<dyn Encoder<S::Item>>> {
        self.sink.encoder()
    }

    fn refuses(&self) -> bool {
        true
    }
}

pub(super) struct RetryingWriter<T> {
    writer: Box<dyn Writer<T>>,
    retry: Retry,
    /// How often the present record, or what is not of a record, has failed.
    tried: u32,
    /// Whether the pause is over, if there is one.
    over: Option<Arc<AtomicBool>>,
    waker: Waker,
    retries: Counter,
}

impl<T> RetryingWriter<T> {
    pub(super) fn new(writer: Box<dyn Writer<T>>, retry: Retry, context: &OpenContext) -> Self {
        let (waker, retries) = (context.waker.clone(), context.counters.counter("retries"));
        Self { writer, retry, tried: 0, over: None, waker, retries }
    }

    fn pauses(&mut self) -> bool {
        self.over.take_if(|over| over.load(Ordering::Acquire));
        self.over.is_some()
    }

    /// Begins the pause after a failure; false if there is to be no further try.
    fn pause(&mut self, seed: u64) -> Result<bool> {
        self.tried += 1;
        let Some(pause) = self.retry.pause(self.tried, seed) else {
            self.tried = 0;
            return Ok(false);
        };
        self.retries.add(1);
        let (over, waker) = (Arc::new(AtomicBool::new(false)), self.waker.clone());
        self.over = Some(Arc::clone(&over));
        runtime()?.spawn(async move {
            tokio::time::sleep(pause).await;
            over.store(true, Ordering::Release);
            waker.wake();
        });
        Ok(true)
    }

    /// Does what is not of a record; `later` if it is to be tried again.
    fn attempt<R>(
        &mut self,
        later: R,
        attempt: impl FnOnce(&mut dyn Writer<T>) -> Result<R>,
    ) -> Result<R> {
        if self.pauses() {
            return Ok(later);
        }
        match attempt(&mut *self.writer) {
            Err(Error::Connector(why)) => {
                if self.pause(0)? {
                    Ok(later)
                } else {
                    Err(Error::Connector(why))
                }
            }
            done => {
                self.tried = 0;
                done
            }
        }
    }
}

fn refused(why: String) -> Failure {
    Failure { kind: "refused".to_string(), chain: vec![why], place: None }
}

impl<T: Record> Writer<T> for RetryingWriter<T> {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        if self.pauses() {
            return Ok(Taken::Partly);
        }
        if batch.is_empty() {
            // What follows is not of a record.
            return self.writer.write(batch);
        }
        let before = batch.len();
        let written = self.writer.write(batch);
        if batch.len() < before {
            self.tried = 0;
        }
        match (written, batch.records.front()) {
            (Err(Error::Connector(why)), Some(front)) => {
                if !self.pause(front.origin.seed())? {
                    batch.refuse(refused(why));
                }
                Ok(Taken::Partly)
            }
            (Err(Error::Refused(why)), Some(_)) => {
                self.tried = 0;
                batch.refuse(refused(why));
                Ok(Taken::Partly)
            }
            (written, _) => written,
        }
    }

    fn flush(&mut self) -> Result<Taken> {
        self.attempt(Taken::Partly, |writer| writer.flush())
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.attempt(None, |writer| writer.position())
    }

    fn close(&mut self) -> Result<Taken> {
        self.attempt(Taken::Partly, |writer| writer.close())
    }
}
