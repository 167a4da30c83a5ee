//! Tests of the keyboard: scan codes in, bytes out.

use alloc::vec::Vec;

use super::{Key, Keyboard, Keymap, light};
use crate::prelude::*;

const CTRL: u8 = 0x1d;
const SHIFT: u8 = 0x2a;
const ALT: u8 = 0x38;
const CAPS_LOCK: u8 = 0x3a;
const NUM_LOCK: u8 = 0x45;
const UP: u8 = 0x80;

/// Feeds scan codes to a keyboard; returns what comes out.
fn keys(keymap: Keymap, codes: &[u8]) -> Vec<Key> {
    let mut keyboard = Keyboard::new(keymap);
    codes
        .iter()
        .filter_map(|code| keyboard.take(*code))
        .collect()
}

/// As [`keys`], of keys that make bytes.
fn bytes(keymap: Keymap, codes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for key in keys(keymap, codes) {
        match key {
            Key::Bytes(sequence) => bytes.extend_from_slice(sequence.as_bytes()),
            other => panic!("{codes:x?} is {other:?}"),
        }
    }
    bytes
}

#[track_caller]
fn assert_bytes(codes: &[u8], expected: &[u8]) {
    assert_eq!(bytes(Keymap::Us, codes), expected, "{codes:x?}");
}

#[ktest]
fn keys_are_characters_when_they_go_down() {
    assert_bytes(
        &[0x23, 0x23 | UP, 0x12, 0x12 | UP, 0x1c, 0x1c | UP],
        b"he\r",
    );
    assert_bytes(&[0x0e, 0x0f, 0x01, 0x39], b"\x7f\t\x1b ");
    assert_bytes(&[SHIFT, 0x23, SHIFT | UP, 0x23, 0x36, 0x02], b"Hh!");
}

#[ktest]
fn ctrl_makes_control_characters_and_alt_puts_an_escape_before() {
    assert_bytes(&[CTRL, 0x2e, 0x20, CTRL | UP, 0x2e], b"\x03\x04c");
    assert_bytes(&[0xe0, CTRL, 0x2e], b"\x03");
    assert_bytes(&[CTRL, 0x1a, 0x2b, 0x1b, 0x39, 0x0e], b"\x1b\x1c\x1d\0\x08");
    assert_bytes(&[ALT, 0x30, 0x0e, ALT | UP, 0x30], b"\x1bb\x1b\x7fb");
    // Where a key has no third character, the right Alt is an Alt.
    assert_bytes(&[0xe0, ALT, 0x30], b"\x1bb");
    assert_bytes(&[CTRL, ALT, 0x1e], b"\x1b\x01");
}

#[ktest]
fn keys_without_a_character_are_xterms_sequences() {
    assert_bytes(
        &[0xe0, 0x48, 0xe0, 0x50, 0xe0, 0x4d, 0xe0, 0x4b],
        b"\x1b[A\x1b[B\x1b[C\x1b[D",
    );
    assert_bytes(
        &[0xe0, 0x47, 0xe0, 0x4f, 0xe0, 0x53],
        b"\x1b[H\x1b[F\x1b[3~",
    );
    assert_bytes(
        &[0xe0, 0x49, 0xe0, 0x51, 0xe0, 0x52],
        b"\x1b[5~\x1b[6~\x1b[2~",
    );
    assert_bytes(
        &[0x3b, 0x3e, 0x3f, 0x44, 0x57],
        b"\x1bOP\x1bOS\x1b[15~\x1b[21~\x1b[23~",
    );
    assert_bytes(&[CTRL, 0xe0, 0x4d, 0x58], b"\x1b[1;5C\x1b[24;5~");
    assert_bytes(&[SHIFT, ALT, 0x3b, 0x0f], b"\x1b[1;4P\x1b[Z");
}

