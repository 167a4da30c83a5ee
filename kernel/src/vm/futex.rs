//! What a futex is: the same word for all that may wait for it.

use nucleus::mm::{PAGE_SIZE, Paddr, USER_END, Vaddr};

use super::AddressSpace;
use super::fault::objects_page;
use crate::errno::Errno;

/// Which word a futex is.
///
/// A key may be kept for longer than its word is there: at worst, those who wait for
/// a word that is gone are woken with those of another, which a futex allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FutexKey {
    /// Of one address space: its address there.
    Private { space: usize, address: Vaddr },
    /// Of an object, which several may map: where it is in memory. The object keeps
    /// the frame.
    Shared { address: Paddr },
}

impl AddressSpace {
    /// Returns which word an address leads to. One that its program says is private is
    /// not looked up.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an address that is not a multiple of 4, `EFAULT`.
    pub(crate) fn futex_key(&self, address: Vaddr, is_private: bool) -> Result<FutexKey, Errno> {
        super::user_memory::check_word(address)?;
        // Linux has one page more, in which nothing can be mapped.
        if address >= USER_END + PAGE_SIZE {
            return Err(Errno::Fault);
        }
        let private = FutexKey::Private {
            space: core::ptr::from_ref(self).addr(),
            address,
        };
        if is_private {
            return Ok(private);
        }
        let layout = self.look();
        let (range, region) = layout.regions.at(address).ok_or(Errno::Fault)?;
        if !region.is_shared() {
            return Ok(private);
        }
        let page = objects_page(region, address - range.start);
        match page.map_err(|_| Errno::Fault)? {
            Some(frame) => Ok(FutexKey::Shared {
                address: frame.start_paddr() + address % PAGE_SIZE,
            }),
            None => Ok(private),
        }
    }

    /// Reads a word in one access, if its page is there. Does not sleep.
    pub(crate) fn peek_u32(&self, address: Vaddr) -> Option<u32> {
        super::user_memory::check_word(address).ok()?;
        let reader = self.space.reader(address, size_of::<u32>()).ok()?;
        reader.atomic_load().ok()
    }
}
