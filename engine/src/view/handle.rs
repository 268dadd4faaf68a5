//! [`View`]: a view as an application has it, and how it is drawn.
//!
//! Invariant: a view is drawn when its dataflow is built, on every worker alike; before that only its name and
//! its tables are known.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::blame;
use super::change::{Change, TellChanges, TellUpserts, Teller};
use super::collection::{Collection, ViewData};
use super::rows::Rows;
use super::tables::{ViewTables, Viewed};
use crate::dataflow::Building;
use crate::pipeline::Hub;
use crate::plan::{NodeKind, Owner, Plan, ViewPlan};
use crate::sink::Sink;
use crate::{App, Shared, Upsert};

type Tellers<D> = Rc<RefCell<Vec<Box<dyn Teller<D>>>>>;

/// Where what changes in a view goes.
pub(crate) struct Gathered<D> {
    pub(crate) name: String,
    /// Of the view, among all.
    pub(crate) index: usize,
    pub(crate) worker: usize,
    pub(crate) tellers: Tellers<D>,
    pub(crate) rows: Arc<Rows<D>>,
}

/// A view: an incrementally maintained query over tables; made by [`App::view`].
///
/// It can be looked at ([`Views`](crate::Views)), and what changes in it can be used as a stream or written to
/// a sink.
pub struct View<D> {
    plan: Rc<RefCell<Plan>>,
    name: String,
    index: usize,
    node: usize,
    tellers: Tellers<D>,
}

impl<D> Clone for View<D> {
    fn clone(&self) -> Self {
        let (plan, tellers) = (Rc::clone(&self.plan), Rc::clone(&self.tellers));
        Self { plan, tellers, name: self.name.clone(), ..*self }
    }
}

