//! Firmware made of bytes, for those who test what is read of it.

use alloc::vec::Vec;

use super::PhysicalMemory;

/// Where the memory of these machines begins; odd, as tables may be.
pub const BASE: u64 = 0xe_0001;

/// Memory with tables in it.
#[derive(Clone, Debug, Default)]
pub struct Firmware {
    /// The bytes from [`BASE`] on.
    pub bytes: Vec<u8>,
}

impl PhysicalMemory for Firmware {
    fn bytes(&self, start: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(start.checked_sub(BASE)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

impl Firmware {
    /// Puts some bytes into memory; returns their address.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let address = BASE + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        address
    }
}

/// Makes the sum of all bytes zero, by the byte at an index.
///
/// # Panics
///
/// Panics when there is no such byte.
pub fn with_sum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] = 0;
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[at] = sum.wrapping_neg();
    bytes
}

/// Returns a table with a header in order.
pub fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend((36 + body.len() as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(*b"VOSTOKODDTABLE");
    bytes.resize(36, 0);
    bytes.extend_from_slice(body);
    with_sum(bytes, 9)
}

/// Returns a root pointer of revision 2, or of the first one without an XSDT.
pub fn root_pointer(rsdt: u64, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0VOSTOK".to_vec();
    bytes.push(if xsdt == 0 { 0 } else { 2 });
    bytes.extend((rsdt as u32).to_le_bytes());
    let mut bytes = with_sum(bytes, 8);
    bytes.extend(36_u32.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.resize(36, 0);
    with_sum(bytes, 32)
}
