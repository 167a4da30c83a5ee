//! The queue of flushes.

use std::cell::Cell;

use loom::sync::Arc;
use loom::thread;

use crate::mm::queue::FlushQueue;
use crate::mm::request;
use crate::mm::work::{Page, cache};

thread_local! {
    /// Interrupts that were asked for. All threads of `loom` are one of the host's.
    static INTERRUPTS: Cell<u32> = const { Cell::new(0) };
}

/// Asks for the flush of the page; returns whether it is done, now or at the second
/// glance.
fn ask(queue: &FlushQueue) -> bool {
    let is_interrupted = request(queue);
    INTERRUPTS.with(|interrupts| interrupts.set(interrupts.get() + u32::from(is_interrupted)));
    let wanted = queue.requested();
    let is_done = || queue.done() >= wanted;
    is_done() || is_done()
}

fn check(askers: usize) {
    let page = Page::default();
    INTERRUPTS.set(0);
    cache(Some(Page::clone(&page)));
    let queue = Arc::new(FlushQueue::new());
    assert_eq!((queue.requested(), queue.done()), (0, 0));
    let others: Vec<_> = (1..askers)
        .map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || ask(&queue))
        })
        .collect();
    let server = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            queue.serve_if_due();
            queue.serve_if_due();
            queue.done()
        })
    };
    if ask(&queue) {
        // Nobody has the page any more, and somebody else gets it.
        page.with_mut(|_| ());
    }
    let is_all_served = server.join().expect("it does not panic");
    for other in others {
        other.join().expect("it does not panic");
    }
    // What was not served then was not overlooked, either.
    let is_left = is_all_served < queue.requested();
    let served = queue.interrupts();
    assert_eq!(u64::from(INTERRUPTS.get()), served);
    assert!(!is_left || served > 0, "nobody will serve what is left");
    cache(None);
}

/// One asks, another flushes.
pub(crate) fn ask_and_wait() {
    check(1);
}

/// Two ask for the same.
pub(crate) fn two_ask() {
    check(2);
}
