//! A machine: memory and processors, made for one test.

extern crate std;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::boxed::Box;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::checker::Checker;
use crate::cpu::CpuId;
use crate::mm::frame::meta::{self, SLOT_SIZE};
use crate::mm::frame::{allocator, frame_counts, validate_free_frames};
use crate::mm::page_table::PageTable;
use crate::mm::state::{CpuMemory, Memory};
use crate::mm::{PAGE_SIZE, Paddr, Vaddr};

/// What a machine has.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of physical memory, whole pages, at least 4 MiB.
    pub ram: usize,
    /// Number of processors.
    pub cpus: usize,
    /// Whether the TLBs are simulated and the doings of the memory core checked;
    /// not so for benchmarks.
    pub checked: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ram: 16 << 20,
            cpus: 1,
            checked: true,
        }
    }
}

/// Low memory, which is the firmware's.
const LOW: Paddr = 1 << 20;
/// A hole in the middle of memory, where a device is.
pub(super) const HOLE: core::ops::Range<Paddr> = 0x20_0000..0x21_0000;

/// A simulated machine.
///
/// It is made with the kernel's page table and all memory in the allocator. When
/// it is dropped, the checker looks for frames that did not come back, so every
/// handle of a frame must be gone by then.
#[derive(Debug)]
pub struct Machine {
    state: &'static State,
}

/// What a machine consists of. It is never freed, so that references to it are
/// good for ever; only its memory is, when all frames have come back.
#[derive(Debug)]
pub(super) struct State {
    ram: HostMemory,
    slots: HostMemory,
    pub(super) max_paddr: Paddr,
    pub(super) memory: Memory,
    pub(super) cpus: Vec<SimCpu>,
    /// Nothing for a machine that is not checked.
    pub(super) checker: Option<Mutex<Checker>>,
    /// Free frames after the machine was made.
    free_at_first: AtomicUsize,
}

// SAFETY: The memory behind the pointers is used as the bare machine's is: by
// whoever the nucleus lets use it.
unsafe impl Send for State {}
// SAFETY: As above.
unsafe impl Sync for State {}

/// A processor.
#[derive(Debug)]
pub(super) struct SimCpu {
    pub(super) id: CpuId,
    pub(super) machine: Cell<*const State>,
    /// As the machine has them, at hand: the bare machine has them in its code.
    pub(super) ram: Vaddr,
    pub(super) slots: Vaddr,
    pub(super) is_checked: bool,
    pub(super) memory: CpuMemory,
    /// The root register.
    pub(super) root: AtomicUsize,
    /// Guards that hold interrupts off.
    pub(super) irq_guards: Cell<u32>,
    /// Whether another processor interrupted this one to flush.
    pub(super) interrupted: AtomicBool,
    /// Whether a thread is this processor now.
    pub(super) is_played: AtomicBool,
}

// SAFETY: The cells are used by the thread that plays the processor, of which
// there is one at a time (`is_played`).
unsafe impl Sync for SimCpu {}
// SAFETY: As above.
unsafe impl Send for SimCpu {}

std::thread_local! {
    static CURRENT: Cell<*const SimCpu> = const { Cell::new(core::ptr::null()) };
}

/// Returns the processor that this thread plays.
///
/// # Panics
///
/// Panics outside of [`Machine::on`].
#[inline]
pub(super) fn current() -> &'static SimCpu {
    let cpu = CURRENT.get();
    debug_assert!(
        !cpu.is_null(),
        "this thread is no processor of a simulated machine"
    );
    // SAFETY: Processors are never freed.
    unsafe { &*cpu }
}

impl SimCpu {
    #[inline]
    pub(super) fn machine(&self) -> &'static State {
        // SAFETY: Machines are never freed.
        unsafe { &*self.machine.get() }
    }
}

/// Zeroed pages, which the host provides when they are touched.
#[derive(Debug)]
pub(super) struct HostMemory {
    block: *mut u8,
    layout: Layout,
}

