//! The beginning of a run: what is made for it, and its process. What cannot be done is said
//! in words, and then there is no process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tenantry_journal::event::instance::Isolation;

use super::Run;
use crate::keeper::account::{self, Account};
use crate::keeper::cgroup::Group;
use crate::keeper::child::{self, Launch};
use crate::keeper::files::{self, RunFile};
use crate::keeper::isolate::Space;
use crate::keeper::launch::{self, Plan};
use crate::keeper::place::{self, own};
use crate::keeper::process::{MARK, Stat};
use crate::keeper::protocol::SpawnRequest;
use crate::keeper::server::Server;

/// A run that has begun.
pub(in crate::keeper) struct Started {
    pub(in crate::keeper) run: Run,
    /// A handle on its process.
    pub(in crate::keeper) leader: OwnedFd,
    /// The reading ends of its pipes.
    pub(in crate::keeper) pipes: [OwnedFd; 2],
    /// Where a helper says why there will be no program after all.
    pub(in crate::keeper) complaints: Option<OwnedFd>,
}

/// Starts a process. When it fails there is no process and nothing left of the run, and the
/// text says why.
pub(in crate::keeper) fn start(server: &Server, request: &SpawnRequest) -> Result<Started, String> {
    let limits = &request.limits;
    let account = account::resolve(limits)?;
    let (group, words) = if limits.prepares() {
        server.cgroups.make(request.run_id, limits)
    } else {
        (Group::default(), Vec::new())
    };
    for words in words {
        tracing::warn!(run.id = %request.run_id, "{words}");
    }
    let file = RunFile {
        run_id: request.run_id,
        instance_id: request.instance_id,
        boot_id: server.boot_id.clone(),
        process: None,
        sealed: request.key.is_some(),
        stop_timeout_ms: request.stop_timeout_ms,
        retain: request.retain,
        exit: None,
        groups: group.0.clone(),
        is_apart: limits.isolation == Isolation::Namespace,
    };
    let started = launch(server, request, account, file);
    if started.is_err() {
        server.files.remove(request.run_id);
        let _ = group.remove();
    }
    started
}

fn launch(
    server: &Server,
    request: &SpawnRequest,
    account: Option<Account>,
    mut file: RunFile,
) -> Result<Started, String> {
    fn at<'a>(path: &'a Path, what: &'a str) -> impl FnOnce(io::Error) -> String + 'a {
        move |error| format!("{what} {}: {error}", path.display())
    }
    let (run, files) = (request.run_id, &server.files);
    let kept = |error: io::Error| format!("the keeper cannot make a place for the run: {error}");
    let workdir = &request.workdir;
    let program = place::prepare(request, account.as_ref())?;

    files.create(&file).map_err(kept)?;
    // The reading ends first: opening the others then does not wait for one.
    let pipes = [files.reading_end(run, "out").map_err(kept)?, files.reading_end(run, "err").map_err(kept)?];
    let stdin = files::nothing().map_err(kept)?;
    let stdout = files.writing_end(run, "out").map_err(kept)?;
    let stderr = files.writing_end(run, "err").map_err(kept)?;
    if let Some(account) = &account {
        // So that it can open /dev/stdout by its name.
        own(&stdout, account).and_then(|()| own(&stderr, account)).map_err(kept)?;
    }

    let mark = format!("{MARK}={run}");
    let words = std::iter::once(&request.command).chain(&request.args).cloned().collect();
    let env = request.env.iter().filter(|(name, _)| *name != MARK);
    let env = env.map(|(name, value)| format!("{name}={value}")).chain([mark.clone()]).collect();
    let limit = server.limit;
    let most = request.limits.max_open_files;
    let plan = Plan {
        args: words,
        env,
        workdir: workdir.clone(),
        socket: request.socket.clone(),
        groups: file.groups.clone(),
        open_files: (most.or(limit.current), most.or(limit.maximum)),
        account,
        space: file.is_apart.then(|| space(server, request, &program)),
        program,
    };
    let handover = if request.limits.prepares() { Some(plan.hand_over().map_err(kept)?) } else { None };
    let text = |text: &[u8]| CString::new(text).map_err(|_| "a text holds a zero byte".to_owned());
    let texts = |all: &[String]| all.iter().map(|one| text(one.as_bytes())).collect::<Result<Vec<_>, _>>();
    let more = handover.as_ref().map(launch::Handover::given);
    let (path, args, env) = match &handover {
        None => (text(plan.program.as_os_str().as_bytes())?, texts(&plan.args)?, texts(&plan.env)?),
        // Ourselves, also when the file was replaced since.
        Some(_) => (
            c"/proc/self/exe".to_owned(),
            vec![c"tenantry".to_owned(), text(launch::COMMAND.as_bytes())?],
            texts(&[mark])?,
        ),
    };
    let pid = child::spawn(&Launch {
        program: &path,
        args: &args,
        env: &env,
        workdir: &text(workdir.as_os_str().as_bytes())?,
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        more: more.as_ref().map_or(&[], |more| more.as_slice()),
    })
    .map_err(at(&plan.program, "command"))?;

    // Our own higher limit is not for the child. It has only begun to load its libraries.
    if handover.is_none() {
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, limit);
    }
    let complaints = handover.map(|handover| handover.complaints);
    let raw = pid.as_raw_nonzero().get().cast_unsigned();
    let start_ticks = Stat::of(raw).map_or(0, |stat| stat.start_ticks);
    file.process = Some((raw, start_ticks));
    if let Err(error) = files.save(&file) {
        // The next keeper would find it by its mark.
        tracing::error!(%error, run.id = %run, "the process of a run cannot be saved");
    }
    // It is our child and not reaped: the pid is certainly its own.
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK) {
        Ok(leader) => Ok(Started { run: Run::new(file, true, true), leader, pipes, complaints }),
        Err(error) => {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            Err(format!("the process cannot be watched: {error}"))
        }
    }
}

/// What a run in namespaces of its own sees of the directories that it shares with others: where
/// it works, where its socket is, and what its command line names.
fn space(server: &Server, request: &SpawnRequest, program: &Path) -> Space {
    let real = |path: &Path| request.workdir.join(path).canonicalize().ok();
    let hidden = std::iter::once(server.files.data()).chain(request.hidden.iter().map(PathBuf::as_path));
    let mut hidden: Vec<PathBuf> = hidden.filter_map(real).filter(|dir| dir.is_dir()).collect();
    hidden.sort();
    hidden.dedup_by(|below, above| below.starts_with(above));
    let own = [Some(request.workdir.as_path()), request.socket.as_deref().and_then(Path::parent)];
    let named = request.args.iter().map(Path::new).filter(|path| path.is_absolute());
    let named = named.chain([program]).filter_map(real);
    // A directory that is hidden whole is nobody's own, whoever names it.
    let named = named.filter(|path| hidden.iter().any(|dir| path.starts_with(dir) && path != dir));
    let mut kept: Vec<PathBuf> = own.into_iter().flatten().filter_map(real).chain(named).collect();
    kept.sort();
    kept.dedup_by(|below, above| below.starts_with(above));
    Space { hostname: request.hostname.clone(), hidden, kept }
}
