//! Leaving 5-level paging, which the loader and the kernel know nothing of.
//!
//! Newer firmware turns on 5-level paging where the processor has it. The loader
//! takes whatever root is active for one of 4 levels and makes another such: it dies
//! at the first address that it maps itself. Firmware may use its own tables
//! until its services end, so the levels are left just behind that, and that is in the
//! middle of the loader:
//!
//! ```text
//!  pre-loader            loader                        firmware
//!      │
//!      ├ allocates 3 pages below 4 GiB
//!      ├ puts its own function in
//!      │ BootServices.ExitBootServices
//!      ├ starts ────────────►│
//!      │                     ├ ExitBootServices(key)
//!      │◄────────────────────┤
//!      ├ the firmware's own ─┼──────────────────────────►│
//!      │◄────────────────────┼─ error: an old key ───────┤
//!      ├ error ─────────────►│  (asks for the map again, and calls again)
//!      │                    …│
//!      │◄────────────────────┼─ success ─────────────────┤  its services have ended
//!      ├ copies the table of entry 0 of the root
//!      ├ crosses to 4 levels, with that copy as the root
//!      ├ success ───────────►│
//!                            ├ makes its own tables, starts the kernel
//! ```
//!
//! Entry 0 of a root of 5 levels leads to a table that is in all respects the root of 4
//! levels for the lower 2^48 addresses, in which firmware maps memory as it is (UEFI
//! 2.10, 2.3.4). It is copied, as CR3 takes 32 bits on the way ([`crate::trampoline`]).
//! Linux does the same in its EFI stub.
//!
//! The three pages are the loader's kind of memory, which the loader's own allocator
//! does not touch and the kernel gets in the end.
//!
//! # What is not handled
//!
//! A non-maskable interrupt on the way, some dozen instructions, resets the machine.
//! With AMD's memory encryption, an address in CR3 has a bit more than we look at.

use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use uefi::boot::{self, AllocateType, MemoryType};
use uefi::mem::memory_map::MemoryAttribute;
use uefi::proto::security::MemoryProtection;
use uefi::{Result, Status};
use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};

use crate::trampoline::{self, Cross, Crossing};
use crate::{chain, hook};

const PAGE: u32 = 4096;
/// Present, writable.
const TABLE_FLAGS: u64 = 3;
/// The bits of an entry that are an address (SDM Vol. 3A, table 4-14).
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A page table.
type Table = [u64; 512];
type ExitBootServices = unsafe extern "efiapi" fn(uefi_raw::Handle, usize) -> Status;

/// The firmware's function while ours stands in its place, and the way that ours takes.
///
/// Everything here runs on one processor, one thing after the other, so that no order
/// matters: they are atomics because what firmware calls can have no argument of ours.
static EXIT_BOOT_SERVICES: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicU32 = AtomicU32::new(0);
static DATA: AtomicU32 = AtomicU32::new(0);

/// Returns whether paging has 5 levels.
pub fn are_five() -> bool {
    Cr4::read().contains(Cr4Flags::L5_PAGING)
}

/// Three pages below 4 GiB that lead from one number of levels to the other.
///
/// Holding one means that the code is in its page, and [`Crossing`] in the first page
/// of data. The second one is for the root.
#[derive(Clone, Copy, Debug)]
struct Way {
    code: u32,
    data: u32,
}

impl Way {
    /// Allocates the pages and fills them, but for the root.
    fn prepare() -> Result<Self> {
        let pages = |kind, count| {
            let below_4_gib = AllocateType::MaxAddress(u64::from(u32::MAX));
            let start = boot::allocate_pages(below_4_gib, kind, count)?;
            Ok::<_, uefi::Error>(start.as_ptr() as usize as u32)
        };
        let way = Self {
            code: pages(MemoryType::LOADER_CODE, 1)?,
            data: pages(MemoryType::LOADER_DATA, 2)?,
        };
        let bytes = trampoline::code();
        let code_page = way.code as usize as *mut u8;
        // SAFETY: The page was just allocated, and is longer than the code.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), code_page, bytes.len()) };
        make_executable(u64::from(way.code));
        // SAFETY: The page was just allocated, and is longer and more aligned than that.
        unsafe { way.crossing().write(Crossing::at(way.data)) };
        Ok(way)
    }

    fn crossing(self) -> *mut Crossing {
        self.data as usize as *mut Crossing
    }

