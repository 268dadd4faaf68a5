//! A cluster by a hosts file over a directory that its machines share: one dies, and they meet again.
//!
//! Invariant: the machines are supervisors of this machine, each with a port of its own. A small dose
//! by default; `ANABRANCH_CRASHES=N` makes another.

use crate::ledger::{Boundaries, Ledger};
use crate::lives::{Dose, Start, pids, send};
use crate::run::{Running, is_gone, parent, program};
use crate::support::{Dice, Folder, Words, free_ports, key_file, until};

const LINES: usize = 400_000;

/// The newest generation that a machine's log tells of, and its process in it.
fn latest(machine: &Running) -> Option<(u64, u32)> {
    let errors = machine.errors();
    let at = errors.rfind(" starts\n")?;
    let generation = errors[..at].rsplit_once("INFO generation ")?.1.parse().ok()?;
    Some((generation, *pids(&errors[at..]).last()?))
}

#[test]
fn machines_of_which_one_is_killed_meet_again() {
    let mut dice = Dice(49);
    let lines: Vec<String> = (0..LINES).map(|_| dice.line()).collect();
    let wanted = Words::of(lines.iter().map(String::as_str));
    let mut dose = Dose::new("machines", 6);
    while !dose.is_over() {
        let folder = Folder::new();
        let text = format!("file:{}", folder.write("text", lines.join("\n")));
        let counts = format!("file:{}", folder.name("counts"));
        let start =
            Start::new("word-count", &folder, &["--text", &text, "--counts", &counts], "20ms");
        let mut ledger = Ledger::new(folder.path("counts"), wanted.as_str());
        let mut boundaries = Boundaries::default();
        let key = key_file(&folder, "cluster.key", "0123456789abcdef0123456789abcdef");
        let ports: [u16; 2] = free_ports();
        let hosts = folder.write("hosts", ports.map(|port| format!("127.0.0.1:{port}\n")).concat());
        let begin = |process: usize| {
            let process = process.to_string();
            let place = ["-p", &process, "--hosts", &hosts, "--cluster-key-file", &key];
            let arguments = start.arguments.iter().map(String::as_str).chain(place);
            Running::start(&mut program("word-count", arguments))
        };
        let mut machines = [begin(0), begin(1)];
        let mut generation = 0;
        while !dose.is_over() {
            // Both are in a generation after the last that was hurt, and it has made something.
            let ready = until("they meet and make a checkpoint", || {
                let over = machines.iter_mut().any(|machine| !machine.is_running());
                let met = machines.each_ref().map(latest);
                let now = met[0].map_or(0, |(now, _)| now);
                let same =
                    now > generation && met.iter().all(|of| of.is_some_and(|of| of.0 == now));
                let made = start.checkpoints().last().is_some_and(|(of, _)| *of == now);
                if over { Some(false) } else { (same && made).then_some(true) }
            });
            if !ready {
                break;
            }
            let chosen = usize::try_from(dose.dice.below(2)).unwrap();
            let machine = &mut machines[chosen];
            let Some((of, child)) = latest(machine) else { continue };
            generation = of;
            if parent(child) != Some(machine.pid()) {
                continue;
            }
            let whole = dose.dice.below(2) == 0;
            if whole {
                send("KILL", &[machine.pid(), child]);
                machine.code();
                until("the child is gone", || is_gone(child).then_some(()));
                machines[chosen] = begin(chosen);
            } else {
                send("KILL", &[child]);
            }
            dose.made("machines");
            let after = format!("machine {chosen}, whole: {whole}");
            ledger.check(&after);
            boundaries.check(&start, &after);
        }
        machines.iter_mut().for_each(Running::succeeds);
        ledger.check("the end");
        ledger.complete("machines");
        boundaries.check(&start, "the end");
        boundaries.verify(&start);
    }
}
