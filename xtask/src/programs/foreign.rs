//! Programs that are not Rust of ours: C of `user/c`, built by the ordinary `gcc`, and
//! programs that nobody here wrote, from Debian's packages.
//!
//! Packages are fetched by name when the ring runs, and kept in `target`. Where they
//! cannot be had, their cases are skipped, and say so.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::cases::Case;
use crate::{artifacts, debian, shell, toolchain};

/// Programs of Debian: the package, the file in it, and what it is called here.
const DEBIAN: &[(&str, &str, &str)] = &[
    ("busybox-static", "bin/busybox", "busybox"),
    ("bash-static", "bin/bash-static", "bash"),
];

/// What is run of the programs above, and of those of `user/c`.
const CASES: &[&[&str]] = &[
    &["c-hello", "a", "b"],
    &["c-malloc"],
    &["c-threads"],
    &["c-signals"],
    &["c-stdio"],
    &["busybox", "echo", "a", "b"],
    &["busybox", "seq", "3", "4", "20"],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 100 | busybox sort -r | busybox head -n 3",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i $((i * i)); done",
    ],
    &["busybox", "sh", "-c", "busybox seq 20000 | busybox md5sum"],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 5000 | busybox sha256sum -",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 3000 > a; busybox wc a; busybox tail -n 2 a",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 500 > a; busybox cp a b; busybox cmp a b && echo same",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 2000 | busybox gzip | busybox gunzip | busybox tail -n 1",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox mkdir d; busybox seq 9 > d/a; busybox tar cf - d | busybox tar tf - | busybox sort",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 30 | busybox awk '{s += $1} END {print s}'",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 30 | busybox sed -n 's/^2/two /p'",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox seq 99 | busybox grep -c 7; busybox false || echo no",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "(exit 3); echo $?; busybox sleep 0 & wait; echo $?; exit 9",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "trap 'echo caught' USR1; kill -USR1 $$; echo after",
    ],
    &["busybox", "sh", "-c", "kill -SEGV $$; echo not reached"],
    &[
        "busybox",
        "sh",
        "-c",
        "x=$(busybox printf '%05d' 42); echo \"<$x>\"; echo bad >&2",
    ],
    &[
        "busybox",
        "sh",
        "-c",
        "busybox cat < /no/such/file; echo $?",
    ],
    &["busybox", "sh", "-c", "nonexistent; echo $?"],
    &[
        "busybox",
        "sh",
        "-c",
        "echo '#!'$PATH/busybox sh > s; echo 'echo $1' >> s; busybox chmod +x s; ./s hello",
    ],
    &["busybox", "sh", "-c", "busybox yes | busybox head -n 2"],
    &["busybox", "uname", "-sm"],
    &[
        "busybox",
        "dd",
        "if=/dev/zero",
        "bs=1000",
        "count=3",
        "of=/dev/null",
        "status=none",
    ],
    &[
        "bash",
        "-c",
        "echo $((6 * 7)); x=(a b c); echo ${#x[@]} ${x[@]^^}",
    ],
    &[
        "bash",
        "-c",
        "f() { local i; for i in {1..5}; do echo -n $i; done; }; f; echo; exit 4",
    ],
    &[
        "bash",
        "-c",
        "set -o pipefail; false | true; echo $?; cat() { read l; echo got $l; }; echo hi | cat",
    ],
    &[
        "bash",
        "-c",
        "trap 'echo bye' EXIT; (kill -TERM $BASHPID); echo $?",
    ],
    &[
        "bash",
        "-c",
        "wait -n 2> /dev/null; (exit 5) & wait $!; echo $?",
    ],
    &[
        "bash",
        "-c",
        "exec 3> a; echo text >&3; exec 3>&-; read x < a; echo $x; [[ -f a ]] && echo file",
    ],
];

/// What of all this can be run here.
#[derive(Default)]
pub(super) struct Foreign {
    pub(super) list: Vec<Case>,
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// What cannot be run, and why.
    pub(super) missing: Vec<(Case, String)>,
}

/// Builds and fetches the programs.
pub(super) fn all() -> Result<Foreign> {
    let mut foreign = Foreign {
        programs: build()?,
        ..Foreign::default()
    };
    let mut reasons = BTreeMap::new();
    for (package, file, name) in DEBIAN {
        match debian::fetch(package, file) {
            Ok(path) => {
                foreign.programs.insert((*name).to_owned(), path);
            }
            Err(error) => {
                reasons.insert(*name, format!("{error:#}"));
            }
        }
    }
    for words in CASES {
        let case = Case::new(words);
        match reasons.get(words[0]) {
            Some(reason) => foreign.missing.push((case, reason.clone())),
            None => foreign.list.push(case),
        }
    }
    Ok(foreign)
}

/// Builds each file of `user/c` into a static program of the same name, with `c-` in
/// front; returns them by name.
fn build() -> Result<BTreeMap<String, PathBuf>> {
    toolchain::need_gcc()?;
    let directory = artifacts::target().join("c");
    fs::create_dir_all(&directory)?;
    let mut programs = BTreeMap::new();
    for source in fs::read_dir(shell::root().join("user/c"))? {
        let source = source?.path();
        let stem = source.file_stem().and_then(|stem| stem.to_str());
        let name = format!("c-{}", stem.context("a file of user/c has no name")?);
        let program = directory.join(&name);
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o",
        ]);
        gcc.arg(&program).arg(&source);
        shell::step(&format!("building {name}"), &mut gcc)?;
        programs.insert(name, program);
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::{CASES, DEBIAN};

    #[test]
    fn each_case_runs_a_program_that_there_is() {
        for case in CASES {
            let is_debian = DEBIAN.iter().any(|(_, _, name)| *name == case[0]);
            let source = case[0]
                .strip_prefix("c-")
                .map(|name| format!("user/c/{name}.c"));
            let is_ours = source.is_some_and(|path| crate::shell::root().join(path).is_file());
            assert!(is_debian || is_ours, "{case:?}");
            let is_plain = |word: &&str| !word.contains(['\t', '\n', '\0']);
            assert!(case.iter().all(is_plain), "{case:?}");
        }
    }
}
