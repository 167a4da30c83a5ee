//! Which cases there are: a program of `user/`, C's or Debian's, and its arguments.
//!
//! `conform` lists its own cases, so that they are named in one place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::foreign;
use crate::flags::TestOptions;
use crate::system::System;
use crate::{artifacts, shell};

/// The program of `user/` that runs a list of cases.
pub(super) const RUNNER: &str = "run-cases";

/// A program of `user/` that is many cases, and lists them when it is asked to.
const CONFORM: &str = "conform";

/// The file that most programs of the system are.
const TOOLS: &str = "tools";

/// The programs that are one case each, or a few.
const OTHERS: &[&[&str]] = &[
    &["hello"],
    &["exit-with", "0"],
    &["exit-with", "7"],
    &["exit-with", "255"],
    &["args"],
    &["args", "a", "b c", "", "--", "log=off", "ä"],
    &["memory"],
    &["syscalls"],
    &["stdio"],
    &["files"],
    &["sleep"],
    &["abort"],
    &["fault", "null-read"],
    &["fault", "null-write"],
    &["fault", "null-jump"],
    &["fault", "kernel-read"],
    &["fault", "text-write"],
    &["fault", "stack-jump"],
    &["fault", "non-canonical-read"],
    &["fault", "non-canonical-jump"],
    &["fault", "privileged"],
    &["fault", "port"],
    &["fault", "illegal"],
    &["fault", "breakpoint"],
    &["fault", "single-step"],
    &["fault", "divide"],
    &["fault", "overflow-stack"],
];

/// The programs that come with the system, as far as both systems say the same.
const SYSTEM: &[&[&str]] = &[
    &["tools", "--names"],
    &["tools", "memhog", "8M", "--step", "2M"],
    &[
        "tools",
        "fault-storm",
        "--threads",
        "3",
        "--processes",
        "2",
        "--rounds",
        "300",
    ],
    &["tools", "sh", "-c", "tools echo a b | tools cat | tools wc"],
    &[
        "tools",
        "sh",
        "-c",
        "tools echo x > f; tools echo y >> f; tools cat < f; tools ls; tools rm f",
    ],
    &[
        "tools",
        "sh",
        "-c",
        "A='x  y'; tools echo $A \"$A\" '$A'; A=5 tools sh -c 'tools echo $A'",
    ],
    &[
        "tools",
        "sh",
        "-c",
        "nonexistent; tools echo $?; tools false || tools echo no; ! tools true",
    ],
    &[
        "tools",
        "sh",
        "-c",
        "tools cat /no/such 2>&1 | tools grep such; tools echo $?",
    ],
    &[
        "tools",
        "sh",
        "-c",
        "tools sleep 0.02 & wait; tools echo done; exit 5",
    ],
    &[
        "tools",
        "sh",
        "-c",
        "tools mkdir d; tools echo > d/b; tools echo > d/a; tools echo d/*; cd d; tools ls",
    ],
    &["tools", "sh", "-c", "tools kill -9 $$"],
];

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) words: Vec<String>,
}

impl Case {
    pub(super) fn new(words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { words }
    }

    /// Returns what the case is called in reports.
    pub(super) fn name(&self) -> String {
        self.words.join(" ")
    }
}

/// Cases, and the programs that they need.
pub(super) struct Cases {
    pub(super) list: Vec<Case>,
    /// By name; the runner is one of them.
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// What cannot be run here, and why.
    pub(super) missing: Vec<(Case, String)>,
}

impl Cases {
    /// Leaves out what the user does not want to run, and the programs that nothing
    /// else needs: a loader that reads by BIOS calls is slow.
    pub(super) fn select(&mut self, options: &TestOptions) {
        self.list.retain(|case| options.selects(&case.name()));
        self.missing
            .retain(|(case, _)| options.selects(&case.name()));
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        let list = &self.list;
        self.programs.retain(|name, _| {
            // A case may run another of the programs by the search path.
            let is_named = |case: &Case| case.words.iter().any(|word| word.contains(name.as_str()));
            name == RUNNER || list.iter().any(is_named)
        });
    }
}

/// Returns all cases. Programs that are not there are built or fetched.
pub(super) fn all(programs: &[(String, PathBuf)]) -> Result<Cases> {
    let mut programs: BTreeMap<_, _> = programs.iter().cloned().collect();
    let mut list: Vec<_> = OTHERS.iter().map(|words| Case::new(words)).collect();
    let conform = artifacts::build_programs("release", &[CONFORM.to_owned()])?.join(CONFORM);
    let mut ask = Command::new(&conform);
    let names = shell::capture("listing the cases", ask.arg("--list").env_clear())?;
    programs.insert(CONFORM.to_owned(), conform);
    list.extend(names.lines().map(|name| Case::new(&[CONFORM, name])));
    list.extend(SYSTEM.iter().map(|words| Case::new(words)));
    let (_, tools) = System::build()?.file(TOOLS)?;
    programs.insert(TOOLS.to_owned(), tools);
    let foreign = foreign::all()?;
    list.extend(foreign.list);
    programs.extend(foreign.programs);
    Ok(Cases {
        list,
        programs,
        missing: foreign.missing,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::{Case, Cases};

    #[test]
    fn programs_that_no_case_names_are_left_out() {
        let names = ["run-cases", "hello", "busybox", "memory"];
        let programs = names.map(|name| (name.to_owned(), PathBuf::from(name)));
        let mut cases = Cases {
            list: vec![
                Case::new(&["hello"]),
                Case::new(&["conform", "x"]),
                Case::new(&["sh", "-c", "busybox true"]),
            ],
            programs: BTreeMap::from(programs),
            missing: Vec::new(),
        };
        cases.drop_unused();
        let left: Vec<_> = cases.programs.into_keys().collect();
        assert_eq!(left, ["busybox", "hello", "run-cases"]);
    }
}
