//! The local APIC: its modes, and interrupts to oneself.

use super::{
    ACCESS, Access, ApicId, BASE_ENABLED, BASE_X2APIC, ERRORS, Ordering, SPURIOUS, has_x2apic, id,
    is_available, mode_changes, send, use_x2apic,
};
use crate::arch::x86_64::idt::vector;
use crate::ktest::skip;
use crate::prelude::*;

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
