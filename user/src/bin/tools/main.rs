//! The programs that come with the system, in one file: what its name is, it does.
//!
//! `/bin/ls`, `/bin/sh` and the others are links to it, which keeps the initramfs
//! small. `tools NAME ARGUMENTS…` does the same. All of them run on Linux, too.

mod basics;
mod fault_storm;
mod fuzz;
mod init;
mod memhog;
mod power;
mod proc;
mod ps;
mod random;
mod sh;
mod sys;
mod vmmap;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A program: what it is called, what it does in a few words, and its start.
struct Tool {
    name: &'static str,
    summary: &'static str,
    start: fn(&[OsString]) -> u8,
}

const fn tool(name: &'static str, summary: &'static str, start: fn(&[OsString]) -> u8) -> Tool {
    Tool {
        name,
        summary,
        start,
    }
}

const TOOLS: &[Tool] = &[
    tool(
        "init",
        "the first process: runs a shell, or a program, and powers off",
        init::run,
    ),
    tool("sh", "this shell", sh::run),
    tool("ps", "the processes that there are", ps::run),
    tool(
        "vmmap",
        "[PID]: an address space as a tree and a picture",
        vmmap::run,
    ),
    tool(
        "memhog",
        "[SIZE]: take memory until there is no more",
        memhog::run,
    ),
    tool(
        "fault-storm",
        "faults, forks and unmaps by many threads, and looks",
        fault_storm::run,
    ),
    tool(
        "syscall-fuzz",
        "random system calls, and a look at what is left",
        fuzz::run,
    ),
    tool("cat", "[FILE…]: show files", basics::cat),
    tool("echo", "[-n] WORDS…: say something", basics::echo),
    tool("env", "the variables that programs see", basics::env),
    tool("false", "fail", basics::fail),
    tool("grep", "TEXT [FILE…]: the lines with a text", basics::grep),
    tool("head", "[-n LINES] [FILE…]: the first lines", basics::head),
    tool("kill", "[-NUMBER] PID…: send a signal", basics::kill),
    tool(
        "ls",
        "[-a] [-l] [PATH…]: what is in a directory",
        basics::ls,
    ),
    tool("mkdir", "DIR…: make directories", basics::mkdir),
    tool(
        "rm",
        "PATH…: remove files and empty directories",
        basics::rm,
    ),
    tool("poweroff", "power the machine off", power::off),
    tool("reboot", "restart the machine", power::restart),
    tool("sleep", "SECONDS: wait", basics::sleep),
    tool("true", "succeed", basics::succeed),
    tool(
        "uname",
        "[-a]: the name of this system",
        basics::system_name,
    ),
    tool("wc", "[FILE…]: count lines, words and bytes", basics::wc),
];

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = |arguments: &[OsString]| {
        let name = Path::new(arguments.first()?).file_name()?;
        TOOLS.iter().find(|tool| tool.name == name)
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
