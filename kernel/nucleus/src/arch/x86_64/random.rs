//! Random words from the processor (SDM vol. 1, 7.3.17).

use core::arch::asm;

use super::{calibration, features};

/// Intel's advice: a source that fails ten times in a row is broken.
const ATTEMPTS: u32 = 10;

/// Returns a word to seed a generator with, if the processor has a source that works:
/// `RDSEED`'s, which are independent of each other, or else `RDRAND`'s.
pub(crate) fn seed_word() -> Option<u64> {
    let features = features::get();
    let seed = (0..ATTEMPTS).find_map(|_| features.rdseed.then(rdseed).flatten());
    seed.or_else(|| (0..ATTEMPTS).find_map(|_| features.rdrand.then(rdrand).flatten()))
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
