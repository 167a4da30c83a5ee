//! The users of a table (peer 69).

use loom::sync::Arc;
use loom::thread;

use crate::cpu::{AtomicCpuSet, CpuId, CpuSet};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// An entry of a table, and the table's users.
#[derive(Debug)]
struct Table {
    entry: AtomicUsize,
    users: AtomicCpuSet,
}

impl Table {
    fn new() -> Arc<Self> {
        let table = Self {
            entry: AtomicUsize::new(1),
            users: AtomicCpuSet::new(CpuSet::new_empty()),
        };
        assert_eq!(table.entry.load(Ordering::Relaxed), 1);
        assert!(table.users.load().is_empty());
        Arc::new(table)
    }

    /// Joins the users and walks the table; returns what the entry says.
    fn join_and_walk(&self, cpu: u32) -> usize {
        self.users.add(CpuId::new(cpu));
        // As the walker of the hardware, and `Node::read_unlocked`.
        self.entry.load(Ordering::Acquire)
    }

    /// Makes the entry absent and reads the users, as a flusher does.
    fn change(&self) -> CpuSet {
        // As `PageTableEntryTrait::swap`.
        self.entry.swap(0, Ordering::AcqRel);
        self.users.load()
    }
}

fn check(walkers: u32) {
    let table = Table::new();
    let walkers: Vec<_> = (0..walkers)
        .map(|cpu| {
            let table = Arc::clone(&table);
            (cpu, thread::spawn(move || table.join_and_walk(cpu)))
        })
        .collect();
    let seen = table.change();
    for (cpu, walker) in walkers {
        let found = walker.join().expect("it does not panic");
        let is_user = seen.contains(CpuId::new(cpu));
        assert!(
            found == 0 || is_user,
            "it has what nobody tells it to flush"
        );
    }
}

/// One joins while the table changes.
pub(crate) fn join_and_change() {
    check(1);
}

/// Two join while the table changes.
pub(crate) fn two_join() {
    check(2);
}
