//! Where this nginx has its configuration, its pid and its sites.
//!
//! Found as nginx finds them: from its arguments, from what was built in (`nginx -V`), and
//! from the main file. A copy of the main file in which the enabled sites are listed one by
//! one lets a change be tested as a whole before anything of it is in place.

use std::path::{Path, PathBuf};

use super::NginxError;
use super::syntax::{Directive, directives, matches, quoted};

/// Files that include files that include files: deeper is a circle.
const DEEPEST: usize = 8;

/// Where this nginx has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The main file.
    pub(super) conf: PathBuf,
    /// What other relative paths are relative to.
    prefix: PathBuf,
    /// Where its pid stands when the main file says nothing.
    built_in_pid: PathBuf,
    /// Directives from the command line.
    global: String,
}

/// An option of nginx with its value: `-p DIR` or `-pDIR`.
fn option(command: &[String], letter: char) -> Option<String> {
    let flag = format!("-{letter}");
    let mut words = command.iter().skip(1);
    while let Some(word) = words.next() {
        if *word == flag {
            return words.next().cloned();
        }
        if let Some(value) = word.strip_prefix(&flag) {
            return Some(value.to_owned());
        }
    }
    None
}

/// A value that was built in, from the text of `nginx -V`.
fn built_in(version: &str, name: &str) -> Option<PathBuf> {
    let flag = format!("--{name}=");
    version.split_whitespace().find_map(|word| word.strip_prefix(&flag)).map(PathBuf::from)
}

impl Layout {
    /// From the command and what `nginx -V` prints.
    pub(super) fn find(command: &[String], version: &str) -> Layout {
        let prefix = option(command, 'p')
            .map(PathBuf::from)
            .or_else(|| built_in(version, "prefix"))
            .unwrap_or_else(|| "/usr/local/nginx".into());
        let prefix = std::path::absolute(&prefix).unwrap_or(prefix);
        let conf = option(command, 'c').map(PathBuf::from).or_else(|| built_in(version, "conf-path"));
        let pid = built_in(version, "pid-path").unwrap_or_else(|| "logs/nginx.pid".into());
        Layout {
            conf: prefix.join(conf.unwrap_or_else(|| "conf/nginx.conf".into())),
            built_in_pid: prefix.join(pid),
            prefix,
            global: option(command, 'g').unwrap_or_default(),
        }
    }

    /// What relative includes are relative to.
    fn conf_dir(&self) -> &Path {
        self.conf.parent().unwrap_or(&self.prefix)
    }

    /// The file with the master's pid.
    pub(super) fn pid(&self) -> PathBuf {
        let main = std::fs::read_to_string(&self.conf).unwrap_or_default();
        let said = [self.global.as_str(), main.as_str()].into_iter().find_map(|text| {
            let all = directives(text);
            let pid = all.iter().find(|one| one.depth == 0 && one.name() == "pid");
            pid.and_then(Directive::first_argument).map(str::to_owned)
        });
        said.map_or_else(|| self.built_in_pid.clone(), |pid| self.prefix.join(pid))
    }

    /// The pattern of file names that the configuration includes from the enabled sites.
    pub(super) fn pattern(&self, enabled: &Path) -> Result<String, NginxError> {
        let mut pattern = None;
        self.rewrite(&self.conf, enabled, 0, &mut |found| {
            pattern.get_or_insert_with(|| found.to_owned());
            String::new()
        })?;
        pattern.ok_or_else(|| NginxError::NotIncluded {
            enabled: enabled.to_path_buf(),
            conf: self.conf.clone(),
        })
    }

    /// The main file with each include of the enabled sites replaced by includes of these
    /// files, whatever the include's own pattern.
    pub(super) fn with_sites(&self, enabled: &Path, files: &[PathBuf]) -> Result<String, NginxError> {
        let mut listed = String::new();
        for file in files {
            let word = file.to_str().and_then(quoted);
            let word = word.ok_or_else(|| NginxError::Path { path: file.clone() })?;
            listed.push_str(&format!("include {word};\n"));
        }
        let mut is_first = true;
        let text = self.rewrite(&self.conf, enabled, 0, &mut |_| {
            if std::mem::take(&mut is_first) { listed.clone() } else { String::new() }
        })?;
        text.ok_or_else(|| NginxError::NotIncluded {
            enabled: enabled.to_path_buf(),
            conf: self.conf.clone(),
        })
    }

