//! Signals that were sent and have not been taken yet.

use alloc::vec::Vec;

use nucleus::sync::SpinLock;

use super::{SigInfo, SignalSet};
use crate::errno::Errno;

/// Most signals that wait for one process or thread, each standard one at most once.
const MAX_QUEUED: usize = 512;

/// Signals that wait, in the order in which they came.
///
/// A signal for whose information there is no memory still arrives, like one of the
/// kernel's own.
#[derive(Debug)]
struct Pending {
    set: SignalSet,
    infos: Vec<SigInfo>,
}

impl Pending {
    const fn new() -> Self {
        Self {
            set: SignalSet::EMPTY,
            infos: Vec::new(),
        }
    }

    const fn set(&self) -> SignalSet {
        self.set
    }

    /// Adds a signal.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when too many wait; a standard signal arrives nevertheless.
    fn add(&mut self, info: SigInfo) -> Result<(), Errno> {
        let signal = info.signal;
        if self.set.contains(signal) && !signal.is_real_time() {
            return Ok(());
        }
        let has_room = self.infos.len() < MAX_QUEUED && self.infos.try_reserve(1).is_ok();
        if has_room {
            self.infos.push(info);
        } else if signal.is_real_time() {
            return Err(Errno::Again);
        }
        self.set = self.set.with(signal.into());
        Ok(())
    }

    /// Takes a signal out of those that are allowed: those first that a thread's own
    /// instructions raise, then by number, equal ones in the order of their coming.
    fn take(&mut self, allowed: SignalSet) -> Option<SigInfo> {
        let candidates = self.set.and(allowed);
        let urgent = candidates.and(SignalSet::SYNCHRONOUS).first();
        let signal = urgent.or_else(|| candidates.first())?;
        let is_it = |info: &SigInfo| info.signal == signal;
        let info = match self.infos.iter().position(is_it) {
            Some(at) => self.infos.remove(at),
            None => SigInfo::of_kernel(signal),
        };
        if !self.infos.iter().any(is_it) {
            self.set = self.set.without(signal.into());
        }
        Some(info)
    }

    /// Forgets some signals.
    fn forget(&mut self, signals: SignalSet) {
        self.set = self.set.without(signals);
        self.infos.retain(|info| !signals.contains(info.signal));
    }
}

/// Signals that anybody may add to; each operation takes the lock by itself.
#[derive(Debug)]
pub(crate) struct SharedPending(SpinLock<Pending>);

impl SharedPending {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Pending::new()))
    }

    /// Returns which signals wait.
    pub(crate) fn set(&self) -> SignalSet {
        self.0.lock().set()
    }

    /// As [`Pending::add`].
    pub(super) fn add(&self, info: SigInfo) -> Result<(), Errno> {
        self.0.lock().add(info)
    }

    /// As [`Pending::take`].
    pub(super) fn take(&self, allowed: SignalSet) -> Option<SigInfo> {
        self.0.lock().take(allowed)
    }

    /// Forgets some signals.
    pub(in crate::process) fn forget(&self, signals: SignalSet) {
        self.0.lock().forget(signals);
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{MAX_QUEUED, Pending};
    use crate::errno::Errno;
    use crate::process::signal::{SigInfo, Signal, SignalSet};

    const ALL: SignalSet = SignalSet::from_bits(u64::MAX);

    fn real_time(code: i32) -> SigInfo {
        let signal = Signal::new(34).expect("a signal");
        let mut info = SigInfo::of_kernel(signal);
        info.code = code;
        info
    }

    #[ktest]
    fn standard_signals_collapse_and_real_time_ones_queue() {
        let mut pending = Pending::new();
        for code in [1, 2, 3] {
            assert_eq!(pending.add(real_time(code)), Ok(()));
            assert_eq!(pending.add(SigInfo::of_kernel(Signal::USR1)), Ok(()));
        }
        let taken = core::iter::from_fn(|| pending.take(ALL));
        let taken: alloc::vec::Vec<_> =
            taken.map(|info| (info.signal.as_u8(), info.code)).collect();
        assert_eq!(taken, [(10, 0x80), (34, 1), (34, 2), (34, 3)]);
        assert!(pending.set().is_empty());
    }

    #[ktest]
    fn faults_come_before_lower_numbers() {
        let mut pending = Pending::new();
        for signal in [Signal::HUP, Signal::SEGV] {
            assert_eq!(pending.add(SigInfo::of_kernel(signal)), Ok(()));
        }
        assert_eq!(
            pending.take(ALL).map(|info| info.signal),
            Some(Signal::SEGV)
        );
        assert_eq!(pending.take(SignalSet::EMPTY), None);
        assert_eq!(pending.take(ALL).map(|info| info.signal), Some(Signal::HUP));
    }

    #[ktest]
    fn queue_is_bounded_and_standard_signals_arrive_nevertheless() {
        let mut pending = Pending::new();
        for _ in 0..MAX_QUEUED {
            assert_eq!(pending.add(real_time(0)), Ok(()));
        }
        assert_eq!(pending.add(real_time(0)), Err(Errno::Again));
        assert_eq!(pending.add(SigInfo::of_kernel(Signal::TERM)), Ok(()));
        assert_eq!(
            pending.take(Signal::TERM.into()),
            Some(SigInfo::of_kernel(Signal::TERM))
        );
    }
}
