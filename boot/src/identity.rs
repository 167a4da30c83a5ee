//! The numbers that tell disks apart, which follow from what is on the disk.
//!
//! Operating systems tell disks, partitions and volumes apart by identifiers that
//! should differ between any two. Random ones would make two builds of the same
//! inputs differ, so these are digests: equal disks have equal identifiers, as
//! copies of one image have anyway, and others do not.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// What all identifiers of a disk follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity([u8; 32]);

impl Identity {
    /// Starts with nothing on the disk.
    pub(crate) fn new() -> Self {
        Self([0; 32])
    }

    /// Takes something by a name into account; the order matters.
    #[must_use]
    pub(crate) fn with(self, name: &str, contents: &[u8]) -> Self {
        // Digests of the parts, as parts of other lengths could run together alike.
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(Sha256::digest(name))
            .chain_update(Sha256::digest(contents));
        Self(digest.finalize().into())
    }

    /// Returns the identifier of one thing on the disk, as the partition tables
    /// want it: one of version 8, which is whatever its maker likes (RFC 9562).
    pub(crate) fn guid(self, name: &str) -> Uuid {
        let Self(digest) = self.with(name, b"");
        let half = std::array::from_fn(|index| digest[index]);
        Builder::from_custom_bytes(half).into_uuid()
    }

    /// As [`Self::guid`], in the size of old tables and volumes.
    pub(crate) fn number(self, name: &str) -> u32 {
        self.guid(name).as_fields().0
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn identity_follows_from_names_and_contents() {
        let new = Identity::new;
        let first = new().with("a", b"bc");
        assert_eq!(first, new().with("a", b"bc"));
        for other in [new().with("ab", b"c"), new().with("a", b"b"), new()] {
            assert_ne!(first, other);
        }
        assert_ne!(
            first.with("x", b"").with("y", b""),
            first.with("y", b"").with("x", b"")
        );
        assert_ne!(first.number("disk"), first.number("volume"));
    }
}
