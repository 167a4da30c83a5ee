//! Stands for the machine.

pub(crate) mod cpu {
    //! Stands for the processor.

    /// Waits for what another processor does.
    pub(crate) fn relax() {
        loom::thread::yield_now();
    }
}
