//! A fake exchange on loopback.
