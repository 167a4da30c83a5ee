//! Scripts: files that say in their first line what runs them.
//!
//! ```text
//!   #! interpreter one argument, blanks included⏎
//! ```

use crate::errno::Errno;

/// Bytes of the beginning of a file that decide what it is.
pub(super) const BEGINNING: usize = 256;

/// What a script says about its interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Script<'a> {
    pub(super) interpreter: &'a [u8],
    pub(super) argument: Option<&'a [u8]>,
}

impl<'a> Script<'a> {
    /// Looks at the beginning of a file, of [`BEGINNING`] bytes if it has so many; returns
    /// nothing if it is no script.
    ///
    /// # Errors
    ///
    /// [`Errno::NoExec`] when the line names no interpreter, or perhaps not all of it.
    pub(super) fn parse(beginning: &'a [u8]) -> Result<Option<Self>, Errno> {
        let Some(rest) = beginning.strip_prefix(b"#!") else {
            return Ok(None);
        };
        let line_end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
        let line = trim(&rest[..line_end.unwrap_or(rest.len())]);
        let end = line.iter().position(|byte| is_blank(*byte));
        let is_cut = line_end.is_none() && beginning.len() == BEGINNING;
        if line.is_empty() || is_cut && end.is_none() {
            return Err(Errno::NoExec);
        }
        let (interpreter, argument) = line.split_at(end.unwrap_or(line.len()));
        let argument = trim(argument);
        Ok(Some(Self {
            interpreter,
            argument: (!argument.is_empty()).then_some(argument),
        }))
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{BEGINNING, Errno, Script};

    #[track_caller]
    fn assert_parsed(text: &[u8], interpreter: &[u8], argument: Option<&[u8]>) {
        let expected = Script {
            interpreter,
            argument,
        };
        assert_eq!(Script::parse(text), Ok(Some(expected)));
    }

    #[ktest]
    fn script_names_its_interpreter_and_one_argument() {
        assert_parsed(b"#!/bin/sh\necho", b"/bin/sh", None);
        assert_parsed(b"#! \t/bin/sh -e  x \t\n", b"/bin/sh", Some(b"-e  x"));
        assert_parsed(b"#!/bin/sh", b"/bin/sh", None);
        assert_parsed(b"#!/bin/sh\0-x\n", b"/bin/sh", None);
    }

    #[ktest]
    fn script_without_an_interpreter_is_refused() {
        for text in [b"#!\n".as_slice(), b"#!", b"#!  \t \n/bin/sh"] {
            assert_eq!(Script::parse(text), Err(Errno::NoExec));
        }
        assert_eq!(Script::parse(b"\x7fELF"), Ok(None));
        assert_eq!(Script::parse(b""), Ok(None));
    }

    #[ktest]
    fn interpreter_that_may_be_cut_off_is_refused() {
        let mut text = [b'x'; BEGINNING];
        text[..2].copy_from_slice(b"#!");
        assert_eq!(Script::parse(&text), Err(Errno::NoExec));
        text[100] = b' ';
        assert_parsed(&text, &text[2..100], Some(&text[101..]));
    }
}
