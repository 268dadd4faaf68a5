//! Sources and sinks for Anabranch, chosen by URL.
