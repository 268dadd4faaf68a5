//! What is told: frames, items that were too late, and answers.
//!
//! Invariant: a frame looks the same when it is made and when it is asked about.

use std::fmt;

use anabranch::window::frames::{Frame, FrameEvent, FrameState};
use serde::{Deserialize, Serialize};

use crate::input::Item;

/// One line of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A frame was calculated, or has failed for good.
    Frame(Made),
    /// An item came later than is allowed.
    Late {
        time: String,
        text: String,
    },
    Answer(Answer),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) state: FrameState,
    /// How many items it had when it was last calculated.
    pub(crate) items: Option<u64>,
    pub(crate) attempts: u32,
    /// How often it was calculated anew, because items were late.
    pub(crate) revision: u32,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// The frames that have some time of what was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) frames: Vec<Made>,
}

impl From<&Frame<u64>> for Made {
    fn from(frame: &Frame<u64>) -> Self {
        Self {
            from: frame.start.to_string(),
            until: frame.end.to_string(),
            state: frame.state,
            items: frame.result,
            attempts: frame.attempts,
            revision: frame.revision,
            error: frame.error.clone(),
        }
    }
}

impl From<FrameEvent<Item, u64>> for Line {
    fn from(event: FrameEvent<Item, u64>) -> Self {
        match event {
            FrameEvent::Calculated(frame) | FrameEvent::Failed(frame) => {
                Self::Frame((&frame).into())
            }
            FrameEvent::Late { value, .. } => {
                Self::Late { time: value.time.to_string(), text: value.text }
            }
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until, state, items, attempts, revision, error } = self;
        write!(f, "{from} to {until}  ")?;
        let error = error.as_deref().unwrap_or_default();
        match (state, items) {
            (FrameState::Failed, _) => write!(f, "failed, tried {attempts} times: {error}"),
            (FrameState::Calculated, Some(items)) => {
                write!(f, "{items} item{}", if *items == 1 { "" } else { "s" })?;
                if *attempts > 1 {
                    write!(f, ", tried {attempts} times")?;
                }
                if *revision > 0 {
                    write!(f, ", corrected")?;
                }
                Ok(())
            }
            _ => write!(f, "not calculated yet: {error}"),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame) => frame.fmt(f),
            Self::Late { time, text } => write!(f, "{time} {text}: in no frame"),
            Self::Answer(Answer { from, to, frames }) => {
                write!(f, "between {from} and {to}:")?;
                frames.iter().try_for_each(|frame| write!(f, "\n  {frame}"))
            }
        }
    }
}
