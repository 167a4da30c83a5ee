//! Signals by number, and sets of them (`signal(7)`).

use core::fmt;

/// A signal: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signal(u8);

/// What a signal does to a process that says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultAction {
    Terminate,
    Ignore,
    Stop,
    Continue,
}

/// What the standard signals are called, from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Signal {
    pub(crate) const INT: Self = Self(2);
    pub(crate) const ILL: Self = Self(4);
    pub(crate) const TRAP: Self = Self(5);
    pub(crate) const BUS: Self = Self(7);
    pub(crate) const FPE: Self = Self(8);
    pub(crate) const KILL: Self = Self(9);
    pub(crate) const SEGV: Self = Self(11);
    pub(crate) const PIPE: Self = Self(13);
    pub(crate) const ALRM: Self = Self(14);
    pub(crate) const CHLD: Self = Self(17);
    pub(crate) const CONT: Self = Self(18);
    pub(crate) const STOP: Self = Self(19);
    pub(crate) const TSTP: Self = Self(20);
    pub(crate) const TTIN: Self = Self(21);
    pub(crate) const TTOU: Self = Self(22);
    pub(crate) const URG: Self = Self(23);
    pub(crate) const XFSZ: Self = Self(25);
    pub(crate) const VTALRM: Self = Self(26);
    pub(crate) const PROF: Self = Self(27);
    pub(crate) const WINCH: Self = Self(28);
    pub(crate) const SYS: Self = Self(31);

    /// The last one.
    pub(crate) const MAX: u8 = 64;
    /// The first real-time signal: from it on, each one that is sent counts.
    const FIRST_REAL_TIME: u8 = 32;

    /// Accepts a number that a program gave.
    pub(crate) fn new(number: usize) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    pub(crate) const fn as_u8(self) -> u8 {
        self.0
    }

    /// Returns its place in a table of all signals.
    pub(super) const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Returns whether each one that is sent arrives; of others, one waits at most.
    pub(super) const fn is_real_time(self) -> bool {
        self.0 >= Self::FIRST_REAL_TIME
    }

    /// Returns whether no process can catch, block or ignore it.
    pub(crate) const fn is_inevitable(self) -> bool {
        matches!(self, Self::KILL | Self::STOP)
    }

    pub(crate) const fn default_action(self) -> DefaultAction {
        match self {
            Self::CHLD | Self::URG | Self::WINCH => DefaultAction::Ignore,
            Self::STOP | Self::TSTP | Self::TTIN | Self::TTOU => DefaultAction::Stop,
            Self::CONT => DefaultAction::Continue,
            _ => DefaultAction::Terminate,
        }
    }
}

/// Signals that nobody but tests names.
#[cfg(ktest)]
impl Signal {
    pub(crate) const HUP: Self = Self(1);
    pub(crate) const USR1: Self = Self(10);
    pub(crate) const USR2: Self = Self(12);
    pub(crate) const TERM: Self = Self(15);
    pub(crate) const IO: Self = Self(29);
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(self.index()) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// A set of signals, as programs have it: bit 0 is signal 1.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    pub(crate) const EMPTY: Self = Self(0);
    /// Signals that a thread's own instructions raise.
    pub(super) const SYNCHRONOUS: Self = Self::of(&[
        Signal::SEGV,
        Signal::BUS,
        Signal::ILL,
        Signal::TRAP,
        Signal::FPE,
        Signal::SYS,
    ]);
    /// Signals that stop a process unless it says otherwise.
    pub(super) const STOPS: Self =
        Self::of(&[Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU]);
    const INEVITABLE: Self = Self::of(&[Signal::KILL, Signal::STOP]);

    pub(crate) const fn of(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < signals.len() {
            bits |= 1 << signals[at].index();
            at += 1;
        }
        Self(bits)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the set as one of blocked signals: what cannot be blocked left out.
    pub(crate) const fn blockable(self) -> Self {
        self.without(Self::INEVITABLE)
    }

    pub(crate) const fn contains(self, signal: Signal) -> bool {
        self.0 & 1 << signal.index() != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) const fn complement(self) -> Self {
        Self(!self.0)
    }

    pub(crate) const fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Returns the signal with the lowest number.
    pub(super) fn first(self) -> Option<Signal> {
        Signal::new(self.0.trailing_zeros() as usize + 1)
    }
}

impl From<Signal> for SignalSet {
    fn from(signal: Signal) -> Self {
        Self::of(&[signal])
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = (1..=usize::from(Signal::MAX)).filter_map(Signal::new);
        f.debug_set()
            .entries(all.filter(|signal| self.contains(*signal)))
            .finish()
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{DefaultAction, Signal, SignalSet};

    #[ktest]
    fn numbers_outside_of_1_to_64_are_no_signals() {
        for number in [0, 65, 256, 257, usize::MAX] {
            assert_eq!(Signal::new(number), None);
        }
        assert_eq!(Signal::new(11), Some(Signal::SEGV));
        assert_eq!(Signal::new(64).map(Signal::as_u8), Some(64));
    }

    #[ktest]
    fn first_of_a_set_has_the_lowest_number() {
        let set = SignalSet::of(&[Signal::USR2, Signal::HUP, Signal::CHLD]);
        assert_eq!(set.first(), Some(Signal::HUP));
        assert_eq!(SignalSet::EMPTY.first(), None);
        assert_eq!(SignalSet::from_bits(1 << 63).first(), Signal::new(64));
    }

    #[ktest]
    fn kill_and_stop_cannot_be_blocked() {
        let all = SignalSet::from_bits(u64::MAX).blockable();
        assert!(!all.contains(Signal::KILL) && !all.contains(Signal::STOP));
        assert!(all.contains(Signal::CONT) && all.contains(Signal::SEGV));
    }

    #[ktest]
    fn default_actions_are_linux_ones() {
        assert_eq!(Signal::WINCH.default_action(), DefaultAction::Ignore);
        assert_eq!(Signal::TTIN.default_action(), DefaultAction::Stop);
        assert_eq!(Signal::CONT.default_action(), DefaultAction::Continue);
        assert_eq!(Signal::IO.default_action(), DefaultAction::Terminate);
    }
}
