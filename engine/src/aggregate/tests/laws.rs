//! The laws of [`Aggregate`], for each aggregate.
//!
//! Invariant: what is compared is compared to the last bit, but where floating-point parts are
//! combined.

use super::*;

/// The parts of `records` between cuts (wherever they point), some of them empty.
fn parts<'a, T>(records: &'a [T], cuts: &[prop::sample::Index]) -> Vec<&'a [T]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(records.len() + 1)).collect();
    ends.extend([0, records.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| &records[pair[0]..pair[1]]).collect()
}

/// From the left, from the right, and by halves, as sliding windows do.
fn combinations<T, A: Aggregate<T>>(aggregate: &A, states: &[A::State]) -> [A::State; 3] {
    let append = |mut state: A::State, later: &A::State| {
        aggregate.combine(&mut state, later);
        state
    };
    fn halves<T, A: Aggregate<T>>(aggregate: &A, states: &[A::State]) -> A::State {
        match states {
            [] => aggregate.initial(),
            [one] => one.clone(),
            more => {
                let (before, after) = more.split_at(more.len() / 2);
                let mut state = halves(aggregate, before);
                aggregate.combine(&mut state, &halves(aggregate, after));
                state
            }
        }
    }
    [
        states.iter().fold(aggregate.initial(), append),
        states.iter().rfold(aggregate.initial(), |state, before| append(before.clone(), &state)),
        halves(aggregate, states),
    ]
}

/// A state that goes through a checkpoint at any cut goes on as if it had not.
fn survives<T, A: Aggregate<T>>(aggregate: &A, parts: &[&[T]]) {
    let (mut whole, mut restored) = (aggregate.initial(), aggregate.initial());
    for part in parts {
        for record in *part {
            aggregate.update(&mut whole, record);
            aggregate.update(&mut restored, record);
        }
        let bytes = encode(&restored);
        assert_eq!(bytes, encode(&whole));
        restored = decode(&bytes);
        assert_eq!(bytes, encode(&restored));
        assert_eq!(encode(&aggregate.output(&restored)), encode(&aggregate.output(&whole)));
    }
}

fn in_order<T, A: Aggregate<T>>(aggregate: &A, records: &[T], cuts: &[prop::sample::Index]) {
    let parts = parts(records, cuts);
    survives(aggregate, &parts);
    let states: Vec<A::State> = parts.iter().map(|part| state_of(aggregate, part)).collect();
    let whole = state_of(aggregate, records);
    for combined in combinations(aggregate, &states) {
        assert_eq!(encode(&combined), encode(&whole));
        assert_eq!(encode(&aggregate.output(&combined)), encode(&aggregate.output(&whole)));
    }
}

/// Any order, and any grouping of it.
fn in_any_order<T: Clone, A: Aggregate<T>>(
    aggregate: &A,
    records: &[T],
    shuffled: &[T],
    cuts: &[prop::sample::Index],
) {
    const { assert!(A::EXACT) };
    in_order(aggregate, records, cuts);
    in_order(aggregate, shuffled, cuts);
    assert_eq!(encode(&state_of(aggregate, shuffled)), encode(&state_of(aggregate, records)));
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..8)
}

fn shuffled(length: usize) -> impl Strategy<Value = (Vec<Trade>, Vec<Trade>)> {
    trades(length).prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle()))
}

/// Decimals of every size and with every number of places.
fn decimals() -> impl Strategy<Value = Vec<(Decimal, Decimal)>> {
    let any = || {
        let mantissa = prop_oneof![any::<i64>().prop_map(i128::from), -(1 << 96) + 1..1_i128 << 96];
        (mantissa, 0..=28_u32).prop_map(|(m, scale)| Decimal::from_i128_with_scale(m, scale))
    };
    prop::collection::vec((any(), any()), 0..20)
}

