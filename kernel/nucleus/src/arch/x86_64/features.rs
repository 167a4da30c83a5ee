//! What the processor can do, and switching on what protects (SDM vol. 3A, 2.5).
//!
//! Every protection that the processor has is on from here: no-execute pages,
//! write protection in the kernel, no execution (SMEP) and no accidental access
//! (SMAP) of user pages by the kernel, no descriptor-table reads by ring 3
//! (UMIP). Where programs may read and write the bases of FS and GS themselves
//! (FSGSBASE), they may. The control registers are set to computed values and not merely
//! updated, so that nothing depends on what the firmware or the loader left.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr3, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::Msr;
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

use super::fpu;

/// The features that the nucleus asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// 1 GiB pages.
    pub(crate) huge_1g: bool,
    /// Global pages.
    pub(crate) global_pages: bool,
    /// Supervisor-mode execution prevention.
    pub(crate) smep: bool,
    /// Supervisor-mode access prevention.
    pub(crate) smap: bool,
    /// User-mode instruction prevention.
    pub(crate) umip: bool,
    /// The page-attribute table.
    pub(crate) pat: bool,
    /// Identifiers of address spaces.
    pub(crate) pcid: bool,
    /// The instruction that flushes by them.
    pub(crate) invpcid: bool,
    /// `RDRAND`.
    pub(crate) rdrand: bool,
    /// `RDSEED`.
    pub(crate) rdseed: bool,
    /// Instructions for the bases of FS and GS.
    pub(crate) fsgsbase: bool,
    /// The 256-bit registers, and the instructions that save them.
    pub(crate) avx: bool,
}

static FEATURES: Once<Features> = Once::new();
/// Of the features, the one that is asked for at each way out of ring 3.
static HAS_FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Page-attribute table, lowest byte first: write-back, write-through, write-
/// combining, uncacheable, write-protected, and entries 1 to 3 once more.
/// `arch::paging` encodes cache policies by these indices.
const PAT: u64 = 0x0001_0405_0001_0406;
const IA32_PAT: u32 = 0x277;

/// Returns the features found by [`init`]; none of them before that.
pub(crate) fn get() -> Features {
    FEATURES.get().copied().unwrap_or_default()
}

/// Returns whether the 256-bit registers can be used.
#[inline]
pub(crate) fn has_avx() -> bool {
    FEATURES.get().is_some_and(|features| features.avx)
}

/// Returns whether there are instructions for the bases of FS and GS.
#[inline]
pub(crate) fn has_fsgsbase() -> bool {
    // Relaxed: written at start-up, when there is one processor.
    HAS_FSGSBASE.load(Ordering::Relaxed)
}

/// What the kernel and every 64-bit program take for granted: bits of EDX of leaf 1
/// (SDM vol. 2A, CPUID), and what they are called.
const BASELINE: [(u32, &str); 9] = [
    (0, "fpu"),
    (4, "tsc"),
    (5, "msr"),
    (6, "pae"),
    (8, "cx8"),
    (15, "cmov"),
    (24, "fxsr"),
    (25, "sse"),
    (26, "sse2"),
];

/// The same, of EDX of leaf 0x80000001.
const EXTENDED_BASELINE: [(u32, &str); 2] = [(11, "syscall"), (20, "nx")];

/// Finds the features of the processor, and switches on those that the kernel's
/// page tables use: no-execute pages and the page-attribute table.
///
/// # Panics
///
/// Panics on a processor that lacks something of the baseline, which no 64-bit
/// processor of the last twenty years does; a virtual one may.
pub(crate) fn init() {
    let (basic, extended) = (core::arch::x86_64::__cpuid(1).edx, extended_edx());
    if let Some(name) = lacks(basic, extended) {
        panic!("the processor lacks {name}, which the kernel and its programs need");
    }
    let features = detect();
    FEATURES.call_once(|| features);
    // Relaxed: as in `has_fsgsbase`.
    HAS_FSGSBASE.store(features.fsgsbase, Ordering::Relaxed);
    prepare_paging(features);
}

/// Returns what of the baseline is not among the features of these two words.
fn lacks(basic_edx: u32, extended_edx: u32) -> Option<&'static str> {
    let basic = BASELINE.iter().map(|of| (basic_edx, of));
    let extended = EXTENDED_BASELINE.iter().map(|of| (extended_edx, of));
    let mut missing = basic.chain(extended);
    let missing = missing.find(|(word, (index, _))| !bit(*word, *index));
    missing.map(|(_, (_, name))| *name)
}

