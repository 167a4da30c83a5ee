//! Running other programs: quietly, with a line of progress, or verbosely.

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Says whether commands and their output are shown.
pub(crate) fn set_verbose(verbose: bool) {
    // Relaxed: written once, before any thread is started.
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Returns whether commands and their output are shown.
pub(crate) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask is a directory of the repository")
}

/// Runs a command as a step that may take long; shows its output if it fails.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<()> {
    capture(what, command).map(drop)
}

/// As [`step`]; returns what the command wrote to standard output.
pub(crate) fn capture(what: &str, command: &mut Command) -> Result<String> {
    show(command);
    let progress = Progress::start(what);
    let program = command.get_program().display().to_string();
    let output = if is_verbose() {
        command.stderr(Stdio::inherit()).output()
    } else {
        command.output()
    };
    let output = output.with_context(|| format!("cannot run {program}"))?;
    progress.finish();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("{what}: {program} failed ({})", output.status);
    }
    Ok(text)
}

/// Shows a command, if commands are shown.
pub(crate) fn show(command: &Command) {
    if is_verbose() {
        eprintln!("$ {command:?}");
    }
}

/// Returns where a program is, by the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// A line that shows that something goes on: a spinner on a terminal, a plain
/// line elsewhere.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn start(what: &str) -> Self {
        if stderr().is_terminal() && !is_verbose() {
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            Self(Some(bar))
        } else {
            eprintln!("{what} …");
            Self(None)
        }
    }

    /// Changes the text, on a terminal.
    pub(crate) fn update(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}
