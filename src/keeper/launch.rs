//! The helper between the keeper and a program that shall not start as it is: `tenantry __run`.
//!
//! The keeper starts it in the program's place, with a plan in descriptor 3 and a pipe in
//! descriptor 4. It joins the run's control groups, enters namespaces, sets limits, changes the
//! user, and becomes the program: the program has never run outside of them. When something
//! cannot be done, it says so in the pipe and ends; the pipe closing without a word is success.
//! Its own environment holds the run's mark alone, so nothing that a program is given can lead
//! a process that is still root.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::fs::{Access, MemfdFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{
    CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::account::Account;
use super::cgroup::Group;
use super::child::raw;
use super::isolate;

/// The subcommand's name.
pub const COMMAND: &str = "__run";
/// How the helper ends when there is no program: as a shell that finds none.
const NO_PROGRAM: u8 = 127;
/// How long the helper may take: some milliseconds, and a disk or a network file system in
/// trouble is the only reason for more.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Descriptors to be passed on are moved here first, out of the way of those that they become.
const OUT_OF_THE_WAY: i32 = 10;

/// What root keeps in a namespace of its own: what an ordinary service needs. Without the rest it
/// cannot undo mounts, trace, load modules or touch the clock.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT);

/// What is to be done before the program runs, and the program.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// `NAME=value`
    pub(super) env: Vec<String>,
    pub(super) workdir: PathBuf,
    pub(super) socket: Option<PathBuf>,
    pub(super) groups: Vec<PathBuf>,
    /// The limit of open files: at first, and at most; `None` is without one.
    pub(super) open_files: (Option<u64>, Option<u64>),
    pub(super) account: Option<Account>,
    pub(super) space: Option<isolate::Space>,
}

/// The keeper's end: the plan as a descriptor, and the pipe in which the helper complains.
pub(super) struct Handover {
    plan: OwnedFd,
    complaint: OwnedFd,
    pub(super) complaints: OwnedFd,
}

impl Handover {
    /// What the helper gets, in the order in which it expects it.
    pub(super) fn given(&self) -> [BorrowedFd<'_>; 2] {
        [self.plan.as_fd(), self.complaint.as_fd()]
    }
}

impl Plan {
    pub(super) fn hand_over(&self) -> io::Result<Handover> {
        let memory = rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(&rmp_serde::to_vec_named(self).map_err(io::Error::other)?)?;
        file.rewind()?;
        let (complaints, complaint) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let aside = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&fd, OUT_OF_THE_WAY);
        Ok(Handover { plan: aside(file.into())?, complaint: aside(complaint)?, complaints })
    }
}

/// Waits until the program runs; the text says why it never will.
pub(super) async fn complaint(complaints: OwnedFd) -> Option<String> {
    let mut words = Vec::new();
    let read = async {
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(complaints)?;
        pipe.read_to_end(&mut words).await
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(_)) if words.is_empty() => None,
        Ok(Ok(_)) => Some(String::from_utf8_lossy(&words).into_owned()),
        Ok(Err(error)) => Some(format!("it is not known whether it started: {error}")),
        Err(_) => Some("it is not known whether it started: its preparation takes too long".to_owned()),
    }
}

/// Is the helper. Returns only when there is no program.
#[must_use]
pub fn run() -> ExitCode {
    let (Some(plan), Some(report)) = (raw::inherited(3), raw::inherited(4)) else {
        eprintln!("tenantry {COMMAND} is started by the keeper alone");
        return ExitCode::from(2);
    };
    let report = File::from(report);
    let (words, report) = match read(plan) {
        Ok(plan) => begin(plan, report),
        Err(words) => (words, report),
    };
    complain(&report, &words)
}

/// Says whether namespaces are possible here, by trying.
#[must_use]
pub fn check() -> ExitCode {
    match isolate::try_it() {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

/// Says why there will be no program.
pub(super) fn complain(mut report: &File, words: &str) -> ExitCode {
    // Nobody reads any more when the keeper died meanwhile.
    let _ = report.write_all(words.as_bytes());
    ExitCode::from(NO_PROGRAM)
}

fn read(plan: OwnedFd) -> Result<Plan, String> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    File::from(plan).read_to_end(&mut bytes).map_err(|error| format!("the plan cannot be read: {error}"))?;
    rmp_serde::from_slice(&bytes).map_err(|error| format!("the plan cannot be understood: {error}"))
}

/// Returns only when there is no program, with the reason.
fn begin(mut plan: Plan, report: File) -> (String, File) {
    if let Err(error) = Group(std::mem::take(&mut plan.groups)).join() {
        return (format!("its control group cannot be joined: {error}"), report);
    }
    match plan.space.take() {
        None => (become_program(&plan), report),
        Some(space) => isolate::enter(&space, plan, report),
    }
}

/// Changes into the user, and becomes the program. Returns why not.
pub(super) fn become_program(plan: &Plan) -> String {
    match prepare(plan) {
        Ok((program, args, env)) => {
            let error = raw::exec(&program, &args, &env);
            format!("command {}: {error}", plan.program.display())
        }
        Err(words) => words,
    }
}

type Words = (CString, Vec<CString>, Vec<CString>);

fn prepare(plan: &Plan) -> Result<Words, String> {
    let text = |text: &[u8]| CString::new(text).map_err(|_| "a text holds a zero byte".to_owned());
    let texts = |all: &[String]| all.iter().map(|one| text(one.as_bytes())).collect::<Result<Vec<_>, _>>();
    let words = (text(plan.program.as_os_str().as_bytes())?, texts(&plan.args)?, texts(&plan.env)?);
    let (current, maximum) = plan.open_files;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum })
        .map_err(|error| format!("max_open_files cannot be set: {error}"))?;
    if let Some(account) = &plan.account {
        change_user(account)?;
        check_reach(plan, account)?;
    }
    std::env::set_current_dir(&plan.workdir)
        .map_err(|error| format!("working directory {}: {error}", plan.workdir.display()))?;
    Ok(words)
}

fn change_user(account: &Account) -> Result<(), String> {
    let Account { name, uid, gid, groups } = account;
    let failed = |error| format!("cannot become user '{name}': {error}");
    let (user, group) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    if rustix::process::geteuid().is_root() {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).map_err(failed)?;
        set_thread_res_gid(group, group, group).map_err(failed)?;
        set_thread_res_uid(user, user, user).map_err(failed)?;
    }
    let is_so = rustix::process::geteuid() == user && rustix::process::getuid() == user;
    if is_so { Ok(()) } else { Err(format!("cannot become user '{name}'")) }
}

/// Says what would else come as a riddle from the program.
fn check_reach(plan: &Plan, account: &Account) -> Result<(), String> {
    let Account { name, .. } = account;
    rustix::fs::access(&plan.workdir, Access::EXEC_OK).map_err(|error| {
        let workdir = plan.workdir.display();
        format!(
            "user '{name}' cannot enter the working directory {workdir}: {error}; set 'workdir' to a place \
             that this user reaches, or isolation = \"namespace\""
        )
    })?;
    let Some(dir) = plan.socket.as_ref().and_then(|socket| socket.parent()) else { return Ok(()) };
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let dir = dir.display();
        format!(
            "user '{name}' cannot make its socket in {dir}: {error}; give the socket a directory of its \
             own, such as {{data_dir}}/run/{{name}}-{{id}}/app.sock"
        )
    })
}

/// Takes from this process and all that it starts what could undo a namespace.
pub(super) fn give_up_powers() -> Result<(), String> {
    set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Past the last one that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(format!("capabilities cannot be given up: {error}")),
        }
    }
    Ok(())
}
