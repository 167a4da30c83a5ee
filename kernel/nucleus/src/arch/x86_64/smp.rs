//! Starting the other processors (SDM vol. 3A, 9.4; ACPI specification 5.2.12).
//!
//! The boot processor starts those that ACPI lists, one after the other: it makes
//! what the processor will own (state, stacks), leaves it with the
//! [`trampoline`](super::trampoline), and sends INIT and two start-up interrupts to
//! that one alone. Numbers are given in the order of the answers, so they have no
//! gaps, whatever the names of the interrupt controllers. A processor that does not
//! answer in time is reported and left out; what was made for it serves the next.
//!
//! A processor that has started sets all its registers to what the boot processor
//! computed, and says that it is *ready*. Then it is *published*: others ask it to
//! flush from then on. After that it flushes everything, so that nothing matters
//! that others unmapped before, and *goes on*.
//!
//! ```text
//!  boot processor          the other
//!  ──────────────          ─────────
//!  leave the record ────▶  claim it
//!  INIT, SIPI, SIPI        registers, controller
//!  wait            ◀────   READY
//!  publish
//!  GO               ────▶  flush everything, tick
//!  wait            ◀────   RUNS
//!                          interrupts on, idle
//! ```

use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;

use super::apic::{self, ApicId};
use super::exception_stacks::ExceptionStacks;
use super::local::CpuLocal;
use super::trampoline::Trampoline;
use super::{features, gdt, idt, local, mmu, power, timer, tsc, user_entry};
use crate::arch::cpu;
use crate::boot::platform;
use crate::cpu::CpuId;
use crate::error::Result;
use crate::mm::kspace::{self, KernelStack};
use crate::mm::tlb::{Cached, Identifier};
use crate::task;
use crate::time::uptime;

/// Between INIT and the first start-up interrupt; the manual wants 10 ms.
const AFTER_INIT: Duration = Duration::from_millis(10);
/// Between the two start-up interrupts; the manual wants 200 µs.
const AFTER_START: Duration = Duration::from_micros(200);
/// For a processor to run its first instructions: nothing on a machine, but an emulator
/// may have none of the host's time for it for long. What is waited for in vain are
/// processors that are listed and not there.
const TO_CLAIM: Duration = Duration::from_secs(5);
/// For a processor that runs to get ready: on an emulator, much may run in turns.
const TO_GET_READY: Duration = Duration::from_secs(30);

/// How far a processor is.
mod stage {
    /// It has not claimed its record, or has not got ready yet.
    pub(super) const STARTING: u8 = 0;
    /// It waits to be published.
    pub(super) const READY: u8 = 1;
    /// It lacks a feature that the kernel uses on the boot processor.
    pub(super) const UNFIT: u8 = 2;
    /// It may go on.
    pub(super) const GO: u8 = 3;
    /// It runs tasks.
    pub(super) const RUNS: u8 = 4;
}

/// What is made for a processor before it starts.
struct Record {
    local: &'static CpuLocal,
    stack: KernelStack,
    exception_stacks: ExceptionStacks,
    stage: AtomicU8,
}

impl Record {
    fn new(id: CpuId) -> Result<&'static Self> {
        let stack = KernelStack::new(KernelStack::DEFAULT_SIZE)?;
        let exception_stacks = ExceptionStacks::new()?;
        let local = kspace::new_static(CpuLocal::new(id))?;
        kspace::new_static(Self {
            local,
            stack,
            exception_stacks,
            stage: AtomicU8::new(stage::STARTING),
        })
    }

    fn stage(&self) -> u8 {
        // Acquire: pairs with the Release of whoever set it.
        self.stage.load(Ordering::Acquire)
    }

    fn set_stage(&self, stage: u8) {
        // Release: what was done before is seen by whoever sees the stage.
        self.stage.store(stage, Ordering::Release);
    }
}

/// How a start ended.
enum Answer {
    /// The processor is ready.
    Ready,
    /// It never ran; its record can serve another one.
    Silent,
    /// It ran and did not get ready; its record is lost.
    Lost(&'static str),
}

/// Starts all processors that ACPI lists, this one apart, and says how many run.
///
/// With interrupts on, before anything runs that uses several processors.
pub(crate) fn start_others() {
    let here = apic::id();
    local::current().set_apic_id(here);
    let platform = platform::get();
    let others = || platform.processors().filter(|id| *id != here);
    if !apic::is_available() || others().count() == 0 {
        log::info!("processors: 1");
        return;
    }
    let root = kspace::kernel_page_table().root_paddr();
    let Some(trampoline) = Trampoline::install(root, enter) else {
        log::warn!("processors: no memory below 1 MiB to start the others in");
        return;
    };
    let mut spare = None;
    for target in others() {
        spare = start(&trampoline, target, spare);
    }
    let nr_found = others().count() + 1 + platform.nr_processors_left_out();
    log::info!("processors: {} of {nr_found}", local::nr_cpus());
}

/// Starts a processor; returns the record that was made for it, if it did not
/// take it.
fn start(
    trampoline: &Trampoline,
    target: ApicId,
    spare: Option<&'static Record>,
) -> Option<&'static Record> {
    let record = match spare.map_or_else(|| Record::new(CpuId::new(local::nr_cpus())), Ok) {
        Ok(record) => record,
        Err(error) => {
            log::error!("processor {}: not started: {error:?}", target.0);
            return None;
        }
    };
    match wake(trampoline, target, record) {
        Answer::Ready => {
            local::publish(record.local);
            record.set_stage(stage::GO);
            wait(TO_GET_READY, || {
                tsc::compare();
                record.stage() == stage::RUNS
            });
            if tsc::are_apart() {
                log::warn!("processor {}: the time-stamp counters are apart", target.0);
            }
            None
        }
        Answer::Silent => {
            log::warn!("processor {}: does not answer, and is left out", target.0);
            Some(record)
        }
        Answer::Lost(why) => {
            log::error!("processor {}: {why}, and is left out", target.0);
            None
        }
    }
}

