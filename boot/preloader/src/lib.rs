//! What UEFI firmware starts before the loader.
//!
//! The loader (the crate `bootloader`) was written for firmware as it usually is:
//! with 4-level paging, and a screen whose pixels it knows. Where firmware is odd,
//! it dies without a word. The pre-loader runs first, makes the machine even, and
//! chains to it:
//!
//! | oddity | what is done |
//! |---|---|
//! | paging has 5 levels | [`levels`]: it is left when the loader ends the firmware's services |
//! | a screen that cannot be drawn on, or of which the loader would choose the largest mode | [`screen`]: the loader is shown a screen with one mode, or none |
//!
//! Nothing else is touched: on an even machine the loader finds all as it was.
//! There is no kernel yet, so nothing here belongs to the nucleus, and what is
//! `unsafe` calls firmware or is called by it.
//!
//! The second application, [`oddities`], is for tests: it makes firmware odd.

#![cfg_attr(not(test), no_std)]

pub mod chain;
mod hook;
pub mod levels;
pub mod modes;
pub mod oddities;
pub mod screen;
mod trampoline;
