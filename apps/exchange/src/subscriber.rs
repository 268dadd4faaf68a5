//! One client's WebSocket: what it asks for, and what it gets.
//!
//! Invariant: a client that does not subscribe in time, sends too much or is too slow is
//! disconnected; nothing is buffered for it beyond the log that all share. What goes wrong on
//! request goes wrong here, by the script.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch::clock;
use anabranch_connectors::coinbase::{Dialect, Product, Trade, encode};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::Misbehaviour as M;
use crate::script::{Death, Script};
use crate::server::Shared;
use crate::subscription::{Order, Subscriptions};
use crate::write::{self, Tickers, sequence};

/// Trades read from the log at a time.
const BATCH: usize = 64;
/// Trades in one message of the Advanced Trade feed.
const GROUP: usize = 10;
/// Trades that the Advanced Trade feed repeats at a subscribe.
const SNAPSHOT: usize = 100;
/// How long a client may take nothing at all.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// Heartbeats for which an answer is held back at most.
const HELD_ANSWER_TICKS: u32 = 50;

/// The connection is over.
pub(crate) struct Over;

type Ongoing = Result<(), Over>;

pub(crate) struct Subscriber {
    id: u64,
    stream: WebSocketStream<TcpStream>,
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
    cursor: Option<u64>,
    subscriptions: Subscriptions,
    script: Script,
    /// Whether bad UTF-8 is still to be sent.
    bad_utf8: bool,
    /// The newest trade of each product that was sent.
    sent: BTreeMap<Product, u64>,
    tickers: Tickers,
    sequence_num: u64,
    heartbeats: u64,
    /// The answer to a subscribe, held back until there was data.
    held_answer: Option<String>,
    extras: usize,
    /// Messages of the client within the second that began then.
    messages: (Instant, u32),
}

/// What a subscriber does next.
enum Next {
    Message(Option<Message>),
    Trades,
    Tick,
    Late,
}

impl Subscriber {
    pub(crate) fn new(id: u64, stream: WebSocketStream<TcpStream>, shared: Arc<Shared>) -> Self {
        Self {
            id,
            stream,
            head: shared.book.watch(),
            cursor: None,
            subscriptions: Subscriptions::default(),
            script: Script::new(shared.strikes_on_connection(), shared.config.trouble.after),
            bad_utf8: shared.strikes(M::Garbage),
            sent: BTreeMap::new(),
            tickers: Tickers::default(),
            sequence_num: 0,
            heartbeats: 0,
            held_answer: None,
            extras: 0,
            messages: (clock::instant(), 0),
            shared,
        }
    }

