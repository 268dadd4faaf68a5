//! The feed as a source: `coinbase:` URLs.
//!
//! Invariant: building one touches nothing; a reader never blocks, and dropping it ends its feed.
//! Its position is the newest trade of each product that it gave: after a restart no trade comes
//! again, and those that happened meanwhile are asked for as any others that were missed.

use std::sync::Arc;

use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source};
use anabranch::{Error, Result};
use tokio::task::JoinHandle;

use super::connection::Dialer;
use super::feed::Feed;
use super::history::History;
use super::meters::Meters;
use super::output::{Newest, Output};
use super::pace::Pace;
use super::{Address, Limits, Trade};
use crate::runtime::runtime;
use crate::websocket::tls_client;

/// The trades of some products, live, each once and in order.
///
/// Trades that the connection loses are asked for over HTTP; those that cannot be had are counted
/// (`gaps`, `missing_trades`, and per product `gaps.BTC-USD`, `missing_trades.BTC-USD`) and
/// logged.
#[derive(Clone, Debug)]
pub struct Trades {
    address: Address,
    limits: Limits,
}

/// The feed that `coinbase://...`, `coinbase+advanced://...` or `coinbase+ws://...` names; see
/// [`Address::parse`].
///
/// ```
/// use anabranch::source::{Nature, Source};
/// let feed = anabranch_connectors::coinbase::trades("coinbase:?products=BTC-USD")?;
/// assert_eq!(feed.nature(), Nature::Live);
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] that names the part that is wrong.
pub fn trades(url: &str) -> Result<Trades> {
    let address = Address::parse(url)?;
    address.check(&Limits::default())?;
    Ok(Trades { address, limits: Limits::default() })
}

impl Trades {
    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl Source for Trades {
    type Item = Trade;

    fn describe(&self) -> String {
        self.address.to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<Trade>>> {
        let limits = self.limits.clone();
        let newest = resumed(context)?;
        self.address.check(&limits)?;
        let tls = tls_client(None)?;
        let host = format!("{}:{}", self.address.host, self.address.port);
        let pace = Pace::of_host(&host, &limits);
        let history = History::new(&self.address.http, limits.clone(), Arc::clone(&pace), &tls)?;
        let output = Arc::new(Output::new(
            limits.queue_items_max,
            limits.queue_bytes_max,
            context.waker.clone(),
        ));
        let feed = Feed::new(
            Arc::clone(&context.name),
            Dialer::new(self.address.clone(), limits, pace, tls),
            history,
            Meters::new(&context.counters),
            Arc::clone(&output),
            &newest,
        );
        let task = runtime()?.spawn(feed.run());
        Ok(Box::new(TradesReader { output, task, offset: context.resume.from, newest }))
    }
}

/// How far each product was when an earlier run stopped.
fn resumed(context: &OpenContext) -> Result<Newest> {
    let position = &context.resume.position;
    if position.is_empty() {
        return Ok(Newest::new());
    }
    serde_json::from_slice(position).map_err(|e| {
        Error::Connector(format!(
            "the position of source `{}` in the data directory is not that of this feed ({e}): \
             give the source its former URL, or start with a new data directory",
            context.name
        ))
    })
}

struct TradesReader {
    output: Arc<Output>,
    task: JoinHandle<()>,
    offset: u64,
    newest: Newest,
}

impl Reader<Trade> for TradesReader {
    fn read(&mut self, intake: &mut Intake<Trade>) -> Result<Progress> {
        let empty = self.output.read(intake, &mut self.offset, &mut self.newest);
        if empty && self.task.is_finished() {
            return Err(Error::Connector(
                "the feed handler ended unexpectedly; this is a defect, please report it with \
                 the log"
                    .into(),
            ));
        }
        Ok(if empty { Progress::Idle } else { Progress::Ready })
    }

    fn position(&self) -> Option<Vec<u8>> {
        // Names and numbers: this has a form.
        serde_json::to_vec(&self.newest).ok()
    }
}

impl Drop for TradesReader {
    fn drop(&mut self) {
        // The feed owns its connections and requests, which end with it.
        self.task.abort();
    }
}
