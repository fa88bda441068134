//! As whom a process runs: a user and its groups, looked up before anything is started.
//!
//! Names come from `/etc/passwd` and `/etc/group` alone, so that no network service can hold up
//! the keeper; numbers are taken too. What cannot be done is refused: a process that shall run
//! as somebody else never runs as root instead.

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::instance::Limits;

/// A user with all of its groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Its supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// Whom the limits name, if anybody; the text says why it cannot be.
pub(crate) fn resolve(limits: &Limits) -> Result<Option<Account>, String> {
    let Some(user) = &limits.user else { return Ok(None) };
    let read = |path| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let account = find(user, limits.group.as_deref(), &read("/etc/passwd")?, &read("/etc/group")?)?;
    let own = geteuid();
    if !own.is_root() && own.as_raw() != account.uid {
        let own = own.as_raw();
        return Err(format!("only root can run a process as user '{user}', and this runs as user {own}"));
    }
    Ok(Some(account))
}

fn find(user: &str, group: Option<&str>, passwd: &str, groups: &str) -> Result<Account, String> {
    // passwd(5): name, password, uid, gid; group(5): name, password, gid, members.
    let fields = |line: &str| -> Option<(String, u32, String)> {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?);
        Some((name, number, fields.next().unwrap_or_default().to_owned()))
    };
    let users: Vec<_> = passwd.lines().filter_map(fields).collect();
    let all: Vec<_> = groups.lines().filter_map(fields).collect();
    let number = user.parse::<u32>().ok();
    let known = users
        .iter()
        .find(|(name, _, _)| name == user)
        .or_else(|| users.iter().find(|(_, uid, _)| Some(*uid) == number));
    let (name, uid, own) = match (known, number) {
        (Some((name, uid, gid)), _) => (name.clone(), *uid, gid.parse::<u32>().ok()),
        (None, Some(uid)) => (user.to_owned(), uid, None),
        (None, None) => return Err(format!("user '{user}' is unknown: it is not in /etc/passwd")),
    };
    let gid = match group {
        Some(group) => {
            let found = all.iter().find(|(name, _, _)| name == group).map(|(_, gid, _)| *gid);
            let found = found.or_else(|| group.parse().ok());
            found.ok_or_else(|| format!("group '{group}' is unknown: it is not in /etc/group"))?
        }
        None => own.ok_or_else(|| {
            format!("user '{user}' is not in /etc/passwd, so its group is not known: set 'group' too")
        })?,
    };
    let mut supplementary: Vec<u32> = all
        .iter()
        .filter(|(_, _, members)| members.split(',').any(|member| member == name))
        .map(|(_, gid, _)| *gid)
        .collect();
    supplementary.push(gid);
    supplementary.sort_unstable();
    supplementary.dedup();
    Ok(Account { name, uid, gid, groups: supplementary })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002::/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\napps:x:1002:\nmedia:x:50:other,app\nwww:x:33:\n";

    #[test]
    fn a_user_brings_all_of_its_groups() {
        let account = find("app", None, PASSWD, GROUP).unwrap();
        assert_eq!((account.uid, account.gid, account.groups), (1001, 1002, vec![50, 1002]));
        let account = find("1001", Some("www"), PASSWD, GROUP).unwrap();
        assert_eq!((account.name.as_str(), account.gid, account.groups), ("app", 33, vec![33, 50]));
        let account = find("7000", Some("7001"), PASSWD, GROUP).unwrap();
        assert_eq!((account.uid, account.gid, account.groups), (7000, 7001, vec![7001]));
    }

    #[test]
    fn who_is_unknown_is_refused_by_name() {
        assert!(find("nemo", None, PASSWD, GROUP).unwrap_err().contains("user 'nemo' is unknown"));
        assert!(find("app", Some("nemo"), PASSWD, GROUP).unwrap_err().contains("group 'nemo' is unknown"));
        assert!(find("7000", None, PASSWD, GROUP).unwrap_err().contains("set 'group' too"));
    }
}