impl HostMemory {
    fn new(bytes: usize) -> Self {
        // Asked for more than a word's alignment, the allocator of the standard
        // library would touch all of it to zero it: so a page more, and the pages
        // within.
        let layout = Layout::from_size_align(bytes + PAGE_SIZE, size_of::<usize>());
        let layout = layout.expect("memory is not that large");
        // SAFETY: The layout has a size.
        let block = unsafe { alloc_zeroed(layout) };
        assert!(!block.is_null(), "the host has no memory for the machine");
        Self { block, layout }
    }

    /// Returns the first page.
    fn start(&self) -> *mut u8 {
        self.block.wrapping_add(self.block.align_offset(PAGE_SIZE))
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// It is used no more, and given back once.
    unsafe fn free(&self) {
        // SAFETY: It was allocated with this layout, and is freed once.
        unsafe { dealloc(self.block, self.layout) };
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Machine {
    /// Makes a machine and starts the nucleus on it.
    pub fn new(config: Config) -> Self {
        assert!(config.ram >= 4 << 20 && config.ram.is_multiple_of(PAGE_SIZE));
        let ram = HostMemory::new(config.ram);
        let slots = HostMemory::new(config.ram / PAGE_SIZE * SLOT_SIZE);
        let (ram_start, slots_start) = (ram.start() as usize, slots.start() as usize);
        let make_cpu = |index| SimCpu {
            id: CpuId::new(index),
            machine: Cell::new(core::ptr::null()),
            ram: ram_start,
            slots: slots_start,
            is_checked: config.checked,
            memory: CpuMemory::new(),
            root: AtomicUsize::new(0),
            irq_guards: Cell::new(0),
            interrupted: AtomicBool::new(false),
            is_played: AtomicBool::new(false),
        };
        let state: &'static State = Box::leak(Box::new(State {
            ram,
            slots,
            max_paddr: config.ram,
            memory: Memory::new(),
            cpus: (0..config.cpus).map(make_cpu).collect(),
            checker: config
                .checked
                .then(|| Mutex::new(Checker::new(config.cpus))),
            free_at_first: AtomicUsize::new(0),
        }));
        for cpu in &state.cpus {
            cpu.machine.set(state);
        }
        let machine = Self { state };
        machine.on(0, || start(state));
        for cpu in 1..config.cpus {
            machine.on(cpu, || {
                state.cpus[cpu].memory.flush_buffers.init();
                activate_kernel(state);
            });
        }
        let free = machine.on(0, || frame_counts().free);
        // Relaxed: read by the thread that drops the machine.
        state.free_at_first.store(free, Ordering::Relaxed);
        machine
    }

    /// Runs as one of the machine's processors.
    ///
    /// May be nested, as another processor or another machine's.
    ///
    /// # Panics
    ///
    /// Panics when another thread is that processor.
    pub fn on<R>(&self, cpu: usize, body: impl FnOnce() -> R) -> R {
        play(&self.state.cpus[cpu], body)
    }

    /// Returns the nodes that were locked (true) and unlocked since the last call,
    /// in order; the first call starts the noting.
    ///
    /// # Panics
    ///
    /// Panics on a machine that is not checked.
    pub fn take_locks(&self) -> Vec<(Paddr, bool)> {
        self.checker().take_locks()
    }

    /// Returns the translations that a processor may still believe and that are
    /// not in the tables any more: addresses, and the physical ones.
    ///
    /// # Panics
    ///
    /// Panics on a machine that is not checked.
    pub fn stale_translations(&self, cpu: usize) -> Vec<(Vaddr, Paddr)> {
        self.checker().tlbs[cpu].stale()
    }

    /// Returns how many pages a processor has flushed one by one, and how often
    /// it has flushed everything.
    ///
    /// # Panics
    ///
    /// Panics on a machine that is not checked.
    pub fn flush_counts(&self, cpu: usize) -> (usize, usize) {
        let checker = self.checker();
        let tlb = &checker.tlbs[cpu];
        (tlb.page_flushes, tlb.full_flushes)
    }

