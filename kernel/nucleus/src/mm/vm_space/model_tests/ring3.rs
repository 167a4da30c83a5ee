//! A program in ring 3 that makes one access and calls the kernel.
//!
//! It needs one page of code for loads and stores, and none for fetches: there
//! the word that is looked at is itself a program, which tells its number.

use alloc::format;

use super::pair::Disagreement;
use super::view::{Access, Seen};
use crate::mm::vm_space::PageFaultInfo;
use crate::mm::{FrameAllocOptions, UFrame, UntypedMem, Vaddr, VmReader};
use crate::user::{ReturnReason, UserContext, UserMode};

/// Where the page of code is; no script looks there.
pub(super) const HOME: Vaddr = 0x1000;

/// `pop rax; syscall`, a load from where the stack pointer points.
const LOAD: [u8; 3] = [0x58, 0x0f, 0x05];
/// `push rax; syscall`, a store to below where the stack pointer points.
const STORE: [u8; 3] = [0x50, 0x0f, 0x05];
/// Where the latter is in the page.
const STORE_OFFSET: usize = 16;

/// Returns the page of code.
pub(super) fn program() -> UFrame {
    let frame: UFrame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory")
        .into();
    for (offset, code) in [(0, LOAD), (STORE_OFFSET, STORE)] {
        let mut writer = frame.writer();
        VmReader::from(&code[..]).read(writer.skip(offset));
    }
    frame
}

/// Returns the word with a number: `mov eax, number; syscall`.
pub(super) fn word(number: u32) -> u64 {
    const MOV_EAX: u64 = 0xb8;
    const SYSCALL: u64 = 0x050f;
    MOV_EAX | u64::from(number) << 8 | SYSCALL << 40
}

/// Has the program access a word.
pub(super) fn access(va: Vaddr, access: Access, stored: u64) -> Result<Seen, Disagreement> {
    let context = match access {
        Access::Load => UserContext::new(HOME, va),
        Access::Store => {
            let mut context = UserContext::new(HOME + STORE_OFFSET, va + size_of::<u64>());
            context.set_rax(stored as usize);
            context
        }
        Access::Fetch => UserContext::new(va, 0),
    };
    let mut user = UserMode::new(context);
    let reason = loop {
        match user.execute() {
            ReturnReason::KernelEvent => {}
            reason => break reason,
        }
    };
    let rax = user.context().rax();
    match reason {
        ReturnReason::UserSyscall => Ok(match access {
            Access::Load => Seen::Word(rax as u64),
            Access::Store => Seen::Stored,
            Access::Fetch => Seen::Word(word(rax as u32)),
        }),
        ReturnReason::UserException(exception) if let Some(address) = exception.fault_address => {
            let code = exception.page_fault_code();
            Ok(Seen::Fault(PageFaultInfo { address, code }))
        }
        other => Err(format!("the processor ended the program by {other:x?}")),
    }
}
