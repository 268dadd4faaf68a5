//! A program with a data directory, started again and again.
//!
//! Invariant: what is killed is a process that this test has started: a supervisor, or a child of one,
//! looked up by its parent before it gets a signal. None outlives its test.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anabranch::clock;

use crate::run::{Running, is_gone, parent, program};
use crate::support::{Dice, Folder, until};

/// Lines of a program's log that a test shows when it fails.
const LOG_SHOWN: usize = 60;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// One child; the supervisor starts all again.
    Child,
    /// All children at once; likewise.
    Children,
    /// The supervisor; its children end by themselves, and the test starts it again.
    Supervisor,
    /// All processes at once; likewise.
    All,
}

impl Victim {
    pub(crate) const EACH: [Self; 4] = [Self::Child, Self::Children, Self::Supervisor, Self::All];
}

/// How a program is started.
pub(crate) struct Start<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: Vec<String>,
    /// Its data directory.
    pub(crate) dir: String,
    /// What is set in its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl<'a> Start<'a> {
    /// `name` with a data directory in `folder`, and a checkpoint every `interval`.
    pub(crate) fn new(name: &'a str, folder: &Folder, arguments: &[&str], interval: &str) -> Self {
        let dir = folder.name("data");
        let kept = ["--data-dir", &dir, "--checkpoint-interval", interval];
        let arguments = [arguments, &kept].concat().into_iter().map(str::to_owned).collect();
        Self { name, arguments, dir, environment: Vec::new() }
    }

    /// Starts it in this layout.
    pub(crate) fn begin(&self, layout: &[&str]) -> Life {
        let processes = match layout.iter().position(|it| *it == "-n") {
            Some(at) => layout[at + 1].parse().unwrap(),
            None => 1,
        };
        let layout = layout.iter().copied();
        let arguments = self.arguments.iter().map(String::as_str).chain(layout);
        let mut program = program(self.name, arguments);
        program.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Life { running: Running::start(&mut program), processes }
    }

    /// What `checkpoint <arguments>` prints of its data directory.
    #[track_caller]
    pub(crate) fn checkpoint(&self, arguments: &[&str]) -> String {
        let arguments = [&["checkpoint"], arguments, &["--data-dir", &self.dir]].concat();
        let ended = crate::run::ended(&mut program(self.name, arguments));
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended.output
    }

    /// The epochs and generations of the checkpoints that there are, by age.
    pub(crate) fn checkpoints(&self) -> Vec<(u64, u64)> {
        let Ok(entries) = std::fs::read_dir(format!("{}/checkpoints/manifests", self.dir)) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut found: Vec<(u64, u64)> = names
            .filter_map(|name| {
                let (epoch, generation) = name.strip_suffix(".json")?.split_once('-')?;
                Some((generation.parse().ok()?, epoch.parse().ok()?))
            })
            .collect();
        found.sort_unstable();
        found
    }
}

/// A supervisor and its children, from its start to its end.
pub(crate) struct Life {
    pub(crate) running: Running,
    processes: usize,
}

impl Life {
    /// The last generation that it has started, once it has started all processes of it; none if the
    /// program has ended.
    #[track_caller]
    pub(crate) fn generation(&mut self) -> Option<(u64, Vec<u32>)> {
        until("a generation starts", || {
            let ended = !self.running.is_running();
            let errors = self.running.errors();
            let started = last_start(&errors);
            match started {
                _ if ended => Some(None),
                Some((number, pids)) if pids.len() == self.processes => Some(Some((number, pids))),
                _ => None,
            }
        })
    }

    /// Waits until its generation has made a checkpoint. False if the program has ended by then.
    #[track_caller]
    pub(crate) fn checkpoint(&mut self, start: &Start<'_>) -> bool {
        let Some((generation, _)) = self.generation() else { return false };
        until("there is a checkpoint", || {
            // A generation that fails by itself is followed by another.
            let newest = start.checkpoints().last().is_some_and(|(of, _)| *of >= generation);
            (newest || !self.running.is_running()).then_some(())
        });
        self.running.is_running()
    }

    /// Waits for some moment: soon after a generation starts, or a while after it has made something
    /// that lasts, so that it is not given up. The while is below so many milliseconds. False if the program has ended by then.
    #[track_caller]
    pub(crate) fn moment(&mut self, start: &Start<'_>, within: u64, dice: &mut Dice) -> bool {
        let begun = match dice.below(4) {
            0 => self.generation().is_some(),
            _ => self.checkpoint(start),
        };
        if !begun {
            return false;
        }
        std::thread::sleep(Duration::from_micros(dice.below(within * 1000)));
        self.running.is_running()
    }

