//! The local APIC: its modes, and interrupts to oneself.

use core::sync::atomic::AtomicUsize;

use super::registers::Register;
use super::{
    ACCESS, Access, ApicId, BASE_ENABLED, BASE_X2APIC, ERRORS, LVT_MASKED, Ordering, SPURIOUS,
    has_x2apic, id, is_available, mode_changes, read_base, send, use_x2apic,
};
use crate::arch::x86_64::idt::vector;
use crate::cpu::{CpuSet, num_cpus};
use crate::ktest::skip;
use crate::prelude::*;
use crate::smp::inter_processor_call_and_wait;

const OFF: u64 = 0xfee0_0900 & !BASE_ENABLED;
const XAPIC: u64 = OFF | BASE_ENABLED;
const X2APIC: u64 = XAPIC | BASE_X2APIC;

#[ktest]
fn peer_105_apic_left_in_its_newer_mode_stays_in_it() {
    for (has, allowed) in [(false, false), (false, true), (true, false), (true, true)] {
        assert!(use_x2apic(X2APIC, has, allowed));
        assert_eq!(use_x2apic(XAPIC, has, allowed), has && allowed);
        assert_eq!(use_x2apic(OFF, has, allowed), has && allowed);
    }
    assert_eq!(mode_changes(X2APIC, true), [X2APIC, X2APIC]);
}

#[ktest]
fn newer_mode_is_entered_from_the_older_one() {
    assert_eq!(mode_changes(OFF, true), [XAPIC, X2APIC]);
    assert_eq!(mode_changes(OFF, false), [XAPIC, XAPIC]);
}

#[ktest]
fn processor_interrupts_itself() {
    if !is_available() {
        skip("there is no local APIC");
    }
    // Nobody but these two counts them.
    let before = ERRORS.load(Ordering::Relaxed);
    send(id(), vector::ERROR);
    while ERRORS.load(Ordering::Relaxed) == before {
        core::hint::spin_loop();
    }
}

#[ktest]
fn peer_107_spurious_interrupts_of_the_apic_are_counted_and_harm_nothing() {
    let before = SPURIOUS.load(Ordering::Relaxed);
    // SAFETY: The handler returns, with every register.
    unsafe { core::arch::asm!("int 0xff") };
    assert_eq!(SPURIOUS.load(Ordering::Relaxed), before + 1);
}

#[ktest]
fn ids_beyond_the_older_mode_interrupt_nobody_there() {
    if !is_available() {
        skip("there is no local APIC");
    }
    let before = ERRORS.load(Ordering::Relaxed);
    // In neither mode there is such a processor; an error may be noted for it.
    send(ApicId(0xfffe), vector::SPURIOUS);
    assert!(ERRORS.load(Ordering::Relaxed) <= before + 1);
}

#[ktest]
fn newer_mode_is_used_where_the_processor_has_it() {
    if !has_x2apic() {
        skip("the processor has no x2APIC mode");
    }
    let line = crate::boot::command_line();
    if line.no_apic || line.no_x2apic {
        skip("the command line forbids it");
    }
    assert!(matches!(ACCESS.get(), Some(Access::X2apic)));
}

/// Processors that were found as all of them should be.
static WELL: AtomicUsize = AtomicUsize::new(0);

fn note_if_well() {
    let Some(access) = ACCESS.get() else {
        return;
    };
    let is_x2apic = read_base() & BASE_X2APIC != 0;
    let timer = access.read(Register::LvtTimer);
    let ticks = timer & LVT_MASKED == 0 && timer & 0xff == u32::from(vector::TIMER);
    if ticks && is_x2apic == matches!(access, Access::X2apic) {
        // Relaxed: whoever waits for the call sees it.
        WELL.fetch_add(1, Ordering::Relaxed);
    }
}

#[ktest]
fn all_processors_tick_and_have_their_apics_in_one_mode() {
    if !is_available() {
        skip("there is no local APIC");
    }
    WELL.store(0, Ordering::Relaxed);
    inter_processor_call_and_wait(&CpuSet::new_full(), note_if_well);
    assert_eq!(WELL.load(Ordering::Relaxed), num_cpus());
}
