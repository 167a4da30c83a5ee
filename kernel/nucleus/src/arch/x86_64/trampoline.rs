//! Where processors start: in real mode, below 1 MiB (SDM vol. 3A, 9.4).
//!
//! A started processor fetches its first instruction from a page that the
//! start-up interrupt names by its number. Six pages there are set aside, which
//! no allocator ever has:
//!
//! ```text
//!  page 0   a header, which tells what to load, and the code below
//!  page 1   the mailbox: the record, and the stack
//!  page 2   root node: the kernel's upper half, and the next page for the lower
//!  page 3   level 3: one entry
//!  page 4   level 2: one entry
//!  page 5   level 1: pages 0 and 1, where they are
//! ```
//!
//! **Nothing is writable and executable** here either: page 0 is mapped read-only and
//! executable, page 1 writable and not executable, with write protection on from the
//! first instruction in long mode. They are mapped at their physical addresses by the
//! trampoline's own root alone, which a processor leaves for the kernel's in its first
//! lines of Rust. In the linear map page 0 is read-only once it is filled in. The pages
//! stay as they are, since a processor may answer at any time.
//!
//! The code goes from real mode to long mode in one step, *claims* the record that
//! was left for it by an exchange, and calls the entry with it. A record is claimed
//! once: a processor that answers when it was given up, or that nobody asked,
//! finds none and halts for ever (peer 88).

use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use x86_64::registers::model_specific::EferFlags;

use super::memory::paddr_to_vaddr;
use super::mmu;
use crate::arch::paging::PageTableEntry;
use crate::boot::memory_map::{MemoryMap, RegionKind};
use crate::mm::kspace::kernel_page_table;
use crate::mm::kspace::layout::KERNEL_ROOT_INDEX;
use crate::mm::page_table::boot::Node;
use crate::mm::page_table::{PageTableEntryTrait, PtFlags};
use crate::mm::prop::{CachePolicy, PageFlags, PageProperty};
use crate::mm::{NR_ENTRIES, PAGE_SIZE, Paddr, Vaddr};

/// Pages that are set aside.
const NR_PAGES: usize = 6;
/// The code is below this, where real mode reaches it; above it the firmware keeps
/// its own data.
const LIMIT: u64 = 0x8_0000;

/// The first page; zero when there is none.
static FIRST_PAGE: AtomicUsize = AtomicUsize::new(0);

/// Looks for pages to set aside; must run before memory is handed out. Low memory
/// is left alone by the allocators, so that finding them is enough.
pub(crate) fn reserve(map: &MemoryMap) {
    let size = (NR_PAGES * PAGE_SIZE) as u64;
    let fits = |start: u64, end: u64| start.checked_add(size).is_some_and(|past| past <= end);
    let page = map
        .regions()
        .iter()
        .filter(|region| region.kind == RegionKind::Usable)
        // Not page 0: real mode's own vectors are there, for firmware that runs yet.
        .map(|region| (region.start.max(PAGE_SIZE as u64), region.end.min(LIMIT)))
        .find(|(start, end)| fits(*start, *end));
    if let Some((start, _)) = page {
        // Relaxed: written and read by the boot processor alone.
        FIRST_PAGE.store(start as Paddr, Ordering::Relaxed);
    }
}

