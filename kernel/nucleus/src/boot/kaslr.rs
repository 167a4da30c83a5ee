//! Moving the image to a random base, before anything else.
//!
//! The loader puts the image at [`IMAGE_BASE`](crate::mm::kspace::layout::IMAGE_BASE)
//! and writes every word that depends on the base for that one. Whoever can make the
//! kernel write or call an address of their choice would know all of its code and
//! data by that. So the image goes elsewhere:
//!
//! 1. [`place`] looks for `nokaslr` on the command line, and understands all words
//!    that depend on the base, or gives up.
//! 2. It takes a random page of `IMAGE_RANGE` for the base.
//! 3. It maps the image there, page by page with the rights of its segments, in the
//!    *loader's* tables. The nodes that this takes are [`SpareNodes`] on the loader's
//!    stack: memory that is given back with the loader's tables.
//! 4. It writes the words anew, by the linear map, since some are read-only by now. The
//!    image is mapped at both bases meanwhile, so that the code which does this goes
//!    on, whichever of the two a word says.
//! 5. [`leap`] jumps to the same code at the new base, on the same stack.
//!
//! The loader's base is not used from then on, and vanishes with the loader's tables:
//! the kernel's own map the image where it is ([`image::base`]).
//!
//! **What must hold**: when `place` is called, no static has been written, or a word
//! that was computed for the old base would stay in it. No panic can be reported yet, so
//! nothing here panics on what it finds: what is odd leaves the image where it is,
//! and [`Placement::log`] says so when there is a log.

use core::arch::naked_asm;
use core::fmt;
use core::sync::atomic::AtomicUsize;

use bootloader_api::BootInfo;

use super::cmdline::CommandLine;
use super::image_base::Places;
use super::start::first_half;
use super::{image, initramfs, loader};
use crate::arch::x86_64::memory::paddr_to_vaddr;
use crate::arch::x86_64::random::Source;
use crate::error::{Error, Result};
use crate::mm::page_table::boot::{NodeSource, Tree};
use crate::mm::prop::{CachePolicy, PageProperty};
use crate::mm::{NR_ENTRIES, PAGE_SIZE, Paddr, Vaddr};
use crate::random;

/// Nodes for the image at its new base. Of levels 3 and 2 it takes one or two, and
/// one of level 1 for each 2 MiB: these do for an image of 22 MiB.
const NR_SPARE_NODES: usize = 16;

/// Where the image is from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    base: Vaddr,
    outcome: Outcome,
}

/// How the base was found.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The image has been moved: to one of 2^`bits` places, by this source.
    Moved { bits: u32, source: Source },
    /// The image is where the loader put it.
    Stayed(Reason),
}

/// Why the image was not moved.
#[derive(Clone, Copy, Debug)]
enum Reason {
    NotWanted,
    OddRelocations,
    TooLarge,
    InUse,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotWanted => "the command line wants it",
            Self::OddRelocations => "its relocations are not understood",
            Self::TooLarge => "it is too large",
            Self::InUse => "the loader's tables have something else there",
        })
    }
}

impl Placement {
    /// Says in the log where the image is and why.
    pub(super) fn log(&self) {
        match self.outcome {
            Outcome::Moved { bits, source } => {
                log::info!("kaslr: one of 2^{bits} places, by {source}");
            }
            Outcome::Stayed(reason @ Reason::NotWanted) => {
                log::info!("kaslr: the image stays at the loader's base: {reason}");
            }
            Outcome::Stayed(reason) => {
                log::warn!("kaslr: the image stays at the loader's base: {reason}");
            }
        }
    }
}

/// Empty nodes in the loader's memory.
#[derive(Debug)]
pub(super) struct SpareNodes {
    nodes: [SpareNode; NR_SPARE_NODES],
    nr_used: usize,
}

/// A node. It is written by its physical address, and thus atomic.
#[derive(Debug)]
#[repr(C, align(4096))]
struct SpareNode([AtomicUsize; NR_ENTRIES]);

impl SpareNodes {
    pub(super) const fn new() -> Self {
        Self {
            nodes: [const { SpareNode([const { AtomicUsize::new(0) }; NR_ENTRIES]) };
                NR_SPARE_NODES],
            nr_used: 0,
        }
    }
}

