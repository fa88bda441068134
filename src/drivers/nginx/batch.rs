//! Several wishes carried out together: one test, one reload, a proof for each site.
//!
//! Each wish is answered for itself. One that nginx refuses, or that does not come alive, is
//! left out or put back; the others stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{Before, Change, Directories, Found, write};
use super::layout::Layout;
use super::live;
use super::site::{Owner, Rendered, digest_of};
use super::syntax::matches;
use super::{Ensured, Nginx, NginxError, Outcome, Tested, Wanted};

use crate::error::chain;

/// The name of the file that all sites use; no domain has it, for it has no dot.
const SHARED: &str = "tenantry-shared";

/// A site that is to answer: its name and digest.
type Proof = (String, String);

/// A wish with what it means for the files.
struct Part {
    place: usize,
    changes: Vec<Change>,
    proofs: Vec<Proof>,
    /// Names with the digests that shall not answer any more.
    ended: Vec<Proof>,
}

/// What is known of the surroundings while a batch is carried out.
struct Batch<'a> {
    nginx: &'a Nginx,
    layout: Layout,
    sites: Directories,
    pattern: String,
    shared: Vec<Change>,
    /// What every proof ends with.
    generation: String,
}

/// Does work on files; thousands of them must not hold up whatever else this thread serves.
fn on_files<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
    }
}

fn failed(error: NginxError) -> Outcome {
    Err(Arc::new(error))
}

/// Carries out wishes; answers in their order.
pub(super) async fn carry_out(nginx: &Nginx, wanted: Vec<Wanted>) -> Vec<Outcome> {
    let count = wanted.len();
    match begin(nginx, &wanted).await {
        Ok(batch) => batch.run(wanted).await,
        Err(error) => {
            // Files of ours are removed also where there is no nginx to be asked.
            let error = Arc::new(error);
            let sites = nginx.directories();
            let mut outcomes = Vec::with_capacity(count);
            for wish in wanted {
                outcomes.push(if wish.sites.is_empty() {
                    remove_all(&sites, &wish).map_err(Arc::new)
                } else {
                    Err(Arc::clone(&error))
                });
            }
            outcomes
        }
    }
}

fn remove_all(sites: &Directories, wish: &Wanted) -> Result<Ensured, NginxError> {
    let changes = removals(&sites.ours(), wish, &[]);
    for change in &changes {
        sites.commit(change)?;
    }
    if !changes.is_empty() {
        sites.sync()?;
    }
    Ok(Ensured { changed: changes.len() })
}

async fn begin<'a>(nginx: &'a Nginx, wanted: &[Wanted]) -> Result<Batch<'a>, NginxError> {
    let sites = nginx.directories();
    let layout = nginx.layout().await?;
    sites.prepare()?;
    clear(&layout);
    let pattern = layout.pattern(&sites.enabled)?;
    let (shared, generation) = (Vec::new(), String::new());
    let mut batch = Batch { nginx, layout, sites, pattern, shared, generation };
    if wanted.iter().any(|wish| !wish.sites.is_empty()) {
        batch.share(&batch.sites.ours())?;
    }
    Ok(batch)
}

/// Files of the tenant that are not wanted any more.
fn removals(ours: &BTreeMap<String, Found>, wish: &Wanted, kept: &[Change]) -> Vec<Change> {
    let gone = ours.iter().filter(|(name, found)| {
        matches!(found.owner, Owner::Tenant(tenant, _) if tenant == wish.tenant)
            && !kept.iter().any(|change| change.name == **name)
    });
    gone.map(|(name, _)| Change { name: name.clone(), text: None }).collect()
}

