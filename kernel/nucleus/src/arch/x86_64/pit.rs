//! The interval timer (Intel 8254 data sheet).
//!
//! Channel 0 can interrupt by line 0 of the ISA bus, for machines without a better
//! timer. Channel 2, whose gate and output are at port 0x61, is a
//! [`Reference`]: it counts down from 65535 once, 55 ms long.

use x86_64::instructions::port::Port;

use super::calibration::Reference;

/// The timer's input clock in Hz.
const INPUT_HZ: u32 = 1_193_182;
const COMMAND: u16 = 0x43;
const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
/// Channel, both bytes, mode 2: a pulse each time the count is over.
const RATE_OF_CHANNEL_0: u8 = 0x34;
/// Channel, both bytes, mode 0: the output rises when the count is over.
const ONCE_OF_CHANNEL_2: u8 = 0xb0;
/// Latches status and count of channel 2, to be read in this order.
const LATCH_CHANNEL_2: u8 = 0xc8;

/// Has channel 0 interrupt so often.
///
/// # Panics
///
/// Panics when that is less than 19 times a second.
pub(super) fn start_tick(per_second: u32) {
    let divisor = u16::try_from(INPUT_HZ / per_second).expect("the timer has 16 bits");
    program(RATE_OF_CHANNEL_0, CHANNEL_0, divisor);
}

/// How it is called in the log.
pub(super) const NAME: &str = "interval timer";

/// Channel 2, while it counts.
#[derive(Debug)]
pub(super) struct Countdown {
    /// Port 0x61 as it was.
    control: u8,
}

impl Countdown {
    /// Opens the gate, with the speaker off, and starts the count.
    pub(super) fn start() -> Self {
        const GATE: u8 = 1 << 0;
        const SPEAKER: u8 = 1 << 1;
        let mut port = control_port();
        // SAFETY: System control port B: the gate of channel 2 and the speaker.
        let control = unsafe { port.read() };
        // SAFETY: As above.
        unsafe { port.write(control & !SPEAKER | GATE) };
        program(ONCE_OF_CHANNEL_2, CHANNEL_2, u16::MAX);
        Self { control }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        // SAFETY: As it was.
        unsafe { control_port().write(self.control) };
    }
}

impl Reference for Countdown {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hz(&self) -> u64 {
        u64::from(INPUT_HZ)
    }

    fn mask(&self) -> u64 {
        u64::from(u16::MAX)
    }

    /// The count is none before it has been loaded, and after its end.
    fn read(&self) -> Option<u64> {
        const OUTPUT: u8 = 1 << 7;
        const NOT_LOADED: u8 = 1 << 6;
        let mut data = Port::<u8>::new(CHANNEL_2);
        // SAFETY: The interval timer belongs to this module.
        unsafe { Port::<u8>::new(COMMAND).write(LATCH_CHANNEL_2) };
        // SAFETY: The three bytes just latched: the status, then the low byte.
        let [status, low, high] = [(); 3].map(|()| unsafe { data.read() });
        let is_counting = status & (OUTPUT | NOT_LOADED) == 0;
        let count = u16::from_le_bytes([low, high]);
        is_counting.then(|| u64::from(u16::MAX - count))
    }
}

fn control_port() -> Port<u8> {
    Port::new(0x61)
}

/// Sets a channel's mode and its 16-bit count.
fn program(mode: u8, data_port: u16, count: u16) {
    let mut data = Port::<u8>::new(data_port);
    // SAFETY: The interval timer belongs to this module.
    unsafe { Port::<u8>::new(COMMAND).write(mode) };
    for byte in count.to_le_bytes() {
        // SAFETY: As above; low byte first, as the mode says.
        unsafe { data.write(byte) };
    }
}
