//! A unit: one run of a process, rendered from typed parts.
//!
//! Each run has a unit of its own, named after it, so that two runs can stand beside each other
//! during a switch and a file is never changed once systemd has read it. All runs of an
//! instance share a slice, which also names them in the journal. Values of variables lie in a file of
//! their own that only root can read: unit files are public.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tenantry_journal::id::{InstanceId, RunId};

use super::{SystemdError, quote};

/// How every unit's name begins.
pub(super) const PREFIX: &str = "tenantry-";
/// How every unit's name ends.
pub(super) const SUFFIX: &str = ".service";
/// The section that tells ours from others; systemd passes over it.
pub(super) const MARK: &str = "[X-Tenantry]";

/// How long systemd waits before it starts again what ended: long enough for the control plane,
/// which decides about restarts, to see the end first. It counts only while that is away.
const RESTART_AFTER_S: u64 = 5;
/// How long the program may take to be executed.
const START_S: u64 = 30;

/// What systemd does with a process that ends while the control plane is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Starts it again.
    Always,
    /// Starts it again unless it ended well.
    OnFailure,
    /// Leaves it.
    No,
}

/// How much of people's home directories a process sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Homes {
    /// None of them.
    Hidden,
    /// All of them, for reading: its program lies there.
    ReadOnly,
}

/// One run of a process.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its unit's name, by [`name`].
    pub name: String,
    /// A few words about it.
    pub description: String,
    /// The run.
    pub run: RunId,
    /// Whose run it is.
    pub instance: InstanceId,
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub workdir: PathBuf,
    /// Directories of which it sees only what is its own or shown.
    pub hidden: Vec<PathBuf>,
    /// What it may read and write.
    pub own: Vec<PathBuf>,
    /// What of the hidden it may read besides.
    pub shown: Vec<PathBuf>,
    /// Home directories.
    pub homes: Homes,
    /// What systemd does when it ends.
    pub restart: Restart,
    /// Time from TERM to KILL, in milliseconds, when systemd ends it by itself.
    pub stop_timeout_ms: u64,
    /// Numbers of the user and group as whom it runs.
    pub account: Option<(u32, u32)>,
    /// Memory of its processes, in MiB.
    pub memory_mb: Option<u64>,
    /// Weight of its processor time.
    pub cpu_weight: Option<u64>,
    /// Files that each of its processes may have open.
    pub open_files: Option<u64>,
}

/// What is written for a unit.
pub(super) struct Rendered {
    pub(super) unit: String,
    pub(super) environment: String,
}

/// The name of a run's unit. `label` is what the instance is called: letters, digits and `-`.
#[must_use]
pub fn name(label: &str, run: RunId) -> String {
    let safe = |char: char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' };
    let label: String = label.chars().map(safe).collect();
    format!("{PREFIX}{label}@{run}{SUFFIX}")
}

/// The slice of all runs of an instance.
pub(super) fn slice(instance: InstanceId) -> String {
    // A dash would make it a part of another slice.
    format!("{PREFIX}{}.slice", instance.0.simple())
}

/// The lines that mark a unit as ours.
pub(super) fn mark(data_dir: &Path) -> Result<String, SystemdError> {
    Ok(format!("Data={}", quote::path(data_dir)?))
}

/// Kept from every process, whatever it is. Memory that is both written and executed stays allowed,
/// since Node and others compile while they run.
const HARDENING: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

impl Unit {
    /// What is written for it; `environment` is where its variables will lie.
    pub(super) fn render(&self, data_dir: &Path, environment: &Path) -> Result<Rendered, SystemdError> {
        let variables: Result<String, SystemdError> =
            self.env.iter().map(|(name, value)| quote::variable(name, value)).collect();
        Ok(Rendered { unit: self.text(data_dir, environment)?, environment: variables? })
    }

    fn text(&self, data_dir: &Path, environment: &Path) -> Result<String, SystemdError> {
        let identifier = self.name.split('@').next().unwrap_or(&self.name);
        let mut lines = vec![
            "# Written by tenantry for one run of a process, and removed with it. Changes are lost."
                .to_owned(),
            "[Unit]".to_owned(),
            format!("Description={}", one_line(&self.description)),
            "After=network.target".to_owned(),
            "StartLimitIntervalSec=0".to_owned(),
            String::new(),
            "[Service]".to_owned(),
            "Type=exec".to_owned(),
            format!("ExecStart={}", quote::command(&self.program, &self.args)?),
            format!("WorkingDirectory={}", quote::path(&self.workdir)?),
            format!("EnvironmentFile={}", quote::path(environment)?),
            format!("Slice={}", slice(self.instance)),
            format!("SyslogIdentifier={identifier}"),
            "SyslogLevelPrefix=no".to_owned(),
            format!("TimeoutStartSec={START_S}s"),
            // 0 would be no timeout.
            format!("TimeoutStopSec={}ms", self.stop_timeout_ms.max(1)),
        ];
        lines.extend(self.restarts());
        lines.extend(self.limits());
        lines.push(HARDENING.trim_end().to_owned());
        lines.extend(self.sight()?);
        lines.extend([
            String::new(),
            "[Install]".to_owned(),
            "WantedBy=multi-user.target".to_owned(),
            String::new(),
            MARK.to_owned(),
            mark(data_dir)?,
            format!("Run={}", self.run),
            format!("Instance={}", self.instance),
            String::new(),
        ]);
        Ok(lines.join("\n"))
    }

