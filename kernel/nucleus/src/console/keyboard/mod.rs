//! A PC's keyboard: from what it says of its keys to the bytes that a terminal sends.
//!
//! A keyboard says which key went down or up, by a number that has nothing to do with
//! what is printed on the key (set 1 of scan codes, as the IBM PC had it). The crate
//! `pc-keyboard` knows the numbers and the layouts; what is made of them is here:
//!
//! | key | bytes |
//! |---|---|
//! | a character | in UTF-8 |
//! | with Ctrl | the control character, if there is one: `^A` is 1 |
//! | with Alt | the same after ESC |
//! | Enter, Backspace, Tab, Escape | `\r`, 0x7f, `\t`, ESC |
//! | arrows, Home, Page Up, F1 … | xterm's sequences, with xterm's numbers for modifiers |
//!
//! AltGr, or the right Alt, chooses the third character of a key; where a key has none,
//! it is an Alt like the left one. Some keys are for the kernel and make no bytes: see
//! [`Key`].
//!
//! Keyboards of another kind, which say the same of keys in another way, share all of it
//! ([`Keyboard::take_key`]), and so the modifiers that are down and the locks that are on.
//!
//! **Whatever bytes come, there is no panic**, and a number that is not known changes
//! nothing. Bytes may be lost on the way: a modifier whose release was lost stays down
//! until its key is used again, as with any keyboard.

mod sequence;
#[cfg(any(test, ktest))]
mod tests;

use pc_keyboard::layouts::{
    AnyLayout, Azerty, Colemak, DVP104Key, De105Key, Dvorak104Key, FiSe105Key, Jis109Key, No105Key,
    Uk105Key, Us104Key,
};
use pc_keyboard::{
    DecodedKey, HandleControl, KeyCode, KeyState, KeyboardLayout, Modifiers, ScancodeSet,
    ScancodeSet1,
};

use self::sequence::Sequence;

/// What is printed on the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keymap {
    /// English of the United States.
    #[default]
    Us,
    /// English of the United Kingdom.
    Uk,
    /// German.
    De,
    /// French.
    Fr,
    /// Norwegian.
    No,
    /// Swedish, and Finnish.
    Se,
    /// Japanese, Latin characters alone.
    Jp,
    /// Colemak.
    Colemak,
    /// Dvorak.
    Dvorak,
    /// Dvorak for programmers.
    DvorakProgrammer,
}

impl Keymap {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Self); 11] = [
        ("us", Self::Us),
        ("uk", Self::Uk),
        ("de", Self::De),
        ("fr", Self::Fr),
        ("no", Self::No),
        ("se", Self::Se),
        ("fi", Self::Se),
        ("jp", Self::Jp),
        ("colemak", Self::Colemak),
        ("dvorak", Self::Dvorak),
        ("dvp", Self::DvorakProgrammer),
    ];

    /// Returns the one with a name.
    pub fn by_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(known, keymap)| (known == name).then_some(keymap))
    }

    const fn layout(self) -> AnyLayout {
        match self {
            Self::Us => AnyLayout::Us104Key(Us104Key),
            Self::Uk => AnyLayout::Uk105Key(Uk105Key),
            Self::De => AnyLayout::De105Key(De105Key),
            Self::Fr => AnyLayout::Azerty(Azerty),
            Self::No => AnyLayout::No105Key(No105Key),
            Self::Se => AnyLayout::FiSe105Key(FiSe105Key),
            Self::Jp => AnyLayout::Jis109Key(Jis109Key),
            Self::Colemak => AnyLayout::Colemak(Colemak),
            Self::Dvorak => AnyLayout::Dvorak104Key(Dvorak104Key),
            Self::DvorakProgrammer => AnyLayout::DVP104Key(DVP104Key),
        }
    }
}

/// What a key that went down means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Bytes for whoever reads.
    Bytes(Sequence),
    /// Shift and Page Up, or Page Down: look back, or forth again.
    Scroll {
        /// Towards what is older.
        is_back: bool,
    },
    /// Ctrl, Alt and Delete.
    Restart,
    /// Print Screen, which is SysRq, or Ctrl, Alt and F12 where there is none.
    Debug,
}

/// Lights of a keyboard, as its command 0xed takes them.
pub(crate) mod light {
    pub(crate) const NUM_LOCK: u8 = 1 << 1;
    pub(crate) const CAPS_LOCK: u8 = 1 << 2;
}

/// What is known of a keyboard.
pub(crate) struct Keyboard {
    scancodes: ScancodeSet1,
    layout: AnyLayout,
    modifiers: Modifiers,
    /// A lock's key is down: a keyboard repeats it like any other.
    is_lock_down: bool,
}

impl Keyboard {
    /// Returns one of which no key is down. The number pad makes digits.
    pub(crate) const fn new(keymap: Keymap) -> Self {
        Self {
            scancodes: ScancodeSet1::new(),
            layout: keymap.layout(),
            modifiers: Modifiers {
                lshift: false,
                rshift: false,
                lctrl: false,
                rctrl: false,
                numlock: true,
                capslock: false,
                lalt: false,
                ralt: false,
                rctrl2: false,
            },
            is_lock_down: false,
        }
    }

