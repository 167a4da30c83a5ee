//! The three files of a command, and where they lead.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use super::expand::{self, Variables};
use super::syntax::{Command, copied_file};
use super::words::RedirectKind;

/// Where a file of a command leads.
#[derive(Debug)]
enum Stream {
    /// Where this file of the shell leads.
    Ours(u8),
    /// To a file or a pipe.
    Other(OwnedFd),
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Ours(number) => Ok(Self::Ours(*number)),
            Self::Other(file) => file.try_clone().map(Self::Other),
        }
    }

    /// Returns the file itself.
    fn into_file(self) -> io::Result<OwnedFd> {
        match self {
            Self::Ours(0) => io::stdin().as_fd().try_clone_to_owned(),
            Self::Ours(1) => io::stdout().as_fd().try_clone_to_owned(),
            Self::Ours(_) => io::stderr().as_fd().try_clone_to_owned(),
            Self::Other(file) => Ok(file),
        }
    }
}

/// The files 0, 1 and 2.
#[derive(Debug)]
pub(super) struct Streams([Stream; 3]);

impl Streams {
    /// Those of the shell, but for the ends of pipes.
    pub(super) fn new(input: Option<OwnedFd>, output: Option<OwnedFd>) -> Self {
        let or_ours =
            |file: Option<OwnedFd>, number| file.map_or(Stream::Ours(number), Stream::Other);
        Self([or_ours(input, 0), or_ours(output, 1), Stream::Ours(2)])
    }

    /// Does what the redirections of a command say, in their order.
    pub(super) fn redirect(
        &mut self,
        command: &Command,
        variables: &Variables,
    ) -> Result<(), String> {
        for (redirect, word) in &command.redirects {
            let name = expand::one(word, variables);
            let mut options = File::options();
            let opened = match redirect.kind {
                RedirectKind::Read => options.read(true).open(&name),
                RedirectKind::Write => options.write(true).create(true).truncate(true).open(&name),
                RedirectKind::Append => options.append(true).create(true).open(&name),
                RedirectKind::Copy => {
                    let source = copied_file(word).unwrap_or(1);
                    let copy = self.0[usize::from(source)].try_clone();
                    self.0[usize::from(redirect.file)] = copy.map_err(|error| error.to_string())?;
                    continue;
                }
            };
            let file = opened.map_err(|error| format!("{name}: {error}"))?;
            self.0[usize::from(redirect.file)] = Stream::Other(file.into());
        }
        Ok(())
    }

    /// Hands the files to a program.
    pub(super) fn give(self, program: &mut std::process::Command) -> io::Result<()> {
        let [input, output, errors] = self.0.map(Stream::into_file);
        program.stdin(Stdio::from(input?));
        program.stdout(Stdio::from(output?));
        program.stderr(Stdio::from(errors?));
        Ok(())
    }

    /// Writes to the file 1, or to the file 2; nobody can be told of a failure.
    pub(super) fn write(&self, is_error: bool, text: &str) {
        let stream = self.0[1 + usize::from(is_error)].try_clone();
        let file = stream.and_then(Stream::into_file).map(File::from);
        let _ = file.and_then(|mut file| file.write_all(text.as_bytes()));
    }
}
