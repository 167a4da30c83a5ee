//! Changing byte strings at random.

use fastrand::Rng;

/// Numbers at which code decides.
const INTERESTING: [u64; 14] = [
    0,
    1,
    0x7f,
    0xff,
    0xfff,
    0x1000,
    0x1001,
    0x1_0000,
    0x10_0000,
    0x40_0000,
    0x7fff_ffff_f000,
    1 << 52,
    i64::MAX as u64,
    u64::MAX,
];

/// Makes a new input of old ones.
///
/// The same generator, seeded alike, makes the same input.
pub fn mutate(rng: &mut Rng, corpus: &[Vec<u8>], max_len: usize) -> Vec<u8> {
    let mut input = match rng.choice(corpus) {
        Some(entry) if rng.u8(..) > 8 => entry.clone(),
        _ => (0..rng.usize(..64)).map(|_| rng.u8(..)).collect(),
    };
    for _ in 0..1 << rng.u32(..4) {
        change(rng, &mut input, corpus);
    }
    input.truncate(max_len);
    input
}

/// Makes one change.
fn change(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let len = input.len();
    if len == 0 {
        input.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..len);
    let part = at..(at + 1 + rng.usize(..len.min(16))).min(len);
    match rng.u8(..10) {
        0 => input[at] ^= 1 << rng.u32(..8),
        1 => input[at] = rng.u8(..),
        2 => input[at] = input[at].wrapping_add(rng.u8(..9)).wrapping_sub(4),
        3 => put_number(rng, input, at),
        4 => input.insert(at, rng.u8(..)),
        5 => drop(input.drain(part)),
        6 => {
            let copy = input[part].to_vec();
            let to = rng.usize(..=len);
            drop(input.splice(to..to, copy));
        }
        7 => {
            let to = rng.usize(..=len - part.len());
            input.copy_within(part, to);
        }
        8 => input.truncate(at + 1),
        _ => {
            // The start of this input and the end of another.
            if let Some(other) = rng.choice(corpus).filter(|other| !other.is_empty()) {
                input.truncate(at);
                input.extend(&other[rng.usize(..other.len())..]);
            }
        }
    }
}

/// Changes a number of some width.
fn put_number(rng: &mut Rng, input: &mut [u8], at: usize) {
    let width = (1 << rng.usize(..4)).min(input.len() - at);
    let place = &mut input[at..at + width];
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(place);
    let old = u64::from_le_bytes(bytes);
    let new = match rng.u8(..4) {
        0 => old.wrapping_add(rng.u64(..17)).wrapping_sub(8),
        1 => old.wrapping_add(0x1000),
        2 => old.wrapping_sub(0x1000),
        _ => INTERESTING[rng.usize(..INTERESTING.len())],
    };
    place.copy_from_slice(&new.to_le_bytes()[..width]);
}

/// Makes an input that fails shorter and simpler, while it fails.
pub fn shrink(input: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    const TRIES: usize = 5_000;
    let mut best = input;
    let mut tries = 0;
    let mut size = best.len().next_power_of_two();
    while size > 0 && tries < TRIES {
        let mut at = 0;
        while at < best.len() && tries < TRIES {
            let end = (at + size).min(best.len());
            let mut shorter = best.clone();
            shorter.drain(at..end);
            let mut plainer = best.clone();
            plainer[at..end].fill(0);
            tries += 2;
            if fails(&shorter) {
                best = shorter;
                continue;
            }
            if plainer != best && fails(&plainer) {
                best = plainer;
            }
            at += size;
        }
        size /= 2;
    }
    best
}
