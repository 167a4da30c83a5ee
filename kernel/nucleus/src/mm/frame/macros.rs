//! The nucleus' only macros that expand to `unsafe` code, which `forbid(unsafe_code)`
//! of another crate does not see: each is sound for every input.

/// Makes types that of frames whose bytes the kernel alone may touch. Each may be given
/// a name, by which a [census](crate::mm::frame::Census) calls its frames.
///
/// Nothing of what it expands to depends on its input: the types' own code is
/// not called, a name is a literal, and the compiler checks that they fit.
#[macro_export]
macro_rules! impl_frame_meta_for {
    ($($meta:ty $(=> $kind:literal)?),* $(,)?) => {$(
        // SAFETY: 1. it is not untyped; 2. there is no hook.
        unsafe impl $crate::mm::frame::AnyFrameMeta for $meta {
            $($crate::frame_kind!($kind);)?
        }
    )*};
}

/// Makes types that of frames of plain bytes, which user programs may see. Each may be
/// given a name, as by [`impl_frame_meta_for!`](crate::impl_frame_meta_for).
#[macro_export]
macro_rules! impl_untyped_frame_meta_for {
    ($($meta:ty $(=> $kind:literal)?),* $(,)?) => {$(
        // SAFETY: 1. the frame's bytes are touched by readers and writers
        // alone, as untyped frames give no other access; 2. there is no hook.
        unsafe impl $crate::mm::frame::AnyFrameMeta for $meta {
            fn is_untyped(&self) -> bool {
                true
            }
            $($crate::frame_kind!($kind);)?
        }
        // SAFETY: It is untyped, see above.
        unsafe impl $crate::mm::frame::AnyUFrameMeta for $meta {}
    )*};
}

/// Says what frames of a type are called, within its `AnyFrameMeta`.
#[doc(hidden)]
#[macro_export]
macro_rules! frame_kind {
    ($kind:literal) => {
        fn kind() -> $crate::mm::frame::FrameKind {
            $crate::mm::frame::FrameKind::named($kind)
        }
    };
}
