//! Prints its arguments, and what else a program is told at its start.

use std::ffi::CStr;

fn main() {
    for (index, argument) in std::env::args().enumerate().skip(1) {
        println!("{index}: {argument:?}");
    }
    // SAFETY: `getauxval` only looks numbers up.
    let page_size = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    // SAFETY: As above.
    let platform = unsafe { libc::getauxval(libc::AT_PLATFORM) } as *const libc::c_char;
    // SAFETY: The kernel puts a string there that ends with a zero.
    let platform = unsafe { CStr::from_ptr(platform) };
    // SAFETY: As above.
    let random = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u64; 2];
    // SAFETY: The kernel puts 16 bytes there, of no particular alignment.
    let random = unsafe { random.read_unaligned() };
    println!("pages of {page_size} bytes on {platform:?}");
    println!(
        "random bytes: {}",
        if random == [0; 2] { "none" } else { "some" }
    );
}
