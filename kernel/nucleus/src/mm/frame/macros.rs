//! The nucleus' only macros that expand to `unsafe` code, which `forbid(unsafe_code)`
//! of another crate does not see: each is sound for every input.

/// Makes types that of frames whose bytes the kernel alone may touch.
///
/// Nothing of what it expands to depends on its input: the types' own code is
/// not called, and the compiler checks that they fit.
#[macro_export]
macro_rules! impl_frame_meta_for {
    ($($meta:ty),* $(,)?) => {$(
        // SAFETY: 1. it is not untyped; 2. there is no hook.
        unsafe impl $crate::mm::frame::AnyFrameMeta for $meta {}
    )*};
}

/// Makes types that of frames of plain bytes, which user programs may see.
#[macro_export]
macro_rules! impl_untyped_frame_meta_for {
    ($($meta:ty),* $(,)?) => {$(
        // SAFETY: 1. the frame's bytes are touched by readers and writers
        // alone, as untyped frames give no other access; 2. there is no hook.
        unsafe impl $crate::mm::frame::AnyFrameMeta for $meta {
            fn is_untyped(&self) -> bool {
                true
            }
        }
        // SAFETY: It is untyped, see above.
        unsafe impl $crate::mm::frame::AnyUFrameMeta for $meta {}
    )*};
}
