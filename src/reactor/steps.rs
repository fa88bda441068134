//! The steps that prepare a release: its files, its database. Nothing that serves is touched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tenantry_journal::id::DeploymentId;

use super::deployment::{Done, Job, Worked};
use super::outside::{Outside, blocking};
use super::{env_file, home};
use crate::domain::policy::{Deploying, Placeholders, Policy, release_directory};
use crate::domain::tenant_config;
use crate::drivers::files::{Files, Partial, Size, Stamp};
use crate::drivers::git::{self, Repository, Source};
use crate::drivers::tool::{self, Tool, ToolError};
use crate::drivers::{database, files};
use crate::error::chain;

/// How long an init or migrate command may take: it may fill a database with a customer's whole history.
const INIT_TIMEOUT: Duration = Duration::from_secs(900);
/// The file in a release that says that its migrations were run.
const MIGRATED: &str = ".tenantry-migrated";
/// No more of what a tool printed stands in a step's detail; the log has it all.
const DETAIL_CHARS: usize = 1000;

pub(super) async fn copy_files(outside: &Outside, job: &Job) -> Worked {
    let _place = outside.heavy().await;
    let (files, release) = (outside.files(), job.deployment.release);
    let directory = job.directory.clone();
    for moved in home::own(outside, &job.tenant, &job.details).await? {
        job.log.line(&moved);
    }
    if let Some(stamp) = stamp(&files, &directory, release).await? {
        // Whoever made it may have been cut off before it was done with its claim.
        drop_claim(outside, job.deployment.id);
        return Ok(Done { detail: format!("release {release} is there already"), commit: stamp.commit });
    }
    if job.deployment.rollback {
        return Err(format!("the files of release {release} are gone"));
    }
    let address = job.deployment.source.open().ok_or("the source was erased")?;
    job.log.line(&format!("from {}", git::without_credentials(address)));
    let address = address.clone();
    // It looks at the file system.
    let source = blocking(move |_| Source::parse(&address)).await?.map_err(|error| chain(&error))?;
    let data_dir = outside.policy.load().data_dir.clone();
    let (size, commit) = match source {
        Source::Directory(path) if job.deployment.git_ref.is_some() => {
            return Err(format!("{} is no git repository, so git_ref names nothing in it", path.display()));
        }
        Source::Directory(path) => (copy(files, path, directory, release, data_dir).await?, None),
        Source::LocalGit(path) => {
            let checked = files.clone();
            let real = blocking(move |_| checked.check_source(&path, &data_dir)).await?;
            let real = real.map_err(|error| chain(&error))?;
            clone(outside, job, files, Repository::Local(&real)).await?
        }
        Source::RemoteGit(address) => clone(outside, job, files, Repository::Remote(&address)).await?,
    };
    let Size { bytes, entries } = size;
    let from = commit.as_ref().map_or_else(String::new, |commit| format!(" at commit {commit}"));
    Ok(Done { detail: format!("release {release}: {entries} files, {bytes} bytes{from}"), commit })
}

/// The stamp of a release that is whole.
pub(super) async fn stamp(files: &Files, directory: &Path, release: u32) -> Result<Option<Stamp>, String> {
    let (files, directory) = (files.clone(), directory.to_path_buf());
    blocking(move |_| files.stamp(&directory, release)).await?.map_err(|error| chain(&error))
}

async fn copy(
    files: Files,
    source: PathBuf,
    directory: PathBuf,
    release: u32,
    private: PathBuf,
) -> Result<Size, String> {
    let copied = blocking(move |cancel| {
        let partial = files.begin_release(&directory, release)?;
        let size = files.copy_into(&source, &partial, &private, cancel)?;
        files.finish_release(partial, &Stamp { release, source: "directory".into(), commit: None })?;
        Ok::<Size, files::FilesError>(size)
    });
    copied.await?.map_err(|error| chain(&error))
}

async fn clone(
    outside: &Outside,
    job: &Job,
    files: Files,
    repository: Repository<'_>,
) -> Result<(Size, Option<String>), String> {
    let release = job.deployment.release;
    let (begin, directory) = (files.clone(), job.directory.clone());
    let partial: Partial =
        blocking(move |_| begin.begin_release(&directory, release)).await?.map_err(|error| chain(&error))?;
    let claim = outside.claim(job.deployment.id);
    let into = partial.dir().anchored();
    let git_ref = match &job.deployment.git_ref {
        Some(sealed) => Some(sealed.open().ok_or("the git_ref was erased")?.as_str()),
        None => None,
    };
    let access = access(&outside.policy.load().deploying);
    let place = git::Clone {
        git_ref,
        access: &access,
        bytes: git::CLONE_BYTES,
        into: &into,
        claim: &claim,
        timeout: git::CLONE_TIMEOUT,
    };
    let cloned = git::clone(repository, place, |line| job.log.line(line)).await;
    drop_claim(outside, job.deployment.id);
    let commit = cloned.map_err(|error| chain(&error))?;
    let stamp = Stamp { release, source: "git".into(), commit: Some(commit.clone()) };
    let finished = blocking(move |cancel| {
        files.drop_entry(&partial, ".git")?;
        let size = files.check_release(&partial, cancel)?;
        files.finish_release(partial, &stamp)?;
        Ok::<Size, files::FilesError>(size)
    });
    let size = finished.await?.map_err(|error| chain(&error))?;
    Ok((size, Some(commit)))
}

fn access(deploying: &Deploying) -> git::Access {
    git::Access {
        ssh_key: deploying.git_ssh_key_file.clone(),
        known_hosts: deploying.git_known_hosts_file.clone(),
        credentials: deploying.git_credentials_file.clone(),
        authorities: deploying.git_ca_file.clone(),
    }
}

