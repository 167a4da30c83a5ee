//! Random bytes.
//!
//! They come from a generator, ChaCha20, whose state is 256 bits that nobody can guess:
//! from the processor's own source (`RDSEED`, or else `RDRAND`), what the generator was
//! before, and the time. The sources are mixed by hashing them with the generator
//! itself, so that one that is bad does not spoil the others. It is seeded again now and
//! then, in case its state became known.
//!
//! After each use the generator replaces its own state: what it gave out cannot be
//! computed from what is in memory afterwards.
//!
//! **Where the processor has no source that works**, the time is all that is left,
//! which an attacker can guess; the caller is not told, and CAVEATS in the README says
//! so.

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::arch::x86_64::random::{self, Source};
use crate::sync::SpinLock;
use crate::time;

/// Bytes of the generator's state.
const SEED_SIZE: usize = 32;
/// After so many bytes, or so much time, the generator is seeded again.
const BYTES_BETWEEN_SEEDS: usize = 1 << 20;
const TIME_BETWEEN_SEEDS: Duration = Duration::from_secs(60);
/// Bytes that are made at a time, with interrupts off.
const CHUNK_SIZE: usize = 256;

static GENERATOR: SpinLock<Generator> = SpinLock::new(Generator {
    state: [0; SEED_SIZE],
    bytes_left: 0,
    seeded_at: Duration::ZERO,
});

/// The generator for all.
struct Generator {
    state: [u8; SEED_SIZE],
    /// Bytes until it is seeded again.
    bytes_left: usize,
    seeded_at: Duration,
}

/// Fills a buffer with random bytes.
pub fn fill(buffer: &mut [u8]) {
    for chunk in buffer.chunks_mut(CHUNK_SIZE) {
        GENERATOR.lock().fill(chunk);
    }
}

impl Generator {
    fn fill(&mut self, chunk: &mut [u8]) {
        let now = time::uptime();
        let is_old = now.saturating_sub(self.seeded_at) > TIME_BETWEEN_SEEDS;
        if self.bytes_left < chunk.len() || is_old {
            self.seed(now);
        }
        self.bytes_left -= chunk.len();
        let mut stream = ChaCha20Rng::from_seed(self.state);
        stream.fill_bytes(&mut self.state);
        stream.fill_bytes(chunk);
    }

    /// Mixes what is fresh into the state.
    fn seed(&mut self, now: Duration) {
        // Nothing that is added makes the state known to who did not know it before:
        // each word goes into the key of a stream, of which the next key is made.
        self.mix(now.as_nanos() as u64);
        self.mix(random::time_stamp());
        for _ in 0..SEED_SIZE / size_of::<u64>() {
            if let Some(word) = random::seed_word() {
                self.mix(word);
            }
        }
        self.bytes_left = BYTES_BETWEEN_SEEDS;
        self.seeded_at = now;
    }

    fn mix(&mut self, word: u64) {
        mix(&mut self.state, word);
    }
}

/// Mixes a word into a generator's state.
fn mix(state: &mut [u8; SEED_SIZE], word: u64) {
    for (byte, fresh) in state.iter_mut().zip(word.to_le_bytes()) {
        *byte ^= fresh;
    }
    ChaCha20Rng::from_seed(*state).fill_bytes(state);
}

/// Returns a random word before anything else of the kernel has run, and what it comes
/// from. No static is used.
pub(crate) fn early_word() -> (u64, Source) {
    let mut state = [0; SEED_SIZE];
    let source = random::early_words(|word| mix(&mut state, word));
    (ChaCha20Rng::from_seed(state).next_u64(), source)
}

#[cfg(ktest)]
mod tests {
    use super::{BYTES_BETWEEN_SEEDS, CHUNK_SIZE, Duration, GENERATOR, Generator, fill};
    use crate::prelude::*;

    #[ktest]
    fn random_bytes_differ_and_fill_buffers_of_any_size() {
        for len in [0, 1, 31, 32, 33, CHUNK_SIZE, 3 * CHUNK_SIZE + 7] {
            let (mut one, mut other) = ([0; 1024], [0; 1024]);
            fill(&mut one[..len]);
            fill(&mut other[..len]);
            assert!(one[len..].iter().all(|byte| *byte == 0));
            let is_long = len >= 16;
            assert!(!is_long || one[..len] != other[..len], "{len} bytes");
        }
    }

    #[ktest]
    fn random_bits_are_ones_as_often_as_zeros() {
        let mut bytes = [0; 4096];
        fill(&mut bytes);
        let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        // Nine standard deviations of 32768 throws of a coin.
        assert!(ones.abs_diff(16384) < 9 * 91, "{ones} ones");
    }

    #[ktest]
    fn random_generator_replaces_its_state_and_is_seeded_again() {
        let mut generator = Generator {
            state: [7; 32],
            bytes_left: usize::MAX,
            seeded_at: crate::time::uptime(),
        };
        let (mut first, mut second) = ([0; 32], [0; 32]);
        generator.fill(&mut first);
        let state = generator.state;
        generator.fill(&mut second);
        assert_ne!(first, second);
        assert!(![[7; 32], state, first, second].contains(&generator.state));
        // The same state gives the same bytes, unless it is seeded.
        generator.state = [7; 32];
        generator.fill(&mut second);
        assert_eq!(first, second);
        (generator.state, generator.bytes_left) = ([7; 32], 0);
        generator.fill(&mut second);
        assert_ne!(first, second);
        assert_eq!(generator.bytes_left, BYTES_BETWEEN_SEEDS - 32);
        assert!(GENERATOR.lock().seeded_at > Duration::ZERO);
    }
}
