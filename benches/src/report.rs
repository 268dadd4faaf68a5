//! Options, medians, and what the machine does by itself.

use std::time::Duration;

use anabranch::clock;

/// The median of `figures`, which are not empty.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The number after the argument `name`, or `default`.
pub fn option(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The text after the argument `name`.
pub fn text(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// Whether the argument `name` is there.
pub fn is_given(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// What the system says of how busy the machine was in the last minute.
pub fn load() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split_whitespace().next().unwrap_or("?").to_string()
}

/// The seconds for which processors have worked for this process so far, where the system tells.
pub fn processor_seconds() -> f64 {
    // After the name in parentheses: user and system time are the 12th and 13th, in 1/100 s.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

/// The longest time for which the system let a thread do nothing that only reads the clock, one on each
/// core, within `span`: no program is interrupted for less beside as many.
pub fn longest_interruption(span: Duration) -> Duration {
    let reads = || {
        let (began, mut last, mut longest) = (clock::instant(), clock::instant(), Duration::ZERO);
        while last - began < span {
            let now = clock::instant();
            longest = longest.max(now - last);
            last = now;
        }
        longest
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(reads)).collect();
        let longest = threads.into_iter().filter_map(|thread| thread.join().ok());
        longest.max().unwrap_or_default()
    })
}
