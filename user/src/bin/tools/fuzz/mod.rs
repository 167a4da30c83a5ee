//! `syscall-fuzz [--calls N] [--seed N] [--threads N] [--processes N] [--only WORKER]
//! [--among NAME,NAME…] [--trace]`: random system calls with random and nearly right arguments.
//!
//! Workers make the calls: processes with some threads each, which may and do ruin
//! themselves. This process makes none of them; it starts workers until there were
//! enough calls, and kills those that stand still. They come in four parts; after each
//! all are gone, and the frames in use are counted. The kernel keeps stores that grow
//! at first; what grows after every part is lost.
//!
//! What a worker does follows from the seed and its number, as far as its threads do
//! not disturb each other: `--only WORKER --threads 1` repeats it. Nothing is left out
//! but what would end the session or reach other processes. On another kernel than
//! Vostok only known calls are made, by a user who may do nothing, in a directory that
//! is all that they see.

mod arguments;
mod calls;
mod machine;
mod worker;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use calls::{CALLS, Call};
use machine::Board;
use worker::{SLOT, Slot, THREADS};

/// A worker that makes no call for so long is killed: some calls wait for what never
/// comes.
const STILL: Duration = Duration::from_millis(500);

/// Time in which a process that was killed has to be gone.
const DEATH: Duration = Duration::from_secs(60);

/// Time for frames to be free after the last process.
const SETTLING: Duration = Duration::from_millis(200);

/// Parts of the calls; after each, no process is left and frames are counted.
const PARTS: u64 = 4;

/// Kinds of frames that programs have, by the starts of their names.
const OF_PROGRAMS: [&str; 6] = [
    "anonymous",
    "shared",
    "files",
    "pipes",
    "untyped",
    "user-tables",
];

/// Frames that this program itself may take from part to part.
const SLACK: u64 = 8;

/// Frames that all of the kernel may take from part to part: so many each time are more
/// than its stores have room for, which are 32 stacks of 8 frames and some for the heap.
const SLACK_OF_STORES: u64 = 128;

/// Where Vostok tells what frames are used for.
const KINDS: &str = "/proc/vostok/frames";

/// Where files are made.
const DIRECTORY: &str = "/tmp/syscall-fuzz";

/// The file that calls are traced to, beyond those that are guessed.
const TRACE: i32 = 900;

/// Who may do nothing.
const NOBODY: u32 = 65_534;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    calls: u64,
    seed: u64,
    threads: usize,
    processes: usize,
    only: Option<u64>,
    /// The calls to choose from.
    among: Vec<Call>,
    is_traced: bool,
    /// Numbers of calls are random, too.
    all_numbers: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            calls: 100_000,
            seed: 1,
            threads: 3,
            processes: 2,
            only: None,
            among: CALLS.to_vec(),
            is_traced: false,
            all_numbers: false,
        }
    }
}

pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let Some(plan) = read(&words) else {
        eprintln!(
            "syscall-fuzz [--calls N] [--seed N] [--threads N] [--processes N] \
             [--only WORKER] [--among NAME,NAME…] [--trace]"
        );
        return 2;
    };
    println!("syscall-fuzz: {} calls, seed {}", plan.calls, plan.seed);
    let seed = plan.seed;
    match Session::new(plan).and_then(Session::run) {
        Ok(()) => 0,
        Err(error) => {
            println!("syscall-fuzz: FAILED, seed {seed}: {error}");
            1
        }
    }
}

fn read(words: &[String]) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--trace" {
            plan.is_traced = true;
            continue;
        }
        if word == "--among" {
            let names: Vec<_> = words.next()?.split(',').collect();
            plan.among.retain(|call| names.contains(&call.short_name()));
            continue;
        }
        let number: u64 = words.next()?.parse().ok()?;
        let small = |most| {
            usize::try_from(number)
                .ok()
                .filter(|n| (1..=most).contains(n))
        };
        match word.as_str() {
            "--calls" => plan.calls = number,
            "--seed" => plan.seed = number,
            "--threads" => plan.threads = small(THREADS)?,
            "--processes" => plan.processes = small(16)?,
            "--only" => plan.only = Some(number),
            _ => return None,
        }
    }
    if plan.only.is_some() {
        plan.processes = 1;
    }
    let is_chosen = plan.among.len() < CALLS.len();
    plan.all_numbers = is_vostok() && !is_chosen;
    (!plan.among.is_empty()).then_some(plan)
}

fn is_vostok() -> bool {
    // Its name is the one that programs expect.
    let version = rustix::system::uname().version().to_bytes().to_vec();
    String::from_utf8_lossy(&version).contains("Vostok")
}

/// A worker that runs.
#[derive(Debug)]
struct Running {
    pid: i32,
    worker: u64,
    /// How many calls its slot had when it was looked at, and when that was.
    calls: u64,
    seen: Instant,
    is_killed: bool,
}

/// The process that starts workers.
struct Session {
    plan: Plan,
    board: Board,
    /// One place for each worker at a time.
    running: Vec<Option<Running>>,
    started: u64,
    died: u64,
    stood_still: u64,
    reported: Instant,
}

