//! Operation scripts: a real page table beside its specification.

use std::mem::ManuallyDrop;

use model::{Intent, Op};
use nucleus::arch::sim::Config;
use nucleus::mm::frame::frame_counts;
use nucleus::planted::Bug;
use verify::pair::{NR_PROPERTIES, Pair};

use super::Target;
use crate::input::Bytes;
use crate::machine::{self, Kept};

pub(super) const TARGET: Target = Target {
    name: "scripts",
    claim: "the page table does what its specification allows, whatever the script",
    run,
    max_len: 256,
    inputs: 20_000,
    bugs: &[
        (Bug::WrongChildCount, "finds: a child that stays counted"),
        (Bug::WindowTooLong, "finds: a window one page too long"),
        (
            Bug::SplitOutOfOrder,
            "finds: a huge page split out of order",
        ),
        (
            Bug::UncountedReference,
            "finds: a reference that is not counted",
        ),
    ],
};

/// Entries of a node: 64 pages in all.
const ENTRIES: usize = 4;
/// Bound of pages and lengths: a little more than there are.
const PAGES: usize = ENTRIES.pow(3) + 4;

thread_local! {
    static MACHINE: Kept = const { Kept::new(None) };
}

fn run(input: &[u8]) {
    let config = Config {
        ram: 4 << 20,
        cpus: 1,
        checked: false,
        identifiers: true,
        ..Config::default()
    };
    let script = decode(input);
    machine::with(&MACHINE, config, |machine| {
        machine.on(0, || {
            let free = frame_counts().free;
            // Once the two disagree, dropping the table could do anything.
            let mut pair = ManuallyDrop::new(Pair::<ENTRIES>::empty());
            if let Err((step, why)) = pair.run(&script) {
                let done = model::script::print(&script[..=step]);
                panic!("`{}`: {why}\nthe script was:\n{done}", script[step]);
            }
            drop(ManuallyDrop::into_inner(pair));
            assert_eq!(frame_counts().free, free, "frames did not come back");
        });
    });
}

/// Reads a script, which every byte string is.
fn decode(input: &[u8]) -> Vec<Op> {
    let mut input = Bytes(input);
    let mut script = Vec::new();
    while let Some(first) = input.next() {
        let mut pages = || input.below(PAGES);
        let op = match first % 16 {
            kind @ 0..3 => {
                let start = pages();
                // Every other range is given by its length, which makes it legal.
                let end = match first & 16 {
                    0 => pages(),
                    _ => (start + 1 + pages()).min(64),
                };
                let intent = match kind {
                    0 => Intent::Read,
                    _ => Intent::Change,
                };
                Op::Open(intent, start..end)
            }
            3 => Op::Close,
            4 => Op::Query,
            5 => Op::Find(pages()),
            6 | 7 => Op::Jump(pages()),
            8 => Op::Map(1, property(&mut input)),
            9 => Op::Map(2, property(&mut input)),
            10 | 11 => Op::Take(pages()),
            12 => Op::Protect(pages(), property(&mut input)),
            13 => Op::ProtectAll(pages(), property(&mut input)),
            14 => Op::Split(pages()),
            15 if first & 0x80 != 0 => Op::Copy(pages(), property(&mut input)),
            _ => Op::Remember(1 + first / 16 % 3),
        };
        script.push(op);
    }
    script
}

fn property(input: &mut Bytes<'_>) -> u8 {
    input.byte() % NR_PROPERTIES
}