proptest! {
    #[test]
    fn exact_aggregates_know_no_order((records, shuffled) in shuffled(40), cuts in cuts()) {
        let numbers = (
            count(),
            sum(|t: &Trade| t.price),
            sum(|t: &Trade| t.decimal()),
            mean(|t: &Trade| t.price),
            mean(|t: &Trade| t.decimal()),
            vwap(|t: &Trade| t.price, |t| i64::from(t.quantity)),
            vwap(Trade::decimal, Trade::size),
        );
        in_any_order(&numbers, &records, &shuffled, &cuts);
        let others = (
            min(|t: &Trade| t.level),
            max(|t: &Trade| t.decimal()),
            max(|t: &Trade| Some(t.user.clone()).filter(|user| !user.is_empty())),
            distinct(|t: &Trade| t.user.clone()),
            distinct_sketch(|t: &Trade| t.price),
            median(|t: &Trade| t.level),
            quantiles(&[0.1, 0.9], |t: &Trade| t.price),
            (sum(|t: &Trade| Some(t.quantity).filter(|quantity| *quantity > 3)),),
        );
        in_any_order(&others, &records, &shuffled, &cuts);
    }

    #[test]
    fn decimals_of_any_size_know_no_order(
        (records, shuffled) in decimals().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        cuts in cuts(),
    ) {
        let numbers = (
            sum(|d: &(Decimal, Decimal)| d.0),
            mean(|d: &(Decimal, Decimal)| d.0),
            vwap(|d: &(Decimal, Decimal)| d.0, |d| d.1),
            min(|d: &(Decimal, Decimal)| d.0),
            quantile(0.3, |d: &(Decimal, Decimal)| d.0),
        );
        in_any_order(&numbers, &records, &shuffled, &cuts);
    }

    #[test]
    fn ordered_aggregates_combine_in_order(records in trades(40), cuts in cuts()) {
        let aggregates = (
            first(|t: &Trade| t.id),
            last(|t: &Trade| Some(t.id).filter(|id| id % 3 == 0)),
            first(|t: &Trade| Some(t.id).filter(|id| id % 3 == 1)),
            min_by(|t: &Trade| t.quantity),
            max_by(|t: &Trade| t.user.clone()),
            top_k(3, |t: &Trade| t.price),
            top_k(0, |t: &Trade| t.price),
            collect(10),
        );
        // `level` may be NaN, which is compared as its bytes.
        in_order(&aggregates, &records, &cuts);
    }

    #[test]
    fn rounded_aggregates_combine_nearly(records in trades(40), cuts in cuts(), alpha in 0.0..=1.0) {
        let number = |t: &Trade| t.price as f64 % 1e6;
        let scale = 1e6;
        let aggregates = (
            sum(number),
            mean(number),
            variance(number),
            sample_deviation(number),
            ewma(alpha, number),
            vwap(number, |t| f64::from(t.quantity)),
        );
        let parts = parts(&records, &cuts);
        survives(&aggregates, &parts);
        let states: Vec<_> = parts.iter().map(|part| state_of(&aggregates, part)).collect();
        let whole = of_all(&aggregates, &records);
        for combined in combinations(&aggregates, &states) {
            let combined = aggregates.output(&combined);
            prop_assert!(near(Some(combined.0), Some(whole.0), scale));
            prop_assert!(near(combined.1, whole.1, scale));
            prop_assert!(near(combined.2, whole.2, scale * scale));
            // A root is less exact near 0.
            prop_assert!(near(combined.3.map(|d| d * d), whole.3.map(|d| d * d), scale * scale));
            prop_assert!(near(combined.4, whole.4, scale));
            prop_assert!(near(combined.5, whole.5, scale));
        }
    }

    #[test]
    fn any_floating_point_number_survives(records in trades(20), cuts in cuts()) {
        let level = |t: &Trade| t.level;
        let aggregates =
            (sum(level), mean(level), deviation(level), ewma(0.1, level), vwap(level, level));
        survives(&aggregates, &parts(&records, &cuts));
    }
}

#[test]
fn what_is_exact_is_said() {
    fn exact<A: Aggregate<Trade>>(_: &A) -> bool {
        A::EXACT
    }
    let float = || sum(|t: &Trade| t.level);
    assert!(exact(&(count(), sum(|t: &Trade| t.price))));
    assert!(!exact(&float()));
    assert!(!exact(&(count(), float())));
    assert!(!exact(&(count(), (float(), count()))));
    assert!(!exact(&first(|t: &Trade| t.id)));
    assert!(!exact(&ewma(0.5, |t: &Trade| t.price)));
    assert!(!exact(&vwap(|t: &Trade| t.level, |t| t.level)));
    assert!(!exact(&mean(|t: &Trade| Some(t.level))));
    assert!(exact(&mean(|t: &Trade| Some(t.price))));
}
