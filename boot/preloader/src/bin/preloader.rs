//! The pre-loader: `efi/boot/bootx64.efi`, which starts the loader.

#![no_std]
#![no_main]

use preloader::{chain, levels, screen};
use uefi::{CStr16, Status, cstr16, entry};

/// Where the loader is on the medium.
const LOADER: &CStr16 = cstr16!(r"\efi\boot\vostok.efi");

/// Makes the machine even and starts the loader, which does not return unless it
/// cannot be started.
#[entry]
fn main() -> Status {
    if levels::are_five()
        && let Err(error) = levels::leave_with_boot_services()
    {
        return chain::give_up("no memory to leave 5-level paging", error.status());
    }
    screen::choose();
    let result = chain::start(LOADER);
    levels::stay();
    screen::show_all();
    match result {
        Ok(()) => chain::give_up("the loader returned", Status::ABORTED),
        Err(error) => chain::give_up(r"\efi\boot\vostok.efi", error.status()),
    }
}
