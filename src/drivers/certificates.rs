//! Certificates and their keys in the data directory: made, read, kept, removed.
//!
//! `certs/SLUG/VERSION/` holds `fullchain.pem` and `privkey.pem`, both readable by their owner
//! alone, and is never changed: a new certificate is a new version, so that a site names a
//! pair that belongs together. The version is a digest of the chain.

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tenantry_journal::name::{Domain, Slug};
use tenantry_journal::time::Timestamp;
use x509_parser::prelude::{GeneralName, Pem, X509Certificate};

use super::private;

const CHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";
/// What is being written has this before its name.
const PARTIAL: &str = ".partial-";
/// How long a certificate that signs itself is good: as long as browsers allow one at all.
const SELF_SIGNED_DAYS: u64 = 397;
const DAY_MS: u64 = 86_400_000;
/// Clocks differ: it is good from an hour ago on.
const EARLIER_MS: u64 = 3_600_000;
/// How many versions of a tenant stay, the present one included.
const KEPT: usize = 2;

/// Why a certificate cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// It is none.
    #[error("what should be a certificate is none: {0}")]
    Bad(String),
    /// The file system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who signed it.
    pub issuer: String,
    /// Whether that is itself.
    pub is_self_signed: bool,
    /// The names that it is good for.
    pub names: Vec<Domain>,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
}

/// A certificate that lies in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Names its directory below the tenant's.
    pub version: String,
    /// What it says.
    pub facts: Facts,
}

/// Makes a certificate that signs itself, with its key; both PEM.
///
/// # Errors
/// When no key can be made.
pub fn self_signed(names: &[Domain], now: Timestamp) -> Result<(String, String), CertificateError> {
    let all: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Tenantry self-signed");
    let at = |ms: u64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_millis(ms);
    params.not_before = at(now.0.saturating_sub(EARLIER_MS));
    params.not_after = at(now.0.saturating_add(SELF_SIGNED_DAYS * DAY_MS));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Whether a name cannot be known outside (RFC 6761, RFC 6762, and `.internal`).
#[must_use]
pub fn is_local(name: &Domain) -> bool {
    let name = name.as_str();
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let last = name.rsplit('.').next().unwrap_or_default();
    is_address || matches!(last, "localhost" | "local" | "test" | "internal" | "invalid")
}

/// Reads the first certificate of a chain.
///
/// # Errors
/// When there is none.
pub fn facts(chain: &str) -> Result<Facts, CertificateError> {
    let bad = |why: &dyn std::fmt::Display| CertificateError::Bad(why.to_string());
    let pem = Pem::iter_from_buffer(chain.as_bytes())
        .next()
        .ok_or_else(|| bad(&"it is empty"))?
        .map_err(|error| bad(&error))?;
    let certificate: X509Certificate<'_> = pem.parse_x509().map_err(|error| bad(&error))?;
    let names = certificate.subject_alternative_name().map_err(|error| bad(&error))?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => name.parse().ok(),
        _ => None,
    });
    let at = |time: x509_parser::time::ASN1Time| {
        Timestamp(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000))
    };
    let issuer = certificate.issuer();
    let common = issuer.iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(Facts {
        issuer: common.map_or_else(|| issuer.to_string(), str::to_owned),
        is_self_signed: issuer == certificate.subject(),
        names: names.collect(),
        not_before: at(certificate.validity().not_before),
        not_after: at(certificate.validity().not_after),
    })
}

/// The certificates of all tenants.
#[derive(Clone, Debug)]
pub struct Certificates {
    root: PathBuf,
}

impl Certificates {
    /// Kept below a directory.
    #[must_use]
    pub fn new(root: PathBuf) -> Certificates {
        Certificates { root }
    }

    fn of(&self, slug: &Slug) -> PathBuf {
        self.root.join(slug.as_str())
    }

