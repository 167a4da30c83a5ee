//! Which rows are wanted, and how they are printed: by bytes, which takes less code
//! than to format.

use crate::sys;

/// Rounds of which the least is taken.
pub(crate) const ROUNDS: usize = 5;

/// Chooses rows by parts of their names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    parts: &'a [&'a [u8]],
}

impl<'a> Filter<'a> {
    pub(crate) fn new(parts: &'a [&'a [u8]]) -> Self {
        Self { parts }
    }

    fn selects(&self, name: &str) -> bool {
        let is_part = |part: &&[u8]| contains(name.as_bytes(), part);
        self.parts.is_empty() || self.parts.iter().any(is_part)
    }

    /// Prints a row: the least of what `measure` returns in some rounds, for each
    /// of the `operations` that it does in one.
    pub(crate) fn row(&self, name: &str, operations: usize, mut measure: impl FnMut() -> u64) {
        self.rows([name], operations, || [measure()]);
    }

    /// Prints rows that are measured together.
    pub(crate) fn rows<const N: usize>(
        &self,
        names: [&str; N],
        operations: usize,
        mut measure: impl FnMut() -> [u64; N],
    ) {
        if !names.iter().any(|name| self.selects(name)) {
            return;
        }
        let mut least = [u64::MAX; N];
        for _ in 0..ROUNDS {
            for (least, count) in least.iter_mut().zip(measure()) {
                *least = count.min(*least);
            }
        }
        let operations = operations as u64;
        for (name, count) in names.into_iter().zip(least) {
            if self.selects(name) {
                print(name, (count + operations / 2) / operations);
            }
        }
    }
}

/// Not `windows(…).any`, which compares by a function of the C library.
fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some(last) = text.len().checked_sub(part.len()) else {
        return false;
    };
    (0..=last).any(|start| {
        let window = text[start..].iter().zip(part);
        window.into_iter().all(|(a, b)| a == b)
    })
}

/// Prints a name and a number in one call, so that the line stays whole.
fn print(name: &str, mut number: u64) {
    let mut line = [0; 64];
    let mut start = line.len() - 1;
    line[start] = b'\n';
    loop {
        start -= 1;
        line[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    start -= 1;
    line[start] = b' ';
    for byte in name.bytes().rev() {
        start -= 1;
        line[start] = byte;
    }
    sys::write(1, &line[start..]);
}
