//! A guest that is watched: steps that wait for something to be seen, type, and keep
//! pictures.
//!
//! The kernel prints to serial first and draws then, so that a line on serial says
//! nothing about the screen: who waits for a text on the screen reads the screen, and
//! who waits for one on serial gets a picture when the screen has come to rest.
//!
//! The guest is booted without QEMU's debug-exit device, and QEMU stays when the guest
//! powers off, so that its last words can be read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::glyphs::ScreenText;
use super::keys::Chord;
use super::monitor::Monitor;
use super::picture::Picture;
use crate::emulator::{self, Boot};
use crate::flags::MachineOptions;
use crate::guest::{self, Director, Ending, Limits};
use crate::stream::{Event, Facts, Stream};

/// From one look at the screen to the next.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// A step of a session.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Waits for a text on serial, behind what earlier steps have waited for.
    UntilSerial(String),
    /// Waits until the program or the kernel has ended, or a shell waits for a line.
    UntilReady,
    /// Waits until so much time has passed since the start.
    UntilTime(Duration),
    /// Waits until the screen shows all of these texts.
    UntilScreen(Vec<String>),
    /// Waits until the screen does not change.
    UntilRest,
    /// Waits until the guest has powered off.
    UntilOff,
    /// Presses keys.
    Press(Vec<Chord>),
    /// Breaks the serial line.
    Break,
    /// Plugs a USB keyboard with a name in, at a port of the USB controller.
    PlugKeyboard(&'static str, &'static str),
    /// Pulls the device with a name out.
    Unplug(&'static str),
    /// Keeps a picture, of now.
    Keep,
    /// Keeps the picture that the step before has looked at: what shows for a while may be
    /// gone by now.
    KeepSeen,
}

impl Step {
    /// Waits until the screen shows these texts.
    pub(crate) fn until_screen(texts: &[&str]) -> Self {
        Self::UntilScreen(texts.iter().map(|text| (*text).to_owned()).collect())
    }
}

/// What came of a session.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) ending: Ending,
    pub(crate) facts: Facts,
    /// The pictures that were kept.
    pub(crate) pictures: Vec<Picture>,
    /// The guest's lines on serial, from the kernel's first one on.
    pub(crate) lines: Vec<String>,
    /// What the screen showed last, if a step looked at it.
    pub(crate) last: Option<Picture>,
    /// The step that was waited for in vain.
    pub(crate) missed: Option<Step>,
}

impl Seen {
    /// Explains why the session did not come to its end; `None` if it did.
    pub(crate) fn complaint(&self) -> Option<String> {
        let missed = self.missed.as_ref()?;
        let screen = self.last.as_ref().map(ScreenText::read);
        let screen = screen.map_or("not seen".to_owned(), |text| text.text());
        let serial = self.facts.last_line.as_str();
        Some(format!(
            "waited in vain: {missed:?} ({:?})\nthe last line on serial: {serial}\nthe screen:\n{screen}",
            self.ending
        ))
    }
}

/// Boots a guest and goes through steps; ends it after the last one.
///
/// The kernel must not be told of the debug-exit device.
pub(crate) fn run(
    machine: &MachineOptions,
    mut boot: Boot,
    mut stream: Stream,
    steps: impl IntoIterator<Item = Step>,
    limit: Duration,
) -> Result<Seen> {
    let monitor = Monitor::new()?;
    boot.extra.extend(monitor.arguments());
    boot.extra.push("-no-shutdown".to_owned());
    let emulator = emulator::prepare(machine, &boot)?;
    let mut session = Session::new(monitor, steps.into_iter().collect());
    let limits = Limits {
        total: Some(limit),
        silence: None,
    };
    let ending = guest::direct(emulator, limits, &mut stream, &mut session)?;
    Ok(Seen {
        ending,
        facts: stream.facts,
        pictures: session.pictures,
        lines: session.lines,
        last: session.last,
        missed: session.steps.pop_front(),
    })
}

