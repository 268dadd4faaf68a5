//! The key that the processes of one cluster share.
//!
//! Invariant: its bytes leave this type only into a MAC, and into the control pipe of a child that
//! the supervisor itself has started; `Debug` shows none of them and no error quotes them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Result, clock};

/// The shortest key that is accepted, in bytes.
const LENGTH_MIN: usize = 32;
/// The longest, in bytes: a key file is no disk image.
const LENGTH_MAX: usize = 4096;

/// A shared key: whoever has it may join the cluster.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Takes at least 32 and at most 4096 bytes, after white space at both ends is gone.
    ///
    /// # Errors
    /// When there are fewer or more.
    ///
    /// ```
    /// use anabranch::cluster::Secret;
    /// assert!(Secret::new(b"too short").is_err());
    /// let secret = Secret::new(b"0123456789abcdef0123456789abcdef\n").unwrap();
    /// assert_eq!(format!("{secret:?}"), "Secret(..)");
    /// ```
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.trim_ascii();
        match bytes.len() {
            LENGTH_MIN..=LENGTH_MAX => Ok(Self(bytes.to_vec())),
            length => Err(Error::Usage(format!(
                "a cluster key has {LENGTH_MIN} to {LENGTH_MAX} bytes, this one has {length}: make \
                 one with `openssl rand -hex 32`"
            ))),
        }
    }

    /// Reads the file of `--cluster-key-file`.
    ///
    /// # Errors
    /// When it cannot be read, when anyone but its owner may read it, or when it is no key.
    pub fn read(path: &Path) -> Result<Self> {
        let what = "the cluster key file";
        let bytes = read_secret_file(what, path, LENGTH_MAX)?;
        Self::new(&bytes).map_err(|e| Error::Usage(format!("{what} {}: {e}", path.display())))
    }

    /// A key of the operating system's randomness, for a cluster on this machine.
    ///
    /// # Errors
    /// When the operating system has no random source.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; LENGTH_MIN];
        clock::entropy(&mut bytes)?;
        let mut hex = Vec::with_capacity(2 * LENGTH_MIN);
        for byte in bytes {
            hex.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        Ok(Self(hex))
    }

    /// The key as text, for the pipe to a child of the supervisor; only a key from
    /// [`Secret::random`] is sure to be text.
    pub(super) fn reveal(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// HMAC-SHA256 over `parts`, each preceded by its length, so that no two lists of parts are
    /// the same bytes.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0)
            .map_err(|e| Error::Cluster(format!("the cluster key cannot be used: {e}")))?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().into())
    }
}

/// Reads a file that only its owner may read, of at most `most` bytes; of a longer one, one byte more. `what` it is
/// begins what is said of it.
///
/// # Errors
/// When it cannot be read, or when anyone but its owner may read it.
pub(crate) fn read_secret_file(what: &str, path: &Path, most: usize) -> Result<Vec<u8>> {
    let shown = path.display();
    let failed = |e| Error::io(format!("{what} {shown}"), e);
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Error::Usage(format!("{what} {shown} is no file")));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Usage(format!(
            "{what} {shown} has mode {mode:03o}, so that others than its owner can read or change it: \
             run `chmod 600 {shown}`"
        )));
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_for_its_owner_only() {
        let path = std::env::temp_dir().join(format!("anabranch-key-{}", std::process::id()));
        std::fs::write(&path, [b'k'; 32]).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for open in [0o640, 0o604, 0o620, 0o666] {
            mode(open);
            let refused = Secret::read(&path).unwrap_err().to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
        mode(0o600);
        assert_eq!(Secret::read(&path).unwrap().reveal(), "k".repeat(32));
        std::fs::write(&path, [b'k'; LENGTH_MAX + 1]).unwrap();
        let refused = Secret::read(&path).unwrap_err().to_string();
        assert!(refused.contains("4096") && !refused.contains("kkk"), "{refused}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_mac_is_hmac_sha256_of_the_prefixed_parts() {
        // Computed with Python: hmac.new(b"k"*32, struct.pack(">Q",1)+b"a"+struct.pack(">Q",2)+b"bc", "sha256")
        let mac = Secret::new(&[b'k'; 32]).unwrap().mac(&[b"a", b"bc"]).unwrap();
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a5ad25f792cb49a995331bfd46ab03b6af696fc406d82f166990dbe82ae174ad");
    }

    #[test]
    fn random_keys_differ() {
        let (a, b) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(a.reveal().len(), 64);
    }
}
