//! From the root pointer to the bytes of a table.

use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;

use super::{PhysicalMemory, read};

/// Longest table that is believed: the byte code of large machines has some
/// hundred KiB.
const MAX_TABLE_SIZE: usize = 16 << 20;
/// Most tables that are looked at.
const MAX_TABLES: usize = 256;
const HEADER_SIZE: usize = size_of::<SdtHeader>();

/// The tables that a root table lists.
pub(super) struct Tables<'a, M> {
    memory: &'a M,
    /// The addresses in the root table, one after the other.
    addresses: &'a [u8],
    /// Bytes of an address: 4 in an RSDT, 8 in an XSDT.
    address_size: usize,
}

impl<'a, M: PhysicalMemory> Tables<'a, M> {
    /// Follows the root pointer at a physical address, to the XSDT if there is a
    /// sane one and else to the RSDT.
    pub(super) fn from_root_pointer(memory: &'a M, root: u64) -> Option<Self> {
        /// Bytes that there were before revision 2.
        const OLD_SIZE: usize = 20;
        let old = memory.bytes(root, OLD_SIZE)?;
        if !old.starts_with(b"RSD PTR ") || !has_good_sum(old) {
            return None;
        }
        // The new fields have a sum of their own, over all of the pointer.
        let new = memory.bytes(root, size_of::<Rsdp>());
        let new = new.filter(|bytes| has_good_sum(bytes)).and_then(read);
        let xsdt = new.filter(|rsdp: &Rsdp| rsdp.revision() >= 2);
        let xsdt = xsdt.and_then(|rsdp| Self::from_root_table(memory, rsdp.xsdt_address(), 8));
        xsdt.or_else(|| {
            let address = old.get(16..20)?.try_into().ok().map(u32::from_le_bytes)?;
            Self::from_root_table(memory, u64::from(address), 4)
        })
    }

    fn from_root_table(memory: &'a M, address: u64, address_size: usize) -> Option<Self> {
        let signature = if address_size == 8 {
            *b"XSDT"
        } else {
            *b"RSDT"
        };
        let table = table_at(memory, address, signature)?;
        Some(Self {
            memory,
            addresses: table.get(HEADER_SIZE..)?,
            address_size,
        })
    }

    /// Returns the bytes of the first sane table with a signature.
    pub(super) fn find(&self, signature: [u8; 4]) -> Option<&'a [u8]> {
        let addresses = self.addresses.chunks_exact(self.address_size);
        addresses.take(MAX_TABLES).find_map(|bytes| {
            let mut address = [0; 8];
            address.get_mut(..bytes.len())?.copy_from_slice(bytes);
            table_at(self.memory, u64::from_le_bytes(address), signature)
        })
    }

    /// Returns the bytes of the table at a physical address, if it is a sane one
    /// with this signature.
    pub(super) fn at(&self, address: u64, signature: [u8; 4]) -> Option<&'a [u8]> {
        table_at(self.memory, address, signature)
    }
}

/// Returns the bytes of a table, header included, if all of it is memory and its
/// sum is right.
fn table_at<M: PhysicalMemory>(memory: &M, address: u64, signature: [u8; 4]) -> Option<&[u8]> {
    let header: SdtHeader = read(memory.bytes(address, HEADER_SIZE)?)?;
    let found = memory.bytes(address, signature.len())?;
    if found != signature {
        return None;
    }
    let len = header.length as usize;
    let is_sane = (HEADER_SIZE..=MAX_TABLE_SIZE).contains(&len);
    let table = is_sane.then(|| memory.bytes(address, len)).flatten();
    let table = table.filter(|bytes| has_good_sum(bytes));
    if table.is_none() {
        let name = signature.escape_ascii();
        log::warn!("acpi: the table {name} at {address:#x}, {len} bytes, is damaged");
    }
    table
}

/// All bytes of a table add up to zero.
fn has_good_sum(bytes: &[u8]) -> bool {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    sum == 0
}
