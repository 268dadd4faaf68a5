//! [`Frame`]: an interval of a stream, and what came of it.
//!
//! Invariant: it is in one [`FrameState`]. A result once made stays until a newer one takes its place, also
//! if that one fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::window::Window;

/// The most bytes that are kept of an error's text.
const ERROR_MOST: usize = 1_000;

/// How far a frame has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameState {
    /// It is to be calculated: it failed and will be tried again, or late records came.
    #[default]
    Open,
    /// It is calculated.
    Calculated,
    /// It failed for good, and was handed out as a dead letter.
    Failed,
}

/// An interval of a stream, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame<R> {
    /// The first time that is in it.
    pub start: Time,
    /// The first time that is no longer in it.
    pub end: Time,
    /// How far it has come.
    pub state: FrameState,
    /// Whether records are missing: some had been deleted when it was calculated, or the calculation
    /// said so.
    pub missing_data: bool,
    /// How long the last calculation took, by the stopwatch that was given.
    pub analysis_time: Duration,
    /// How long it took to clean up after it.
    pub cleanup_time: Duration,
    /// How often it was tried, in this revision.
    pub attempts: u32,
    /// How often it was begun anew, because of late records or on request.
    pub revision: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// What the last calculation that succeeded came to.
    pub result: Option<R>,
}

/// A row's value has a default: a frame of no time.
impl<R> Default for Frame<R> {
    fn default() -> Self {
        Self::new(Window::new(Time::ZERO, Time::ZERO), false)
    }
}

impl<R> Frame<R> {
    /// One of which nothing is known yet.
    pub(super) fn new(window: Window, missing_data: bool) -> Self {
        Self {
            start: window.start,
            end: window.end,
            state: FrameState::Open,
            missing_data,
            analysis_time: Duration::ZERO,
            cleanup_time: Duration::ZERO,
            attempts: 0,
            revision: 0,
            error: None,
            result: None,
        }
    }

    /// Its interval.
    pub fn window(&self) -> Window {
        Window::new(self.start, self.end)
    }

    /// Whether it is calculated.
    pub fn calculated(&self) -> bool {
        self.state == FrameState::Calculated
    }

    /// It is to be calculated anew.
    pub(super) fn reopen(&mut self) {
        self.state = FrameState::Open;
        self.revision = self.revision.saturating_add(1);
        self.attempts = 0;
    }

    /// Notes why an attempt failed.
    pub(super) fn fail(&mut self, mut why: String) {
        if why.len() > ERROR_MOST {
            let end = (0..=ERROR_MOST).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
            why.truncate(end);
            why.push_str(" ...");
        }
        self.error = Some(why);
    }
}

/// One attempt to calculate a frame: what the calculation is told, and what it may tell beside its result.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The frame's interval.
    pub window: Window,
    /// Counts the attempts of this revision, from 1.
    pub number: u32,
    /// 0 at first, then one more each time that the frame is calculated anew.
    pub revision: u32,
    /// Whether records are missing: to read, and to set.
    pub missing_data: bool,
}

/// What is to be handed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameEvent<T, R> {
    /// A frame was calculated; if its revision is not 0, it takes the place of the one handed on before.
    Calculated(Frame<R>),
    /// A frame was tried as often as is allowed, and is marked failed: a dead letter, with the reason in
    /// its `error`.
    Failed(Frame<R>),
    /// A record came when its frame was calculated, later than is allowed. It is in no frame.
    Late {
        /// Its event time.
        time: Time,
        /// The record.
        value: T,
    },
}

impl<T, R> FrameEvent<T, R> {
    /// The frame, if it is about one.
    pub fn frame(&self) -> Option<&Frame<R>> {
        match self {
            Self::Calculated(frame) | Self::Failed(frame) => Some(frame),
            Self::Late { .. } => None,
        }
    }

    /// As what it is counted.
    pub(crate) fn counted(&self) -> &'static str {
        match self {
            Self::Calculated(_) => "calculated",
            Self::Failed(_) => "failed",
            Self::Late { .. } => "too_late",
        }
    }
}
