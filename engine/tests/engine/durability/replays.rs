//! Replays of a journal, and how long it is kept for them.

use super::*;

fn time(line: &str) -> i64 {
    let (_, rest) = line.split_once(" (").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_replay_releases_what_was_released_on_any_number_of_workers() {
    for nature in [Nature::Recorded, Nature::Live] {
        let (mut folder, inputs) = (Folder::new("replay"), inputs(11, nature));
        folder.1 = "forever";
        let lines =
            in_pieces(&folder, inputs.clone(), &[(2, 10_000), (1, 30_000), (3, usize::MAX)]);
        let mut times: Vec<i64> = lines.iter().map(|line| time(line)).collect();
        times.dedup();
        let at = |part: usize| Some(times[times.len() * part / 4]);
        let spans = [(None, None), (at(1), at(3)), (at(2), None), (None, at(1))];
        let mut known = BTreeMap::new();
        for (workers, (from, to)) in [1, 3, 2].into_iter().flat_map(|w| spans.map(|span| (w, span)))
        {
            let span = Span { from: from.map(Time::from_nanos), to: to.map(Time::from_nanos) };
            let (again, digests) = replayed(&folder, &inputs, workers, span);
            assert_eq!(&digests, known.entry((from, to)).or_insert(digests), "{span:?}");
            let within = |line: &&String| {
                from.is_none_or(|from| time(line) >= from) && to.is_none_or(|to| time(line) < to)
            };
            let wanted: Vec<&String> = lines.iter().filter(within).collect();
            let differs = again.iter().zip(&wanted).find(|(again, wanted)| again != *wanted);
            let context = format!("{nature:?} {span:?} on {workers} workers");
            assert_eq!((differs, again.len()), (None, wanted.len()), "{context}");
            assert_eq!(again.is_empty(), wanted.is_empty(), "{context}");
        }
    }
}

/// Brings long texts, some for each checkpoint, until the journal has lost its beginning and there are
/// checkpoints that only a replay of it needs.
#[derive(Clone)]
struct UntilDropped {
    folder: std::path::PathBuf,
}

impl UntilDropped {
    fn kept(&self) -> Vec<CheckpointId> {
        Manifest::list(&Store::directory(&self.folder.join("checkpoints"))).unwrap()
    }

    fn is_dropped(&self) -> bool {
        let segments = std::fs::read_dir(self.folder.join("journal/texts/0")).unwrap();
        let oldest = segments.map(|segment| segment.unwrap().file_name()).min();
        let at_0 = |name: std::ffi::OsString| name.to_str().unwrap().starts_with(&"0".repeat(20));
        oldest.is_some_and(|oldest| !at_0(oldest))
    }
}

impl Source for UntilDropped {
    type Item = String;

    fn describe(&self) -> String {
        "texts".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<String>>> {
        let waker = context.waker.clone();
        Ok(Box::new(Texts { of: self.clone(), next: 0, may: 0, last: None, waker }))
    }
}

struct Texts {
    of: UntilDropped,
    next: u64,
    /// Before that many there must be another checkpoint.
    may: u64,
    last: Option<CheckpointId>,
    waker: Waker,
}

impl Reader<String> for Texts {
    fn read(&mut self, intake: &mut Intake<String>) -> Result<Progress> {
        if self.next == self.may {
            let kept = self.of.kept();
            if kept.len() > 3 && self.of.is_dropped() {
                return Ok(Progress::End);
            }
            if self.next > 0 && kept.first() == self.last.as_ref() {
                std::thread::yield_now();
                self.waker.wake();
                return Ok(Progress::Idle);
            }
            assert!(self.next < 100_000, "it is never dropped: {kept:?}");
            self.last = kept.first().copied();
            self.may += 512;
        }
        while self.next < self.may && !intake.is_full() {
            intake.frame(self.next, None, 1024);
            intake.accept(format!("{:01024}", self.next));
            self.next += 1;
        }
        Ok(Progress::Ready)
    }
}

/// Counts long texts.
fn counted(app: &App, texts: &UntilDropped, released: impl Sink<Item = (i64, u64)>) -> Result<()> {
    app.source("texts", texts.clone())
        .key_by(|text: &String| text.len() as u8)
        .compute("count", HASHES, |_, mut count, out: &mut Context<'_, (i64, u64)>| {
            *count += 1;
            out.emit((out.now().as_nanos(), *count));
        })
        .sink("released", released);
    Ok(())
}

/// A journal that lost its beginning can be replayed from where it begins now.
#[test]
fn a_journal_is_kept_with_the_checkpoint_to_replay_it_from() {
    let mut folder = Folder::new("middle");
    folder.1 = "4MiB";
    let texts = UntilDropped { folder: folder.0.clone() };
    let released = Released::<(i64, u64)>::new();
    let (config, of, from) = (folder.config(2), released.clone(), texts.clone());
    bounded(move || {
        let build = move |app: &App| counted(app, &from, of.clone());
        run(&config, build).map(drop).unwrap();
    });
    // The thread that writes checkpoints may have one to finish; it holds the directory as long.
    std::fs::File::open(folder.0.join("lock")).unwrap().lock().unwrap();
    let (lines, kept) = (released.lines(), texts.kept());
    assert!(kept.len() > 2 && texts.is_dropped(), "{kept:?}");
    let oldest = i64::try_from(kept[kept.len() - 1].epoch).unwrap();
    assert!(time(&lines[0]) < oldest, "{oldest} is not in the middle");
    let replayed = |from: i64| {
        let span = Span { from: Some(Time::from_nanos(from)), to: None };
        let (config, lines, texts) = (folder.config(3), Lines::default(), texts.clone());
        let of = lines.clone();
        bounded(move || {
            let build = move |app: &App| counted(app, &texts, of.sink());
            replay(&config, span, build).map(drop)
        })
        .map(|()| lines.take())
    };
    let again = replayed(oldest).unwrap();
    let wanted: Vec<_> = lines.iter().filter(|line| time(line) >= oldest).collect();
    assert!(wanted.len() > 512, "{}", wanted.len());
    assert!(again.lines().eq(wanted), "{} lines", again.lines().count());
    let refused = replayed(oldest - 1).unwrap_err().to_string();
    assert!(refused.contains("does not go back to"), "{refused}");
}