/// Sets this processor up as the boot processor is: all control registers, and
/// the registers that paging uses. Returns whether it has what the boot processor
/// has; if not, nothing is changed.
pub(super) fn adopt() -> bool {
    let needed = get();
    let found = detect().named();
    let mut both = needed.named().into_iter().zip(found);
    if both.any(|((is_needed, _), (is_there, _))| is_needed && !is_there) {
        return false;
    }
    prepare_paging(needed);
    protect();
    true
}

fn prepare_paging(features: Features) {
    // SAFETY: Long mode stays on. The loader's tables use no-execute pages already, or
    // do not say so of any.
    unsafe { Efer::write(efer()) };
    if features.pat {
        // SAFETY: The register exists; index 0, the only one that live entries
        // use, keeps its meaning of write-back.
        unsafe { Msr::new(IA32_PAT).write(PAT) };
    }
}

/// Switches the protections on, once the kernel's own tables are active.
pub(crate) fn protect() {
    let features = get();
    // Identifiers cannot be switched on while the root register names another one
    // than zero, by what means something else without them (SDM vol. 3A, 4.10.1).
    assert!(
        !features.pcid || Cr3::read_raw().1 == 0,
        "the root register has bits that would name an identifier"
    );
    // SAFETY: Protected mode and paging stay on; write protection only refuses
    // what the kernel never does; the rest lets ring 3 use SSE.
    unsafe { Cr0::write(cr0()) };
    // SAFETY: Physical-address extension stays on, as long mode demands; each
    // other bit was found to exist or exists wherever long mode does.
    unsafe { Cr4::write(cr4(features)) };
    if features.avx {
        // SAFETY: The processor has all three, and the instruction was just
        // switched on.
        unsafe { XCr0::write(EXTENDED_STATE) };
    }
    fpu::init();
}

/// What `xsave` saves, where there is more than `fxsave` does.
pub(super) const EXTENDED_STATE: XCr0Flags =
    XCr0Flags::X87.union(XCr0Flags::SSE).union(XCr0Flags::AVX);

/// Returns all of CR0.
fn cr0() -> Cr0Flags {
    let mut cr0 = Cr0Flags::PROTECTED_MODE_ENABLE | Cr0Flags::PAGING;
    cr0 |= Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR;
    cr0 | Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::EXTENSION_TYPE
}

/// Returns EFER, but for the bits that nobody has defined yet, and `syscall`, which
/// [`user_entry`](super::user_entry) switches on. What firmware may have left on is off, as
/// the fast way of saving registers that saves fewer of them (AMD64 manual vol. 2, 3.1.7).
fn efer() -> EferFlags {
    EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE | EferFlags::NO_EXECUTE_ENABLE
}

/// Returns all of CR4, on a processor with these features.
fn cr4(features: Features) -> Cr4Flags {
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::OSFXSR;
    cr4 |= Cr4Flags::OSXMMEXCPT_ENABLE | Cr4Flags::MACHINE_CHECK_EXCEPTION;
    cr4.set(Cr4Flags::PAGE_GLOBAL, features.global_pages);
    cr4.set(
        Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
        features.smep,
    );
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.smap);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
    cr4.set(Cr4Flags::OSXSAVE, features.avx);
    cr4.set(Cr4Flags::FSGSBASE, features.fsgsbase);
    cr4.set(Cr4Flags::PCID, features.pcid);
    cr4
}

/// Asks `cpuid` (SDM vol. 2A).
pub(super) fn detect() -> Features {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let max_basic = __cpuid(0).eax;
    let basic = __cpuid(1);
    let (leaf_7_ebx, leaf_7_ecx) = if max_basic >= 7 {
        let structured = __cpuid_count(7, 0);
        (structured.ebx, structured.ecx)
    } else {
        (0, 0)
    };
    let extended_edx = extended_edx();
    Features {
        huge_1g: bit(extended_edx, 26),
        global_pages: bit(basic.edx, 13),
        smep: bit(leaf_7_ebx, 7),
        smap: bit(leaf_7_ebx, 20),
        umip: bit(leaf_7_ecx, 2),
        pat: bit(basic.edx, 16),
        // Of no use without global pages, which every processor has that has them.
        pcid: bit(basic.ecx, 17) && bit(basic.edx, 13),
        invpcid: bit(leaf_7_ebx, 10),
        rdrand: bit(basic.ecx, 30),
        rdseed: bit(leaf_7_ebx, 18),
        fsgsbase: bit(leaf_7_ebx, 0),
        avx: bit(basic.ecx, 26) && bit(basic.ecx, 28) && wide_registers_fit(max_basic),
    }
}

