//! The screen of a guest, looked at from outside.
//!
//! [`monitor`] asks QEMU for a picture of what its display shows, and presses keys;
//! [`picture`] is what comes back; [`glyphs`] reads the text off it, knowing nothing but
//! the font; [`session`] boots a guest, waits for what is to be seen, and keeps pictures.
//! What is read is what a person would see: no part of it comes from the guest's memory
//! or its serial line.
//!
//! Bochs has no such monitor; its window could be photographed by tools of the X server,
//! which nobody needed yet.

pub(crate) mod glyphs;
pub(crate) mod keys;
pub(crate) mod monitor;
pub(crate) mod picture;
pub(crate) mod session;
