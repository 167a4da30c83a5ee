//! The house rules that no compiler checks, each a few lines.
//!
//! A complaint names the file, the line and the rule.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Longest file.
const MAX_LINES: usize = 600;

/// Where code may be `unsafe`: the nucleus; programs, which are Linux's business as
/// much as ours; and what runs before the kernel, which calls firmware.
const UNSAFE_SEATS: [&str; 3] = ["boot/preloader/src/", "kernel/nucleus/", "user/src/bin/"];

/// Where the machine may be chosen by `cfg`: the architecture's one line, the
/// list of modules that exist on the bare machine alone, and what a test needs.
const CFG_SEATS: [&str; 14] = [
    "kernel/nucleus/src/arch/sim/interleave.rs",
    "kernel/nucleus/src/planted.rs",
    "kernel/nucleus/src/sync/atomic.rs",
    "kernel/nucleus/src/arch/mod.rs",
    "kernel/nucleus/src/lib.rs",
    "kernel/nucleus/src/boot/mod.rs",
    "kernel/nucleus/src/boot/early_alloc.rs",
    "kernel/nucleus/src/console/mod.rs",
    "kernel/nucleus/src/ktest/mod.rs",
    "kernel/nucleus/src/mm/mod.rs",
    "kernel/nucleus/src/mm/kspace/mod.rs",
    "kernel/nucleus/src/task/mod.rs",
    "kernel/nucleus/src/time.rs",
    "kernel/nucleus/src/usb/mod.rs",
];

/// A file and its text.
struct Source {
    /// Relative to the root, with `/`.
    name: String,
    text: String,
}

/// Checks every source file; returns the complaints.
pub(crate) fn run(root: &Path) -> Result<Vec<String>> {
    let sources = sources(root)?;
    let mut complaints: Vec<_> = sources.iter().flat_map(check).collect();
    complaints.extend(orphans(&sources));
    Ok(complaints)
}

/// Counts what is `unsafe`, file by file of the nucleus.
pub(crate) fn unsafe_audit(root: &Path) -> Result<String> {
    let sources = sources(root)?;
    let count = |source: &Source| source.text.matches("unsafe {").count();
    let nucleus = sources
        .iter()
        .filter(|source| source.name.starts_with("kernel/nucleus/"));
    let counts: Vec<_> = nucleus.map(count).collect();
    let files = counts.iter().filter(|count| **count > 0).count();
    Ok(format!(
        "unsafe: {} blocks in {files} of the nucleus' {} files",
        counts.iter().sum::<usize>(),
        counts.len()
    ))
}

/// Returns the texts of the source files below a directory.
pub(crate) fn texts_below(root: &Path, directory: &str) -> Result<Vec<String>> {
    let sources = sources(root)?.into_iter();
    let below = sources.filter(|source| source.name.starts_with(directory));
    Ok(below.map(|source| source.text).collect())
}

fn check(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, rule: &str| {
        complaints.push(format!("{}:{}: {rule}", source.name, line + 1));
    };
    if !source.text.starts_with("//!") {
        complain(0, "a file opens with `//!`, and says what it is");
    }
    let lines: Vec<_> = source.text.lines().collect();
    if lines.len() > MAX_LINES {
        complain(
            MAX_LINES,
            "a file of over 600 lines has a second idea in it",
        );
    }
    let is_tidy = source.name == "xtask/src/tidy.rs";
    for (number, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        if !is_tidy && is_left_undone(line, code) {
            complain(number, "nothing is left undone, debugged or commented away");
        }
        let may_be_unsafe = UNSAFE_SEATS
            .iter()
            .any(|seat| source.name.starts_with(seat));
        if !is_tidy && is_unsafe(code) && !may_be_unsafe {
            complain(number, "`unsafe` lives in the nucleus alone");
        }
        // A method of a trait answers to the trait's contract.
        let is_method = line.starts_with("    unsafe fn");
        let needs_reason = is_unsafe(code) && may_be_unsafe && !is_method;
        if needs_reason && !has_safety_comment(&lines, number) {
            complain(
                number,
                "what is unsafe says why it is sound (`SAFETY:` or `# Safety`)",
            );
        }
        let is_seat =
            CFG_SEATS.contains(&source.name.as_str()) || source.name.starts_with("kernel/macros/");
        if !is_tidy && chooses_machine(code) && !is_seat {
            complain(number, "the machine is chosen in `arch/mod.rs`");
        }
        let is_test = source.name.ends_with("tests.rs") || source.name.contains("/tests/");
        if !is_tidy && code.contains("::*;") && !is_test && !code.contains("prelude::*") {
            complain(number, "imports are named");
        }
    }
    complaints
}

fn is_left_undone(line: &str, code: &str) -> bool {
    let marks = ["TODO", "FIXME", "XXX"];
    let calls = ["todo!(", "unimplemented!(", "dbg!(", "if false"];
    marks.iter().any(|mark| line.contains(mark)) || calls.iter().any(|call| code.contains(call))
}

fn is_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl"]
        .iter()
        .any(|word| code.contains(word))
}