#[ktest]
fn number_pad_makes_digits_until_its_lock_is_off() {
    assert_bytes(&[0x48, 0x53], b"8.");
    assert_bytes(
        &[NUM_LOCK, NUM_LOCK | UP, 0x48, 0x53, 0xe0, 0x1c],
        b"\x1b[A\x1b[3~\r",
    );
    // Pause, which ends in the number of that lock.
    assert_bytes(
        &[0xe1, CTRL, NUM_LOCK, 0xe1, CTRL | UP, NUM_LOCK | UP, 0x48],
        b"8",
    );
}

#[ktest]
fn locks_change_once_however_long_their_keys_are_down() {
    let mut keyboard = Keyboard::new(Keymap::Us);
    assert_eq!(keyboard.lights(), light::NUM_LOCK);
    for _ in 0..5 {
        assert_eq!(keyboard.take(CAPS_LOCK), None);
    }
    assert_eq!(keyboard.lights(), light::NUM_LOCK | light::CAPS_LOCK);
    assert_bytes(
        &[CAPS_LOCK, CAPS_LOCK | UP, 0x1e, 0x02, SHIFT, 0x1e],
        b"A1a",
    );
    assert_eq!(keyboard.take(CAPS_LOCK | UP), None);
    assert_eq!(keyboard.take(CAPS_LOCK), None);
    assert_eq!(keyboard.lights(), light::NUM_LOCK);
}

#[ktest]
fn some_keys_are_the_kernels() {
    let us = |codes: &[u8]| keys(Keymap::Us, codes);
    assert_eq!(us(&[CTRL, ALT, 0xe0, 0x53]), [Key::Restart]);
    assert_eq!(us(&[CTRL, ALT, 0x53]), [Key::Restart]);
    assert_eq!(
        us(&[0xe0, SHIFT, 0xe0, 0x37]),
        [Key::Debug],
        "as Print Screen is sent"
    );
    assert_eq!(us(&[ALT, 0x54]), [Key::Debug]);
    assert_eq!(us(&[CTRL, ALT, 0x58]), [Key::Debug]);
}

#[ktest]
fn layouts_put_their_characters_where_they_are_printed() {
    for (keymap, codes, expected) in [
        (Keymap::Uk, &[SHIFT, 0x04][..], "£"),
        (Keymap::De, &[0x15, 0x2c, 0x1a, 0x0c], "zyüß"),
        (Keymap::De, &[0xe0, ALT, 0x10, 0x12], "@€"),
        (Keymap::De, &[CTRL, 0x2c], "\u{19}"),
        (Keymap::Fr, &[0x10, 0x1e, 0x03], "aqé"),
        (Keymap::No, &[0x1a], "å"),
        (Keymap::Se, &[0x27, 0x28], "öä"),
        (Keymap::Dvorak, &[0x1f, 0x20], "oe"),
        (Keymap::Colemak, &[0x1f, 0x20], "rs"),
    ] {
        assert_eq!(bytes(keymap, codes), expected.as_bytes(), "{keymap:?}");
    }
}

#[ktest]
fn names_of_layouts_are_told_apart() {
    assert_eq!(Keymap::by_name("de"), Some(Keymap::De));
    assert_eq!(Keymap::by_name("fi"), Some(Keymap::Se));
    for name in ["", "DE", "xx"] {
        assert_eq!(Keymap::by_name(name), None);
    }
}

#[ktest]
fn no_sequence_of_bytes_stops_any_layout() {
    for (name, keymap) in Keymap::ALL {
        let mut keyboard = Keyboard::new(keymap);
        let mut nr_keys = 0;
        // Each byte after each other one, under whatever modifiers that leaves.
        for round in 0..=u16::MAX {
            for byte in round.to_be_bytes() {
                nr_keys += usize::from(keyboard.take(byte).is_some());
            }
        }
        assert!(nr_keys > 10_000, "{name} has {nr_keys} keys");
        // By chance, so that longer sequences come up, too.
        let mut seed = 0x2545_f491_u32;
        for _ in 0..100_000 {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            keyboard.take((seed >> 8) as u8);
        }
    }
}
