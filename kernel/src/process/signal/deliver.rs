//! What becomes of a signal: done by the thread that takes it, before ring 3.

use core::fmt;

use super::action::{Action, flag};
use super::restart::{self, Restart};
use super::send::tell_parent;
use super::{DefaultAction, SigInfo, Signal, SignalSet};
use crate::errno::Errno;
use crate::process::{Current, End};
use crate::syscall;

impl Current {
    /// Handles all signals that the thread does not block. At the end the registers are
    /// those to enter ring 3 with, unless the process is to end.
    pub(in crate::process) fn handle_signals(&mut self) {
        let mut has_handler = false;
        while self.process.end().is_none() && !self.thread.is_dismissed() {
            if self.wait_while_stopped() {
                continue;
            }
            let Some(info) = self.take_signal(self.blocked().complement()) else {
                break;
            };
            let action = self.process.signals.actions().take(info.signal);
            if action.is_handled() {
                self.settle_call(Some(&action));
                has_handler = true;
                self.begin_handler(&info, &action);
            } else if !action.ignores(info.signal) {
                self.act_by_default(info.signal);
            }
        }
        if !has_handler {
            self.settle_call(None);
            self.restore_mask();
        }
    }

    /// Takes a signal that waits for the thread or its process.
    pub(crate) fn take_signal(&self, allowed: SignalSet) -> Option<SigInfo> {
        let own = self.thread.signals.pending.take(allowed);
        own.or_else(|| self.process.signals.pending.take(allowed))
    }

    /// Returns whether a signal waits that the thread does not block.
    pub(crate) fn has_signal(&self) -> bool {
        let pending = self.thread.signals.pending.set();
        let pending = pending.with(self.process.signals.pending.set());
        !pending.without(self.blocked()).is_empty()
    }

    pub(crate) fn blocked(&self) -> SignalSet {
        self.thread.signals.blocked()
    }

    /// Blocks other signals than before. What is open now, and waits, is looked at
    /// before ring 3.
    pub(crate) fn set_blocked(&self, signals: SignalSet) {
        self.thread.signals.set_blocked(signals);
        if self.has_signal() {
            self.thread.call_attention();
        }
    }

    /// Blocks other signals until the call that asks has ended, and its handler with it.
    pub(crate) fn replace_mask(&mut self, signals: SignalSet) {
        self.signals.saved_mask = Some(self.blocked());
        self.set_blocked(signals);
    }

    /// Blocks what was blocked before [`Self::replace_mask`].
    pub(crate) fn restore_mask(&mut self) {
        if let Some(signals) = self.signals.saved_mask.take() {
            self.set_blocked(signals);
        }
    }

    /// Has the thread handle a signal that it has raised itself. One that it cannot
    /// handle, since it blocks or ignores it, ends its process.
    pub(crate) fn force_signal(&mut self, info: SigInfo, reason: fmt::Arguments<'_>) {
        let actions = self.process.signals.actions();
        let action = actions.get(info.signal);
        let is_blocked = self.blocked().contains(info.signal);
        if is_blocked || action.ignores(info.signal) {
            actions.set(info.signal, Action::default());
            self.set_blocked(self.blocked().without(info.signal.into()));
        }
        if is_blocked || !action.is_handled() {
            let (program, id) = (self.process.program(), self.process.id());
            log::error!("{program} ({id}): {:?}: {reason}", info.signal);
        }
        // A standard signal finds room always.
        let _ = self.thread.signals.pending.add(info);
        self.thread.call_attention();
    }

    /// Remembers that a signal has interrupted a call, which has done nothing.
    pub(crate) fn note_interrupted(&mut self, call: usize) {
        self.signals.interrupted_call = Some(call);
    }

    /// Makes an interrupted call again, or has it fail, before a handler or ring 3.
    fn settle_call(&mut self, handler: Option<&Action>) {
        let Some(call) = self.signals.interrupted_call.take() else {
            // One that was interrupted, and has returned something.
            self.signals.deadline.set(None);
            return;
        };
        let context = self.user.context_mut();
        let is_again = match (restart::of(call, syscall::arguments(context)), handler) {
            (Restart::Never, _) | (Restart::UnlessHandled, Some(_)) => false,
            (Restart::IfAsked, Some(action)) => action.has(flag::RESTART),
            (_, None) => true,
        };
        if is_again {
            // Back to the instruction, which is two bytes long.
            context.set_rip(context.rip().wrapping_sub(2));
            context.set_rax(call);
        } else {
            context.set_rax(Errno::Interrupted.as_result());
        }
        if handler.is_some() {
            self.signals.deadline.set(None);
        }
    }

    fn act_by_default(&mut self, signal: Signal) {
        match signal.default_action() {
            DefaultAction::Ignore | DefaultAction::Continue => {}
            DefaultAction::Terminate => self.process.end_all(End::Killed(signal.as_u8())),
            DefaultAction::Stop => {
                if self.process.signals.set_stopped(Some(signal)) {
                    for thread in self.process.threads() {
                        thread.call_attention();
                    }
                    tell_parent(&self.process, Some(signal));
                }
            }
        }
    }

    /// Waits until the process goes on, or is to end; returns whether it was stopped.
    fn wait_while_stopped(&self) -> bool {
        let process = &self.process;
        let was_stopped = process.signals.is_stopped();
        if was_stopped {
            let ends = || process.end().is_some() || self.thread.is_dismissed();
            let goes_on = || !process.signals.is_stopped() || ends();
            process
                .signals
                .resumed
                .wait_until(|| goes_on().then_some(()));
        }
        was_stopped
    }

    /// Has ring 3 go on in a handler. A program whose stack has no room for what the
    /// handler gets, ends.
    fn begin_handler(&mut self, info: &SigInfo, action: &Action) {
        let before = self.signals.saved_mask.take().unwrap_or(self.blocked());
        if self.push_frame(info, action, before).is_err() {
            let at = self.user.context().rsp();
            let reason = format_args!("no stack for a handler of {:?} at {at:#x}", info.signal);
            if info.signal == Signal::SEGV {
                let actions = self.process.signals.actions();
                actions.set(Signal::SEGV, Action::default());
            }
            self.force_signal(SigInfo::of_kernel(Signal::SEGV), reason);
            return;
        }
        let mut blocked = self.blocked().with(action.mask);
        if !action.has(flag::NO_DEFER) {
            blocked = blocked.with(info.signal.into());
        }
        self.thread.signals.set_blocked(blocked);
    }
}
