//! Mutual authentication by a shared key, before timely or anything else of ours has the socket.
//!
//! ```text
//! initiator (higher index)                         acceptor (lower index)
//!   hello_i: version, role, purpose, nonce, who, whom, configuration  -->
//!   <--  hello_a: the same of its own      mac("acceptor",  hello_i, hello_a)
//!   mac("initiator", hello_i, hello_a)  -->
//!   <--  verdict: welcome, or why not      mac("verdict", hello_i, hello_a, verdict)
//! ```
//!
//! Invariant: neither side believes a word of the other's hello before a MAC over both hellos has
//! proved that the other has the key *now*: both nonces are in it (no replay), and so are both
//! roles and indices (no reflection). After that a difference of configuration is an error that
//! both sides name; before it, whatever comes only costs the connection that it came on.
//! What follows the handshake is neither encrypted nor authenticated: this keeps strangers out, not
//! someone who can change packets between the machines.

use std::io;
use std::net::TcpStream;

use subtle::ConstantTimeEq;

use super::secret::Secret;
use super::wire::{Deadline, in_words, read_frame, write_frame};
use crate::clock;

/// The version of the handshake and of the control messages after it.
pub(super) const VERSION: u16 = 2;

const MAGIC: &[u8; 8] = b"anabrnch";
const NONCE: usize = 32;
const MAC: usize = 32;
/// No hello of any version is longer, in bytes.
const HELLO_MAX: usize = 256;
/// The longest verdict, in bytes.
const VERDICT_MAX: usize = 512;
const WELCOME: u8 = 0;
const REFUSED: u8 = 1;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Heartbeats, drain, goodbye: ours.
    Control,
    /// Records and progress: handed to timely.
    Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Initiator,
    Acceptor,
}

/// Who a process says it is, and what all processes of a cluster must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) version: u16,
    pub(super) process: u32,
    pub(super) processes: u32,
    pub(super) workers: u32,
    pub(super) generation: u64,
    pub(super) fingerprint: u64,
    /// Random at each start: tells two connections of one process from those of two processes.
    pub(super) incarnation: u64,
}

/// Why a handshake gave no connection.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The other side proved nothing: only this connection is dropped.
    Dropped(String),
    /// The other side, which says that it is that process, has the key, and is configured
    /// differently: the cluster cannot be formed.
    Differs(Option<u32>, String),
    /// The other side has the key, and does not want this connection.
    Refused(String),
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        Self::Dropped(in_words(&e))
    }
}

impl From<crate::Error> for Refusal {
    fn from(e: crate::Error) -> Self {
        Self::Dropped(e.to_string())
    }
}

const NO_KEY: &str = "it does not have this cluster's key";

struct Hello {
    side: Side,
    purpose: Purpose,
    nonce: [u8; NONCE],
    to: u32,
    from: Identity,
}

impl Hello {
    fn new(side: Side, purpose: Purpose, from: &Identity, to: u32) -> Result<Self, Refusal> {
        let mut nonce = [0; NONCE];
        clock::entropy(&mut nonce)?;
        Ok(Self { side, purpose, nonce, to, from: *from })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.from.version.to_be_bytes());
        bytes.push(self.side as u8);
        bytes.push(self.purpose as u8);
        bytes.extend(self.nonce);
        for number in [self.from.process, self.to, self.from.processes, self.from.workers] {
            bytes.extend(number.to_be_bytes());
        }
        for number in [self.from.generation, self.from.fingerprint, self.from.incarnation] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }
}

/// What can be read of a hello: of one of another version nothing but that.
enum Heard {
    Version(u16),
    Hello(Hello),
}

impl Heard {
    fn decode(bytes: &[u8], version: u16) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let theirs = u16::from_be_bytes(take(&mut rest)?);
        if theirs != version {
            return Some(Self::Version(theirs));
        }
        let [side, purpose] = take(&mut rest)?;
        let nonce = take(&mut rest)?;
        let mut u32 = || take(&mut rest).map(u32::from_be_bytes);
        let (process, to, processes, workers) = (u32()?, u32()?, u32()?, u32()?);
        let mut u64 = || take(&mut rest).map(u64::from_be_bytes);
        let (generation, fingerprint, incarnation) = (u64()?, u64()?, u64()?);
        let from =
            Identity { version, process, processes, workers, generation, fingerprint, incarnation };
        let side = [Side::Initiator, Side::Acceptor].into_iter().find(|s| *s as u8 == side)?;
        let purpose =
            [Purpose::Control, Purpose::Data].into_iter().find(|p| *p as u8 == purpose)?;
        rest.is_empty().then_some(Self::Hello(Hello { side, purpose, nonce, to, from }))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}

/// The dialling side. Returns who answered, once it has said welcome.
pub(super) fn initiate(
    stream: &TcpStream,
    secret: &Secret,
    me: &Identity,
    to: u32,
    purpose: Purpose,
    by: Deadline,
) -> Result<Identity, Refusal> {
    let mine = Hello::new(Side::Initiator, purpose, me, to)?.encode();
    write_frame(stream, &mine, by)?;
    let theirs = read_frame(stream, HELLO_MAX, by)?;
    let proof = read_frame(stream, MAC, by)?;
    verify(&secret.mac(&[b"acceptor", &mine, &theirs])?, &proof)?;
    // Answered even if the hellos differ, so that the other side too can believe and name it.
    write_frame(stream, &secret.mac(&[b"initiator", &mine, &theirs])?, by)?;
    let heard = agreed(me, &theirs, Side::Acceptor)?;
    if heard.from.process != to || heard.to != me.process {
        let what = format!("is process {}, not {to}: the hosts files differ", heard.from.process);
        return Err(Refusal::Differs(None, what));
    }
    if heard.purpose != purpose {
        return Err(Refusal::Dropped("its answer is for another connection".to_owned()));
    }
    let verdict = read_frame(stream, VERDICT_MAX, by)?;
    let proof = read_frame(stream, MAC, by)?;
    verify(&secret.mac(&[b"verdict", &mine, &theirs, &verdict])?, &proof)?;
    match verdict.split_first() {
        Some((&WELCOME, _)) => Ok(heard.from),
        Some((_, why)) => Err(Refusal::Refused(String::from_utf8_lossy(why).into_owned())),
        None => Err(Refusal::Dropped("its verdict is empty".to_owned())),
    }
}

