//! The HPET's table (HPET specification 1.0a, 3.2.4).

/// Returns the physical address of the timer's registers, if they are in memory.
pub(super) fn base_address(table: &[u8]) -> Option<u64> {
    const SPACE: usize = 40;
    const ADDRESS: core::ops::Range<usize> = 44..52;
    /// Registers in memory, and not at ports.
    const SYSTEM_MEMORY: u8 = 0;
    let is_memory = *table.get(SPACE)? == SYSTEM_MEMORY;
    let address = u64::from_le_bytes(table.get(ADDRESS)?.try_into().ok()?);
    Some(address).filter(|address| is_memory && *address != 0)
}
