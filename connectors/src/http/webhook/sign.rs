//! The signature of a request: that it was made by who has the secret, when, and with that body.
//!
//! Invariant: what is signed is the time, a dot and the body, to the byte; so neither can be changed alone.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;

/// `t=<seconds since 1970>,v1=<HMAC-SHA256 of "<seconds>.<body>", in hex>`.
pub(super) fn signature(secret: &Secret, seconds: i64, body: &[u8]) -> Option<String> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.bytes()).ok()?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}
