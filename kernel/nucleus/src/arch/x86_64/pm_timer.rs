//! The power-management timer (ACPI specification 6.5, 4.8.3.3): a port that
//! counts, as a [`Reference`].

use x86_64::instructions::port::Port;

use super::calibration::Reference;
use crate::boot::platform::PmTimer;

impl Reference for PmTimer {
    fn name(&self) -> &'static str {
        "PM timer"
    }

    fn hz(&self) -> u64 {
        3_579_545
    }

    fn mask(&self) -> u64 {
        let bits = if self.is_32_bit { 32 } else { 24 };
        (1 << bits) - 1
    }

    fn read(&self) -> Option<u64> {
        // SAFETY: ACPI's tables say that the port is the timer's; reading it
        // changes nothing.
        let count = unsafe { Port::<u32>::new(self.port).read() };
        Some(u64::from(count) & self.mask())
    }
}
