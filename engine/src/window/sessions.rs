//! Which windows of one key become one when a record comes.
//!
//! Invariant: the open windows of a key do not touch; so those that touch a new one are neighbours, and
//! what they and it cover touches no other. They are given by their start, in which order their values
//! are combined.

use super::Window;
use crate::Time;

/// The window that `new` and those of `open` that it touches become; those are put into `replaced`, in
/// order. If one of them is the window that is given back, nothing but its value changes.
///
/// `open` are the open windows of the key, in their order; it suffices to give those from
/// [`first_possible`] on. It is read only as far as windows can touch `new`.
pub fn merge(
    open: impl IntoIterator<Item = Window>,
    new: Window,
    replaced: &mut Vec<Window>,
) -> Window {
    let mut covered = new;
    for window in open {
        if window.start > new.end {
            break;
        }
        if window.touches(new) {
            covered = covered.cover(window);
            replaced.push(window);
        }
    }
    covered
}

/// The least window, in their order, that can touch `new`: where a look-up among sorted ones begins.
pub fn first_possible(new: Window) -> Window {
    Window::new(Time::from_nanos(i64::MIN), new.start)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::window::{WindowAssigner as _, session};

    /// Sessions of records in any order, with their records in the order of the merges.
    fn sessions(times: &[i64], gap: i64) -> BTreeMap<Window, Vec<i64>> {
        let assigner = session(Duration::from_nanos(gap.unsigned_abs()));
        let mut open: BTreeMap<Window, Vec<i64>> = BTreeMap::new();
        let (mut assigned, mut replaced) = (Vec::new(), Vec::new());
        for &time in times {
            assigned.clear();
            replaced.clear();
            assigner.assign(Time::from_nanos(time), &mut assigned);
            let new = assigned[0];
            let from = open.range(first_possible(new)..).map(|(window, _)| *window);
            let merged = merge(from, new, &mut replaced);
            let everywhere = merge(open.keys().copied(), new, &mut Vec::new());
            assert_eq!(merged, everywhere, "the look-up leaves nothing out");
            assert!(replaced.is_sorted_by_key(|window| window.start));
            let mut records = Vec::new();
            for window in &replaced {
                records.extend(open.remove(window).unwrap());
            }
            records.push(time);
            open.insert(merged, records);
        }
        open
    }

    proptest! {
        #[test]
        fn any_order_of_records_gives_the_sessions_of_the_sorted_ones(
            times in prop::collection::vec(-300_i64..300, 1..80),
            gap in 1_i64..12,
        ) {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let mut expected: Vec<(Window, Vec<i64>)> = Vec::new();
            for time in sorted {
                let window = Window::new(Time::from_nanos(time), Time::from_nanos(time + gap));
                match expected.last_mut() {
                    // A record exactly a gap after the last one belongs to the session.
                    Some((last, records)) if window.start <= last.end => {
                        last.end = window.end;
                        records.push(time);
                    }
                    _ => expected.push((window, vec![time])),
                }
            }
            let mut found = sessions(&times, gap).into_iter().collect::<Vec<_>>();
            for (_, records) in &mut found {
                records.sort_unstable();
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn two_sessions_become_one_in_the_order_of_their_starts() {
        // 20 is alone, 10 too; 15 joins them: first what 10 brought, then what 20 did, then 15.
        let found = sessions(&[20, 10, 15], 5);
        let window = Window::new(Time::from_nanos(10), Time::from_nanos(25));
        assert_eq!(found, BTreeMap::from([(window, vec![10, 20, 15])]));
    }
}