/// The steps to go, and what is known of the guest.
struct Session {
    monitor: Monitor,
    steps: VecDeque<Step>,
    pictures: Vec<Picture>,
    lines: Vec<String>,
    /// What the guest has printed since the last step that waited for it.
    unread: String,
    started: Instant,
    last: Option<Picture>,
    looked: Instant,
}

impl Director for Session {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Bytes(bytes) => self.unread.push_str(&String::from_utf8_lossy(&bytes)),
            Event::Line(line) => self.lines.push(line),
        }
    }

    fn is_done(&mut self, facts: &Facts) -> Result<bool> {
        while let Some(step) = self.steps.front().cloned() {
            if !self.is_over(&step, facts)? {
                return Ok(false);
            }
            self.steps.pop_front();
        }
        Ok(true)
    }
}

impl Session {
    fn new(monitor: Monitor, steps: VecDeque<Step>) -> Self {
        let now = Instant::now();
        Self {
            monitor,
            steps,
            pictures: Vec::new(),
            lines: Vec::new(),
            unread: String::new(),
            started: now,
            last: None,
            looked: now,
        }
    }

    /// Does what a step is to do, as far as it can be done now; returns whether it is
    /// over.
    fn is_over(&mut self, step: &Step, facts: &Facts) -> Result<bool> {
        match step {
            Step::UntilSerial(text) => Ok(self.has_printed(text)),
            Step::UntilReady => Ok(facts.is_finished() || self.waits_for_a_line()),
            Step::UntilTime(time) => Ok(self.started.elapsed() >= *time),
            Step::UntilScreen(texts) => {
                let Some(picture) = self.look()? else {
                    return Ok(false);
                };
                let screen = ScreenText::read(&picture);
                Ok(texts.iter().all(|text| screen.contains(text)))
            }
            Step::UntilRest => {
                let before = self.last.take();
                let now = self.look()?;
                if now.is_none() {
                    self.last = before;
                    return Ok(false);
                }
                Ok(now == before)
            }
            Step::UntilOff => self.monitor.is_off(),
            Step::Press(chords) => {
                self.unread.clear();
                // What it showed before does not count as rest.
                self.last = None;
                self.monitor.press(chords)
            }
            Step::Break => {
                self.unread.clear();
                self.monitor.break_line()?;
                Ok(true)
            }
            Step::PlugKeyboard(id, port) => {
                self.unread.clear();
                self.monitor.plug_keyboard(id, port)?;
                Ok(true)
            }
            Step::Unplug(id) => {
                self.unread.clear();
                self.monitor.unplug(id)?;
                Ok(true)
            }
            Step::Keep => {
                let picture = self.monitor.picture()?;
                self.pictures.extend(picture.clone());
                self.last = picture;
                Ok(self.last.is_some())
            }
            Step::KeepSeen => {
                self.pictures.extend(self.last.clone());
                Ok(true)
            }
        }
    }

    /// Returns whether a text was printed, and takes all up to its end as read.
    fn has_printed(&mut self, text: &str) -> bool {
        let Some(at) = self.unread.find(text) else {
            return false;
        };
        self.unread.drain(..at + text.len());
        true
    }

    /// Returns whether a line that has no end yet looks like a shell's prompt.
    fn waits_for_a_line(&mut self) -> bool {
        let prompts = ["$ ", "# "];
        let is_prompt = prompts.iter().any(|prompt| self.unread.ends_with(prompt));
        if is_prompt {
            self.unread.clear();
        }
        is_prompt
    }

    /// Returns what the screen shows, unless it was looked at a moment ago.
    fn look(&mut self) -> Result<Option<Picture>> {
        if self.looked.elapsed() < BETWEEN_LOOKS {
            return Ok(None);
        }
        let picture = self.monitor.picture()?;
        self.looked = Instant::now();
        if picture.is_some() {
            self.last.clone_from(&picture);
        }
        Ok(picture)
    }
}
