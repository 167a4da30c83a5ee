//! What somebody types: from the serial port and the keyboard, through a ring, to whoever
//! reads.
//!
//! ```text
//!  serial port ──── bytes ────────────┐
//!                                     ├──▶ ring ──▶ whoever reads
//!  keyboard ─▶ Keyboard ─ bytes ──────┘
//!        │         │
//!        │         └── keys for the kernel ──▶ requests ──▶ `requests::perform`
//!        └ a break of the serial port, too ───────┘
//! ```
//!
//! A keyboard is the one at the keyboard's controller, or any on USB, whose driver says
//! which [keys](use_key) are used.
//!
//! Serial port and controller interrupt when something has come; the boot processor then moves it into
//! the ring and wakes all who wait. At each of its ticks it looks as well: for machines
//! where a line leads nowhere, and since an interrupt does not wait for a
//! processor that is writing to the port. So a byte is late by a tick at most.
//!
//! A byte that finds the ring full is dropped, and counted.
//!
//! **Requests.** What somebody wants of the kernel itself is kept until an interrupt or a
//! tick of the boot processor performs it, without the lock: see [`Request`]. After the
//! debug key, or a break, the next byte of the same source is a letter for the
//! [debug menu](crate::debug), and not for those who read.
//!
//! **No storm.** What interrupts again and again and never has a byte is no port, or
//! somebody else on its line: after [`MAX_VAIN`] times the line is masked for good, and
//! the tick alone looks. A port that reads as all ones is gone, and is given up.

use pc_keyboard::KeyCode;

use super::keyboard::{Key, Keyboard, Keymap};
use crate::arch::{keyboard, serial};
use crate::sync::{Rank, SpinLock, WaitQueue};

/// Bytes that wait at most; a power of two.
const CAPACITY: usize = 4096;
/// Bytes that are taken from a source at once, of what would never end.
const BATCH: usize = 64;
/// Interrupts in a row without a byte after which the line is masked.
const MAX_VAIN: u32 = 1000;
/// Requests that wait at most.
const MAX_REQUESTS: usize = 8;

static INPUT: SpinLock<Input> = SpinLock::ranked(Input::new(), Rank::Input);
static READERS: WaitQueue = WaitQueue::new();

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Source {
    /// The serial port.
    Serial,
    /// The keyboard.
    Keyboard,
}

impl Source {
    const ALL: [Self; 2] = [Self::Serial, Self::Keyboard];
}

/// What a serial port has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A byte.
    Byte(u8),
    /// A break.
    Break,
}

/// What somebody wants of the kernel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Show half a screen further back, or forth.
    Scroll {
        /// Towards what is older.
        is_back: bool,
    },
    /// Ctrl, Alt and Delete.
    Restart,
    /// The debug key: say what it can do.
    DebugKey,
    /// The letter after it.
    Debug(u8),
}

/// What has arrived.
struct Input {
    ring: [u8; CAPACITY],
    /// Where the oldest byte is.
    start: usize,
    len: usize,
    nr_dropped: u64,
    /// Interrupts since the last byte, of each source.
    nr_vain: [u32; 2],
    keyboard: Keyboard,
    /// The debug key was pressed, or a break came, and its letter is still to come.
    is_debugging: [bool; 2],
    requests: [Option<Request>; MAX_REQUESTS],
}

/// Reads bytes that somebody typed, without waiting; returns how many.
pub fn read_input(buffer: &mut [u8]) -> usize {
    collect_all();
    INPUT.lock().take(buffer)
}

/// Waits until somebody has typed a byte, and returns it. A key may be several.
///
/// # Panics
///
/// As [`WaitQueue::wait_until`]: for tasks, in no atomic mode.
pub fn read_key() -> u8 {
    let mut key = [0];
    READERS.wait_until(|| (read_input(&mut key) > 0).then_some(()));
    key[0]
}

/// Returns how many bytes wait to be read.
pub fn input_len() -> usize {
    collect_all();
    INPUT.lock().len
}

/// Returns how many bytes were lost, since nobody had read those before them.
pub fn nr_dropped_input() -> u64 {
    INPUT.lock().nr_dropped
}

/// Returns the queue of those who wait until there is something to read. All of them
/// are woken when something has come.
pub fn input_queue() -> &'static WaitQueue {
    &READERS
}

/// Says what is printed on the keys.
pub(crate) fn set_keymap(keymap: Keymap) {
    let mut input = INPUT.lock();
    input.keyboard = Keyboard::new(keymap);
    keyboard::set_lights(input.keyboard.lights());
}

/// Takes a key that went down or up, or is repeated, of a keyboard that says so itself.
///
/// Callable in any context that may wait for a spin lock.
pub(crate) fn use_key(code: KeyCode, is_down: bool) {
    {
        let mut input = INPUT.lock();
        let lights = input.keyboard.lights();
        let key = input.keyboard.take_key(code, is_down);
        input.take_key(key);
        if input.keyboard.lights() != lights {
            keyboard::set_lights(input.keyboard.lights());
        }
    }
    READERS.wake_all();
}

