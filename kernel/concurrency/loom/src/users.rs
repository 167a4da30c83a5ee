//! The users of a table (peer 69): their set by itself, and with the generation.

use loom::sync::Arc;
use loom::thread;

use crate::cpu::{AtomicCpuSet, CpuId, CpuSet};
use crate::mm::{TableUsers, changed, users_of_a_table};
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

/// An entry of a table, which processors may have cached under the table's
/// identifier, and the table's users.
#[derive(Debug)]
struct TaggedTable {
    entry: AtomicUsize,
    users: TableUsers,
}

/// The generation of which processors have the entry cached.
const CACHED: u64 = 1;

impl TaggedTable {
    fn new() -> Arc<Self> {
        let table = Self {
            entry: AtomicUsize::new(1),
            users: users_of_a_table(),
        };
        assert_eq!(table.entry.load(Ordering::Relaxed), 1);
        assert_eq!(table.users.join(CpuId::new(2)), CACHED);
        table.users.leave(CpuId::new(2));
        Arc::new(table)
    }

    /// Uses the entry as cached, if that is good, or else walks the table.
    fn use_entry(&self, generation: u64) -> usize {
        if generation == CACHED {
            return 1;
        }
        // As the walker of the hardware, and `Node::read_unlocked`.
        self.entry.load(Ordering::Acquire)
    }
}

/// Processors begin to use a table while its entry is made absent; `begin` returns the
/// generation that they find.
fn check_tagged(processors: u32, begin: fn(&TableUsers, CpuId) -> u64) {
    let table = TaggedTable::new();
    let processors: Vec<_> = (0..processors)
        .map(|cpu| {
            let table = Arc::clone(&table);
            let run = move || table.use_entry(begin(&table.users, CpuId::new(cpu)));
            (cpu, thread::spawn(run))
        })
        .collect();
    // As `PageTableEntryTrait::swap`.
    table.entry.swap(0, Ordering::AcqRel);
    let asked = changed(&table.users, false);
    for (cpu, processor) in processors {
        let found = processor.join().expect("it does not panic");
        assert!(
            found == 0 || asked.contains(CpuId::new(cpu)),
            "it uses what nobody tells it to flush"
        );
    }
}

/// One loads the table while it changes.
pub(crate) fn load_and_change() {
    check_tagged(1, TableUsers::join);
}

/// Two load the table while it changes.
pub(crate) fn two_load() {
    check_tagged(2, TableUsers::join);
}

/// One that is lazy uses the table again while it changes.
pub(crate) fn resume_and_change() {
    check_tagged(1, TableUsers::resume);
}

/// Two change the table, and one loads it: it has seen each change that it is not
/// asked to flush.
pub(crate) fn load_and_two_change() {
    let table = TaggedTable::new();
    let other = Arc::new(AtomicUsize::new(1));
    assert_eq!(other.load(Ordering::Relaxed), 1);
    let changer = {
        let (table, other) = (Arc::clone(&table), Arc::clone(&other));
        thread::spawn(move || {
            other.swap(0, Ordering::AcqRel);
            changed(&table.users, false)
        })
    };
    let processor = {
        let (table, other) = (Arc::clone(&table), Arc::clone(&other));
        thread::spawn(move || {
            let generation = table.users.join(CpuId::new(0));
            let is_cached = generation == CACHED;
            let walk = |entry: &AtomicUsize| is_cached || entry.load(Ordering::Acquire) == 1;
            (walk(&table.entry), walk(&other))
        })
    };
    table.entry.swap(0, Ordering::AcqRel);
    let asked = changed(&table.users, false);
    let asked_by_other = changer.join().expect("it does not panic");
    let (first, second) = processor.join().expect("it does not panic");
    assert!(!first || asked.contains(CpuId::new(0)));
    assert!(!second || asked_by_other.contains(CpuId::new(0)));
}
