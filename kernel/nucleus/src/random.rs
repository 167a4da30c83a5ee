//! Random bytes.

use crate::arch::x86_64::random;
use crate::time;

/// Fills a buffer with random bytes.
///
/// They come from the processor's own source. Where there is none that works,
/// they are derived from the time, which an attacker can guess; the caller is
/// not told, and CAVEATS in the README says so.
pub fn fill(buffer: &mut [u8]) {
    let mut fallback = time::uptime().as_nanos() as u64;
    for chunk in buffer.chunks_mut(size_of::<u64>()) {
        let word = random::word().unwrap_or_else(|| splitmix(&mut fallback));
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

/// One step of the generator SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