/// A connection whose other side has the key and the same configuration, and waits for a verdict.
pub(super) struct Knock<'a> {
    pub(super) peer: Identity,
    pub(super) purpose: Purpose,
    stream: &'a TcpStream,
    secret: &'a Secret,
    transcript: (Vec<u8>, Vec<u8>),
    by: Deadline,
}

/// The listening side, up to the verdict. Calls `greeted` when a hello has come, whoever sent it.
pub(super) fn accept<'a>(
    stream: &'a TcpStream,
    secret: &'a Secret,
    me: &Identity,
    by: Deadline,
    greeted: impl FnOnce(),
) -> Result<Knock<'a>, Refusal> {
    let theirs = read_frame(stream, HELLO_MAX, by)?;
    let heard = Heard::decode(&theirs, me.version)
        .ok_or_else(|| Refusal::Dropped("it does not speak this protocol".to_owned()))?;
    greeted();
    let (purpose, to) = match &heard {
        Heard::Hello(hello) => (hello.purpose, hello.from.process),
        Heard::Version(_) => (Purpose::Control, u32::MAX),
    };
    let mine = Hello::new(Side::Acceptor, purpose, me, to)?.encode();
    write_frame(stream, &mine, by)?;
    write_frame(stream, &secret.mac(&[b"acceptor", &theirs, &mine])?, by)?;
    let proof = read_frame(stream, MAC, by)?;
    verify(&secret.mac(&[b"initiator", &theirs, &mine])?, &proof)?;
    let heard = agreed(me, &theirs, Side::Initiator)?;
    let knock = Knock { peer: heard.from, purpose, stream, secret, transcript: (theirs, mine), by };
    if heard.to != me.process {
        let what = format!(
            "dialled process {}, and this is process {}: the hosts files differ",
            heard.to, me.process
        );
        return Err(Refusal::Differs(Some(heard.from.process), what));
    }
    if heard.from.generation < me.generation {
        let why = format!(
            "generation {} was replaced by generation {}",
            heard.from.generation, me.generation
        );
        knock.refuse(&why)?;
        return Err(Refusal::Dropped(why));
    }
    if heard.from.process <= me.process || heard.from.process >= me.processes {
        return Err(Refusal::Dropped("it must not dial this process".to_owned()));
    }
    Ok(knock)
}

impl Knock<'_> {
    /// Lets the other side in.
    pub(super) fn welcome(&self) -> Result<(), Refusal> {
        self.verdict(&[WELCOME])
    }

    /// Tells the other side why not.
    pub(super) fn refuse(&self, why: &str) -> Result<(), Refusal> {
        let mut verdict = vec![REFUSED];
        verdict.extend(why.bytes().take(VERDICT_MAX - 1));
        self.verdict(&verdict)
    }

    fn verdict(&self, verdict: &[u8]) -> Result<(), Refusal> {
        let (theirs, mine) = &self.transcript;
        write_frame(self.stream, verdict, self.by)?;
        let proof = self.secret.mac(&[b"verdict", theirs, mine, verdict])?;
        Ok(write_frame(self.stream, &proof, self.by)?)
    }
}

fn verify(expected: &[u8; MAC], proof: &[u8]) -> Result<(), Refusal> {
    if bool::from(expected.ct_eq(proof)) {
        Ok(())
    } else {
        Err(Refusal::Dropped(NO_KEY.to_owned()))
    }
}

/// Compares an authenticated hello with what this process is.
fn agreed(me: &Identity, hello: &[u8], side: Side) -> Result<Hello, Refusal> {
    let heard = match Heard::decode(hello, me.version) {
        Some(Heard::Hello(hello)) => hello,
        Some(Heard::Version(theirs)) => {
            let what = format!(
                "speaks version {theirs} of the cluster protocol, this process version {}: start \
                 the same program everywhere",
                me.version
            );
            return Err(Refusal::Differs(None, what));
        }
        None => return Err(Refusal::Dropped("its hello is malformed".to_owned())),
    };
    if heard.side != side {
        return Err(Refusal::Dropped("it has the wrong role".to_owned()));
    }
    let them = &heard.from;
    if them.generation > me.generation {
        let what = format!(
            "is of generation {}, which has replaced generation {} of this process",
            them.generation, me.generation
        );
        return Err(Refusal::Differs(Some(them.process), what));
    }
    let mut differences = Vec::new();
    if them.processes != me.processes {
        differences.push(format!("{} processes, not {}", them.processes, me.processes));
    }
    if them.workers != me.workers {
        differences.push(format!("{} workers per process, not {}", them.workers, me.workers));
    }
    if them.fingerprint != me.fingerprint {
        differences.push(format!(
            "another application or other options (fingerprint {:016x}, not {:016x})",
            them.fingerprint, me.fingerprint
        ));
    }
    if differences.is_empty() {
        return Ok(heard);
    }
    let differences = differences.join(" and ");
    let what = format!("has {differences}: start every process with the same program and options");
    Err(Refusal::Differs(Some(them.process), what))
}

#[cfg(test)]
mod tests;
