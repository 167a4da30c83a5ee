//! The tests of the kernel as they run on a machine of one's own: without a serial port,
//! watched on the screen, and answered by the keyboard.
//!
//! The tests are those that end badly on purpose, of which one sleeps until its time is
//! over: while it does, the progress can be looked at.

use super::expect;
use crate::screen::glyphs::ScreenText;
use crate::screen::keys::Chord;
use crate::screen::session::{Seen, Step};

/// Two tests that pass, three that fail, one that is skipped.
pub(super) const CMDLINE: &str = "ktest=deliberate::passes|deliberate::panics|\
    deliberate::does_not_panic|deliberate::times_out_asleep|deliberate::skips \
    ktest.timeout=6 ktest.wait";
const SLEEPER: &str = "nucleus::ktest::deliberate::times_out_asleep";
const SUMMARY: &str = "2 passed, 3 failed, 1 skipped";
const MENU: &str = "r: restart   p: power off";

pub(super) fn steps() -> Vec<Step> {
    let press = |key: &str| Step::Press(vec![Chord(vec![key.to_owned()])]);
    vec![
        Step::until_screen(&["of 6", "failed", "skipped", SLEEPER]),
        Step::KeepSeen,
        Step::until_screen(&[SUMMARY, "Press a key"]),
        Step::Keep,
        press("spc"),
        Step::until_screen(&["failures 1 to 3 of 3", MENU]),
        Step::Keep,
        press("s"),
        Step::until_screen(&[SUMMARY, MENU]),
        // Once more, from the start.
        press("a"),
        Step::until_screen(&["of 6", "failed", SLEEPER]),
        Step::until_screen(&[SUMMARY, "Press a key"]),
        press("spc"),
        Step::until_screen(&[MENU]),
        press("p"),
        Step::UntilOff,
    ]
}

pub(super) fn judge(seen: &Seen) -> Result<(), String> {
    if !seen.lines.is_empty() {
        return Err(format!("there was a serial port: {:?}", seen.lines));
    }
    let screens: Vec<_> = seen.pictures.iter().map(ScreenText::read).collect();
    let [progress, summary, failures] = &screens[..] else {
        return Err(format!("{} pictures were kept", screens.len()));
    };
    // The row that stays is the last one.
    let last = progress.rows.last().map_or("", String::as_str);
    if !last.contains(SLEEPER) || !last.contains("skipped") {
        return Err(format!("no progress below:\n{}", progress.text()));
    }
    expect(
        summary,
        &["processors  ", "memory ", "firmware    BIOS", "time "],
    )?;
    expect(
        failures,
        &[
            "deliberate::panics",
            "panicked: on purpose",
            "at kernel/nucleus/src/ktest/deliberate.rs:",
            "did not panic as it should",
            "timed out",
        ],
    )
}
