//! What the status of an emulator says of its guest.
//!
//! The kernel's table is `kernel/nucleus/src/exit_code.rs`; a test compares the two.

/// The kernel's codes, and what they are called.
const CODES: [(i32, &str); 4] = [
    (0x10, "success"),
    (0x11, "failure"),
    (0x12, "panic"),
    (0x13, "double fault"),
];

/// Returns how a guest ended by the status that QEMU ended with, such as
/// `panic (0x12)`; `None` if the status is no code of the kernel's.
pub(crate) fn of_qemu(status: i32) -> Option<String> {
    let (code, name) = CODES.iter().find(|(code, _)| code << 1 | 1 == status)?;
    Some(format!("{name} ({code:#x})"))
}

#[cfg(test)]
mod tests {
    use nucleus::exit_code::ExitCode;

    use super::{CODES, of_qemu};

    #[test]
    fn codes_are_the_kernels() {
        let of_kernel = ExitCode::ALL.map(|code| (code as i32, code.name()));
        assert_eq!(CODES, of_kernel);
    }

    #[test]
    fn status_of_qemu_is_named() {
        assert_eq!(of_qemu(0x25).as_deref(), Some("panic (0x12)"));
        assert_eq!(of_qemu(0x27).as_deref(), Some("double fault (0x13)"));
        // QEMU's own: ended by a key, and an error of its command line.
        assert_eq!((of_qemu(0), of_qemu(1)), (None, None));
        assert_eq!(
            (of_qemu(0x24), of_qemu(0x29), of_qemu(-1)),
            (None, None, None)
        );
    }
}
