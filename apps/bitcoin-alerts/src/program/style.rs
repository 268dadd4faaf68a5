//! How prices, averages and alerts look to people, with colours or without.
//!
//! Invariant: without colours there is no control character in any text made here, whatever came
//! in. Rounded for reading: the exact numbers are in the JSON.

use anabranch::Time;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::figures::Figures;
use crate::averaging::text;
use crate::{Average, Direction, FiredAlert, FiredThreshold, Measure, Notification};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// How many users of one threshold are named.
const USERS_SHOWN: usize = 5;
/// Prices and averages are shown with as many places, and up to as many where prices have them.
const PLACES: (u32, u32) = (2, 8);

/// Whether to colour, and whose time to show.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) colours: bool,
    pub(super) zone: TimeZone,
}

impl Style {
    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A line for each threshold that fired, each with its end.
    pub(super) fn notification(&self, notification: &Notification) -> String {
        let Notification { product, time, price, average, fired, .. } = notification;
        let places = places(*price);
        let mut lines = String::new();
        for threshold in fired {
            let (direction, colour) = match threshold.direction {
                Direction::Above => ("above", GREEN),
                Direction::Below => ("below", RED),
                Direction::Crossing => ("across", CYAN),
            };
            let reached = reached(direction, threshold);
            lines += &format!(
                "{}  {}  price {:>10}  average {}  {} -> {}\n",
                self.paint(DIM, &self.time(*time)),
                self.paint(BOLD, &format!("{product:<8}")),
                grouped(*price, places),
                self.paint(CYAN, &format!("{:>10}", rounded(*average, places))),
                self.paint(colour, &reached),
                users(&threshold.alerts),
            );
        }
        lines
    }

    /// One line about the run as it is now, without its end.
    pub(super) fn live(&self, figures: &Figures, prices_per_second: u64) -> String {
        let mut line = format!(
            "{}  {}",
            self.paint(BOLD, &format!("{}/s", grouped(prices_per_second.into(), 0))),
            products(figures)
        );
        if let Some((product, latest)) = figures.most_traded() {
            let places = places(latest.price);
            line += &format!(
                "  {} {} average {}",
                self.paint(BOLD, product.as_str()),
                grouped(latest.price, places),
                self.paint(CYAN, &rounded(latest.average, places)),
            );
        }
        let (fired, open) = (grouped(figures.fired.into(), 0), grouped(figures.open.into(), 0));
        line + &format!("  alerts {fired} fired, {open} open")
    }

    /// One line about the whole run, without its end.
    pub(super) fn summary(&self, figures: &Figures, seconds: u64) -> String {
        let (prices, products) = (count(figures.prices, "price"), products(figures));
        let (fired, open) = (count(figures.fired, "alert"), grouped(figures.open.into(), 0));
        format!("{prices} of {products} in {seconds} s, {fired} fired, {open} still open")
    }

    fn time(&self, time: Time) -> String {
        let local = time.timestamp().to_zoned(self.zone.clone());
        format!("{:02}:{:02}:{:02}", local.hour(), local.minute(), local.second())
    }
}

/// `above 64,000`, `change 10m above 5%: 5.25%`.
fn reached(direction: &str, threshold: &FiredThreshold) -> String {
    let FiredThreshold { measure, level, value, .. } = threshold;
    let value = value.map(|value| value.to_string()).unwrap_or_default();
    let level = grouped(*level, 0);
    match (measure, measure.span().map(text)) {
        (Measure::Average, _) => format!("{direction} {level}"),
        (Measure::Change(_), Some(over)) => {
            format!("change {over} {direction} {level}%: {value}%")
        }
        (Measure::Score(_), Some(over)) => format!("z-score {over} {direction} {level}: {value}"),
        _ => format!("price {direction} {level}"),
    }
}

fn products(figures: &Figures) -> String {
    match figures.products() {
        (number, true) => format!("{}+ products", grouped(number.into(), 0)),
        (number, false) => count(number as u64, "product"),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number.into(), 0), if number == 1 { "" } else { "s" })
}

fn users(alerts: &[FiredAlert]) -> String {
    let shown: Vec<String> =
        alerts.iter().take(USERS_SHOWN).map(|alert| alert.user_id.to_string()).collect();
    let more = alerts.len().saturating_sub(USERS_SHOWN);
    let plural = if alerts.len() == 1 { "" } else { "s" };
    let and = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("user{plural} {}{and}", shown.join(", "))
}

