//! What a battery-backed clock says (Motorola MC146818 data sheet), and the date in days.
//!
//! Its registers are one byte each: in binary or as two decimal digits, hours of 24 or
//! of 12 with the afternoon as the highest bit, as status register B says. The century
//! is in a register of its own, if the machine has one. Nothing of that is believed
//! unless all of it is a date.

use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

/// Bits of status register B.
const IS_BINARY: u8 = 1 << 2;
const HAS_24_HOURS: u8 = 1 << 1;
/// The bit of an hour of 12 that says that it is after noon.
const IS_AFTERNOON: u8 = 1 << 7;
/// Centuries that are believed; the next one to come otherwise.
const CENTURIES: RangeInclusive<u8> = 19..=25;
const THIS_CENTURY: u8 = 20;
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// The registers of a battery-backed clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) second: u8,
    pub(crate) minute: u8,
    pub(crate) hour: u8,
    pub(crate) day: u8,
    pub(crate) month: u8,
    pub(crate) year: u8,
    /// If the machine has the register.
    pub(crate) century: Option<u8>,
    /// Status register B.
    pub(crate) format: u8,
}

/// A date and a time, of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Registers {
    /// Returns the date and time; nothing if the registers are of none since 1970.
    pub(crate) fn decode(&self) -> Option<DateTime> {
        let number = |byte| self.number(byte);
        let century = self.century.and_then(number);
        let century = century.filter(|century| CENTURIES.contains(century));
        let year = number(self.year).filter(|year| *year < 100)?;
        DateTime {
            year: u16::from(century.unwrap_or(THIS_CENTURY)) * 100 + u16::from(year),
            month: number(self.month)?,
            day: number(self.day)?,
            hour: self.hour()?,
            minute: number(self.minute)?,
            second: number(self.second)?,
        }
        .validated()
    }

    /// Returns the number that a register has.
    fn number(&self, byte: u8) -> Option<u8> {
        let (tens, ones) = (byte >> 4, byte & 0xf);
        match self.format & IS_BINARY != 0 {
            true => Some(byte),
            false => (tens < 10 && ones < 10).then(|| tens * 10 + ones),
        }
    }

    /// Returns the hour of 24.
    fn hour(&self) -> Option<u8> {
        if self.format & HAS_24_HOURS != 0 {
            return self.number(self.hour);
        }
        let hour = self.number(self.hour & !IS_AFTERNOON)?;
        let is_afternoon = self.hour & IS_AFTERNOON != 0;
        // Twelve is the first of them.
        (1..=12)
            .contains(&hour)
            .then(|| hour % 12 + if is_afternoon { 12 } else { 0 })
    }
}

