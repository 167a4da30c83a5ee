//! What an address is, in words, for whoever reads the report of a fault.

use super::layout::{KVIRT_RANGE, is_kernel_address, name_of};
use super::stack::GUARD_SIZE;
use crate::arch::memory;
use crate::boot::image;
use crate::cpu::disable_preempt;
use crate::mm::{PAGE_SIZE, PageFlags, PrivilegedPageFlags, USER_END, Vaddr};

/// Below this, nothing is ever mapped: pointers to nothing, and to parts of it.
const LOWEST: Vaddr = 0x1_0000;

/// Says what an address is. Takes no lock, and reads nothing there.
pub(crate) fn describe(vaddr: Vaddr) -> &'static str {
    if vaddr < LOWEST {
        "next to zero, where nothing is ever mapped"
    } else if vaddr <= USER_END {
        "in the half of programs"
    } else if !is_kernel_address(vaddr) {
        "not canonical"
    } else if KVIRT_RANGE.contains(&vaddr) {
        if is_guard_of_stack(vaddr) {
            "in a guard page of a kernel stack"
        } else {
            "in the kernel's areas"
        }
    } else {
        part_of_image(vaddr).unwrap_or(match name_of(vaddr) {
            "linear map" => "in the linear map of memory",
            "frame metadata" => "in the metadata of frames",
            _ => "where the kernel has nothing",
        })
    }
}

/// Returns which part of the image an address is in.
fn part_of_image(vaddr: Vaddr) -> Option<&'static str> {
    let segment = image::segments().find(|segment| segment.pages.contains(&vaddr))?;
    Some(if segment.flags.contains(PageFlags::X) {
        "in the kernel's text"
    } else if segment.flags.contains(PageFlags::W) {
        "in the kernel's data"
    } else {
        "in the kernel's constants"
    })
}

/// Returns whether an address is not mapped, and a stack begins or ends next to it.
/// Pages of stacks are known by that they alone are not global.
fn is_guard_of_stack(vaddr: Vaddr) -> bool {
    // During start-up there is none yet.
    let Some(table) = memory::memory().kernel_page_table.get() else {
        return false;
    };
    let guard = disable_preempt();
    let page_at = |vaddr| table.page_walk(&guard, vaddr);
    let is_stack = |vaddr| {
        page_at(vaddr).is_some_and(|(_, prop)| {
            let is_global = prop.priv_flags.contains(PrivilegedPageFlags::GLOBAL);
            !is_global && prop.flags.contains(PageFlags::W)
        })
    };
    let around = (PAGE_SIZE..=GUARD_SIZE).step_by(PAGE_SIZE);
    let mut around = around.flat_map(|far| [vaddr.wrapping_sub(far), vaddr.wrapping_add(far)]);
    page_at(vaddr).is_none() && around.any(is_stack)
}

#[cfg(ktest)]
mod tests {
    use super::super::KernelStack;
    use super::describe;
    use crate::mm::kspace::layout::LINEAR_MAP_BASE;
    use crate::mm::{PAGE_SIZE, USER_END, Vaddr};
    use crate::prelude::*;

    #[ktest]
    fn addresses_are_named_by_what_is_there() {
        static DATA: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(7);
        static CONSTANT: u64 = 42;
        let stack = KernelStack::new(2 * PAGE_SIZE).expect("enough memory");
        for (vaddr, expected) in [
            (8, "next to zero, where nothing is ever mapped"),
            (0x40_0000, "in the half of programs"),
            (USER_END + 0x10_0000, "not canonical"),
            (LINEAR_MAP_BASE, "in the linear map of memory"),
            (describe as *const () as Vaddr, "in the kernel's text"),
            (&raw const CONSTANT as Vaddr, "in the kernel's constants"),
            (&raw const DATA as Vaddr, "in the kernel's data"),
            (stack.bottom(), "in the kernel's areas"),
            (stack.bottom() - 1, "in a guard page of a kernel stack"),
            (
                stack.bottom() - PAGE_SIZE - 1,
                "in a guard page of a kernel stack",
            ),
            (stack.top(), "in a guard page of a kernel stack"),
            (usize::MAX, "where the kernel has nothing"),
        ] {
            assert_eq!(describe(vaddr), expected, "{vaddr:#x}");
        }
    }
}
