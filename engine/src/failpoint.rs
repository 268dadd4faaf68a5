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
//! | `return(abort once PATH)` | the first process that makes the file `PATH` ends; likewise of all the others |
//! | `3*off->1*return(EIO)->off` | the fourth time only |
//! | `panic`, `pause`, `sleep(ms)`, `print`, `off` | as in the crate `fail` |
//!
//! A place is named `module::step`, and is put just before the step, or after it with the step in
//! the past: `journal::sync`, `journal::synced`.
//!
//! [`PLACES`] has all of them, and a test compares it with the code.
//!
//! | place | what is next there |
//! |---|---|
//! | `journal::create`, `journal::created` | a segment is made; its header is written |
//! | `journal::header`, `journal::folder-synced` | segment and folder are synced; frames may follow |
//! | `journal::write`, `journal::written` | frames are written; they are waiting for a sync |
//! | `journal::short-write`, `journal::half-written` | half of the bytes are written, then it fails |
//! | `journal::sync`, `journal::synced` | a file is synced; it is said what is durable |
//! | `journal::drop`, `journal::dropped` | a segment that nobody needs is removed; the next one |
//! | `journal::remove-torn` | a start removes a segment that was being made |
//! | `journal::cut`, `journal::cut-done` | a start cuts a torn end; the journal is read |
//! | `checkpoint::file`, `checkpoint::file-written` | a file of rows is put into the store; its name is kept for the manifest |
//! | `checkpoint::manifest`, `checkpoint::manifest-written` | the manifest is put, if absent; the checkpoint exists |
//! | `checkpoint::delete`, `checkpoint::deleted` | what no kept checkpoint names is removed; the next one |
//! | `store::partial`, `store::named` | what is put is on the disk and gets its name; its folder is synced |
//! | `data-dir::format`, `data-dir::written`, `data-dir::linked` | the directory's description is written; gets its name; its folder is synced |
//! | `generation::claim`, `generation::made`, `generation::claimed` | a start's number is taken; its file is written; old ones are removed |
//! | `restore::chosen` | rows of the checkpoint that a start goes on from are read |
//! | `restore::row`, `restore::rows` | a row is loaded; a worker has its rows |
//! | `restore::frame` | a journaled frame is read, to be replayed |
//! | `file-sink::claim`, `file-sink::claimed` | a new file is emptied; it is this sink's |
//! | `file-sink::repaired`, `file-sink::renamed` | a file without its torn end takes the name; its folder is synced |
//! | `file-sink::write` | lines are appended |
//! | `file-sink::short-write`, `file-sink::half-written` | half of the bytes are written, then it fails |
//! | `file-sink::sync`, `file-sink::synced` | the file is synced; its end becomes the sink's position |
//! | `broadcast::begin`, `broadcast::begun` | a segment of the log is made; is synced |
//! | `broadcast::append` | a record is appended |
//! | `broadcast::short-write`, `broadcast::half-written` | half of the bytes are written, then it fails |
//! | `broadcast::sync`, `broadcast::synced` | the log is synced; its records go out |
//! | `broadcast::drop` | the oldest segment is removed |

/// Every place, in the order of the table above.
pub const PLACES: [&str; 50] = [
    "journal::create",
    "journal::created",
    "journal::header",
    "journal::folder-synced",
    "journal::write",
    "journal::written",
    "journal::short-write",
    "journal::half-written",
    "journal::sync",
    "journal::synced",
    "journal::drop",
    "journal::dropped",
    "journal::remove-torn",
    "journal::cut",
    "journal::cut-done",
    "checkpoint::file",
    "checkpoint::file-written",
    "checkpoint::manifest",
    "checkpoint::manifest-written",
    "checkpoint::delete",
    "checkpoint::deleted",
    "store::partial",
    "store::named",
    "data-dir::format",
    "data-dir::written",
    "data-dir::linked",
    "generation::claim",
    "generation::made",
    "generation::claimed",
    "restore::chosen",
    "restore::row",
    "restore::rows",
    "restore::frame",
    "file-sink::claim",
    "file-sink::claimed",
    "file-sink::repaired",
    "file-sink::renamed",
    "file-sink::write",
    "file-sink::short-write",
    "file-sink::half-written",
    "file-sink::sync",
    "file-sink::synced",
    "broadcast::begin",
    "broadcast::begun",
    "broadcast::append",
    "broadcast::short-write",
    "broadcast::half-written",
    "broadcast::sync",
    "broadcast::synced",
    "broadcast::drop",
];

/// Passes a place that has this name.
///
/// # Errors
/// When a fault was asked for.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_place: &str) -> std::io::Result<()> {
    Ok(())
}

/// Passes a place that has this name.
///
/// # Errors
/// When a fault was asked for.
#[cfg(feature = "failpoints")]
pub fn hit(place: &str) -> std::io::Result<()> {
    if let Err(why) = from_environment() {
        return Err(std::io::Error::other(why.as_str()));
    }
    let Some(asked) = fail::eval(place, |action| action.unwrap_or_default()) else { return Ok(()) };
    let (action, once) = match asked.split_once(" once ") {
        Some((action, path)) => (action, Some(path)),
        None => (asked.as_str(), None),
    };
    if let Some(path) = once {
        // That it must not exist yet chooses one of several processes and of several threads.
        match std::fs::File::create_new(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            made => drop(made?),
        }
    }
    match action {
        "abort" => std::process::abort(),
        action => Err(fault(action)),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    #[cfg(feature = "failpoints")]
    use std::io::ErrorKind;
    use std::path::Path;

    use super::PLACES;

    /// What the code of a folder passes, tests not counted.
    fn passed(folder: &Path, places: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                passed(&path, places);
            }
            if !name.ends_with(".rs") || name == "failpoint.rs" || name == "tests.rs" {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("hit(") {
                if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let named = text[at + 4..].strip_prefix('"').and_then(|rest| rest.split_once('"'));
                let Some((place, _)) = named else {
                    panic!("{}: write the name of a place where it is passed", path.display());
                };
                assert!(places.insert(place.to_owned()), "{place} is passed at two places");
            }
        }
    }

    /// So that a test which goes through the list goes through the code.
    #[test]
    fn the_list_is_what_the_code_has() {
        let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut places = BTreeSet::new();
        passed(&engine.join("src"), &mut places);
        passed(&engine.join("../connectors/src"), &mut places);
        assert_eq!(places, PLACES.map(str::to_owned).into());
        let table = include_str!("failpoint.rs");
        let table: String = table.lines().filter(|line| line.starts_with("//! |")).collect();
        for place in PLACES {
            assert!(table.contains(&format!("`{place}`")), "{place} is not in the table");
        }
    }

    #[cfg(feature = "failpoints")]
    #[test]
    fn what_is_asked_for_once_is_there_once() {
        let path = std::env::temp_dir().join(format!("anabranch-once-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let action = format!("return(EIO once {})", path.display());
        fail::cfg("failpoint::once", &action).unwrap();
        assert_eq!(super::hit("failpoint::once").unwrap_err().raw_os_error(), Some(5));
        assert!(super::hit("failpoint::once").is_ok());
        std::fs::remove_file(path).unwrap();
    }

    #[cfg(feature = "failpoints")]
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
