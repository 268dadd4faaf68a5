//! The file that lists the processes of a cluster on several machines.
//!
//! Invariant: each line that counts is one `host:port`, no two are equal, and a mistake is reported
//! with its line. Names are not looked up here: a host may start later than this one.

use std::path::Path;

use super::layers::read_bounded;

/// Processes of a cluster, at most.
const HOSTS_MAX: usize = 1024;

/// Reads one `host:port` a line; `#` begins a comment.
pub(super) fn read(path: &Path) -> Result<Vec<String>, String> {
    let shown = path.display();
    let text =
        read_bounded(path).map_err(|e| format!("cannot read the file of hosts `{shown}`: {e}"))?;
    let mut hosts: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let place = format!("{shown}:{}", index + 1);
        if !is_address(line) {
            return Err(format!(
                "{place}: `{line}` is not host:port, as in 10.0.0.5:2101 or [fd00::5]:2101"
            ));
        }
        if hosts.iter().any(|known| known == line) {
            return Err(format!("{place}: `{line}` is there twice; each process has its own"));
        }
        if hosts.len() == HOSTS_MAX {
            return Err(format!("{place}: a cluster has at most {HOSTS_MAX} processes"));
        }
        hosts.push(line.to_owned());
    }
    if hosts.is_empty() {
        return Err(format!("`{shown}` lists no host; write one host:port a line"));
    }
    Ok(hosts)
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_is_one = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(name)
        }
    };
    host_is_one && port.parse::<u16>().is_ok_and(|port| port > 0)
}
