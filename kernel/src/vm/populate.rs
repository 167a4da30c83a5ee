//! Making pages before they are touched (`MAP_POPULATE`, `mlock(2)`, `MADV_POPULATE_*`).

use nucleus::mm::{PAGE_SIZE, PageFlags};

use super::region::{Access, Region};
use super::{AccessError, AddressSpace, UserRange};
use crate::errno::Errno;

impl AddressSpace {
    /// Makes all pages of a range exist, as a program that uses them would.
    pub(super) fn populate(&self, range: &UserRange) -> Result<(), AccessError> {
        self.populate_as(range, |region| {
            let is_written = region.protection.contains(PageFlags::W) && !region.is_shared();
            if is_written {
                Access::Write
            } else {
                Access::Read
            }
        })
    }

    /// Makes all pages of a range exist, for such accesses.
    ///
    /// # Errors
    ///
    /// `ENOMEM` at a hole, `EINVAL` where the access is not allowed, `EFAULT` behind the
    /// end of an object.
    pub(super) fn populate_for(&self, range: &UserRange, access: Access) -> Result<(), Errno> {
        self.populate_as(range, |_| access)
            .map_err(|error| match error {
                AccessError::Unmapped | AccessError::NoMemory => Errno::NoMemory,
                AccessError::Forbidden => Errno::Invalid,
                AccessError::BeyondObject => Errno::Fault,
            })
    }

    /// Makes pages one by one, so that other threads can change the regions in between.
    fn populate_as(
        &self,
        range: &UserRange,
        access: impl Fn(&Region) -> Access,
    ) -> Result<(), AccessError> {
        for page in range.as_range().clone().step_by(PAGE_SIZE) {
            let layout = self.look();
            let (found, region) = layout.regions.at(page).ok_or(AccessError::Unmapped)?;
            self.make_page(region, &found, page, access(region))?;
        }
        Ok(())
    }
}
