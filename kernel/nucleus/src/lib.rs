//! The nucleus of Vostok: the mechanism of a kernel, behind a safe API.
//!
//! Everything that is `unsafe` about running a machine is in this crate, and
//! **safe code outside of it cannot break memory safety**, whatever it does.
//! What it offers follows the public names of OSTD.
//!
//! Reading order: [`boot`] is start-up on one screen; [`mm`] is what the project
//! is for; [`arch`] is the machine; [`user`] runs programs; [`mod@ktest`] runs tests.
//!
//! The modules above the line build for the bare machine and for a host, where
//! their tests run natively; those below it are the machine's.

#![no_std]
#![warn(missing_docs)]
#![cfg_attr(
    not(target_os = "none"),
    expect(
        dead_code,
        reason = "on a host, nobody calls what the machine's modules call"
    )
)]

extern crate alloc;
// Macros of `nucleus-macros` name this crate from inside and from outside alike.
extern crate self as nucleus;

pub mod arch;
pub mod bench;
pub mod boot;
#[cfg(feature = "planted")]
pub mod check;
pub mod console;
pub mod cpu;
pub mod error;
pub mod exit_code;
pub mod irq;
pub mod ktest;
pub mod log;
pub mod mm;
pub mod planted;
pub mod prelude;
#[cfg(any(test, ktest))]
mod stress;
pub mod sync;
pub mod task;
pub mod time;
pub mod trace;
pub mod trap_decode;
mod usb;

pub use self::error::{Error, Result};
pub use nucleus_macros::{ktest, main};

// ---- The line: from here on, the bare machine alone. ----

#[cfg(target_os = "none")]
mod debug;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod random;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
mod stop;
#[cfg(target_os = "none")]
pub mod user;
