//! `fault-storm [--threads N] [--processes N] [--rounds N] [--seed N]`: threads fault,
//! fork, discard, remap and protect in one address space, and look after each step
//! whether every page has what it has to have.
//!
//! Each thread has pages of its own, interleaved with those of the others, so that
//! neighbours in one table change at once. It remembers what it has written in each;
//! a page of it that holds anything else is damage. What is forked looks at the same
//! pages and changes its own copies, which must not be seen. The other processes do the
//! same at once, from other seeds.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::random::Random;
use crate::sys::{self, Memory, PAGE};

/// Pages of each thread.
const PAGES: usize = 96;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    threads: usize,
    processes: usize,
    rounds: usize,
    seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            threads: 4,
            processes: 2,
            rounds: 2000,
            seed: 1,
        }
    }
}

/// Why a storm ended too early.
#[derive(Debug)]
enum Failure {
    /// A page has not what was written there.
    Damage {
        page: usize,
        expected: u64,
        found: u64,
    },
    /// A copy of the process saw damage, or died: its status.
    Copy(u8),
    /// The kernel refused something.
    Refused(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage {
                page,
                expected,
                found,
            } => write!(f, "page {page} holds {found:#x}, not {expected:#x}"),
            Self::Copy(status) => write!(f, "a copy ended with status {status}"),
            Self::Refused(error) => write!(f, "the kernel refuses: {error}"),
        }
    }
}

pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let Some(plan) = read(&words) else {
        eprintln!("fault-storm [--threads N] [--processes N] [--rounds N] [--seed N]");
        return 2;
    };
    let status = processes(plan).unwrap_or_else(|error| {
        eprintln!("fault-storm: no process: {error}");
        1
    });
    let Plan {
        threads,
        processes,
        rounds,
        seed,
    } = plan;
    let result = if status == 0 {
        "every page was right"
    } else {
        "FAILED"
    };
    println!(
        "fault-storm: {processes} processes, {threads} threads, {rounds} rounds, seed {seed}: {result}"
    );
    status
}

fn read(words: &[String]) -> Option<Plan> {
    let mut plan = Plan::default();
    for pair in words.chunks(2) {
        let [name, value] = pair else {
            return None;
        };
        let number: u64 = value.parse().ok()?;
        match name.as_str() {
            "--threads" => {
                plan.threads = usize::try_from(number)
                    .ok()
                    .filter(|n| (1..=64).contains(n))?
            }
            "--processes" => {
                plan.processes = usize::try_from(number)
                    .ok()
                    .filter(|n| (1..=64).contains(n))?
            }
            "--rounds" => plan.rounds = usize::try_from(number).ok()?,
            "--seed" => plan.seed = number,
            _ => return None,
        }
    }
    Some(plan)
}

/// Runs a storm in this process and in others, at once; returns the worst status.
fn processes(plan: Plan) -> io::Result<u8> {
    let this = std::env::current_exe()?;
    let mut others = Vec::new();
    for number in 1..plan.processes {
        let seed = plan.seed.wrapping_add(number as u64);
        let words = [
            ("--threads", plan.threads.to_string()),
            ("--processes", 1.to_string()),
            ("--rounds", plan.rounds.to_string()),
            ("--seed", seed.to_string()),
        ];
        let mut command = Command::new(&this);
        command.arg("fault-storm");
        for (name, value) in words {
            command.args([name, &value]);
        }
        others.push(command.spawn()?);
    }
    let mut worst = storm(plan);
    for mut other in others {
        let status = other.wait()?;
        worst = worst.max(u8::from(!status.success()));
    }
    Ok(worst)
}

