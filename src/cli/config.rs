//! `tenantry config check`: says what is wrong with a file and what is doubtful.

use std::path::Path;
use std::process::ExitCode;

use crate::config::{Config, Overrides};

/// Checks a file; what the environment says counts, as it would for `serve`.
pub(super) fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(Some(file), &Overrides::from_process()?)?;
    for warning in config.warnings.iter().chain(&config.taken(&[])) {
        println!("warning: {warning}");
    }
    let services: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
    println!("{} is valid", file.display());
    println!("  data directory  {}", config.data_dir.display());
    println!("  listeners       {} (tenants), {} (instances)", config.manager, config.instances);
    println!("  tenants' ports  {} to {}, step {}", config.ports.first, config.ports.last, config.ports.step);
    println!(
        "  services        {}",
        if services.is_empty() { "none".to_owned() } else { services.join(", ") }
    );
    Ok(ExitCode::SUCCESS)
}
