//! What programs may set of a terminal: the kernel's `struct termios` (`termios(3)`).

/// Bytes of the structure: four words of flags, the discipline, and the characters.
pub(crate) const SETTINGS_SIZE: usize = 4 * 4 + 1 + NR_CHARACTERS;

const NR_CHARACTERS: usize = 19;

/// Flags of input.
const IGNORE_RETURN: u32 = 0o200;
const RETURN_IS_NEWLINE: u32 = 0o400;
const NEWLINE_IS_RETURN: u32 = 0o100;
const FLOW_CONTROL: u32 = 0o2000;
/// Flags of output: it is processed at all, and a newline returns first.
const PROCESSED_OUTPUT: u32 = 0o1;
const NEWLINE_RETURNS: u32 = 0o4;
/// Flags of the line: 38 400 bits a second, 8 bits a byte, it receives, it hangs up.
const LINE: u32 = 0o17 | 0o60 | 0o200 | 0o2000;
/// Local flags.
const SIGNALS: u32 = 0o1;
const LINES: u32 = 0o2;
const ECHO: u32 = 0o10;
const ECHO_ERASE: u32 = 0o20;
const ECHO_KILL: u32 = 0o40;
const ECHO_NEWLINE: u32 = 0o100;
const ECHO_CONTROL: u32 = 0o1000;
const ECHO_KILL_ERASES: u32 = 0o4000;
const NO_FLUSH: u32 = 0o200;
const EXTENSIONS: u32 = 0o100_000;

/// Places of the characters that mean something.
const INTERRUPT: usize = 0;
const QUIT: usize = 1;
const ERASE: usize = 2;
const KILL: usize = 3;
const END: usize = 4;
const LEAST: usize = 6;
const SUSPEND: usize = 10;
const END_OF_LINE: usize = 11;
const WORD_ERASE: usize = 14;
const END_OF_LINE_2: usize = 16;

/// A place in the characters that stands for none.
const DISABLED: u8 = 0;

/// Control and a letter.
const fn control(letter: u8) -> u8 {
    letter & 0x1f
}

/// What a typed byte means where lines are edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    /// The line ends here, with this byte.
    EndOfLine,
    /// The line ends here, without this byte.
    EndOfInput,
    Erase,
    EraseWord,
    EraseLine,
}

/// The settings of a terminal, as programs know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    input: u32,
    output: u32,
    line: u32,
    local: u32,
    discipline: u8,
    characters: [u8; NR_CHARACTERS],
}

impl Settings {
    /// Returns those that a terminal starts with, as Linux's do.
    pub(super) const fn new() -> Self {
        let mut characters = [DISABLED; NR_CHARACTERS];
        characters[INTERRUPT] = control(b'C');
        characters[QUIT] = control(b'\\');
        characters[ERASE] = 0x7f;
        characters[KILL] = control(b'U');
        characters[END] = control(b'D');
        characters[LEAST] = 1;
        characters[8] = control(b'Q');
        characters[9] = control(b'S');
        characters[SUSPEND] = control(b'Z');
        characters[12] = control(b'R');
        characters[13] = control(b'O');
        characters[WORD_ERASE] = control(b'W');
        characters[15] = control(b'V');
        Self {
            input: RETURN_IS_NEWLINE | FLOW_CONTROL,
            output: PROCESSED_OUTPUT | NEWLINE_RETURNS,
            line: LINE,
            local: SIGNALS
                | LINES
                | ECHO
                | ECHO_ERASE
                | ECHO_KILL
                | ECHO_CONTROL
                | ECHO_KILL_ERASES
                | EXTENSIONS,
            discipline: 0,
            characters,
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8; SETTINGS_SIZE]) -> Self {
        let word = |index: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[index * 4..index * 4 + 4]);
            u32::from_le_bytes(word)
        };
        let mut characters = [0; NR_CHARACTERS];
        characters.copy_from_slice(&bytes[17..]);
        Self {
            input: word(0),
            output: word(1),
            line: word(2),
            local: word(3),
            discipline: bytes[16],
            characters,
        }
    }

    pub(crate) fn to_bytes(&self) -> [u8; SETTINGS_SIZE] {
        let mut bytes = [0; SETTINGS_SIZE];
        let words = [self.input, self.output, self.line, self.local];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes[16] = self.discipline;
        bytes[17..].copy_from_slice(&self.characters);
        bytes
    }

    /// Returns whether lines are edited, and read as a whole.
    pub(super) const fn has_lines(&self) -> bool {
        self.local & LINES != 0
    }

    pub(super) const fn echoes(&self) -> bool {
        self.local & ECHO != 0
    }

    /// Returns whether control characters are shown as `^C`.
    pub(super) const fn echoes_control(&self) -> bool {
        self.local & ECHO_CONTROL != 0
    }

    /// Returns whether a newline is shown even if nothing else is.
    pub(super) const fn echoes_newline(&self) -> bool {
        self.echoes() || (self.has_lines() && self.local & ECHO_NEWLINE != 0)
    }

    /// Returns whether what was typed before a signal is forgotten.
    pub(super) const fn flushes_at_signal(&self) -> bool {
        self.local & NO_FLUSH == 0
    }

    /// Returns how many bytes a read waits for where there are no lines.
    pub(super) fn least(&self) -> usize {
        usize::from(self.characters[LEAST])
    }

    /// Returns what a byte from the line stands for, if for anything.
    pub(super) const fn translate(&self, byte: u8) -> Option<u8> {
        match byte {
            b'\r' if self.input & IGNORE_RETURN != 0 => None,
            b'\r' if self.input & RETURN_IS_NEWLINE != 0 => Some(b'\n'),
            b'\n' if self.input & NEWLINE_IS_RETURN != 0 => Some(b'\r'),
            _ => Some(byte),
        }
    }

    /// Returns the signal that a byte stands for.
    pub(super) fn signal(&self, byte: u8) -> Option<u8> {
        const SIGINT: u8 = 2;
        const SIGQUIT: u8 = 3;
        const SIGTSTP: u8 = 20;
        if self.local & SIGNALS == 0 || byte == DISABLED {
            return None;
        }
        let signals = [(INTERRUPT, SIGINT), (QUIT, SIGQUIT), (SUSPEND, SIGTSTP)];
        let mut found = signals.iter();
        found
            .find(|(place, _)| self.characters[*place] == byte)
            .map(|(_, signal)| *signal)
    }

    /// Returns what a byte means in a line that is edited.
    pub(super) fn meaning(&self, byte: u8) -> Meaning {
        if byte == b'\n' {
            return Meaning::EndOfLine;
        }
        if byte == DISABLED {
            return Meaning::Plain;
        }
        let meanings = [
            (END, Meaning::EndOfInput),
            (ERASE, Meaning::Erase),
            (WORD_ERASE, Meaning::EraseWord),
            (KILL, Meaning::EraseLine),
            (END_OF_LINE, Meaning::EndOfLine),
            (END_OF_LINE_2, Meaning::EndOfLine),
        ];
        let mut found = meanings.iter();
        found
            .find(|(place, _)| self.characters[*place] == byte)
            .map_or(Meaning::Plain, |(_, meaning)| *meaning)
    }
}
