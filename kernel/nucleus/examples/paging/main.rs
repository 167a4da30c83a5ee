//! The memory core's benchmarks on a host, and the same operations on other
//! crates' page tables.
//!
//! Called by `cargo xtask bench` under callgrind, with the name of one benchmark:
//! what runs in [`measured`] is counted. Without a name, lists them. With `--figures`,
//! prints those figures that are no counts of instructions, and whose names pass
//! a second argument.

use nucleus::arch::sim::{Config, Machine};
use nucleus::bench::{Meter, NoMeter, ROWS};

mod peers;
mod scaling;
mod shootdown;

/// The function that callgrind counts in. The black box keeps the compiler from
/// making it one with the meter that warms up, which does the same.
#[inline(never)]
fn measured(body: &mut dyn FnMut()) {
    std::hint::black_box(body)();
}

struct Callgrind;

impl Meter for Callgrind {
    fn measure(&mut self, body: &mut dyn FnMut()) {
        measured(body);
    }
}

/// Prints what is counted or compared, of the figures whose names contain one of the
/// parts of `filter`, between which `|` stands.
fn figures(filter: &str) {
    let show = |name: &str, unit: &str, measure: &dyn Fn() -> String| {
        if filter.split('|').any(|part| name.contains(part)) {
            println!("figure {name} {} {unit}", measure());
        }
    };
    shootdown::run(&show);
    scaling::run(&show);
}

/// Measures a figure, if it is wanted, and prints it: its name, its unit, and what
/// returns its value.
type Show<'a> = &'a dyn Fn(&str, &str, &dyn Fn() -> String);

fn main() {
    let rows = || ROWS.iter().chain(peers::ROWS);
    let Some(name) = std::env::args().nth(1).filter(|name| name != "--bench") else {
        rows().for_each(|row| println!("{} {}", row.name, row.operations));
        return;
    };
    if name == "--figures" {
        return figures(&std::env::args().nth(2).unwrap_or_default());
    }
    let Some(row) = rows().find(|row| row.name == name) else {
        eprintln!("there is no benchmark `{name}`");
        std::process::exit(2);
    };
    let machine = Machine::new(Config {
        ram: 64 << 20,
        cpus: 1,
        checked: false,
        identifiers: true,
        ..Config::default()
    });
    machine.on(0, || {
        (row.run)(&mut NoMeter);
        (row.run)(&mut Callgrind);
    });
}