    /// Returns which lights are to be on.
    pub(crate) fn lights(&self) -> u8 {
        let light = |is_on: bool, light| if is_on { light } else { 0 };
        light(self.modifiers.numlock, light::NUM_LOCK)
            | light(self.modifiers.capslock, light::CAPS_LOCK)
    }

    /// Takes a byte that the keyboard sent; returns what it means, if anything.
    pub(crate) fn take(&mut self, byte: u8) -> Option<Key> {
        let event = self.scancodes.advance_state(byte).ok().flatten()?;
        self.take_key(event.code, event.state != KeyState::Up)
    }

    /// Takes a key that went down or up, or is repeated; returns what it means, if anything.
    pub(crate) fn take_key(&mut self, code: KeyCode, is_down: bool) -> Option<Key> {
        if self.note_modifier(code, is_down) || !is_down {
            return None;
        }
        self.kernels_key(code).or_else(|| {
            let sequence = self.sequence(code);
            (!sequence.is_empty()).then_some(Key::Bytes(sequence))
        })
    }

    /// Notes that a modifier went up or down; returns whether the key is one.
    fn note_modifier(&mut self, code: KeyCode, is_down: bool) -> bool {
        let modifiers = &mut self.modifiers;
        let place = match code {
            KeyCode::LShift => &mut modifiers.lshift,
            KeyCode::RShift => &mut modifiers.rshift,
            KeyCode::LControl => &mut modifiers.lctrl,
            KeyCode::RControl => &mut modifiers.rctrl,
            KeyCode::RControl2 => &mut modifiers.rctrl2,
            KeyCode::LAlt => &mut modifiers.lalt,
            KeyCode::RAltGr => &mut modifiers.ralt,
            // With the hidden Ctrl, it is Pause.
            KeyCode::NumpadLock if modifiers.rctrl2 => return true,
            KeyCode::CapsLock | KeyCode::NumpadLock => {
                let lock = match code {
                    KeyCode::CapsLock => &mut modifiers.capslock,
                    _ => &mut modifiers.numlock,
                };
                *lock ^= is_down && !self.is_lock_down;
                self.is_lock_down = is_down;
                return true;
            }
            _ => return false,
        };
        *place = is_down;
        true
    }

    /// Returns what a key means to the kernel, with the modifiers that are down.
    fn kernels_key(&self, code: KeyCode) -> Option<Key> {
        let modifiers = &self.modifiers;
        let is_ctrl_alt = modifiers.is_ctrl() && modifiers.is_alt();
        let is_shift = modifiers.is_shifted() && !modifiers.is_ctrl() && !modifiers.is_alt();
        match code {
            KeyCode::Delete | KeyCode::NumpadPeriod if is_ctrl_alt => Some(Key::Restart),
            KeyCode::F12 if is_ctrl_alt => Some(Key::Debug),
            KeyCode::PrintScreen | KeyCode::SysRq => Some(Key::Debug),
            KeyCode::PageUp if is_shift => Some(Key::Scroll { is_back: true }),
            KeyCode::PageDown if is_shift => Some(Key::Scroll { is_back: false }),
            _ => None,
        }
    }

    /// Returns the bytes of a key with the modifiers that are down.
    fn sequence(&self, code: KeyCode) -> Sequence {
        let is_ctrl = self.modifiers.is_ctrl();
        let plain = self.lookup(code, false);
        let third = self.lookup(code, true);
        let is_third = self.modifiers.ralt && third != plain;
        let meaning = if is_third { third } else { plain };
        let is_alt = self.modifiers.is_alt() && !is_third;
        let number = sequence::modifiers(self.modifiers.is_shifted(), is_alt, is_ctrl);
        match (code, meaning) {
            (KeyCode::Return | KeyCode::NumpadEnter, _) => Sequence::character('\r', is_alt),
            (KeyCode::Backspace, _) => {
                let erase = if is_ctrl { '\x08' } else { '\x7f' };
                Sequence::character(erase, is_alt)
            }
            (KeyCode::Tab, _) if self.modifiers.is_shifted() => Sequence::of_letter(b'Z', 1),
            (KeyCode::Delete, _) | (KeyCode::NumpadPeriod, DecodedKey::Unicode('\x7f')) => {
                Sequence::of_key(KeyCode::Delete, number)
            }
            (_, DecodedKey::RawKey(code)) => Sequence::of_key(code, number),
            (_, DecodedKey::Unicode(character)) => {
                let control = Some(character).filter(|_| is_ctrl && !is_third);
                let control = control.and_then(sequence::control);
                Sequence::character(control.unwrap_or(character), is_alt)
            }
        }
    }

    /// Returns what the layout makes of a key, be it with the right Alt. Ctrl and the
    /// left Alt are not the layout's business, which would take both for the right one.
    fn lookup(&self, code: KeyCode, is_third: bool) -> DecodedKey {
        let modifiers = Modifiers {
            lctrl: false,
            rctrl: false,
            lalt: false,
            ralt: is_third,
            ..self.modifiers.clone()
        };
        let control = HandleControl::Ignore;
        self.layout.map_keycode(code, &modifiers, control)
    }
}
