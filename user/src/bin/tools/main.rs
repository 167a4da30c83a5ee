//! The programs that come with the system, in one file: what its name is, it does.
//!
//! `/bin/ls`, `/bin/sh` and the others are links to it, which keeps the initramfs
//! small. `tools NAME ARGUMENTS…` does the same. All of them run on Linux, too.

mod init;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

/// A program: what it is called, what it does in a few words, and its start.
struct Tool {
    name: &'static str,
    summary: &'static str,
    start: fn(&[OsString]) -> u8,
}

const TOOLS: &[Tool] = &[Tool {
    name: "init",
    summary: "the first process: runs a shell, or a program, and powers off after it",
    start: init::run,
}];

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = |arguments: &[OsString]| {
        let name = Path::new(arguments.first()?).file_name()?;
        TOOLS
            .iter()
            .find(|tool| tool.name.as_bytes() == name.as_bytes())
    };
    let tool = called(&arguments).or_else(|| {
        arguments.drain(..arguments.len().min(1));
        called(&arguments)
    });
    match tool {
        Some(tool) => ExitCode::from((tool.start)(&arguments[1..])),
        None if arguments.first().is_some_and(|word| word == "--names") => {
            TOOLS.iter().for_each(|tool| println!("{}", tool.name));
            ExitCode::SUCCESS
        }
        None => {
            for tool in TOOLS {
                println!("{:<12} {}", tool.name, tool.summary);
            }
            ExitCode::from(2)
        }
    }
}