    /// Changes the number of levels; the first argument is what the new root holds.
    ///
    /// # Safety
    ///
    /// 1. The root is that of a tree of the other number of levels, which maps at
    ///    their physical addresses the pages of the way, and whatever is used next.
    unsafe fn cross(self, root: Table) {
        let place = self.data + PAGE;
        // SAFETY: The second page of data is the root's, and nobody else's.
        unsafe { (place as usize as *mut Table).write(root) };
        // SAFETY: The page starts with the code of a function of this type.
        let cross = unsafe { core::mem::transmute::<usize, Cross>(self.code as usize) };
        // SAFETY:
        // 1. All three are below 4 GiB. Firmware maps memory as it is; so does the
        //    other tree, as the caller promises.
        // 2. The caller promises it.
        // 3. It was made where it is.
        unsafe { cross(self.crossing(), place) };
    }
}

/// Has firmware that keeps data from being executed let this page be, and not be
/// written then. Where there is no protocol for it, memory for code is executable.
fn make_executable(page: u64) {
    let Ok(handle) = boot::get_handle_for_protocol::<MemoryProtection>() else {
        return;
    };
    if let Ok(protection) = chain::get::<MemoryProtection>(handle) {
        // Firmware that refuses has its reasons, and the page may be fit all the same.
        let page = page..page + u64::from(PAGE);
        let _ = protection.set_memory_attributes(page.clone(), MemoryAttribute::READ_ONLY);
        let _ = protection.clear_memory_attributes(page, MemoryAttribute::EXECUTE_PROTECT);
    }
}

/// Has 5-level paging left when the firmware's services end.
///
/// # Errors
///
/// Those of allocating pages below 4 GiB.
pub fn leave_with_boot_services() -> Result {
    let way = Way::prepare()?;
    CODE.store(way.code, Ordering::Relaxed);
    DATA.store(way.data, Ordering::Relaxed);
    // SAFETY:
    // 1. Ours calls the firmware's, and no address that is mapped changes.
    // 2. `stay` undoes it when the loader returns; if it does not, our image stays.
    unsafe {
        hook::change(|services| {
            let original = services.exit_boot_services as usize;
            EXIT_BOOT_SERVICES.store(original, Ordering::Relaxed);
            services.exit_boot_services = exit_and_leave;
        });
    }
    Ok(())
}

/// Puts the firmware's own function back, if another stands in its place.
pub fn stay() {
    let original = EXIT_BOOT_SERVICES.swap(0, Ordering::Relaxed);
    if original != 0 {
        // SAFETY: It was taken from the table as such a function.
        let original = unsafe { core::mem::transmute::<usize, ExitBootServices>(original) };
        // SAFETY: It is the firmware's own.
        unsafe { hook::change(|services| services.exit_boot_services = original) };
    }
}

/// What stands in the firmware's table: ends its services, and leaves 5-level paging
/// if they have ended. With an old key they have not: then the loader calls again.
unsafe extern "efiapi" fn exit_and_leave(image: uefi_raw::Handle, key: usize) -> Status {
    let original = EXIT_BOOT_SERVICES.load(Ordering::Relaxed);
    // SAFETY: This function stands in the table only while that one is kept here.
    let original = unsafe { core::mem::transmute::<usize, ExitBootServices>(original) };
    // SAFETY: The arguments are the caller's.
    let status = unsafe { original(image, key) };
    if status.is_success() && are_five() {
        let way = Way {
            code: CODE.load(Ordering::Relaxed),
            data: DATA.load(Ordering::Relaxed),
        };
        // SAFETY: Paging has 5 levels, whose tables nobody changes any more.
        let four = unsafe { table_below_the_root() };
        // SAFETY: 1. That table maps the lower half as the tree does that it is part of.
        unsafe { way.cross(four) };
    }
    status
}

/// Returns the table that entry 0 of the active root leads to.
///
/// # Safety
///
/// The root's entry 0 leads to a table, memory is mapped as it is, and nobody changes
/// the tables.
unsafe fn table_below_the_root() -> Table {
    let root = Cr3::read().0.start_address().as_u64() as *const Table;
    // SAFETY: As the caller promises.
    let entry = unsafe { (*root)[0] };
    // SAFETY: As the caller promises.
    unsafe { ((entry & ADDRESS) as *const Table).read() }
}

/// Turns 5-level paging on, as newer firmware does: for tests.
///
/// # Errors
///
/// Those of allocating pages below 4 GiB.
pub fn turn_on_five() -> Result {
    let way = Way::prepare()?;
    let mut root = [0; 512];
    root[0] = Cr3::read().0.start_address().as_u64() | TABLE_FLAGS;
    // SAFETY: 1. Entry 0 of the new root leads to the old one, which maps the lower half
    // as before, and firmware uses nothing else.
    unsafe { way.cross(root) };
    Ok(())
}
