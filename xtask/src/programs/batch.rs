//! Many cases in one boot: `run-cases` runs them on either system.
//!
//! When the kernel dies, or says nothing for long, the case that ran has failed, and
//! the machine boots again for the rest.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Target;
use super::cases::{Cases, RUNNER};
use super::frames::{Observed, Report};
use crate::artifacts::{self, ImageSpec};
use crate::emulator::{self, Boot};
use crate::guest::{self, Limits};
use crate::interrupt;
use crate::shell::{self, Progress};
use crate::stream::{Event, Stream};
use crate::test::Verdict;

/// The list in the guest.
const LIST: &str = "cases/list";
/// How long the guest may be silent: longer than the runner lets a case run.
const SILENCE: Duration = Duration::from_secs(120);
/// How often the machine boots; what kills the kernel more often is not worth it.
const MOST_BOOTS: usize = 8;

/// How many more frames of a kind of the kernel's own stores may be in use at the end:
/// the heap's slabs, stacks at hand and their like grow to a bound that this run need not
/// have met. A frame that each case leaves behind is far more.
const SLACK: u64 = 64;
/// How many more of any kind on several processors, where one that has nothing to do may
/// be the last to know the memory of a process that is over, for a moment.
const SLACK_OF_SEVERAL: u64 = 64;
/// How many more nodes of a level the runner's own table may have.
const SLACK_OF_TABLES: u64 = 2;

/// What the kernel calls all frames that there are.
const ALL_FRAMES: &str = "managed";
/// What it calls those that are nobody's, besides.
const NOT_IN_USE: [&str; 3] = ["free", "at-hand", "in-transit"];
/// What it calls memory of processes that is their own, of which the runner tells how much
/// is its own: that, and no more, may have become more.
const ANONYMOUS: &str = "anonymous";
const OWN: &str = "own";
/// What it calls pages of programs' files, which are kept: of each file once.
const KEPT: &str = "file-cache";
/// What else programs have.
const OF_PROGRAMS: [&str; 4] = ["shared", "files", "pipes", "untyped"];
/// What its nodes of page tables of processes are called, but for their level.
const TABLES: &str = "user-tables-";

/// Cases that are ready to run.
pub(super) struct Batch {
    pub(super) cases: Cases,
    /// The list as the runner reads it.
    list: PathBuf,
    /// The programs, all in one directory.
    programs: PathBuf,
}

/// What came of all cases on Vostok.
pub(super) struct VostokRun {
    /// In the order of the list; an error says what the kernel did instead.
    pub(super) cases: Vec<Result<Observed, String>>,
    /// What else was printed while a case ran, such as the kernel's messages.
    pub(super) messages: BTreeMap<usize, String>,
    /// Whether about as many frames were in use at the end as at the beginning.
    pub(super) frames: Verdict,
}

impl Batch {
    /// Writes the list, and gathers the programs.
    pub(super) fn new(cases: Cases) -> Result<Self> {
        let directory = artifacts::target().join("cases");
        let programs = directory.join("bin");
        // From an earlier run, whose cases may have been others.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&programs)?;
        for (name, path) in &cases.programs {
            let context = || format!("cannot copy {}", path.display());
            fs::copy(path, programs.join(name)).with_context(context)?;
        }
        let list = directory.join("list");
        let lines = cases.list.iter().map(|case| case.words.join("\t") + "\n");
        fs::write(&list, lines.collect::<String>())?;
        Ok(Self {
            cases,
            list,
            programs,
        })
    }

    /// Runs all cases on the host.
    pub(super) fn on_linux(&self) -> Result<Vec<Result<Observed, String>>> {
        let work = work_directory();
        // From a run that was interrupted.
        let _ = fs::remove_dir_all(&work);
        let mut command = Command::new(self.programs.join(RUNNER));
        command.arg(&self.list).arg(&self.programs).arg(&work);
        command.arg("0").env_clear().stdin(Stdio::null());
        let text = shell::capture("running the programs on Linux", &mut command);
        let _ = fs::remove_dir_all(&work);
        let mut report = Report::default();
        text?.lines().for_each(|line| report.feed(line));
        let missing = |number: usize| format!("case {number} did not run on Linux");
        let observed = (0..self.cases.list.len())
            .map(|number| report.cases.remove(&number).ok_or_else(|| missing(number)));
        Ok(observed.collect())
    }

