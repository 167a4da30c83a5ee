//! What a program says about its memory (`madvise(2)`).

use super::{AddressSpace, UserRange};
use crate::errno::Errno;

impl AddressSpace {
    /// Forgets the pages of a range. Private memory is afterwards what it was when it
    /// was mapped; shared memory keeps its contents.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the range has a hole; the rest is forgotten then all the same.
    pub(crate) fn discard(&self, range: &UserRange) -> Result<(), Errno> {
        let layout = self.change();
        self.take_pages_out(range)?;
        if !layout.regions.covers(range) {
            return Err(Errno::NoMemory);
        }
        Ok(())
    }
}
