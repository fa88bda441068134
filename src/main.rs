//! The command line: one word says which process this is.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.as_slice() {
        [word, flag, dir] if word == "keeper" && flag == "--data-dir" => {
            tenantry::keeper::run(&PathBuf::from(dir))
        }
        _ => {
            eprintln!("usage: tenantry keeper --data-dir DIR");
            ExitCode::from(2)
        }
    }
}
