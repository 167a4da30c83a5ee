//! `memhog [SIZE] [--step SIZE] [--hold SECONDS]`: takes memory until it has what it
//! was told, or gets no more, or is killed, and says how far it came.
//!
//! Each page gets a value of its own, and in the end all of them are read again.

use std::ffi::OsString;
use std::time::Duration;

use crate::sys::{Memory, PAGE};

const MEBIBYTE: usize = 1 << 20;

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    bytes: usize,
    step: usize,
    hold: Duration,
}

pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let Some(wish) = read(&words) else {
        eprintln!(
            "memhog [SIZE] [--step SIZE] [--hold SECONDS], with sizes such as 64K, 16M or 2G"
        );
        return 2;
    };
    let mut held: Vec<Memory> = Vec::new();
    let mut taken = 0;
    let mut reason = "as much as was wanted".to_owned();
    while taken < wish.bytes {
        match Memory::new(wish.step, false) {
            Ok(memory) => {
                mark(&memory, held.len());
                held.push(memory);
                taken += wish.step;
                println!("memhog: {} KiB", taken / 1024);
            }
            Err(error) => {
                reason = error.to_string();
                break;
            }
        }
    }
    let wrong: usize = held
        .iter()
        .enumerate()
        .map(|(index, memory)| wrong(memory, index))
        .sum();
    println!(
        "memhog: took {} KiB: {reason}; {wrong} pages are wrong",
        taken / 1024
    );
    std::thread::sleep(wish.hold);
    u8::from(wrong > 0)
}

fn value(index: usize, page: usize) -> u64 {
    (index as u64) << 32 | page as u64 | 1 << 63
}

fn mark(memory: &Memory, index: usize) {
    for page in 0..memory.pages() {
        memory.write(page * PAGE, value(index, page));
    }
}

/// Counts the pages that are not as they were left.
fn wrong(memory: &Memory, index: usize) -> usize {
    let is_wrong = |page: &usize| {
        let rest = memory.read(page * PAGE + PAGE - 8);
        memory.read(page * PAGE) != value(index, *page) || rest != 0
    };
    (0..memory.pages()).filter(is_wrong).count()
}

fn read(words: &[String]) -> Option<Wish> {
    let mut wish = Wish {
        bytes: usize::MAX,
        step: MEBIBYTE,
        hold: Duration::ZERO,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--step" => wish.step = size(words.next()?)?,
            "--hold" => wish.hold = Duration::from_secs(words.next()?.parse().ok()?),
            word => wish.bytes = size(word)?,
        }
    }
    wish.step = wish.step.checked_next_multiple_of(PAGE)?;
    Some(wish)
}

/// Reads a size; without a unit it is in bytes.
fn size(text: &str) -> Option<usize> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units
        .into_iter()
        .find(|(unit, _)| text.to_uppercase().ends_with(*unit));
    let digits = if unit.is_some() {
        text.get(..text.len() - 1)?
    } else {
        text
    };
    let number: usize = digits.parse().ok()?;
    number
        .checked_mul(1 << unit.map_or(0, |(_, shift)| shift))
        .filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Wish, mark, read, size, wrong};
    use crate::sys::{Memory, PAGE};

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("3m"), Some(3 << 20));
        for bad in ["", "M", "0", "-1K", "1T", "99999999999G", "1ä"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn wishes_are_read() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let wish = read(&words("2M --step 5000 --hold 1"));
        let expected = Wish {
            bytes: 2 << 20,
            step: 8192,
            hold: Duration::from_secs(1),
        };
        assert_eq!(wish, Some(expected));
        assert_eq!(read(&words("--step")), None);
    }

    #[test]
    fn page_that_has_changed_is_seen() {
        let memory = Memory::new(4 * PAGE, false).expect("four pages");
        mark(&memory, 3);
        assert_eq!((wrong(&memory, 3), wrong(&memory, 4)), (0, 4));
        memory.write(2 * PAGE - 8, 1);
        assert_eq!(wrong(&memory, 3), 1);
    }
}