    fn checker(&self) -> MutexGuard<'static, Checker> {
        let checker = self.state.checker.as_ref().expect("the machine is checked");
        checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many frames have not come back.
    fn missing_frames(&self) -> usize {
        let (free, nodes) = self.on(0, || {
            // Relaxed: nothing runs any more.
            (
                frame_counts().free,
                self.state.memory.nr_kernel_nodes.load(Ordering::Relaxed),
            )
        });
        // Relaxed: stored before anything ran.
        self.state.free_at_first.load(Ordering::Relaxed) - free - (nodes - 256)
    }

    /// Checks that nothing is left behind: frames, locks, read sections, flushes.
    fn check_end(&self) {
        for cpu in &self.state.cpus {
            self.on(cpu.id.as_usize(), || {
                crate::mm::VmSpace::deactivate_current();
                super::cpu::serve_interrupts();
                crate::sync::rcu::poll();
            });
            assert!(
                !cpu.memory.rcu.is_reading(),
                "{:?} is in a read section",
                cpu.id
            );
            assert!(
                !cpu.memory.preempt.is_disabled(),
                "{:?} has a guard",
                cpu.id
            );
            assert_eq!(cpu.irq_guards.get(), 0, "{:?} has interrupts off", cpu.id);
        }
        for cpu in &self.state.cpus {
            self.on(cpu.id.as_usize(), || {
                crate::sync::rcu::poll();
                allocator::drain_local_cache();
            });
            assert_eq!(cpu.memory.rcu.nr_waiting(), 0, "frames wait for ever");
        }
        let table = self.state.memory.kernel_page_table.get();
        self.on(0, || table.expect("start-up made it").validate());
        assert_eq!(self.missing_frames(), 0, "frames did not come back");
        if self.state.memory.pool.get().is_none() {
            self.on(0, || {
                assert_eq!(validate_free_frames(), frame_counts().free)
            });
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.check_end();
        // SAFETY: All frames came back, and nothing but the kernel's table, which is
        // dropped with its machine state by never being used again, is in the memory.
        unsafe { self.state.ram.free() };
        // SAFETY: As above; handles, which look at slots, are gone.
        unsafe { self.state.slots.free() };
    }
}

/// Runs as a processor.
pub(super) fn play<R>(cpu: &'static SimCpu, body: impl FnOnce() -> R) -> R {
    if core::ptr::eq(CURRENT.get(), cpu) {
        return body();
    }
    play_if_idle(cpu, body)
        .unwrap_or_else(|| panic!("{:?} is another thread, or further up this one", cpu.id))
}

/// Runs as a processor that no thread plays; does nothing if one does.
///
/// Interrupts that are due are delivered first.
pub(super) fn play_if_idle<R>(cpu: &'static SimCpu, body: impl FnOnce() -> R) -> Option<R> {
    struct Restore {
        before: *const SimCpu,
        played: &'static SimCpu,
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.before);
            // Release: the next player sees the processor's cells.
            self.played.is_played.store(false, Ordering::Release);
        }
    }
    // Acquire: pairs with the Release of the player before.
    if cpu.is_played.swap(true, Ordering::Acquire) {
        return None;
    }
    let _restore = Restore {
        before: CURRENT.replace(cpu),
        played: cpu,
    };
    super::cpu::serve_interrupts();
    Some(body())
}

/// Start-up: metadata, memory, the kernel's page table.
fn start(state: &'static State) {
    let ranges = [0..LOW, LOW..HOLE.start, HOLE.end..state.max_paddr];
    for paddr in ranges
        .iter()
        .cloned()
        .flat_map(|range| range.step_by(PAGE_SIZE))
    {
        meta::slot_of(paddr)
            .expect("it is below the bound")
            .init_reserved();
    }
    for range in &ranges[1..] {
        // SAFETY: It is memory, reserved so far, that nobody uses.
        unsafe { allocator::add_memory(range.clone()) };
    }
    state.cpus[0].memory.flush_buffers.init();
    let table = PageTable::new_kernel().expect("there is enough memory");
    state.memory.kernel_page_table.call_once(|| table);
    activate_kernel(state);
}

fn activate_kernel(state: &'static State) {
    let table = state
        .memory
        .kernel_page_table
        .get()
        .expect("start-up made it");
    // SAFETY: 1. the simulated kernel's code is the host's; 2. it lives for ever.
    unsafe { table.activate() };
}
