//! The terminal: the console as programs see it.
//!
//! ```text
//!  typed ──▶ line::Discipline ──▶ (whole lines, or bytes) ──▶ read
//!                 │ echo
//!                 ▼
//!              console ◀────────────────────────────────── write
//! ```
//!
//! There is one. A line is edited while it is typed and is read as a whole, unless a
//! program sets the terminal to raw. What is typed is taken from the console by a task of
//! its own, so that Ctrl-C works when nobody reads.
//!
//! * `line`: what a typed byte does. * `settings`: what programs may set.
//!
//! **Locks.** One spin lock covers settings and typed bytes: they are few and looked at
//! where nothing may sleep. The console's own lock is taken under it for the echo, and
//! signals are sent without it.

mod line;
mod settings;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use nucleus::mm::{VmReader, VmWriter};
use nucleus::sync::{Once, SpinLock, WaitQueue};
use nucleus::task::TaskOptions;
use nucleus::{console, power};

use self::line::{Discipline, Typed};
pub(crate) use self::settings::{SETTINGS_SIZE, Settings};
use super::buffer::{Sink, Source};
use super::node::{Filesystem, Inode, Kind, Metadata, Stream};
use super::poll::{self, EdgeCounter, Edges, Readiness};
use crate::errno::Errno;

/// Rows, columns, and both in pixels, which nobody knows: `struct winsize`.
pub(crate) type WindowSize = [u16; 4];

/// The size that is assumed of whatever is at the other end of the serial line, where
/// there is no screen.
const DEFAULT_SIZE: WindowSize = [24, 80, 0, 0];
/// Number of the inode.
const NUMBER: u64 = 2;
/// Major and minor number of `ttyS0`.
const DEVICE: (u32, u32) = (4, 64);

/// The terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    discipline: SpinLock<Discipline>,
    size: SpinLock<WindowSize>,
    /// The group of processes that the keyboard's signals are for; zero for none.
    foreground: AtomicU32,
    edges: EdgeCounter,
    readers: WaitQueue,
}

static TERMINAL: Once<Arc<Terminal>> = Once::new();

impl Terminal {
    /// Returns the terminal.
    pub(crate) fn get() -> Arc<Self> {
        let terminal = TERMINAL.call_once(|| {
            Arc::new(Self {
                discipline: SpinLock::new(Discipline::new()),
                size: SpinLock::new(screen_size().unwrap_or(DEFAULT_SIZE)),
                foreground: AtomicU32::new(0),
                edges: EdgeCounter::new(),
                readers: WaitQueue::new(),
            })
        });
        Arc::clone(terminal)
    }

    /// Starts the task that takes what is typed from the console.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`].
    pub(crate) fn start() -> Result<(), Errno> {
        let terminal = Self::get();
        TaskOptions::new(move || terminal.take_input_for_ever())
            .name("terminal")
            .spawn()?;
        Ok(())
    }

    fn take_input_for_ever(&self) {
        loop {
            let has_come = || console::input_len() > 0;
            let keys = console::input_queue().wait_until(|| {
                let keys = power::take_restart_keys();
                (keys || has_come()).then_some(keys)
            });
            if keys {
                super::hooks::interrupt_first();
            }
            self.take_input();
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.discipline.lock().settings().clone()
    }

    /// Changes the settings, and forgets what was typed if `flushes` says so.
    pub(crate) fn set_settings(&self, settings: &Settings, flushes: bool) {
        let mut discipline = self.discipline.lock();
        if flushes {
            discipline.flush();
        }
        discipline.set_settings(settings);
        drop(discipline);
        poll::wake(&self.readers);
    }

    /// Forgets what was typed.
    pub(crate) fn flush_input(&self) {
        self.discipline.lock().flush();
    }

    pub(crate) fn size(&self) -> WindowSize {
        *self.size.lock()
    }

    pub(crate) fn set_size(&self, size: WindowSize) {
        *self.size.lock() = size;
    }

    /// Returns the group of processes that the keyboard's signals are for, or zero.
    pub(crate) fn foreground(&self) -> u32 {
        // Relaxed: a number, with which nothing else goes.
        self.foreground.load(Ordering::Relaxed)
    }

    /// Returns the group of processes that the keyboard's signals are for, which is
    /// that of whoever asks if nobody has said anything else.
    pub(crate) fn foreground_or(&self, own: u32) -> u32 {
        // Relaxed: as above.
        let taken = self
            .foreground
            .compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
        taken.map_or_else(|other| other, |_| own)
    }

    pub(crate) fn set_foreground(&self, group: u32) {
        // Relaxed: as above.
        self.foreground.store(group, Ordering::Relaxed);
    }

    /// Takes what was typed from the console.
    fn take_input(&self) {
        let mut bytes = [0; 64];
        loop {
            let count = console::read_input(&mut bytes);
            if count == 0 {
                return;
            }
            for byte in &bytes[..count] {
                let typed = self.discipline.lock().type_byte(*byte);
                match typed {
                    Typed::Nothing => {}
                    Typed::Readable => {
                        self.edges.add_read();
                        poll::wake(&self.readers);
                    }
                    Typed::Signal(signal) => self.signal_foreground(signal),
                }
            }
        }
    }

    /// Sends a signal that was typed to the group of processes in the foreground.
    fn signal_foreground(&self, signal: u8) {
        poll::wake(&self.readers);
        super::hooks::signal_group(self.foreground(), signal);
    }
}

/// Returns the size of the screen, if there is one.
fn screen_size() -> Option<WindowSize> {
    let (columns, rows) = console::screen_size()?;
    let small = |number| u16::try_from(number).unwrap_or(u16::MAX);
    Some([small(rows), small(columns), 0, 0])
}

impl Inode for Terminal {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o620,
            device: DEVICE,
            ..Metadata::new(Filesystem::Devices, NUMBER, Kind::CharacterDevice)
        }
    }

    fn change(&self, _change: &super::node::Change) -> Result<(), Errno> {
        Ok(())
    }

    fn made_up_name(&self) -> Vec<u8> {
        b"/dev/console".to_vec()
    }
}

impl Stream for Terminal {
    fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        const CHUNK: usize = 256;
        if to.room() == 0 {
            return Ok(0);
        }
        let mut done = 0;
        while to.room() > 0 {
            let mut bytes = [0; CHUNK];
            let wanted = to.room().min(CHUNK);
            let Some((count, goes_on)) = self.discipline.lock().read(&mut bytes[..wanted]) else {
                break;
            };
            match to.put(VmReader::from(&bytes[..count])) {
                Ok(put) => done += put,
                Err(_) if done > 0 => break,
                // What was typed is lost, as its reader might be.
                Err(error) => return Err(error),
            }
            if !goes_on {
                return Ok(done);
            }
        }
        if done == 0 {
            return Err(Errno::Again);
        }
        Ok(done)
    }

    fn write(&self, from: &mut dyn Source) -> Result<usize, Errno> {
        let mut done = 0;
        while from.left() > 0 {
            let mut bytes = [0; 512];
            match from.take(VmWriter::from(&mut bytes[..])) {
                Ok(count) => {
                    console::write_program_output(&bytes[..count]);
                    done += count;
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn readiness(&self) -> Readiness {
        let has_input = self.discipline.lock().has_input();
        Readiness::WRITE | Readiness::READ.when(has_input)
    }

    fn edges(&self) -> Edges {
        self.edges.get()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.readers)
    }

    fn as_terminal(&self) -> Option<&Terminal> {
        Some(self)
    }

    fn nr_readable(&self) -> Option<usize> {
        Some(self.discipline.lock().nr_readable())
    }
}
