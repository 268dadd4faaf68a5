//! The sinks `webhook+http://` and `webhook+https://`: each record is POSTed to its receiver.
//!
//! Invariant: a record counts as written when its receiver has answered 2xx, and not before: so whatever dies, it
//! comes at least once, and again under the same name. What the receiver asks (a pause, to stop) is done. A
//! redirect is not followed, and no secret is sent: only signatures made with it.

mod request;
mod sign;
mod window;

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anabranch::metrics::{Counter, Counters};
use anabranch::sink::{FrameWriter, Guarantee, Outlet, Taken};
use anabranch::source::{OpenContext, Waker};
use anabranch::{Error, RecordId, Result, Retry, clock};
use reqwest::Url;
use tokio::task::JoinSet;

use self::request::{Answer, Post};
use self::window::{Failed, Most, Verdict, Window};
use crate::runtime::runtime;
use crate::secret::Secret;
use crate::websocket::tls_client;

/// A request has about so many bytes at most, if it has several records.
const BATCH_BYTES: usize = 1 << 20;
/// What waits for its answer, in bytes; one larger record still passes.
const WINDOW_BYTES: usize = 16 << 20;

/// Where the key of signatures is.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    File(PathBuf),
    Variable(String),
}

/// A receiver to POST to.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    /// The URL without its query.
    pub(crate) describe: String,
    pub(crate) url: Url,
    /// Without one requests are not signed.
    pub(crate) key: Option<Key>,
    pub(crate) roots: Option<PathBuf>,
    pub(crate) connect: Duration,
    /// The longest from the begin of a request to its answer.
    pub(crate) request: Duration,
    /// How many requests may wait for their answer.
    pub(crate) requests: usize,
    /// So many records at most are one request, an array; none: each record is one, as it is.
    pub(crate) batch: Option<usize>,
    pub(crate) tries: usize,
    pub(crate) pause: Duration,
    pub(crate) pause_max: Duration,
}

impl Outlet for Webhook {
    fn describe(&self) -> String {
        self.describe.clone()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        const WHAT: &str = "the secret of signatures";
        let key = match &self.key {
            None => None,
            Some(Key::File(path)) => Some(Secret::read(WHAT, path)?),
            Some(Key::Variable(name)) => Some(Secret::of_variable(WHAT, name)?),
        };
        let tls = tls_client(self.roots.as_deref())?;
        let post = Post::new(self, key, &tls)?;
        let (answers, answered) = mpsc::channel();
        let most = Most {
            records: self.requests * self.batch.unwrap_or(1),
            bytes: WINDOW_BYTES,
            requests: self.requests,
            batch: self.batch.unwrap_or(1),
            batch_bytes: BATCH_BYTES,
        };
        Ok(Box::new(WebhookWriter {
            window: Window::new(most),
            post,
            waker: context.waker.clone(),
            counts: Counts::of(&context.counters),
            requests: JoinSet::new(),
            answers,
            answered,
            not_before: None,
        }))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn retry(&self) -> Option<Retry> {
        let tries = u32::try_from(self.tries).unwrap_or(u32::MAX);
        Some(Retry::tries(tries).first_pause(self.pause).longest_pause(self.pause_max))
    }
}

struct Counts {
    frames: Counter,
    requests: Counter,
    failed: Counter,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            frames: counters.counter("frames"),
            requests: counters.counter("requests"),
            failed: counters.counter("failed_requests"),
        }
    }
}

struct WebhookWriter {
    window: Window,
    post: Post,
    waker: Waker,
    counts: Counts,
    /// Ended with this value.
    requests: JoinSet<()>,
    answers: mpsc::Sender<(u64, Answer)>,
    answered: Receiver<(u64, Answer)>,
    /// The receiver has asked not to be asked before.
    not_before: Option<Instant>,
}

impl FrameWriter for WebhookWriter {
    fn ahead(&self) -> usize {
        self.window.most().records
    }

    fn show(&mut self, id: RecordId<'_>, frame: &[u8]) -> bool {
        self.window.show(&id.to_string(), frame)
    }

    fn write(&mut self, id: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.hear()?;
        self.window.bring_to_front(&id.to_string(), frame);
        match self.window.verdict() {
            Verdict::Delivered => {
                self.counts.frames.add(1);
                Ok(Taken::All)
            }
            Verdict::Failed(Failed::Again(why)) => Err(Error::Connector(why)),
            Verdict::Failed(Failed::Refused(why)) => Err(Error::Refused(why)),
            Verdict::Pending => self.begin().map(|()| Taken::Partly),
        }
    }
}

impl WebhookWriter {
    /// Takes down what was answered.
    fn hear(&mut self) -> Result<()> {
        while self.requests.try_join_next().is_some() {}
        while let Ok((number, answer)) = self.answered.try_recv() {
            let result = match answer {
                Answer::Delivered => Ok(()),
                Answer::Again { why, wait } => {
                    if let Some(wait) = wait {
                        self.wait(wait)?;
                    }
                    Err(Failed::Again(why))
                }
                Answer::Refused(why) => Err(Failed::Refused(why)),
                Answer::Gone(why) => return Err(Error::Usage(why)),
            };
            self.counts.failed.add(u64::from(result.is_err()));
            self.window.answered(number, result);
        }
        Ok(())
    }

    /// Has nothing asked for that long, and the worker woken then.
    fn wait(&mut self, wait: Duration) -> Result<()> {
        let until = clock::instant() + wait;
        self.not_before = self.not_before.max(Some(until));
        let waker = self.waker.clone();
        let waking = async move {
            tokio::time::sleep(wait).await;
            waker.wake();
        };
        self.requests.spawn_on(waking, runtime()?.handle());
        Ok(())
    }

    /// Begins as many requests as there may be.
    fn begin(&mut self) -> Result<()> {
        if self.not_before.is_some_and(|until| clock::instant() < until) {
            return Ok(());
        }
        self.not_before = None;
        while let Some((number, records)) = self.window.next_request() {
            let request = self.post.request(&records);
            let (answers, waker) = (self.answers.clone(), self.waker.clone());
            let asking = async move {
                let answer = request.answer().await;
                // The worker may be gone.
                let _ = answers.send((number, answer));
                waker.wake();
            };
            self.counts.requests.add(1);
            self.requests.spawn_on(asking, runtime()?.handle());
        }
        Ok(())
    }
}
