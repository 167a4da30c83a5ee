//! What frames are for that programs have, or that are made for them: types without
//! data, by whose names a census counts them (`/proc/vostok/frames`).

use nucleus::impl_untyped_frame_meta_for;

/// Memory that is a process's own, or was until a fork.
#[derive(Debug)]
pub(crate) struct Anonymous;

/// Memory without a file that processes share.
#[derive(Debug)]
pub(crate) struct Shared;

/// A page of a file of the initramfs, kept since it was mapped first.
#[derive(Debug)]
pub(crate) struct Cached;

/// A page of a file in memory, or of a text that was made when a file was opened.
#[derive(Debug)]
pub(crate) struct FilePage;

/// What is on its way through a pipe.
#[derive(Debug)]
pub(crate) struct PipePage;

impl_untyped_frame_meta_for!(
    Anonymous => "anonymous",
    Shared => "shared",
    Cached => "file-cache",
    FilePage => "files",
    PipePage => "pipes",
);
