//! The matrix of machines: old and new processors, little and much memory, devices
//! that are missing. On each of them the kernel that is shipped boots, and a program
//! tries what depends on the machine.
//!
//! * [`row`]: what a row is, and what counts as success.
//! * [`rows`]: the machines.
//! * `boot`: booting them, two at a time.
//! * `odd`: machines whose success takes more than the kernel's word.
//!
//! `cargo xtask test` boots them as a part of the ring of the kernel, by the names
//! `machine=NAME`; `cargo xtask matrix` boots them one after the other, so that times
//! mean something, and prints a table.

mod boot;
mod odd;
pub(crate) mod row;
pub(crate) mod rows;

use std::time::Duration;

use anyhow::Result;

use crate::flags::{self, MatrixOptions, TestOptions};
use crate::test::{Outcome, Verdict};
use boot::Tried;

/// What names of rows begin with among those of tests.
const PREFIX: &str = "machine=";

/// Boots in the ring of tests at the same time.
const JOBS_OF_THE_RING: usize = 2;

/// Returns whether a filter asks for rows of the matrix and for nothing else.
pub(crate) fn is_all_that_is_wanted(options: &TestOptions) -> bool {
    let filter = options.filter.as_deref().unwrap_or_default();
    filter.split('|').all(|part| part.starts_with(PREFIX))
}

/// The part of the ring of tests. A machine that the user chooses is none of these.
pub(crate) fn outcomes(options: &TestOptions) -> Result<Vec<Outcome>> {
    if options.machine.is_chosen() || options.stress.is_some() {
        return Ok(Vec::new());
    }
    let is_wanted = |name: &str| options.selects(&format!("{PREFIX}{name}"));
    let tried = boot::try_all(is_wanted, JOBS_OF_THE_RING)?;
    let outcome = |tried: Tried| {
        let name = format!("{PREFIX}{}", tried.row.name);
        Outcome::new("kernel", &name, tried.verdict).on("matrix")
    };
    let mut outcomes: Vec<_> = tried.into_iter().map(outcome).collect();
    outcomes.extend(odd::outcomes(is_wanted)?);
    Ok(outcomes)
}

/// The command: a table.
pub(crate) fn run(options: &MatrixOptions) -> Result<u8> {
    let is_wanted = |name: &str| flags::selects(options.filter.as_deref(), name);
    let tried = boot::try_all(is_wanted, options.jobs)?;
    print!("{}", table(&tried));
    let failed: Vec<_> = tried
        .iter()
        .filter_map(|tried| match &tried.verdict {
            Verdict::Failed(reason) => Some((tried.row.name, reason)),
            Verdict::Passed | Verdict::Skipped(_) => None,
        })
        .collect();
    for (name, reason) in &failed {
        println!("\nFAILED  {name}");
        reason.lines().for_each(|line| println!("    {line}"));
    }
    Ok(u8::from(!failed.is_empty() || tried.is_empty()))
}

/// Draws the table, in Markdown.
fn table(tried: &[Tried]) -> String {
    let mut text = "| machine | emulator | result | s to the first line | s to the program |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    for tried in tried {
        let result = match &tried.verdict {
            Verdict::Passed => tried.row.success(),
            Verdict::Failed(_) => "**fails**".to_owned(),
            Verdict::Skipped(reason) => format!("not tried: {reason}"),
        };
        text += &format!(
            "| {} | {} | {result} | {} | {} |\n",
            tried.row.name,
            tried.row.machine().label(),
            seconds(tried.started),
            seconds(tried.program_started),
        );
    }
    text
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| format!("{:.1}", time.as_secs_f32()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::boot::Tried;
    use super::row::{QEMU, Row, UEFI};
    use super::table;
    use crate::test::Verdict;

    #[test]
    fn table_has_a_line_for_each_machine() {
        const ROW: Row = Row {
            name: "old",
            smp: 2,
            ..UEFI
        };
        let tried = [
            Tried {
                row: &ROW,
                verdict: Verdict::Passed,
                started: Some(Duration::from_millis(2_140)),
                program_started: Some(Duration::from_millis(2_560)),
            },
            Tried {
                row: &QEMU,
                verdict: Verdict::Skipped("no such machine".to_owned()),
                started: None,
                program_started: None,
            },
        ];
        let text = table(&tried);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "| old | qemu, uefi, 2 cpus | works | 2.1 | 2.6 |");
        assert_eq!(lines[1], "|  | qemu | not tried: no such machine |  |  |");
    }
}
