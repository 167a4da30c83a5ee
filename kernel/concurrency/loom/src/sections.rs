//! Read sections.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::section::Section;

/// An entry that leads to a node, and the reader's sections.
#[derive(Debug)]
struct Table {
    entry: AtomicUsize,
    /// Used shared by who looks at it, exclusively by who frees it.
    node: UnsafeCell<()>,
    section: Section,
}

impl Table {
    /// Looks at the node, if the entry leads to it.
    fn look(&self) {
        let began = self.section.begin();
        if self.entry.load(Ordering::Acquire) == 1 {
            self.node.with(|_| ());
        }
        if began {
            self.section.end();
        }
    }

    /// Takes the node out, and frees it if nobody can look at it any more, now or
    /// at the second glance.
    fn free(&self) {
        self.entry.swap(0, Ordering::AcqRel);
        let observed = self.section.observe();
        let is_over = || observed.is_none_or(|number| self.section.is_over(number));
        if is_over() || is_over() {
            self.node.with_mut(|_| ());
        }
    }
}

fn check(look: fn(&Table)) {
    let table = Arc::new(Table {
        entry: AtomicUsize::new(1),
        node: UnsafeCell::new(()),
        section: Section::new(),
    });
    assert_eq!(table.entry.load(Ordering::Relaxed), 1);
    assert!(!table.section.is_open());
    let reader = Arc::clone(&table);
    let reader = thread::spawn(move || look(&reader));
    table.free();
    reader.join().expect("it does not panic");
}

/// One looks while another frees.
pub(crate) fn look_and_free() {
    check(Table::look);
}

/// One looks in a section within another, and again in the outer one.
///
/// There is no second section here: `loom` may order the plain store that ends the
/// first before a read-modify-write that has read what was there before it, which
/// the memory model forbids.
pub(crate) fn look_within() {
    check(|table| {
        assert!(table.section.begin(), "no section was open");
        table.look();
        table.look();
        table.section.end();
    });
}
