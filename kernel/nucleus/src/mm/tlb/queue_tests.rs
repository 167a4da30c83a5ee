//! Does a handler stay away from the queue that its processor holds? The simulated
//! machine shows when interrupts arrive.

use crate::arch::cpu;
use crate::arch::sim::{Config, Machine};
use crate::cpu::CpuId;
use crate::irq;
use crate::mm::tlb::ops::Ops;
use crate::mm::tlb::work::Work;

#[test]
fn peer_065_handler_does_not_interrupt_the_holder_of_its_queue() {
    let machine = Machine::new(Config {
        cpus: 2,
        ..Config::default()
    });
    machine.on(1, || {
        let queue = &cpu::local().flushes;
        let mut ops = Ops::new();
        ops.push((0x1000, 1));
        assert!(queue.request(&Work::new_for(None, &ops)));
        machine.on(0, || cpu::interrupt_to_flush(CpuId::new(1)));
        let held = queue.work.lock();
        assert!(!irq::is_enabled(), "else the handler would spin for ever");
        // Interrupts that are due arrive when a guard goes, but not yet.
        drop(irq::disable_local());
        assert_eq!(queue.done(), 0);
        drop(held);
        assert_eq!((queue.requested(), queue.done()), (1, 1));
    });
}
