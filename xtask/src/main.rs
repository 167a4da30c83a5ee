//! Vostok's command line: builds, runs, tests and checks the kernel.
//!
//! `cargo xtask help` lists the commands. Each sets up what it needs by itself.

#![forbid(unsafe_code)]

mod artifacts;
mod bench;
mod check;
mod claims;
mod console_tests;
mod debian;
mod emulator;
mod exit_code;
mod firmware;
mod flags;
mod gdb;
mod gdb_tests;
mod guest;
mod image;
mod interrupt;
mod junit;
mod kernel_deaths;
mod kernel_tests;
mod ktap;
mod machines;
mod matrix;
mod programs;
mod run;
mod screen;
mod screen_tests;
mod screenshot;
mod shell;
mod starve;
mod stream;
mod symbolize;
mod syscall_fuzz;
mod system;
mod test;
mod tidy;
mod toolchain;
mod usb;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::flags::{Command, Flags};

fn main() -> ExitCode {
    let flags = Flags::parse();
    shell::set_verbose(flags.verbose);
    interrupt::install();
    let result = match flags.command {
        Command::Run(options) => run::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Screenshot(options) => screenshot::run(&options),
        Command::Image(options) => image::run(&options),
        Command::Usb(options) => usb::run(&options),
        Command::Matrix(options) => matrix::run(&options),
        Command::Gdb(options) => gdb::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::FuzzSyscalls(options) => syscall_fuzz::run(&options),
        Command::Check => check::run(),
        Command::Claims => claims::run(),
        Command::Verify(options) => verify::run(&options),
        Command::Setup(options) => toolchain::setup(options.all),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
