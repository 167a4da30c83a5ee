//! Stress: several workers change one space at random and use it meanwhile, and no
//! access may go through a translation that is gone.
//!
//! Each frame carries a [`tag`]: which page of which space it was mapped at, and as
//! the how-manieth. When a frame is freed it is filled with poison, and reallocated
//! at once for some other page. A [`board`] says of each page what may be seen there:
//! a worker that changes a page holds a cursor on it, and notes the change as *under
//! way* before the entry changes, and as *settled* after all processors have flushed.
//! Who reads a page looks at the board before and after, and so knows what was legal:
//! [`board::judge`] is all of the logic, a function on plain values.
//!
//! ```text
//!   changes   note: under way │ entry, flush, wait │ note: settled
//!   uses      look at the board │ one access │ look at the board, judge
//! ```
//!
//! So what is caught: a read that sees poison, another page's frame or an older frame
//! of the same page; an access that succeeds where the page is settled as gone, or a
//! store where it is settled as read-only; one that fails where it is settled as
//! mapped. Not caught: a stale translation that leads to the same frame with the same
//! rights, which is harmless, and a store that nobody's read comes after.
//!
//! * [`worker`]: what is done at random; a worker is driven step by step, so that the
//!   workers of one space may be tasks, host threads, or turns of a single thread.
//! * `host`: the simulated processors are the workers.
//! * `kernel`: the real ones are, and planted bugs have to be found.
//! * `storm`: unmaps without a pause, and what they hold back.
//!
//! The number of operations is each test's own, or the command line's
//! (`ktest.stress=N`; `cargo xtask test --stress` gives a million).

pub(crate) mod board;
pub(crate) mod tag;
pub(crate) mod worker;

#[cfg(test)]
mod host;
#[cfg(ktest)]
mod kernel;
#[cfg(ktest)]
mod storm;
