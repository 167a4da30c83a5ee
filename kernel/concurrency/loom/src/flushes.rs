//! The queue of flushes.

use loom::sync::Arc;
use loom::thread;

use crate::mm::ops::{Page, cache};
use crate::mm::queue::FlushQueue;
use crate::mm::request;

/// Asks for the flush of the page; returns whether it is done, now or at the second
/// glance.
fn ask(queue: &FlushQueue) -> bool {
    request(queue);
    let wanted = queue.requested();
    let is_done = || queue.done() >= wanted;
    is_done() || is_done()
}

fn check(askers: usize) {
    let page = Page::default();
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
        })
    };
    if ask(&queue) {
        // Nobody has the page any more, and somebody else gets it.
        page.with_mut(|_| ());
    }
    server.join().expect("it does not panic");
    for other in others {
        other.join().expect("it does not panic");
    }
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
