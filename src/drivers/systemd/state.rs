//! What systemd says of a unit.

use std::collections::HashMap;

/// The properties that are asked for.
pub(super) const PROPERTIES: &str =
    "Id,LoadState,ActiveState,SubState,MainPID,ExecMainPID,ExecMainCode,ExecMainStatus,Result,NRestarts";

/// How a unit's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an exit status.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// The kernel killed it at its memory limit.
    OutOfMemory,
}

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// More exactly: `running`, `auto-restart`, `exited`, `dead` ...
    pub sub: String,
    /// Its process while it has one.
    pub pid: Option<u32>,
    /// The process that it has or had last.
    pub last_pid: Option<u32>,
    /// How that ended; `None` while it lives, or when systemd has forgotten.
    pub end: Option<End>,
    /// How often systemd has started it again.
    pub restarts: u32,
}

impl State {
    /// Whether there is a process, or one is just coming or going.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.pid.is_some() || (self.active == "activating" && self.sub != "auto-restart")
    }

    pub(super) fn parse(lines: &[String]) -> State {
        let all: HashMap<&str, &str> = lines.iter().filter_map(|line| line.split_once('=')).collect();
        let text = |key: &str| all.get(key).copied().unwrap_or_default();
        let number = |key: &str| text(key).parse::<u32>().ok().filter(|number| *number > 0);
        let (pid, last_pid) = (number("MainPID"), number("ExecMainPID"));
        let status = text("ExecMainStatus").parse().unwrap_or(0);
        // Codes of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED.
        let end = match text("ExecMainCode") {
            _ if pid.is_some() || last_pid.is_none() => None,
            _ if text("Result") == "oom-kill" => Some(End::OutOfMemory),
            "1" => Some(End::Code(status)),
            "2" | "3" => Some(End::Signal(status)),
            _ => None,
        };
        State {
            active: text("ActiveState").to_owned(),
            sub: text("SubState").to_owned(),
            pid,
            last_pid,
            end,
            restarts: number("NRestarts").unwrap_or(0),
        }
    }

    /// Why there is no process although there should be.
    pub(super) fn why(&self) -> String {
        match self.end {
            Some(End::Code(code)) => match step(code) {
                Some(step) => format!("exit status {code}: {step}"),
                None => format!("exit status {code}"),
            },
            Some(End::Signal(signal)) => format!("signal {signal}"),
            Some(End::OutOfMemory) => "the kernel killed it at its memory limit".to_owned(),
            None => format!("it is {} ({})", self.active, self.sub),
        }
    }
}

/// What systemd could not do before the program ran (systemd.exec(5), "process exit codes").
fn step(code: i32) -> Option<&'static str> {
    Some(match code {
        200 => "its working directory cannot be entered",
        203 => "its program cannot be executed",
        209 => "its output cannot be connected",
        214 | 215 => "its weight cannot be set",
        216 => "its group cannot be taken",
        217 => "its user cannot be taken",
        218 => "its capabilities cannot be dropped",
        219 => "its control group cannot be joined",
        226 => "what it sees of the file system cannot be set up",
        228 => "its system calls cannot be limited",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> State {
        State::parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_process_that_waits_for_its_restart_has_ended() {
        let state = parse(
            "MainPID=0\nResult=signal\nNRestarts=2\nExecMainPID=151\nExecMainCode=2\nExecMainStatus=9\n\
             ActiveState=activating\nSubState=auto-restart",
        );
        assert_eq!((state.is_up(), state.end, state.restarts), (false, Some(End::Signal(9)), 2));
        let state = parse(
            "MainPID=7\nExecMainPID=7\nExecMainCode=0\nExecMainStatus=0\nActiveState=active\nSubState=running",
        );
        assert_eq!((state.is_up(), state.pid, state.end), (true, Some(7), None));
    }

    #[test]
    fn what_systemd_forgot_has_no_status() {
        let state = parse(
            "MainPID=0\nExecMainPID=0\nExecMainCode=0\nExecMainStatus=0\nActiveState=inactive\nSubState=dead",
        );
        assert_eq!((state.is_up(), state.end, state.last_pid), (false, None, None));
        let state = parse("MainPID=0\nExecMainPID=9\nExecMainCode=1\nExecMainStatus=203\nActiveState=failed");
        assert_eq!(state.why(), "exit status 203: its program cannot be executed");
        let state = parse("MainPID=0\nExecMainPID=9\nExecMainCode=2\nExecMainStatus=9\nResult=oom-kill");
        assert_eq!(state.end, Some(End::OutOfMemory));
    }
}
