//! Functions of ours in the firmware's table of boot services.
//!
//! The table is the firmware's, but anybody may replace its entries as long as the
//! checksum in its header is right (UEFI 2.10, 4.2). Everything in it runs on one
//! processor, and our image stays in memory for as long as an image that it started
//! runs.

use core::ffi::c_void;
use core::ptr::NonNull;

use uefi::table::system_table_raw;
use uefi_raw::table::boot::BootServices;

/// Changes entries of the table, and its checksum with them.
///
/// # Panics
///
/// Panics when the firmware passed no table.
///
/// # Safety
///
/// 1. What is written in an entry does what the specification says of the service.
/// 2. It stays in memory until the entry is changed back, or the firmware's services
///    have ended.
pub(crate) unsafe fn change(change: impl FnOnce(&mut BootServices)) {
    let table = services();
    // SAFETY: The table is the firmware's, and nobody else runs.
    change(unsafe { &mut *table.as_ptr() });
    // SAFETY: As above.
    let services = unsafe { &mut *table.as_ptr() };
    services.header.crc = 0;
    let (len, checksum_of) = (services.header.size as usize, services.calculate_crc32);
    let mut crc = 0;
    // SAFETY: The header says how long the table is, and the sum is a local one.
    let status = unsafe { checksum_of(table.as_ptr().cast::<c_void>(), len, &raw mut crc) };
    if status.is_success() {
        services.header.crc = crc;
    }
}

/// Returns the table.
///
/// # Panics
///
/// Panics when the firmware passed none.
pub(crate) fn services() -> NonNull<BootServices> {
    let table = system_table_raw().expect("firmware passes a system table");
    // SAFETY: The system table is there for as long as firmware's services are.
    let services = unsafe { (*table.as_ptr()).boot_services };
    NonNull::new(services).expect("firmware passes a table of boot services")
}
