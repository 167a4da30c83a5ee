//! The operation of `FUTEX_WAKE_OP`: a change of a word, and a question about what it
//! was before.
//!
//! ```text
//!   31     28 27     24 23              12 11               0
//!   operation comparison argument, signed  compared, signed
//! ```

use crate::errno::Errno;

/// What to do with the word, and what to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakeOperation {
    change: Change,
    argument: i32,
    comparison: u32,
    compared: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Set,
    Add,
    Or,
    AndNot,
    Xor,
}

impl WakeOperation {
    /// Accepts the operation as a program encodes it.
    ///
    /// # Errors
    ///
    /// [`Errno::NoCall`] for a change that is not there.
    pub(crate) fn new(encoded: u32) -> Result<Self, Errno> {
        const SHIFT: u32 = 8;
        let kind = encoded >> 28;
        // The shift to the left and back to the right extends the sign.
        let argument = (encoded << 8) as i32 >> 20;
        let change = match kind & !SHIFT {
            0 => Change::Set,
            1 => Change::Add,
            2 => Change::Or,
            3 => Change::AndNot,
            4 => Change::Xor,
            _ => return Err(Errno::NoCall),
        };
        let argument = match kind & SHIFT {
            0 => argument,
            _ => 1 << (argument & 31),
        };
        Ok(Self {
            change,
            argument,
            comparison: encoded >> 24 & 0xf,
            compared: (encoded << 20) as i32 >> 20,
        })
    }

    /// Returns what the word becomes.
    pub(crate) const fn apply(self, word: u32) -> u32 {
        let argument = self.argument as u32;
        match self.change {
            Change::Set => argument,
            Change::Add => word.wrapping_add(argument),
            Change::Or => word | argument,
            Change::AndNot => word & !argument,
            Change::Xor => word ^ argument,
        }
    }

    /// Returns whether the question is answered with yes for what the word was.
    ///
    /// # Errors
    ///
    /// [`Errno::NoCall`] for a comparison that is not there: as in Linux, the word has
    /// been changed by then.
    pub(crate) const fn asks_for(self, old: u32) -> Result<bool, Errno> {
        let (old, compared) = (old as i32, self.compared);
        Ok(match self.comparison {
            0 => old == compared,
            1 => old != compared,
            2 => old < compared,
            3 => old <= compared,
            4 => old > compared,
            5 => old >= compared,
            _ => return Err(Errno::NoCall),
        })
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{Errno, WakeOperation};

    fn operation(kind: u32, comparison: u32, argument: i32, compared: i32) -> WakeOperation {
        let fields = (argument as u32 & 0xfff) << 12 | compared as u32 & 0xfff;
        WakeOperation::new(kind << 28 | comparison << 24 | fields).expect("it is there")
    }

    #[ktest]
    fn word_is_changed_as_the_operation_says() {
        for (kind, argument, after) in [
            (0, 7, 7),
            (1, -1, 11),
            (2, 3, 15),
            (3, 4, 8),
            (4, 5, 9),
            (8, 5, 32),
            (10, 33, 14),
        ] {
            assert_eq!(operation(kind, 0, argument, 0).apply(12), after);
        }
    }

    #[ktest]
    fn comparison_is_signed() {
        for (comparison, answers) in [
            (0, [false, true, false]),
            (1, [true, false, true]),
            (2, [true, false, false]),
            (3, [true, true, false]),
            (4, [false, false, true]),
            (5, [false, true, true]),
        ] {
            let asks = |old: i32| operation(0, comparison, 0, -3).asks_for(old as u32);
            assert_eq!([-4, -3, 2].map(asks), answers.map(Ok));
        }
    }

    #[ktest]
    fn unknown_changes_and_comparisons_are_refused() {
        assert_eq!(WakeOperation::new(5 << 28), Err(Errno::NoCall));
        assert_eq!(operation(0, 6, 0, 0).asks_for(0), Err(Errno::NoCall));
    }
}
