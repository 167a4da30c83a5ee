//! What becomes of a call that a signal has interrupted (`signal(7)`).
//!
//! A call that waits returns [`Errno::Interrupted`](crate::errno::Errno) when its
//! thread is called to look, and has done nothing then. If no handler runs, the
//! program never learns of it: the call is made again, and one that was to end at a
//! certain time still ends then. If one runs, it depends on the call.

use crate::syscall::number;

/// When an interrupted call is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// Unless a handler ran that did not ask for restarts (`SA_RESTART`).
    IfAsked,
    /// Unless a handler ran.
    UnlessHandled,
    /// Not at all.
    Never,
}

/// Returns when a call is made again.
pub(super) const fn of(call: usize, arguments: [usize; 6]) -> Restart {
    const WITH_TIMEOUT: usize = 3;
    match call {
        number::PAUSE
        | number::RT_SIGSUSPEND
        | number::POLL
        | number::PPOLL
        | number::SELECT
        | number::PSELECT6
        | number::NANOSLEEP
        | number::CLOCK_NANOSLEEP => Restart::UnlessHandled,
        number::FUTEX if arguments[WITH_TIMEOUT] != 0 => Restart::UnlessHandled,
        number::RT_SIGTIMEDWAIT
        | number::EPOLL_WAIT
        | number::EPOLL_PWAIT
        | number::EPOLL_PWAIT2 => Restart::Never,
        _ => Restart::IfAsked,
    }
}
