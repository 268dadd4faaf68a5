//! The README can be typed: its program is the one that is built, and its command lines are understood.
//!
//! Invariant: what is checked is the README's own text; each program named there is one of ours, asked
//! by `check` instead of running it. Blocks that compare files are run as they stand.

use std::path::Path;
use std::process::Command;

use crate::programs;
use crate::run::{Ended, ended, program};
use crate::support::Folder;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The programs that are drawn by the engine, and so know `check`.
const DRAWN: [&str; 2] = ["bitcoin-alerts", "word-count"];

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The code blocks of the README in that language.
fn blocks(language: &str) -> Vec<String> {
    let readme = text("README.md");
    let blocks = readme.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")));
    blocks.map(|block| format!("{block}\n")).collect()
}

/// The simple commands of a block: its lines, with those that go on joined, apart at each pipe.
fn commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.replace("\\\n", " ").replace("|\n", "| ");
    let lines = lines.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.flat_map(words).collect()
}

/// The words of a line as a shell splits it, as far as the README needs one.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '|' | '&') => {
                commands.last_mut().unwrap().extend(word.take());
                if c == '|' {
                    commands.push(Vec::new());
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is open: {line}");
    commands
}

/// Whether a block is run by the test that runs blocks.
fn compares(block: &str) -> bool {
    block.contains("\ncmp ")
}

fn durable(block: &str) -> bool {
    block.contains("--data-dir")
}

/// Replays what it has kept.
fn replays(block: &str) -> bool {
    block.contains("bitcoin-alerts verify --data-dir")
}

#[test]
fn the_program_is_word_counts_whole_source() {
    assert_eq!(blocks("rust"), [text("apps/word-count/src/main.rs")]);
}

#[test]
fn every_command_line_is_understood() {
    let mut checked = 0;
    let runs = |block: &String| compares(block) && durable(block) || replays(block);
    let understood = blocks("sh").into_iter().filter(|block| !runs(block));
    for command in understood.flat_map(|block| commands(&block)) {
        let mut arguments = command.clone();
        // `cargo run -p NAME -- ...` is that program.
        if command.starts_with(&["cargo".into(), "run".into()]) {
            let name = command.iter().position(|word| word == "-p").unwrap() + 1;
            let own =
                command.iter().position(|word| word == "--").map_or(command.len(), |at| at + 1);
            arguments = std::iter::once(&command[name]).chain(&command[own..]).cloned().collect();
        }
        let Some((name, arguments)) = arguments.split_first() else { continue };
        if !DRAWN.contains(&name.as_str()) {
            continue;
        }
        let has_word = arguments.first().is_some_and(|word| !word.starts_with('-'));
        let word = if has_word { &[][..] } else { &["check".to_owned()][..] };
        let Ended { code, errors, .. } = ended(&mut program(name, word.iter().chain(arguments)));
        // What looks at a data directory is understood, and finds none here.
        let finds_none = has_word && errors.contains("is no data directory");
        assert!(code == Some(0) || finds_none, "{command:?}: {errors}");
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} command lines were found");
}

/// Runs a block as a shell does, in `folder`, with the programs on its path.
#[track_caller]
fn run(block: &str, folder: &Folder) -> std::process::Output {
    let programs = programs::path("bitcoin-alerts").parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::iter::once(programs).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", block]).current_dir(folder.path("")).env("PATH", path);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn what_is_replayed_is_the_same() {
    let blocks = blocks("sh");
    let block = blocks.iter().find(|block| replays(block)).unwrap();
    let folder = Folder::new();
    let output = run(block, &folder);
    let (said, notified) = (output.stdout, std::fs::read(folder.path("notified.jsonl")).unwrap());
    assert!(notified.len() > 100 && said.starts_with(&notified), "the replay is another");
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\nthe same on 1, 2 and 4 workers: "), "{said}");
    assert!(said.ends_with(" outputs are the same, 0 appear, 0 disappear, 0 change\n"), "{said}");
}

#[test]
fn files_that_are_compared_are_equal() {
    let blocks = blocks("sh");
    let compared: Vec<_> = blocks.iter().filter(|block| compares(block)).collect();
    assert_eq!(compared.len(), 2);
    assert!(durable(compared[1]) && compared[1].contains("kill -9"));
    for block in compared {
        let folder = Folder::new();
        let output = run(block, &folder);
        let file = block.split("\ncmp ").nth(1).unwrap().split(' ').next().unwrap();
        let written = std::fs::read(folder.path(file)).unwrap();
        assert!(written.iter().filter(|byte| **byte == b'\n').count() > 1, "nothing was compared");
        if durable(block) {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains("generation 2 goes on from checkpoint"), "{errors}");
        }
    }
}

/// `$ NAME` and what that prints; `...` stands for lines that are left out.
#[test]
fn programs_print_what_is_shown() {
    let blocks = blocks("text");
    let block = blocks.iter().find(|block| block.starts_with("$ ")).unwrap();
    let mut shown = 0;
    for program_and_lines in block.split("$ ").skip(1) {
        let (command, lines) = program_and_lines.split_once('\n').unwrap();
        let name = command.split(' ').next().unwrap();
        let output = if command.contains('|') {
            String::from_utf8(run(command, &Folder::new()).stdout).unwrap()
        } else {
            let Ended { code, output, errors } = ended(&mut program(name, ["--quiet"]));
            assert_eq!(code, Some(0), "{name}: {errors}");
            output
        };
        let mut printed = output.lines();
        for line in lines.lines().filter(|line| !line.is_empty() && *line != "...") {
            assert!(printed.any(|it| it == line), "{name} does not print, there: {line}");
            shown += 1;
        }
    }
    assert!(shown >= 8, "only {shown} lines were found");
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = text(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") {
                assert!(Path::new(ROOT).join(target).exists(), "{page} links to {target}");
            }
        }
    }
}
