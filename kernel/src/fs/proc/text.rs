//! Files whose contents are made when they are opened.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use nucleus::mm::{PAGE_SIZE, VmReader};

use super::metadata;
use crate::errno::Errno;
use crate::fs::buffer::Sink;
use crate::fs::node::{Inode, Kind, Metadata, RegularFile};
use crate::fs::pages::{Budget, Pages};

/// A text that is being made, in frames.
pub(crate) struct Text {
    pages: Pages,
    len: u64,
    /// What is not in the pages yet: less than one.
    rest: Vec<u8>,
    error: Option<Errno>,
}

impl Text {
    fn new() -> Self {
        Self {
            // What is too much for programs is refused by the allocator.
            pages: Pages::new(Arc::new(Budget::new(usize::MAX))),
            len: 0,
            rest: Vec::with_capacity(PAGE_SIZE),
            error: None,
        }
    }

    /// Adds bytes, which need not be text.
    pub(crate) fn push_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let part = bytes.len().min(PAGE_SIZE - self.rest.len());
            self.rest.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.rest.len() == PAGE_SIZE {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let mut bytes = VmReader::from(&self.rest[..]);
        match self.pages.write(self.len, &mut bytes) {
            Ok(count) => self.len += count as u64,
            Err(error) => self.error = Some(error),
        }
        self.rest.clear();
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_bytes(text.as_bytes());
        self.error.map_or(Ok(()), |_| Err(fmt::Error))
    }
}

/// A file whose contents `write` makes.
pub(super) struct TextFile<W> {
    number: u64,
    write: W,
}

impl<W> TextFile<W> {
    pub(super) const fn new(number: u64, write: W) -> Self {
        Self { number, write }
    }
}

impl<W> fmt::Debug for TextFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextFile({:#x})", self.number)
    }
}

impl<W: Send + Sync + 'static> Inode for TextFile<W> {
    fn metadata(&self) -> Metadata {
        metadata(self.number, Kind::File)
    }
}

impl<W: Fn(&mut Text) -> fmt::Result + Send + Sync + 'static> RegularFile for TextFile<W> {
    fn make(&self) -> Option<Result<Arc<dyn RegularFile>, Errno>> {
        let mut text = Text::new();
        let written = (self.write)(&mut text);
        text.flush();
        if let Some(error) = text.error {
            return Some(Err(error));
        }
        // Whoever writes fails only if what it writes about is gone.
        if written.is_err() {
            return Some(Err(Errno::NoProcess));
        }
        Some(Ok(Arc::new(MadeText {
            number: self.number,
            pages: text.pages,
            len: text.len,
        })))
    }

    fn len(&self) -> u64 {
        0
    }

    fn read_at(&self, _offset: u64, _to: &mut dyn Sink) -> Result<usize, Errno> {
        Ok(0)
    }
}

/// A text that was made.
#[derive(Debug)]
struct MadeText {
    number: u64,
    pages: Pages,
    len: u64,
}

impl Inode for MadeText {
    fn metadata(&self) -> Metadata {
        metadata(self.number, Kind::File)
    }
}

impl RegularFile for MadeText {
    /// As far as positions go, nobody knows.
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        self.pages.read(offset, self.len.saturating_sub(offset), to)
    }
}