pub(super) async fn initialize_database(outside: &Outside, job: &Job) -> Worked {
    let _place = outside.heavy().await;
    let policy = outside.policy.load_full();
    let (files, directory, name) = (outside.files(), job.directory.clone(), policy.template.database.clone());
    let has_init = policy.template.init.is_some();
    let made = blocking(move |_| {
        let directory = files.ensure_directory(&directory).map_err(|error| chain(&error))?;
        if has_init {
            return database::ensure_parent(&directory, &name).map(|_| false).map_err(|error| chain(&error));
        }
        database::ensure_empty(&directory, &name).map_err(|error| chain(&error))
    });
    let made = made.await??;
    env_file::for_release(outside, job).await?;
    let (init, migrate) = (&policy.template.init, &policy.template.migrate);
    if init.is_some() || migrate.is_some() {
        back_up(outside, job, &policy).await?;
    }
    let mut done = match init {
        Some(init) => {
            run_command(outside, job, &policy, "init", init).await?;
            "the init command succeeded"
        }
        None if made => "made an empty database",
        None => "the database is there already",
    }
    .to_owned();
    if let Some(migrate) = migrate {
        done.push_str(", ");
        done.push_str(run_migrations(outside, job, &policy, migrate).await?);
    }
    Ok(Done::without_commit(done))
}

/// Copies the database as it was before the release touches it.
async fn back_up(outside: &Outside, job: &Job, policy: &Policy) -> Result<(), String> {
    let (files, directory, name) = (outside.files(), job.directory.clone(), policy.template.database.clone());
    let (release, keep) = (job.deployment.release, policy.deploying.keep_backups);
    if keep == 0 {
        return Ok(());
    }
    let copied = blocking(move |cancel| {
        let directory = files.ensure_directory(&directory).map_err(|error| chain(&error))?;
        let is_called_off = || cancel.is_cancelled();
        database::back_up(&directory, &name, release, keep, is_called_off).map_err(|error| chain(&error))
    });
    if let Some(copy) = copied.await?? {
        job.log.line(&format!("the database before it: {}", copy.display()));
    }
    Ok(())
}

/// Runs the migrations of a release, unless they were run to their end before.
async fn run_migrations(
    outside: &Outside,
    job: &Job,
    policy: &Policy,
    migrate: &[String],
) -> Result<&'static str, String> {
    let (files, directory, release) = (outside.files(), job.directory.clone(), job.deployment.release);
    let noted = blocking(move |_| files.is_noted(&directory, release, MIGRATED)).await?;
    if noted.map_err(|error| chain(&error))? {
        return Ok("its migrations were run before");
    }
    run_command(outside, job, policy, "migrate", migrate).await?;
    let (files, directory) = (outside.files(), job.directory.clone());
    let noted = blocking(move |_| files.note(&directory, release, MIGRATED)).await?;
    noted.map_err(|error| chain(&error))?;
    Ok("its migrations were run")
}

/// Runs a command of the template to its end.
async fn run_command(
    outside: &Outside,
    job: &Job,
    policy: &Policy,
    name: &str,
    words: &[String],
) -> Result<(), String> {
    let words = fill(job, policy, words);
    let Some((program, args)) = words.split_first() else {
        return Err(format!("the template's {name} command is empty"));
    };
    let env: Vec<(String, String)> = tenant_config::variables(policy, &job.tenant, &job.details)
        .into_iter()
        .map(|(name, value)| (name, value.reveal().to_owned()))
        .collect();
    let claim = outside.claim(job.deployment.id);
    let tool = Tool {
        program,
        args,
        workdir: &job.directory,
        home: &job.directory,
        env: &env,
        timeout: INIT_TIMEOUT,
        claim: Some(&claim),
    };
    let ended = tool::run(&tool, |line| job.log.line(line)).await;
    drop_claim(outside, job.deployment.id);
    match ended {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(with_tail(
            &format!("the {name} command ended with {}", tool::describe(ended.status)),
            &ended.tail,
        )),
        Err(error @ ToolError::TimedOut { .. }) => {
            let sentence = error.to_string();
            let ToolError::TimedOut { tail, .. } = error else { return Err(sentence) };
            Err(with_tail(&sentence, &tail))
        }
        Err(error) => Err(chain(&error)),
    }
}

fn fill(job: &Job, policy: &Policy, words: &[String]) -> Vec<String> {
    let data_dir = policy.data_dir.display().to_string();
    let slug = job.details.slug.as_str();
    let placeholders = Placeholders {
        name: slug,
        id: slug,
        data_dir: &data_dir,
        port: job.tenant.ports.map_or_else(String::new, |ports| ports.backend.to_string()),
        socket: String::new(),
        directory: &job.details.directory,
        release: release_directory(&job.details.directory, job.deployment.release).display().to_string(),
    };
    words.iter().map(|word| placeholders.fill(word)).collect()
}

/// A sentence and the last lines that were printed, as far as they fit.
pub(super) fn with_tail(sentence: &str, tail: &[String]) -> String {
    let lines = tail.join("\n");
    let skip = lines.chars().count().saturating_sub(DETAIL_CHARS);
    let lines: String = lines.chars().skip(skip).collect();
    if lines.is_empty() { sentence.to_owned() } else { format!("{sentence}: {lines}") }
}

/// The claim's file is of no more use.
pub(super) fn drop_claim(outside: &Outside, id: DeploymentId) {
    tool::drop_claim(&outside.claim(id));
}
