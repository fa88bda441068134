//! Values that stand in events only as ciphertext, and in memory opened.
//!
//! A [`Sealed`] value names the key it is under. Written in a binary format it is
//! encrypted under that key; read from one it is opened when the key is still there and
//! is "erased" when it is not. Written as text (JSON, for people) it shows its value.
//! The keys come from the [`Vault`] that [`with_vault`] puts in scope around encoding and
//! decoding, because serde offers no other way to hand a value's (de)serializer a key.
//!
//! Ciphertext: one version byte (1), a 24-byte nonce, then XChaCha20-Poly1305 over the
//! value as a MessagePack named map, with the key's id as associated data. These bytes
//! are covered by the Merkle tree and may never change their meaning.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::KeyId;

/// What text shows in place of a value whose key is gone.
pub const ERASED: &str = "erased";
/// What text shows in place of a secret.
pub const HIDDEN: &str = "***hidden***";

/// Seals and opens bytes under named keys. Implemented by the keyring.
pub trait Vault: Send + Sync {
    /// Encrypts `plain` under `key`; `None` when there is no such key.
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>>;
    /// Decrypts what [`Vault::seal`] made; `None` when the key is gone or the bytes are not its.
    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>>;
}

thread_local! {
    static VAULT: RefCell<Option<Arc<dyn Vault>>> = const { RefCell::new(None) };
}

/// Runs `work` with `vault` as the source of keys for every [`Sealed`] value that is
/// encoded or decoded on this thread meanwhile.
pub fn with_vault<R>(vault: &Arc<dyn Vault>, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<dyn Vault>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            VAULT.with_borrow_mut(|slot| *slot = self.0.take());
        }
    }
    let _restore = Restore(VAULT.with_borrow_mut(|slot| slot.replace(Arc::clone(vault))));
    work()
}

/// A value about a person or a customer: sealed wherever it is stored, open in memory.
#[derive(Clone)]
pub struct Sealed<T> {
    key: KeyId,
    /// `None` when the key was gone (or not in scope) as the value was read.
    value: Option<Arc<T>>,
    /// As read from storage; kept so that writing it again needs no key.
    cipher: Option<Arc<[u8]>>,
}

impl<T> Sealed<T> {
    /// Takes a value that will be sealed under `key` when it is written.
    pub fn new(key: impl Into<KeyId>, value: T) -> Self {
        Sealed { key: key.into(), value: Some(Arc::new(value)), cipher: None }
    }

    /// The value, or `None` when its key is gone.
    #[must_use]
    pub fn open(&self) -> Option<&T> {
        self.value.as_deref()
    }

    /// The key that the value is sealed under.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }
}

impl<T: PartialEq> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.value.is_some() { "open" } else { ERASED };
        write!(f, "Sealed({}, {state})", self.key.0)
    }
}

/// The stored form of a sealed value.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    k: KeyId,
    #[serde(with = "serde_bytes", borrow)]
    c: std::borrow::Cow<'a, [u8]>,
}

impl<T: Serialize> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return match &self.value {
                Some(value) => value.serialize(serializer),
                None => serializer.serialize_str(ERASED),
            };
        }
        if let Some(cipher) = &self.cipher {
            return Stored { k: self.key, c: (&**cipher).into() }.serialize(serializer);
        }
        let value = self
            .value
            .as_ref()
            .ok_or_else(|| S::Error::custom("a sealed value has neither text nor cipher"))?;
        let plain =
            zeroize::Zeroizing::new(rmp_serde::to_vec_named(value.as_ref()).map_err(S::Error::custom)?);
        let cipher = VAULT
            .with_borrow(|vault| vault.as_ref().and_then(|vault| vault.seal(self.key, &plain)))
            .ok_or_else(|| {
                S::Error::custom(format!("no key {} in scope to seal a value under", self.key.0))
            })?;
        Stored { k: self.key, c: cipher.into() }.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { k: key, c: cipher } = Stored::deserialize(deserializer)?;
        let plain = VAULT.with_borrow(|vault| vault.as_ref().and_then(|vault| vault.open(key, &cipher)));
        let value = match plain {
            Some(plain) => {
                let plain = zeroize::Zeroizing::new(plain);
                Some(Arc::new(rmp_serde::from_slice(&plain).map_err(serde::de::Error::custom)?))
            }
            None => None,
        };
        Ok(Sealed { key, value, cipher: Some(cipher.into()) })
    }
}

/// A text that is never shown: sealed with its surroundings in storage, hidden in text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = if serializer.is_human_readable() { HIDDEN } else { &self.0 };
        serializer.serialize_str(shown)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}
