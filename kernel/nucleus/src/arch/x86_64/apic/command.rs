//! Interrupts to other processors (SDM vol. 3A, 11.6).
//!
//! ```text
//!  63 / 63          56 / 32 31    20 19 18 17    15 14    13 12 11 10   8 7      0
//! ┌───────────────────────┬─────────┬─────┬──────┬───────┬──┬──┬──┬──────┬────────┐
//! │ destination: 8 / 32 b │    0    │  0  │  0   │trigger│as│0 │bu│ mode │ vector │
//! └───────────────────────┴─────────┴─────┴──────┴───────┴──┴──┴──┴──────┴────────┘
//! ```
//!
//! `as` is *assert*, `bu` says that the last command has not been accepted yet,
//! in xAPIC mode only.
//!
//! **Order**: whoever is interrupted sees all that the sender wrote before. A
//! write to uncached memory comes after all earlier writes anyhow; a write to an
//! MSR of the x2APIC does not wait for them, so that fences stand before it
//! (11.12.3).

use core::arch::x86_64::{_mm_lfence, _mm_mfence};
use core::sync::atomic::{AtomicU32, Ordering};

use super::registers::{Access, Register};
use super::{ACCESS, ApicId};
use crate::irq;

const MODE_NON_MASKABLE: u32 = 4 << 8;
const MODE_INIT: u32 = 5 << 8;
const MODE_STARTUP: u32 = 6 << 8;
const PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;

/// Polls before a command is given up that the APIC does not accept. An APIC takes
/// some hundred cycles; an emulator none.
const PENDING_POLLS: u32 = 1_000_000;

/// Commands that found the one before them not accepted.
static STUCK: AtomicU32 = AtomicU32::new(0);

/// Interrupts a processor, which may be this one, with a vector.
///
/// The target sees all that was written before. Does nothing when there is no
/// APIC, or the processor cannot be named in the APIC's mode.
pub(crate) fn send(target: ApicId, vector: u8) {
    debug_assert!(vector >= 32, "vector {vector} is an exception's");
    command(target, ASSERT | u32::from(vector));
}

/// Interrupts a processor though it may have interrupts off, to stop it.
pub(crate) fn send_nmi(target: ApicId) {
    command(target, ASSERT | MODE_NON_MASKABLE);
}

/// Resets another processor, which then waits for [`send_startup`].
pub(crate) fn send_init(target: ApicId) {
    command(target, ASSERT | MODE_INIT);
}

/// Starts a processor that was reset at the physical address `page` times 4096, in
/// real mode.
pub(crate) fn send_startup(target: ApicId, page: u8) {
    command(target, ASSERT | MODE_STARTUP | u32::from(page));
}

fn command(target: ApicId, low: u32) {
    match ACCESS.get() {
        Some(access @ Access::Xapic(_)) => {
            if target > ApicId::MAX_XAPIC {
                return;
            }
            // Nothing may come between the halves, nor between the wait and them.
            let _irq_off = irq::disable_local();
            wait_until_accepted(*access);
            access.write(Register::CommandDestination, target.0 << 24);
            access.write(Register::Command, low);
        }
        Some(access @ Access::X2apic) => {
            // SAFETY: Every 64-bit processor has both.
            unsafe { _mm_mfence() };
            // SAFETY: As above.
            unsafe { _mm_lfence() };
            access.write_wide(
                Register::Command,
                u64::from(target.0) << 32 | u64::from(low),
            );
        }
        None => {}
    }
}

/// Waits until the last command was accepted, but not for ever: what the next one
/// loses then is an interrupt to a processor that accepts none.
fn wait_until_accepted(access: Access) {
    for _ in 0..PENDING_POLLS {
        if access.read(Register::Command) & PENDING == 0 {
            return;
        }
        core::hint::spin_loop();
    }
    // Relaxed: a statistic that orders nothing.
    let count = STUCK.fetch_add(1, Ordering::Relaxed) + 1;
    log::warn!("apic: a command is not accepted, number {count}");
}
