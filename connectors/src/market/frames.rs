//! The market as frames: what the exchange would have sent for it.
//!
//! Invariant: frame n is trade n, so a program reads the same trades from either.

use anabranch::Result;
use anabranch::source::{Frame, FrameReader, Inlet, Nature, OpenContext, Progress};

use super::{Market, PartitionTrades};
use crate::coinbase::{Trade, encode};

/// The trades of a market as JSON `match` messages of the Exchange feed.
///
/// ```
/// use anabranch_connectors::market;
/// let market = market::parse("gen:?seed=7&count=10")?;
/// let frame = market::frames(&market).next().expect("there are 10");
/// assert!(frame.starts_with(r#"{"type":"match","trade_id":1,"maker_order_id":"#));
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn frames(market: &Market) -> impl Iterator<Item = String> + use<> {
    market.trades().map(|trade| encode::matched("match", &trade, sequence(&trade)))
}

/// All messages of a product are counted by one sequence, of which trades are a few.
fn sequence(trade: &Trade) -> u64 {
    1_000_000 + trade.trade_id * 7
}

/// A market as an inlet of frames, for programs that decode what they read.
pub struct FrameInlet {
    market: Market,
}

impl FrameInlet {
    pub(super) fn new(market: Market) -> Self {
        Self { market }
    }
}

impl Inlet for FrameInlet {
    fn describe(&self) -> String {
        self.market.options.to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.market.options.partitions.max(1))
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let trades = self.market.partition(partition).after(context.resume.from);
        Ok(Box::new(FramePartition { trades }))
    }
}

struct FramePartition {
    trades: PartitionTrades,
}

impl FrameReader for FramePartition {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        if !self.trades.reach()? {
            return Ok(Progress::Ready);
        }
        for (offset, trade) in self.trades.by_ref() {
            let text = encode::matched("match", &trade, sequence(&trade));
            let frame = Frame { stamp: Some(trade.time), ..Frame::new(offset, text.as_bytes()) };
            if !each(frame) {
                return Ok(Progress::Ready);
            }
        }
        Ok(Progress::End)
    }
}
