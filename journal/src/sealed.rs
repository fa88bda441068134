//! Values that stand in events only as ciphertext, and in memory opened.
//!
//! A [`Sealed`] value names the key it is under. Written in a binary format it is
//! encrypted under that key. Read from one it stays ciphertext until somebody asks for it:
//! most values that a fold passes are replaced before anybody does. Once opened it stays
//! open; when its key is gone before that, it is "erased". One whose key is there and does
//! not open it, or opens something else, is "damaged", which is never said to be erased:
//! whoever folds asks [`take_damage`] and stops. Written as text (JSON, for people) it shows
//! its value.
//! The keys come from the [`Vault`] that [`with_vault`] puts in scope around encoding and
//! decoding, because serde offers no other way to hand a value's (de)serializer a key.
//!
//! Ciphertext: one version byte (1), a 24-byte nonce, then XChaCha20-Poly1305 over the
//! value as a MessagePack named map, with the key's id as associated data. These bytes
//! are covered by the Merkle tree and may never change their meaning.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::codec::fields::from_slice;
use crate::id::KeyId;

/// What text shows in place of a value whose key is gone.
pub const ERASED: &str = "erased";
/// What text shows in place of a value that its key does not open.
pub const DAMAGED: &str = "damaged";
/// What text shows in place of a secret.
pub const HIDDEN: &str = "***hidden***";

/// Seals and opens bytes under named keys. Implemented by the keyring.
pub trait Vault: Send + Sync {
    /// Encrypts `plain` under `key`; `None` when there is no such key.
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>>;
    /// Decrypts what [`Vault::seal`] made; `None` when the key is gone or the bytes are not its.
    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>>;
    /// Whether it has this key, so that what it does not open is damaged and not erased. One
    /// that cannot tell says no.
    fn holds(&self, _: KeyId) -> bool {
        false
    }
}

thread_local! {
    static VAULT: RefCell<Option<Arc<dyn Vault>>> = const { RefCell::new(None) };
    /// The key of a value that this thread found to be damaged.
    static FOUND_DAMAGED: Cell<Option<KeyId>> = const { Cell::new(None) };
}

/// The key of a damaged value that this thread asked for since it was asked last, if any.
#[must_use]
pub fn take_damage() -> Option<KeyId> {
    FOUND_DAMAGED.take()
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

/// A value about a person or a customer: sealed wherever it is stored, open to who asks.
///
/// Clones share what was opened, so a value is decrypted at most once.
pub struct Sealed<T> {
    key: KeyId,
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    /// `Some(None)` when what the key opened is no such value.
    value: OnceLock<Option<Box<T>>>,
    /// `None` when it was made from a value and never read.
    stored: Option<Ciphertext>,
}

/// What was read, kept so that writing it again needs no key, and who opens it.
struct Ciphertext {
    bytes: Box<[u8]>,
    /// `None` when no vault was in scope: never opened then.
    vault: Option<Arc<dyn Vault>>,
}

impl<T> Sealed<T> {
    /// Takes a value that will be sealed under `key` when it is written.
    pub fn new(key: impl Into<KeyId>, value: T) -> Self {
        let inner = Inner { value: OnceLock::from(Some(Box::new(value))), stored: None };
        Sealed { key: key.into(), inner: Arc::new(inner) }
    }

    /// A value whose key is gone: it opens as erased, and nothing of it is left.
    #[must_use]
    pub fn erased(key: impl Into<KeyId>) -> Self {
        let stored = Some(Ciphertext { bytes: Box::default(), vault: None });
        Sealed { key: key.into(), inner: Arc::new(Inner { value: OnceLock::new(), stored }) }
    }

    /// Whether both are clones of one, which is seen without opening either.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.key == other.key && Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The key that the value is sealed under.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }
}

/// What asking for a sealed value gives.
enum Asked<'a, T> {
    Value(&'a T),
    Erased,
    Damaged,
}

impl<T: DeserializeOwned> Sealed<T> {
    /// The value, or `None` when its key is gone or it is damaged. Decrypts it the first time.
    #[must_use]
    pub fn open(&self) -> Option<&T> {
        match self.ask() {
            Asked::Value(value) => Some(value),
            Asked::Erased | Asked::Damaged => None,
        }
    }

    /// What text shows in place of a value that does not open.
    #[must_use]
    pub fn stand_in(&self) -> &'static str {
        match self.ask() {
            Asked::Damaged => DAMAGED,
            Asked::Value(_) | Asked::Erased => ERASED,
        }
    }

    fn ask(&self) -> Asked<'_, T> {
        match self.inner.value.get() {
            Some(Some(value)) => return Asked::Value(value),
            Some(None) => return self.damaged(),
            None => {}
        }
        let Some(Ciphertext { bytes, vault: Some(vault) }) = &self.inner.stored else { return Asked::Erased };
        // What does not open now is asked for again the next time: only what was decided
        // by its bytes alone is kept.
        let Some(plain) = vault.open(self.key, bytes).map(Zeroizing::new) else {
            // Erased values stand in snapshots as no bytes at all.
            if bytes.is_empty() || !vault.holds(self.key) {
                return Asked::Erased;
            }
            tracing::error!(key.id = %self.key.0, "a sealed value is damaged: its key does not open it");
            return self.damaged();
        };
        let value = from_slice(&plain).map(Box::new);
        if let Err(error) = &value {
            tracing::error!(key.id = %self.key.0, %error, "a sealed value is damaged: it is not what its place says");
        }
        match self.inner.value.get_or_init(|| value.ok()) {
            Some(value) => Asked::Value(value),
            None => self.damaged(),
        }
    }

    fn damaged(&self) -> Asked<'_, T> {
        FOUND_DAMAGED.set(Some(self.key));
        Asked::Damaged
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Sealed { key: self.key, inner: Arc::clone(&self.inner) }
    }
}

