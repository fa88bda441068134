//! What the unified hierarchy asks for before a controller serves a group below ours.
//!
//! A group that hands controllers on may have no processes of its own. So the control plane and
//! its keeper move into a leaf first, as a service with `Delegate=yes` does; when anybody else
//! is in the group, it is not ours to rearrange, and that is said.

use std::io;
use std::path::Path;

/// The leaf for ourselves.
pub(super) const OURSELVES: &str = "tenantry-main";

/// Has a controller serve what lies below `base`, which lies in `own`.
pub(super) fn enable(own: &Path, base: &Path, controller: &str) -> io::Result<()> {
    if !is_enabled(own, controller) {
        match hand_on(own, controller) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                step_aside(own)?;
                hand_on(own, controller)?;
            }
            other => other?,
        }
    }
    if is_enabled(base, controller) { Ok(()) } else { hand_on(base, controller) }
}

fn is_enabled(group: &Path, controller: &str) -> bool {
    let enabled = std::fs::read_to_string(group.join("cgroup.subtree_control"));
    enabled.is_ok_and(|enabled| enabled.split_whitespace().any(|word| word == controller))
}

fn hand_on(group: &Path, controller: &str) -> io::Result<()> {
    std::fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
}

fn step_aside(own: &Path) -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let pids = std::fs::read_to_string(own.join("cgroup.procs"))?;
    let strangers = pids
        .lines()
        .any(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|other| other != program));
    if strangers {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "other programs run in the control plane's own cgroup; run it as a service with Delegate=yes",
        ));
    }
    let leaf = own.join(OURSELVES);
    std::fs::create_dir_all(&leaf)?;
    pids.lines().try_for_each(|pid| std::fs::write(leaf.join("cgroup.procs"), pid))
}
