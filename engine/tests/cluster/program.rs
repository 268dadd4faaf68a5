//! The program that the tests of processes run: as small as one can be.

use std::path::PathBuf;
use std::time::Duration;

use anabranch::cluster::{self, Drain, Failures, Limits, Mesh, Placement, Restarts, Role};
use anabranch::data_dir::DataDir;
use anabranch::{Error, Result};
use timely::dataflow::operators::{Exchange, Input, Probe};
use timely::worker::Worker;

use crate::support::{exchange_and_sum, publish};

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("CLUSTER_TEST_{name}")).ok()
}

fn number(name: &str) -> Option<usize> {
    setting(name).map(|value| value.parse().unwrap())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(setting("DIR").unwrap()).join(name)
}

/// No test: the other tests start this binary with exactly this name.
#[test]
#[ignore = "a program that other tests start"]
fn program() {
    if setting("DIR").is_none() {
        return;
    }
    let (drain, failures) = (Drain::default(), Failures::default());
    cluster::install_panic_hook(&failures);
    failures.exit_on_first();
    match run(&drain, &failures) {
        Ok(()) => std::process::exit(0),
        Err(error) => failures.exit(&error),
    }
}

fn run(drain: &Drain, failures: &Failures) -> Result<()> {
    let defaults = Limits::default();
    let time = |name| number(name).map(|ms| Duration::from_millis(ms as u64));
    let data = setting("DATA").map(|program| DataDir::open(path("data"), &program, 8));
    if data.is_some() {
        anabranch::log::start("info", None)?;
    }
    let placement = Placement {
        workers: number("WORKERS").unwrap_or(1),
        processes: number("PROCESSES"),
        process: number("PROCESS"),
        hosts: setting("HOSTS").map(PathBuf::from),
        key_file: setting("KEY").map(PathBuf::from),
        data: data.transpose()?,
        fingerprint: 1,
        limits: Limits {
            silence: time("SILENCE_MS").unwrap_or(defaults.silence),
            heartbeat: Duration::from_millis(100),
            lock: time("LOCK_MS").unwrap_or(defaults.lock),
            restarts: Restarts {
                first: time("PAUSE_MS").unwrap_or(Duration::from_millis(10)),
                longest: time("PAUSE_MS").unwrap_or(Duration::from_millis(10)),
                limit: number("RESTARTS").unwrap_or(10).try_into().unwrap(),
                ..defaults.restarts
            },
            ..defaults
        },
    };
    match cluster::role(&placement, drain, failures)? {
        Role::Alone => alone(drain),
        Role::Supervisor(supervisor) => supervisor.run(),
        Role::Member(member) => {
            let process = member.process();
            publish(&path(&format!("pid-{process}")), &std::process::id().to_string());
            match member.connect()? {
                Some(mesh) => {
                    if setting("MODE").as_deref() == Some("progress") {
                        member.progress()?.made();
                    }
                    compute(mesh, drain, failures)
                }
                None => Ok(()),
            }
        }
    }
}

fn alone(drain: &Drain) -> Result<()> {
    cluster::watch_signals(drain)?;
    publish(&path("up-0"), "");
    while !(drain.requested() && setting("MODE").as_deref() != Some("stubborn")) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn compute(mesh: Mesh, drain: &Drain, failures: &Failures) -> Result<()> {
    let (process, generation) = (mesh.process, mesh.generation);
    let mode = setting("MODE").unwrap();
    let (drain, causes) = (drain.clone(), failures.clone());
    let results =
        mesh.execute(timely::WorkerConfig::default(), failures, move |worker| {
            match mode.as_str() {
                "sum" => exchange_and_sum(worker),
                mode => hold(worker, (process, generation), mode, &drain, &causes),
            }
        })?;
    publish(&path(&format!("done-{process}")), &format!("{results:?}"));
    Ok(())
}

/// Computes nothing until it is asked to drain, or to fail.
fn hold(
    worker: &mut Worker,
    (process, generation): (usize, u64),
    mode: &str,
    drain: &Drain,
    failures: &Failures,
) -> u64 {
    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, stream) = scope.new_input::<Vec<u64>>();
        (input, stream.exchange(|x| *x).probe().0)
    });
    let mut epoch = 0;
    let mut step = |worker: &mut Worker| {
        input.send(epoch);
        epoch += 1;
        input.advance_to(epoch);
        worker.step_or_park(Some(Duration::from_millis(5)));
    };
    // Records flow between all processes before the test is told that this one is up.
    while !step_reached(&mut step, worker, &probe) {}
    let up = match generation {
        0 => format!("up-{process}"),
        _ => format!("up-{process}-{generation}"),
    };
    publish(&path(&up), &std::process::id().to_string());
    while !drain.requested() || mode == "stubborn" {
        assert!(!path(&format!("panic-{process}")).exists(), "told to panic");
        if path(&format!("record-{process}")).exists() {
            user_code(failures);
        }
        if let Ok(origin) = std::fs::read_to_string(path(&format!("aside-{process}"))) {
            std::fs::remove_file(path(&format!("aside-{process}"))).unwrap();
            failures.report_aside(format!("computation `x` panicked at {origin}"), origin);
        }
        if path(&format!("data-{process}")).exists() {
            failures.report_error(&Error::Data("the journal is damaged".to_owned()));
        }
        assert!(mode != "busy" || drain.requested() || spin(), "a busy worker never returns");
        step(worker);
    }
    input.close();
    0
}

fn step_reached(
    step: &mut impl FnMut(&mut Worker),
    worker: &mut Worker,
    probe: &timely::dataflow::ProbeHandle<u64>,
) -> bool {
    step(worker);
    !probe.less_than(&3)
}

/// User code that never returns.
fn spin() -> bool {
    loop {
        std::hint::spin_loop();
    }
}

/// A computation that panics, as the engine calls it: the cause is the record, not the thread.
fn user_code(failures: &Failures) {
    let caught = cluster::catch(|| panic!("no price")).unwrap_err();
    failures.report(format!("computation `x` panicked at prices-0-17: {caught}"));
}
