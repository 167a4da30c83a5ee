//! USB, for the sake of keyboards: a driver of xHCI controllers that knows hubs and
//! keyboards, and leaves everything else alone.
//!
//! ```text
//!  PCI ──▶ xhci ──▶ ports, hubs ──▶ descriptors ──▶ boot keyboard ──▶ console::input
//!          rings    addresses       what it is      keys up, down     as any keyboard
//! ```
//!
//! **Who runs it.** For each controller there is a future, `Controller::serve`, which the
//! boot processor's tick polls, a hundred times a second. All waiting, for firmware, resets
//! and answers, is in it: start-up is not held up by a millisecond, and enumeration reads
//! from top to bottom. No interrupt of the controller's is used. A keyboard has something to
//! say every 8 ms at most, so a tick adds what no finger feels; there is no line or message
//! to be routed, shared or masked, and none that can storm; and keys are seen for as long as
//! the boot processor ticks, whatever tasks do, which is when the debug key is wanted.
//!
//! What a poll does is bounded: a page of events, a step of the future. It takes no memory,
//! all of which is allocated by [`init`], once: a few pages and one for each of
//! `xhci::MAX_SLOTS` devices; so what is plugged in never fails for lack of memory, and no
//! count of frames changes by it.
//!
//! **Firmware** gives the controller up when it is asked to, and no longer plays a PS/2
//! controller for the keyboards on it. If this driver finds fault with a machine, `nousb`
//! leaves the controllers as they are.
//!
//! **Trust.** Devices and what they say are not believed. Controllers are: they use memory
//! by themselves, and no IOMMU keeps them from it.

mod boot_keyboard;
mod context;
mod descriptor;
mod ring;
mod trb;
mod usage;
#[cfg(target_os = "none")]
mod xhci;

#[cfg(target_os = "none")]
pub(crate) use self::xhci::{init, on_tick};