impl Batch<'_> {
    /// A file name for a site, such that the configuration includes it.
    fn file_name(&self, name: &str) -> Result<String, NginxError> {
        if matches(&self.pattern, name) {
            return Ok(name.to_owned());
        }
        let suffix = self.pattern.rsplit_once('*').map_or("", |(_, suffix)| suffix);
        let longer = format!("{name}{suffix}");
        if matches(&self.pattern, &longer) {
            return Ok(longer);
        }
        Err(NginxError::NotIncluded {
            enabled: self.sites.enabled.join(&self.pattern),
            conf: self.layout.conf.clone(),
        })
    }

    /// Takes up the change of the shared file, when it is not what it is to be.
    fn share(&mut self, ours: &BTreeMap<String, Found>) -> Result<(), NginxError> {
        let mut shared = self.nginx.shared().ok_or(NginxError::NotReady)?;
        let name = self.file_name(SHARED)?;
        let found = ours.get(&name);
        shared.long_names |= found.is_some_and(|found| found.text.contains("server_names_hash_bucket_size"));
        let Rendered { text, digest } = shared.render()?;
        self.generation = digest;
        self.shared.clear();
        if found.is_some_and(|found| found.text == text) && self.sites.is_linked(&name) {
            return Ok(());
        }
        self.sites.check_ours(&name)?;
        self.shared.push(Change { name, text: Some(text) });
        Ok(())
    }

    /// What a wish means for the files.
    fn part(&self, place: usize, wish: &Wanted, ours: &BTreeMap<String, Found>) -> Result<Part, NginxError> {
        let ports = self.nginx.settings().ports;
        let mut all = Vec::new();
        let mut proofs = Vec::new();
        for site in &wish.sites {
            let Rendered { text, digest } = site.render(ports)?;
            let name = self.file_name(site.domain.as_str())?;
            self.sites.check_ours(&name)?;
            proofs.push((site.domain.to_string(), digest));
            all.push(Change { name, text: Some(text) });
        }
        let gone = removals(ours, wish, &all);
        let ended = gone
            .iter()
            .filter_map(|change| {
                let digest = digest_of(&ours.get(&change.name)?.text)?.to_owned();
                Some((server_name(&ours.get(&change.name)?.text)?, digest))
            })
            .collect();
        let is_new = |change: &Change| {
            ours.get(&change.name).map(|found| &found.text) != change.text.as_ref()
                || !self.sites.is_linked(&change.name)
        };
        let changes = all.into_iter().filter(is_new).chain(gone).collect();
        Ok(Part { place, changes, proofs, ended })
    }

    async fn run(mut self, wanted: Vec<Wanted>) -> Vec<Outcome> {
        let ours = on_files(|| self.sites.ours());
        let mut outcomes: Vec<Option<Outcome>> = wanted.iter().map(|_| None).collect();
        let mut parts = Vec::new();
        for (place, wish) in wanted.iter().enumerate() {
            // Of two wishes for one tenant the later one holds, for both.
            let is_last = !wanted.iter().skip(place + 1).any(|later| later.tenant == wish.tenant);
            match self.part(place, wish, &ours) {
                Ok(part) if is_last => parts.push(part),
                Ok(_) => {}
                Err(error) => set(&mut outcomes, place, failed(error)),
            }
        }
        let parts = self.due(parts, &mut outcomes).await;
        if !parts.is_empty() {
            self.change(parts, &mut outcomes).await;
        }
        for place in (0..outcomes.len()).rev() {
            if outcomes.get(place).is_some_and(Option::is_some) {
                continue;
            }
            let tenant = wanted.get(place).map(|wish| wish.tenant);
            let later = (place + 1..outcomes.len())
                .find(|later| wanted.get(*later).map(|wish| wish.tenant) == tenant)
                .and_then(|later| outcomes.get(later).cloned().flatten());
            set(&mut outcomes, place, later.unwrap_or_else(|| failed(NginxError::NotReloaded)));
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Answers the wishes that are fulfilled already, and gives the others.
    async fn due(&self, parts: Vec<Part>, outcomes: &mut [Option<Outcome>]) -> Vec<Part> {
        let mut due = Vec::new();
        for part in parts {
            if part.changes.is_empty() && self.shared.is_empty() && self.is_live(&part).await {
                set(outcomes, part.place, Ok(Ensured { changed: 0 }));
            } else {
                due.push(part);
            }
        }
        due
    }

    /// What a site answers when both it and what is shared are taken on.
    fn proof(&self, digest: &str) -> String {
        format!("{digest}.{}", self.generation)
    }

    async fn is_live(&self, part: &Part) -> bool {
        let address = self.nginx.settings().ports.http.local();
        for (domain, digest) in &part.proofs {
            if live::ask(address, domain).await.as_ref() != Ok(&self.proof(digest)) {
                return false;
            }
        }
        true
    }

    /// Tests, puts in place, reloads, proves.
    async fn change(&mut self, parts: Vec<Part>, outcomes: &mut [Option<Outcome>]) {
        let parts = match self.accepted(parts, outcomes).await {
            Ok(parts) => parts,
            Err((parts, error)) => {
                let error = Arc::new(error);
                for part in parts {
                    let outcome = self.without_nginx(&part, &error);
                    set(outcomes, part.place, outcome);
                }
                return self.sites.drop_aside(&self.shared);
            }
        };
        if parts.is_empty() {
            return self.sites.drop_aside(&self.shared);
        }
        let master = match self.nginx.master(&self.layout) {
            Ok(master) => master,
            Err(error) => {
                let error = Arc::new(error);
                for part in parts {
                    let outcome = self.without_nginx(&part, &error);
                    self.sites.drop_aside(&part.changes);
                    set(outcomes, part.place, outcome);
                }
                return self.sites.drop_aside(&self.shared);
            }
        };
        let (mut done, mut before): (Vec<(Part, Vec<Before>)>, Vec<Before>) = (Vec::new(), Vec::new());
        let all: Vec<&Change> =
            self.shared.iter().chain(parts.iter().flat_map(|part| &part.changes)).collect();
        let settled = on_files(|| self.sites.settle(&all));
        match settled.and_then(|()| self.put_in_place(&self.shared)) {
            Ok(put) => before.extend(put),
            Err(error) => {
                let error = Arc::new(error);
                for part in parts {
                    self.sites.drop_aside(&part.changes);
                    set(outcomes, part.place, Err(Arc::clone(&error)));
                }
                return;
            }
        }
        for part in parts {
            match on_files(|| self.put_in_place(&part.changes)) {
                Ok(put) => done.push((part, put)),
                Err(error) => set(outcomes, part.place, failed(error)),
            }
        }
        let told = self.sites.sync().and_then(|()| self.nginx.signal(&master));
        if let Err(error) = told {
            let error = Arc::new(error);
            for (part, put) in done {
                self.put_back(&put);
                set(outcomes, part.place, Err(Arc::clone(&error)));
            }
            return self.put_back(&before);
        }
        let total = done.len();
        let mut dead = Vec::new();
        for (part, put) in done {
            match self.prove(&part).await {
                Ok(()) => {
                    set(outcomes, part.place, Ok(Ensured { changed: part.changes.len() }));
                }
                Err(error) => dead.push((part, put, error)),
            }
        }
        if dead.is_empty() {
            // Who is still served by a worker of before is told the old sites; not for long.
            master.replaced().await;
            return;
        }
        let none_lives = dead.len() == total;
        for (part, put, error) in dead {
            self.put_back(&put);
            set(outcomes, part.place, failed(error));
        }
        if none_lives {
            self.put_back(&before);
        }
        let again = self.sites.sync().and_then(|()| self.nginx.signal(&master));
        if let Err(error) = again {
            tracing::error!(error = chain(&error), "nginx was not told that a site was put back");
        }
    }

    /// A wish that only removes is fulfilled also when nginx cannot take it on: it never makes
    /// a configuration worse. Any other is not.
    fn without_nginx(&self, part: &Part, error: &Arc<NginxError>) -> Outcome {
        if !part.proofs.is_empty() {
            return Err(Arc::clone(error));
        }
        tracing::warn!(error = chain(&**error), "sites are removed, and nginx has not taken note of it");
        self.put_in_place(&part.changes).and_then(|_| self.sites.sync()).map_err(Arc::new)?;
        Ok(Ensured { changed: part.changes.len() })
    }

    /// Writes aside and tests with the whole configuration. Gives the wishes that nginx takes;
    /// when it takes none because of others' sites, says so.
    async fn accepted(
        &mut self,
        parts: Vec<Part>,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Vec<Part>, (Vec<Part>, NginxError)> {
        for part in &parts {
            if let Err(error) = on_files(|| self.aside(&part.changes)) {
                self.drop_all(&parts);
                return Err((parts, error));
            }
        }
        let mut tested = match self.try_with(&parts).await {
            Ok(tested) => tested,
            Err(error) => {
                self.drop_all(&parts);
                return Err((parts, error));
            }
        };
        if !tested.valid && tested.output.contains("server_names_hash_bucket_size") && self.widen() {
            tested = match self.try_with(&parts).await {
                Ok(tested) => tested,
                Err(error) => {
                    self.drop_all(&parts);
                    return Err((parts, error));
                }
            };
        }
        if tested.valid {
            return Ok(parts);
        }
        match self.nginx.test().await {
            Ok(before) if before.valid => {}
            Ok(before) => {
                self.drop_all(&parts);
                return Err((parts, NginxError::Broken { output: before.output }));
            }
            Err(error) => {
                self.drop_all(&parts);
                return Err((parts, error));
            }
        }
        let mut good: Vec<Part> = Vec::new();
        for part in parts {
            good.push(part);
            let tested = self.try_with(&good).await;
            if tested.as_ref().is_ok_and(|tested| tested.valid) {
                continue;
            }
            if let Some(part) = good.pop() {
                self.sites.drop_aside(&part.changes);
                let error =
                    tested.map_or_else(|error| error, |tested| NginxError::Refused { output: tested.output });
                set(outcomes, part.place, failed(error));
            }
        }
        Ok(good)
    }

    /// Makes room for long names in the shared file; says whether there was none before.
    fn widen(&mut self) -> bool {
        let Some(shared) = self.nginx.shared().filter(|shared| !shared.long_names) else { return false };
        self.nginx.share(super::Shared { long_names: true, ..shared });
        self.share(&self.sites.ours()).is_ok()
    }

    fn aside(&self, changes: &[Change]) -> Result<(), NginxError> {
        for change in changes {
            if let Some(text) = &change.text {
                self.sites.write_aside(&change.name, text)?;
            }
        }
        Ok(())
    }

    fn drop_all(&self, parts: &[Part]) {
        for part in parts {
            self.sites.drop_aside(&part.changes);
        }
    }

    /// Has nginx test its configuration as it would be with these changes.
    async fn try_with(&self, parts: &[Part]) -> Result<Tested, NginxError> {
        self.aside(&self.shared)?;
        let mut changes = self.shared.clone();
        changes.extend(parts.iter().flat_map(|part| part.changes.iter().cloned()));
        let files = on_files(|| self.sites.enabled_with(&self.pattern, &changes));
        let text = self.layout.with_sites(&self.sites.enabled, &files)?;
        // Beside the main file, since relative paths in it are relative to its directory.
        let dir = self.layout.conf.parent().unwrap_or(Path::new("/"));
        let aside = Scratch(dir.join(format!("{TRIED}{}.conf", std::process::id())));
        write(&aside.0, &text).map_err(|source| NginxError::io("write", &aside.0, source))?;
        let command = with_conf(&self.nginx.settings().command, &aside.0);
        let tested = self.nginx.run_test(&command).await?;
        let shown = tested
            .output
            .replace(&aside.0.display().to_string(), &self.layout.conf.display().to_string())
            .replace("/.tenantry-new-", "/");
        Ok(Tested { output: shown, ..tested })
    }

    fn put_in_place(&self, changes: &[Change]) -> Result<Vec<Before>, NginxError> {
        let mut before = Vec::new();
        for change in changes {
            match self.sites.commit(change) {
                Ok(was) => before.push(was),
                Err(error) => {
                    self.sites.drop_aside(changes);
                    self.put_back(&before);
                    return Err(error);
                }
            }
        }
        Ok(before)
    }

    fn put_back(&self, before: &[Before]) {
        for before in before.iter().rev() {
            if let Err(error) = self.sites.put_back(before) {
                tracing::error!(error = chain(&error), "a site could not be put back");
            }
        }
    }

    /// Proves by requests that a wish is fulfilled.
    async fn prove(&self, part: &Part) -> Result<(), NginxError> {
        let address = self.nginx.settings().ports.http.local();
        for (domain, digest) in &part.proofs {
            let live = live::answers(address, domain, |answer| answer == Ok(&self.proof(digest))).await;
            live.map_err(|why| NginxError::NotLive { domain: domain.clone(), why })?;
        }
        for (domain, digest) in &part.ended {
            let is_gone =
                |answer: Result<&String, &String>| !answer.is_ok_and(|said| said.starts_with(digest));
            let gone = live::answers(address, domain, is_gone).await;
            if let Err(why) = gone {
                tracing::warn!(why, "a removed site still answers");
            }
        }
        Ok(())
    }
}

fn set(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

/// The name that a site of ours answers to.
fn server_name(text: &str) -> Option<String> {
    let all = super::syntax::directives(text);
    let name = all.iter().find(|one| one.name() == "server_name")?;
    name.first_argument().map(str::to_owned)
}

/// The command with another main file.
fn with_conf(command: &[String], conf: &Path) -> Vec<String> {
    let mut out = Vec::with_capacity(command.len() + 2);
    let mut words = command.iter();
    while let Some(word) = words.next() {
        if word == "-c" {
            words.next();
        } else if !(word.starts_with("-c") && word.len() > 2) {
            out.push(word.clone());
        }
    }
    out.push("-c".to_owned());
    out.push(conf.display().to_string());
    out
}

/// What the copy of the main file begins with that is tested.
const TRIED: &str = ".tenantry-test-";

/// Removes copies that a crash left behind.
fn clear(layout: &Layout) {
    let dir = layout.conf.parent().unwrap_or(Path::new("/"));
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(TRIED)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A file that is gone when this is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