    fn restarts(&self) -> Vec<String> {
        let restart = match self.restart {
            Restart::Always => "always",
            Restart::OnFailure => "on-failure",
            Restart::No => "no",
        };
        let mut lines = vec![format!("Restart={restart}"), format!("RestartSec={RESTART_AFTER_S}s")];
        if self.restart != Restart::Always {
            // systemd forgets at once how a unit ended that it neither restarts nor calls failed.
            lines.push("RemainAfterExit=yes".to_owned());
        }
        lines
    }

    fn limits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((user, group)) = self.account {
            lines.extend([format!("User={user}"), format!("Group={group}")]);
        }
        lines.extend(self.memory_mb.map(|mb| format!("MemoryMax={mb}M")));
        lines.extend(self.cpu_weight.map(|weight| format!("CPUWeight={weight}")));
        lines.extend(self.open_files.map(|files| format!("LimitNOFILE={files}")));
        lines
    }

    /// What it sees of the file system.
    fn sight(&self) -> Result<Vec<String>, SystemdError> {
        let homes = match self.homes {
            Homes::Hidden => "tmpfs",
            Homes::ReadOnly => "read-only",
        };
        let mut lines = vec![format!("ProtectHome={homes}")];
        let mut list = |key: &str, paths: &[PathBuf], after: &str| -> Result<(), SystemdError> {
            if !paths.is_empty() {
                lines.push(format!("{key}={}", quote::paths(paths, after)?));
            }
            Ok(())
        };
        list("TemporaryFileSystem", &self.hidden, ":ro")?;
        list("BindPaths", &self.own, "")?;
        list("ReadWritePaths", &self.own, "")?;
        list("BindReadOnlyPaths", &self.shown, "")?;
        Ok(lines)
    }
}

/// Words without line ends or anything that systemd would replace.
fn one_line(words: &str) -> String {
    let plain = words.chars().filter(|char| !char.is_control() && !matches!(char, '%' | '\\'));
    plain.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::drivers::systemd) fn unit() -> Unit {
        let run = RunId(uuid::Uuid::from_u128(7));
        Unit {
            name: name("backend-smith", run),
            description: "backend of smith".into(),
            run,
            instance: InstanceId(uuid::Uuid::from_u128(9)),
            program: "/usr/bin/python3".into(),
            args: vec!["/srv/t/smith/releases/3/backend.py".into()],
            env: BTreeMap::from([
                ("PORT".into(), "28000".into()),
                ("S".into(), "a\nExecStart=/bin/sh".into()),
            ]),
            workdir: "/srv/t/smith".into(),
            hidden: vec!["/srv/t".into()],
            own: vec!["/srv/t/smith".into()],
            shown: Vec::new(),
            homes: Homes::Hidden,
            restart: Restart::Always,
            stop_timeout_ms: 0,
            account: Some((33, 34)),
            memory_mb: Some(64),
            cpu_weight: Some(50),
            open_files: Some(99),
        }
    }

    const EXPECTED: &str = "\
# Written by tenantry for one run of a process, and removed with it. Changes are lost.
[Unit]
Description=backend of smith
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=:\"/usr/bin/python3\" \"/srv/t/smith/releases/3/backend.py\"
WorkingDirectory=/srv/t/smith
EnvironmentFile=/var/lib/t/units/7.env
Slice=tenantry-00000000000000000000000000000009.slice
SyslogIdentifier=tenantry-backend-smith
SyslogLevelPrefix=no
TimeoutStartSec=30s
TimeoutStopSec=1ms
Restart=always
RestartSec=5s
User=33
Group=34
MemoryMax=64M
CPUWeight=50
LimitNOFILE=99
@HARDENING@
ProtectHome=tmpfs
TemporaryFileSystem=\"/srv/t:ro\"
BindPaths=\"/srv/t/smith\"
ReadWritePaths=\"/srv/t/smith\"

[Install]
WantedBy=multi-user.target

[X-Tenantry]
Data=/var/lib/t
Run=00000000-0000-0000-0000-000000000007
Instance=00000000-0000-0000-0000-000000000009
";

    #[test]
    fn a_unit_reads_as_printed_here() {
        let rendered = unit().render(Path::new("/var/lib/t"), Path::new("/var/lib/t/units/7.env")).unwrap();
        let expected = EXPECTED.replace("@HARDENING@", HARDENING.trim_end());
        assert_eq!(rendered.unit, expected);
        assert_eq!(rendered.environment, "PORT=\"28000\"\nS=\"a\nExecStart=/bin/sh\"\n");
    }

    #[test]
    fn nothing_hostile_makes_a_line_of_its_own() {
        let args = vec!["x\nExecStartPre=/bin/sh -c id".into(), "\\".into()];
        let hostile = Unit { args, description: "a\n[Service]\nUser=0 %n \\".into(), ..unit() };
        let text = hostile.render(Path::new("/d"), Path::new("/d/e")).unwrap().unit;
        assert_eq!(text.lines().filter(|line| line.starts_with("ExecStart")).count(), 1);
        assert_eq!(text.lines().filter(|line| line.starts_with("User")).count(), 1);
        let description = text.lines().find(|line| line.starts_with("Description")).unwrap();
        assert_eq!(description, "Description=a[Service]User=0 n ");
        let hostile = Unit { workdir: "/srv/x\nUser=0".into(), ..unit() };
        assert!(hostile.render(Path::new("/d"), Path::new("/d/e")).is_err());
        assert_eq!(name("a/../b c@%", RunId(uuid::Uuid::nil())).matches('@').count(), 1);
    }
}
