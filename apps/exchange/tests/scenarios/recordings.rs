//! Real recordings, served by the fake exchange and read by the feed handler.
//!
//! They are no part of the project: `ANABRANCH_RECORDINGS` names their folder.

use std::path::PathBuf;

use anabranch_connectors::coinbase::Limits;
use anabranch_exchange::{ExchangeConfig, MarketSource, read_recording};

use crate::bench::{Bench, config};

#[test]
fn recordings_arrive_as_they_were_recorded() {
    let Some(folder) = std::env::var_os("ANABRANCH_RECORDINGS").map(PathBuf::from) else {
        eprintln!("skipped: ANABRANCH_RECORDINGS does not name the folder of the recordings");
        return;
    };
    for (file, trades, history) in [
        ("coinbase-exchange-2021-04-17.txt.gz", 97, 0),
        ("binance-spot-btcusdt-2024-08-08.gz", 9_757, 1),
        ("btc-usd-trades-2023-09-05.csv", 3_900, 1),
    ] {
        let recording = read_recording(&folder.join(file)).unwrap();
        assert_eq!(recording.trades.len(), trades, "{file}");
        let config =
            ExchangeConfig { market: MarketSource::Recorded(recording), history, ..config(&[]) };
        let mut bench = Bench::start_with(config, Limits::loopback(), "");
        bench.expect_all();
        bench.expect("refused_frames", 0);
    }
}
