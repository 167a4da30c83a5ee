//! Vostok's policy: what to do with the machine that the nucleus manages.
//!
//! This crate is safe Rust alone. A program's life goes through it in this
//! order: [`fs`] finds it in the initramfs, [`process`] loads and runs it,
//! [`vm`] gives it memory when it touches it, [`syscall`] answers its calls.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod errno;
mod fs;
mod process;
mod syscall;
mod vm;

use alloc::vec::Vec;

use nucleus::power::{self, ExitCode};
use nucleus::{boot, console, ktest, trace};

/// What runs when the command line names no program.
const DEFAULT_PROGRAM: &str = "/bin/init";

/// Runs the tests, or a program as the only process, and ends the machine.
#[nucleus::main]
fn main() -> ! {
    fs::init();
    ktest::run_if_requested();
    #[cfg(bench)]
    nucleus::bench::run_if_requested();

    let command_line = boot::command_line();
    vm::want_huge_pages(command_line.huge_pages);
    let mut arguments: Vec<&str> = command_line.program().collect();
    if arguments.is_empty() {
        arguments.push(DEFAULT_PROGRAM);
    }
    if let Err(error) = fs::terminal::Terminal::start() {
        log::error!("nothing can be typed: {error:?}");
    }
    boot::check_protection();
    console::start_program_output(arguments[0]);
    let status = process::run(&arguments);
    console::finish_program_output(status);
    trace::print_summary();
    boot::crash_after_program();
    power::exit(if status == 0 {
        ExitCode::Success
    } else {
        ExitCode::Failure
    })
}