    /// Kills by SIGKILL. False if there was nothing left to kill, as the program was ending. Of a
    /// supervisor, all children are gone then.
    #[track_caller]
    pub(crate) fn kill(&mut self, victim: Victim, dice: &mut Dice) -> bool {
        let Some((_, children)) = self.generation() else { return false };
        let supervisor = self.running.pid();
        let mut pids: Vec<u32> =
            children.into_iter().filter(|pid| parent(*pid) == Some(supervisor)).collect();
        match victim {
            Victim::Child if !pids.is_empty() => {
                let chosen = usize::try_from(dice.below(pids.len() as u64)).unwrap();
                pids = vec![pids[chosen]];
            }
            Victim::Child | Victim::Children => {}
            Victim::Supervisor => pids = vec![supervisor],
            Victim::All => pids.push(supervisor),
        }
        if pids.is_empty() {
            return false;
        }
        send("KILL", &pids);
        if pids.contains(&supervisor) {
            self.running.code();
            self.all_gone();
        } else {
            self.another_or_the_end(&pids);
        }
        true
    }

    /// Waits until the supervisor has noticed: so that the next kill does not strike the same.
    #[track_caller]
    fn another_or_the_end(&mut self, killed: &[u32]) {
        until("it starts again", || {
            let again = last_start(&self.running.errors())
                .is_some_and(|(_, pids)| !pids.iter().any(|pid| killed.contains(pid)));
            (again || !self.running.is_running()).then_some(())
        });
    }

    /// Every child that it ever had is gone, or soon will be.
    #[track_caller]
    pub(crate) fn all_gone(&self) {
        for pid in pids(&self.running.errors()) {
            until("the child is gone", || is_gone(pid).then_some(()));
        }
    }

    /// Waits for its end, a success.
    #[track_caller]
    pub(crate) fn succeeds(&mut self) {
        self.running.succeeds();
        self.all_gone();
    }

    /// Ends it by a signal, or at once.
    #[track_caller]
    pub(crate) fn stop(&mut self, gently: bool, dice: &mut Dice) {
        if !gently {
            self.kill(Victim::All, dice);
        } else if self.running.is_running() {
            self.running.signal("TERM");
        }
        let (code, errors) = (self.running.code(), self.running.errors());
        // Asked before it computes, it cannot complete what lives before it have left.
        let early = code == Some(1) && errors.contains("remains in the journal");
        assert!(code == Some(0) || early || !gently, "{code:?}: {errors}");
        self.all_gone();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let log = self.running.errors();
        if std::thread::panicking() {
            let from = log.lines().count().saturating_sub(LOG_SHOWN);
            let last: Vec<&str> = log.lines().skip(from).collect();
            println!("the last that it has said:\n{}", last.join("\n"));
        }
        let mut children = pids(&log);
        let supervisor = self.running.pid();
        children.retain(|pid| parent(*pid) == Some(supervisor));
        // Also one that a failed test has left stopped, and so deaf for the end of its supervisor.
        send("KILL", &children);
    }
}

/// Sends a signal to several processes at once; those that are gone are none.
pub(crate) fn send(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let mut line = format!("kill -{name}");
    pids.iter().for_each(|pid| write!(line, " {pid}").unwrap());
    let _ = Command::new("sh").args(["-c", &(line + " 2> /dev/null")]).status().unwrap();
}

/// The last generation that a supervisor's log tells of, and its processes so far.
fn last_start(log: &str) -> Option<(u64, Vec<u32>)> {
    let at = log.match_indices(" starts\n").last()?.0;
    let (before, after) = log.split_at(at);
    Some((before.rsplit_once("INFO generation ")?.1.parse().ok()?, pids(after)))
}

/// The processes that a log tells of.
pub(crate) fn pids(log: &str) -> Vec<u32> {
    let told = log.lines().filter_map(|line| {
        let (before, pid) = line.split_once(" is pid ")?;
        before.contains("INFO process ").then(|| pid.parse().ok())?
    });
    told.collect()
}

/// How many faults a test makes, and the number that its choices follow from.
pub(crate) struct Dose {
    pub(crate) faults: u64,
    pub(crate) dice: Dice,
    begun: std::time::Instant,
    pub(crate) made: u64,
    first: u64,
}

impl Dose {
    /// `small`, or what `ANABRANCH_CRASHES` says.
    pub(crate) fn new(what: &str, small: u64) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let faults = number("ANABRANCH_CRASHES").unwrap_or(small);
        let seed = number("ANABRANCH_SEED").unwrap_or(1);
        println!("{what}: {faults} faults, ANABRANCH_SEED={seed}");
        let mut dice = Dice(seed);
        let first = dice.below(4);
        Self { faults, dice, begun: clock::instant(), made: 0, first }
    }

    /// What to kill next: one after the other, so that a small dose has all of them.
    pub(crate) fn victim(&self) -> Victim {
        Victim::EACH[usize::try_from((self.made + self.first) % 4).unwrap()]
    }

    /// One more.
    pub(crate) fn made(&mut self, what: &str) {
        self.made += 1;
        if self.made.is_multiple_of(50) {
            let seconds = self.begun.elapsed().as_secs();
            println!("{what}: {} of {} faults, {seconds} s", self.made, self.faults);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.made >= self.faults
    }
}
