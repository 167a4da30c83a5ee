//! What a process wants done about each signal.

use nucleus::sync::SpinLock;

use super::{DefaultAction, Signal, SignalSet};

/// Bytes of the kernel's `struct sigaction`: handler, flags, restorer, mask.
pub(crate) const ACTION_SIZE: usize = 32;

/// Flags of an action (`sigaction(2)`).
pub(crate) mod flag {
    pub(crate) const NO_CHILD_STOP: u64 = 1;
    pub(crate) const NO_CHILD_WAIT: u64 = 2;
    pub(crate) const INFO: u64 = 4;
    pub(crate) const RESTORER: u64 = 0x0400_0000;
    pub(crate) const ON_STACK: u64 = 0x0800_0000;
    pub(crate) const RESTART: u64 = 0x1000_0000;
    pub(crate) const NO_DEFER: u64 = 0x4000_0000;
    pub(crate) const RESET_HANDLER: u64 = 0x8000_0000;
    /// Addresses of faults come with their tag bits, which there are none of here.
    pub(super) const EXPOSE_TAG_BITS: u64 = 0x800;
    /// Those that Linux keeps; others read as zero, by which programs find out.
    pub(super) const KNOWN: u64 = NO_CHILD_STOP
        | NO_CHILD_WAIT
        | INFO
        | EXPOSE_TAG_BITS
        | RESTORER
        | ON_STACK
        | RESTART
        | NO_DEFER
        | RESET_HANDLER;
}

/// What to do about a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) handler: usize,
    pub(crate) flags: u64,
    /// What a handler returns to.
    pub(crate) restorer: usize,
    /// Blocked while the handler runs.
    pub(crate) mask: SignalSet,
}

impl Action {
    /// `SIG_DFL` and `SIG_IGN`, in place of a handler.
    const DEFAULT: usize = 0;
    const IGNORE: usize = 1;

    pub(crate) fn from_bytes(bytes: &[u8; ACTION_SIZE]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let [handler, flags, restorer, mask] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        Self {
            handler: handler as usize,
            flags: flags & flag::KNOWN,
            restorer: restorer as usize,
            mask: SignalSet::from_bits(mask).blockable(),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; ACTION_SIZE] {
        let words = [
            self.handler as u64,
            self.flags,
            self.restorer as u64,
            self.mask.bits(),
        ];
        let mut bytes = [0; ACTION_SIZE];
        bytes.copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
        bytes
    }

    pub(crate) const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn is_default(&self) -> bool {
        self.handler == Self::DEFAULT
    }

    pub(crate) const fn is_handled(&self) -> bool {
        self.handler > Self::IGNORE
    }

    /// Returns whether a signal that comes does nothing.
    pub(crate) fn ignores(&self, signal: Signal) -> bool {
        match self.handler {
            Self::IGNORE => true,
            Self::DEFAULT => signal.default_action() == DefaultAction::Ignore,
            _ => false,
        }
    }
}

/// The actions of a process, or of several that share them.
#[derive(Debug)]
pub(crate) struct Actions(SpinLock<[Action; Signal::MAX as usize]>);

impl Actions {
    pub(crate) fn new() -> Self {
        Self(SpinLock::new([Action::default(); Signal::MAX as usize]))
    }

    /// Returns a copy, for a process that is to have its own.
    pub(crate) fn fork(&self) -> Self {
        let actions = *self.0.lock();
        Self(SpinLock::new(actions))
    }

    pub(crate) fn get(&self, signal: Signal) -> Action {
        self.0.lock()[signal.index()]
    }

    /// Sets an action; returns the one before.
    pub(crate) fn set(&self, signal: Signal, action: Action) -> Action {
        core::mem::replace(&mut self.0.lock()[signal.index()], action)
    }

    /// Returns the action for a signal that is to be handled now, which a handler for
    /// one time loses by that.
    pub(super) fn take(&self, signal: Signal) -> Action {
        let mut actions = self.0.lock();
        let action = &mut actions[signal.index()];
        let taken = *action;
        if taken.is_handled() && taken.has(flag::RESET_HANDLER) {
            action.handler = Action::DEFAULT;
        }
        taken
    }

    /// Forgets handlers, which belong to a program that is replaced; what is ignored
    /// stays so.
    pub(crate) fn forget_handlers(&self) {
        for action in self.0.lock().iter_mut() {
            let handler = match action.handler {
                Action::IGNORE => Action::IGNORE,
                _ => Action::DEFAULT,
            };
            *action = Action {
                handler,
                ..Action::default()
            };
        }
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{Action, Actions, flag};
    use crate::process::signal::{Signal, SignalSet};

    fn handled(flags: u64) -> Action {
        Action {
            handler: 0x1000,
            flags,
            ..Action::default()
        }
    }

    #[ktest]
    fn handler_for_one_time_is_forgotten_when_it_is_taken() {
        let actions = Actions::new();
        actions.set(Signal::USR1, handled(flag::RESET_HANDLER));
        assert!(actions.take(Signal::USR1).is_handled());
        assert!(actions.take(Signal::USR1).is_default());
    }

    #[ktest]
    fn exec_forgets_handlers_and_keeps_what_is_ignored() {
        let actions = Actions::new();
        let ignored = Action {
            handler: Action::IGNORE,
            ..Action::default()
        };
        actions.set(Signal::PIPE, ignored);
        actions.set(Signal::USR1, handled(flag::RESTART));
        actions.forget_handlers();
        assert_eq!(actions.get(Signal::PIPE), ignored);
        assert_eq!(actions.get(Signal::USR1), Action::default());
    }

    #[ktest]
    fn unknown_flags_and_masks_that_cannot_be_are_dropped() {
        let action = Action::from_bytes(&[0xff; super::ACTION_SIZE]);
        assert_eq!(action.flags, flag::KNOWN);
        assert_eq!(action.mask, SignalSet::from_bits(u64::MAX).blockable());
        assert_eq!(Action::from_bytes(&action.to_bytes()), action);
    }
}
