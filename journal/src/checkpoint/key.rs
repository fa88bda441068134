//! The control plane's Ed25519 key: the file that holds it, and the text of its public part.
//!
//! **Files** of the data directory: `signing.key` (mode 0600, one line, the private key) and
//! `signing.pub` (one line, the public one), made together at the first start. Whoever has the
//! first can sign histories; losing it only means that later checkpoints bear another name.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::hex;

/// C2SP's number for Ed25519.
const ALGORITHM: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";

/// A key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its text is not that of a key.
    #[error("this is no {0} key: {1}")]
    Text(&'static str, &'static str),
    /// Its file cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Its file holds something else.
    #[error("{} holds no signing key; put the file back, or remove it to have another key made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<KeyError>,
    },
}

/// Who signs: a name and an Ed25519 key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

impl PublicKey {
    /// Reads a verifier key, `NAME+KEYID+BASE64`.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let wrong = |what| KeyError::Text("public", what);
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it is not NAME+KEYID+KEY"));
        };
        let key = unpack(key).ok_or_else(|| wrong("it is not 33 bytes in base64, of an Ed25519 key"))?;
        let key = PublicKey::new(name, key).ok_or_else(|| wrong("its name is none"))?;
        if hex::encode(&key.id()) == id { Ok(key) } else { Err(wrong("its key id does not fit")) }
    }

    fn new(name: &str, key: [u8; 32]) -> Option<PublicKey> {
        let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c < ' ');
        is_name.then(|| PublicKey { name: name.to_owned(), key })
    }

    /// Its name, which is the origin of what it signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells it from other keys of its name.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ALGORITHM])
            .chain_update(self.key)
            .finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// Whether a signature is this key's, of this message.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, hex::encode(&self.id()), pack(&self.key))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn pack(key: &[u8; 32]) -> String {
    STANDARD.encode([[ALGORITHM].as_slice(), key].concat())
}

fn unpack(text: &str) -> Option<[u8; 32]> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let (algorithm, key) = bytes.split_first()?;
    (*algorithm == ALGORITHM).then(|| key.try_into().ok())?
}

/// The key that signs.
#[derive(Clone)]
pub struct SigningKey {
    public: PublicKey,
    seed: Zeroizing<[u8; 32]>,
    pair: Arc<Ed25519KeyPair>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl SigningKey {
    /// The key of a seed, under the name that its public part gives it.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        let pair = pair(seed);
        let digest = Sha256::digest(pair.public_key());
        let name = format!("tenantry/{}", hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8])));
        Self::named(&name, seed).expect("the name is one")
    }

    fn named(name: &str, seed: &[u8; 32]) -> Option<SigningKey> {
        let pair = pair(seed);
        let key = pair.public_key().as_ref().try_into().ok()?;
        let public = PublicKey::new(name, key)?;
        Some(SigningKey { public, seed: Zeroizing::new(*seed), pair: Arc::new(pair) })
    }

    /// Reads a private key's text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<SigningKey, KeyError> {
        let wrong = |what| KeyError::Text("private", what);
        let mut parts = text.trim().strip_prefix(PRIVATE).unwrap_or_default().splitn(3, '+');
        let (Some(name), Some(id), Some(seed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it is not PRIVATE+KEY+NAME+KEYID+KEY"));
        };
        let seed = Zeroizing::new(unpack(seed).ok_or_else(|| wrong("it is not 33 bytes in base64"))?);
        let key = Self::named(name, &seed).ok_or_else(|| wrong("its name is none"))?;
        if hex::encode(&key.public.id()) == id { Ok(key) } else { Err(wrong("its key id does not fit")) }
    }

    /// The private key's text.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let id = hex::encode(&self.public.id());
        Zeroizing::new(format!("{PRIVATE}{}+{id}+{}", self.public.name, pack(&self.seed)))
    }

    /// The key of a data directory; made when there is none.
    ///
    /// # Errors
    /// When its file cannot be read or written.
    pub fn load_or_create(dir: &Path) -> Result<SigningKey, KeyError> {
        let key = match Self::load(dir)? {
            Some(key) => key,
            None => {
                let seed = Zeroizing::new(rand::random::<[u8; 32]>());
                let key = Self::from_seed(&seed);
                write_aside(&Self::path(dir), &key.to_text(), 0o600)?;
                tracing::info!(key = %key.public, "made the key that signs checkpoints");
                key
            }
        };
        let public = dir.join("signing.pub");
        let text = key.public.to_string();
        if fs::read_to_string(&public).is_ok_and(|known| known.trim() == text) {
            return Ok(key);
        }
        // A full disk must not keep a journal from being read: it is written at another start.
        if let Err(error) = write_aside(&public, &text, 0o644) {
            tracing::warn!(%error, "the public key cannot be written");
        }
        Ok(key)
    }

    /// The key of a data directory, if there is one.
    ///
    /// # Errors
    /// When its file cannot be read, or holds something else.
    pub fn load(dir: &Path) -> Result<Option<SigningKey>, KeyError> {
        let path = Self::path(dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyError::Io { action: "read", path, source }),
        };
        let key = Self::parse(&text).map_err(|error| KeyError::Damaged { path, source: Box::new(error) })?;
        Ok(Some(key))
    }

    fn path(dir: &Path) -> PathBuf {
        dir.join("signing.key")
    }

    /// Its public part.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

fn pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed")
}

/// Writes a line: aside, synced, renamed, its directory synced.
fn write_aside(path: &Path, line: &str, mode: u32) -> Result<(), KeyError> {
    let failed = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&aside)
        .map_err(failed("create"))?;
    file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&aside, path).map_err(failed("replace"))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the directory of"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(SigningKey::load(dir.path()).unwrap().is_none());
        let made = SigningKey::load_or_create(dir.path()).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("signing.key"), mode("signing.pub")), (0o600, 0o644));
        let public = fs::read_to_string(dir.path().join("signing.pub")).unwrap();
        assert_eq!(PublicKey::parse(&public).unwrap(), *made.public());
        fs::remove_file(dir.path().join("signing.pub")).unwrap();
        let again = SigningKey::load_or_create(dir.path()).unwrap();
        assert_eq!(again.public(), made.public());
        assert_eq!(fs::read_to_string(dir.path().join("signing.pub")).unwrap(), public);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_damaged_key_is_told_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let made = SigningKey::load_or_create(dir.path()).unwrap();
        let path = dir.path().join("signing.key");
        let text = made.to_text();
        let flipped = text.replace(&hex::encode(&made.public().id()), "00000000");
        for damaged in ["", "nonsense", &text[..text.len() - 3], &flipped] {
            fs::write(&path, damaged).unwrap();
            let refused = SigningKey::load_or_create(dir.path());
            assert!(matches!(refused, Err(KeyError::Damaged { .. })), "{damaged}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let good = SigningKey::from_seed(&[1; 32]).public().to_string();
        assert!(PublicKey::parse(&good).is_ok());
        let other = SigningKey::from_seed(&[2; 32]).public().to_string();
        let mixed = format!("{}+{}", good.rsplit_once('+').unwrap().0, other.rsplit_once('+').unwrap().1);
        for wrong in
            ["", "a+b", "a b+00000000+AA", &mixed, &good.replace("tenantry", "x"), &good[..good.len() - 1]]
        {
            assert!(PublicKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
