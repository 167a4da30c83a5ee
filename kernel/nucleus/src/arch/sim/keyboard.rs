//! The keyboard of the simulated machine: nobody types, and it has no lights.

/// Reads nothing.
pub(crate) fn try_read() -> Option<u8> {
    None
}

/// Does nothing: there are no lights.
pub(crate) fn set_lights(_lights: u8) {}
