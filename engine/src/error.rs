//! What can go wrong, named by what the reader can do about it.
//!
//! Invariant: every message says what happened, where, and what to do next; secrets (keys, tokens,
//! passwords in URLs) never enter a message.

/// The result of anything in Anabranch that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine, a connector or an application.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option or a configuration file is wrong: correct it and start again (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// The application cannot be built as it is drawn: change the program (exit code 2).
    #[error("the application cannot be built: {0}")]
    Application(String),
    /// Bytes could not be decoded. At a source this is no error but a dead letter.
    #[error("{0}")]
    Decode(String),
    /// A source or sink could not do its work.
    #[error("{0}")]
    Connector(String),
    /// Who receives what a sink writes refuses this record for good: trying again does not help. With a policy
    /// of [retrying](crate::sink::retrying()) the record is a dead letter at once.
    #[error("{0}")]
    Refused(String),
    /// The cluster could not be formed, or lost a process.
    #[error("{0}")]
    Cluster(String),
    /// A later start has taken this one's place in the data directory: this one can commit nothing any
    /// more, and ends.
    #[error("{0}")]
    Replaced(String),
    /// User code panicked while it handled the record of that origin.
    #[error("{0}")]
    Panic(String),
    /// User code panicked while it handled a record, which was set aside: started again, the program
    /// goes on without it.
    #[error("{what}; the record is set aside, and becomes a dead letter at the next start")]
    SetAside {
        /// What happened, at which record.
        what: String,
        /// The record's source, partition and offset.
        origin: String,
    },
    /// What is kept (a journal, a checkpoint, rows of a table) is damaged, or made by another program or
    /// version, or could not be written as it must be: the message names the file; starting again does
    /// not help (exit code 3).
    #[error("{0}")]
    Data(String),
    /// A file or a socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with its path or address.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps what the operating system said with what was being done.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The exit code a program ends with: 2 if the user can correct its invocation or its source,
    /// 3 if what it has kept cannot be used, 1 if something failed while it ran.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Application(_) => 2,
            Self::Data(_) => 3,
            _ => 1,
        }
    }
}
