//! Random words from the processor (`RDRAND`, SDM vol. 1, 7.3.17).

use core::arch::asm;

use super::features;

/// Intel's advice: a source that fails ten times in a row is broken.
const ATTEMPTS: u32 = 10;

/// Returns a random word, if the processor has a source that works.
pub(crate) fn word() -> Option<u64> {
    if !features::get().rdrand {
        return None;
    }
    (0..ATTEMPTS).find_map(|_| {
        let (word, ok): (u64, u8);
        // SAFETY: The processor has the instruction; it changes only its
        // operand and the flags.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) ok, options(nomem, nostack))
        };
        (ok == 1).then_some(word)
    })
}
