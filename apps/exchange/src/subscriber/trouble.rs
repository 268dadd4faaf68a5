//! What a misbehaving exchange sends beside trades, and how it ends connections badly.
//!
//! Invariant: nothing here touches what is true of a trade; frames that are mixed in are none of a
//! trade, or cannot be read as one.

use anabranch_connectors::coinbase::Product;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{Ongoing, Over, Subscriber};
use crate::Misbehaviour as M;
use crate::script::Death;
use crate::write;

impl Subscriber {
    /// A message in three fragments, with a ping after each but the last.
    pub(super) async fn send_fragments(&mut self, text: &str) -> Ongoing {
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
    pub(super) async fn send_extras(&mut self) -> Ongoing {
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

    /// Ends the connection badly.
    pub(super) async fn die(&mut self, death: Death) -> Ongoing {
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