    /// Serves the client until the connection is over.
    pub(crate) async fn run(mut self) {
        let subscribe_by = clock::instant() + self.shared.config.limits.subscribe_within;
        let mut heartbeat = tokio::time::interval(self.shared.config.heartbeat_every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let behind = self.cursor.unwrap_or(u64::MAX);
            let subscribed = self.subscriptions.dialect.is_some();
            let next = tokio::select! {
                message = self.stream.next() => Next::Message(message.and_then(Result::ok)),
                _ = self.head.wait_for(|head| *head > behind) => Next::Trades,
                _ = heartbeat.tick(), if subscribed => Next::Tick,
                () = sleep_until(subscribe_by.into()), if !subscribed => Next::Late,
            };
            let step = match next {
                Next::Message(Some(message)) => self.on_message(message).await,
                Next::Message(None) => Err(Over),
                Next::Trades => self.send_trades().await,
                Next::Tick => self.on_tick().await,
                Next::Late => {
                    self.shared.counters.counter("unsubscribed").add(1);
                    self.close(1008, "no subscribe in time").await
                }
            };
            if step.is_err() {
                return;
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Ongoing {
        let text = match message {
            Message::Text(text) => Some(text),
            Message::Close(_) => return Err(Over),
            // The answer to a ping of ours is no message of its own.
            Message::Pong(_) => return Ok(()),
            _ => None,
        };
        let now = clock::instant();
        if now.duration_since(self.messages.0) >= Duration::from_secs(1) {
            self.messages = (now, 0);
        }
        self.messages.1 += 1;
        if self.messages.1 > self.shared.config.limits.messages_per_second {
            return self.close(1008, "too many messages").await;
        }
        let Some(text) = text else { return Ok(()) };
        let Ok(order) = serde_json::from_str::<Order>(text.as_str()) else {
            return self.send_error("Malformed JSON", "it is no order").await;
        };
        match order.kind.as_str() {
            "subscribe" => self.subscribe(&order).await,
            "unsubscribe" => {
                self.subscriptions.remove(&order);
                self.answer().await
            }
            other => {
                let kind: String = other.chars().take(40).collect();
                self.send_error("Type not found", &format!("{kind} is not a valid type")).await
            }
        }
    }

    async fn subscribe(&mut self, order: &Order) -> Ongoing {
        if self.script.has(M::SubscribeSilence) {
            self.subscriptions.dialect.get_or_insert(Dialect::Exchange);
            return Ok(());
        }
        if self.script.has(M::ErrorFrame) {
            return self.send_error("Failed to subscribe", "the exchange is in a bad mood").await;
        }
        let new = match self.subscriptions.add(order, &self.shared.products) {
            Ok(new) => new,
            Err(reason) => return self.send_error("Failed to subscribe", &reason).await,
        };
        self.shared.counters.counter("subscribes").add(1);
        if self.script.has(M::SubscribeHalf) {
            self.subscriptions.halve();
        }
        let old = if self.cursor.is_none() && !new.is_empty() {
            let (cursor, old) = self.shared.book.subscribe(self.id, &new, SNAPSHOT);
            self.cursor = Some(cursor);
            old
        } else {
            Vec::new()
        };
        let waits_for_overlap = self.shared.misbehaves(M::Overlap) && !self.script.has(M::Overlap);
        if self.script.has(M::DataFirst) || waits_for_overlap {
            self.held_answer = Some(self.subscriptions.listed());
            return self.send_old(&old).await;
        }
        self.answer().await?;
        self.send_old(&old).await?;
        if self.script.has(M::Flapping) {
            self.flush().await?;
            return Err(Over);
        }
        Ok(())
    }

    async fn answer(&mut self) -> Ongoing {
        let listed = self.subscriptions.listed();
        self.send_answer(&listed).await
    }

    async fn send_answer(&mut self, listed: &str) -> Ongoing {
        match self.subscriptions.dialect {
            Some(Dialect::AdvancedTrade) => self.send_envelope("subscriptions", listed).await?,
            _ => self.send_text(listed.to_owned()).await?,
        }
        self.flush().await
    }

    async fn send_error(&mut self, message: &str, reason: &str) -> Ongoing {
        let error = serde_json::json!({ "type": "error", "message": message, "reason": reason })
            .to_string();
        self.send_text(error).await?;
        self.flush().await
    }

    /// Repeats old trades, as at every subscribe.
    async fn send_old(&mut self, old: &[Vec<Trade>]) -> Ongoing {
        for trades in old {
            let Some(last) = trades.last() else { continue };
            if !self.subscribed_to_trades(last.product) {
                continue;
            }
            self.sent.insert(last.product, last.trade_id);
            if self.subscriptions.dialect == Some(Dialect::AdvancedTrade) {
                let event = write::market_trades("snapshot", trades);
                self.send_envelope("market_trades", &event).await?;
            } else {
                let text = encode::matched("last_match", last, sequence(last.trade_id));
                self.send_text(text).await?;
            }
        }
        self.flush().await
    }

    fn subscribed_to_trades(&self, product: Product) -> bool {
        self.subscriptions.has("matches", product)
            || self.subscriptions.has("market_trades", product)
    }

    async fn send_trades(&mut self) -> Ongoing {
        let Some(mut cursor) = self.cursor else { return Ok(()) };
        let Ok(trades) = self.shared.book.read(self.id, &mut cursor, BATCH) else {
            return self.too_slow();
        };
        self.cursor = Some(cursor);
        let mut due = Vec::new();
        for trade in trades {
            if !self.is_wanted(&trade) {
                continue;
            }
            due.extend(self.script.pass(trade));
            if let Some(death) = self.script.death() {
                self.send_all(&due).await?;
                return self.die(death).await;
            }
        }
        self.send_all(&due).await?;
        if self.script.has(M::DataFirst) && !due.is_empty() {
            self.send_held_answer().await?;
        }
        Ok(())
    }

    fn is_wanted(&self, trade: &Trade) -> bool {
        self.subscribed_to_trades(trade.product) || self.subscriptions.has("ticker", trade.product)
    }

    async fn send_all(&mut self, trades: &[Trade]) -> Ongoing {
        if self.subscriptions.dialect == Some(Dialect::AdvancedTrade) {
            for group in trades.chunks(GROUP) {
                self.note_sent(group);
                if self.script.has(M::SequenceJump) && self.script.is_due() {
                    self.script.forget(M::SequenceJump);
                    self.sequence_num += 1;
                    continue;
                }
                let event = write::market_trades("update", group);
                self.send_envelope("market_trades", &event).await?;
                self.send_extras().await?;
            }
        } else {
            for trade in trades {
                self.note_sent(&[*trade]);
                self.send_match(trade).await?;
                if trade.trade_id % 7 == 0 {
                    self.send_extras().await?;
                }
            }
        }
        self.flush().await
    }

    fn note_sent(&mut self, trades: &[Trade]) {
        for trade in trades {
            let sent = self.sent.entry(trade.product).or_default();
            *sent = trade.trade_id.max(*sent);
        }
    }

    async fn send_match(&mut self, trade: &Trade) -> Ongoing {
        if self.subscriptions.has("matches", trade.product) {
            let trade = if self.script.has(M::OddTimes) { write::odd_time(trade) } else { *trade };
            let mut text = encode::matched("match", &trade, sequence(trade.trade_id));
            if self.script.has(M::OddNumbers) {
                text = write::odd_numbers(&trade);
            }
            if self.script.has(M::Unknown) {
                text = write::with_field(&text, "\"new_field\":{\"a\":[1,null,{\"type\":7}]}");
            }
            if self.script.has(M::SlowConsumer) {
                text = write::with_field(&text, &format!("\"padding\":\"{}\"", "x".repeat(4096)));
            }
            if self.script.has(M::BigFrames) {
                self.send_fragments(&text).await?;
            } else {
                self.send_text(text).await?;
            }
        }
        if self.subscriptions.has("ticker", trade.product) {
            let ticker = self.tickers.ticker(trade);
            self.send_text(ticker).await?;
        }
        Ok(())
    }

    /// A message in three fragments, with a ping after each but the last.
    async fn send_fragments(&mut self, text: &str) -> Ongoing {
        let (first, rest) = text.split_at(text.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        let parts = [(first, Data::Text), (second, Data::Continue), (third, Data::Continue)];
        for (at, (part, data)) in parts.into_iter().enumerate() {
            let last = at == 2;
            let frame = Frame::message(part.to_owned(), OpCode::Data(data), last);
            self.send(Message::Frame(frame)).await?;
            if !last {
                self.send(Message::Ping(Bytes::from_static(b"between"))).await?;
            }
        }
        Ok(())
    }

    /// What a misbehaving exchange mixes in.
    async fn send_extras(&mut self) -> Ongoing {
        let turn = self.extras;
        self.extras += 1;
        let product = self.shared.products.first().copied().unwrap_or(Product::BTC_USD);
        if self.script.has(M::Unknown) {
            let unknown = [
                format!(r#"{{"type":"auction","product_id":"{product}","state":[1,{{}}]}}"#),
                format!(r#"{{"type":"match","product_id":"{product}","price":"1","size":"1"}}"#),
                r#"{"type":"match","trade_id":1,"side":"buy","price":"1","size":"1"}"#.to_owned(),
                format!(r#"{{"type":"heartbeat","product_id":"{product}"}}"#),
                r#"{"channel":"candles","sequence_num":null,"events":[]}"#.to_owned(),
            ];
            self.send_text(unknown[turn % unknown.len()].clone()).await?;
        }
        if self.script.has(M::Garbage) {
            let garbage = [
                Message::text(r#"{"type":"match","trade_id":"#),
                Message::binary(vec![0xff, 0x00, 0xfe]),
                Message::text(""),
                Message::text("[".repeat(5_000)),
            ];
            self.send(garbage[turn % garbage.len()].clone()).await?;
            if self.bad_utf8 && self.script.is_due() {
                self.bad_utf8 = false;
                return self.die(Death::BadUtf8).await;
            }
        }
        if self.script.has(M::BigFrames) && turn == 1 {
            self.send_text(write::large_snapshot(product, 5_079_379)).await?;
        }
        Ok(())
    }

    async fn on_tick(&mut self) -> Ongoing {
        self.heartbeats += 1;
        if self.held_answer.is_some()
            && (self.script.has(M::DataFirst)
                || self.shared.counters.counter("overlaps").get() > 0
                || self.heartbeats > u64::from(HELD_ANSWER_TICKS))
        {
            self.send_held_answer().await?;
        }
        if !self.script.has(M::NoHeartbeats) {
            self.send_heartbeats().await?;
        }
        let overlaps = self.script.has(M::Overlap);
        if overlaps && self.shared.book.subscribers() < 2 {
            return self.flush().await;
        }
        let held = self.script.release();
        self.send_all(&held).await?;
        if overlaps && self.script.is_due() {
            self.script.forget(M::Overlap);
            self.shared.counters.counter("overlaps").add(1);
        }
        Ok(())
    }

    async fn send_held_answer(&mut self) -> Ongoing {
        match self.held_answer.take() {
            Some(answer) => self.send_answer(&answer).await,
            None => Ok(()),
        }
    }

    async fn send_heartbeats(&mut self) -> Ongoing {
        let now = clock::now();
        for product in self.subscriptions.products("heartbeat") {
            let ahead = self.script.has(M::HeartbeatAhead) || self.script.has(M::Overlap);
            let last = if self.script.has(M::HeartbeatZero) {
                0
            } else if ahead {
                self.shared.book.newest(product, 1).first().map_or(0, |trade| trade.trade_id)
            } else {
                self.sent.get(&product).copied().unwrap_or(0)
            };
            let text = encode::heartbeat(product, last, sequence(last) + 1, now);
            self.send_text(text).await?;
        }
        if self.subscriptions.has_channel("heartbeats") {
            let count = self.heartbeats;
            let event = format!("{{\"current_time\":\"{now}\",\"heartbeat_counter\":{count}}}");
            self.send_envelope("heartbeats", &event).await?;
        }
        self.flush().await
    }

    async fn send_envelope(&mut self, channel: &str, events: &str) -> Ongoing {
        let text = write::envelope(channel, self.sequence_num, events);
        self.sequence_num += 1;
        self.send_text(text).await
    }

    async fn send_text(&mut self, text: String) -> Ongoing {
        self.shared.counters.counter("frames").add(1);
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Ongoing {
        let behind = behind(Arc::clone(&self.shared), self.cursor);
        let sent = tokio::select! {
            sent = timeout(SEND_WITHIN, self.stream.feed(message)) => sent,
            () = behind => return self.too_slow(),
        };
        matches!(sent, Ok(Ok(()))).then_some(()).ok_or(Over)
    }

    async fn flush(&mut self) -> Ongoing {
        let behind = behind(Arc::clone(&self.shared), self.cursor);
        let sent = tokio::select! {
            sent = timeout(SEND_WITHIN, self.stream.flush()) => sent,
            () = behind => return self.too_slow(),
        };
        matches!(sent, Ok(Ok(()))).then_some(()).ok_or(Over)
    }

    fn too_slow(&self) -> Ongoing {
        self.shared.counters.counter("slow_consumers").add(1);
        Err(Over)
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> Ongoing {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let closing = async {
            let _ = self.stream.close(Some(frame)).await;
            // Until the client has answered, so that nothing sent before is lost.
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        // A client that does not answer is left without.
        let _ = timeout(Duration::from_secs(1), closing).await;
        Err(Over)
    }

    /// Ends the connection badly.
    async fn die(&mut self, death: Death) -> Ongoing {
        self.flush().await?;
        match death {
            Death::Close(code) => return self.close(code, "on request").await,
            Death::Drop => {}
            Death::Reset => {
                let socket = self.stream.get_mut();
                // A text frame of 1,000 bytes, of which not all come. If the socket is gone
                // already, so much the better.
                let _ = socket.write_all(&[0x81, 126, 0x03, 0xe8, b'{', b'"']).await;
                let _ = socket.set_zero_linger();
            }
            Death::HalfOpen => {
                self.shared.book.unsubscribe(self.id);
                sleep(self.shared.config.trouble.lasts).await;
            }
            Death::BadUtf8 => {
                let frame = Frame::message(vec![b'"', 0xc3, 0x28], OpCode::Data(Data::Text), true);
                self.send(Message::Frame(frame)).await?;
                self.flush().await?;
            }
            Death::Oversized => {
                let product = self.shared.products.first().copied().unwrap_or(Product::BTC_USD);
                self.send_text(write::large_snapshot(product, 17 << 20)).await?;
                self.flush().await?;
            }
        }
        Err(Over)
    }
}

/// Waits until what comes after `cursor` is gone.
async fn behind(shared: Arc<Shared>, cursor: Option<u64>) {
    let Some(cursor) = cursor else { return std::future::pending().await };
    let mut head = shared.book.watch();
    while !shared.book.is_behind(cursor) {
        if head.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
