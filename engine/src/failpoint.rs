//! Faults on request: places where a test can make the program fail or die.
//!
//! Invariant: without the feature `failpoints` a place is an empty function, and the crate `fail` is
//! not even built.
//!
//! With it, the environment variable `FAILPOINTS` says what happens where, as `place=action;...`:
//!
//! | action | what happens there |
//! |---|---|
//! | `return(ENOSPC)`, `return(EDQUOT)`, `return(EIO)` | the operation fails as if the system had said so |
//! | `return(some words)` | it fails with these words |
//! | `return(abort)` | the process ends at once, as if it were killed |
//! | `3*off->1*return(EIO)->off` | the fourth time only |
//! | `panic`, `pause`, `sleep(ms)`, `print`, `off` | as in the crate `fail` |
//!
//! A place is named `module::step`, and is put just before the step, or after it with the step in
//! the past: `journal::sync`, `journal::synced`.
//!
//! | place | what is next there |
//! |---|---|
//! | `journal::create`, `journal::created` | a segment is made; its header is written |
//! | `journal::header`, `journal::folder-synced` | segment and folder are synced; frames may follow |
//! | `journal::write`, `journal::written` | frames are written; they are waiting for a sync |
//! | `journal::short-write` | half of the bytes are written, then it fails |
//! | `journal::sync`, `journal::synced` | a file is synced; it is said what is durable |
//! | `journal::drop`, `journal::dropped` | a segment that nobody needs is removed; the next one |
//! | `journal::remove-torn` | a start removes a segment that was being made |
//! | `journal::cut`, `journal::cut-done` | a start cuts a torn end; the journal is read |
//! | `checkpoint::file`, `checkpoint::file-written` | a file of rows is put into the store; its name is kept for the manifest |
//! | `checkpoint::manifest`, `checkpoint::manifest-written` | the manifest is put, if absent; the checkpoint exists |
//! | `checkpoint::delete` | what no kept checkpoint names is removed |

/// Passes a place that has this name; `Err` when a fault was asked for.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_place: &str) -> std::io::Result<()> {
    Ok(())
}

/// Passes a place that has this name; `Err` when a fault was asked for.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(place: &str) -> std::io::Result<()> {
    if let Err(why) = from_environment() {
        return Err(std::io::Error::other(why.as_str()));
    }
    match fail::eval(place, |action| action.unwrap_or_default()) {
        None => Ok(()),
        Some(action) if action == "abort" => std::process::abort(),
        Some(action) => Err(fault(&action)),
    }
}

/// What `FAILPOINTS` asks for is set up at the first place that is passed. A mistake in it fails every
/// place: a test must not pass because its fault was never there.
#[cfg(feature = "failpoints")]
fn from_environment() -> Result<(), &'static String> {
    static SET_UP: std::sync::LazyLock<Result<(), String>> = std::sync::LazyLock::new(|| {
        let text = std::env::var("FAILPOINTS").unwrap_or_default();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong = |why: &str| format!("FAILPOINTS: `{entry}`: {why}; write place=action");
            let (place, action) = entry.split_once('=').ok_or_else(|| wrong("no `=`"))?;
            fail::cfg(place.trim(), action.trim()).map_err(|why| wrong(&why))?;
        }
        Ok(())
    });
    SET_UP.as_ref().copied()
}

#[cfg(feature = "failpoints")]
fn fault(action: &str) -> std::io::Error {
    use std::io::{Error, ErrorKind};
    match action {
        "ENOSPC" => ErrorKind::StorageFull.into(),
        "EDQUOT" => ErrorKind::QuotaExceeded.into(),
        "EIO" => Error::from_raw_os_error(5),
        words => Error::other(words.to_owned()),
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use std::io::ErrorKind;

    #[test]
    fn a_place_fails_as_it_was_told_and_only_then() {
        fail::cfg("failpoint::test", "1*off->1*return(ENOSPC)->1*return(broken)->off").unwrap();
        let kinds: Vec<_> = (0..4).map(|_| super::hit("failpoint::test")).collect();
        assert!(kinds[0].is_ok() && kinds[3].is_ok());
        assert_eq!(kinds[1].as_ref().unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(kinds[2].as_ref().unwrap_err().to_string(), "broken");
        assert!(super::hit("failpoint::another").is_ok());
    }
}