impl DateTime {
    fn validated(self) -> Option<Self> {
        let is_legal = self.year >= 1970
            && (1..=12).contains(&self.month)
            && (1..=days_of(self.month, self.year)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        is_legal.then_some(self)
    }

    /// Returns the time since 1970.
    pub(crate) fn since_epoch(&self) -> Duration {
        let whole_years: u64 = (1970..self.year).map(days_of_year).sum();
        let months = (1..self.month).map(|month| u64::from(days_of(month, self.year)));
        let days = whole_years + months.sum::<u64>() + u64::from(self.day - 1);
        let minutes = u64::from(self.hour) * 60 + u64::from(self.minute);
        Duration::from_secs(days * SECONDS_A_DAY + minutes * 60 + u64::from(self.second))
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = (self.year, self.month, self.day);
        let (hour, minute, second) = (self.hour, self.minute, self.second);
        write!(
            f,
            "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        )
    }
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u16) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of(month: u8, year: u16) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::string::ToString;

    use super::{DateTime, HAS_24_HOURS, IS_AFTERNOON, IS_BINARY, Registers};
    use crate::prelude::*;

    /// In decimal digits, 24 hours.
    const SOME: Registers = Registers {
        second: 0x56,
        minute: 0x34,
        hour: 0x12,
        day: 0x21,
        month: 0x11,
        year: 0x26,
        century: Some(0x20),
        format: HAS_24_HOURS,
    };

    #[track_caller]
    fn assert_says(registers: Registers, expected: &str) {
        let said = registers.decode().map(|date| date.to_string());
        assert_eq!(said.as_deref(), Some(expected), "{registers:x?}");
    }

    #[ktest]
    fn registers_are_read_in_both_formats() {
        assert_says(SOME, "2026-11-21 12:34:56");
        let binary = Registers {
            second: 56,
            minute: 34,
            hour: 12,
            day: 21,
            month: 11,
            year: 26,
            century: Some(20),
            format: HAS_24_HOURS | IS_BINARY,
        };
        assert_says(binary, "2026-11-21 12:34:56");
    }

    #[ktest]
    fn hours_of_twelve_start_with_twelve() {
        let at = |hour| Registers {
            hour,
            format: 0,
            ..SOME
        };
        assert_says(at(0x12), "2026-11-21 00:34:56");
        assert_says(at(0x01), "2026-11-21 01:34:56");
        assert_says(at(0x12 | IS_AFTERNOON), "2026-11-21 12:34:56");
        assert_says(at(0x11 | IS_AFTERNOON), "2026-11-21 23:34:56");
        assert_eq!(at(0x00).decode(), None);
        assert_eq!(at(0x13).decode(), None);
    }

    #[ktest]
    fn century_that_is_none_is_this_one() {
        for century in [None, Some(0xff), Some(0x00), Some(0x3a), Some(0x99)] {
            assert_says(Registers { century, ..SOME }, "2026-11-21 12:34:56");
        }
        let next = Registers {
            century: Some(0x21),
            ..SOME
        };
        assert_says(next, "2126-11-21 12:34:56");
    }

    #[ktest]
    fn what_is_no_date_is_not_believed() {
        let wrong = [
            Registers {
                second: 0x60,
                ..SOME
            },
            Registers {
                second: 0x5a,
                ..SOME
            },
            Registers {
                minute: 0x60,
                ..SOME
            },
            Registers { hour: 0x24, ..SOME },
            Registers { day: 0, ..SOME },
            Registers { day: 0x31, ..SOME },
            Registers { month: 0, ..SOME },
            Registers {
                month: 0x13,
                ..SOME
            },
            Registers { year: 0xa0, ..SOME },
            Registers {
                year: 0x69,
                century: Some(0x19),
                ..SOME
            },
            Registers {
                day: 0x29,
                month: 2,
                ..SOME
            },
        ];
        for registers in wrong {
            assert_eq!(registers.decode(), None, "{registers:x?}");
        }
        // A machine without the clock reads all ones.
        let ones = Registers {
            second: 0xff,
            minute: 0xff,
            hour: 0xff,
            day: 0xff,
            month: 0xff,
            year: 0xff,
            century: Some(0xff),
            format: 0xff,
        };
        assert_eq!(ones.decode(), None);
    }

    #[ktest]
    fn dates_are_counted_as_everybody_counts_them() {
        let seconds = |year, month, day, hour, minute, second| {
            let date = DateTime {
                year,
                month,
                day,
                hour,
                minute,
                second,
            };
            date.validated().map(|date| date.since_epoch().as_secs())
        };
        assert_eq!(seconds(1970, 1, 1, 0, 0, 0), Some(0));
        assert_eq!(seconds(2000, 2, 29, 23, 59, 59), Some(951_868_799));
        assert_eq!(seconds(2000, 3, 1, 0, 0, 0), Some(951_868_800));
        assert_eq!(seconds(2038, 1, 19, 3, 14, 8), Some(1 << 31));
        assert_eq!(seconds(2100, 2, 29, 0, 0, 0), None, "no leap year");
        assert_eq!(seconds(2100, 3, 1, 0, 0, 0), Some(4_107_542_400));
    }
}
