//! Running a guest to its end: watching it, and leaving nothing behind.

use std::fs::File;
use std::io::{IsTerminal, Read, Write, stdout};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::emulator::Emulator;
use crate::interrupt::{self, RunningGuest};
use crate::shell;
use crate::stream::{Event, Facts, Stream};

/// How the emulator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, with this status.
    Exited(Option<i32>),
    /// It took longer than it may, in all or without a word.
    TimedOut,
    /// The user wanted it to end.
    Interrupted,
}

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) total: Option<Duration>,
    /// Without printing anything.
    pub(crate) silence: Option<Duration>,
}

/// Time for an emulator to end after the kernel's last word.
const GRACE: Duration = Duration::from_secs(5);

/// Runs an emulator; each event of its output is handed to `handle`.
pub(crate) fn run(
    emulator: Emulator,
    limits: Limits,
    stream: &mut Stream,
    handle: &mut dyn FnMut(Event),
) -> Result<Ending> {
    run_timed(emulator, limits, stream, handle).map(|(ending, _)| ending)
}

/// As [`run`]; returns also when the guest came how far.
pub(crate) fn run_timed(
    mut emulator: Emulator,
    limits: Limits,
    stream: &mut Stream,
    handle: &mut dyn FnMut(Event),
) -> Result<(Ending, Milestones)> {
    shell::show(&emulator.command);
    emulator.command.stdout(Stdio::piped());
    if !shell::is_verbose() {
        emulator.command.stderr(Stdio::piped());
    }
    let name = emulator.command.get_program().display().to_string();
    let running = RunningGuest::new();
    let child = emulator
        .command
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let has_group = emulator.serial_file.is_some();
    let mut guest = Guest { child, has_group };

    let (sender, receiver) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    guest.start_readers(emulator.serial_file, sender, &ended);
    let (ending, milestones) = watch(&mut guest, limits, stream, handle, &receiver);
    guest.end();
    // Relaxed: the reader looks again and again.
    ended.store(true, Ordering::Relaxed);
    while let Ok(bytes) = receiver.recv_timeout(Duration::from_millis(300)) {
        stream.feed(&bytes, handle);
    }
    drop(running);
    Ok((ending, milestones))
}

/// Shows what a guest prints on this process's standard output.
pub(crate) fn show(event: Event) {
    if let Event::Bytes(bytes) = event {
        let mut out = stdout().lock();
        let bytes = if out.is_terminal() {
            bytes
        } else {
            without_returns(bytes)
        };
        // A closed pipe is the reader's wish.
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }
}

/// Leaves the carriage returns of a serial line out, for a file or a pipe.
fn without_returns(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.retain(|byte| *byte != b'\r');
    bytes
}

fn watch(
    guest: &mut Guest,
    limits: Limits,
    stream: &mut Stream,
    handle: &mut dyn FnMut(Event),
    receiver: &Receiver<Vec<u8>>,
) -> (Ending, Milestones) {
    let start = Instant::now();
    let mut milestones = Milestones::default();
    let mut last_output = start;
    let ending = loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => {
                last_output = Instant::now();
                stream.feed(&bytes, handle);
                milestones.note(&stream.facts, start);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(20)),
        }
        if let Ok(Some(status)) = guest.child.try_wait() {
            break Ending::Exited(status.code());
        }
        if interrupt::is_requested() {
            break Ending::Interrupted;
        }
        let finished = milestones.finished.map(|finished| start + finished);
        if finished.is_some_and(|finished| finished.elapsed() > GRACE) {
            break Ending::Exited(None);
        }
        let too_long = limits.total.is_some_and(|limit| start.elapsed() > limit);
        let too_quiet = limits
            .silence
            .is_some_and(|limit| last_output.elapsed() > limit);
        if too_long || too_quiet {
            break Ending::TimedOut;
        }
    };
    (ending, milestones)
}

/// When a guest came how far, from its emulator's start; shown with `-v`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Milestones {
    /// The kernel's first line.
    pub(crate) started: Option<Duration>,
    /// The program in ring 3.
    pub(crate) program_started: Option<Duration>,
    /// The kernel's last word.
    pub(crate) finished: Option<Duration>,
}

