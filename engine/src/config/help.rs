//! What `--help` says beyond the options: the commands, examples, environment and file.
//!
//! Invariant: every line of the examples can be typed as it stands. Not a second place for what an
//! option means: that is beside the option.

use std::fmt::Write as _;

use clap::Command;

use super::layers;

/// The commands, each with what it does.
const COMMANDS: [(&str, &str); 9] = [
    ("run", "Run the application (the default)"),
    ("graph", "Print the application as a graph: mermaid, dot or json; runs nothing"),
    ("check", "Build the application and print its tables, pipelines and connectors; runs nothing"),
    (
        "checkpoint",
        "Look at what a program kept in --data-dir or --store: ls, show, verify or export, and an \
         epoch unless it is the newest",
    ),
    (
        "dead-letters",
        "Look at dead letters in --data-dir, or have them tried again, changed or closed: ls, show, \
         retry, edit, ignore or export; `dead-letters --help` explains",
    ),
    (
        "reprocess",
        "Have the next start compute anew what is in --data-dir, with a program that was changed, \
         and correct the results of identified records; since --from, if not all",
    ),
    (
        "replay",
        "Replay what was journaled in --data-dir, at full speed; touches nothing that is live",
    ),
    ("verify", "Replay on 1, 2 and 4 workers, compare, and show the first difference"),
    ("diff", "Replay through this program and --against another, and show which outputs differ"),
];

/// Adds to `command`, which has all its options, the text around them.
pub(super) fn explain(command: Command, program: &str) -> Command {
    let version = match command.get_version() {
        Some(own) => format!("{own} (anabranch {})", env!("CARGO_PKG_VERSION")),
        None => format!("(anabranch {})", env!("CARGO_PKG_VERSION")),
    };
    let about = command.get_about().is_none().then_some("A stream processing application");
    let short = teach(&command, program, false);
    let long = teach(&command, program, true);
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\n{{all-args}}\
         {{after-help}}",
        commands(&command)
    );
    let command = match about {
        Some(about) => command.about(about),
        None => command,
    };
    command
        .version(version)
        .override_usage(format!(
            "{program} [run|graph|check|checkpoint|dead-letters|reprocess|replay|verify|diff] [OPTIONS]"
        ))
        .help_template(template)
        .after_help(short)
        .after_long_help(long)
        .max_term_width(100)
}

fn commands(command: &Command) -> String {
    let (header, literal) = (command.get_styles().get_header(), command.get_styles().get_literal());
    let mut text = format!("{header}Commands:{header:#}\n");
    for (name, what) in COMMANDS {
        let what = what.replace(": ls", ":\n                ls");
        let _ = writeln!(text, "  {literal}{name:<12}{literal:#}  {what}");
    }
    text
}

/// The sections after the options; all of them if `long`.
fn teach(command: &Command, program: &str, long: bool) -> String {
    let header = command.get_styles().get_header();
    let heading = |title: &str| format!("{header}{title}:{header:#}\n");
    let own = if long { command.get_after_long_help() } else { None };
    let mut text = match own.or(command.get_after_help()) {
        Some(own) => format!("{}\n\n", own.ansi().to_string().trim_end()),
        None => String::new(),
    };
    let _ = write!(
        text,
        "{}  {program} -w 4                  four worker threads; the results are the same\n  \
         {program} -n 2 -w 2             two processes of two threads each, supervised\n  \
         {program} check                 what the application is made of, without running it\n  \
         {program} graph --format dot    for Graphviz: ... | dot -Tsvg > graph.svg\n",
        heading("Examples")
    );
    if !long {
        return text;
    }
    let option = command
        .get_arguments()
        .find(|arg| arg.get_help_heading() == Some("Application"))
        .and_then(|arg| arg.get_long())
        .unwrap_or("some-option");
    let own_variable = layers::variable(program, option);
    let _ = write!(
        text,
        "  {program} -p 0 --hosts hosts.txt --cluster-key-file cluster.key\n      \
         the first process of a cluster on several machines; start one for each line of hosts.txt\n\
         \n{}  Each option can be given as a variable: the engine's as ANABRANCH_WORKERS or\n  \
         ANABRANCH_LOG, the application's as {own_variable}. NO_COLOR turns colours off.\n\
         \n{}  --config FILE names a TOML file whose keys are the long names of the options:\n\n      \
         workers = 4\n      epoch = \"1ms\"\n      quiet = true\n\n  A flag goes before the \
         environment, the environment before the file, the file before the\n  default.\n\
         \n{}  0  all that was accepted is completed\n  \
         1  something failed while it ran; with --data-dir the next start goes on from there;\n     \
         verify or diff found a difference\n  \
         2  an option or the application is wrong\n  \
         3  what is kept in --data-dir is damaged, or not this program's\n",
        heading("Environment"),
        heading("Configuration file"),
        heading("Exit codes")
    );
    text
}