/// Returns whether the 256-bit registers are saved where there is room for them.
fn wide_registers_fit(max_basic: u32) -> bool {
    const LEAF: u32 = 0xd;
    if max_basic < LEAF {
        return false;
    }
    let upper_halves = core::arch::x86_64::__cpuid_count(LEAF, 2);
    let end = upper_halves.ebx.checked_add(upper_halves.eax);
    end.is_some_and(|end| end as usize <= fpu::AREA_SIZE)
}

/// What a processor calls itself.
#[cfg(ktest)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brand([u8; 48]);

/// Returns what the processor calls itself.
#[cfg(ktest)]
pub(crate) fn brand() -> Brand {
    use core::arch::x86_64::__cpuid;
    const FIRST: u32 = 0x8000_0002;
    const LAST: u32 = 0x8000_0004;
    let mut bytes = [0; 48];
    if __cpuid(0x8000_0000).eax >= LAST {
        let answers = (FIRST..=LAST).map(__cpuid);
        let words = answers.flat_map(|answer| [answer.eax, answer.ebx, answer.ecx, answer.edx]);
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    Brand(bytes)
}

#[cfg(ktest)]
impl fmt::Display for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_text = |byte: &u8| (0x20..0x7f).contains(byte);
        let end = self.0.iter().position(|byte| !is_text(byte));
        let text = &self.0[..end.unwrap_or(self.0.len())];
        match core::str::from_utf8(text).unwrap_or_default().trim() {
            "" => f.write_str("a nameless kind"),
            name => f.write_str(name),
        }
    }
}

/// Asks for the extended features, zero on a processor that has none.
fn extended_edx() -> u32 {
    use core::arch::x86_64::__cpuid;
    if __cpuid(0x8000_0000).eax >= 0x8000_0001 {
        __cpuid(0x8000_0001).edx
    } else {
        0
    }
}

/// Asks how many bits a physical address has: 36 on a processor that does not say
/// (SDM vol. 3A, 4.1.4).
pub(super) fn physical_bits() -> u32 {
    use core::arch::x86_64::__cpuid;
    const LEAF: u32 = 0x8000_0008;
    if __cpuid(0x8000_0000).eax < LEAF {
        return 36;
    }
    (__cpuid(LEAF).eax & 0xff).min(52)
}

const fn bit(word: u32, index: u32) -> bool {
    word >> index & 1 == 1
}

impl Features {
    /// Returns the features with their names.
    fn named(self) -> [(bool, &'static str); 13] {
        [
            (true, "nx wp"),
            (self.smep, "smep"),
            (self.smap, "smap"),
            (self.umip, "umip"),
            (self.global_pages, "global-pages"),
            (self.huge_1g, "1g-pages"),
            (self.pat, "pat"),
            (self.pcid, "pcid"),
            (self.invpcid, "invpcid"),
            (self.rdrand, "rdrand"),
            (self.rdseed, "rdseed"),
            (self.fsgsbase, "fsgsbase"),
            (self.avx, "avx"),
        ]
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (_, name) in self.named().into_iter().filter(|(present, _)| *present) {
            write!(f, "{}{name}", if first { "" } else { " " })?;
            first = false;
        }
        Ok(())
    }
}

#[cfg(ktest)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use x86_64::registers::model_specific::SFMask;
    use x86_64::registers::rflags::RFlags;

    use super::{
        Cr0, Cr0Flags, Cr4, Cr4Flags, EXTENDED_STATE, Efer, EferFlags, IA32_PAT, Msr, XCr0, cr0,
        cr4, detect, efer, get, lacks,
    };
    use crate::arch::paging::PageTableEntry;
    use crate::cpu::{CpuSet, num_cpus};
    use crate::mm::page_table::PageTableEntryTrait;
    use crate::mm::{CachePolicy, PageFlags, PageProperty};
    use crate::prelude::*;
    use crate::smp::inter_processor_call_and_wait;

    #[ktest]
    fn peer_087_control_registers_hold_what_was_computed_and_nothing_else() {
        assert_eq!(Cr0::read(), cr0());
        assert!(Cr0::read().contains(Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR));
        assert_eq!(Cr4::read(), cr4(get()));
        assert_eq!(Efer::read(), efer() | EferFlags::SYSTEM_CALL_EXTENSIONS);
        if get().avx {
            assert_eq!(XCr0::read(), EXTENDED_STATE);
        }
    }

    #[ktest]
    fn processor_without_the_baseline_is_told_by_what_it_lacks() {
        assert_eq!(lacks(!0, !0), None);
        assert_eq!(lacks(!(1 << 24), !0), Some("fxsr"));
        assert_eq!(lacks(!0, !(1 << 20)), Some("nx"));
        assert_eq!(lacks(0, 0), Some("fpu"));
    }