/// How many places a price is shown with.
fn places(price: Decimal) -> u32 {
    price.normalize().scale().clamp(PLACES.0, PLACES.1)
}

fn rounded(average: Average, places: u32) -> String {
    // An average too large for a decimal is shown as it is.
    let exact = average.to_string();
    exact.parse::<Decimal>().map_or(exact, |average| grouped(average.round_dp(places), places))
}

/// `64012.5` with two places or more as `64,012.50`.
fn grouped(number: Decimal, places: u32) -> String {
    let places = places.max(number.normalize().scale());
    let text = format!("{:.*}", places as usize, number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::from(if number.is_sign_negative() { "-" } else { "" });
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        grouped.push('.');
        grouped += fraction;
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FiredThreshold, Observation};

    fn style(colours: bool) -> Style {
        Style { colours, zone: TimeZone::UTC }
    }

    fn notification(users: &[u64]) -> Notification {
        let alerts = users.iter().map(|user| FiredAlert {
            id: "x\x1b[2J".into(),
            user_id: *user,
            labels: Vec::new(),
        });
        Notification {
            id: "prices-0-1".into(),
            product: "BTC-USD".parse().unwrap(),
            time: "2024-01-01T12:03:07.9Z".parse().unwrap(),
            price: "64012.5".parse().unwrap(),
            average: "64000.12345678".parse().unwrap(),
            fired: vec![FiredThreshold {
                direction: Direction::Above,
                measure: Measure::Average,
                level: 64_000.into(),
                value: None,
                alerts: alerts.collect(),
            }],
        }
    }

    #[test]
    fn a_notification_is_a_line_a_threshold() {
        assert_eq!(
            style(false).notification(&notification(&[7])),
            "12:03:07  BTC-USD   price  64,012.50  average  64,000.12  above 64,000 -> user 7\n"
        );
        let mut two = notification(&[1, 2, 3, 4, 5, 6, 7]);
        two.fired.push(FiredThreshold { direction: Direction::Below, ..two.fired[0].clone() });
        let text = style(false).notification(&two);
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("below 64,000 -> users 1, 2, 3, 4, 5 and 2 more\n"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn colours_change_nothing_else() {
        let coloured = style(true).notification(&notification(&[7]));
        let mut plain = String::new();
        for (at, part) in coloured.split("\x1b[").enumerate() {
            let text = if at == 0 { part } else { part.split_once('m').unwrap().1 };
            plain += text;
        }
        assert_eq!(plain, style(false).notification(&notification(&[7])));
        assert_ne!(plain, coloured);
    }

    #[test]
    fn the_live_line_fits_into_80_columns_for_the_demo() {
        let mut figures = Figures::default();
        assert_eq!(style(false).live(&figures, 0), "0/s  0 products  alerts 0 fired, 0 open");
        figures.observe(&Observation {
            product: "BTC-USD".parse().unwrap(),
            price: "65012.5".parse().unwrap(),
            average: "65000.12345678".parse().unwrap(),
            open_alerts: 11,
            notification: Some(notification(&[7])),
        });
        let line = style(false).live(&figures, 60);
        assert_eq!(
            line,
            "60/s  1 product  BTC-USD 65,012.50 average 65,000.12  alerts 1 fired, 11 open"
        );
        assert!(line.len() < 80);
        assert_eq!(
            style(false).summary(&figures, 2),
            "1 price of 1 product in 2 s, 1 alert fired, 11 still open"
        );
    }

    #[test]
    fn numbers_are_grouped_and_lose_nothing() {
        for (number, places, wanted) in [
            ("0", 0, "0"),
            ("0", 2, "0.00"),
            ("999", 0, "999"),
            ("1000", 0, "1,000"),
            ("1234567.8", 2, "1,234,567.80"),
            ("-1234.5", 2, "-1,234.50"),
            ("0.00001305", 2, "0.00001305"),
            ("64000.00", 0, "64,000"),
        ] {
            assert_eq!(grouped(number.parse().unwrap(), places), wanted, "{number}");
        }
        assert_eq!(rounded("0.00001305".parse().unwrap(), 8), "0.00001305");
    }
}
