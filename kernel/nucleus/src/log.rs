//! The log: the `log` crate's messages, on the console, with time stamps.
//!
//! ```text
//! [    0.012345] INFO  nucleus::boot::start: 125 MiB of 128 MiB free
//! ```
//!
//! May be used in any context, interrupt handlers included.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::console::{self, Color};
use crate::time;

struct ConsoleLog;

static LOG: ConsoleLog = ConsoleLog;

/// Starts the log; messages of `level` and above are shown.
pub(crate) fn init(level: LevelFilter) {
    // A second logger is refused, and the first one is this one.
    let _ = log::set_logger(&LOG);
    log::set_max_level(level);
}

impl Log for ConsoleLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let color = match record.level() {
            Level::Error => Color::ERROR,
            Level::Warn => Color::WARNING,
            Level::Info => Color::TEXT,
            Level::Debug | Level::Trace => Color::FAINT,
        };
        let now = time::uptime();
        console::write_colored(
            color,
            format_args!(
                "[{:5}.{:06}] {:5} {}: {}\n",
                now.as_secs(),
                now.subsec_micros(),
                record.level(),
                record.target(),
                record.args()
            ),
        );
    }

    fn flush(&self) {}
}