/// Runs the threads of one process.
fn storm(plan: Plan) -> u8 {
    let memory = match Memory::new(plan.threads * PAGES * PAGE, false) {
        Ok(memory) => memory,
        Err(error) => {
            eprintln!("fault-storm: no memory: {error}");
            return 1;
        }
    };
    let has_failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..plan.threads {
            let (memory, has_failed) = (&memory, &has_failed);
            scope.spawn(move || {
                let mut part = Part::new(memory, plan, number);
                for round in 0..plan.rounds {
                    // Relaxed: a hint to stop.
                    if has_failed.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Err(failure) = part.step() {
                        eprintln!(
                            "fault-storm: seed {}, thread {number}, round {round}: {failure}",
                            plan.seed
                        );
                        has_failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    u8::from(has_failed.into_inner())
}

/// A thread's share: every so-and-so-manieth page, in runs of four.
struct Part<'a> {
    memory: &'a Memory,
    threads: usize,
    number: usize,
    /// What each page holds; zero if it was not written to.
    expected: [u64; PAGES],
    random: Random,
}

/// Pages that lie together.
const RUN: usize = 4;

impl<'a> Part<'a> {
    fn new(memory: &'a Memory, plan: Plan, number: usize) -> Self {
        Self {
            memory,
            threads: plan.threads,
            number,
            expected: [0; PAGES],
            random: Random::new(plan.seed.wrapping_mul(0x1_0000) ^ number as u64),
        }
    }

    /// Returns where a page of the share lies.
    fn place(&self, page: usize) -> usize {
        (page / RUN * self.threads + self.number) * RUN + page % RUN
    }

    /// Does one thing to some pages, and looks at them.
    fn step(&mut self) -> Result<(), Failure> {
        let start = self.random.below(PAGES);
        let len = 1 + self.random.below(RUN - start % RUN);
        let pages = start..start + len;
        let place = self.place(start);
        match self.random.below(40) {
            0..16 => {
                for page in pages.clone() {
                    let value = self.random.next() | 1;
                    self.expected[page] = value;
                    self.put(page, value);
                }
            }
            16..24 => {}
            24..29 => {
                self.memory.discard(place, len)?;
                self.expected[pages.clone()].fill(0);
            }
            29..34 => {
                self.memory.renew(place, len)?;
                self.expected[pages.clone()].fill(0);
            }
            34..39 => {
                self.memory.protect(place, len, false)?;
                pages.clone().try_for_each(|page| self.look(page))?;
                self.memory.protect(place, len, true)?;
            }
            _ => return self.fork(),
        }
        for page in pages {
            self.look(page)?;
        }
        Ok(())
    }

    /// Writes a value to both ends of a page.
    fn put(&self, page: usize, value: u64) {
        let offset = self.place(page) * PAGE;
        self.memory.write(offset, value);
        self.memory.write(offset + PAGE - 8, value);
    }

    fn look(&self, page: usize) -> Result<(), Failure> {
        let offset = self.place(page) * PAGE;
        let expected = self.expected[page];
        for found in [offset, offset + PAGE - 8].map(|offset| self.memory.read(offset)) {
            if found != expected {
                return Err(Failure::Damage {
                    page,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Lets a copy look at all pages and change them, while other threads go on.
    fn fork(&self) -> Result<(), Failure> {
        let status = sys::in_a_copy(|| {
            for page in 0..PAGES {
                if self.look(page).is_err() {
                    return 3;
                }
                self.put(page, u64::MAX);
            }
            0
        })?;
        if status != 0 {
            return Err(Failure::Copy(status));
        }
        (0..PAGES).try_for_each(|page| self.look(page))
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, PAGES, Part, Plan, read, storm};
    use crate::sys::{Memory, PAGE};

    fn plan() -> Plan {
        Plan {
            threads: 2,
            rounds: 300,
            ..Plan::default()
        }
    }

    #[test]
    fn storm_finds_nothing_on_a_kernel_that_works() {
        assert_eq!(storm(plan()), 0);
    }

    #[test]
    fn damage_is_seen() {
        let memory = Memory::new(2 * PAGES * PAGE, false).expect("some memory");
        let part = Part::new(&memory, plan(), 1);
        assert!((0..PAGES).all(|page| part.look(page).is_ok()));
        memory.write(part.place(7) * PAGE, 9);
        assert!(matches!(
            part.look(7),
            Err(Failure::Damage { found: 9, .. })
        ));
    }

    #[test]
    fn shares_of_threads_are_all_of_the_memory() {
        let memory = Memory::new(2 * PAGES * PAGE, false).expect("some memory");
        let parts = [0, 1].map(|number| Part::new(&memory, plan(), number));
        let places = parts
            .iter()
            .flat_map(|part| (0..PAGES).map(|page| part.place(page)));
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..2 * PAGES));
    }

    #[test]
    fn plans_are_read() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let plan = read(&words("--threads 2 --seed 9")).expect("a plan");
        assert_eq!((plan.threads, plan.seed), (2, 9));
        for bad in ["--threads", "--threads 0", "--seed x", "--other 1"] {
            assert_eq!(read(&words(bad)), None, "{bad}");
        }
    }
}
