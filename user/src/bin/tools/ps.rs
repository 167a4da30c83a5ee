//! `ps`: the processes that there are.

use std::ffi::OsString;

use crate::{basics, proc};

pub(crate) fn run(_: &[OsString]) -> u8 {
    let processes = match proc::processes() {
        Ok(processes) => processes,
        Err(error) => {
            eprintln!("ps: /proc: {error}");
            return 1;
        }
    };
    let mut text = format!(
        "{:>6} {:>6} S {:>3} {:>9} {:>9} COMMAND\n",
        "PID", "PPID", "THR", "SIZE", "RESIDENT"
    );
    for process in &processes {
        text.push_str(&format!(
            "{:>6} {:>6} {:1} {:>3} {:>7} K {:>7} K {}\n",
            process.pid,
            process.parent,
            process.state,
            process.threads,
            process.size_kib,
            process.resident_kib,
            proc::command_line(process)
        ));
    }
    basics::print("ps", &text)
}
