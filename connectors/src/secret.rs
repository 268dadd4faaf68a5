//! Secrets of connectors (tokens, keys of signatures): read from a file of one's own, or from a variable.
//!
//! Invariant: a secret is never in a URL, a message or a log; a file that others can read is refused.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anabranch::{Error, Result};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The shortest secret, in bytes.
const SECRET_MIN: usize = 16;
/// The longest.
const SECRET_MAX: usize = 512;
/// The largest file of secrets.
const FILE_BYTES_MAX: usize = 64 << 10;

/// A secret.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The one secret in the file at `path`; `what` it is begins what is said of it.
    ///
    /// # Errors
    /// When the file cannot be read, others than its owner can read it, or it has not one secret.
    pub(crate) fn read(what: &str, path: &Path) -> Result<Self> {
        let mut all = read_all(what, path)?;
        match (all.pop(), all.is_empty()) {
            (Some(secret), true) => Ok(secret),
            _ => Err(Error::Usage(format!(
                "{what} {}: there must be one secret in it, on a line",
                path.display()
            ))),
        }
    }

    /// The secret in the environment variable `name`.
    ///
    /// # Errors
    /// When there is none, or it is too short or too long.
    pub(crate) fn of_variable(what: &str, name: &str) -> Result<Self> {
        let value = std::env::var(name).map_err(|_| {
            Error::Usage(format!(
                "{what}: the variable `{name}` is not set: set it, or name a file"
            ))
        })?;
        Self::checked(value.trim(), &format!("{what} in the variable `{name}`"))
    }

    fn checked(text: &str, whose: &str) -> Result<Self> {
        if (SECRET_MIN..=SECRET_MAX).contains(&text.len()) {
            return Ok(Self(text.as_bytes().to_vec()));
        }
        Err(Error::Usage(format!(
            "{whose} has {} bytes; {SECRET_MIN} to {SECRET_MAX} are allowed: make one with \
             `openssl rand -hex 32`",
            text.len()
        )))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The secrets in the file at `path`, one a line; `#` begins a comment.
///
/// # Errors
/// When the file cannot be read, others than its owner can read it, or a line is wrong.
pub(crate) fn read_all(what: &str, path: &Path) -> Result<Vec<Secret>> {
    let shown = path.display();
    let failed = |e| Error::io(format!("{what} {shown}"), e);
    let file = File::open(path).map_err(failed)?;
    check_mode(what, path, &file.metadata().map_err(failed)?)?;
    let mut text = String::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    file.take(most).read_to_string(&mut text).map_err(failed)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(Error::Usage(format!("{what} {shown} has more than {FILE_BYTES_MAX} bytes")));
    }
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    // Never the line itself.
    let whose = |index: usize| format!("{what} {shown}: line {}", index + 1);
    lines.map(|(index, line)| Secret::checked(line, &whose(index))).collect()
}

#[cfg(unix)]
fn check_mode(what: &str, path: &Path, found: &std::fs::Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (shown, mode) = (path.display(), found.mode() & 0o777);
    if !found.is_file() {
        return Err(Error::Usage(format!("{what} {shown} is no file")));
    }
    if mode & 0o077 != 0 {
        return Err(Error::Usage(format!(
            "{what} {shown} has mode {mode:03o}, so that others than its owner can read or change it: \
             run `chmod 600 {shown}`"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &str, _: &Path, _: &std::fs::Metadata) -> Result<()> {
    Ok(())
}

/// Tokens that let in who has one. Only their digests are kept.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Vec<[u8; 32]>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// The tokens in the file at `path`, one a line.
    ///
    /// # Errors
    /// As [`read_all`]; also when there is none.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let what = "the file of tokens";
        let tokens = read_all(what, path)?;
        if tokens.is_empty() {
            let shown = path.display();
            return Err(Error::Usage(format!("{what} {shown} has no token; write one on a line")));
        }
        Ok(Self(tokens.iter().map(|token| Sha256::digest(token.bytes()).into()).collect()))
    }

    /// Whether everybody may come in.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is one of them; takes the same time whichever.
    pub(crate) fn admit(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        let same = |known: &[u8; 32]| bool::from(known.ct_eq(&given));
        // All are compared.
        self.0.iter().fold(false, |admitted, known| same(known) | admitted)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        let name = format!("anabranch-secret-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_of_tokens_is_for_its_owner_and_never_shown() {
        let path = file("tokens", "# mine\n0123456789abcdef\n\nfedcba9876543210  \n", 0o600);
        let tokens = Tokens::read(&path).unwrap();
        assert!(tokens.admit("0123456789abcdef") && tokens.admit("fedcba9876543210"));
        assert!(!tokens.admit("0123456789abcdeF") && !tokens.admit("") && !tokens.admit("# mine"));
        assert_eq!(format!("{tokens:?}"), "Tokens(2)");
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(Tokens::read(&path).unwrap_err().to_string().contains("chmod 600"));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        for (text, said) in [("", "no token"), ("# x\nshort-secret", "line 2 has 12 bytes")] {
            let path = file("wrong", text, 0o600);
            let error = Tokens::read(&path).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("short-secret"), "{error}");
            std::fs::remove_file(path).unwrap();
        }
        let path = file("two", "0123456789abcdef\nfedcba9876543210\n", 0o600);
        assert!(Secret::read("the key", &path).unwrap_err().to_string().contains("one secret"));
        std::fs::remove_file(path).unwrap();
        let unset = Secret::of_variable("the key", "ANABRANCH_NOT_SET_ANYWHERE");
        assert!(unset.unwrap_err().to_string().contains("ANABRANCH_NOT_SET_ANYWHERE"));
    }
}
