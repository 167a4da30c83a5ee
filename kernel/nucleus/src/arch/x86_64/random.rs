//! Random words from the processor (SDM vol. 1, 7.3.17).

use core::arch::asm;
use core::fmt;

use x86_64::instructions::port::Port;

use super::calibration;
use super::features::{self, Features};

/// Intel's advice: a source that fails ten times in a row is broken.
const ATTEMPTS: u32 = 10;
/// Time stamps that are taken where nothing better may be there.
const NR_TIME_STAMPS: usize = 64;
/// The chip set's register "system control B".
const SYSTEM_CONTROL: u16 = 0x61;

/// Where random words come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `RDSEED`.
    Seed,
    /// `RDRAND`.
    Generator,
    /// The time stamps alone: the processor has no source that works.
    TimeStamps,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seed => "rdseed",
            Self::Generator => "rdrand",
            Self::TimeStamps => "time stamps alone, which can be guessed",
        })
    }
}

/// Returns a word to seed a generator with, if the processor has a source that works:
/// `RDSEED`'s, which are independent of each other, or else `RDRAND`'s.
pub(crate) fn seed_word() -> Option<u64> {
    seed_word_by(features::get()).map(|(word, _)| word)
}

fn seed_word_by(features: Features) -> Option<(u64, Source)> {
    let seed = (0..ATTEMPTS).find_map(|_| features.rdseed.then(rdseed).flatten());
    let word = || (0..ATTEMPTS).find_map(|_| features.rdrand.then(rdrand).flatten());
    let seed = seed.map(|word| (word, Source::Seed));
    seed.or_else(|| word().map(|word| (word, Source::Generator)))
}

/// Hands out words that are hard to guess before start-up has found anything out,
/// and returns where the best of them came from. Nothing is kept.
///
/// Time stamps are taken around reads of a register of the chip set, whose bus has a
/// clock of its own, so that their lowest bits are not known beforehand.
pub(crate) fn early_words(mut mix: impl FnMut(u64)) -> Source {
    for _ in 0..NR_TIME_STAMPS {
        // SAFETY: The register tells the state of lines; reading it changes nothing.
        unsafe { Port::<u8>::new(SYSTEM_CONTROL).read() };
        mix(time_stamp());
    }
    // The features that start-up found are not there yet.
    match seed_word_by(features::detect()) {
        Some((word, source)) => {
            mix(word);
            source
        }
        None => Source::TimeStamps,
    }
}

/// Returns a number that changes all the time.
pub(crate) fn time_stamp() -> u64 {
    calibration::read_tsc()
}

fn rdseed() -> Option<u64> {
    let (word, ok): (u64, u8);
    // SAFETY: The processor has the instruction, as the caller found; it changes only
    // its operand and the flags.
    unsafe {
        asm!("rdseed {}", "setc {}", out(reg) word, out(reg_byte) ok, options(nomem, nostack))
    };
    (ok == 1).then_some(word)
}

fn rdrand() -> Option<u64> {
    let (word, ok): (u64, u8);
    // SAFETY: As in `rdseed`.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) ok, options(nomem, nostack))
    };
    (ok == 1).then_some(word)
}
