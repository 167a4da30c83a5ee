//! What keys are called: HID's usages (HID Usage Tables 1.12, 10, "Keyboard/Keypad Page"),
//! and the crate `pc-keyboard`'s names for the same keys, which the layouts know.
//!
//! Both name a key by what an American keyboard has on it.

use pc_keyboard::KeyCode;

/// The keys of the first usages, which come in alphabetical order.
const FIRST_LETTER: u8 = 0x04;
const LETTERS: [KeyCode; 26] = [
    KeyCode::A,
    KeyCode::B,
    KeyCode::C,
    KeyCode::D,
    KeyCode::E,
    KeyCode::F,
    KeyCode::G,
    KeyCode::H,
    KeyCode::I,
    KeyCode::J,
    KeyCode::K,
    KeyCode::L,
    KeyCode::M,
    KeyCode::N,
    KeyCode::O,
    KeyCode::P,
    KeyCode::Q,
    KeyCode::R,
    KeyCode::S,
    KeyCode::T,
    KeyCode::U,
    KeyCode::V,
    KeyCode::W,
    KeyCode::X,
    KeyCode::Y,
    KeyCode::Z,
];

/// The keys from the digit 1 on.
const FIRST_OTHER: u8 = 0x1e;
const OTHERS: [KeyCode; 72] = [
    KeyCode::Key1,
    KeyCode::Key2,
    KeyCode::Key3,
    KeyCode::Key4,
    KeyCode::Key5,
    KeyCode::Key6,
    KeyCode::Key7,
    KeyCode::Key8,
    KeyCode::Key9,
    KeyCode::Key0,
    KeyCode::Return,
    KeyCode::Escape,
    KeyCode::Backspace,
    KeyCode::Tab,
    KeyCode::Spacebar,
    KeyCode::OemMinus,
    KeyCode::OemPlus,
    KeyCode::Oem4,
    KeyCode::Oem6,
    // The backslash, and what European keyboards have at Enter: no keyboard has both.
    KeyCode::Oem7,
    KeyCode::Oem7,
    KeyCode::Oem1,
    KeyCode::Oem3,
    KeyCode::Oem8,
    KeyCode::OemComma,
    KeyCode::OemPeriod,
    KeyCode::Oem2,
    KeyCode::CapsLock,
    KeyCode::F1,
    KeyCode::F2,
    KeyCode::F3,
    KeyCode::F4,
    KeyCode::F5,
    KeyCode::F6,
    KeyCode::F7,
    KeyCode::F8,
    KeyCode::F9,
    KeyCode::F10,
    KeyCode::F11,
    KeyCode::F12,
    KeyCode::PrintScreen,
    KeyCode::ScrollLock,
    KeyCode::PauseBreak,
    KeyCode::Insert,
    KeyCode::Home,
    KeyCode::PageUp,
    KeyCode::Delete,
    KeyCode::End,
    KeyCode::PageDown,
    KeyCode::ArrowRight,
    KeyCode::ArrowLeft,
    KeyCode::ArrowDown,
    KeyCode::ArrowUp,
    KeyCode::NumpadLock,
    KeyCode::NumpadDivide,
    KeyCode::NumpadMultiply,
    KeyCode::NumpadSubtract,
    KeyCode::NumpadAdd,
    KeyCode::NumpadEnter,
    KeyCode::Numpad1,
    KeyCode::Numpad2,
    KeyCode::Numpad3,
    KeyCode::Numpad4,
    KeyCode::Numpad5,
    KeyCode::Numpad6,
    KeyCode::Numpad7,
    KeyCode::Numpad8,
    KeyCode::Numpad9,
    KeyCode::Numpad0,
    KeyCode::NumpadPeriod,
    // The key beside the left Shift that European keyboards have, and the menu key.
    KeyCode::Oem5,
    KeyCode::Apps,
];

/// The modifiers, from the lowest bit of a report's first byte on (HID 1.11, B.1).
pub(super) const MODIFIERS: [KeyCode; 8] = [
    KeyCode::LControl,
    KeyCode::LShift,
    KeyCode::LAlt,
    KeyCode::LWin,
    KeyCode::RControl,
    KeyCode::RShift,
    KeyCode::RAltGr,
    KeyCode::RWin,
];

/// Returns the key with a usage, if it is a known one.
pub(super) fn key(usage: u8) -> Option<KeyCode> {
    let of = |first: u8, keys: &[KeyCode]| {
        let index = usage.checked_sub(first)?;
        keys.get(usize::from(index)).copied()
    };
    of(FIRST_OTHER, &OTHERS).or_else(|| of(FIRST_LETTER, &LETTERS))
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{KeyCode, key};
    use crate::prelude::*;

    #[ktest]
    fn usages_are_the_keys_that_the_tables_of_hid_say() {
        for (usage, code) in [
            (0x04, KeyCode::A),
            (0x1d, KeyCode::Z),
            (0x1e, KeyCode::Key1),
            (0x27, KeyCode::Key0),
            (0x28, KeyCode::Return),
            (0x2c, KeyCode::Spacebar),
            (0x31, KeyCode::Oem7),
            (0x34, KeyCode::Oem3),
            (0x38, KeyCode::Oem2),
            (0x39, KeyCode::CapsLock),
            (0x3a, KeyCode::F1),
            (0x45, KeyCode::F12),
            (0x46, KeyCode::PrintScreen),
            (0x4c, KeyCode::Delete),
            (0x4f, KeyCode::ArrowRight),
            (0x52, KeyCode::ArrowUp),
            (0x53, KeyCode::NumpadLock),
            (0x58, KeyCode::NumpadEnter),
            (0x59, KeyCode::Numpad1),
            (0x62, KeyCode::Numpad0),
            (0x63, KeyCode::NumpadPeriod),
            (0x64, KeyCode::Oem5),
            (0x65, KeyCode::Apps),
        ] {
            assert_eq!(key(usage), Some(code), "usage {usage:#x}");
        }
    }

    #[ktest]
    fn errors_and_what_is_no_key_are_none() {
        for usage in (0..4).chain(0x66..=u8::MAX) {
            assert_eq!(key(usage), None, "usage {usage:#x}");
        }
    }
}