fn chooses_machine(code: &str) -> bool {
    // What checkers need is the same on every machine.
    let chooses = code.contains("feature =") && !code.contains("feature = \"planted\"");
    code.contains("cfg(") && (code.contains("target_") || chooses)
}

/// Looks for the reason on the line itself or in the comment above it, which
/// attributes and the start of the statement may follow.
fn has_safety_comment(lines: &[&str], number: usize) -> bool {
    let says_why = |line: &str| line.contains("SAFETY") || line.contains("# Safety");
    let is_part = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.ends_with('}') && !line.ends_with("};")
    };
    let above = lines[..number].iter().rev().take(30);
    says_why(lines[number])
        || above
            .take_while(|line| is_part(line))
            .any(|line| says_why(line))
}

/// Finds files that no module declares.
fn orphans(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let path = Path::new(&source.name);
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("");
        // The files that cargo looks for by itself.
        let is_root = ["main", "lib", "build"].contains(&stem) || source.name.contains("/bin/");
        if is_root {
            continue;
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let (home, module) = if stem == "mod" {
            let name = directory
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("");
            (directory.parent().unwrap_or(Path::new("")), name)
        } else {
            (directory, stem)
        };
        // `a/b.rs` is declared in `a/`, or in `a.rs`.
        let home_file = home.with_extension("rs");
        let declared = sources.iter().any(|other| {
            let other_path = Path::new(&other.name);
            (other_path.parent() == Some(home) || other_path == home_file)
                && other.name != source.name
                && declares(&other.text, module, stem)
        });
        if !declared {
            complaints.push(format!("{}:1: no module declares this file", source.name));
        }
    }
    complaints
}

fn declares(text: &str, module: &str, stem: &str) -> bool {
    text.contains(&format!("mod {module};")) || text.contains(&format!("\"{stem}.rs\""))
}

/// Returns the sources of the repository, without what was built.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for directory in ["boot", "kernel", "user", "xtask"] {
        collect(&root.join(directory), &mut files)?;
    }
    files.sort();
    let read = |path: PathBuf| {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        Ok(Source { name, text })
    };
    files.into_iter().map(read).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot read {}", directory.display());
    for child in fs::read_dir(directory).with_context(context)? {
        let path = child.with_context(context)?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Source, check, orphans, run};
    use crate::shell;

    fn source(name: &str, text: &str) -> Source {
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[track_caller]
    fn assert_complaint(name: &str, text: &str, rule: &str) {
        let complaints = check(&source(name, text));
        assert!(
            complaints.iter().any(|complaint| complaint.contains(rule)),
            "{complaints:?}"
        );
    }

    #[test]
    fn broken_rules_are_found() {
        assert_complaint("a.rs", "fn f() {}\n", "opens with");
        assert_complaint("a.rs", "//! A.\n// TODO: more\n", "undone");
        assert_complaint("a.rs", "//! A.\nfn f() { todo!() }\n", "undone");
        assert_complaint("a.rs", &"//! A.\n".repeat(601), "second idea");
        assert_complaint("a.rs", "//! A.\nuse super::*;\n", "named");
        assert_complaint(
            "kernel/src/a.rs",
            "//! A.\nunsafe { f() };\n",
            "nucleus alone",
        );
        assert_complaint(
            "kernel/nucleus/src/a.rs",
            "//! A.\n\nunsafe { f() };\n",
            "sound",
        );
        let chosen = "//! A.\n#[cfg(target_os = \"none\")]\n";
        assert_complaint("kernel/nucleus/src/mm/a.rs", chosen, "arch/mod.rs");
    }

    #[test]
    fn kept_rules_are_quiet() {
        let text = "//! A.\n\n// SAFETY: `f` is harmless.\nlet a =\n    unsafe { f() };\n";
        assert_eq!(check(&source("kernel/nucleus/src/a.rs", text)), [""; 0]);
    }

    #[test]
    fn file_that_no_module_declares_is_found() {
        let root = source("xtask/src/main.rs", "//! A.\nmod a;\nmod c;\n");
        let sources = [
            root,
            source("xtask/src/a.rs", ""),
            source("xtask/src/b.rs", ""),
            source("xtask/src/c/mod.rs", ""),
        ];
        assert_eq!(
            orphans(&sources),
            ["xtask/src/b.rs:1: no module declares this file"]
        );
    }

    #[test]
    fn this_repository_keeps_the_rules() {
        assert_eq!(run(shell::root()).expect("readable sources"), [""; 0]);
    }

    #[test]
    fn peer_089_every_profile_checks_for_overflow() {
        let manifest = std::fs::read_to_string(shell::root().join("Cargo.toml"));
        let manifest = manifest.expect("it can be read");
        let profiles = manifest
            .split("\n[")
            .filter(|part| part.starts_with("profile."));
        let mut names = Vec::new();
        for profile in profiles {
            names.push(profile.split(']').next().unwrap_or_default());
            let inherits = profile.contains("inherits = \"release\"");
            let checks = profile.contains("overflow-checks = true");
            assert!(checks || inherits, "{profile}");
            assert!(!profile.contains("overflow-checks = false"), "{profile}");
        }
        for name in ["profile.dev", "profile.release"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
