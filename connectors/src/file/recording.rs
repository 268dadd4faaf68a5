//! Recorded feeds: a receipt stamp before each message.
//!
//! Invariant: a stamp is read as decimal digits, exactly; a file is a recording or not by its first
//! 256 KiB alone, and in a recording a line that is neither stamped nor a JSON document is a note
//! of the recorder, not a message.

use anabranch::Time;

/// How far a file is searched for a stamped message.
pub(super) const DETECTED_WITHIN_BYTES: usize = 256 << 10;

/// The stamp and the message of a line `<unix seconds>: <message>` or
/// `<unix nanoseconds> <message>`.
pub(super) fn stamped(line: &[u8]) -> Option<(Time, &[u8])> {
    let (number, rest) = digits(line);
    if let Some(message) = rest.strip_prefix(b" ") {
        // 16 digits of nanoseconds are 1970; less is a number in a text.
        let nanos = (16..=19).contains(&number.len()).then(|| decimal(number)).flatten()?;
        return Some((Time::from_nanos(nanos), message));
    }
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => digits(rest),
        None => (&b""[..], rest),
    };
    let message = rest.strip_prefix(b": ")?;
    let seconds = (1..=11).contains(&number.len()).then(|| decimal(number)).flatten()?;
    let nanos = (0..9).try_fold(0_i64, |nanos, place| {
        Some(nanos * 10 + i64::from(fraction.get(place).map_or(0, |digit| digit - b'0')))
    })?;
    let time = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    Some((Time::from_nanos(time), message))
}

/// Whether a line shows that its file is a recording.
pub(super) fn shows_recording(line: &[u8]) -> bool {
    stamped(line).is_some_and(|(_, message)| is_document(message))
}

/// Whether a line begins as a JSON document does.
pub(super) fn is_document(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'{' | b'['))
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at_checked(count).unwrap_or((b"", text))
}

fn decimal(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_exact() {
        // As floating point, each of these would be off.
        for (line, nanos) in [
            ("1618677817.061845: {}", 1_618_677_817_061_845_000),
            ("1618677817.0208309: {}", 1_618_677_817_020_830_900),
            ("1618677817.123456789: {}", 1_618_677_817_123_456_789),
            ("1618677817.1234567899: {}", 1_618_677_817_123_456_789),
            ("1618677817: {}", 1_618_677_817_000_000_000),
            ("1618677817.1: {}", 1_618_677_817_100_000_000),
            ("1723161253937085768 {}", 1_723_161_253_937_085_768),
            ("9223372036854775807 {}", i64::MAX),
        ] {
            let expected = (Time::from_nanos(nanos), &b"{}"[..]);
            assert_eq!(stamped(line.as_bytes()), Some(expected), "{line}");
            assert!(shows_recording(line.as_bytes()));
        }
    }

    #[test]
    fn other_lines_have_no_stamp() {
        for line in [
            "wss://ws-feed.pro.coinbase.com <-> 1618677816.8434298",
            "wss://ws-feed.pro.coinbase.com <- 1618677817.020616: {\"type\":\"subscribe\"}",
            "{\"time\":1}",
            "2024 was a year",
            "9223372036854775808 {}",
            "99999999999: {}",
            "1618677817.061845 {}",
            ": {}",
            "",
        ] {
            assert_eq!(stamped(line.as_bytes()), None, "{line}");
        }
        assert!(!shows_recording(b"12: a dozen"), "a line of a text");
    }
}
