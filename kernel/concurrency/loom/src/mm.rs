//! Stands for memory: the queue of flushes, and what it is of.

pub(crate) mod ops;
#[path = "../../../nucleus/src/mm/tlb/queue.rs"]
pub(crate) mod queue;

/// Asks for the flush of the page.
pub(crate) fn request(queue: &queue::FlushQueue) {
    queue.request(&ops::Ops::of_the_page());
}
