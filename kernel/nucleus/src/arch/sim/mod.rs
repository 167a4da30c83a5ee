//! The simulated machine, for tests on a host: so far its interrupt flag
//! and its serial port.
//!
//! A simulated processor is a thread. Physical memory, page walks and TLBs join
//! it together with the memory core that they are to test.

pub(crate) mod irq;
pub(crate) mod serial;
