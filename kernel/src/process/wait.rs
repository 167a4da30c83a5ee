//! Waiting for children: `wait4(2)`, `waitid(2)`.
//!
//! A child can be waited for when it is a zombie, or has stopped or gone on. The answer
//! is in the family tree; a parent waits in its own queue, which is woken after the tree
//! has changed.

use bitflags::bitflags;

use super::signal::Change;
use super::table::{Record, Table};
use super::usage::Usage;
use super::{Current, End, Pid, Process, table};
use crate::errno::Errno;

bitflags! {
    /// How to wait, and for what.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct WaitOptions: u32 {
        /// Not at all, if nobody is there to wait for.
        const NO_HANG = 1;
        /// For children that stop.
        const STOPPED = 2;
        /// For children that end.
        const ENDED = 4;
        /// For children that go on.
        const CONTINUED = 8;
        /// The child can be waited for again.
        const LEAVE = 0x0100_0000;
        /// Not for children of other threads. There are none: children are those of
        /// processes.
        const OWN = 0x2000_0000;
        /// For children of both kinds.
        const ALL_KINDS = 0x4000_0000;
        /// For children that end without [`SIGCHLD`], instead of those that send it.
        const CLONES = 0x8000_0000;
    }
}

/// The signal by which an ordinary child tells of its end.
pub(crate) const SIGCHLD: u8 = 17;

/// For whom to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Anyone,
    Process(Pid),
    Group(Pid),
    /// There is no process of that number, nor can there be.
    Nobody,
}

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEvent {
    Ended(End),
    Stopped(u8),
    Continued,
}

/// A child that something has become of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) child: Pid,
    pub(crate) event: ChildEvent,
    pub(crate) usage: Usage,
}

impl ChildEvent {
    /// Returns the status as `wait4` encodes it.
    pub(crate) const fn status(self) -> u32 {
        match self {
            Self::Ended(End::Exited(status)) => (status as u32) << 8,
            Self::Ended(End::Killed(signal)) => signal as u32,
            Self::Stopped(signal) => (signal as u32) << 8 | 0x7f,
            Self::Continued => 0xffff,
        }
    }

    /// Returns the code and the status as `waitid` tells them.
    pub(crate) const fn code_and_status(self) -> (u32, u32) {
        const SIGCONT: u32 = 18;
        match self {
            Self::Ended(End::Exited(status)) => (1, status as u32),
            Self::Ended(End::Killed(signal)) => (2, signal as u32),
            Self::Stopped(signal) => (5, signal as u32),
            Self::Continued => (6, SIGCONT),
        }
    }
}

/// Waits until something that is wanted becomes of a child; returns nothing if that is
/// not to be waited for.
///
/// # Errors
///
/// [`Errno::NoChild`] when there is nobody to wait for; [`Errno::Interrupted`].
pub(crate) fn wait(
    current: &Current,
    whom: Whom,
    options: WaitOptions,
) -> Result<Option<Found>, Errno> {
    let parent = &current.process;
    let look = || match look(parent.id(), whom, options) {
        Ok(Some((found, reaped))) => {
            if let Some(record) = reaped {
                parent.count_child(&record.process);
            }
            Some(Ok(Some(found)))
        }
        Ok(None) if options.contains(WaitOptions::NO_HANG) => Some(Ok(None)),
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    };
    current.wait(&parent.child_events, None, look)?
}

/// A child that something has become of, and what was known of it if it was taken out.
type Looked = Option<(Found, Option<Record>)>;

/// Looks whether something that is wanted has become of a child.
fn look(parent: Pid, whom: Whom, options: WaitOptions) -> Result<Looked, Errno> {
    let mut table = table::lock();
    let children = &table.get(parent).ok_or(Errno::NoChild)?.children;
    let mut is_anybody_there = false;
    for child in children {
        let Some(record) = table.get(*child) else {
            continue;
        };
        if !is_meant(record, whom, options) {
            continue;
        }
        is_anybody_there = true;
        if let Some(found) = event_of(record, options) {
            let reaped = take(&mut table, &found, options);
            return Ok(Some((found, reaped)));
        }
    }
    if is_anybody_there {
        Ok(None)
    } else {
        Err(Errno::NoChild)
    }
}

fn is_meant(record: &Record, whom: Whom, options: WaitOptions) -> bool {
    let is_wanted = match whom {
        Whom::Anyone => true,
        Whom::Process(pid) => record.process.id() == pid,
        Whom::Group(group) => record.group == group,
        Whom::Nobody => false,
    };
    let is_clone = record.exit_signal != SIGCHLD;
    let is_of_kind = options.contains(WaitOptions::ALL_KINDS)
        || options.contains(WaitOptions::CLONES) == is_clone;
    is_wanted && is_of_kind
}

/// Returns what has become of a child, if that is wanted.
fn event_of(record: &Record, options: WaitOptions) -> Option<Found> {
    let process = &record.process;
    let event = match record.end {
        Some(end) => options
            .contains(WaitOptions::ENDED)
            .then_some(ChildEvent::Ended(end)),
        None => change_of(process, options),
    };
    event.map(|event| Found {
        child: process.id(),
        event,
        usage: process.usage(),
    })
}

/// Returns whether a child has stopped or gone on, if that is wanted.
fn change_of(process: &Process, options: WaitOptions) -> Option<ChildEvent> {
    let is_wanted = |change| match change {
        Change::Stopped(_) => options.contains(WaitOptions::STOPPED),
        Change::Continued => options.contains(WaitOptions::CONTINUED),
    };
    let is_left = options.contains(WaitOptions::LEAVE);
    let change = process.signals.change(is_wanted, !is_left)?;
    Some(match change {
        Change::Stopped(signal) => ChildEvent::Stopped(signal.as_u8()),
        Change::Continued => ChildEvent::Continued,
    })
}

/// Takes a child out that has ended, unless it is to be found again.
fn take(table: &mut Table, found: &Found, options: WaitOptions) -> Option<Record> {
    let is_over = matches!(found.event, ChildEvent::Ended(_));
    let is_left = options.contains(WaitOptions::LEAVE);
    (is_over && !is_left)
        .then(|| table.remove_process(found.child))
        .flatten()
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{ChildEvent, End};

    #[ktest]
    fn statuses_are_those_of_linux() {
        for (event, status, code) in [
            (ChildEvent::Ended(End::Exited(3)), 0x300, (1, 3)),
            (ChildEvent::Ended(End::Killed(9)), 9, (2, 9)),
            (ChildEvent::Stopped(19), 0x137f, (5, 19)),
            (ChildEvent::Continued, 0xffff, (6, 18)),
        ] {
            assert_eq!(event.status(), status);
            assert_eq!(event.code_and_status(), code);
        }
    }
}
