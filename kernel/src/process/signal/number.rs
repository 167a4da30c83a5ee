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

macro_rules! signals {
    ($($name:ident = $number:literal,)*) => {
        impl Signal {
            $(pub(crate) const $name: Self = Self($number);)*

            const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(concat!("SIG", stringify!($name))),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    HUP = 1,
    INT = 2,
    QUIT = 3,
    ILL = 4,
    TRAP = 5,
    ABRT = 6,
    BUS = 7,
    FPE = 8,
    KILL = 9,
    USR1 = 10,
    SEGV = 11,
    USR2 = 12,
    PIPE = 13,
    ALRM = 14,
    TERM = 15,
    STKFLT = 16,
    CHLD = 17,
    CONT = 18,
    STOP = 19,
    TSTP = 20,
    TTIN = 21,
    TTOU = 22,
    URG = 23,
    XCPU = 24,
    XFSZ = 25,
    VTALRM = 26,
    PROF = 27,
    WINCH = 28,
    IO = 29,
    PWR = 30,
    SYS = 31,
}

impl Signal {
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

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
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
