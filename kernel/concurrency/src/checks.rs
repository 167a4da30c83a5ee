//! The checks, and the bugs that they have to find.

use nucleus::planted::Bug;

use crate::search::Search;
use crate::{cursors, forks, frames, sleepers, spaces};

/// A check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// What should be true.
    pub(crate) claim: &'static str,
    pub(crate) search: Search,
    pub(crate) scenario: fn(),
    /// The bug that is planted, and has to be found.
    pub(crate) finds: Option<Bug>,
}

const fn check(name: &'static str, claim: &'static str, search: Search, scenario: fn()) -> Check {
    Check {
        name,
        claim,
        search,
        scenario,
        finds: None,
    }
}

const fn finds(
    name: &'static str,
    claim: &'static str,
    search: Search,
    scenario: fn(),
    bug: Bug,
) -> Check {
    Check {
        finds: Some(bug),
        ..check(name, claim, search, scenario)
    }
}

use Search::{Exhaustive, Random};

/// All checks.
pub(crate) const CHECKS: &[Check] = &[
    check(
        "cursors-2",
        "two processors' cursors answer as if one after the other",
        Random,
        cursors::two,
    ),
    check(
        "cursors-3",
        "three processors' cursors answer as if one after the other",
        Random,
        cursors::three,
    ),
    check(
        "cursors-wide",
        "cursors of wider nodes answer as if one after the other",
        Random,
        cursors::wide,
    ),
    check(
        "strays",
        "whoever waits for a node that is cut off starts over",
        Exhaustive(3),
        cursors::stray,
    ),
    check(
        "strays-3",
        "two that wait for a node that is cut off start over, while a third looks",
        Random,
        cursors::strays,
    ),
    check(
        "walk",
        "no node goes away while someone may look at it",
        Exhaustive(3),
        cursors::walk,
    ),
    check(
        "counts",
        "the last reference frees a frame, once, and a look-up revives none",
        Exhaustive(3),
        frames::counts,
    ),
    check(
        "counts-3",
        "the last of three holders frees a frame, once",
        Random,
        frames::counts_of_three,
    ),
    check(
        "unique",
        "nobody gets at a frame while it is unique",
        Exhaustive(3),
        frames::unique,
    ),
    check(
        "allocator",
        "no frame is given out twice, and all come back",
        Random,
        frames::allocator,
    ),
    check(
        "exhausted",
        "no frame is given out twice when memory runs out",
        Random,
        frames::exhausted,
    ),
    check(
        "shootdown",
        "after synchronising, no processor has the translation",
        Exhaustive(3),
        spaces::shootdown,
    ),
    check(
        "shootdown-3",
        "after synchronising, no processor of two that come and go has it",
        Random,
        spaces::shootdown_of_two,
    ),
    check(
        "diagonal",
        "processors that flush each other do not wait for ever",
        Random,
        spaces::diagonal,
    ),
    check(
        "overflow",
        "a queue that overflows loses nothing",
        Random,
        spaces::overflow,
    ),
    check(
        "irq-off",
        "an interrupt that comes late is not too late",
        Exhaustive(3),
        spaces::interrupts_off,
    ),
    check(
        "active-drop",
        "a space that is dropped while active stays until it is left",
        Exhaustive(3),
        spaces::dropped_while_active,
    ),
    check(
        "lazy-exit",
        "a processor that was lazy knows what was unmapped meanwhile",
        Exhaustive(3),
        spaces::lazy_exit,
    ),
    check(
        "lazy-nodes",
        "a lazy processor walks no table that is gone",
        Exhaustive(3),
        spaces::lazy_exit_without_nodes,
    ),
    check(
        "back-and-forth",
        "a space that is loaded again is as it is now",
        Exhaustive(3),
        spaces::back_and_forth,
    ),
    check(
        "crosswise",
        "processors that go back and forth between spaces find them as they are",
        Random,
        spaces::crosswise,
    ),
    check(
        "deaf-waiter",
        "who waits for nodes with interrupts off flushes meanwhile",
        Exhaustive(3),
        spaces::deaf_waiter,
    ),
    check(
        "many-spaces",
        "a space finds nothing of another one under its identifier",
        Exhaustive(1),
        spaces::many_spaces,
    ),
    check(
        "fork-write",
        "a fork's copy does not change, whenever the other side writes",
        Exhaustive(2),
        forks::while_writing,
    ),
    check(
        "fork-unmap",
        "a fork counts what it shares, whatever is unmapped or faulted in meanwhile",
        Exhaustive(2),
        forks::while_unmapping,
    ),
    check(
        "both-write",
        "two that write to what they share each find their own bytes",
        Exhaustive(2),
        forks::both_write,
    ),
    check(
        "threads-write",
        "two threads that write to what is shared have one copy",
        Exhaustive(2),
        forks::threads_write,
    ),
    check(
        "told-by-another",
        "nobody sees an old page after somebody saw the new one",
        Random,
        forks::told_by_another,
    ),
    check(
        "mutex",
        "a lock that sleeps lets one in at a time, and nobody waits for ever",
        Exhaustive(3),
        sleepers::mutex,
    ),
    check(
        "mutex-3",
        "so it is with three takers",
        Random,
        sleepers::mutex_of_three,
    ),
    check(
        "readers",
        "many may read or one write, and nobody waits for ever",
        Exhaustive(3),
        sleepers::readers,
    ),
    check(
        "readers-3",
        "so it is with three, who read and write by turns",
        Random,
        sleepers::readers_of_three,
    ),
    check(
        "wake-up",
        "whoever waits is woken, whenever that happens",
        Exhaustive(3),
        sleepers::wake_up,
    ),
    check(
        "wake-up-3",
        "each of two that wait for a piece gets one",
        Random,
        sleepers::pieces,
    ),
    check(
        "nudge",
        "whoever is nudged looks again, whenever that happens",
        Exhaustive(3),
        sleepers::nudge,
    ),
    check(
        "deadline",
        "a wait ends when it is time, and leaves the queue",
        Exhaustive(2),
        sleepers::deadline,
    ),
    check(
        "late-piece",
        "a wake-up that comes with the deadline is not lost",
        Random,
        sleepers::late_piece,
    ),
    check(
        "two-waits",
        "what is there in time is found, and a timer ends no later wait",
        Exhaustive(3),
        sleepers::two_waits,
    ),
    finds(
        "found-uncounted-copy",
        "finds: a page that is copied has no more references than before",
        Exhaustive(2),
        forks::while_unmapping,
        Bug::UncountedCopy,
    ),
    finds(
        "found-writable-source",
        "finds: what is copied can still be written",
        Exhaustive(2),
        forks::while_writing,
        Bug::WritableSource,
    ),
    finds(
        "found-unflushed-copy",
        "finds: what is copied is not flushed",
        Exhaustive(2),
        forks::while_writing,
        Bug::UnflushedCopy,
    ),
    finds(
        "found-shared-write",
        "finds: what one other shares is written in place",
        Exhaustive(2),
        forks::both_write,
        Bug::SharedWrite,
    ),
    finds(
        "found-early-replacement",
        "finds: a page is replaced before all have flushed it",
        Random,
        forks::told_by_another,
        Bug::EarlyReplacement,
    ),
    finds(
        "found-unmarked-stray",
        "finds: a node cut off is not marked stray",
        Exhaustive(2),
        cursors::stray,
        Bug::UnmarkedStray,
    ),
    finds(
        "found-skipped-lock",
        "finds: nodes below the covering one are not locked",
        Random,
        cursors::two,
        Bug::SkippedLock,
    ),
    finds(
        "found-torn-lock",
        "finds: a lock is taken by looking, then writing",
        Random,
        cursors::two,
        Bug::TornLock,
    ),
    finds(
        "found-early-free",
        "finds: a node is freed without a grace period",
        Exhaustive(3),
        cursors::walk,
        Bug::EarlyFree,
    ),
    finds(
        "found-torn-count",
        "finds: a reference is counted by reading, then writing",
        Exhaustive(3),
        frames::counts,
        Bug::TornCount,
    ),
    finds(
        "found-skipped-flush",
        "finds: a processor does not flush",
        Exhaustive(2),
        spaces::shootdown,
        Bug::SkippedFlush,
    ),
    finds(
        "found-skipped-request",
        "finds: other processors are not asked to flush",
        Exhaustive(2),
        spaces::shootdown,
        Bug::SkippedRequest,
    ),
    finds(
        "found-early-answer",
        "finds: a processor answers, and then flushes",
        Exhaustive(2),
        spaces::shootdown,
        Bug::EarlyAnswer,
    ),
    finds(
        "found-late-user",
        "finds: a processor loads a table, and then joins its users",
        Exhaustive(2),
        spaces::shootdown,
        Bug::LateUser,
    ),
    finds(
        "found-late-generation",
        "finds: a change is counted after the users were read",
        Random,
        spaces::back_and_forth,
        Bug::LateGeneration,
    ),
    finds(
        "found-early-generation",
        "finds: the generation is read before joining the users",
        Exhaustive(2),
        spaces::back_and_forth,
        Bug::EarlyGeneration,
    ),
    finds(
        "found-unchecked-load",
        "finds: a space is loaded again as if it had not changed",
        Exhaustive(2),
        spaces::back_and_forth,
        Bug::UncheckedLoad,
    ),
    finds(
        "found-unchecked-return",
        "finds: a processor leaves lazy mode without a look",
        Exhaustive(2),
        spaces::lazy_exit,
        Bug::UncheckedReturn,
    ),
    finds(
        "found-untold-of-nodes",
        "finds: lazy processors are not told of nodes that go",
        Exhaustive(2),
        spaces::lazy_exit_without_nodes,
        Bug::UntoldOfNodes,
    ),
    finds(
        "found-interrupted-serve",
        "finds: an interrupt between taking requests and doing them",
        Random,
        spaces::diagonal,
        Bug::InterruptedServe,
    ),
    finds(
        "found-inherited-identifier",
        "finds: an identifier goes to another space unflushed",
        Exhaustive(1),
        spaces::many_spaces,
        Bug::InheritedIdentifier,
    ),
    finds(
        "found-lost-wake-up",
        "finds: who waits does not look again before it sleeps",
        Exhaustive(2),
        sleepers::wake_up,
        Bug::LostWakeUp,
    ),
    finds(
        "found-forgotten-waiter",
        "finds: a lock is released without a look at who waits",
        Exhaustive(2),
        sleepers::mutex,
        Bug::ForgottenWaiter,
    ),
    finds(
        "found-torn-readers",
        "finds: a reader is counted by looking, then writing",
        Exhaustive(2),
        sleepers::readers,
        Bug::TornLock,
    ),
    finds(
        "found-forgotten-reader",
        "finds: a writer leaves without a look at who would read",
        Exhaustive(2),
        sleepers::readers,
        Bug::ForgottenWaiter,
    ),
    finds(
        "found-lost-nudge",
        "finds: who is nudged does not look again",
        Exhaustive(2),
        sleepers::nudge,
        Bug::LostNudge,
    ),
    finds(
        "found-hasty-deadline",
        "finds: who is late goes without a last look",
        Exhaustive(2),
        sleepers::two_waits,
        Bug::HastyDeadline,
    ),
    finds(
        "found-forgotten-timer",
        "finds: who was woken leaves its timer behind",
        Exhaustive(2),
        sleepers::two_waits,
        Bug::ForgottenTimer,
    ),
];