/// What a processor calls, with the record that it claimed.
pub(super) type Entry<T> = extern "C" fn(&'static T) -> !;

/// The pages, ready to start processors by.
pub(super) struct Trampoline(Paddr);

/// What the code finds before it.
#[repr(C)]
struct Header {
    /// A jump over the rest of the header.
    jump: [u8; 8],
    /// What to load into CR3.
    root: u32,
    /// What to load into EFER.
    efer: u32,
    /// What to call.
    entry: usize,
    /// Two descriptors: none, and one of 64-bit code.
    gdt: [u64; 2],
    /// Limit and base of the descriptors.
    gdt_pointer: [u16; 3],
    /// Offset and selector of the code for long mode.
    long_mode: [u16; 3],
}

/// What is left for the next processor.
#[repr(C)]
struct Mailbox {
    /// What to call the entry with, to be claimed.
    record: AtomicPtr<()>,
    /// The stack to call it on.
    stack_top: usize,
}

/// Where the mailbox is from the first page.
const MAILBOX: usize = PAGE_SIZE;

impl Trampoline {
    /// Fills the pages in; nothing when there are none, or no memory to protect them.
    ///
    /// `root` is the kernel's root node.
    pub(super) fn install<T>(root: Paddr, entry: Entry<T>) -> Option<Self> {
        // Relaxed: written and read by the boot processor alone.
        let first = FIRST_PAGE.load(Ordering::Relaxed);
        if first == 0 {
            return None;
        }
        let start = paddr_to_vaddr(first) as *mut u8;
        // SAFETY: Pages of RAM that `reserve` found, which are nobody else's.
        unsafe { ptr::write_bytes(start, 0, NR_PAGES * PAGE_SIZE) };
        let (code, len) = code();
        assert!(len <= PAGE_SIZE);
        // SAFETY: As above; the code was assembled into the image.
        unsafe { ptr::copy_nonoverlapping(code, start, len) };
        let trampoline = Self(first);
        trampoline.link_tables(root);
        // SAFETY: The page starts with the header, and nobody uses it yet.
        let header = unsafe { &mut *trampoline.header() };
        header.root = trampoline.real_mode_address(ROOT * PAGE_SIZE);
        header.efer = EFER;
        header.entry = entry as usize;
        header.gdt = [0, CODE_SEGMENT];
        let [low, high] = halves(trampoline.real_mode_address(offset_of!(Header, gdt)));
        header.gdt_pointer = [size_of_val(&header.gdt) as u16 - 1, low, high];
        let [low, high] = halves(trampoline.real_mode_address(long_mode_offset()));
        header.long_mode = [low, high, CODE_SELECTOR];
        trampoline.protect_code()?;
        Some(trampoline)
    }

    /// Makes the first page read-only in the linear map; nothing when there is no memory
    /// for that. Only this processor runs.
    fn protect_code(&self) -> Option<()> {
        let start = paddr_to_vaddr(self.0);
        let irq_off = crate::irq::disable_local();
        let range = start..start + PAGE_SIZE;
        let mut cursor = kernel_page_table().cursor_mut(&irq_off, &range).ok()?;
        let read_only = |old: PageProperty| PageProperty {
            flags: old.flags - PageFlags::W,
            ..old
        };
        // SAFETY: Nobody writes there any more: the page is filled in.
        unsafe { cursor.protect_next(PAGE_SIZE, read_only) }.ok()?;
        drop(cursor);
        mmu::flush_page(start);
        Some(())
    }

    /// Returns the address of a byte of the pages.
    fn real_mode_address(&self, offset: usize) -> u32 {
        u32::try_from(self.0 + offset).expect("below 1 MiB")
    }

    fn page(&self, index: usize) -> Paddr {
        self.0 + index * PAGE_SIZE
    }

    /// Returns the number that the start-up interrupt names the code by.
    pub(super) fn number(&self) -> u8 {
        u8::try_from(self.0 / PAGE_SIZE).expect("below 1 MiB")
    }

    /// Makes the tables that the code loads.
    fn link_tables(&self, root: Paddr) {
        // SAFETY: The kernel's root node is never taken down.
        let kernel = unsafe { Node::from_paddr(root) };
        // SAFETY: Zeroed pages are nodes without entries.
        let tables = unsafe { TABLES.map(|page| Node::from_paddr(self.page(page))) };
        for index in KERNEL_ROOT_INDEX..NR_ENTRIES {
            tables[0].write(index, kernel.read(index));
        }
        for (upper, lower) in [(0, 1), (1, 2), (2, 3)] {
            let child = self.page(TABLES[lower]);
            tables[upper].write(0, PageTableEntry::new_pt(child, PtFlags::empty()));
        }
        for (page, flags) in [(0, PageFlags::RX), (1, PageFlags::RW)] {
            let paddr = self.page(page);
            let prop = PageProperty::new_kernel(flags, CachePolicy::Writeback);
            // Below 2 MiB, so the first node of level 1 is the one.
            let index = paddr / PAGE_SIZE;
            tables[3].write(index, PageTableEntry::new_page(paddr, 1, prop));
        }
    }

    fn header(&self) -> *mut Header {
        paddr_to_vaddr(self.0) as *mut Header
    }

    /// Leaves a record for the next processor that starts, with a stack.
    ///
    /// # Safety
    ///
    /// 1. No record is left that could still be claimed.
    /// 2. The stack is nobody else's.
    /// 3. The record is what the entry takes.
    pub(super) unsafe fn leave<T>(&self, record: &'static T, stack_top: Vaddr) {
        let stack_top_at = self.0 + MAILBOX + offset_of!(Mailbox, stack_top);
        // SAFETY: The word is a part of the mailbox, and by 1 nobody reads it.
        unsafe { (paddr_to_vaddr(stack_top_at) as *mut Vaddr).write(stack_top) };
        let record = ptr::from_ref(record).cast_mut().cast();
        // Release: whoever claims the record finds it, and the stack, complete.
        self.record().store(record, Ordering::Release);
    }

    /// Takes back what was left; returns whether it had not been claimed.
    pub(super) fn take_back(&self) -> bool {
        // AcqRel: either this one or a processor has it.
        !self
            .record()
            .swap(ptr::null_mut(), Ordering::AcqRel)
            .is_null()
    }

    fn record(&self) -> &'static AtomicPtr<()> {
        let mailbox = paddr_to_vaddr(self.0 + MAILBOX) as *const Mailbox;
        // SAFETY: The mailbox is there for ever, and this part of it is an atomic.
        unsafe { &(*mailbox).record }
    }
}

/// The page of the root node.
const ROOT: usize = 2;
/// The pages of the nodes, from the root down.
const TABLES: [usize; 4] = [ROOT, 3, 4, 5];