impl<T: DeserializeOwned + PartialEq> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && (Arc::ptr_eq(&self.inner, &other.inner) || self.open() == other.open())
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.inner.value.get() {
            Some(Some(_)) => "open",
            Some(None) | None => "closed",
        };
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

impl<T: Serialize + DeserializeOwned> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return match self.open() {
                Some(value) => value.serialize(serializer),
                None => serializer.serialize_str(self.stand_in()),
            };
        }
        if let Some(stored) = &self.inner.stored {
            return Stored { k: self.key, c: (&*stored.bytes).into() }.serialize(serializer);
        }
        let value =
            self.open().ok_or_else(|| S::Error::custom("a sealed value has neither text nor cipher"))?;
        let plain = Zeroizing::new(rmp_serde::to_vec_named(value).map_err(S::Error::custom)?);
        let cipher = VAULT
            .with_borrow(|vault| vault.as_ref().and_then(|vault| vault.seal(self.key, &plain)))
            .ok_or_else(|| {
                S::Error::custom(format!("no key {} in scope to seal a value under", self.key.0))
            })?;
        Stored { k: self.key, c: cipher.into() }.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { k: key, c: cipher } = Stored::deserialize(deserializer)?;
        let stored = Ciphertext { bytes: cipher.into(), vault: VAULT.with_borrow(Clone::clone) };
        Ok(Sealed { key, inner: Arc::new(Inner { value: OnceLock::new(), stored: Some(stored) }) })
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

