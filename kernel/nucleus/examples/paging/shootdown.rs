//! What an unmap asks of other processors: interrupts, and memory held back. Counted
//! on the simulated machine, where nothing depends on time.

use std::sync::Arc;

use nucleus::arch::sim::{Config, Machine};
use nucleus::cpu::{CpuId, disable_preempt};
use nucleus::mm::tlb::{flush_interrupts, held_back};
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, VmSpace};

use super::Show;
use super::scaling::{map, new_space};

const BASE: usize = 1 << 39;
/// Pages of an unmap: a table full.
const PAGES: usize = 512;
/// Unmaps of the storm, of which each takes out a table full of pages.
const STORM: usize = 64;
const LEGAL: &str = "the range is legal";

fn machine(cpus: usize) -> Machine {
    Machine::new(Config {
        ram: 64 << 20,
        cpus,
        ..Config::default()
    })
}

/// Maps pages and unmaps them, by one cursor.
fn unmap(space: &VmSpace, pages: usize) {
    for page in 0..pages {
        let frame = FrameAllocOptions::new()
            .alloc_frame()
            .expect("enough memory");
        map(space, BASE + page * PAGE_SIZE, frame.into());
    }
    let guard = disable_preempt();
    let range = BASE..BASE + pages * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect(LEGAL);
    cursor.unmap(range.len()).expect("enough memory");
}

/// Shows all figures.
pub(crate) fn run(show: Show<'_>) {
    for active in [1, 2, 4, 8] {
        for pages in [1, PAGES] {
            let name = format!("interrupts/unmap-{pages}/active-on-{active}");
            show(&name, "interrupts", &|| {
                interrupts(active, pages).to_string()
            });
        }
    }
    let name = "held-back/unmap-storm/2-processors";
    show(name, "bytes", &|| storm().to_string());
}

/// Returns how many interrupts an unmap sends, of a space that is active on some
/// of eight processors.
fn interrupts(active: usize, pages: usize) -> u64 {
    let machine = machine(8);
    let space = machine.on(0, new_space);
    for cpu in 0..active {
        machine.on(cpu, || space.activate());
    }
    let sent = || {
        (0..8)
            .map(|cpu| flush_interrupts(CpuId::new(cpu)))
            .sum::<u64>()
    };
    let count = machine.on(0, || {
        let before = sent();
        unmap(&space, pages);
        sent() - before
    });
    for cpu in 0..active {
        machine.on(cpu, VmSpace::deactivate_current);
    }
    machine.on(0, || drop(space));
    count
}

/// Has one processor unmap without a pause while another one, which uses the space,
/// takes no interrupt but when it is waited for. Returns the bytes that waited at the
/// worst moment.
fn storm() -> usize {
    let machine = machine(2);
    let space: Arc<VmSpace> = machine.on(0, new_space);
    machine.on(1, || space.activate());
    let worst = machine.on(0, || {
        (0..STORM).for_each(|_| unmap(&space, PAGES));
        held_back().1
    });
    machine.on(1, VmSpace::deactivate_current);
    machine.on(0, || drop(space));
    worst
}
