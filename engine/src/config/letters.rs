//! How dead letters are kept, and what commands do with them.
//!
//! Invariant: as all of a [`Config`](super::Config), checked and within bounds.

/// What is done with dead letters that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LettersCommand {
    /// What.
    pub action: LettersAction,
    /// With which.
    pub which: LettersSelection,
}

/// What can be done with dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LettersAction {
    /// Lists them, or how many of each group there are.
    List {
        /// The groups.
        groups: bool,
    },
    /// Prints all that is known of some.
    Show,
    /// Prints them as JSON lines.
    Export,
    /// Asks for some to be tried again.
    Retry,
    /// Closes some as they are.
    Ignore,
    /// Puts another record in the place of one.
    Edit {
        /// The record; from an editor or standard input without it.
        record: Option<String>,
    },
}

/// Which dead letters are meant: those for which all of this is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LettersSelection {
    /// Their names; any, if there are none.
    pub ids: Vec<String>,
    /// Their group, by its name.
    pub group: Option<String>,
    /// Their pipeline.
    pub pipeline: Option<String>,
    /// Their computation.
    pub computation: Option<String>,
    /// The kind of their failure.
    pub kind: Option<String>,
    /// All of them, also those that are closed when they are listed.
    pub all: bool,
}

/// What happens when there are as many dead letters as there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeadLettersFull {
    /// The program ends, with an error that says what to do (exit code 3).
    #[default]
    Stop,
    /// The oldest open letter goes.
    DropOldest,
    /// The new letter is not kept.
    DropNewest,
}

/// How many dead letters are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LettersBound {
    /// How many may be open.
    pub open: usize,
    /// What happens then.
    pub full: DeadLettersFull,
}

impl Default for LettersBound {
    fn default() -> Self {
        Self { open: 100_000, full: DeadLettersFull::default() }
    }
}
