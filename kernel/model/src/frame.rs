//! The life of a frame and its reference count.
//!
//! ```text
//!            claim                        share
//!   Unused ─────────▶ Shared(1) ◀──────────────────── Unique
//!     ▲  ╲              │    ▲  ────────────────────▶   │
//!     │   ╲ claim_unique│    │      make_unique         │
//!     │    ╲────────────┼────┼──────────────────────▶   │
//!     │           clone ▼    │ drop                     │
//!     │              Shared(2..LIMIT)                   │
//!     └─────────────────┴───────────────────────────────┘
//!              the last reference is dropped
//! ```
//!
//! Each operation is on one frame and leaves all others alone. A frame that is
//! shared has as many references as there are handles, segments, tracked mappings
//! and flushes that keep it. Looking something up borrows; it counts nothing.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nobody's; the allocator may have it.
    Unused,
    /// Owned by this many references.
    Shared(u32),
    /// Owned by one that nobody may share: a unique handle, or a list.
    Unique,
    /// Not for anybody: the firmware's, the kernel's image, metadata.
    Reserved,
}

/// Why a frame could not be had. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotHad {
    /// Somebody has it.
    InUse,
    /// Somebody has it for itself.
    Unique,
    /// Nobody has it.
    Unused,
    /// Nobody ever may.
    Reserved,
}

/// Claims a frame: it is shared, with one reference.
///
/// # Errors
///
/// Unless it is unused.
pub fn claim(frame: State) -> Result<State, NotHad> {
    match frame {
        State::Unused => Ok(State::Shared(1)),
        State::Shared(_) => Err(NotHad::InUse),
        State::Unique => Err(NotHad::Unique),
        State::Reserved => Err(NotHad::Reserved),
    }
}

/// Claims a frame to be unique.
///
/// # Errors
///
/// Unless it is unused.
pub fn claim_unique(frame: State) -> Result<State, NotHad> {
    claim(frame).map(|_| State::Unique)
}

/// Looks a frame up by its address, which gives a reference.
///
/// # Errors
///
/// Unless it is shared.
pub fn look_up(frame: State) -> Result<State, NotHad> {
    match frame {
        State::Shared(count) => Ok(State::Shared(count + 1)),
        State::Unused => Err(NotHad::Unused),
        State::Unique => Err(NotHad::Unique),
        State::Reserved => Err(NotHad::Reserved),
    }
}

/// Clones a handle of a shared frame.
#[must_use]
pub fn clone(frame: State) -> State {
    match frame {
        State::Shared(count) => State::Shared(count + 1),
        other => other,
    }
}

/// Drops a handle: the last one frees the frame.
#[must_use]
pub fn drop(frame: State) -> State {
    match frame {
        State::Shared(1) | State::Unique => State::Unused,
        State::Shared(count) => State::Shared(count - 1),
        other => other,
    }
}

/// Makes a shared frame unique, if there is one reference; the handle comes back
/// otherwise.
#[must_use]
pub fn make_unique(frame: State) -> State {
    match frame {
        State::Shared(1) => State::Unique,
        other => other,
    }
}

/// Shares a unique frame.
#[must_use]
pub fn share(frame: State) -> State {
    match frame {
        State::Unique => State::Shared(1),
        other => other,
    }
}
