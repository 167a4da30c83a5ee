//! Time since start-up.

#[cfg(target_os = "none")]
pub use crate::arch::x86_64::timer::uptime;

/// Returns the time since start-up: on a host, since the first question.
#[cfg(not(target_os = "none"))]
pub fn uptime() -> core::time::Duration {
    extern crate std;
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