    /// The two files of a version, when they are there.
    #[must_use]
    pub fn files(&self, slug: &Slug, version: &str) -> Option<(PathBuf, PathBuf)> {
        let is_plain = !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric());
        let dir = self.of(slug).join(version);
        let (chain, key) = (dir.join(CHAIN), dir.join(KEY));
        (is_plain && chain.is_file() && key.is_file()).then_some((chain, key))
    }

    /// Keeps a certificate with its key.
    ///
    /// # Errors
    /// When it is none, or cannot be written.
    pub fn keep(&self, slug: &Slug, chain: &str, key: &str) -> Result<Kept, CertificateError> {
        let facts = facts(chain)?;
        let version: String = blake3::hash(chain.as_bytes()).to_hex().chars().take(24).collect();
        let dir = self.of(slug);
        let partial = dir.join(format!("{PARTIAL}{version}"));
        let at = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| CertificateError::Io { what, path, source }
        };
        private::directory(&partial).map_err(at("create", &partial))?;
        for (name, text) in [(CHAIN, chain), (KEY, key)] {
            let path = partial.join(name);
            private::replace(&path, text.as_bytes()).map_err(at("write", &path))?;
        }
        let whole = dir.join(&version);
        if !whole.is_dir() {
            std::fs::rename(&partial, &whole).map_err(at("rename", &partial))?;
        }
        let synced = std::fs::File::open(&dir).and_then(|dir| dir.sync_all());
        synced.map_err(at("sync", &dir))?;
        Ok(Kept { version, facts })
    }

    /// The certificate of a tenant that is good for longest, of those good for all of these names.
    #[must_use]
    pub fn best(&self, slug: &Slug, names: &[Domain]) -> Option<Kept> {
        let versions = self.versions(slug).into_iter();
        let good = versions.filter(|kept| names.iter().all(|name| kept.facts.names.contains(name)));
        good.max_by_key(|kept| kept.facts.not_after)
    }

    fn versions(&self, slug: &Slug) -> Vec<Kept> {
        let entries = std::fs::read_dir(self.of(slug)).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let version = entry.file_name().into_string().ok()?;
                let (chain, _) = self.files(slug, &version)?;
                let facts = facts(&std::fs::read_to_string(chain).ok()?).ok()?;
                Some(Kept { version, facts })
            })
            .collect()
    }

    /// Removes versions that no site names any more, and what attempts left behind.
    pub fn prune(&self, slug: &Slug, present: &str) {
        let mut others: Vec<Kept> =
            self.versions(slug).into_iter().filter(|kept| kept.version != present).collect();
        others.sort_by_key(|kept| std::cmp::Reverse(kept.facts.not_after));
        let old = others.into_iter().skip(KEPT - 1).map(|kept| kept.version);
        let entries = std::fs::read_dir(self.of(slug)).into_iter().flatten().flatten();
        let partial = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let partial = partial.filter(|name| name.starts_with(PARTIAL));
        for name in old.chain(partial) {
            let _ = std::fs::remove_dir_all(self.of(slug).join(name));
        }
    }

    /// Removes one version.
    pub fn forget(&self, slug: &Slug, version: &str) {
        if self.files(slug, version).is_some() {
            let _ = std::fs::remove_dir_all(self.of(slug).join(version));
            // Only when nothing else lies there.
            let _ = std::fs::remove_dir(self.of(slug));
        }
    }

    /// Removes everything of a tenant.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn remove(&self, slug: &Slug) -> Result<(), CertificateError> {
        let path = self.of(slug);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CertificateError::Io { what: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn names(all: &[&str]) -> Vec<Domain> {
        all.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Certificates::new(dir.path().join("certs"));
        let slug: Slug = "smith".parse().unwrap();
        let names = names(&["smith.localhost", "api.localhost"]);
        let (chain, key) = self_signed(&names, NOW).unwrap();
        let made = kept.keep(&slug, &chain, &key).unwrap();
        assert_eq!(made.facts.names, names);
        assert_eq!(made.facts.issuer, "Tenantry self-signed");
        assert!(made.facts.is_self_signed);
        assert_eq!(made.facts.not_after, Timestamp(NOW.0 + 397 * DAY_MS));
        assert_eq!(kept.keep(&slug, &chain, &key).unwrap(), made, "again is the same");
        let (chain_file, key_file) = kept.files(&slug, &made.version).unwrap();
        for file in [&chain_file, &key_file] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let top = std::fs::metadata(dir.path().join("certs/smith")).unwrap();
        assert_eq!(top.permissions().mode() & 0o777, 0o700);
        assert_eq!(kept.best(&slug, &names), Some(made.clone()));
        assert_eq!(kept.best(&slug, &self::names(&["other.localhost"])), None);
        assert_eq!(kept.files(&slug, "../smith"), None);
        kept.remove(&slug).unwrap();
        assert_eq!(kept.files(&slug, &made.version), None);
        assert!(kept.remove(&slug).is_ok(), "nothing is removed twice");
    }

    #[test]
    fn the_present_and_the_one_before_stay() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Certificates::new(dir.path().into());
        let slug: Slug = "smith".parse().unwrap();
        let names = names(&["smith.localhost"]);
        let made: Vec<Kept> = (0..4)
            .map(|day| {
                let (chain, key) = self_signed(&names, Timestamp(NOW.0 + day * DAY_MS)).unwrap();
                kept.keep(&slug, &chain, &key).unwrap()
            })
            .collect();
        kept.prune(&slug, &made[3].version);
        let left: Vec<bool> = made.iter().map(|one| kept.files(&slug, &one.version).is_some()).collect();
        assert_eq!(left, [false, false, true, true]);
    }

    #[test]
    fn names_that_nobody_outside_knows_are_local() {
        for (name, local) in [
            ("smith.localhost", true),
            ("printer.local", true),
            ("a.b.test", true),
            ("db.internal", true),
            ("10.0.0.1", true),
            ("kentucky.nominate.ai", false),
            ("local.example.com", false),
        ] {
            assert_eq!(is_local(&name.parse().unwrap()), local, "{name}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Certificates::new(dir.path().into());
        assert!(kept.keep(&"smith".parse().unwrap(), "nothing", "x").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
