//! The machines of the matrix.

mod devices;
mod media;
mod memory;
mod processors;

use super::row::Row;

/// Returns all of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    let groups = [
        processors::OF_QEMU,
        processors::OF_BOCHS,
        media::MEDIA,
        media::FIRMWARE,
        devices::DEVICES,
        devices::TIMERS,
        devices::SCREENS,
        devices::SEVERAL,
        memory::MEMORY,
    ];
    groups.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;
    use crate::flags::EmulatorKind;

    #[test]
    fn rows_have_names_of_their_own() {
        let names: BTreeSet<_> = all().map(|row| row.name).collect();
        assert_eq!(names.len(), all().count());
        let is_word = |name: &&str| !name.is_empty() && !name.contains(char::is_whitespace);
        assert!(names.iter().all(is_word));
    }

    #[test]
    fn both_emulators_have_several_models() {
        for kind in [EmulatorKind::Qemu, EmulatorKind::Bochs] {
            let of_kind = all().filter(|row| row.emulator == kind);
            let models: BTreeSet<_> = of_kind.map(|row| row.cpu).collect();
            assert!(models.len() >= 8, "{kind:?}");
        }
    }
}