impl App {
    /// A view over `tables`: what `draw` makes of their rows, kept up with every change of them.
    ///
    /// At the end of every epoch the view is what `draw` would make of the tables as they are then; what changed
    /// is told once, in order, and is the same on any number of workers. After a restart it is made of the tables
    /// again, and nothing is told twice. A view that a later version of a program adds, or draws otherwise,
    /// begins with what it finds, and tells of what changes from then on.
    ///
    /// `draw` is given the [`Collection`] of a single table, or a tuple of them, in the form of `tables`. They
    /// are named outside of it because a view has its place behind the groups of its tables, which is known before
    /// anything runs. Views need the order of records: [`Order::Arrival`](crate::Order::Arrival) is refused.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Upsert, sink, source};
    ///
    /// /// The open alerts of each product, by id, with the users who wait for them.
    /// const ALERTS: MapTable<String, u32, String> = MapTable::new("alerts");
    ///
    /// fn alerts(app: &App) -> Result<()> {
    ///     app.source("alerts", source::empty::<(String, u32, Option<String>)>())
    ///         .key_by(|(product, _, _)| product.clone())
    ///         .compute("update", ALERTS, |(_, id, user), mut alerts, _: &mut Context<'_, ()>| match user {
    ///             Some(user) => drop(alerts.insert(id, user)),
    ///             None => drop(alerts.remove(&id)),
    ///         });
    ///     app.view("open-alerts-by-user", ALERTS, |t| t.map(|(_, _, user)| user).count())
    ///         .sink("by-user", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(alerts).workers(2).start()?;
    /// for (product, id, user) in [("BTC", 1_u32, "ann"), ("ETH", 2, "ann"), ("ETH", 3, "bob")] {
    ///     driver.send("alerts", (product.to_string(), id, Some(user.to_string())))?;
    /// }
    /// driver.run()?;
    /// driver.send("alerts", ("ETH".to_string(), 2_u32, None::<String>))?;
    /// driver.run()?;
    /// let rows = driver.view::<(String, i64)>("open-alerts-by-user")?;
    /// assert_eq!(rows, [(("ann".to_string(), 1), 1), (("bob".to_string(), 1), 1)]);
    /// let told = driver.outputs::<Upsert<String, i64>>("by-user");
    /// let told: Vec<_> = told.iter().map(|it| (it.key.as_str(), it.before, it.value)).collect();
    /// assert_eq!(told, [("ann", None, Some(2)), ("bob", None, Some(1)), ("ann", Some(2), Some(1))]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn view<S: ViewTables, D: ViewData>(
        &self,
        name: &str,
        tables: S,
        draw: impl for<'s> FnOnce(&Viewed<'s, S>) -> Collection<'s, D> + 'static,
    ) -> View<D> {
        let (view, to) = self.add_view(name, &tables);
        self.add_drawing(tables, vec![view.index], move |viewed, building| {
            let collection = draw(viewed);
            building.gather(collection, to);
        });
        view
    }

    /// Two views that are drawn together, so that what is made for one of them is used for the other too: above
    /// all, records that are [arranged](Collection::arrange) once.
    ///
    /// ```
    /// use anabranch::{App, MapTable};
    ///
    /// const ALERTS: MapTable<String, u32, String> = MapTable::new("alerts");
    ///
    /// fn draw(app: &App) {
    ///     app.view_pair(["alerts-by-user", "last-alert-of-user"], ALERTS, |t| {
    ///         let by_user = t.map(|(_, id, user)| (user, id)).arrange();
    ///         (by_user.count_by_key(), by_user.top_k(1))
    ///     });
    /// }
    /// ```
    pub fn view_pair<S: ViewTables, A: ViewData, B: ViewData>(
        &self,
        names: [&str; 2],
        tables: S,
        draw: impl for<'s> FnOnce(&Viewed<'s, S>) -> (Collection<'s, A>, Collection<'s, B>) + 'static,
    ) -> (View<A>, View<B>) {
        let [a, b] = names;
        let (first, to_first) = self.add_view(a, &tables);
        let (second, to_second) = self.add_view(b, &tables);
        self.add_drawing(tables, vec![first.index, second.index], move |viewed, building| {
            let (a, b) = draw(viewed);
            building.gather(a, to_first);
            building.gather(b, to_second);
        });
        (first, second)
    }

    /// A view of that name, to be drawn.
    fn add_view<D: ViewData>(
        &self,
        name: &str,
        tables: &impl ViewTables,
    ) -> (View<D>, Gathered<D>) {
        let mut plan = self.plan.borrow_mut();
        let mut uses = Vec::new();
        tables.uses(&mut uses);
        let node = plan.node(NodeKind::View(uses), name, Vec::new());
        let index = plan.add_view(name);
        // Away from the first workers, which write the first sinks.
        let worker = plan.placement.view_worker(index);
        let rows = Arc::new(Rows::default());
        if worker == plan.placement.this_worker() {
            self.views.add(name, Arc::clone(&rows) as _);
        }
        let tellers = Tellers::default();
        let (own, name) = (Rc::clone(&tellers), name.to_string());
        let gathered = Gathered { name: name.clone(), index, worker, tellers: own, rows };
        (View { plan: Rc::clone(&self.plan), name, index, node, tellers }, gathered)
    }

    fn add_drawing<S: ViewTables>(
        &self,
        tables: S,
        views: Vec<usize>,
        draw: impl for<'s> FnOnce(&Viewed<'s, S>, &mut Building<'_, 's>) + 'static,
    ) {
        let mut plan = self.plan.borrow_mut();
        let mut uses = Vec::new();
        tables.uses(&mut uses);
        let uses = uses.into_iter().map(|used| used.name).collect();
        let names: Vec<&str> =
            views.iter().filter_map(|view| Some(plan.views.get(*view)?.as_str())).collect();
        let names = names.join("`, `");
        let Plan { stores, taps, .. } = &mut *plan;
        let bound = tables.bind(stores, taps);
        let draw = Box::new(move |building: &mut Building<'_, '_>| {
            blame::drawing(&names, || draw(&Viewed(S::enter(bound, building)), building));
        });
        plan.drawings.push(ViewPlan { tables: uses, views, draw: Some(draw) });
    }
}

impl<D: ViewData> View<D> {
    /// What changes in the view, as a stream: of each epoch first what goes, then what comes, each in the order of
    /// records. A computation is applied to the changes of an epoch after all other records of it.
    ///
    /// A computation may not write a table that the view looks at: that path would return to its group.
    pub fn changes(&self) -> Shared<Change<D>> {
        let hub = Hub::new();
        self.tellers.borrow_mut().push(Box::new(TellChanges(Rc::clone(&hub))));
        self.stream(hub)
    }

    fn stream<T: crate::Record>(&self, hub: Rc<Hub<T>>) -> Shared<T> {
        Shared::of_view(&self.plan, Owner::View(self.index), hub, self.node, &self.name)
    }
}

impl<K: ViewData, V: ViewData> View<(K, V)> {
    /// What changes in a view of keys and values, by key: of each epoch one record for each key whose value is
    /// another now, in the order of keys. Each key must have one value at most; the program ends with an
    /// error that names the key if one has several.
    pub fn upserts(&self) -> Shared<Upsert<K, V>> {
        let hub = Hub::new();
        self.tellers.borrow_mut().push(Box::new(TellUpserts::new(Rc::clone(&hub))));
        self.stream(hub)
    }

    /// Writes the view's [upserts](View::upserts) to a sink.
    pub fn sink(&self, name: &str, sink: impl Sink<Item = Upsert<K, V>>) -> &Self {
        self.upserts().sink(name, sink);
        self
    }
}
