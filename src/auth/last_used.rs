//! When each API token was shown last. Observation, not fact: no event says it.
//!
//! Kept in memory, and written aside every [`SAVE_EVERY`] and at the end, as JSON from token
//! ids to milliseconds since the epoch. A crash loses the last minute of it; a file that is
//! missing or damaged loses all of it, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tenantry_journal::id::TokenId;
use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::engine::Handle;

/// More tokens than anybody has; past it only those seen already are followed.
const MOST_TOKENS: usize = 100_000;
/// The longest file that is read: [`MOST_TOKENS`] lines with room to spare.
const LONGEST_FILE: u64 = 16 << 20;
/// How much of it a crash may lose.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Its name in the data directory.
const FILE: &str = "tokens-last-used.json";

/// When each API token was shown last.
#[derive(Debug, Default)]
pub struct LastUsed {
    seen: RwLock<HashMap<TokenId, AtomicU64>>,
    /// Whether something is not in the file yet.
    changed: AtomicBool,
}

impl LastUsed {
    /// What the file in the data directory says.
    #[must_use]
    pub fn open(data_dir: &Path) -> LastUsed {
        let path = data_dir.join(FILE);
        let known = load(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "when tokens were used last is not known");
            }
            BTreeMap::new()
        });
        let seen = known.into_iter().take(MOST_TOKENS).map(|(id, at)| (id, AtomicU64::new(at.0))).collect();
        LastUsed { seen: RwLock::new(seen), changed: AtomicBool::new(false) }
    }

    /// Notes that somebody showed a valid credential.
    pub fn note(&self, actor: Actor, now: Timestamp) {
        let Actor::Token(token) = actor else { return };
        // Mostly it is set already, and a look is cheaper than a write.
        if !self.changed.load(Ordering::Relaxed) {
            self.changed.store(true, Ordering::Relaxed);
        }
        {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = seen.get(&token) {
                at.fetch_max(now.0, Ordering::Relaxed);
                return;
            }
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_TOKENS {
            seen.entry(token).or_default().fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// When the token was shown last, as far as is known.
    #[must_use]
    pub fn get(&self, token: TokenId) -> Option<Timestamp> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(&token).map(|at| Timestamp(at.load(Ordering::Relaxed)))
    }

    /// Writes the file from time to time until `shutdown`, and once more then.
    pub async fn keep(self: Arc<Self>, data_dir: PathBuf, handle: Handle, shutdown: CancellationToken) {
        loop {
            let is_over = tokio::select! {
                () = shutdown.cancelled() => true,
                () = tokio::time::sleep(SAVE_EVERY) => false,
            };
            let (used, path, handle) = (Arc::clone(&self), data_dir.join(FILE), handle.clone());
            let saved = tokio::task::spawn_blocking(move || {
                let world = handle.world();
                used.save(&path, |token| world.access.token(token).is_some())
            });
            if let Ok(Err(error)) = saved.await {
                tracing::warn!(%error, "when tokens were used last is not written");
            }
            if is_over {
                return;
            }
        }
    }

    /// Writes the file if something has changed, and forgets tokens that are gone.
    fn save(&self, path: &Path, is_there: impl Fn(TokenId) -> bool) -> io::Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let known: BTreeMap<TokenId, Timestamp> = {
            let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            seen.retain(|token, _| is_there(*token));
            seen.iter().map(|(token, at)| (*token, Timestamp(at.load(Ordering::Relaxed)))).collect()
        };
        let millis: BTreeMap<String, u64> =
            known.into_iter().map(|(token, at)| (token.to_string(), at.0)).collect();
        let aside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(&millis)?)?;
        file.sync_data()?;
        std::fs::rename(aside, path)
    }
}

fn load(path: &Path) -> io::Result<BTreeMap<TokenId, Timestamp>> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_FILE).read_to_string(&mut text)?;
    let millis: BTreeMap<String, u64> = serde_json::from_str(&text)?;
    Ok(millis.into_iter().filter_map(|(id, at)| Some((id.parse().ok()?, Timestamp(at)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ONE: TokenId = TokenId(Uuid::from_u128(1));
    const OTHER: TokenId = TokenId(Uuid::from_u128(2));

    #[test]
    fn remembers_the_latest_use_of_tokens_alone() {
        let used = LastUsed::default();
        assert_eq!(used.get(ONE), None);
        used.note(Actor::Token(ONE), Timestamp(7));
        used.note(Actor::Token(ONE), Timestamp(5));
        used.note(Actor::System, Timestamp(9));
        assert_eq!(used.get(ONE), Some(Timestamp(7)));
    }

    #[test]
    fn what_was_written_is_known_again_without_what_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        let used = LastUsed::open(dir.path());
        used.save(&path, |_| true).expect("nothing to write");
        assert!(!path.exists(), "nothing had changed");
        used.note(Actor::Token(ONE), Timestamp(7));
        used.note(Actor::Token(OTHER), Timestamp(8));
        used.save(&path, |token| token == ONE).expect("writes");
        let again = LastUsed::open(dir.path());
        assert_eq!((again.get(ONE), again.get(OTHER)), (Some(Timestamp(7)), None));
        again.note(Actor::Token(ONE), Timestamp(6));
        assert_eq!(again.get(ONE), Some(Timestamp(7)), "an older use changes nothing");
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE), b"{\"x").expect("writes");
        assert_eq!(LastUsed::open(dir.path()).get(ONE), None);
    }
}