    /// Runs all cases on a machine, in as many boots as that takes.
    pub(super) fn on_vostok(&self, target: Target<'_>) -> Result<VostokRun> {
        let count = self.cases.list.len();
        let label = target.machine.label();
        let progress = Progress::start(&format!("running {count} programs on Vostok ({label})"));
        let mut cases: Vec<Result<Observed, String>> = Vec::new();
        let mut messages = BTreeMap::new();
        let mut frames = Verdict::Skipped("no boot ran all cases".to_owned());
        for _ in 0..MOST_BOOTS {
            let first = cases.len();
            if first == count || interrupt::is_requested() {
                break;
            }
            let (mut report, complaint) = self.boot(target, first, &progress)?;
            while let Some(observed) = report.cases.remove(&cases.len()) {
                cases.push(Ok(observed));
            }
            messages.append(&mut report.messages);
            match complaint {
                // The first boot's run is the only one that has all of them.
                None if first == 0 => {
                    frames = frames_are_back(&report.frames, target.machine.smp() > 1);
                }
                None => {}
                Some(complaint) => cases.push(Err(format!("{complaint}\n{}", report.others()))),
            }
        }
        progress.finish();
        cases.resize(count, Err("the kernel died too often before".to_owned()));
        Ok(VostokRun {
            cases,
            messages,
            frames,
        })
    }

    /// Boots once, for the cases from this one on; also says what went wrong, if the
    /// last case did not run.
    fn boot(
        &self,
        target: Target<'_>,
        first: usize,
        progress: &Progress,
    ) -> Result<(Report, Option<String>)> {
        let Target {
            toolchain,
            kernel,
            machine,
        } = target;
        let options = emulator::kernel_options(machine.emulator());
        let in_guest = |name: &String| (format!("bin/{name}"), self.programs.join(name));
        let mut files: Vec<_> = self.cases.programs.keys().map(in_guest).collect();
        files.push((LIST.to_owned(), self.list.clone()));
        let image = artifacts::image(
            toolchain,
            &ImageSpec {
                kernel,
                cmdline: format!(
                    "{options} log=error -- /bin/{RUNNER} /{LIST} /bin {} {first}",
                    work_directory()
                ),
                files,
                rootfs: None,
            },
        )?;
        let emulator = emulator::prepare(machine, &Boot::unattended(image))?;
        let limits = Limits {
            total: None,
            silence: Some(SILENCE),
        };
        let mut stream = Stream::new(kernel.symbols.clone(), true);
        let mut report = Report::default();
        let mut handle = |event: Event| {
            if let Event::Line(line) = event {
                report.feed(&line);
                if let Some(case) = report.running.and_then(|n| self.cases.list.get(n)) {
                    progress.update(&case.name());
                }
            }
        };
        let ending = guest::run(emulator, limits, &mut stream, &mut handle)?;
        let complaint = guest::complaint(ending, &stream.facts).map(|(_, complaint)| complaint);
        let last = self.cases.list.len() - 1;
        let is_complete = complaint.is_none() && report.cases.contains_key(&last);
        let complaint = (!is_complete).then(|| {
            let status = stream.facts.exit_status;
            complaint.unwrap_or_else(|| format!("{RUNNER} ended early, with status {status:?}"))
        });
        Ok((report, complaint))
    }
}

/// Returns where cases have their directories: by the same path on both systems, which
/// they may print, and by another one for each copy of the repository.
fn work_directory() -> String {
    let mut hasher = DefaultHasher::new();
    shell::root().hash(&mut hasher);
    format!("/tmp/vostok-cases-{:08x}", hasher.finish() as u32)
}

/// Kinds of frames, and how many there were before and after.
type Kinds = BTreeMap<String, (Option<u64>, Option<u64>)>;

