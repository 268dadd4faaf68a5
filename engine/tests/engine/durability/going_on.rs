//! What was accepted goes on, on other numbers of workers.

use super::*;

#[test]
fn recorded_input_goes_on_where_it_was_on_other_numbers_of_workers() {
    let inputs = inputs(7, Nature::Recorded);
    let once = in_pieces(&Folder::new("once"), inputs.clone(), &[(1, usize::MAX)]);
    assert_eq!(once.len(), 69_000);
    let folder = Folder::new("pieces");
    let pieces = in_pieces(&folder, inputs, &STEPS);
    let differs = pieces.iter().zip(&once).position(|(piece, once)| piece != once);
    assert_eq!((differs, pieces.len()), (None, once.len()));
    let manifests = std::fs::read_dir(folder.0.join("checkpoints/manifests")).unwrap().count();
    assert!((1..=2).contains(&manifests), "{manifests} checkpoints are kept");
}

/// The order of live input is its own; but all of it is there, once, and applied in that order.
#[test]
fn live_input_is_replayed_from_its_journal() {
    let lines = in_pieces(&Folder::new("live"), inputs(8, Nature::Live), &STEPS);
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut hashes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut last_time = 0;
    for line in &lines {
        let (id, rest) = line.split_once(' ').unwrap();
        // The places after the offset tell the two legs of the merge apart.
        let (lane, offset) = id.rsplit_once('-').unwrap();
        let offset: u64 = offset.split('.').next().unwrap().parse().unwrap();
        let next = next.entry(lane.to_string()).or_default();
        assert_eq!(offset, *next, "{lane}");
        *next += 1;
        let numbers: Vec<u64> =
            rest.trim_matches(['(', ')']).split(", ").map(|n| n.parse().unwrap()).collect();
        let hash = hashes.entry(numbers[1] % 13).or_default();
        *hash = mix(*hash, numbers[1]);
        assert_eq!(numbers[2], *hash, "{line}");
        assert!(last_time <= numbers[0], "{line}");
        last_time = numbers[0];
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), [30_000, 30_000, 9_000]);
}

/// Who is asked to end while it completes what an earlier run has accepted completes it.
#[test]
fn a_run_that_is_to_end_at_once_completes_what_was_journaled() {
    let mut folder = Folder::new("at-once");
    folder.1 = "forever";
    let inputs = inputs(12, Nature::Live);
    let mut released = Released::new();
    released.breaks = 5_000;
    let (config, of, from) = (folder.config(2), released.clone(), inputs.clone());
    let build = move |app: &App| {
        observe(app, &from, of.clone());
        Ok(())
    };
    let error = bounded(move || run(&config, build).unwrap_err());
    assert!(error.to_string().contains("the sink is broken"), "{error}");
    let before = released.len();
    released.breaks = usize::MAX;
    released.drain.request();
    let (config, of, from) = (folder.config(3), released.clone(), inputs.clone());
    let drain = released.drain.clone();
    bounded(move || {
        let build = move |app: &App| {
            observe(app, &from, of.clone());
            Ok(())
        };
        run_until(&config, build, &drain).unwrap();
    });
    let lines = released.lines();
    let (journaled, _) = replayed(&folder, &inputs, 1, Span { from: None, to: None });
    assert!(lines.len() > before, "{} after {before}", lines.len());
    assert!(lines == journaled, "{} of {}", lines.len(), journaled.len());
}

/// What is logged, for the one test here that reads it.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn with_a_data_directory_records_are_applied_in_order_whatever_the_application_asks_for() {
    let logged = Logged::default();
    let to = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let inputs = inputs(13, Nature::Recorded);
    let once = in_pieces(&Folder::new("in-order"), inputs.clone(), &[(1, usize::MAX)]);
    let said = || {
        let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        logged.matches("though the application asks for the order of arrival").count()
    };
    assert_eq!(said(), 0);
    let (folder, released) = (Folder::new("by-arrival"), Released::new());
    let (config, of, from) = (folder.config(3), released.clone(), inputs.clone());
    bounded(move || {
        let build = move |app: &App| {
            app.order(Order::Arrival);
            observe(app, &from, of.clone());
            Ok(())
        };
        run(&config, build).map(drop).unwrap();
    });
    assert_eq!(said(), 1);
    assert!(released.lines() == once);
    let (config, lines) = (folder.config(2), Lines::default());
    let of = lines.clone();
    bounded(move || {
        let build = move |app: &App| {
            app.order(Order::Arrival);
            observe(app, &inputs, of.sink::<Observed>());
            Ok(())
        };
        replay(&config, Span::default(), build).map(drop).unwrap();
    });
    assert!(lines.take().lines().eq(once.iter()));
}

#[test]
fn a_data_directory_has_one_kind_of_input() {
    let folder = Folder::new("kind");
    let lines = in_pieces(&folder, inputs(9, Nature::Live), &[(1, 100)]);
    let (inputs, config) = (inputs(9, Nature::Recorded), folder.config(1));
    let error = bounded(move || {
        let build = move |app: &App| {
            let released =
                Released { lines: Arc::new(Mutex::new(lines.clone())), ..Released::new() };
            observe(app, &inputs, released);
            Ok(())
        };
        run(&config, build).unwrap_err()
    });
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("start the program with sources as they were"), "{error}");
}