/// Returns which lights of keyboards are to be on: [`light`](super::keyboard::light).
pub(crate) fn lights() -> u8 {
    INPUT.lock().keyboard.lights()
}

/// Handles a source's interrupt; returns whether its line is to be masked.
pub(crate) fn on_interrupt(source: Source) -> bool {
    collect(source, true)
}

/// Looks whether something has come; at each tick of the boot processor.
pub(crate) fn on_tick() {
    collect_all();
}

/// Takes the oldest request.
pub(crate) fn take_request() -> Option<Request> {
    INPUT.lock().take_request()
}

fn collect_all() {
    for source in Source::ALL {
        collect(source, false);
    }
}

/// Moves what has come from a source to the ring, unless the source is in use, and wakes
/// those who wait. Returns whether it has interrupted in vain too often.
fn collect(source: Source, is_interrupt: bool) -> bool {
    let (has_come, is_storm) = {
        let mut input = INPUT.lock();
        let lights = input.keyboard.lights();
        let nr_received = (0..BATCH).take_while(|_| input.receive(source)).count();
        if input.keyboard.lights() != lights {
            keyboard::set_lights(input.keyboard.lights());
        }
        let is_storm = input.is_storm(source, is_interrupt, nr_received);
        (nr_received > 0, is_storm)
    };
    if has_come {
        READERS.wake_all();
    }
    is_storm
}

impl Input {
    const fn new() -> Self {
        Self {
            ring: [0; CAPACITY],
            start: 0,
            len: 0,
            nr_dropped: 0,
            nr_vain: [0; 2],
            keyboard: Keyboard::new(Keymap::Us),
            is_debugging: [false; 2],
            requests: [None; MAX_REQUESTS],
        }
    }

    /// Takes the next thing that a source has; returns whether it had one.
    fn receive(&mut self, source: Source) -> bool {
        match source {
            Source::Serial => {
                let received = serial::try_read();
                if let Some(received) = received {
                    self.take_received(received);
                }
                received.is_some()
            }
            Source::Keyboard => {
                let byte = keyboard::try_read();
                if let Some(byte) = byte {
                    self.take_scancode(byte);
                }
                byte.is_some()
            }
        }
    }

    /// Takes what the serial port received.
    fn take_received(&mut self, received: Received) {
        match received {
            Received::Byte(byte) => self.typed(Source::Serial, &[byte]),
            Received::Break => self.begin_debugging(Source::Serial),
        }
    }

    /// Takes a byte that the keyboard sent.
    fn take_scancode(&mut self, byte: u8) {
        let key = self.keyboard.take(byte);
        self.take_key(key);
    }

    /// Does what a key means, if anything.
    fn take_key(&mut self, key: Option<Key>) {
        match key {
            Some(Key::Bytes(sequence)) => self.typed(Source::Keyboard, sequence.as_bytes()),
            Some(Key::Debug) => self.begin_debugging(Source::Keyboard),
            Some(Key::Restart) => self.ask(Request::Restart),
            Some(Key::Scroll { is_back }) => self.ask(Request::Scroll { is_back }),
            None => {}
        }
    }

    fn begin_debugging(&mut self, source: Source) {
        self.is_debugging[source as usize] = true;
        self.ask(Request::DebugKey);
    }

    /// Takes the bytes of a key: for the debug menu, if that is open, or for the readers.
    fn typed(&mut self, source: Source, bytes: &[u8]) {
        let is_debugging = core::mem::take(&mut self.is_debugging[source as usize]);
        match bytes.first() {
            Some(letter) if is_debugging => self.ask(Request::Debug(*letter)),
            _ => self.put(bytes),
        }
    }

    /// Keeps a request; one that finds no room is dropped.
    fn ask(&mut self, request: Request) {
        if let Some(place) = self.requests.iter_mut().find(|place| place.is_none()) {
            *place = Some(request);
        }
    }

    /// Takes the oldest request.
    fn take_request(&mut self) -> Option<Request> {
        let request = self.requests[0].take();
        self.requests.rotate_left(1);
        request
    }

    /// Notes how many bytes have come; returns whether their source has interrupted in
    /// vain too often.
    fn is_storm(&mut self, source: Source, is_interrupt: bool, len: usize) -> bool {
        let nr_vain = &mut self.nr_vain[source as usize];
        if len > 0 {
            *nr_vain = 0;
        } else if is_interrupt {
            *nr_vain = nr_vain.saturating_add(1);
        }
        *nr_vain >= MAX_VAIN
    }