/// Sends a processor what starts it, and waits for its answer.
fn wake(trampoline: &Trampoline, target: ApicId, record: &'static Record) -> Answer {
    // SAFETY:
    // 1. Each record is taken back, or claimed, before the next is left.
    // 2. The stack was made for the record.
    // 3. `enter` takes such a record.
    unsafe { trampoline.leave(record, record.stack.top()) };
    apic::send_init(target);
    wait(AFTER_INIT, || false);
    apic::send_startup(target, trampoline.number());
    wait(AFTER_START, || false);
    apic::send_startup(target, trampoline.number());
    let has_answered = || record.stage() != stage::STARTING;
    wait(TO_CLAIM, has_answered);
    if trampoline.take_back() {
        return Answer::Silent;
    }
    wait(TO_GET_READY, has_answered);
    match record.stage() {
        stage::READY => Answer::Ready,
        stage::UNFIT => Answer::Lost("lacks what the others have"),
        _ => Answer::Lost("started, and does not get ready"),
    }
}

/// Waits until something is so, at most for some time; interrupts are on.
fn wait(limit: Duration, mut is_so: impl FnMut() -> bool) {
    let start = uptime();
    while !is_so() && uptime() - start < limit {
        core::hint::spin_loop();
    }
}

/// The first Rust that a processor runs: on the trampoline's tables, which have
/// the kernel's half, with interrupts off.
extern "C" fn enter(record: &'static Record) -> ! {
    let root = kspace::kernel_page_table().root_paddr();
    // SAFETY: 1. It is the kernel's root node, which lives for ever. 2. It maps the
    // kernel and the stack, which is an area of the kernel's. 3. Nothing is kept.
    unsafe { mmu::switch(root, Identifier::KERNEL, Cached::Flush) };
    // SAFETY: The record was claimed, by this processor alone.
    unsafe { local::install(record.local) };
    gdt::load();
    idt::load();
    record.exception_stacks.install();
    let stack = record.stack.bottom()..record.stack.top();
    record.local.note_idle_stack(stack);
    if !features::adopt() {
        record.set_stage(stage::UNFIT);
        power::halt();
    }
    user_entry::init();
    apic::init_local();
    record.local.set_apic_id(apic::id());
    cpu::local().init();
    record.set_stage(stage::READY);
    while record.stage() != stage::GO {
        core::hint::spin_loop();
    }
    (0..tsc::ROUNDS).for_each(|_| tsc::compare());
    mmu::flush_all_including_global();
    timer::init_local();
    task::adopt();
    record.set_stage(stage::RUNS);
    task::run_idle()
}

#[cfg(ktest)]
mod tests {
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicU64, Ordering};

    use x86_64::registers::control::{Cr0, Cr4, Efer};
    use x86_64::registers::model_specific::{LStar, Msr, SFMask};
    use x86_64::registers::xcontrol::XCr0;

    use crate::arch::x86_64::{features, local};
    use crate::cpu::{CpuSet, MAX_CPUS, disable_preempt, num_cpus};
    use crate::cpu_local;
    use crate::prelude::*;
    use crate::smp::inter_processor_call_and_wait;

    const NR_REGISTERS: usize = 8;

    cpu_local! {
        static REGISTERS: [AtomicU64; NR_REGISTERS] = [const { AtomicU64::new(0) }; NR_REGISTERS];
    }

    fn read_registers() {
        const IA32_STAR: u32 = 0xc000_0081;
        const IA32_PAT: u32 = 0x277;
        // SAFETY: Every 64-bit processor has the register.
        let star = unsafe { Msr::new(IA32_STAR).read() };
        let (has_pat, has_avx) = (features::get().pat, features::get().avx);
        // SAFETY: The processor has the register.
        let pat = has_pat.then(|| unsafe { Msr::new(IA32_PAT).read() });
        let values = [
            Cr0::read_raw(),
            Cr4::read_raw(),
            Efer::read_raw(),
            pat.unwrap_or(0),
            if has_avx { XCr0::read_raw() } else { 0 },
            star,
            LStar::read().as_u64(),
            SFMask::read().bits(),
        ];
        let guard = disable_preempt();
        for (place, value) in REGISTERS.get(&guard).iter().zip(values) {
            place.store(value, Ordering::Relaxed);
        }
    }

    #[ktest]
    fn peer_087_smp_registers_of_all_processors_are_those_of_the_first() {
        inter_processor_call_and_wait(&CpuSet::new_full(), read_registers);
        let registers_of = |cpu| {
            let values = REGISTERS.get_on_cpu(cpu).each_ref();
            values.map(|value| value.load(Ordering::Relaxed))
        };
        let mut cpus = CpuSet::new_full().iter();
        let first = cpus.next().map(registers_of).expect("there is a first");
        assert!(first.iter().any(|value| *value != 0));
        for cpu in cpus {
            assert_eq!(registers_of(cpu), first, "{cpu:?}");
        }
    }

    #[ktest]
    fn smp_processors_have_names_and_stacks_of_their_own() {
        let all: Vec<_> = CpuSet::new_full().iter().map(local::of).collect();
        assert!(all.len() == num_cpus() && num_cpus() <= MAX_CPUS);
        for (index, local) in all.iter().enumerate() {
            let others = || all[..index].iter();
            assert!(others().all(|other| other.apic_id() != local.apic_id()));
            assert!(others().all(|other| other.tss.get() != local.tss.get()));
            assert_eq!(local.id().as_usize(), index);
        }
    }
}
