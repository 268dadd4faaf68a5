//! Lines in memory as live or recorded input, and an outlet that discards.

use std::sync::Arc;

use anabranch::RecordId;
use anabranch::prelude::*;
use anabranch::sink::{FrameWriter, Outlet, Taken};
use anabranch::source::{Frame, FrameReader, Inlet, Nature, OpenContext, Progress};
use anabranch_connectors::market;

/// Lines, one partition an element.
pub type Partitions = Arc<[Vec<String>]>;

/// Lines in memory that come live, as fast as they are taken, several times over.
#[derive(Clone)]
pub struct Lines {
    /// The lines.
    pub partitions: Partitions,
    /// How often they come.
    pub passes: usize,
}

impl Lines {
    /// How many lines come.
    pub fn count(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum::<usize>() * self.passes
    }

    /// The bytes of what comes.
    pub fn bytes(&self) -> usize {
        self.partitions.iter().flatten().map(String::len).sum::<usize>() * self.passes
    }
}

impl Inlet for Lines {
    fn describe(&self) -> String {
        "lines".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.partitions.len())
    }

    fn open(&self, partition: usize, _: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let lines = Arc::clone(&self.partitions);
        Ok(Box::new(LinesReader { lines, passes: self.passes, partition, next: 0, offset: 0 }))
    }
}

struct LinesReader {
    lines: Partitions,
    passes: usize,
    partition: usize,
    next: usize,
    offset: u64,
}

impl FrameReader for LinesReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        let lines = self.lines.get(self.partition).map_or(&[][..], Vec::as_slice);
        while self.passes > 0 {
            while let Some(line) = lines.get(self.next) {
                let offset = self.offset;
                self.next += 1;
                self.offset += 1;
                if !each(Frame::new(offset, line.as_bytes())) {
                    return Ok(Progress::Ready);
                }
            }
            self.next = 0;
            self.passes -= 1;
        }
        Ok(Progress::End)
    }
}

/// Lines of a made market in two partitions, and an alert for each of its first thousand products.
///
/// # Errors
/// When there is no such market.
pub fn made_market(keys: usize, skew: &str, lines: usize, passes: usize) -> Result<(Lines, Lines)> {
    let market = market::parse(&format!("gen:?seed=7&keys={keys}&skew={skew}&count={lines}"))?;
    let mut partitions = vec![Vec::new(), Vec::new()];
    let mut alerts = Vec::new();
    for (i, (frame, trade)) in market::frames(&market).zip(market.trades()).enumerate() {
        if trade.trade_id == 1 && alerts.len() < 1000 {
            let (product, price, time) = (trade.product, trade.price, trade.time);
            alerts.push(format!(
                r#"{{"product":"{product}","price":"{price}","user_id":{i},"time":"{time}"}}"#
            ));
        }
        if let Some(partition) = partitions.get_mut(i % 2) {
            partition.push(frame);
        }
    }
    let prices = Lines { partitions: partitions.into(), passes };
    Ok((prices, Lines { partitions: vec![alerts].into(), passes: 1 }))
}

/// Takes frames and discards them.
pub struct Discard;

impl Outlet for Discard {
    fn describe(&self) -> String {
        "discard".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        Ok(Box::new(Self))
    }
}

impl FrameWriter for Discard {
    fn write(&mut self, _: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        std::hint::black_box(frame);
        Ok(Taken::All)
    }
}
