//! Odd firmware for tests: `efi/boot/bootx64.efi` of a test's medium.

#![no_std]
#![no_main]

use preloader::chain;
use preloader::oddities::{self, Oddities};
use uefi::{CStr16, Status, cstr16, entry};

/// What is odd: see [`Oddities::parse`].
const OPTIONS: &CStr16 = cstr16!(r"\efi\boot\odd.txt");
const PRELOADER: &CStr16 = cstr16!(r"\efi\boot\preload.efi");
const LOADER: &CStr16 = cstr16!(r"\efi\boot\vostok.efi");

#[entry]
fn main() -> Status {
    let mut buffer = [0; 512];
    let text = match oddities::read_file(OPTIONS, &mut buffer) {
        Ok(text) => text,
        Err(error) => return chain::give_up("odd.txt", error.status()),
    };
    let odd = match Oddities::parse(text) {
        Ok(odd) => odd,
        Err(word) => return chain::give_up(word, Status::INVALID_PARAMETER),
    };
    if let Err(error) = odd.apply() {
        return chain::give_up("firmware cannot be made odd", error.status());
    }
    let next = if odd.no_preloader { LOADER } else { PRELOADER };
    match chain::start(next) {
        Ok(()) => Status::ABORTED,
        Err(error) => chain::give_up("what comes after odd firmware", error.status()),
    }
}
