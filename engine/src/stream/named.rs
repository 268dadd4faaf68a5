//! Streams by name: a pipeline that runs on the results of another.
//!
//! Invariant: a name stands for one stream, which was named before it is asked for.

use std::any::Any;
use std::collections::BTreeMap;

use super::{Shared, Stream};
use crate::pipeline::{Chain, Hub};
use crate::plan::NodeKind;
use crate::{App, Record};

/// The streams that have names.
#[derive(Default)]
pub(crate) struct Named(BTreeMap<String, Box<dyn Any>>);

impl<C: Chain<Key = (), In: Record, Out: Record>> Stream<C> {
    /// Gives the stream a name, by which other pipelines can run on it: see [`App::named`].
    pub fn named(self, name: &str) -> Shared<C::Out> {
        let shared = self.share();
        if let Some(drawing) = &shared.drawing {
            let mut plan = drawing.place.plan.borrow_mut();
            let known = plan.named.0.insert(name.to_string(), Box::new(shared.clone()));
            if known.is_some() {
                plan.mistake(format!("two streams are named `{name}`; give one another name"));
            }
        }
        shared
    }
}

impl App {
    /// The stream of that [name](Stream::named): the trigger of a pipeline that runs on the results of another,
    /// and, merged with a source, also by itself.
    ///
    /// A name that no stream was given before, or a stream of other records, is a mistake that is reported when
    /// the application is built.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, sink, source};
    ///
    /// fn tens(app: &App) -> Result<()> {
    ///     app.source("items", source::empty::<Vec<u64>>())
    ///         .key_by(|_| ())
    ///         .try_batch("import", (), |item, (), out| {
    ///             out.emit(10 * item);
    ///             Ok(())
    ///         })
    ///         .share()
    ///         .named("import");
    ///
    ///     app.source("tags", source::empty::<Vec<u64>>())
    ///         .merge(app.named("import"))
    ///         .sink("tagged", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(tens).start()?;
    /// assert_eq!(driver.eval::<_, Vec<u64>>("items", vec![1_u64, 2], "tagged")?, [[10, 20]]);
    /// assert_eq!(driver.eval::<_, Vec<u64>>("tags", vec![7_u64], "tagged")?, [[7]]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn named<T: Record>(&self, name: &str) -> Shared<T> {
        let mut plan = self.plan.borrow_mut();
        if let Some(stream) = plan.named.0.get(name) {
            if let Some(stream) = stream.downcast_ref::<Shared<T>>() {
                return stream.clone();
            }
            plan.mistake(format!(
                "the stream named `{name}` has records of another type than is asked for"
            ));
        } else {
            let known: Vec<String> = plan.named.0.keys().map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            plan.mistake(format!(
                "no stream is named `{name}` here; call `named` on it before it is asked for \
                 (named so far: {known})"
            ));
        }
        // Nothing runs after a mistake.
        let node = plan.node(NodeKind::Step, name, Vec::new());
        drop(plan);
        Shared::of_source(&self.plan, 0, Hub::new(), node, name)
    }
}

impl Named {
    /// They hold the plan, which can only be finished without them.
    pub(crate) fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }
}
