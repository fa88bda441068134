//! Checkpoints: a signed word for a tree's size and root, in the form that transparency logs
//! use, so that other tools read them too.
//!
//! The form is the signed note of C2SP (<https://c2sp.org/signed-note>) with the body of
//! <https://c2sp.org/tlog-checkpoint>: origin, size, root in base64, perhaps further lines, an
//! empty line, and `— NAME BASE64(key id || Ed25519 signature)`. A public key is a note's
//! verifier key, `NAME+KEYID+BASE64(1 || key)`; a private one is `PRIVATE+KEY+NAME+KEYID+BASE64(1
//! || seed)`, as `sumdb/note` of Go writes it. NAME is the journal's origin: `tenantry/` and
//! the beginning of the public key's digest, so that no two journals share one.

mod key;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hex;
use crate::merkle::Hash;

pub use key::{KeyError, PublicKey, SigningKey};

/// Longest note that is read: ours have some 300 bytes, one that witnesses signed a few more.
const LONGEST_NOTE: usize = 64 * 1024;

/// What is signed: so many events with this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose journal.
    pub origin: String,
    /// Events in the tree.
    pub tree_size: u64,
    /// The tree's root.
    pub root_hash: Hash,
    /// Further lines, each with a word for what it says at its beginning.
    pub extensions: Vec<String>,
}

/// A note is not a checkpoint that this key signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has not the form of a checkpoint.
    #[error("this is no checkpoint: {0}")]
    Form(&'static str),
    /// No signature on it is by this key.
    #[error("the key {0} has not signed this checkpoint")]
    NotSigned(String),
    /// The key's signature is not one of this text.
    #[error("the signature of the key {0} is not one of this checkpoint's text")]
    BadSignature(String),
}

impl Checkpoint {
    fn body(&self) -> String {
        let root = STANDARD.encode(self.root_hash);
        let mut body = format!("{}\n{}\n{root}\n", self.origin, self.tree_size);
        for line in &self.extensions {
            body.push_str(line);
            body.push('\n');
        }
        body
    }

    /// Signs it: the whole note.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let body = self.body();
        let signature = [key.public().id().as_slice(), &key.sign(body.as_bytes())].concat();
        format!("{body}\n\u{2014} {} {}\n", key.public().name(), STANDARD.encode(signature))
    }

    /// Reads a note and checks this key's signature on it; others' are passed over.
    ///
    /// # Errors
    /// When it is no checkpoint, or not signed by this key.
    pub fn open(note: &str, key: &PublicKey) -> Result<Checkpoint, NoteError> {
        let (body, signatures) = parts(note)?;
        let name = || key.name().to_owned();
        let mut theirs = signatures.lines().filter_map(|line| signature_by(line, key));
        let signature = theirs.next().ok_or_else(|| NoteError::NotSigned(name()))?;
        if !key.verify(body.as_bytes(), &signature) {
            return Err(NoteError::BadSignature(name()));
        }
        let checkpoint = Self::parse_body(body)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Form("its origin is not the key's"));
        }
        Ok(checkpoint)
    }

    /// Reads what a note says, whoever signed it.
    ///
    /// # Errors
    /// When it is no checkpoint.
    pub fn read_unchecked(note: &str) -> Result<Checkpoint, NoteError> {
        Self::parse_body(parts(note)?.0)
    }

    fn parse_body(body: &str) -> Result<Checkpoint, NoteError> {
        let mut lines = body.lines();
        let mut next = |what| lines.next().filter(|line| !line.is_empty()).ok_or(NoteError::Form(what));
        let origin = next("it has no origin")?.to_owned();
        let size = next("it has no size")?;
        let is_plain =
            size.bytes().all(|digit| digit.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let tree_size =
            size.parse().ok().filter(|_| is_plain).ok_or(NoteError::Form("its size is no number"))?;
        let root = STANDARD.decode(next("it has no root")?).ok();
        let root_hash = root.and_then(|root| root.try_into().ok());
        let root_hash = root_hash.ok_or(NoteError::Form("its root is not 32 bytes in base64"))?;
        Ok(Checkpoint { origin, tree_size, root_hash, extensions: lines.map(str::to_owned).collect() })
    }

    /// What the extension line with this word says, if there is just one.
    #[must_use]
    pub fn extension(&self, word: &str) -> Option<&str> {
        let mut found = self.extensions.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        found.next().filter(|_| found.next().is_none())
    }

    /// The root as the API writes it.
    #[must_use]
    pub fn root_text(&self) -> String {
        hex::encode(&self.root_hash)
    }
}