    /// A file's text with includes of the enabled sites replaced; `None` when it has none.
    fn rewrite(
        &self,
        file: &Path,
        enabled: &Path,
        depth: usize,
        replace: &mut dyn FnMut(&str) -> String,
    ) -> Result<Option<String>, NginxError> {
        let text = std::fs::read_to_string(file).map_err(|source| NginxError::io("read", file, source))?;
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for directive in directives(&text).iter().filter(|one| one.name() == "include") {
            let Some(pattern) = directive.first_argument() else { continue };
            let Some(replaced) = self.include(pattern, enabled, depth, replace)? else { continue };
            out.push_str(text.get(done..directive.span.start).unwrap_or_default());
            out.push('\n');
            out.push_str(&replaced);
            out.push('\n');
            done = directive.span.end;
        }
        if done == 0 {
            return Ok(None);
        }
        out.push_str(text.get(done..).unwrap_or_default());
        Ok(Some(out))
    }

    /// What an include is replaced with, if with anything.
    fn include(
        &self,
        pattern: &str,
        enabled: &Path,
        depth: usize,
        replace: &mut dyn FnMut(&str) -> String,
    ) -> Result<Option<String>, NginxError> {
        let path = self.conf_dir().join(pattern);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Ok(None);
        };
        if is_same(dir, enabled) {
            return Ok(Some(replace(name)));
        }
        if depth == DEEPEST {
            return Ok(None);
        }
        let files = if name.contains(['*', '?']) { listed(dir, name) } else { vec![path.clone()] };
        let mut inlined = String::new();
        let mut is_changed = false;
        for file in files {
            // What cannot be read is left to nginx, which will say so.
            match self.rewrite(&file, enabled, depth + 1, replace) {
                Ok(Some(text)) => {
                    inlined.push_str(&text);
                    is_changed = true;
                }
                Ok(None) | Err(_) => {
                    let word = file.to_str().and_then(quoted).unwrap_or_default();
                    inlined.push_str(&format!("include {word};"));
                }
            }
            inlined.push('\n');
        }
        Ok(is_changed.then_some(inlined))
    }
}

/// The files of a directory whose names match, in nginx's order.
pub(super) fn listed(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| matches(pattern, name)))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// Whether two paths lead to the same directory.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn paths_are_found_as_nginx_finds_them() {
        const BUILT_IN: &str = "configure arguments: --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --pid-path=/run/nginx.pid";
        let usual = Layout::find(&words("nginx"), BUILT_IN);
        assert_eq!(usual.conf, Path::new("/etc/nginx/nginx.conf"));
        assert_eq!(Layout { conf: "/nowhere".into(), ..usual }.pid(), Path::new("/run/nginx.pid"));
        let own = Layout::find(&words("nginx -p /d -c conf/n.conf"), BUILT_IN);
        assert_eq!(
            (own.conf.as_path(), own.prefix.as_path()),
            (Path::new("/d/conf/n.conf"), Path::new("/d"))
        );
        let told = Layout::find(&["nginx".into(), "-g".into(), "pid x.pid;".into(), "-p/d".into()], "");
        assert_eq!(told.pid(), Path::new("/d/x.pid"));
    }

    #[test]
    fn the_enabled_sites_are_listed_one_by_one_also_behind_another_include() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("conf.d")).unwrap();
        std::fs::create_dir_all(at("sites-enabled")).unwrap();
        std::fs::write(at("nginx.conf"), "pid run.pid;\nhttp { include mime.types; include conf.d/*.conf; }")
            .unwrap();
        std::fs::write(at("conf.d/a.conf"), "gzip on;").unwrap();
        std::fs::write(at("conf.d/sites.conf"), "include sites-enabled/*.conf;").unwrap();
        let layout = Layout::find(&["nginx".into(), "-c".into(), at("nginx.conf").display().to_string()], "");
        assert_eq!(layout.pattern(&at("sites-enabled")).unwrap(), "*.conf");
        let text = layout.with_sites(&at("sites-enabled"), &["/x/new".into()]).unwrap();
        let found = directives(&text);
        let includes: Vec<&str> = found
            .iter()
            .filter(|one| one.name() == "include")
            .map(|one| one.first_argument().unwrap())
            .collect();
        let a = at("conf.d/a.conf").display().to_string();
        assert_eq!(includes, ["mime.types", a.as_str(), "/x/new"]);
        assert!(layout.pattern(&at("elsewhere")).is_err());
        assert!(layout.pid().ends_with("run.pid"));
    }
}