impl Milestones {
    fn note(&mut self, facts: &Facts, start: Instant) {
        for (at, is_there, what) in [
            (&mut self.started, facts.started, "the kernel's first line"),
            (
                &mut self.program_started,
                facts.program_started,
                "the program in ring 3",
            ),
            (
                &mut self.finished,
                facts.is_finished(),
                "the kernel's last word",
            ),
        ] {
            if is_there && at.is_none() {
                let since = start.elapsed();
                *at = Some(since);
                if shell::is_verbose() {
                    eprintln!("note: {what} after {:.1} s", since.as_secs_f32());
                }
            }
        }
    }
}

/// A running emulator.
struct Guest {
    child: Child,
    has_group: bool,
}

impl Guest {
    fn start_readers(
        &mut self,
        serial_file: Option<PathBuf>,
        sender: Sender<Vec<u8>>,
        ended: &Arc<AtomicBool>,
    ) {
        let pipe = self.child.stdout.take();
        match (serial_file, pipe) {
            (Some(path), pipe) => {
                let ended = Arc::clone(ended);
                thread::spawn(move || follow(&path, &sender, &ended));
                // What Bochs itself says is of no interest, but must be read.
                if let Some(mut pipe) = pipe {
                    thread::spawn(move || std::io::copy(&mut pipe, &mut std::io::sink()));
                }
            }
            (None, Some(pipe)) => {
                thread::spawn(move || forward(pipe, &sender));
            }
            (None, None) => {}
        }
        if let Some(mut errors) = self.child.stderr.take() {
            let is_bochs = self.has_group;
            thread::spawn(move || {
                let mut text = String::new();
                // Bochs complains of a missing sound card, each time.
                if errors.read_to_string(&mut text).is_ok() && !is_bochs {
                    eprint!("{text}");
                }
            });
        }
    }

    /// Ends the emulator, gently first so that it restores the terminal.
    fn end(&mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            self.signal(signal);
            for _ in 0..40 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        // What is left of its group, such as the display.
        if self.has_group {
            self.signal(Signal::KILL);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // A process that is gone already is what is wanted.
        let _ = match pid {
            Some(pid) if self.has_group => kill_process_group(pid, signal),
            Some(pid) => kill_process(pid, signal),
            None => Ok(()),
        };
    }
}

fn forward(mut pipe: impl Read, sender: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = pipe.read(&mut buffer) {
        if sender.send(buffer[..len].to_vec()).is_err() {
            return;
        }
    }
}

/// Follows a file as it grows, until the emulator has ended and all is read.
fn follow(path: &PathBuf, sender: &Sender<Vec<u8>>, ended: &AtomicBool) {
    let Ok(mut file) = File::open(path) else {
        return;
    };
    loop {
        // Relaxed, and read first: what was written before the end is read after.
        let is_last = ended.load(Ordering::Relaxed);
        let mut bytes = Vec::new();
        let failed = file.read_to_end(&mut bytes).is_err()
            || (!bytes.is_empty() && sender.send(bytes).is_err());
        if failed || is_last {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Explains an ending that is not the guest's own wish; `None` if it is.
pub(crate) fn complaint(ending: Ending, facts: &Facts) -> Option<(u8, String)> {
    let last = &facts.last_line;
    match ending {
        Ending::Interrupted => Some((130, "interrupted".to_owned())),
        Ending::TimedOut => Some((
            124,
            format!("the guest took too long and was ended; its last line was: {last}"),
        )),
        Ending::Exited(_) if facts.panicked => Some((101, "the kernel panicked".to_owned())),
        Ending::Exited(_) if facts.is_finished() => None,
        Ending::Exited(_) if !facts.started => Some((
            125,
            "the emulator ended before the kernel's first line (-v shows all of it)".to_owned(),
        )),
        Ending::Exited(status) => Some((
            125,
            format!(
                "the guest reset or died without a word (emulator status {status:?}); its last line was: {last}"
            ),
        )),
    }
}