/// The signed text and the signatures of a note.
fn parts(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > LONGEST_NOTE {
        return Err(NoteError::Form("it is too long"));
    }
    if note.chars().any(|letter| letter < ' ' && letter != '\n') {
        return Err(NoteError::Form("it has control characters"));
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Form("it has no signatures"))?;
    let (body, signatures) = note.split_at(end + 1);
    let signatures = signatures.strip_prefix('\n').unwrap_or_default();
    if !signatures.ends_with('\n') || !signatures.lines().all(|line| line.starts_with("\u{2014} ")) {
        return Err(NoteError::Form("its signatures are not lines that begin with a dash"));
    }
    Ok((body, signatures))
}

/// The signature of a line, when it is by this key.
fn signature_by(line: &str, key: &PublicKey) -> Option<Vec<u8>> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let signature = STANDARD.decode(signature).ok()?;
    let (id, signature) = signature.split_first_chunk::<4>()?;
    (name == key.name() && *id == key.id()).then(|| signature.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn checkpoint(key: &SigningKey) -> Checkpoint {
        Checkpoint {
            origin: key.public().name().to_owned(),
            tree_size: 42,
            root_hash: [9; 32],
            extensions: vec!["tenant one".into(), "events 7".into()],
        }
    }

    #[test]
    fn the_published_note_of_go_is_signed_and_read_as_there() {
        // The example of golang.org/x/mod/sumdb/note.
        const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        const PRIVATE: &str =
            "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n";
        const SIGNATURE: &str =
            "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let private = SigningKey::parse(PRIVATE).unwrap();
        let public = PublicKey::parse(PUBLIC).unwrap();
        assert_eq!(private.public(), &public);
        assert_eq!(private.to_text().as_str(), PRIVATE);
        assert_eq!(public.to_string(), PUBLIC);
        let signature = [public.id().as_slice(), &private.sign(TEXT.as_bytes())].concat();
        assert_eq!(STANDARD.encode(signature), SIGNATURE);
        let line = format!("\u{2014} PeterNeumann {SIGNATURE}");
        assert!(public.verify(TEXT.as_bytes(), &signature_by(&line, &public).unwrap()));
    }

    #[test]
    fn a_note_is_read_as_it_was_signed_and_by_nobody_elses_key() {
        let key = key(1);
        let signed = checkpoint(&key).sign(&key);
        let other = self::key(2);
        assert_eq!(Checkpoint::open(&signed, key.public()), Ok(checkpoint(&key)));
        let refused = Checkpoint::open(&signed, other.public());
        assert_eq!(refused, Err(NoteError::NotSigned(other.public().name().into())));
        // A witness's line beside ours.
        let both = format!("{signed}\u{2014} witness AAAA\n");
        assert_eq!(Checkpoint::open(&both, key.public()), Ok(checkpoint(&key)));
        assert_eq!(checkpoint(&key).extension("events"), Some("7"));
        assert_eq!(checkpoint(&key).extension("event"), None);
    }

    #[test]
    fn every_changed_byte_of_a_note_is_found() {
        let key = key(1);
        let signed = checkpoint(&key).sign(&key);
        for at in 0..signed.len() {
            for bit in [0x01, 0x20] {
                let mut bytes = signed.clone().into_bytes();
                bytes[at] ^= bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                assert!(Checkpoint::open(&changed, key.public()).is_err(), "byte {at}: {changed}");
            }
            if signed.is_char_boundary(at) {
                assert!(Checkpoint::open(&signed[..at], key.public()).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_though_it_is_signed() {
        let key = key(1);
        let sign = |body: &str| {
            let signature = [key.public().id().as_slice(), &key.sign(body.as_bytes())].concat();
            format!("{body}\n\u{2014} {} {}\n", key.public().name(), STANDARD.encode(signature))
        };
        let name = key.public().name();
        let root = STANDARD.encode([9; 32]);
        assert!(Checkpoint::open(&sign(&format!("{name}\n42\n{root}\n")), key.public()).is_ok());
        for body in [
            format!("{name}\n042\n{root}\n"),
            format!("{name}\n-1\n{root}\n"),
            format!("{name}\n42\nAAAA\n"),
            format!("{name}\n42\n"),
            format!("somebody else\n42\n{root}\n"),
            "\n".to_owned(),
        ] {
            let refused = Checkpoint::open(&sign(&body), key.public());
            assert!(matches!(refused, Err(NoteError::Form(_))), "{body}: {refused:?}");
        }
    }
}