impl NodeSource for SpareNodes {
    fn new_node(&mut self) -> Result<Paddr> {
        let node = self.nodes.get(self.nr_used).ok_or(Error::NoMemory)?;
        let first_word: *const AtomicUsize = node.0.as_ptr();
        self.nr_used += 1;
        // The stack is mapped page by page, each to some frame.
        loader::tree()
            .translate(first_word as Vaddr)
            .ok_or(Error::NoMemory)
    }
}

/// Chooses the image's base, maps the image there, and relocates it for that base: the
/// steps 1 to 4. `nodes` are fresh.
///
/// # Safety
///
/// 1. The loader's tables are active, with `nodes` in loader memory that they map, and
///    stay the active ones as long as `nodes` are there.
/// 2. No static has been written, and nobody else runs.
pub(super) unsafe fn place(info: &BootInfo, nodes: &mut SpareNodes) -> Placement {
    // SAFETY: As the caller promises.
    let moved = unsafe { move_image(info, nodes) };
    match moved {
        Ok((base, bits, source)) => Placement {
            base,
            outcome: Outcome::Moved { bits, source },
        },
        Err(reason) => Placement {
            base: image::base(),
            outcome: Outcome::Stayed(reason),
        },
    }
}

/// Moves the image, or returns why not.
///
/// # Safety
///
/// As for [`place`].
unsafe fn move_image(
    info: &BootInfo,
    nodes: &mut SpareNodes,
) -> core::result::Result<(Vaddr, u32, Source), Reason> {
    // SAFETY: The loader mapped the archive, for as long as its tables are active.
    let archive = unsafe { loader::bytes_at(loader::initramfs(info)) };
    if CommandLine::parse(initramfs::command_line(archive)).no_kaslr {
        return Err(Reason::NotWanted);
    }
    let (tree, old_base) = (loader::tree(), image::base());
    let words = image::relocations().ok_or(Reason::OddRelocations)?;
    let places = Places::of_image(image::size(), image::alignment()).ok_or(Reason::TooLarge)?;
    let (word, source) = random::early_word();
    let base = places.choose(word);
    map_image(tree, base, nodes)?;
    for word in words {
        let place = tree.translate(old_base + word.offset);
        let place = paddr_to_vaddr(place.ok_or(Reason::OddRelocations)?) as *mut usize;
        // SAFETY: The word is a whole one in the image, which the loader has written for
        // its own base, and nobody has since, as the caller promises. Both values
        // are the address of the same thing, as the image is mapped at both bases.
        unsafe { place.write_volatile(base + word.addend) };
    }
    Ok((base, places.bits(), source))
}

/// Maps the image at another base as well, with the rights of its segments.
fn map_image(tree: Tree, base: Vaddr, nodes: &mut SpareNodes) -> core::result::Result<(), Reason> {
    let old_base = image::base();
    for segment in image::segments() {
        let prop = PageProperty::new_kernel(segment.flags, CachePolicy::Writeback);
        for page in segment.pages.step_by(PAGE_SIZE) {
            let new_page = page - old_base + base;
            if tree.translate(new_page).is_some() {
                return Err(Reason::InUse);
            }
            let frame = tree.translate(page).ok_or(Reason::OddRelocations)?;
            tree.map_range(new_page, frame, PAGE_SIZE, (prop, 1), nodes)
                .map_err(|_| Reason::TooLarge)?;
        }
    }
    Ok(())
}

/// Goes on with the first half of start-up at the image's new base, on the same stack.
///
/// # Safety
///
/// 1. The placement is [`place`]'s, and no static has been written since.
/// 2. The caller keeps the nodes on its stack.
pub(super) unsafe fn leap(info: &'static mut BootInfo, placement: &Placement) -> ! {
    // SAFETY: By 1 the image is mapped and relocated at that base. By 2 what is handed on
    // outlives whom it is handed to.
    unsafe { enter_image(info, placement, placement.base) }
}

