//! A machine: memory and processors, made for one test.

extern crate std;

use std::boxed::Box;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::checker::Checker;
use super::host_memory::HostMemory;
use crate::cpu::CpuId;
use crate::mm::frame::meta::{self, SLOT_SIZE};
use crate::mm::frame::{allocator, frame_counts, validate_free_frames};
use crate::mm::page_table::PageTable;
use crate::mm::state::{CpuMemory, Memory};
use crate::mm::tlb::{Cached, Identifier};
use crate::mm::{PAGE_SIZE, Paddr, Vaddr};
use crate::task::{CpuTasks, Task};

/// What a machine has.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of physical memory, whole pages, at least 3 MiB.
    pub ram: usize,
    /// Number of processors.
    pub cpus: usize,
    /// Whether the TLBs are simulated and the doings of the memory core checked;
    /// not so for benchmarks.
    pub checked: bool,
    /// Whether its TLBs cache under identifiers of address spaces.
    pub identifiers: bool,
    /// Bits of a physical address.
    pub physical_bits: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ram: 16 << 20,
            cpus: 1,
            checked: true,
            identifiers: true,
            physical_bits: 52,
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
    /// From a box.
    state: NonNull<State>,
}

// SAFETY: It is a reference to the state, which is `Sync`.
unsafe impl Send for Machine {}
// SAFETY: As above.
unsafe impl Sync for Machine {}

/// What a machine consists of. While a thread is one of its processors,
/// references to it are good; it is freed when all frames have come back.
#[derive(Debug)]
pub(super) struct State {
    ram: HostMemory,
    slots: HostMemory,
    pub(super) max_paddr: Paddr,
    pub(super) physical_bits: u32,
    /// Never dropped: the kernel's page table is nothing to take apart.
    pub(super) memory: ManuallyDrop<Memory>,
    pub(super) cpus: Vec<SimCpu>,
    /// Nothing for a machine that is not checked.
    pub(super) checker: Option<Mutex<Checker>>,
    /// Free frames after the machine was made.
    free_at_first: AtomicUsize,
    /// The time since start-up.
    pub(super) clock_ns: AtomicU64,
}

/// A processor.
#[derive(Debug)]
pub(super) struct SimCpu {
    pub(super) id: CpuId,
    pub(super) machine: Cell<*const State>,
    /// As the machine has them, at hand: the bare machine has them in its code.
    pub(super) ram: Vaddr,
    pub(super) slots: Vaddr,
    pub(super) is_checked: bool,
    pub(super) has_identifiers: bool,
    pub(super) memory: CpuMemory,
    /// Its one task: the thread that plays it.
    pub(super) tasks: CpuTasks,
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
    pub(super) static CURRENT: Cell<*const SimCpu> = const { Cell::new(core::ptr::null()) };
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
    // SAFETY: `Machine::on` has borrowed the machine, which frees its processors.
    unsafe { &*cpu }
}

