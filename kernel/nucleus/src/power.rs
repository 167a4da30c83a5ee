//! Ending the machine.
//!
//! Under QEMU a device made for this takes a code at a port and ends the
//! emulator with it; the command-line option `debug-exit` says that it is
//! there. Everything else is powered off by ACPI; after a panic it stands still, so that the
//! report can be read. Then, and where powering off fails, the console says that the machine
//! may be switched off.
//!
//! **Restart.** No way to restart a machine works on all of them, so they are tried in
//! turn, as [`ResetWay`] lists them, and the console says which. The command-line option
//! `reset=WAY` tries that one first.
//!
//! Before either, all other processors are stopped, and the console is
//! taken from whoever holds it: nothing else runs any more. Nothing has to be written
//! back, since all files are in memory.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use core::time::Duration;

use crate::arch::x86_64::timer::wait_at_most;
use crate::arch::x86_64::{irq, power, serial};
use crate::boot::cmdline::ResetWay;
use crate::console::{self, Color};
pub use crate::exit_code::ExitCode;
use crate::stop;

/// Time for a machine to restart, or to power off, before that has failed: an emulator
/// does it when its host has time.
const PATIENCE: Duration = Duration::from_secs(3);

static DEBUG_EXIT: AtomicBool = AtomicBool::new(false);
/// The way to restart that is tried first, by its place in the list.
static FIRST_WAY: AtomicU8 = AtomicU8::new(0);
/// Whether Ctrl, Alt and Delete restart at once.
static KEYS_RESTART: AtomicBool = AtomicBool::new(true);
/// They were pressed, and do not.
static KEYS_WERE_PRESSED: AtomicBool = AtomicBool::new(false);

/// Says what the command line has: whether QEMU's debug-exit device is there, and how to
/// restart.
pub(crate) fn configure(has_debug_exit: bool, first: ResetWay) {
    // Relaxed: words that stand alone, written at start-up by the only processor.
    DEBUG_EXIT.store(has_debug_exit, Ordering::Relaxed);
    FIRST_WAY.store(first as u8, Ordering::Relaxed);
}

/// Ends the machine with a code. Callable in any context.
///
/// Without QEMU's device the machine is powered off, but stands still after a panic.
pub fn exit(code: ExitCode) -> ! {
    irq::disable();
    console::show_rest();
    serial::drain();
    // Relaxed: as it is written.
    if DEBUG_EXIT.load(Ordering::Relaxed) {
        power::debug_exit(code as u32);
    }
    match code {
        ExitCode::Success | ExitCode::Failure => power_off(),
        // The report is to be read, on a screen perhaps.
        ExitCode::Panic | ExitCode::DoubleFault => halt(),
    }
}

/// Powers the machine off, or halts it if there is no way. Callable in any context.
pub fn power_off() -> ! {
    take_over();
    power::acpi_power_off();
    wait();
    say(format_args!("it does not power itself off"));
    finish()
}

/// Stops the machine with its power on. Callable in any context.
pub fn halt() -> ! {
    take_over();
    finish()
}

/// Resets the machine, or halts it if there is no way. Callable in any context.
pub fn restart() -> ! {
    take_over();
    // Relaxed: as it is written.
    let first = FIRST_WAY.load(Ordering::Relaxed);
    let is_first = |way: &ResetWay| *way as u8 == first;
    let ways = || ResetWay::ALL.into_iter();
    for way in ways()
        .filter(is_first)
        .chain(ways().filter(|way| !is_first(way)))
    {
        if power::has_way(way) {
            say(format_args!("restart: by {way}"));
            serial::drain();
            power::reset(way);
            wait();
        }
    }
    say(format_args!("it does not restart"));
    finish()
}

/// Sets whether Ctrl, Alt and Delete restart at once. If not, they are noted for
/// [`take_restart_keys`].
pub fn set_keys_restart(do_restart: bool) {
    // Relaxed, here and below: flags that stand alone.
    KEYS_RESTART.store(do_restart, Ordering::Relaxed);
}

/// Returns whether Ctrl, Alt and Delete were pressed while they did not restart, and
/// forgets it. Who waits in [`console::input_queue`] is woken by them.
pub fn take_restart_keys() -> bool {
    KEYS_WERE_PRESSED.swap(false, Ordering::Relaxed)
}

/// Does what Ctrl, Alt and Delete do.
pub(crate) fn on_restart_keys() {
    if KEYS_RESTART.load(Ordering::Relaxed) {
        restart();
    }
    KEYS_WERE_PRESSED.store(true, Ordering::Relaxed);
    console::input_queue().wake_all();
}

/// Leaves this processor as the only one, with the console.
fn take_over() {
    stop::take_over();
    let was_taken = console::is_locked();
    // SAFETY: The other processors have stopped, and this one does not return to what it
    // was doing.
    unsafe { console::force_unlock_for_panic() };
    if was_taken {
        console::recover_screen();
    }
}

fn say(what: core::fmt::Arguments<'_>) {
    console::write_colored(Color::WARNING, format_args!("vostok: {what}\n"));
}

/// Says that the machine may be switched off, and halts.
fn finish() -> ! {
    say(format_args!(
        "the machine has stopped: you may switch it off now"
    ));
    serial::drain();
    power::halt()
}

/// Gives the machine time to end.
fn wait() {
    let _ = wait_at_most(PATIENCE, || false);
}
