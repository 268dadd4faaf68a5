//! The file of `--hosts`: one `host:port` a line, line i for process i.
//!
//! Invariant: what leaves here names each process once, with a port that can be dialled. Names are
//! resolved when they are dialled, not here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// The most processes of one cluster.
pub(super) const PROCESSES_MAX: usize = 1024;
/// The longest hosts file, in bytes.
const LENGTH_MAX: u64 = 1 << 20;

/// Reads and checks a hosts file; empty lines and those that begin with `#` do not count.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let shown = path.display();
    let failed = |e| Error::io(format!("the hosts file {shown}"), e);
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(LENGTH_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(&text).map_err(|what| Error::Usage(format!("the hosts file {shown}: {what}")))
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut hosts = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let port = line.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(format!("line {number} is `{line}`, but should be host:port"));
        }
        if !seen.insert(line) {
            return Err(format!("line {number} repeats {line}: each process has its own line"));
        }
        hosts.push(line.to_owned());
    }
    match hosts.len() {
        0 => Err("it names no process: write one host:port a line".to_owned()),
        1..=PROCESSES_MAX => Ok(hosts),
        many => Err(format!("it names {many} processes, the limit is {PROCESSES_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_processes() {
        let hosts = parse("# two\nalpha:2101\n\n  [::1]:2102 \n").unwrap();
        assert_eq!(hosts, ["alpha:2101", "[::1]:2102"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "names no process"),
            ("a:1\nb", "line 2 is `b`"),
            ("a:0", "line 1"),
            (":2101", "line 1"),
            ("a:70000", "line 1"),
            ("a:1\na:1", "line 2 repeats a:1"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
        let many: String = (0..=PROCESSES_MAX).map(|i| format!("h{i}:1\n")).collect();
        assert!(parse(&many).unwrap_err().contains("limit is 1024"));
    }
}
