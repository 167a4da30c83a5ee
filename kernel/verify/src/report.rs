//! The lines in which checkers say what they found.
//!
//! A line that starts with `row` and a tabulator has four fields more: the claim,
//! the checker, the number of cases or states, and `ok` or what is wrong. All
//! other output is for people.

use std::any::Any;
use std::cell::RefCell;
use std::panic;

/// What one check found.
#[derive(Clone, Debug)]
pub struct Row {
    /// What should be true.
    pub claim: &'static str,
    /// What looked.
    pub checker: &'static str,
    /// At how much.
    pub cases: String,
    /// What is wrong, if something is.
    pub result: Result<(), String>,
}

impl Row {
    /// Prints the row; returns whether all is well.
    #[must_use]
    pub fn print(&self) -> bool {
        let Self {
            claim,
            checker,
            cases,
            result,
        } = self;
        match result {
            Ok(()) => println!("row\t{claim}\t{checker}\t{cases}\tok"),
            Err(text) => {
                println!("{text}");
                let first = text.lines().next().unwrap_or_default();
                println!("row\t{claim}\t{checker}\t{cases}\tFAILED: {first}");
            }
        }
        result.is_ok()
    }
}

/// Writes a number in groups of three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has panics noted instead of printed: most of them are expected.
pub fn note_panics() {
    panic::set_hook(Box::new(|info| {
        LAST_PANIC.set(info.to_string().replace('\n', " "));
    }));
}

/// Runs something that may panic; says how it panicked.
///
/// # Errors
///
/// What the panic said, and where.
pub fn caught<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    let panicked = |_: Box<dyn Any + Send>| LAST_PANIC.take();
    panic::catch_unwind(panic::AssertUnwindSafe(body)).map_err(panicked)
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234), "1 234");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