/// Compares the frames in use before and after, of each kind.
///
/// A kind that is not told of has no frames; fewer are in use when a block of the heap
/// was given back meanwhile.
fn frames_are_back(frames: &Kinds, has_several_cpus: bool) -> Verdict {
    if frames.is_empty() {
        return Verdict::Skipped("the kernel does not tell how many are in use".to_owned());
    }
    let is_told_twice = |kind| matches!(frames.get(kind), Some((Some(_), Some(_))));
    if ![ALL_FRAMES, OWN].into_iter().all(is_told_twice) {
        return Verdict::Failed(format!("frames were not counted twice: {frames:?}"));
    }
    let own = frames[OWN];
    let own_growth = own.1.unwrap_or(0).saturating_sub(own.0.unwrap_or(0));
    let may_grow_by = |kind: &str| {
        let by_itself = match kind {
            KEPT => return None,
            ANONYMOUS => own_growth,
            _ if OF_PROGRAMS.contains(&kind) => 0,
            _ if kind.starts_with(TABLES) => SLACK_OF_TABLES,
            _ => SLACK,
        };
        Some(
            by_itself
                + if has_several_cpus {
                    SLACK_OF_SEVERAL
                } else {
                    0
                },
        )
    };
    let lines: Vec<_> = frames
        .iter()
        .filter(|(kind, _)| ![ALL_FRAMES, OWN].contains(&kind.as_str()))
        .filter(|(kind, _)| !NOT_IN_USE.contains(&kind.as_str()))
        .map(|(kind, (before, after))| (kind, before.unwrap_or(0), after.unwrap_or(0)))
        .filter(|(kind, before, after)| {
            may_grow_by(kind.as_str()).is_some_and(|most| *after > before + most)
        })
        .map(|(kind, before, after)| format!("{kind}: {before} before, {after} after"))
        .collect();
    if lines.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!(
            "{}\n(the runner's own: {own_growth} more)",
            lines.join("\n")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{SLACK, SLACK_OF_SEVERAL, frames_are_back};
    use crate::test::Verdict;

    /// A kind, and how many frames of it there were before and after.
    type Count = (&'static str, Option<u64>, Option<u64>);

    const ALL: Count = ("managed", Some(90), Some(90));
    /// The runner has taken three frames more.
    const OWN: Count = ("own", Some(4), Some(7));

    fn verdict_on(counts: &[Count], has_several_cpus: bool) -> Verdict {
        let pairs = counts
            .iter()
            .map(|(kind, before, after)| ((*kind).to_owned(), (*before, *after)));
        frames_are_back(&pairs.collect(), has_several_cpus)
    }

    #[test]
    fn frames_that_stay_in_use_are_a_failure() {
        for (kind, more) in [
            ("stacks", SLACK),
            ("anonymous", 3),
            ("shared", 0),
            ("files", 0),
            ("user-tables-1", 2),
        ] {
            for (several, more) in [(false, more), (true, more + SLACK_OF_SEVERAL)] {
                let grown = |more| [ALL, OWN, (kind, Some(5), Some(5 + more))];
                assert_eq!(verdict_on(&grown(more), several), Verdict::Passed);
                let Verdict::Failed(text) = verdict_on(&grown(more + 1), several) else {
                    panic!("{kind}");
                };
                assert!(text.starts_with(&format!("{kind}: 5 before, ")), "{text}");
            }
        }
    }

    #[test]
    fn frames_that_are_gone_or_free_or_kept_for_ever_are_none() {
        let counts = [
            ALL,
            OWN,
            ("stacks", Some(5), None),
            ("free", Some(1), Some(500)),
            ("file-cache", None, Some(500)),
        ];
        assert_eq!(verdict_on(&counts, false), Verdict::Passed);
        let new = [ALL, OWN, ("pipes", None, Some(1))];
        assert!(matches!(verdict_on(&new, false), Verdict::Failed(_)));
    }

    #[test]
    fn frames_that_are_counted_once_are_a_failure() {
        for counts in [&[("managed", Some(9), None), OWN][..], &[ALL], &[OWN]] {
            let verdict = verdict_on(counts, false);
            assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
        }
        assert!(matches!(verdict_on(&[], false), Verdict::Skipped(_)));
    }
}
