//! The HTTP interface of a running program (`--http`): what it is, how it does, and what it holds.
//!
//! Process 0 answers, on a thread of its own. It is handed what workers leave for it ([`Pulse`], counters, views) and
//! never waits for one of them with a lock that they need: looking costs them nothing. [`listener`] takes connections,
//! [`access`] says who may ask, [`api`] what there is, and [`dashboard`] shows it to people.
//!
//! Invariant: nothing that is asked here decides an output, and nobody can make a worker wait by asking.

mod access;
mod api;
mod changes;
mod checkpoints;
mod dashboard;
mod health;
mod letters;
mod listener;
mod pipelines;
mod problem;
mod processes;
mod prometheus;
mod pulse;
mod rate;
mod rescale;
mod tables;
mod tls;
mod views;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub(crate) use self::access::Tokens;
use self::api::About;
pub(crate) use self::pulse::{Pulse, State, Worker};
use crate::cluster::Rescaler;
use crate::config::Config;
use crate::graph::Graph;
use crate::http::Said;
use crate::worker::Setup;
use crate::{Error, Result};

/// How long connections have to end when the program does.
const GOODBYE: Duration = Duration::from_secs(1);

/// The interface while it is served; dropping this ends it.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves the interface of a program, if its options ask for it; `rescaler` is who can give it another size,
/// `said` is what the application adds.
///
/// # Errors
/// When it cannot listen there, or the file of tokens is wrong.
pub(crate) fn serve(
    config: &Config,
    graph: &Graph,
    setup: &Setup,
    rescaler: Option<Rescaler>,
    said: Said,
) -> Result<Option<Serving>> {
    let Some(http) = config.http() else { return Ok(None) };
    let tokens = http.tokens().map(Tokens::read).transpose()?;
    let tls = http.tls().map(|(certificate, key)| tls::acceptor(certificate, key)).transpose()?;
    let mut about = About::new((config, graph), setup, rescaler, tokens);
    let added = about.add(said.routes)?.merge(dashboard::routes(said.pages)?);
    let (listener, address) = match listen(http.address()) {
        Ok(listening) => listening,
        Err(error) if http.is_default() => {
            tracing::warn!("{error}");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    setup.counters.scoped("http").gauge("port").set(u64::from(address.port()));
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("http: see {scheme}://{address}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::io("starting the HTTP interface", e))?;
    let (stop, stopped) = oneshot::channel();
    let work = move || {
        let about = Arc::new(about);
        runtime.block_on(listener::run(listener, api::router(about, added), tls, stopped));
        runtime.shutdown_timeout(GOODBYE);
    };
    let thread = std::thread::Builder::new().name("http".to_string()).spawn(work);
    let thread = thread.map_err(|e| Error::io("starting the HTTP interface", e))?;
    Ok(Some(Serving { stop: Some(stop), thread: Some(thread) }))
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        let what =
            "another program may listen there; say another place with --http, or `--http off`";
        Error::io(format!("listening on {address} for --http ({what})"), error)
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl Drop for Serving {
    fn drop(&mut self) {
        // If nobody listens any more, it has ended.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
