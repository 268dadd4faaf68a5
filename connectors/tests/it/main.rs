//! The connectors against real sockets on loopback and real files: one module a transport, one
//! test a promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::result_large_err, reason = "tungstenite's errors are")]

mod acknowledgements;
mod broadcast;
mod durable_broadcast;
mod durable_files;
mod files;
mod http_listener;
mod interop;
mod posted;
mod resuming;
mod streams;
mod streams_guarded;
mod streams_http;
mod streams_kept;
mod streams_mounted;
mod streams_run;
mod streams_socket;
mod streams_torn;
mod support;
mod tcp;
mod urls;
mod webhook;
mod websocket_client;
mod websocket_listener;
