//! [`Routes`]: what an application adds to the HTTP interface of its program.
//!
//! Invariant: what is added is guarded as all else is: by tokens, by limits of connections, time and rate, and against
//! pages of other sites.

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::{App, Result};

/// Addresses of an application's own, below `/api/v1/NAME`: see [`App::routes`].
///
/// Whoever may read may `GET`, and whoever may write may do anything else there.
pub struct Routes {
    pub(crate) name: String,
    pub(crate) router: Box<dyn FnOnce() -> Result<Router> + Send>,
    pub(crate) description: Option<OpenApi>,
}

impl Routes {
    /// Those of the router that `make` makes. It is asked once, when the program begins to answer.
    pub fn new(name: &str, make: impl FnOnce() -> Result<Router> + Send + 'static) -> Self {
        Self { name: name.to_string(), router: Box::new(make), description: None }
    }

    /// The same, with their description for `/api/v1/openapi.json`.
    #[must_use]
    pub fn described(self, description: OpenApi) -> Self {
        Self { description: Some(description), ..self }
    }
}

impl App {
    /// Adds addresses to what the program answers over HTTP (`--http`).
    ///
    /// ```
    /// use anabranch::http::Routes;
    /// use anabranch::{App, Result};
    /// use axum::Router;
    /// use axum::routing::get;
    ///
    /// fn build(app: &App) -> Result<()> {
    ///     // GET /api/v1/greetings/hello
    ///     let greet = || Ok(Router::new().route("/hello", get(async || "hello")));
    ///     app.routes(Routes::new("greetings", greet));
    ///     Ok(())
    /// }
    /// # let _ = build;
    /// ```
    pub fn routes(&self, routes: Routes) {
        let mut plan = self.plan.borrow_mut();
        if plan.http.routes.iter().any(|known| known.name == routes.name) {
            plan.mistake(format!("routes named `{}` are added twice; add them once", routes.name));
        }
        plan.http.routes.push(routes);
    }
}

/// A page of an application's own, in the dashboard of its program: see [`App::page`].
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// As it stands in the navigation, such as `Alerts`.
    pub name: &'static str,
    /// A module of JavaScript with `export function mount(element, tools, rest)`: it puts what it shows into `element`,
    /// and gives a function that is called when the page is closed. `tools` has `api` (`get`, `post`, `watch`), `dom`
    /// (elements made from text), `format`, `charts` and `status`; `rest` is what follows the page in the address. The
    /// policy of the dashboard allows no other scripts, styles or addresses.
    pub script: &'static str,
}

impl App {
    /// Adds a page to the dashboard (`--http`).
    ///
    /// ```
    /// use anabranch::http::Page;
    /// use anabranch::{App, Result};
    ///
    /// fn build(app: &App) -> Result<()> {
    ///     let script = "export function mount(element, { dom }) { dom.set(element, dom.el('h1', null, 'Hello')); }";
    ///     app.page(Page { name: "Greetings", script });
    ///     Ok(())
    /// }
    /// # let _ = build;
    /// ```
    pub fn page(&self, page: Page) {
        let mut plan = self.plan.borrow_mut();
        if plan.http.pages.iter().any(|known| known.name == page.name) {
            plan.mistake(format!("a page named `{}` is added twice; add it once", page.name));
        }
        plan.http.pages.push(page);
    }
}

/// What an application says of the HTTP interface of its program.
#[derive(Default)]
pub(crate) struct Said {
    /// Where it answers, if no option says it.
    pub(crate) address: Option<std::net::SocketAddr>,
    pub(crate) routes: Vec<Routes>,
    pub(crate) pages: Vec<Page>,
}