impl SimCpu {
    #[inline]
    pub(super) fn machine(&self) -> &'static State {
        // SAFETY: The processor is a part of the machine.
        unsafe { &*self.machine.get() }
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
        assert!(config.ram >= 3 << 20 && config.ram.is_multiple_of(PAGE_SIZE));
        let ram = HostMemory::new(config.ram);
        let slots = HostMemory::zeroed(config.ram / PAGE_SIZE * SLOT_SIZE);
        let (ram_at, slots_at) = (ram.address(), slots.address());
        let make_cpu = |index| SimCpu {
            id: CpuId::new(index),
            machine: Cell::new(core::ptr::null()),
            ram: ram_at,
            slots: slots_at,
            is_checked: config.checked,
            has_identifiers: config.identifiers,
            memory: CpuMemory::new(),
            tasks: CpuTasks::new(),
            root: AtomicUsize::new(0),
            irq_guards: Cell::new(0),
            interrupted: AtomicBool::new(false),
            is_played: AtomicBool::new(false),
        };
        let state = NonNull::from(Box::leak(Box::new(State {
            ram,
            slots,
            max_paddr: config.ram,
            physical_bits: config.physical_bits,
            memory: ManuallyDrop::new(Memory::new()),
            cpus: (0..config.cpus).map(make_cpu).collect(),
            checker: config
                .checked
                .then(|| Mutex::new(Checker::new(config.cpus, config.identifiers))),
            free_at_first: AtomicUsize::new(0),
            clock_ns: AtomicU64::new(0),
        })));
        let machine = Self { state };
        let state = machine.state();
        for cpu in &state.cpus {
            cpu.machine.set(state);
            cpu.tasks.replace_current(Arc::new(Task::without_stack()));
        }
        machine.on(0, || start(state));
        for cpu in 1..config.cpus {
            machine.on(cpu, || {
                state.cpus[cpu].memory.init();
                activate_kernel(state);
            });
        }
        let free = machine.on(0, || frame_counts().free);
        // Relaxed: read by the thread that drops the machine.
        state.free_at_first.store(free, Ordering::Relaxed);
        machine
    }

    pub(super) fn state(&self) -> &'static State {
        // SAFETY: The state is there as long as the machine, and this module uses
        // it no longer than that.
        unsafe { self.state.as_ref() }
    }

    /// Runs as one of the machine's processors.
    ///
    /// May be nested, as another processor or another machine's.
    ///
    /// # Panics
    ///
    /// Panics when another thread is that processor.
    pub fn on<R>(&self, cpu: usize, body: impl FnOnce() -> R) -> R {
        play(&self.state().cpus[cpu], body)
    }

    /// Reserves a processor, for a thread to come.
    ///
    /// # Panics
    ///
    /// Panics when a thread is that processor.
    pub(super) fn claim(&self, cpu: usize) -> Claim {
        Claim::new(&self.state().cpus[cpu]).expect("the processor is idle")
    }

    /// Returns the number of processors.
    pub fn nr_cpus(&self) -> usize {
        self.state().cpus.len()
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

    /// Returns the translations that a processor may use and that are not in the
    /// tables any more: addresses, and the physical ones.
    ///
    /// # Panics
    ///
    /// Panics on a machine that is not checked.
    pub fn stale_translations(&self, cpu: usize) -> Vec<(Vaddr, Paddr)> {
        self.checker().tlbs[cpu].stale()
    }

    /// Returns how many such translations a processor may still have that it cannot
    /// use as it is: they are under another identifier, or it is lazy.
    ///
    /// # Panics
    ///
    /// Panics on a machine that is not checked.
    pub fn hidden_translations(&self, cpu: usize) -> usize {
        self.checker().tlbs[cpu].nr_hidden()
    }

    /// Returns how often a processor was to be interrupted, to flush, so far.
    pub fn flush_interrupts(&self, cpu: usize) -> u64 {
        self.state().cpus[cpu].memory.flushes.interrupts()
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
        let checker = self
            .state()
            .checker
            .as_ref()
            .expect("the machine is checked");
        checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many frames have not come back.
    fn missing_frames(&self) -> usize {
        let (free, nodes) = self.on(0, || {
            // Relaxed: nothing runs any more.
            (
                frame_counts().free,
                self.state().memory.nr_kernel_nodes.load(Ordering::Relaxed),
            )
        });
        // Relaxed: stored before anything ran.
        self.state().free_at_first.load(Ordering::Relaxed) - free - (nodes - 256)
    }

    /// Checks that nothing is left behind: frames, locks, read sections, flushes.
    fn check_end(&self) {
        for cpu in &self.state().cpus {
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
        for cpu in &self.state().cpus {
            self.on(cpu.id.as_usize(), || {
                crate::sync::rcu::poll();
                allocator::drain_local_cache();
            });
            let waiting = (cpu.memory.held.bytes(), cpu.memory.rcu.bytes_waiting());
            assert_eq!(waiting, (0, 0), "frames and nodes wait for ever");
        }
        // Large, and the same for each of many machines.
        if !cfg!(feature = "shuttle") {
            let table = self.state().memory.kernel_page_table.get();
            self.on(0, || table.expect("start-up made it").validate());
        }
        assert_eq!(self.missing_frames(), 0, "frames did not come back");
        if self.state().memory.pool.get().is_none() {
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
        // SAFETY: From a box. Whoever is a processor borrows the machine, and all
        // frames came back, so nobody has a reference into the state.
        let state = unsafe { Box::from_raw(self.state.as_ptr()) };
        // SAFETY: All frames came back, and nothing but the kernel's table, which is
        // never dropped, is in the memory.
        unsafe { state.ram.give_back() };
        // SAFETY: As above; handles, which look at slots, are gone.
        unsafe { state.slots.give_back() };
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
pub(super) fn play_if_idle<R>(cpu: &'static SimCpu, body: impl FnOnce() -> R) -> Option<R> {
    Claim::new(cpu).map(|claim| claim.play(body))
}

/// The right to play a processor, of which there is one.
pub(super) struct Claim(&'static SimCpu);

impl Claim {
    pub(super) fn new(cpu: &'static SimCpu) -> Option<Self> {
        // Acquire: pairs with the Release of the player before.
        let is_idle = !cpu.is_played.swap(true, Ordering::Acquire);
        // Not made before it is known: dropping it would end the other's.
        is_idle.then(|| Self(cpu))
    }

    /// Runs as the processor. Interrupts that are due are delivered first.
    pub(super) fn play<R>(self, body: impl FnOnce() -> R) -> R {
        struct Restore(*const SimCpu, Claim);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(self.0), self);
        super::cpu::serve_interrupts();
        body()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Release: the next player sees the processor's cells.
        self.0.is_played.store(false, Ordering::Release);
    }
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
    state.cpus[0].memory.init();
    let table = PageTable::new_kernel().expect("there is enough memory");
    state.memory.kernel_page_table.call_once(|| table);
    activate_kernel(state);
}

fn activate_kernel(state: &'static State) {
    let table = state.memory.kernel_page_table.get();
    let root = table.expect("start-up made it").root_paddr();
    // SAFETY: 1. it lives for ever. 2. nothing is cached yet, and what might be is
    // flushed.
    unsafe { super::mmu::switch(root, Identifier::KERNEL, Cached::Flush) };
}
