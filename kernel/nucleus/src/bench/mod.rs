//! Benchmarks of the memory core: the same text on the machine and on a host.
//!
//! A benchmark prepares something, has one closure measured, and cleans up. What
//! is measured is executed instructions, which repeat: in the kernel the
//! time-stamp counter under QEMU's `-icount`, on a host callgrind's count. They
//! are linked into a kernel that is built for them alone.

mod console;
mod processes;
mod rows;

pub use self::rows::ROWS;

/// A benchmark.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name, without spaces.
    pub name: &'static str,
    /// How many operations are measured together.
    pub operations: usize,
    /// Has its closure measured once.
    pub run: fn(&mut dyn Meter),
}

impl core::fmt::Debug for Row {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// Measures a closure.
pub trait Meter {
    /// Runs a closure and notes what it took.
    fn measure(&mut self, body: &mut dyn FnMut());
}

/// A meter that notes nothing, to warm up.
#[derive(Debug)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn measure(&mut self, body: &mut dyn FnMut()) {
        body();
    }
}

#[cfg(bench)]
mod machine;
#[cfg(bench)]
mod ring3;
#[cfg(bench)]
pub use self::machine::run_if_requested;