/// Jumps to the first half of start-up in the image at `base`, with the first two
/// arguments and as if nobody had called it. Debuggers wait for this function, and learn by
/// the third argument where the image is (`xtask/src/gdb`).
///
/// # Safety
///
/// The image is mapped and relocated at `base`.
#[unsafe(naked)]
unsafe extern "C" fn enter_image(
    info: &'static mut BootInfo,
    placement: &Placement,
    base: Vaddr,
) -> ! {
    // By which of the two bases this function was called depends on the compiler, so that
    // only differences of addresses are used.
    naked_asm!(
        "lea rax, [rip + {first_half}]",
        "lea rcx, [rip + {image}]",
        "sub rax, rcx",
        "add rax, rdx",
        // Two zeros: the return address, which ends backtraces, and the ABI's alignment.
        "xor ebp, ebp",
        "push rbp",
        "push rbp",
        "jmp rax",
        first_half = sym first_half,
        image = sym image::__ehdr_start,
    )
}

#[cfg(ktest)]
mod tests {
    use crate::arch::x86_64::uaccess;
    use crate::boot::{command_line, image};
    use crate::cpu::disable_preempt;
    use crate::mm::PAGE_SIZE;
    use crate::mm::kspace::kernel_page_table;
    use crate::mm::kspace::layout::{IMAGE_BASE, IMAGE_RANGE};
    use crate::mm::prop::PageFlags;
    use crate::prelude::*;

    #[ktest]
    fn image_is_at_a_page_of_its_range_or_where_the_command_line_leaves_it() {
        let (base, end) = (image::base(), image::base() + image::size());
        assert!(base.is_multiple_of(image::alignment()));
        if command_line().no_kaslr {
            assert_eq!(base, IMAGE_BASE);
        } else {
            assert!(
                IMAGE_RANGE.start <= base && end <= IMAGE_RANGE.end,
                "{base:#x}"
            );
        }
    }

    #[ktest]
    fn loaders_base_of_the_image_is_not_mapped_any_more() {
        if image::base() == IMAGE_BASE {
            crate::ktest::skip("the image is there, as the command line wants");
        }
        let guard = disable_preempt();
        for page in (IMAGE_BASE..IMAGE_BASE + image::size()).step_by(PAGE_SIZE) {
            assert_eq!(kernel_page_table().page_walk(&guard, page), None);
            assert_eq!(uaccess::read_kernel_word(page), None, "at {page:#x}");
        }
    }

    #[ktest]
    fn image_alone_is_mapped_in_its_range() {
        let guard = disable_preempt();
        let base = image::base();
        for page in [
            base - PAGE_SIZE,
            base + image::size(),
            IMAGE_RANGE.start + (1 << 43),
        ] {
            let is_image = (base..base + image::size()).contains(&page);
            let is_mapped = kernel_page_table().page_walk(&guard, page).is_some();
            assert_eq!(is_mapped, is_image, "at {page:#x}");
        }
    }

    #[ktest]
    fn every_relocated_word_is_for_the_images_base() {
        let base = image::base();
        let constant: alloc::vec::Vec<_> = image::segments()
            .filter(|segment| !segment.flags.contains(PageFlags::W))
            .collect();
        let old = IMAGE_BASE..IMAGE_BASE + image::size();
        let (mut nr_words, mut nr_constant) = (0, 0);
        for word in image::relocations().expect("start-up understood them") {
            let vaddr = base + word.offset;
            let value = uaccess::read_kernel_word(vaddr).expect("the image is mapped");
            nr_words += 1;
            if constant
                .iter()
                .any(|segment| segment.pages.contains(&vaddr))
            {
                assert_eq!(value, base + word.addend, "at {vaddr:#x}");
                nr_constant += 1;
            } else {
                // A variable may hold something else by now, but nothing of the past.
                assert!(base == IMAGE_BASE || !old.contains(&value), "at {vaddr:#x}");
            }
        }
        assert!(
            nr_constant > 1000 && nr_words >= nr_constant,
            "{nr_words} words"
        );
    }

    #[ktest]
    fn no_word_of_the_image_points_to_the_loaders_base() {
        if image::base() == IMAGE_BASE {
            crate::ktest::skip("the image is there, as the command line wants");
        }
        let old = IMAGE_BASE..IMAGE_BASE + image::size();
        for segment in image::segments() {
            // Code has the loader's base in it as a number.
            if segment.flags.contains(PageFlags::X) {
                continue;
            }
            for vaddr in segment.pages.step_by(size_of::<usize>()) {
                let value = uaccess::read_kernel_word(vaddr).expect("the image is mapped");
                let is_number = value == IMAGE_BASE;
                assert!(
                    is_number || !old.contains(&value),
                    "{value:#x} at {vaddr:#x}"
                );
            }
        }
    }
}