    #[ktest]
    fn smp_protections_that_the_processor_has_are_on_everywhere() {
        static NR_ASKED: AtomicUsize = AtomicUsize::new(0);
        NR_ASKED.store(0, Ordering::Relaxed);
        // Asked of each processor, not of what start-up found on the first.
        inter_processor_call_and_wait(&CpuSet::new_full(), || {
            let there = detect();
            let on = Cr4::read();
            for (is_there, flag) in [
                (there.smep, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
                (there.smap, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
                (there.umip, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
                (there.global_pages, Cr4Flags::PAGE_GLOBAL),
                (there.pcid, Cr4Flags::PCID),
                (there.fsgsbase, Cr4Flags::FSGSBASE),
                (there.avx, Cr4Flags::OSXSAVE),
                (true, Cr4Flags::PHYSICAL_ADDRESS_EXTENSION),
                (true, Cr4Flags::MACHINE_CHECK_EXCEPTION),
                (true, Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE),
            ] {
                assert_eq!(on.contains(flag), is_there, "{flag:?}");
            }
            NR_ASKED.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(NR_ASKED.load(Ordering::Relaxed), num_cpus());
    }

    #[ktest]
    fn smp_what_would_open_a_hole_is_off_everywhere() {
        static NR_ASKED: AtomicUsize = AtomicUsize::new(0);
        NR_ASKED.store(0, Ordering::Relaxed);
        inter_processor_call_and_wait(&CpuSet::new_full(), || {
            // The kernel writes to no read-only page; registers of programs are there
            // when they use them; and caches are on.
            let cr0 = Cr0::read();
            assert!(cr0.contains(Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR));
            let bad = Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED;
            let bad = bad | Cr0Flags::CACHE_DISABLE | Cr0Flags::NOT_WRITE_THROUGH;
            assert!(!cr0.intersects(bad), "{cr0:?}");
            // Counters of performance that programs may read; a time-stamp counter that
            // they may not; tables of five levels; keys, which no entry is given; and
            // modes of the processor that nobody here enters.
            let cr4 = Cr4::read();
            let bad = Cr4Flags::PERFORMANCE_MONITOR_COUNTER | Cr4Flags::TIMESTAMP_DISABLE;
            let bad = bad | Cr4Flags::L5_PAGING | Cr4Flags::PROTECTION_KEY_USER;
            let bad = bad | Cr4Flags::VIRTUAL_8086_MODE_EXTENSIONS;
            let bad = bad | Cr4Flags::PROTECTED_MODE_VIRTUAL_INTERRUPTS;
            let bad = bad | Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS | Cr4Flags::SAFER_MODE_EXTENSIONS;
            assert!(!cr4.intersects(bad), "{cr4:?}");
            let on = efer() | EferFlags::SYSTEM_CALL_EXTENSIONS;
            assert_eq!(Efer::read(), on);
            // What a program's flags must not do to the kernel's entry.
            let mask = RFlags::INTERRUPT_FLAG | RFlags::TRAP_FLAG | RFlags::DIRECTION_FLAG;
            let mask = mask | RFlags::ALIGNMENT_CHECK | RFlags::NESTED_TASK;
            assert!(SFMask::read().contains(mask));
            NR_ASKED.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(NR_ASKED.load(Ordering::Relaxed), num_cpus());
    }

    #[ktest]
    fn peer_046_entries_name_cache_policies_as_the_attribute_table_has_them() {
        if !get().pat {
            crate::ktest::skip("the processor has no page-attribute table");
        }
        // SAFETY: The register exists.
        let table = unsafe { Msr::new(IA32_PAT).read() };
        // The types by their numbers in the SDM, vol. 3A, table 12-10.
        for (policy, memory_type) in [
            (CachePolicy::Uncacheable, 0),
            (CachePolicy::WriteCombining, 1),
            (CachePolicy::Writethrough, 4),
            (CachePolicy::WriteProtected, 5),
            (CachePolicy::Writeback, 6),
        ] {
            let prop = PageProperty::new_kernel(PageFlags::R, policy);
            for (level, high_bit) in [(1, 7), (2, 12), (3, 12)] {
                let entry = PageTableEntry::new_page(0, level, prop).as_usize();
                let index = (entry >> 3 & 3) | (entry >> high_bit & 1) << 2;
                let found = table >> (8 * index) & 7;
                assert_eq!(found, memory_type, "{policy:?} at level {level}");
            }
        }
    }
}