    /// Adds bytes at the end, as far as there is room.
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.len == CAPACITY {
                self.nr_dropped += 1;
                continue;
            }
            self.ring[(self.start + self.len) % CAPACITY] = *byte;
            self.len += 1;
        }
    }

    /// Takes the oldest bytes; returns how many.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.len);
        for byte in &mut buffer[..count] {
            *byte = self.ring[self.start];
            self.start = (self.start + 1) % CAPACITY;
        }
        self.len -= count;
        count
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{BATCH, CAPACITY, Input, MAX_REQUESTS, MAX_VAIN, Received, Request, Source};
    use crate::prelude::*;

    #[ktest]
    fn bytes_come_out_as_they_went_in() {
        let mut input = Input::new();
        let mut buffer = [0; 3];
        // Around the ring's end more than once.
        for round in 0..CAPACITY {
            let bytes = [round as u8, !round as u8];
            input.put(&bytes);
            assert_eq!(input.take(&mut buffer), 2);
            assert_eq!(buffer[..2], bytes);
        }
        assert_eq!(input.take(&mut buffer), 0);
    }

    #[ktest]
    fn short_buffer_leaves_the_rest_for_later() {
        let mut input = Input::new();
        input.put(b"abc");
        let mut buffer = [0; 2];
        assert_eq!(input.take(&mut buffer), 2);
        assert_eq!(&buffer, b"ab");
        assert_eq!(input.take(&mut buffer), 1);
        assert_eq!(&buffer, b"cb");
    }

    #[ktest]
    fn peer_103_port_that_interrupts_for_nothing_is_told_from_one_that_is_slow() {
        let mut input = Input::new();
        for _ in 1..MAX_VAIN {
            assert!(!input.is_storm(Source::Serial, true, 0));
            assert!(
                !input.is_storm(Source::Serial, false, 0),
                "ticks are not the port's doing"
            );
        }
        assert!(!input.is_storm(Source::Serial, false, 1), "a byte was late");
        for _ in 1..MAX_VAIN {
            assert!(!input.is_storm(Source::Serial, true, 0));
        }
        assert!(input.is_storm(Source::Serial, true, 0));
    }

    #[ktest]
    fn input_that_finds_no_room_is_dropped_and_counted() {
        let mut input = Input::new();
        for _ in 0..CAPACITY / BATCH {
            input.put(&[1; BATCH]);
        }
        assert_eq!((input.len, input.nr_dropped), (CAPACITY, 0));
        input.put(&[2; BATCH]);
        assert_eq!((input.len, input.nr_dropped), (CAPACITY, BATCH as u64));
        let mut first = [0];
        input.take(&mut first);
        input.put(&[3]);
        assert_eq!((first[0], input.len), (1, CAPACITY));
    }

    #[ktest]
    fn peer_103_sources_that_interrupt_for_nothing_are_told_apart() {
        let mut input = Input::new();
        for _ in 1..MAX_VAIN {
            assert!(!input.is_storm(Source::Keyboard, true, 0));
        }
        assert!(!input.is_storm(Source::Serial, true, 0));
        assert!(input.is_storm(Source::Keyboard, true, 0));
    }

    #[ktest]
    fn keys_and_serial_bytes_are_read_in_the_order_in_which_they_came() {
        let mut input = Input::new();
        let mut buffer = [0; 8];
        input.take_received(Received::Byte(b'a'));
        for scancode in [0xe0, 0x48, 0xe0, 0xc8] {
            input.take_scancode(scancode);
        }
        input.take_received(Received::Byte(0));
        assert_eq!(input.take(&mut buffer), 5);
        assert_eq!(&buffer[..5], b"a\x1b[A\0");
        assert_eq!(input.take_request(), None);
    }

    #[ktest]
    fn letter_after_the_debug_key_is_not_for_those_who_read() {
        let mut input = Input::new();
        let mut buffer = [0; 8];
        input.take_received(Received::Break);
        // The letter has to come from where the break came from.
        input.take_scancode(0x14);
        for byte in *b"mt" {
            input.take_received(Received::Byte(byte));
        }
        for scancode in [0xe0, 0x37, 0x14] {
            input.take_scancode(scancode);
        }
        for expected in [
            Request::DebugKey,
            Request::Debug(b'm'),
            Request::DebugKey,
            Request::Debug(b't'),
        ] {
            assert_eq!(input.take_request(), Some(expected));
        }
        assert_eq!(input.take_request(), None);
        assert_eq!(input.take(&mut buffer), 2);
        assert_eq!(&buffer[..2], b"tt");
    }

    #[ktest]
    fn requests_that_nobody_performs_are_dropped() {
        let mut input = Input::new();
        for _ in 0..=MAX_REQUESTS {
            input.ask(Request::Restart);
        }
        let nr_kept = (0..=MAX_REQUESTS).map_while(|_| input.take_request());
        assert_eq!(nr_kept.count(), MAX_REQUESTS);
    }
}
