//! Where the configuration comes from, so that it can be read again as it was read first.

use std::path::PathBuf;

use super::{Config, ConfigErrors, Overrides};

/// A file, if there is one, with what comes on top of it. Its environment may hold a password,
/// so it has no `Debug`.
#[derive(Clone)]
pub struct Source {
    file: Option<PathBuf>,
    overrides: Overrides,
}

impl Source {
    /// This file and these overrides.
    #[must_use]
    pub fn new(file: Option<PathBuf>, overrides: Overrides) -> Source {
        Source { file, overrides }
    }

    /// What it says now.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.file.as_deref(), &self.overrides)
    }

    /// What it says now, except for what cannot change while the program runs: that is as in
    /// `running`.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read_beside(&self, running: &Config) -> Result<Config, ConfigErrors> {
        let overrides = Overrides {
            data_dir: Some(running.data_dir.clone()),
            manager: Some(running.manager.to_string()),
            instances: Some(running.instances.to_string()),
            log_format: Some(running.log_format),
            ..self.overrides.clone()
        };
        let config = Config::load(self.file.as_deref(), &overrides)?;
        Ok(Config { log_filter: running.log_filter.clone(), ..config })
    }
}
