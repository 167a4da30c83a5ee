//! Emulators whose threads stand still now and then, as on a host that has other things to
//! do: what tests take for granted about time is then found on purpose, and not by luck.
//!
//! `cargo xtask test --starve` does it. Some of an emulator's threads at a time, processors
//! and those that serve devices, are stopped by the calls for debuggers (`ptrace`), which
//! can stop single threads, and go on after a while. The first thread is left alone: whoever
//! waits for the emulator's end would be told of its stops.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// The longest that threads stand still, in milliseconds: more than a busy host of two
/// processors lets them.
const LONGEST_STOP_MS: u64 = 600;
/// The longest that all run, in milliseconds.
const LONGEST_RUN_MS: u64 = 100;
/// Of so many threads, one stands still.
const SHARE: u64 = 3;

/// Has the threads of all emulators that start from now on stand still now and then.
pub(crate) fn enable() {
    // Relaxed, here and below: flags that stand alone.
    IS_WANTED.store(true, Ordering::Relaxed);
}

/// Who makes the threads of an emulator stand still, until this value is dropped.
#[derive(Debug)]
pub(crate) struct Starver {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Starver {
    /// Begins, if that is wanted.
    pub(crate) fn start(process: u32) -> Option<Self> {
        let is_wanted = IS_WANTED.load(Ordering::Relaxed);
        let process = i32::try_from(process).ok().filter(|_| is_wanted)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        // All of `ptrace` is bound to the thread that begins it.
        let thread = thread::spawn(move || starve(process, &seen));
        Some(Self {
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Starver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported.
            let _ = thread.join();
        }
    }
}

fn starve(process: i32, is_over: &AtomicBool) {
    let mut random = Random::new();
    while !is_over.load(Ordering::Relaxed) {
        let mut chosen = other_threads(process);
        chosen.retain(|_| random.below(SHARE) == 0);
        let stopped: Vec<_> = chosen.into_iter().filter_map(Stopped::new).collect();
        sleep(Duration::from_millis(random.below(LONGEST_STOP_MS)));
        drop(stopped);
        sleep(Duration::from_millis(random.below(LONGEST_RUN_MS)));
    }
}

/// Returns the threads of a process but for the first; none if it has ended.
fn other_threads(process: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{process}/task"));
    let names = entries.into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number != process).collect()
}

/// A thread that stands still until this value is dropped.
#[derive(Debug)]
struct Stopped {
    thread: Pid,
    /// What it was about to be sent.
    signal: Option<Signal>,
}

impl Stopped {
    /// Stops a thread of a child; nothing if it has ended, or may not be stopped.
    fn new(thread: i32) -> Option<Self> {
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty()).ok()?;
        ptrace::interrupt(thread).ok()?;
        let signal = match waitpid(thread, Some(WaitPidFlag::__WALL)).ok()? {
            WaitStatus::PtraceEvent(..) => None,
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => return None,
        };
        Some(Self { thread, signal })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if ptrace::detach(self.thread, self.signal).is_err() {
            // It was killed meanwhile, and its process does not end before somebody has
            // been told of that.
            let _ = waitpid(self.thread, Some(WaitPidFlag::__WALL));
        }
    }
}

/// Numbers that differ from run to run (xorshift).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(1, |since| since.as_nanos() as u64 | 1))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command};
    use std::thread;
    use std::time::Duration;

    use super::{Random, Stopped, other_threads};

    /// Waits until the first thread of a child is in a state, by its letter.
    fn wait_for(child: &Child, wanted: &str) {
        let stat = format!("/proc/{}/stat", child.id());
        let is_there = || {
            let text = fs::read_to_string(&stat).unwrap();
            text.rsplit(") ").next().unwrap().starts_with(wanted)
        };
        while !is_there() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn thread_stands_still_and_goes_on() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        wait_for(&child, "S");
        match Stopped::new(number) {
            Some(stopped) => {
                wait_for(&child, "t");
                drop(stopped);
                wait_for(&child, "S");
            }
            None => eprintln!("skipped: nothing may be stopped here"),
        }
        assert!(other_threads(number).is_empty());
        // One that is killed as it stands still is gone all the same.
        let stopped = Stopped::new(number);
        child.kill().unwrap();
        drop(stopped);
        let _ = child.wait();
        assert!(Stopped::new(number).is_none(), "it has ended");
    }

    #[test]
    fn random_numbers_are_below_their_bound() {
        let mut random = Random::new();
        let numbers: Vec<_> = (0..1000).map(|_| random.below(7)).collect();
        assert!((0..7).all(|number| numbers.contains(&number)));
        assert!(numbers.iter().all(|number| *number < 7));
    }
}
