//! `wattbook keys`: key files locked with a passphrase, or not.

use crate::keys;
use std::path::PathBuf;
use std::process::ExitCode;

/// Locks key files with a passphrase, or writes them in hex again.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What becomes of the files.
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Lock files with the passphrase of --passphrase-file.
    Lock(Files),
    /// Write locked files in hex again.
    Unlock(Files),
}

#[derive(clap::Args, Debug)]
struct Files {
    /// Key files, one secret each.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let (Action::Lock(Files { files }) | Action::Unlock(Files { files })) = &args.action;
    let lock = matches!(args.action, Action::Lock(_));
    for path in files {
        if let Err(error) = keys::rewrite(path, lock) {
            return super::fail(&error);
        }
        println!("{} is {}", path.display(), if lock { "locked" } else { "in hex" });
    }
    ExitCode::SUCCESS
}