impl Session {
    fn new(plan: Plan) -> io::Result<Self> {
        Ok(Self {
            board: Board::new(plan.processes * SLOT)?,
            running: (0..plan.processes).map(|_| None).collect(),
            plan,
            started: 0,
            died: 0,
            stood_still: 0,
            reported: Instant::now(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut in_use = Vec::new();
        let mut kinds = Vec::new();
        for part in 1..=PARTS {
            make_directory()?;
            while !self.is_enough(part) {
                self.start_workers()?;
                if !self.reap()? {
                    sleep(Duration::from_millis(2));
                }
                self.look_after()?;
                self.report();
            }
            self.end_workers()?;
            fs::remove_dir_all(DIRECTORY)?;
            sleep(SETTLING);
            in_use.extend(frames_in_use());
            kinds.extend(fs::read_to_string(KINDS).ok());
        }
        println!(
            "syscall-fuzz: {} calls by {} workers, of which {} died and {} stood still",
            self.calls(),
            self.started,
            self.died,
            self.stood_still
        );
        look_at_frames(&in_use, &kinds)
    }

    fn calls(&self) -> u64 {
        (0..self.running.len())
            .map(|index| self.slot(index).calls())
            .sum()
    }

    fn slot(&self, index: usize) -> Slot<'_> {
        Slot {
            board: &self.board,
            index,
        }
    }

    /// Returns whether so many parts of the calls have been made.
    fn is_enough(&self, part: u64) -> bool {
        match self.plan.only {
            Some(_) => self.started == 1 && self.running.iter().all(Option::is_none),
            None => self.calls() >= self.plan.calls.saturating_mul(part) / PARTS,
        }
    }

    fn start_workers(&mut self) -> io::Result<()> {
        for index in 0..self.running.len() {
            let is_last = self.plan.only.is_some() && self.started > 0;
            if self.running[index].is_some() || is_last {
                continue;
            }
            let worker = self.plan.only.unwrap_or(self.started);
            let pid = machine::fork()?;
            if pid == 0 {
                prepare(&self.plan);
                worker::run(&self.plan, worker, self.slot(index));
            }
            self.started += 1;
            let calls = self.slot(index).calls();
            self.running[index] = Some(Running {
                pid,
                worker,
                calls,
                seen: Instant::now(),
                is_killed: false,
            });
        }
        Ok(())
    }

    /// Takes a process that has ended; returns whether there was one.
    fn reap(&mut self) -> io::Result<bool> {
        let Some((pid, status)) = machine::ended_child()? else {
            return Ok(false);
        };
        // As the first process, this one has the orphans, too.
        let is_it = |place: &&mut Option<Running>| place.as_ref().is_some_and(|it| it.pid == pid);
        if let Some(place) = self.running.iter_mut().find(is_it) {
            let was_killed = place.take().is_some_and(|it| it.is_killed);
            self.stood_still += u64::from(was_killed);
            self.died += u64::from(!was_killed && status != 0);
            // Its copies are in its group.
            machine::kill(-pid);
        }
        Ok(true)
    }

    /// Kills workers that stand still; those have to be gone soon.
    fn look_after(&mut self) -> io::Result<()> {
        for index in 0..self.running.len() {
            let calls = self.slot(index).calls();
            let Some(running) = &mut self.running[index] else {
                continue;
            };
            if running.calls != calls && !running.is_killed {
                (running.calls, running.seen) = (calls, Instant::now());
            }
            let time = running.seen.elapsed();
            if running.is_killed && time > DEATH {
                let (pid, worker) = (running.pid, running.worker);
                let last = self.slot(index).last_calls();
                let text =
                    format!("worker {worker} (process {pid}) does not die; it called\n{last}");
                return Err(io::Error::other(text));
            }
            if !running.is_killed && time > STILL {
                machine::kill(running.pid);
                (running.is_killed, running.seen) = (true, Instant::now());
            }
        }
        Ok(())
    }

    /// Says how far it has come, now and then.
    fn report(&mut self) {
        if self.reported.elapsed() > Duration::from_secs(5) {
            let workers: Vec<_> = self
                .running
                .iter()
                .flatten()
                .map(|it| it.worker.to_string())
                .collect();
            println!(
                "syscall-fuzz: {} calls; workers {} run",
                self.calls(),
                workers.join(", ")
            );
            self.reported = Instant::now();
        }
    }

    /// Kills what is left, and waits until all of it is gone.
    fn end_workers(&mut self) -> io::Result<()> {
        for running in self.running.iter_mut().flatten() {
            machine::kill(running.pid);
            machine::kill(-running.pid);
            (running.is_killed, running.seen) = (true, Instant::now());
        }
        let deadline = Instant::now() + DEATH;
        loop {
            match self.reap() {
                Ok(true) => {}
                Ok(false) if Instant::now() > deadline => {
                    return Err(io::Error::other("not all processes die"));
                }
                Ok(false) => sleep(Duration::from_millis(2)),
                // There are no more.
                Err(_) => return Ok(()),
            }
        }
    }
}

/// Makes a directory for the workers' files, empty and anybody's.
fn make_directory() -> io::Result<()> {
    if Path::new(DIRECTORY).exists() {
        fs::remove_dir_all(DIRECTORY)?;
    }
    fs::create_dir_all(DIRECTORY)?;
    // Where there are no owners, nobody needs to be one.
    let _ = chown(DIRECTORY, Some(NOBODY), Some(NOBODY));
    Ok(())
}

/// Makes a new process one that can harm no other: a group of its own, no terminal,
/// and on another kernel no rights and no files but its own.
fn prepare(plan: &Plan) {
    let quiet = |number, arguments| machine::quiet_call(number, arguments);
    quiet(libc::SYS_setsid, [0; 6]);
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    if plan.is_traced {
        quiet(libc::SYS_dup2, [2, TRACE as u64, 0, 0, 0, 0]);
    }
    if let Ok(null) = null {
        for file in 0..3 {
            quiet(libc::SYS_dup2, [null.as_raw_fd() as u64, file, 0, 0, 0, 0]);
        }
    }
    let is_there = std::env::set_current_dir(DIRECTORY).is_ok();
    if is_vostok() {
        return;
    }
    let limit = [2_u64 << 30; 2];
    let place = limit.as_ptr() as u64;
    quiet(
        libc::SYS_setrlimit,
        [u64::from(libc::RLIMIT_AS), place, 0, 0, 0, 0],
    );
    let is_apart = quiet(libc::SYS_chroot, [c".".as_ptr() as u64, 0, 0, 0, 0, 0]) == 0;
    let nobody = u64::from(NOBODY);
    quiet(libc::SYS_setgroups, [0; 6]);
    quiet(libc::SYS_setresgid, [nobody, nobody, nobody, 0, 0, 0]);
    quiet(libc::SYS_setresuid, [nobody, nobody, nobody, 0, 0, 0]);
    let is_nobody = quiet(libc::SYS_geteuid, [0; 6]) != 0;
    // Without rights a process cannot be put apart, and need not be.
    if !is_there || !is_nobody || (!is_apart && quiet(libc::SYS_getuid, [0; 6]) == 0) {
        machine::exit(1);
    }
}

/// Returns how many frames are in use, if this is the kernel that it is about.
fn frames_in_use() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo")
        .ok()
        .filter(|_| is_vostok())?;
    let kib = |name| {
        let line = text
            .lines()
            .find_map(|line: &str| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(kib("MemTotal:")?.checked_sub(kib("MemFree:")?)? / 4)
}

/// Says how many frames were in use after each part, and whether some are lost; then, what
/// kinds of frames there were.
fn look_at_frames(in_use: &[u64], kinds: &[String]) -> io::Result<()> {
    if in_use.is_empty() {
        println!("frames in use: not looked at, this is another kernel");
        return Ok(());
    }
    let shown: Vec<_> = in_use.iter().map(u64::to_string).collect();
    println!("frames in use after each part: {}", shown.join(", "));
    let programs: Vec<_> = kinds.iter().map(|text| frames_of_programs(text)).collect();
    if are_lost(in_use, SLACK_OF_STORES) || are_lost(&programs, SLACK) {
        for (part, text) in (1..).zip(kinds) {
            println!("after part {part}: {}", text.replace('\n', ", "));
        }
        return Err(io::Error::other("frames are lost"));
    }
    Ok(())
}

/// Adds up the frames that programs have, of a text of `/proc/vostok/frames`.
fn frames_of_programs(text: &str) -> u64 {
    let kinds = text.lines().filter_map(|line| line.split_once(' '));
    kinds
        .filter(|(name, _)| OF_PROGRAMS.iter().any(|start| name.starts_with(start)))
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

fn are_lost(in_use: &[u64], slack: u64) -> bool {
    let grows = |pair: &[u64]| pair[1] > pair[0] + slack;
    in_use.len() > 1 && in_use.windows(2).all(grows)
}

#[cfg(test)]
mod tests {
    use super::{are_lost, frames_of_programs, read};

    #[test]
    fn frames_that_grow_each_time_are_lost() {
        assert!(are_lost(&[100, 120, 140, 160], 8));
        assert!(!are_lost(&[100, 120, 140, 160], 20));
        for fine in [&[100, 140, 142, 141][..], &[100, 150, 150, 190], &[7], &[]] {
            assert!(!are_lost(fine, 8), "{fine:?}");
        }
    }

    #[test]
    fn frames_of_programs_are_added_up() {
        let text = "managed 100\nanonymous 17\nstacks 40\nuser-tables-1 2\nuser-tables-4 1\n";
        assert_eq!(frames_of_programs(text), 20);
    }

    #[test]
    fn plans_are_read() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let plan = read(&words("--calls 5 --only 7 --trace")).expect("a plan");
        assert_eq!((plan.calls, plan.only, plan.processes), (5, Some(7), 1));
        assert!(plan.is_traced);
        for bad in [
            "--calls",
            "--threads 0",
            "--threads 9",
            "--what 1",
            "--seed x",
        ] {
            assert_eq!(read(&words(bad)), None, "{bad}");
        }
    }
}