impl schemars::JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "password" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use uuid::Uuid;

    use super::*;

    const KEY: KeyId = KeyId(Uuid::from_u128(7));

    /// Counts what it opens, and can lose its key.
    #[derive(Default)]
    struct Counting {
        opened: AtomicUsize,
        erased: AtomicBool,
        /// Opens nothing, as if every byte were changed.
        picky: bool,
    }

    impl Vault for Counting {
        fn seal(&self, _: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
            Some(plain.iter().map(|byte| !byte).collect())
        }

        fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            (self.holds(key) && !self.picky).then(|| self.seal(key, sealed)).flatten()
        }

        fn holds(&self, _: KeyId) -> bool {
            !self.erased.load(Ordering::Relaxed)
        }
    }

    fn stored(vault: &Arc<Counting>, text: &str) -> Vec<u8> {
        let vault: Arc<dyn Vault> = vault.clone();
        let value = Sealed::new(KEY, text.to_owned());
        with_vault(&vault, || rmp_serde::to_vec_named(&value)).unwrap()
    }

    fn read<T>(vault: &Arc<Counting>, bytes: &[u8]) -> Sealed<T> {
        let vault: Arc<dyn Vault> = vault.clone();
        with_vault(&vault, || rmp_serde::from_slice(bytes)).unwrap()
    }

    #[test]
    fn a_value_is_decrypted_when_it_is_asked_for_and_only_once() {
        let vault = Arc::new(Counting::default());
        let bytes = stored(&vault, "Smith");
        let value: Sealed<String> = read(&vault, &bytes);
        let copy = value.clone();
        assert_eq!(rmp_serde::to_vec_named(&value).unwrap(), bytes, "written as it was read, without a key");
        assert_eq!(vault.opened.load(Ordering::Relaxed), 0);
        assert_eq!(value.open().map(String::as_str), Some("Smith"));
        assert_eq!(copy.open().map(String::as_str), Some("Smith"));
        assert_eq!(vault.opened.load(Ordering::Relaxed), 1);
        assert_eq!(rmp_serde::to_vec_named(&copy).unwrap(), bytes);
    }

    #[test]
    fn equal_values_are_equal_whether_opened_made_or_closed() {
        let vault = Arc::new(Counting::default());
        let (smith, jones) = (stored(&vault, "Smith"), stored(&vault, "Jones"));
        let closed: Sealed<String> = read(&vault, &smith);
        assert_eq!(closed, Sealed::new(KEY, "Smith".to_owned()));
        assert_eq!(closed, read(&vault, &smith));
        assert_ne!(closed, read(&vault, &jones));
        assert_ne!(closed, Sealed::new(KeyId::CONTROL_PLANE, "Smith".to_owned()));
    }

    #[test]
    fn a_key_that_is_gone_erases_what_was_not_opened_before() {
        let vault = Arc::new(Counting::default());
        let bytes = stored(&vault, "Smith");
        let (opened, closed): (Sealed<String>, Sealed<String>) = (read(&vault, &bytes), read(&vault, &bytes));
        opened.open().unwrap();
        vault.erased.store(true, Ordering::Relaxed);
        assert_eq!(closed.open(), None);
        assert_eq!(serde_json::to_value(&closed).unwrap(), ERASED);
        assert_ne!(opened, closed);
        assert_eq!(
            opened.open().map(String::as_str),
            Some("Smith"),
            "what is in memory is the owner's to drop"
        );
        assert_eq!(rmp_serde::to_vec_named(&closed).unwrap(), bytes, "the stored bytes stay as they are");
    }

    #[test]
    fn without_a_vault_it_reads_as_erased() {
        let bytes = stored(&Arc::new(Counting::default()), "Smith");
        let foreign: Sealed<String> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!((foreign.open(), foreign.stand_in()), (None, ERASED));
        assert_eq!(take_damage(), None);
    }

    #[test]
    fn a_value_of_another_type_is_damaged_and_says_so_each_time() {
        let vault = Arc::new(Counting::default());
        let number: Sealed<u64> = read(&vault, &stored(&vault, "Smith"));
        for _ in 0..2 {
            assert_eq!(number.open(), None);
            assert_eq!((take_damage(), take_damage()), (Some(KEY), None));
        }
        assert_eq!(serde_json::to_value(&number).unwrap(), DAMAGED);
        assert_eq!(vault.opened.load(Ordering::Relaxed), 1, "its bytes will not change");
    }

    #[test]
    fn a_value_that_its_key_does_not_open_is_damaged_and_one_without_a_key_is_erased() {
        let vault = Arc::new(Counting { picky: true, ..Counting::default() });
        let value: Sealed<String> = read(&vault, &stored(&vault, "Smith"));
        assert_eq!((value.open(), value.stand_in()), (None, DAMAGED));
        assert_eq!(take_damage(), Some(KEY));
        vault.erased.store(true, Ordering::Relaxed);
        assert_eq!((value.open(), value.stand_in()), (None, ERASED));
        assert_eq!(take_damage(), None);
    }
}
