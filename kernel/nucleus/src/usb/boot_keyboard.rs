//! A keyboard that speaks the boot protocol (HID 1.11, appendix B.1): what it reports,
//! made to keys that go down and up.
//!
//! ```text
//!  byte 0       1          2 … 7
//!  modifiers │ reserved │ the usages of keys that are down, up to six; 0 for none
//! ```
//!
//! A report tells the state and not what happened: keys that were not in the last one have
//! gone down, keys that were have gone up. With more keys down than it can tell, a keyboard
//! reports an error in all six places; then they stay as they were, and modifiers count.
//!
//! **Repeating** is the receiver's business, other than with PS/2: the last key that went
//! down goes down again and again, first after [`DELAY_TICKS`], then each
//! [`PERIOD_TICKS`], until it goes up or another one goes down.

use pc_keyboard::KeyCode;

use super::usage;

/// Bytes of a report.
pub(super) const REPORT_SIZE: usize = 8;
/// The first place of a key.
const KEYS: usize = 2;
/// Usages up to this one are none, and errors.
const LAST_ERROR: u8 = 3;
/// Half a second, as keyboards of the other kind wait.
const DELAY_TICKS: u32 = 50;
/// A thirtieth of a second, as far as ticks go.
const PERIOD_TICKS: u32 = 3;

/// What is done with a key: whether it is down.
pub(super) type Use<'a> = &'a mut dyn FnMut(KeyCode, bool);

/// The keys of a keyboard.
#[derive(Debug, Default)]
pub(super) struct BootKeyboard {
    /// The last report.
    report: [u8; REPORT_SIZE],
    repeat: Option<Repeat>,
}

/// A key that is held.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    usage: u8,
    ticks_left: u32,
}

impl BootKeyboard {
    /// Takes a report, and says which keys have gone up or down: modifiers first, then
    /// what went up. What is missing of a short one is none.
    pub(super) fn take(&mut self, bytes: &[u8], use_key: Use<'_>) {
        let mut report = [0; REPORT_SIZE];
        let len = bytes.len().min(REPORT_SIZE);
        report[..len].copy_from_slice(&bytes[..len]);
        let is_error = |usage: &u8| (1..=LAST_ERROR).contains(usage);
        if report[KEYS..].iter().any(is_error) {
            report[KEYS..].copy_from_slice(&self.report[KEYS..]);
        }
        let before = core::mem::replace(&mut self.report, report);
        for (bit, code) in usage::MODIFIERS.into_iter().enumerate() {
            let is_down = report[0] >> bit & 1 != 0;
            if is_down != (before[0] >> bit & 1 != 0) {
                use_key(code, is_down);
            }
        }
        self.release(&before, use_key);
        self.press(&before, use_key);
    }

    /// Says that all keys have gone up: the keyboard is gone.
    pub(super) fn release_all(&mut self, use_key: Use<'_>) {
        self.take(&[], use_key);
    }

    /// Repeats the key that is held, if it is time; at each tick.
    pub(super) fn on_tick(&mut self, use_key: Use<'_>) {
        let Some(repeat) = &mut self.repeat else {
            return;
        };
        repeat.ticks_left = repeat.ticks_left.saturating_sub(1);
        if repeat.ticks_left == 0 {
            repeat.ticks_left = PERIOD_TICKS;
            if let Some(code) = usage::key(repeat.usage) {
                use_key(code, true);
            }
        }
    }

    fn release(&mut self, before: &[u8; REPORT_SIZE], use_key: Use<'_>) {
        for usage in new_usages(before, &self.report) {
            if self.repeat.is_some_and(|repeat| repeat.usage == usage) {
                self.repeat = None;
            }
            if let Some(code) = usage::key(usage) {
                use_key(code, false);
            }
        }
    }

    fn press(&mut self, before: &[u8; REPORT_SIZE], use_key: Use<'_>) {
        for usage in new_usages(&self.report, before) {
            if let Some(code) = usage::key(usage) {
                self.repeat = Some(Repeat {
                    usage,
                    ticks_left: DELAY_TICKS,
                });
                use_key(code, true);
            }
        }
    }
}

