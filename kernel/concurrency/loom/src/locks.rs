//! The lock of a node.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::sync::byte_lock::ByteLock;

/// What a lock protects.
#[derive(Debug)]
struct Node {
    lock: ByteLock,
    entries: UnsafeCell<()>,
}

impl Node {
    fn try_change(&self) {
        if self.lock.try_take() {
            self.entries.with_mut(|_| ());
            self.lock.release();
        }
    }
}

/// Two hold the lock in turn, as far as they find it free. They do not wait, since
/// the waiting has executions without end.
pub(crate) fn two_hold() {
    let node = Arc::new(Node {
        lock: ByteLock::new(false),
        entries: UnsafeCell::new(()),
    });
    assert!(!node.lock.is_held());
    let other = Arc::clone(&node);
    let other = thread::spawn(move || {
        other.try_change();
        other.try_change();
    });
    node.try_change();
    node.try_change();
    other.join().expect("it does not panic");
}
