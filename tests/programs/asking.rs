//! A program that asks an outside service about each record, for the tests that kill it.
//!
//! Invariant: what it writes follows from its input and from what it was answered, and shows both: so that a test
//! that has heard every question can tell whether an answer was used once, and for the record that it is of.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Json;
use anabranch::{Lookups, Retry, Undo, sink, source};
use anabranch_connectors::{inlet, outlet};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How many records of a key there were, and what their answers were so far.
const COUNTS: Table<u8, u64> = Table::new("counts");
const FOLDS: Table<u8, u64> = Table::new("folds");

/// Asks a service about each line.
#[derive(clap::Args)]
struct Options {
    /// Where to read lines
    #[arg(long, value_name = "URL")]
    lines: String,
    /// Where to write what was answered
    #[arg(long, value_name = "URL")]
    answers: String,
    /// Where to write what was not
    #[arg(long, value_name = "URL")]
    letters: String,
    /// The service
    #[arg(long, value_name = "ADDRESS")]
    service: String,
}

/// Connections to the service that nobody is using.
#[derive(Clone)]
struct Service {
    address: Arc<str>,
    idle: Arc<Mutex<Vec<BufReader<TcpStream>>>>,
}

#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the service hung up")]
    HungUp,
    #[error("the service says {0}")]
    Refused(String),
}

impl Service {
    /// Says the process and the question; the answer is a number.
    async fn ask(self, question: String) -> Result<u64, Undo> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(&*self.address).await?),
        };
        let asked = format!("{} {question}\n", std::process::id());
        connection.write_all(asked.as_bytes()).await?;
        let mut answer = String::new();
        if connection.read_line(&mut answer).await? == 0 {
            Err(Unanswered::HungUp)?;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        match answer.trim_end().strip_prefix("yes ") {
            Some(number) => Ok(number.parse()?),
            None => Err(Unanswered::Refused(answer.trim_end().to_string()).into()),
        }
    }
}

fn key(line: &str) -> u8 {
    line.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(7).wrapping_add(byte)) % 17
}

fn build(app: &App, options: &Options) -> Result<()> {
    let service = Service { address: options.service.as_str().into(), idle: Arc::default() };
    // The service may take its time: a test holds it back.
    let lookups = Lookups::new()
        .concurrency(16)
        .timeout(Duration::from_secs(600))
        .retry(Retry::tries(3).first_pause(Duration::from_millis(1)));
    app.source("lines", source::frames(inlet(&options.lines)?, || source::Text))
        .map(|line| line.split(' ').next().unwrap_or_default().to_string())
        .key_by(|question| key(question))
        .compute("count", COUNTS, |question, mut count, out: &mut Context<'_, (String, u64)>| {
            *count += 1;
            out.emit((question, *count));
        })
        .share()
        .map_async("ask", lookups, move |(question, count): (String, u64)| {
            let service = service.clone();
            async move {
                let number = service.ask(format!("{question} {count}")).await?;
                Ok((question, count, number))
            }
        })
        .key_by(|(question, ..): &(String, u64, u64)| key(question))
        .compute("fold", FOLDS, |(question, count, number), mut fold, out| {
            *fold = fold.wrapping_mul(31).wrapping_add(number);
            out.emit(format!("{question} {count} {number} {}", *fold));
        })
        .sink("answers", sink::frames(outlet(&options.answers)?, || sink::Text));
    app.dead_letters(sink::frames(outlet(&options.letters)?, || Json));
    Ok(())
}

fn main() -> ExitCode {
    anabranch::main(build)
}
