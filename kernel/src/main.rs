//! test
#![no_std]
#![no_main]
#![forbid(unsafe_code)]
use nucleus::prelude::*;
#[nucleus::main]
fn main() -> ! {
    println!("hello");
    nucleus::ktest::run_if_requested();
    nucleus::power::exit(nucleus::power::ExitCode::Success)
}