/// Long mode, and no-execute pages.
const EFER: u32 = (EferFlags::LONG_MODE_ENABLE.bits() | EferFlags::NO_EXECUTE_ENABLE.bits()) as u32;
/// A descriptor of 64-bit code (SDM vol. 3A, 3.4.5).
const CODE_SEGMENT: u64 = 0x00af_9b00_0000_ffff;
const CODE_SELECTOR: u16 = 8;

/// Returns the low half of a word, and the high one.
const fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

unsafe extern "C" {
    /// The header's place, and the code after it.
    static trampoline_start: u8;
    /// What is run in long mode.
    static trampoline_long_mode: u8;
    static trampoline_end: u8;
}

/// Returns the code with room for the header, and its length.
fn code() -> (*const u8, usize) {
    let start = &raw const trampoline_start;
    (start, &raw const trampoline_end as usize - start as usize)
}

fn long_mode_offset() -> usize {
    &raw const trampoline_long_mode as usize - &raw const trampoline_start as usize
}

global_asm!(
    r"
    .pushsection .rodata
    .balign 16
    trampoline_start:
    .code16
        jmp 1f
        .skip {header_size} - (. - trampoline_start)
    1:  cli
        cld
        mov ax, cs
        mov ds, ax
        lgdt [{gdt_pointer}]
        mov eax, 0x20                   // CR4: physical-address extension
        mov cr4, eax
        mov eax, [{root}]
        mov cr3, eax
        mov ecx, 0xC0000080             // EFER
        xor edx, edx
        mov eax, [{efer}]
        wrmsr
        mov eax, 0x80010011             // CR0: paging, write and protected mode; caches on
        mov cr0, eax
        .byte 0x66, 0xff, 0x2e          // far jump by the offset and selector at
        .word {long_mode}

    .code64
    trampoline_long_mode:
        xor eax, eax
        mov ds, eax
        mov es, eax
        mov ss, eax
        lea rbx, [rip + trampoline_start]
        xor edi, edi
        xchg rdi, [rbx + {record}]
        test rdi, rdi
        jz 2f
        mov rsp, [rbx + {stack_top}]
        xor ebp, ebp
        call [rbx + {entry}]
    2:  cli
        hlt
        jmp 2b
    trampoline_end:
    .popsection
    ",
    header_size = const size_of::<Header>(),
    gdt_pointer = const offset_of!(Header, gdt_pointer),
    long_mode = const offset_of!(Header, long_mode),
    root = const offset_of!(Header, root),
    efer = const offset_of!(Header, efer),
    record = const MAILBOX + offset_of!(Mailbox, record),
    stack_top = const MAILBOX + offset_of!(Mailbox, stack_top),
    entry = const offset_of!(Header, entry),
);

#[cfg(ktest)]
mod tests {
    use super::{FIRST_PAGE, Ordering, PAGE_SIZE, ROOT, TABLES};
    use crate::arch::memory::paddr_to_vaddr;
    use crate::arch::paging::PageTableEntry;
    use crate::boot::protection;
    use crate::cpu::{disable_preempt, num_cpus};
    use crate::mm::inspect::rights::{Fault, inspect};
    use crate::mm::kspace::kernel_page_table;
    use crate::mm::page_table::PageTableEntryTrait;
    use crate::mm::page_table::boot::Node;
    use crate::mm::{NR_ENTRIES, Paddr, PageFlags};
    use crate::prelude::*;

    #[ktest]
    fn smp_where_processors_start_nothing_is_writable_and_executable() {
        if num_cpus() == 1 {
            crate::ktest::skip("no other processor was started");
        }
        let first = FIRST_PAGE.load(Ordering::Relaxed);
        // SAFETY: The pages are the trampoline's for ever.
        let lowest = unsafe { Node::from_paddr(first + TABLES[3] * PAGE_SIZE) };
        let mapped: alloc::vec::Vec<(Paddr, PageFlags)> = (0..NR_ENTRIES)
            .map(|index| lowest.read(index))
            .filter(PageTableEntry::is_present)
            .map(|entry| (entry.paddr(1), entry.prop(1).flags & PageFlags::RWX))
            .collect();
        let expected = [(first, PageFlags::RX), (first + PAGE_SIZE, PageFlags::RW)];
        assert_eq!(mapped, expected);
        // Beside that, the trampoline's root has what the kernel's has.
        let constants = protection::constants().expect("enough memory");
        let report = inspect(first + ROOT * PAGE_SIZE, &constants);
        let faults: alloc::vec::Vec<_> = report.first.iter().map(|found| found.fault).collect();
        assert_eq!(faults, [Fault::UserHalf]);
        let alias = paddr_to_vaddr(first);
        let walk = kernel_page_table().page_walk(&disable_preempt(), alias);
        let (_, prop) = walk.expect("low memory is RAM");
        assert_eq!(prop.flags & PageFlags::RWX, PageFlags::R);
    }
}
