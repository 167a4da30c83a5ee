//! The programs that come with the system. They are built small, since a loader that reads by BIOS calls takes
//! seconds for a megabyte, and most of them are one file by many names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{artifacts, shell};

/// What runs unless something else is named: the first process.
pub(crate) const DEFAULT_PROGRAM: &str = "/bin/init";

/// The file that is many programs, by its name.
const MANY: &str = "tools";

/// Those of `user/src/bin` that come with the system; the others are there to be
/// tested with.
pub(crate) const PROGRAMS: [&str; 2] = ["mmbench", MANY];

/// Programs that run others, so that all have to be there.
const RUNNERS: [&str; 3] = ["init", "sh", MANY];

/// The programs, in a directory as they lie in the guest.
#[derive(Debug)]
pub(crate) struct System {
    directory: PathBuf,
    /// In order; all but the real files are links to [`MANY`].
    names: Vec<String>,
}

impl System {
    /// Builds them.
    pub(crate) fn build() -> Result<Self> {
        let real = PROGRAMS.map(str::to_owned);
        let built = artifacts::build_programs("tools", &real)?;
        let directory = artifacts::target().join("system/bin");
        // Names that are gone must not stay.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        for name in &real {
            fs::copy(built.join(name), directory.join(name))
                .with_context(|| format!("cannot copy {name}"))?;
        }
        let mut ask = Command::new(built.join(MANY));
        let listed = shell::capture("listing the tools", ask.arg("--names"))?;
        let mut names = real.to_vec();
        for name in listed.lines() {
            symlink(MANY, directory.join(name)).with_context(|| format!("cannot link {name}"))?;
            names.push(name.to_owned());
        }
        Ok(Self { directory, names })
    }

    /// Returns a program as a file of its own: its place in the guest and here.
    pub(crate) fn file(&self, name: &str) -> Result<(String, PathBuf)> {
        let known = self.names.iter().any(|known| known == name);
        let path = known.then(|| fs::canonicalize(self.directory.join(name)));
        let path = path.with_context(|| format!("there is no program {name} in user/"))??;
        Ok((format!("bin/{name}"), path))
    }

    /// Returns the files that a program of this path in the guest needs, itself
    /// included: those that run others need all. Links stay links.
    pub(crate) fn files_for(&self, path: &str) -> Vec<(String, PathBuf)> {
        let Some(name) = path.strip_prefix("/bin/") else {
            return Vec::new();
        };
        let is_wanted = |other: &&String| {
            let is_many = other.as_str() == MANY && !PROGRAMS.contains(&name);
            RUNNERS.contains(&name) || other.as_str() == name || is_many
        };
        if !self.names.iter().any(|known| known == name) {
            return Vec::new();
        }
        let wanted = self.names.iter().filter(is_wanted);
        wanted
            .map(|name| (format!("bin/{name}"), self.directory.join(name)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::System;

    fn names(system: &System, path: &str) -> Vec<String> {
        let files = system.files_for(path).into_iter();
        files.map(|(name, _)| name).collect()
    }

    #[test]
    fn program_comes_with_what_it_needs() {
        let system = System {
            directory: "/d".into(),
            names: ["mmbench", "tools", "sh", "ls"].map(str::to_owned).into(),
        };
        assert_eq!(names(&system, "/bin/mmbench"), ["bin/mmbench"]);
        assert_eq!(names(&system, "/bin/ls"), ["bin/tools", "bin/ls"]);
        assert_eq!(names(&system, "/bin/sh").len(), 4);
        assert_eq!(names(&system, "/bin/other"), [""; 0]);
        assert_eq!(names(&system, "ls"), [""; 0]);
    }
}
