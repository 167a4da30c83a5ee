//! Time since start-up.

pub use crate::arch::timer::uptime;
