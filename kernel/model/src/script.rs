//! Sequences of operations as text, to be kept and replayed.
//!
//! A script has an operation a line; `#` starts a comment. Numbers are pages, so
//! that a script can be read; properties and levels are numbers as they are.
//!
//! ```text
//! open change 0..4
//! map 1 5        # level 1, property 5
//! jump 0
//! take 4
//! close
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use crate::{Intent, Level, Property};

/// An operation of a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Opens a cursor on a range of pages; it is closed before the next.
    Open(Intent, Range<usize>),
    /// Closes the cursor.
    Close,
    /// [`query`](crate::cursor::query).
    Query,
    /// [`find_next`](crate::cursor::find_next), of so many pages.
    Find(usize),
    /// [`jump`](crate::cursor::jump), to a page.
    Jump(usize),
    /// [`map`](crate::cursor::map), of a new item of a level.
    Map(Level, Property),
    /// [`take_next`](crate::cursor::take_next), of so many pages.
    Take(usize),
    /// [`protect_next`](crate::cursor::protect_next), of so many pages.
    Protect(usize, Property),
    /// [`protect`](crate::cursor::protect()), of so many pages.
    ProtectAll(usize, Property),
    /// [`split_edges`](crate::cursor::split_edges), of so many pages.
    Split(usize),
    /// [`copy`](crate::fork::copy), of so many pages, into a table that maps nothing.
    Copy(usize, Property),
    /// No operation: the real cursor is to remember the node of a level at its
    /// address, which must make no difference.
    Remember(Level),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(Intent::Read, range) => {
                write!(f, "open read {}..{}", range.start, range.end)
            }
            Self::Open(Intent::Change, range) => {
                write!(f, "open change {}..{}", range.start, range.end)
            }
            Self::Close => write!(f, "close"),
            Self::Query => write!(f, "query"),
            Self::Find(pages) => write!(f, "find {pages}"),
            Self::Jump(page) => write!(f, "jump {page}"),
            Self::Map(level, prop) => write!(f, "map {level} {prop}"),
            Self::Take(pages) => write!(f, "take {pages}"),
            Self::Protect(pages, prop) => write!(f, "protect {pages} {prop}"),
            Self::ProtectAll(pages, prop) => write!(f, "protect-all {pages} {prop}"),
            Self::Split(pages) => write!(f, "split {pages}"),
            Self::Copy(pages, prop) => write!(f, "copy {pages} {prop}"),
            Self::Remember(level) => write!(f, "remember {level}"),
        }
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let name = words.next().ok_or("an operation is missing")?;
        let mut word = || words.next().ok_or_else(|| format!("`{line}` is too short"));
        let op = match name {
            "open" => {
                let intent = match word()? {
                    "read" => Intent::Read,
                    "change" => Intent::Change,
                    other => return Err(format!("`{other}` is no intent")),
                };
                let range = word()?;
                let (start, end) = range
                    .split_once("..")
                    .ok_or_else(|| format!("`{range}` is no range"))?;
                Self::Open(intent, number(start)?..number(end)?)
            }
            "close" => Self::Close,
            "query" => Self::Query,
            "find" => Self::Find(number(word()?)?),
            "jump" => Self::Jump(number(word()?)?),
            "map" => Self::Map(number(word()?)?, number(word()?)?),
            "take" => Self::Take(number(word()?)?),
            "protect" => Self::Protect(number(word()?)?, number(word()?)?),
            "protect-all" => Self::ProtectAll(number(word()?)?, number(word()?)?),
            "split" => Self::Split(number(word()?)?),
            "copy" => Self::Copy(number(word()?)?, number(word()?)?),
            "remember" => Self::Remember(number(word()?)?),
            other => return Err(format!("`{other}` is no operation")),
        };
        match words.next() {
            None => Ok(op),
            Some(more) => Err(format!("`{more}` is too much")),
        }
    }
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

/// Reads a script.
///
/// # Errors
///
/// What is wrong, with the line's number.
pub fn parse(text: &str) -> Result<alloc::vec::Vec<Op>, String> {
    let code = |line: &str| line.split('#').next().unwrap_or("").trim().to_string();
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, code(line)))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            line.parse()
                .map_err(|error| format!("line {number}: {error}"))
        })
        .collect()
}

/// Writes a script.
#[must_use]
pub fn print<'a>(ops: impl IntoIterator<Item = &'a Op>) -> String {
    ops.into_iter().map(|op| format!("{op}\n")).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::{Op, parse, print};
    use crate::Intent;

    #[test]
    fn script_reads_back_as_it_was_written() {
        let ops = vec![
            Op::Open(Intent::Read, 3..9),
            Op::Open(Intent::Change, 0..4),
            Op::Query,
            Op::Find(1),
            Op::Jump(2),
            Op::Map(2, 7),
            Op::Take(3),
            Op::Protect(4, 5),
            Op::ProtectAll(6, 1),
            Op::Split(0),
            Op::Copy(2, 3),
            Op::Remember(3),
            Op::Close,
        ];
        assert_eq!(parse(&print(&ops)), Ok(ops));
    }

    #[test]
    fn comments_and_empty_lines_are_passed_over() {
        assert_eq!(parse("# a\n\n  query # b\n"), Ok(vec![Op::Query]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, wrong) in [
            ("query\nmap 1", "line 2: `map 1` is too short"),
            ("take x", "line 1: `x` is no number"),
            ("open all 0..1", "line 1: `all` is no intent"),
            ("open read 0", "line 1: `0` is no range"),
            ("close now", "line 1: `now` is too much"),
            ("fly", "line 1: `fly` is no operation"),
            ("map 300 1", "line 1: `300` is no number"),
        ] {
            assert_eq!(parse(text).unwrap_err(), wrong);
        }
    }
}
