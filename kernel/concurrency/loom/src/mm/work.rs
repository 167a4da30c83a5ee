//! Stands for what to flush: the page of an entry.

use std::cell::RefCell;
use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::irq::DisabledLocalIrqGuard;

/// A page, of which `loom` knows who uses it when.
pub(crate) type Page = Arc<UnsafeCell<()>>;

thread_local! {
    /// The page that a processor has cached. All threads of `loom` are one of the
    /// host's, and one processor flushes.
    static CACHED: RefCell<Option<Page>> = const { RefCell::new(None) };
}

/// Has the processor cache a page.
pub(crate) fn cache(page: Option<Page>) {
    CACHED.set(page);
}

/// Flushes of that page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    is_asked: bool,
}

impl Work {
    pub(crate) const fn new() -> Self {
        Self { is_asked: false }
    }

    /// Returns the flush of the page.
    pub(crate) const fn of_the_page() -> Self {
        Self { is_asked: true }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        !self.is_asked
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.is_asked |= other.is_asked;
    }

    pub(crate) fn clear(&mut self) {
        self.is_asked = false;
    }

    /// Flushes. Up to now, the processor may have used the page.
    pub(crate) fn perform(&self, _irq_off: &DisabledLocalIrqGuard) {
        if self.is_asked
            && let Some(page) = CACHED.take()
        {
            page.with(|_| ());
        }
    }
}
