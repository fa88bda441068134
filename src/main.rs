//! The `tenantry` program.

use std::process::ExitCode;

/// Every request, event and version of the World is many small allocations, made on one
/// thread and often freed on another: what the system's allocator is slowest at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tenantry::cli::main(&tenantry::app::Tenantry)
}
