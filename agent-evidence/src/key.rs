//! The node's key, made at its first start.

use crate::chain::from_hex;
use crate::disk::read_small;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand::TryRngCore;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A key that signs.
#[derive(Clone)]
pub struct Key(SigningKey);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} has mode {mode:04o}, expected 0600: others may have read the key", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error("{} holds no key: expected 64 hexadecimal digits", .0.display())]
    NoKey(PathBuf),
    /// The machine has no random numbers.
    #[error("cannot draw a key")]
    Random(#[from] rand::rand_core::OsError),
}

impl Key {
    /// A new key.
    pub fn draw() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key in a file, which is made if it is not there. Its public half lies beside, in a file
    /// that ends in `.pub`, for whoever verifies.
    pub fn take(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let key = match read_small(path, 1024) {
            Ok(bytes) => {
                let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
                if mode & 0o077 != 0 {
                    let path = path.to_owned();
                    return Err(KeyError::Open { path, mode });
                }
                let text = String::from_utf8_lossy(&bytes);
                let seed = from_hex(text.trim()).ok_or_else(|| KeyError::NoKey(path.to_owned()))?;
                Self(SigningKey::from_bytes(&seed))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::draw()?;
                key.write(path).map_err(failed)?;
                key
            }
            Err(error) => return Err(failed(error)),
        };
        let public = public_path(path);
        let text = key.public_hex() + "\n";
        // Written anew when it is not what it should be: whoever verifies with another file knows.
        if fs::read_to_string(&public).ok().as_deref() != Some(&text) {
            fs::write(&public, text).map_err(failed)?;
        }
        Ok(key)
    }

    /// Whole or not at all: half a key would be none for ever.
    fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let _ = fs::remove_file(&fresh);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all((hex::encode(self.0.as_bytes()) + "\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(fresh, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Signs bytes, which say themselves what they are for.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Its public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// Its public half, in hexadecimal digits.
    pub fn public_hex(&self) -> String {
        hex::encode(self.public().as_bytes())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.public_hex())
    }
}

/// Where the public half of a key lies.
pub fn public_path(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

/// The public key in a file.
pub fn read_public(path: &Path) -> Result<VerifyingKey, KeyError> {
    let bytes = read_small(path, 1024).map_err(|source| KeyError::File {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    from_hex(text.trim())
        .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
        .ok_or_else(|| KeyError::NoKey(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = std::env::temp_dir().join(format!("evidence-key-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("evidence.key");
        let key = Key::take(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(Key::take(&path).unwrap().public(), key.public());
        assert_eq!(read_public(&public_path(&path)).unwrap(), key.public());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Key::take(&path), Err(KeyError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "00\n").unwrap();
        assert!(matches!(Key::take(&path), Err(KeyError::NoKey(_))));
        fs::remove_dir_all(folder).unwrap();
    }
}
