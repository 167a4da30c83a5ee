//! What `/proc` tells of a process: what it is, and what it does.

use alloc::string::String;
use core::fmt::{self, Write as _};
use core::time::Duration;

use nucleus::mm::PAGE_SIZE;

use super::memory;
use super::system::TICKS;
use super::text::Text;
use crate::process::signal::{Signal, SignalSet};
use crate::process::{Activity, Pid, Process, table};

/// What the family tree tells of a process.
struct Family {
    parent: u32,
    group: u32,
    session: u32,
    is_zombie: bool,
}

impl Family {
    fn of(process: &Process) -> Result<Self, fmt::Error> {
        let table = table::lock();
        let record = table.get(process.id()).ok_or(fmt::Error)?;
        Ok(Self {
            parent: record.parent.map_or(0, Pid::as_u32),
            group: record.group.as_u32(),
            session: record.session.as_u32(),
            is_zombie: record.end.is_some(),
        })
    }

    /// Returns what the process does, as a letter and a word: what its first thread does,
    /// as far as nothing stops all of them.
    fn state(&self, process: &Process) -> (char, &'static str) {
        if self.is_zombie {
            return ('Z', "zombie");
        }
        if process.signals.is_stopped() {
            return ('T', "stopped");
        }
        match process.threads().first().map(|thread| thread.activity()) {
            // One that has no thread any more is about to be a zombie.
            Some(Activity::Runs) | None => ('R', "running"),
            Some(Activity::Sleeps) => ('S', "sleeping"),
            Some(Activity::IsHeldUp) => ('D', "disk sleep"),
        }
    }
}

/// Returns the name of the process's first thread; of one that has ended, the last part
/// of its program's path.
fn short_name(process: &Process) -> String {
    match process.threads().first() {
        Some(thread) => {
            let name = thread.name();
            let len = name.iter().take_while(|byte| **byte != 0).count();
            String::from_utf8_lossy(&name[..len]).into_owned()
        }
        None => {
            let program = process.program();
            program.rsplit('/').next().unwrap_or("").into()
        }
    }
}

pub(super) fn name(process: &Process, text: &mut Text) -> fmt::Result {
    writeln!(text, "{}", short_name(process))
}

pub(super) fn command_line(process: &Process, text: &mut Text) -> fmt::Result {
    memory::push_range(process, &process.running().arguments, text);
    Ok(())
}

pub(super) fn environment(process: &Process, text: &mut Text) -> fmt::Result {
    memory::push_range(process, &process.running().environment, text);
    Ok(())
}

pub(super) fn status(process: &Process, text: &mut Text) -> fmt::Result {
    let pid = process.id();
    let family = Family::of(process)?;
    let (letter, state) = family.state(process);
    let umask = process.resources().map(|resources| resources.fs.umask());
    writeln!(text, "Name:\t{}", short_name(process))?;
    writeln!(text, "Umask:\t{:04o}", umask.unwrap_or(0))?;
    writeln!(text, "State:\t{letter} ({state})")?;
    writeln!(text, "Tgid:\t{pid}")?;
    writeln!(text, "Ngid:\t0")?;
    writeln!(text, "Pid:\t{pid}")?;
    writeln!(text, "PPid:\t{}", family.parent)?;
    writeln!(text, "TracerPid:\t0")?;
    writeln!(text, "Uid:\t0\t0\t0\t0")?;
    writeln!(text, "Gid:\t0\t0\t0\t0")?;
    let table_size = process.resources().map_or(0, |own| own.files.size());
    writeln!(text, "FDSize:\t{table_size}")?;
    writeln!(text, "Groups:\t")?;
    memory::sizes(process, text)?;
    writeln!(text, "Threads:\t{}", process.threads().len().max(1))?;
    signals(process, text)
}

/// Writes the lines of `status` that are about signals.
fn signals(process: &Process, text: &mut Text) -> fmt::Result {
    let threads = process.threads();
    let first = threads.first();
    let pending = first.map_or(0, |thread| thread.signals.pending.set().bits());
    let blocked = first.map_or(0, |thread| thread.signals.blocked().bits());
    let actions = process.signals.actions();
    let mut ignored = 0;
    let mut handled = 0;
    for signal in (1..=64).filter_map(Signal::new) {
        let action = actions.get(signal);
        let bit = SignalSet::from(signal).bits();
        if action.is_handled() {
            handled |= bit;
        } else if !action.is_default() {
            ignored |= bit;
        }
    }
    for (name, set) in [
        ("SigPnd:", pending),
        ("ShdPnd:", process.signals.pending.set().bits()),
        ("SigBlk:", blocked),
        ("SigIgn:", ignored),
        ("SigCgt:", handled),
    ] {
        writeln!(text, "{name}\t{set:016x}")?;
    }
    Ok(())
}

/// Writes `stat`: 52 fields, of which those that nobody knows are zeros.
pub(super) fn stat(process: &Process, text: &mut Text) -> fmt::Result {
    const UNKNOWN: &str = " 0";
    let family = Family::of(process)?;
    let (letter, _) = family.state(process);
    let usage = process.usage();
    let sizes = process.memory().map(|memory| memory.sizes());
    let sizes = sizes.unwrap_or_default();
    let Family {
        parent,
        group,
        session,
        ..
    } = family;
    let terminal = (4 << 8) | 64;
    write!(text, "{} ({}) {letter}", process.id(), short_name(process))?;
    write!(text, " {parent} {group} {session} {terminal} {group} 0")?;
    write!(text, " {} 0 0 0", usage.faults)?;
    let (user, system) = (ticks(usage.user), ticks(usage.system));
    write!(text, " {user} {system} 0 0 20 0")?;
    write!(text, " {} 0 0", process.threads().len())?;
    let resident = sizes.resident / PAGE_SIZE;
    write!(text, " {} {resident} {}", sizes.mapped, u64::MAX)?;
    for _ in 26..=52 {
        write!(text, "{UNKNOWN}")?;
    }
    writeln!(text)
}

fn ticks(time: Duration) -> u64 {
    time.as_millis() as u64 * TICKS / 1000
}
