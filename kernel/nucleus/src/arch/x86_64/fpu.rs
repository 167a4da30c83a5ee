//! The floating-point and vector registers (SDM vol. 1, 10.5 and 13).
//!
//! The kernel is compiled without them, so what they hold is always ring 3's;
//! where it uses one to zero a page, it puts it back as it was before its task can
//! leave the processor.
//!
//! They are saved when a task that has been in ring 3 since leaves its processor, and
//! loaded when it enters ring 3 next, unless the processor still has them. Each time
//! that they are loaded, that *load* gets a number of its own, which the processor and
//! the program both note: so one comparison says whether a processor still has what
//! the program left last, and there alone.
//!
//! ```text
//!  area: 0        512       576                  832
//!        │ fxsave  │ header  │ upper halves of    │
//!        │         │ of xsave│ the wide registers │
//! ```
//!
//! Which components there are is start-up's choice: those of `fxsave`, and where the
//! processor has them, the 256-bit registers. How large the area is that they need the
//! processor says, and start-up compares it with [`AREA_SIZE`].

use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use super::{features, local};
use crate::cpu::MAX_CPUS;
use crate::mm::Vaddr;
use crate::task::Task;

/// Bytes of the area where a task's registers are saved; a multiple of its alignment.
pub(crate) const AREA_SIZE: usize = 1024;
/// What `xsave` wants the area's address to be a multiple of.
const AREA_ALIGN: usize = 64;
/// Bytes of what `fxsave` saves.
pub(crate) const LEGACY_SIZE: usize = 512;
/// Where the header of `xsave` is, and its size.
pub(crate) const HEADER: core::ops::Range<usize> = LEGACY_SIZE..LEGACY_SIZE + 64;
/// Where MXCSR is in the area, and after it the mask of its bits that exist.
pub(crate) const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;

/// The memory image of a program's registers.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Area(pub(crate) [u8; AREA_SIZE]);

const _: () = assert!(align_of::<Area>() == AREA_ALIGN && size_of::<Area>() == AREA_SIZE);

impl Area {
    /// The state after power-up as the System V ABI wants it: all exceptions masked,
    /// extended precision, every register zero. The header names no component, so that
    /// `xrstor` makes all of them what they are initially.
    pub(crate) const INITIAL: Self = {
        let mut area = [0; AREA_SIZE];
        area[0] = 0x7f; // control word 0x037f
        area[1] = 0x03;
        area[MXCSR] = 0x80; // 0x1f80
        area[MXCSR + 1] = 0x1f;
        Self(area)
    };
}

static INITIAL: Area = Area::INITIAL;

/// What an image of the registers looks like on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Bytes of an image.
    pub(crate) size: usize,
    /// The components, as in XCR0; zero where there is no `xsave`.
    pub(crate) components: u64,
    /// The bits of MXCSR that exist.
    pub(crate) mxcsr_mask: u32,
}

static FORMAT: Once<Format> = Once::new();

/// Returns what an image of the registers looks like.
///
/// # Panics
///
/// Panics during start-up, before [`init`].
pub(crate) fn format() -> &'static Format {
    FORMAT
        .get()
        .expect("start-up asks the processor for the format")
}

/// Asks the processor what an image looks like, once its control registers are set.
///
/// # Panics
///
/// Panics when an image would not fit into an area: `features` found that it does.
pub(super) fn init() {
    let format = detect();
    assert!(
        format.size <= AREA_SIZE,
        "an image of the registers has {} bytes",
        format.size
    );
    let first = FORMAT.call_once(|| format);
    assert_eq!(first.size, format.size, "processors differ in their images");
}

fn detect() -> Format {
    let mut area = Area::INITIAL;
    let start = (&raw mut area).addr();
    // SAFETY: Start-up switched `fxsave` on; the area is aligned, and this function's.
    unsafe { asm!("fxsave64 [{}]", in(reg) start, options(nostack)) };
    let mask = area.0[MXCSR_MASK..].first_chunk().copied();
    // What a processor means that leaves a zero (SDM vol. 1, 11.6.6).
    const DEFAULT_MASK: u32 = 0xffbf;
    let mxcsr_mask = match u32::from_le_bytes(mask.unwrap_or_default()) {
        0 => DEFAULT_MASK,
        mask => mask,
    };
    if features::has_avx() {
        // What is needed for the components that are switched on.
        let size = core::arch::x86_64::__cpuid_count(0xd, 0).ebx as usize;
        Format {
            size,
            components: features::EXTENDED_STATE.bits(),
            mxcsr_mask,
        }
    } else {
        Format {
            size: LEGACY_SIZE,
            components: 0,
            mxcsr_mask,
        }
    }
}

/// Prepares an area to save registers in: the header of `xsave` has to be zero, and
/// what the processor leaves out must not be somebody else's.
///
/// # Safety
///
/// The [`AREA_SIZE`] bytes at the address are mapped and nobody else's.
pub(crate) unsafe fn prepare_area(area: Vaddr) {
    assert!(
        area.is_multiple_of(AREA_ALIGN),
        "`xsave` wants aligned areas"
    );
    // SAFETY: As the caller promises.
    unsafe { (area as *mut u8).write_bytes(0, AREA_SIZE) };
}

