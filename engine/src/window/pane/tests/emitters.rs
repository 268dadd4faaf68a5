//! The cases of the minibatch system about emitters and what they emit, by their ids.
//!
//! Invariant: what a case says is told, is told: no more, and in that order.

use super::cases::{SECOND, count, millis};
use super::*;
use crate::window::global;
use crate::window::pane::presets::{self, Emitter};

#[test]
fn mb_16_keys_do_not_wait_for_each_other_and_each_is_in_order() {
    let mut keys = [count(2), count(2)];
    let mut told = Vec::new();
    for record in 0..10 {
        for (key, stream) in keys.iter_mut().enumerate() {
            stream.records([record]);
            told.extend(stream.told().into_iter().map(|records| (key, records)));
        }
    }
    for key in 0..2 {
        let of_key = told.iter().filter(|(of, _)| *of == key).map(|(_, records)| records.clone());
        assert_eq!(of_key.flatten().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }
    assert_eq!(told.len(), 10);
}

/// At fixed times while there is anything: the polling of the original.
struct Poll(Duration);

impl Trigger for Poll {
    type State = Due;

    fn open(&self, _: &View) -> Due {
        Due::default()
    }
    fn on_record(&self, due: &mut Due, _: Time, view: &View) -> Verdict {
        due.at = due.at.or(Some(view.now.after(self.0)));
        Verdict::Wait
    }
    fn on_time(&self, due: &mut Due, view: &View) -> Verdict {
        due.at = (view.count > 0).then(|| view.now.after(self.0));
        Verdict::Fire
    }
    fn wake(&self, due: &Due, clock: Clock) -> Option<Time> {
        due.at.filter(|_| clock == Clock::Engine)
    }
}

/// The least even numbers, so many at a time.
struct LeastEven(usize);

impl Evictor<Vec<u32>> for LeastEven {
    fn take(&self, held: &mut Contents<Vec<u32>>, _: Vec<u32>) -> Take<Vec<u32>> {
        let mut even: Vec<u32> = held.state.iter().copied().filter(|n| n % 2 == 0).collect();
        even.sort_unstable();
        even.truncate(self.0);
        if even.len() < self.0 {
            return Take::Nothing;
        }
        held.state.retain(|number| !even.contains(number));
        held.count -= even.len() as u64;
        Take::Part(Contents { count: even.len() as u64, state: even })
    }
}

#[test]
fn mb_20_a_sorted_emitter_is_a_trigger_and_an_evictor() {
    let windows = Windows::new(global(), List).trigger(Poll(SECOND)).evictor(LeastEven(2));
    let mut stream = Keyed::new(windows);
    for record in [5, 4, 9, 2, 8, 6, 1, 0, 7, 3] {
        let _ = stream.record(0, record);
    }
    for second in 1..6 {
        stream.restart();
        stream.now(millis(second * 1_000));
    }
    let counts: Vec<(u64, u64)> =
        stream.out.iter().map(|fired| (fired.count, fired.index)).collect();
    assert_eq!(counts, [(2, 0), (2, 1)]);
    assert_eq!(stream.told(), [[0, 2], [4, 6]]);
    let pane = stream.store.rows.values().next().unwrap();
    assert_eq!((pane.held.count, &pane.held.state), (6, &vec![5, 9, 8, 1, 7, 3]));
}

#[test]
fn mb_21_no_value_is_dropped_and_an_empty_one_is_not() {
    let fired = |value| Fired { window: 3_u64, value, count: 2, index: 1, kind: Kind::Late };
    assert_eq!(fired(7).filter_map(|_| None::<u32>), None);
    assert_eq!(fired(7).filter_map(|_| Some(0)), Some(fired(0)));
    let empty = fired(7).filter_map(|_| Some(Vec::<u32>::new()));
    assert_eq!(empty.map(|fired| (fired.window, fired.value)), Some((3, vec![])));
}

#[test]
fn mb_22_what_is_made_of_a_window_is_what_goes_on() {
    let mut stream = count(2);
    stream.records([1, 2]);
    let fired = stream.out.pop().unwrap();
    let made = fired.filter_map(|records| Some(records.iter().sum::<u32>()));
    assert_eq!(made.map(|fired| (fired.value, fired.count)), Some((3, 2)));
}

#[test]
fn mb_23_a_record_without_content_is_a_record() {
    let mut stream = Counted::new(presets::count(2, List));
    stream.records([None, Some(1)]);
    assert_eq!(stream.told(), [[None, Some(1)]]);
}

#[test]
fn mb_24_without_size_and_interval_each_record_by_itself() {
    let Emitter::Count(counts) = presets::emitter(None, None, List).unwrap() else {
        panic!("it is a count window of one")
    };
    let mut stream = Counted::new(counts);
    stream.records([4, 5]);
    assert_eq!(stream.told(), [[4], [5]]);
}

#[test]
fn mb_25_with_size_and_interval_whichever_is_first() {
    let Emitter::Count(counts) = presets::emitter(Some(5), Some(2 * SECOND), List).unwrap() else {
        panic!("it is a count window with a time")
    };
    let mut stream = Counted::new(counts);
    stream.records(0..7);
    assert_eq!(stream.told(), [[0, 1, 2, 3, 4]]);
    stream.now(millis(1_000));
    stream.records([7]);
    stream.now(millis(2_000));
    assert_eq!(stream.told(), [[5, 6, 7]]);
    stream.records(8..13);
    assert_eq!(stream.told(), [[8, 9, 10, 11, 12]]);
    stream.now(millis(60_000));
    assert_eq!(stream.told().len(), 0);
}

#[test]
fn mb_26_a_size_of_nothing_is_an_error_that_says_what_to_do() {
    for interval in [None, Some(SECOND)] {
        let error = presets::emitter::<u32, _>(Some(0), interval, List).map(|_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("give `size` at least 1"), "{error}");
    }
    let none = presets::emitter::<u32, _>(None, Some(Duration::ZERO), List).map(|_| ());
    assert!(none.unwrap_err().to_string().contains("window size of nothing"));
}
