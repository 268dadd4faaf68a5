//! The fake exchange as a program.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anabranch::{Error, Result};
use anabranch_connectors::market::MarketOptions;
use anabranch_exchange::{
    Exchange, ExchangeConfig, MarketSource, Misbehaviour, Speed, Trouble, read_recording,
};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A fake exchange: serves a generated or recorded market in Coinbase's own format, over a real
/// WebSocket and HTTP, and misbehaves on request.
///
/// Both dialects are spoken: the Exchange feed (`"channels":["matches","heartbeat"]`) and the
/// Advanced Trade feed (`"channel":"market_trades"`).
#[derive(Parser)]
#[command(name = "anabranch-exchange", version, after_help = Misbehaviour::help())]
struct Args {
    /// The generated market.
    #[arg(long, value_name = "URL", default_value = "gen:?seed=7&keys=3&rate=20")]
    market: String,
    /// A recording to serve instead: raw frames of Coinbase or Binance, or CSV; `.gz` or not.
    #[arg(long, value_name = "FILE", conflicts_with = "market")]
    recording: Option<PathBuf>,
    /// `max`, or a multiple of the market's own pace.
    #[arg(long, value_name = "1|10|max", default_value = "1", value_parser = parse_speed)]
    speed: Speed,
    /// How many trades happened before anyone connects.
    #[arg(long, value_name = "N", default_value_t = 100)]
    history: usize,
    /// Where the WebSocket listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7701")]
    websocket: SocketAddr,
    /// Where HTTP listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7702")]
    http: SocketAddr,
    /// In which ways to go wrong; see below.
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',')]
    misbehave: Vec<Misbehaviour>,
    /// How many trades a connection gets before it goes wrong.
    #[arg(long, value_name = "N", default_value_t = 10)]
    misbehave_after: u64,
    /// How many connections or requests go wrong.
    #[arg(long, value_name = "N", default_value_t = 1)]
    misbehave_times: u32,
    /// For how long, where that matters, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    misbehave_lasts_ms: u64,
    /// Between heartbeats, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    heartbeat_ms: u64,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match serve(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "anabranch-exchange: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve(args: Args) -> Result<()> {
    let market = match &args.recording {
        Some(path) => MarketSource::Recorded(read_recording(path)?),
        None => MarketSource::Generated(MarketOptions::parse(&args.market)?),
    };
    let config = ExchangeConfig {
        market,
        speed: args.speed,
        history: args.history,
        misbehave: args.misbehave,
        trouble: Trouble {
            after: args.misbehave_after,
            times: args.misbehave_times,
            lasts: Duration::from_millis(args.misbehave_lasts_ms),
        },
        heartbeat_every: Duration::from_millis(args.heartbeat_ms.max(1)),
        websocket: args.websocket,
        http: args.http,
        ..ExchangeConfig::default()
    };
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|e| Error::io("preparing to be interrupted", e))?;
    let exchange = Exchange::start(config)?;
    let mut out = std::io::stdout();
    let shown = writeln!(out, "websocket {}", exchange.ws_url())
        .and_then(|()| writeln!(out, "http      {}", exchange.http_url()))
        .and_then(|()| writeln!(out, "source    {}", exchange.feed_url(&[])))
        .and_then(|()| out.flush());
    shown.map_err(|e| Error::io("writing to standard output", e))?;
    signals.forever().next();
    exchange.shutdown();
    Ok(())
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times| *times > 0);
    times.map(Speed::Times).ok_or_else(|| "it takes max, 1, 10 or another multiple".to_owned())
}
