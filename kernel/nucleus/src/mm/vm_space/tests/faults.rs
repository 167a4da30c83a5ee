//! Page faults of the kernel's own accesses to user memory.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::{BASE, PAGE_SIZE, PageFlags, VmSpace, frame, map, read, space, with_active};
use crate::mm::vm_space::PageFaultInfo;
use crate::prelude::{Error, ktest};

static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Maps a page where the fault was, the first time.
fn map_the_page(space: &VmSpace, info: &PageFaultInfo) -> core::result::Result<(), ()> {
    if HANDLED.fetch_add(1, Ordering::Relaxed) > 0 {
        return Err(());
    }
    map(
        space,
        info.address / PAGE_SIZE * PAGE_SIZE,
        &frame(),
        PageFlags::RW,
    );
    Ok(())
}

fn never(_space: &VmSpace, _info: &PageFaultInfo) -> core::result::Result<(), ()> {
    Err(())
}

#[ktest]
fn claim_163_choice_l20_fault_of_an_access_is_handled_by_the_spaces_first_handler() {
    let space = space();
    HANDLED.store(0, Ordering::Relaxed);
    space.set_page_fault_handler(map_the_page);
    space.set_page_fault_handler(never);
    with_active(&space, || {
        assert_eq!(read(&space, BASE + 5), Ok(0));
        assert_eq!(HANDLED.load(Ordering::Relaxed), 1);
        assert_eq!(read(&space, BASE + PAGE_SIZE), Err(Error::PageFault));
        assert_eq!(HANDLED.load(Ordering::Relaxed), 2);
    });
}

/// On a machine of its own, since the default handler stays.
#[cfg(test)]
#[test]
fn choice_l20_default_handler_serves_spaces_without_one() {
    use crate::arch::sim::Machine;
    use crate::mm::vm_space::inject_user_page_fault_handler;

    fn map_it(space: &VmSpace, info: &PageFaultInfo) -> core::result::Result<(), ()> {
        let page = info.address / PAGE_SIZE * PAGE_SIZE;
        map(space, page, &frame(), PageFlags::RW);
        Ok(())
    }

    Machine::default().on(0, || {
        let (plain, own) = (space(), space());
        own.set_page_fault_handler(never);
        with_active(&plain, || {
            assert_eq!(read(&plain, BASE), Err(Error::PageFault));
            inject_user_page_fault_handler(map_it);
            inject_user_page_fault_handler(never);
            assert_eq!(read(&plain, BASE), Ok(0), "the first default stays");
        });
        with_active(&own, || {
            assert_eq!(read(&own, BASE), Err(Error::PageFault), "its own is asked");
        });
    });
}