/// Returns the usages of a report that are not in another one; once each, be they there
/// twice.
fn new_usages(
    report: &[u8; REPORT_SIZE],
    other: &[u8; REPORT_SIZE],
) -> impl Iterator<Item = u8> + use<> {
    let (keys, others) = (*report, *other);
    let is_new = move |place: &usize| {
        let is_in = |known: &[u8]| known.contains(&keys[*place]);
        !is_in(&others[KEYS..]) && !is_in(&keys[KEYS..*place])
    };
    (KEYS..REPORT_SIZE)
        .filter(is_new)
        .map(move |place| keys[place])
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::vec::Vec;

    use super::{BootKeyboard, DELAY_TICKS, KeyCode, PERIOD_TICKS};
    use crate::prelude::*;

    const CTRL: u8 = 1;
    const SHIFT: u8 = 1 << 1;
    const A: u8 = 0x04;
    const B: u8 = 0x05;
    const ROLL_OVER: u8 = 1;

    /// Feeds a report; returns what was done with keys.
    fn take(keyboard: &mut BootKeyboard, report: &[u8]) -> Vec<(KeyCode, bool)> {
        let mut uses = Vec::new();
        keyboard.take(report, &mut |code, is_down| uses.push((code, is_down)));
        uses
    }

    #[ktest]
    fn reports_become_keys_that_go_down_and_up() {
        let mut keyboard = BootKeyboard::default();
        let mut feed = |report: &[u8]| take(&mut keyboard, report);
        assert_eq!(
            feed(&[SHIFT, 0, A, 0, 0, 0, 0, 0]),
            [(KeyCode::LShift, true), (KeyCode::A, true)]
        );
        assert_eq!(feed(&[SHIFT, 0, A, 0, 0, 0, 0, 0]), [], "nothing changed");
        // Keys may move from place to place while they are down.
        assert_eq!(feed(&[SHIFT, 0, B, A, 0, 0, 0, 0]), [(KeyCode::B, true)]);
        assert_eq!(
            feed(&[CTRL, 0, B, 0, 0, 0, 0, 0]),
            [
                (KeyCode::LControl, true),
                (KeyCode::LShift, false),
                (KeyCode::A, false)
            ]
        );
        assert_eq!(
            feed(&[0; 8]),
            [(KeyCode::LControl, false), (KeyCode::B, false)]
        );
    }

    #[ktest]
    fn too_many_keys_leave_those_that_are_known_down() {
        let mut keyboard = BootKeyboard::default();
        take(&mut keyboard, &[0, 0, A, 0, 0, 0, 0, 0]);
        let mut report = [ROLL_OVER; 8];
        report[0] = SHIFT;
        assert_eq!(take(&mut keyboard, &report), [(KeyCode::LShift, true)]);
        let released = [(KeyCode::LShift, false), (KeyCode::A, false)];
        assert_eq!(take(&mut keyboard, &[0; 8]), released);
    }

    #[ktest]
    fn keyboard_that_is_pulled_out_leaves_no_key_down() {
        let mut keyboard = BootKeyboard::default();
        take(&mut keyboard, &[CTRL, 0, A, B, 0, 0, 0, 0]);
        let mut nr_released = 0;
        keyboard.release_all(&mut |_, is_down| nr_released += usize::from(!is_down));
        assert_eq!(nr_released, 3);
        keyboard.on_tick(&mut |_, _| panic!("a key is held"));
    }

    #[ktest]
    fn key_that_is_held_is_repeated_until_it_goes_up() {
        let mut keyboard = BootKeyboard::default();
        let repeats = |keyboard: &mut BootKeyboard, nr_ticks: u32| {
            let mut codes = Vec::new();
            for _ in 0..nr_ticks {
                keyboard.on_tick(&mut |code, is_down| codes.push((code, is_down)));
            }
            codes
        };
        take(&mut keyboard, &[0, 0, A, 0, 0, 0, 0, 0]);
        assert_eq!(repeats(&mut keyboard, DELAY_TICKS - 1), []);
        let a = (KeyCode::A, true);
        assert_eq!(repeats(&mut keyboard, 1 + 2 * PERIOD_TICKS), [a, a, a]);
        // The last one that went down is repeated, and a modifier leaves it so.
        take(&mut keyboard, &[0, 0, A, B, 0, 0, 0, 0]);
        take(&mut keyboard, &[SHIFT, 0, A, B, 0, 0, 0, 0]);
        assert_eq!(
            repeats(&mut keyboard, DELAY_TICKS),
            [(KeyCode::B, true)],
            "the delay starts anew"
        );
        take(&mut keyboard, &[0, 0, A, 0, 0, 0, 0, 0]);
        assert_eq!(repeats(&mut keyboard, 2 * DELAY_TICKS), []);
    }

    #[ktest]
    fn no_report_stops_the_kernel() {
        let mut keyboard = BootKeyboard::default();
        let mut seed = 0x2545_f491_u32;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            let bytes = [seed.to_le_bytes(), (!seed).rotate_left(7).to_le_bytes()].concat();
            keyboard.take(&bytes[..seed as usize % 9], &mut |_, _| {});
        }
        // What went down has gone up in the end.
        let mut down = Vec::new();
        let mut keyboard = BootKeyboard::default();
        for round in 0..2000_u32 {
            let report = (round.wrapping_mul(0x9e37_79b9) as u64 | 0x10_0000_0000).to_le_bytes();
            keyboard.take(&report, &mut |code, is_down| note(&mut down, code, is_down));
        }
        keyboard.release_all(&mut |code, is_down| note(&mut down, code, is_down));
        assert_eq!(down, []);
    }

    /// Keeps a list of the keys that are down. Two usages may be one key.
    fn note(down: &mut Vec<KeyCode>, code: KeyCode, is_down: bool) {
        if is_down {
            down.push(code);
        } else {
            let at = down.iter().position(|known| *known == code);
            down.remove(at.expect("what goes up was down"));
        }
    }
}
