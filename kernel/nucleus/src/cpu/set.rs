//! Sets of processors: one bit each.

use super::{CpuId, MAX_CPUS};
use crate::sync::atomic::{AtomicU64, Ordering};

const _: () = assert!(MAX_CPUS <= u64::BITS as usize, "a set is one word");

/// A set of processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(u64);

impl CpuSet {
    /// Returns the set of no processor.
    pub const fn new_empty() -> Self {
        Self(0)
    }

    /// Returns the set of all processors that a machine may have.
    pub(crate) const fn of_any_machine() -> Self {
        Self(u64::MAX)
    }

    /// Returns the set of all processors of the machine.
    pub fn new_full() -> Self {
        Self(u64::MAX >> (MAX_CPUS - super::num_cpus()))
    }

    /// Adds a processor.
    pub const fn add(&mut self, cpu: CpuId) {
        self.0 |= 1 << cpu.0;
    }

    /// Removes a processor.
    pub const fn remove(&mut self, cpu: CpuId) {
        self.0 &= !(1 << cpu.0);
    }

    /// Adds the processors of another set.
    pub const fn union(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Returns the processors that are in another set as well.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether a processor is in the set.
    pub const fn contains(&self, cpu: CpuId) -> bool {
        self.0 >> cpu.0 & 1 == 1
    }

    /// Returns whether no processor is in the set.
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Returns the number of processors in the set.
    pub const fn count(&self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns the processors of the set, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + use<> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let index = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(CpuId(index))
        })
    }
}

impl From<CpuId> for CpuSet {
    /// Returns the set of one processor.
    fn from(cpu: CpuId) -> Self {
        Self(1 << cpu.0)
    }
}

/// A set of processors that several of them change at once.
///
/// All ways of touching it but [`Self::snapshot`] are read-modify-write operations of
/// sequential consistency, because a set of processors is one half of a handshake: a
/// processor *adds itself and then walks a table*, another *writes the table
/// and then reads the set*. Each of the two must see what the other did first,
/// which plain stores and loads do not give (peer 69).
#[derive(Debug, Default)]
pub struct AtomicCpuSet(AtomicU64);

impl AtomicCpuSet {
    /// Returns a set of these processors.
    pub const fn new(initial: CpuSet) -> Self {
        Self(AtomicU64::new(initial.0))
    }

    /// Adds a processor.
    pub fn add(&self, cpu: CpuId) {
        // SeqCst: comes before the walks of the table that the caller loads.
        self.0.fetch_or(1 << cpu.0, Ordering::SeqCst);
    }

    /// Removes a processor.
    pub fn remove(&self, cpu: CpuId) {
        // SeqCst: comes after the load of the root register that left the table.
        self.0.fetch_and(!(1 << cpu.0), Ordering::SeqCst);
    }

    /// Makes it another set, for those who read it from now on.
    pub(crate) fn store(&self, set: CpuSet) {
        // SeqCst: comes before what the caller looks at next.
        self.0.store(set.0, Ordering::SeqCst);
    }

    /// Returns the set as it was at some moment, for someone whose order with those
    /// who change it comes from another word.
    #[inline(always)]
    pub fn snapshot(&self) -> CpuSet {
        // Acquire: what a processor did before it joined is seen.
        CpuSet(self.0.load(Ordering::Acquire))
    }

    /// Returns the set as of now, for someone who wrote the table before.
    pub fn load(&self) -> CpuSet {
        // SeqCst, and a write although it changes nothing: the caller's writes
        // to the table are visible before the set is read.
        CpuSet(self.0.fetch_or(0, Ordering::SeqCst))
    }
}
