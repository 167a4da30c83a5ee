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
use crate::starve::Starver;
use crate::stream::{Event, Facts, Stream};
use crate::{exit_code, shell};

/// How the emulator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, with this status.
    Exited(Option<i32>),
    /// Whoever looked on had seen enough.
    Dismissed,
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
const GRACE: Duration = Duration::from_secs(15);

/// Time for what an ended emulator has written to be read: its pipe ends with it, or is
/// held open by somebody who has nothing to say.
const READING: Duration = Duration::from_secs(5);

/// Who looks on while a guest runs, and says when that is enough.
pub(crate) trait Director {
    /// Takes an event of the guest's output.
    fn handle(&mut self, event: Event);

    /// Returns whether the guest may be ended; asked about twenty times a second.
    ///
    /// # Errors
    ///
    /// Ends the guest as well.
    fn is_done(&mut self, facts: &Facts) -> Result<bool>;
}

/// Who only listens: the guest ends by itself, soon after its last word.
struct Listener<'a> {
    handle: &'a mut dyn FnMut(Event),
    finished_at: Option<Instant>,
}

impl Director for Listener<'_> {
    fn handle(&mut self, event: Event) {
        (self.handle)(event);
    }

    fn is_done(&mut self, facts: &Facts) -> Result<bool> {
        if !facts.is_finished() {
            return Ok(false);
        }
        let since = self.finished_at.get_or_insert_with(Instant::now);
        Ok(since.elapsed() > GRACE)
    }
}

/// Runs an emulator; each event of its output is handed to `handle`.
pub(crate) fn run(
    emulator: Emulator,
    limits: Limits,
    stream: &mut Stream,
    handle: &mut dyn FnMut(Event),
) -> Result<Ending> {
    let mut listener = Listener {
        handle,
        finished_at: None,
    };
    direct(emulator, limits, stream, &mut listener)
}

/// Runs an emulator for as long as a director wants.
pub(crate) fn direct(
    mut emulator: Emulator,
    limits: Limits,
    stream: &mut Stream,
    director: &mut dyn Director,
) -> Result<Ending> {
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
    // What has a group is a display with an emulator, whose threads are elsewhere.
    let starver = if has_group {
        None
    } else {
        Starver::start(child.id())
    };
    let mut guest = Guest { child, has_group };

    let (sender, receiver) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    guest.start_readers(emulator.serial_file, sender, &ended);
    let ending = watch(&mut guest, limits, stream, director, &receiver);
    drop(starver);
    guest.end();
    // Relaxed: the reader looks again and again.
    ended.store(true, Ordering::Relaxed);
    // Until the reader has seen the end.
    while let Ok(bytes) = receiver.recv_timeout(READING) {
        stream.feed(&bytes, &mut |event| director.handle(event));
    }
    drop(running);
    ending
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
    director: &mut dyn Director,
    receiver: &Receiver<Vec<u8>>,
) -> Result<Ending> {
    let start = Instant::now();
    let mut milestones = Milestones::default();
    let mut last_output = start;
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => {
                last_output = Instant::now();
                stream.feed(&bytes, &mut |event| director.handle(event));
                milestones.note(&stream.facts, start);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(20)),
        }
        if let Ok(Some(status)) = guest.child.try_wait() {
            return Ok(Ending::Exited(status.code()));
        }
        if interrupt::is_requested() {
            return Ok(Ending::Interrupted);
        }
        if director.is_done(&stream.facts)? {
            return Ok(Ending::Dismissed);
        }
        let too_long = limits.total.is_some_and(|limit| start.elapsed() > limit);
        let too_quiet = limits
            .silence
            .is_some_and(|limit| last_output.elapsed() > limit);
        if too_long || too_quiet {
            return Ok(Ending::TimedOut);
        }
    }
}

/// When a guest came how far; shown with `-v`.
#[derive(Debug, Default)]
struct Milestones {
    started: bool,
    program_started: bool,
    finished: bool,
}

impl Milestones {
    fn note(&mut self, facts: &Facts, start: Instant) {
        for (seen, now, what) in [
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
            if now && !*seen && shell::is_verbose() {
                eprintln!("note: {what} after {:.1} s", start.elapsed().as_secs_f32());
            }
            *seen = now;
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
                    // That QEMU was ended is no news to who ended it.
                    let news = text
                        .lines()
                        .filter(|line| !line.contains("terminating on signal"));
                    news.for_each(|line| eprintln!("{line}"));
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
        Ending::Exited(_) | Ending::Dismissed if facts.panicked => Some((
            101,
            how_it_ended(ending).unwrap_or("the kernel panicked".to_owned()),
        )),
        Ending::Exited(_) if facts.is_finished() => None,
        Ending::Dismissed => None,
        Ending::Exited(_) if !facts.started => Some((
            125,
            "the emulator ended before the kernel's first line (-v shows all of it)".to_owned(),
        )),
        Ending::Exited(status) => {
            let how = how_it_ended(ending).unwrap_or_else(|| {
                let status = status.map_or("none".to_owned(), |status| status.to_string());
                format!("the guest reset or died without a word (emulator status {status})")
            });
            Some((125, format!("{how}; its last line was: {last}")))
        }
    }
}

/// Says how the guest ended, if the emulator's status is one of the kernel's codes.
fn how_it_ended(ending: Ending) -> Option<String> {
    let Ending::Exited(status) = ending else {
        return None;
    };
    Some(format!("the guest ended: {}", exit_code::of_qemu(status?)?))
}