/// Whose registers of ring 3 a processor has.
#[derive(Debug)]
pub(super) struct LiveRegisters {
    /// The load that they are from, counted from 1; zero for none.
    load: Cell<u64>,
    /// Whether they may have changed since they were saved.
    is_changed: Cell<bool>,
    /// How often this processor has loaded some.
    nr_loads: Cell<u64>,
}

impl LiveRegisters {
    pub(super) const fn new() -> Self {
        Self {
            load: Cell::new(0),
            is_changed: Cell::new(false),
            nr_loads: Cell::new(0),
        }
    }
}

/// A program as the owner of registers.
#[derive(Debug)]
pub(crate) struct Owner {
    /// Its number, of which each is given once.
    program: u64,
    /// When they were loaded last; [`MUST_LOAD`] if they have to be loaded again.
    load: Cell<u64>,
}

/// The number of a load that there never is on any processor.
const MUST_LOAD: u64 = u64::MAX;

impl Owner {
    /// Makes a program that has left nothing in the registers yet.
    pub(crate) fn new() -> Self {
        /// The number of the next program; zero is none's.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            // Relaxed: the numbers differ, and that is all.
            program: NEXT.fetch_add(1, Ordering::Relaxed),
            load: Cell::new(MUST_LOAD),
        }
    }

    /// Has the registers hold what the program left in them, or what programs start
    /// with if its task has run another one since; returns whether they had to be
    /// loaded. Interrupts are off, and ring 3 is about to be entered.
    ///
    /// # Panics
    ///
    /// Panics when the current task cannot enter ring 3: a processor's own.
    #[inline]
    pub(crate) fn make_live(&self) -> bool {
        let live = &local::current().live_registers;
        live.is_changed.set(true);
        let is_loaded = live.load.get() == self.load.get();
        if !is_loaded {
            self.load();
        }
        !is_loaded
    }

    #[cold]
    fn load(&self) {
        let local = local::current();
        let live = &local.live_registers;
        let Some(task) = local.tasks.current() else {
            panic!("user mode was entered before there are tasks");
        };
        let area = task.user.area.get();
        assert!(area != 0, "{task:?} has no programs");
        if task.user.program.replace(self.program) == self.program {
            restore(area);
        } else {
            restore((&raw const INITIAL).addr());
        }
        // At a load each nanosecond, the count lasts for nine years.
        let nr_loads = live.nr_loads.get() + 1;
        live.nr_loads.set(nr_loads);
        let load = nr_loads * MAX_CPUS as u64 + local.id().as_usize() as u64;
        live.load.set(load);
        self.load.set(load);
    }

    /// Returns the image of what the program has left in the registers, or of what
    /// programs start with. For the task that runs the program; interrupts are off.
    pub(crate) fn image(&self) -> Area {
        let local = local::current();
        let Some(user) = local.tasks.current().map(|task| &task.user) else {
            return Area::INITIAL;
        };
        if user.program.get() != self.program {
            return Area::INITIAL;
        }
        save_live(local, user.area.get());
        // SAFETY: The area is the task's, which runs here, and is valid for reads;
        // nobody writes it with interrupts off.
        unsafe { (user.area.get() as *const Area).read() }
    }

    /// Has the program find other registers. For the task that runs the program, with
    /// interrupts off.
    ///
    /// # Panics
    ///
    /// As [`make_live`](Self::make_live).
    ///
    /// # Safety
    ///
    /// `xrstor`, or `fxrstor` where there is no such instruction, takes the image.
    pub(crate) unsafe fn set_image(&self, image: &Area) {
        let local = local::current();
        let Some(task) = local.tasks.current() else {
            panic!("user mode is prepared before there are tasks");
        };
        let area = task.user.area.get();
        assert!(area != 0, "{task:?} has no programs");
        // SAFETY: The area is the task's, which runs here, and is valid for writes;
        // nobody reads it with interrupts off.
        unsafe { (area as *mut Area).copy_from_nonoverlapping(image, 1) };
        task.user.program.set(self.program);
        // What the registers hold is of use to nobody: not to be saved over it.
        local.live_registers.is_changed.set(false);
        self.load.set(MUST_LOAD);
    }
}

/// Saves what the task that is about to leave the processor has left in the registers,
/// if anything. Interrupts are off.
#[inline]
pub(crate) fn save_of(task: &Task) {
    save_live(local::current(), task.user.area.get());
}

/// Saves the processor's registers, if they may have changed.
fn save_live(local: &local::CpuLocal, area: Vaddr) {
    if local.live_registers.is_changed.replace(false) {
        save(area);
    }
}

/// Saves all of the registers.
fn save(area: Vaddr) {
    if features::has_avx() {
        // SAFETY: Start-up switched `xsave` on. The area is a task's, prepared, aligned
        // and large enough for all that is switched on.
        unsafe {
            asm!("xsave64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack))
        };
    } else {
        // SAFETY: As above, for `fxsave`.
        unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
    }
}

/// Loads all of the registers.
fn restore(area: Vaddr) {
    if features::has_avx() {
        // SAFETY: The area was filled in by `save`, for these features, or its image was
        // checked, or it is the initial one; the kernel keeps nothing in the registers.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack, readonly))
        };
    } else {
        // SAFETY: As above, for `fxrstor`.
        unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, readonly)) };
    }
}
