//! What a market is made from, and how its URL says so.
//!
//! Invariant: an option that is not understood is refused by name; nothing is guessed.

use std::fmt;

use anabranch::{Error, Result, Time};

/// The most products of a market.
pub const KEYS_MAX: u32 = 10_000_000;
/// The most partitions of a market.
pub const PARTITIONS_MAX: usize = 1024;

const KNOWN: &str = "seed, count, keys, skew, rate, partitions, start";

/// What a market is made from. Markets with equal options are equal, trade by trade; `partitions`
/// only splits one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketOptions {
    /// Where the random numbers begin.
    pub seed: u64,
    /// How many trades there are; without it they never end.
    pub count: Option<u64>,
    /// How many products are traded: `BTC-USD` first.
    pub keys: u32,
    /// The exponent by which the first products trade more often, in thousandths: 0 is evenly,
    /// 1000 is Zipf's law.
    pub skew_milli: u32,
    /// Trades a second of recorded time.
    pub rate: u64,
    /// By how many readers, each with some of the products.
    pub partitions: usize,
    /// The time of the first trade.
    pub start: Time,
}

impl Default for MarketOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            count: None,
            keys: 1,
            skew_milli: 1000,
            rate: 1000,
            partitions: 1,
            // 2024-01-01T00:00:00Z
            start: Time::from_millis(1_704_067_200_000),
        }
    }
}

impl MarketOptions {
    /// Reads `gen:?seed=7&count=100000&keys=3&skew=1.0&rate=1000&partitions=2&start=<RFC 3339>`;
    /// each option may be left out.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the option and says what it takes.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("gen:").ok_or_else(|| {
            Error::Usage(format!("`{url}` is no generated market: write gen:?keys=3&count=1000"))
        })?;
        let query = rest.strip_prefix("//").unwrap_or(rest);
        let query = match query.strip_prefix('?') {
            Some(query) => query,
            None if query.is_empty() => "",
            None => {
                return Err(Error::Usage(format!(
                    "`{url}`: options begin with `?`, as in gen:?keys=3&count=1000"
                )));
            }
        };
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options
                .set(name, value)
                .map_err(|takes| Error::Usage(format!("`{url}`: {takes} (options: {KNOWN})")))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is = |takes: &str| format!("`{name}={value}`: {name} takes {takes}");
        let positive = |takes: &str| value.parse().ok().filter(|n| *n > 0).ok_or_else(|| is(takes));
        match name {
            "seed" => self.seed = value.parse().map_err(|_| is("a number from 0 to 2^64 - 1"))?,
            "count" => {
                self.count = Some(value.parse().map_err(|_| is("a number of trades, 0 or more"))?);
            }
            "keys" => {
                let keys = value.parse().ok().filter(|keys| (1..=KEYS_MAX).contains(keys));
                self.keys = keys.ok_or_else(|| is("a number of products from 1 to 10000000"))?;
            }
            "skew" => {
                let skew = parse_milli(value).filter(|skew| *skew <= 10_000);
                self.skew_milli =
                    skew.ok_or_else(|| is("an exponent from 0 to 10 with at most three decimals"))?;
            }
            "rate" => self.rate = positive("trades a second of recorded time, 1 or more")?,
            "partitions" => {
                let count = value.parse().ok().filter(|n| (1..=PARTITIONS_MAX).contains(n));
                self.partitions = count.ok_or_else(|| is("a number from 1 to 1024"))?;
            }
            "start" => {
                self.start = value
                    .parse()
                    .map_err(|_| is("an RFC 3339 time such as 2024-01-01T00:00:00Z"))?;
            }
            _ => return Err(format!("there is no option `{name}`; correct or remove it")),
        }
        Ok(())
    }
}

/// `1.25` as 1250.
fn parse_milli(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 3 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction)
}

/// The URL that [`MarketOptions::parse`] reads back.
impl fmt::Display for MarketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, count, keys, skew_milli, rate, partitions, start } = self;
        write!(f, "gen:?seed={seed}")?;
        if let Some(count) = count {
            write!(f, "&count={count}")?;
        }
        write!(f, "&keys={keys}&skew={}.{:03}", skew_milli / 1000, skew_milli % 1000)?;
        write!(f, "&rate={rate}&partitions={partitions}&start={start}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written_back() {
        let options = MarketOptions::parse(
            "gen:?seed=7&count=100000&keys=3&skew=1.05&rate=1000&partitions=2&start=2023-09-05T16:00:00Z",
        )
        .unwrap();
        assert_eq!(options.skew_milli, 1050);
        assert_eq!(options.count, Some(100_000));
        assert_eq!(MarketOptions::parse(&options.to_string()).unwrap(), options);
        for url in ["gen:", "gen:?", "gen://", "gen://?"] {
            assert_eq!(MarketOptions::parse(url).unwrap(), MarketOptions::default(), "{url}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (url, named) in [
            ("gen:?kyes=3", "`kyes`"),
            ("gen:?keys=0", "keys takes"),
            ("gen:?keys=10000001", "keys takes"),
            ("gen:?count=-1", "count takes"),
            ("gen:?rate=0", "rate takes"),
            ("gen:?skew=1.0005", "skew takes"),
            ("gen:?skew=-1", "skew takes"),
            ("gen:?partitions=2000", "partitions takes"),
            ("gen:?start=yesterday", "start takes"),
            ("gen:?seed", "seed takes"),
            ("gen:keys=3", "begin with `?`"),
            ("file:x", "no generated market"),
        ] {
            let error = MarketOptions::parse(url).unwrap_err();
            assert!(matches!(error, Error::Usage(_)));
            assert!(error.to_string().contains(named), "{url}: {error}");
        }
    }
}
