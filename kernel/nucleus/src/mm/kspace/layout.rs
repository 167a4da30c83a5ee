//! The map of virtual memory.
//!
//! ```text
//! 0000_0000_0000_0000  user space; the first 64 KiB and the last page stay empty
//! 0000_8000_0000_0000  not canonical
//! ffff_8000_0000_0000  linear map of physical memory, 64 TiB
//! ffff_c000_0000_0000  kernel virtual areas: stacks, devices, heap, 32 TiB
//! ffff_e000_0000_0000  frame metadata, one slot a frame, 1 TiB
//! ffff_e100_0000_0000  unused
//! ffff_e800_0000_0000  kernel image, at a random page of these 16 TiB
//! ffff_f800_0000_0000  unused
//! ffff_ffff_8000_0000  kernel image as the loader leaves it, until it has moved
//! ```
//!
//! The loader puts the image at [`IMAGE_BASE`], always. Start-up moves it at once
//! to a page of [`IMAGE_RANGE`] that nobody can guess: 31 bits of entropy, for an
//! image of up to 2 GiB (`boot::kaslr`). Nothing is mapped at the loader's base
//! from then on; with the option `nokaslr` the image stays there. Whoever needs
//! to know asks `boot::image::base()`.

use core::ops::Range;

use crate::mm::{PAGE_SIZE, Vaddr};

/// End of the user addresses that may be accessed: the last page below the
/// canonical hole is left out, because a `syscall` there would return to an
/// address that is not canonical.
pub const USER_END: Vaddr = 0x0000_8000_0000_0000 - PAGE_SIZE;

/// Where physical memory begins in the kernel's view.
pub const LINEAR_MAP_BASE: Vaddr = 0xffff_8000_0000_0000;
/// Bytes of physical memory that the linear map has room for.
pub const LINEAR_MAP_SIZE: usize = 1 << 46;

/// Kernel virtual areas: stacks, device memory, the heap.
pub const KVIRT_RANGE: Range<Vaddr> = 0xffff_c000_0000_0000..0xffff_e000_0000_0000;

/// Where the metadata slots begin.
pub const META_BASE: Vaddr = 0xffff_e000_0000_0000;
/// Bytes of the range of the metadata.
pub const META_SIZE: usize = 1 << 40;

/// Where the loader puts the kernel's image, and where it stays with `nokaslr`.
pub const IMAGE_BASE: Vaddr = 0xffff_ffff_8000_0000;
/// Where the image is as a rule, at a random page. Its entries of a root node are
/// of no other range.
pub const IMAGE_RANGE: Range<Vaddr> = 0xffff_e800_0000_0000..0xffff_f800_0000_0000;

/// First entry of a root node that belongs to the kernel.
pub const KERNEL_ROOT_INDEX: usize = 256;

const _: () = {
    assert!(LINEAR_MAP_BASE + LINEAR_MAP_SIZE <= KVIRT_RANGE.start);
    assert!(KVIRT_RANGE.end <= META_BASE);
    assert!(META_BASE + META_SIZE <= IMAGE_RANGE.start);
    assert!(IMAGE_RANGE.end <= IMAGE_BASE);
    assert!(IMAGE_RANGE.start.is_multiple_of(1 << 39) && IMAGE_RANGE.end.is_multiple_of(1 << 39));
    assert!(LINEAR_MAP_BASE >> 39 & 511 == KERNEL_ROOT_INDEX);
};

/// Returns what the range is for that an address is in; nothing in the half of users.
pub const fn name_of(vaddr: Vaddr) -> &'static str {
    if vaddr < LINEAR_MAP_BASE {
        ""
    } else if vaddr - LINEAR_MAP_BASE < LINEAR_MAP_SIZE {
        "linear map"
    } else if KVIRT_RANGE.start <= vaddr && vaddr < KVIRT_RANGE.end {
        "areas"
    } else if META_BASE <= vaddr && vaddr - META_BASE < META_SIZE {
        "frame metadata"
    } else if vaddr >= IMAGE_BASE {
        "kernel image"
    } else {
        "unused"
    }
}

/// Returns whether an address belongs to the kernel's half.
pub const fn is_kernel_address(vaddr: Vaddr) -> bool {
    vaddr >= LINEAR_MAP_BASE
}
