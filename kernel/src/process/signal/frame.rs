//! What a handler finds on its stack, and how it returns from there.
//!
//! ```text
//!  higher addresses
//!    the interrupted program's stack, and 128 bytes that it may use below
//!    its vector registers: image of `xsave`, and a mark     aligned to 64
//!    siginfo_t                                 128 bytes
//!    ucontext_t: alternate stack, registers,
//!                blocked signals               304 bytes
//!    the address that the handler returns to     8 bytes
//!  rsp of the handler                       aligned to 16, less 8
//! ```
//!
//! The layout is that of Linux's `struct rt_sigframe`. On the way back all of it is
//! the program's word against the kernel's: flags and selectors are made those of ring
//! 3, addresses are checked where ring 3 is entered, and the image of the vector
//! registers is checked before it is loaded (peers 84 and 93).

use alloc::vec::Vec;

use nucleus::mm::USER_END;
use nucleus::user::{CpuException, FpuContext, UserContext};

use super::action::{Action, flag};
use super::info::INFO_SIZE;
use super::stack::STACK_SIZE;
use super::{SigInfo, Signal, SignalSet};
use crate::errno::Errno;
use crate::process::Current;

/// Bytes below its stack pointer that a program may use (System V ABI, 3.2.2).
const RED_ZONE: usize = 128;
/// Alignment of an image of `xsave`.
const IMAGE_ALIGN: usize = 64;

/// Offsets in the frame.
mod at {
    pub(super) const UCONTEXT: usize = 8;
    pub(super) const STACK: usize = UCONTEXT + 16;
    pub(super) const REGISTERS: usize = STACK + super::STACK_SIZE;
    pub(super) const MASK: usize = REGISTERS + 256;
    pub(super) const INFO: usize = MASK + 8;
    pub(super) const END: usize = INFO + super::INFO_SIZE;
}

/// Words of the registers: sixteen general ones, then these.
mod word {
    pub(super) const RIP: usize = 16;
    pub(super) const FLAGS: usize = 17;
    pub(super) const SELECTORS: usize = 18;
    pub(super) const ERROR_CODE: usize = 19;
    pub(super) const VECTOR: usize = 20;
    pub(super) const OLD_MASK: usize = 21;
    pub(super) const FAULT_ADDRESS: usize = 22;
    pub(super) const IMAGE: usize = 23;
    pub(super) const COUNT: usize = 32;
}

/// Flags of a `ucontext_t`: there is an image of `xsave`, and SS is in the selectors.
const CONTEXT_FLAGS: u64 = 0b111;
/// The selectors of programs, CS and SS, as Linux numbers them. The processor's own are
/// other ones, which programs cannot change and have no use for.
const SELECTORS: usize = 0x33 | 0x2b << 48;
/// The direction and the single-step flag, which a handler starts without.
const CLEARED_FLAGS: usize = 0x0001_0500;

/// The bytes of an image of `xsave` that the processor leaves to software: what is
/// valid of it. Linux's own layout (`struct _fpx_sw_bytes`).
mod software {
    pub(super) const OFFSET: usize = 464;
    pub(super) const MAGIC_1: u32 = 0x4650_5853;
    pub(super) const MAGIC_2: u32 = 0x4650_5845;
    /// Bytes of the old image, without a header.
    pub(super) const OLD_SIZE: usize = 512;
}

/// The general registers, in the order of a `sigcontext`.
fn general_registers(context: &UserContext) -> [usize; 16] {
    [
        context.r8(),
        context.r9(),
        context.r10(),
        context.r11(),
        context.r12(),
        context.r13(),
        context.r14(),
        context.r15(),
        context.rdi(),
        context.rsi(),
        context.rbp(),
        context.rbx(),
        context.rdx(),
        context.rax(),
        context.rcx(),
        context.rsp(),
    ]
}

fn set_general_registers(context: &mut UserContext, words: &[usize]) {
    let setters = [
        UserContext::set_r8,
        UserContext::set_r9,
        UserContext::set_r10,
        UserContext::set_r11,
        UserContext::set_r12,
        UserContext::set_r13,
        UserContext::set_r14,
        UserContext::set_r15,
        UserContext::set_rdi,
        UserContext::set_rsi,
        UserContext::set_rbp,
        UserContext::set_rbx,
        UserContext::set_rdx,
        UserContext::set_rax,
        UserContext::set_rcx,
        UserContext::set_rsp,
    ];
    for (set, word) in setters.into_iter().zip(words) {
        set(context, *word);
    }
}

/// Checks that a frame has the code and the stack segment of programs: there are no
/// others that ring 3 could use. Their lowest bits are its privilege level always, and
/// what stands between them does not count.
fn check_selectors(word: usize) -> Result<(), Errno> {
    const RING_3: usize = 3 | 3 << 48;
    const COUNTING: usize = 0xffff | 0xffff << 48;
    match (word | RING_3) & COUNTING == SELECTORS {
        true => Ok(()),
        false => Err(Errno::Fault),
    }
}

/// Returns an exception's error code for a program to see. Whether the kernel has mapped
/// something at an address of its own is not a program's to know: it looks as if it had.
fn shown_error_code(exception: &CpuException) -> usize {
    const PRESENT: u64 = 1;
    let is_kernel = exception.fault_address.is_some_and(|at| at >= USER_END);
    let hidden = if is_kernel { PRESENT } else { 0 };
    (exception.error_code | hidden) as usize
}

/// Returns the image of the vector registers as a handler finds it.
fn image_for_handler(fpu: &FpuContext) -> Vec<u8> {
    let mut image = Vec::from(fpu.as_bytes());
    let size = image.len();
    if size <= software::OLD_SIZE {
        return image;
    }
    let features = image[software::OLD_SIZE..software::OLD_SIZE + 8].to_vec();
    image.extend(software::MAGIC_2.to_le_bytes());
    let mut put = |at: usize, bytes: &[u8]| {
        image[software::OFFSET + at..][..bytes.len()].copy_from_slice(bytes);
    };
    put(0, &[0; software::OLD_SIZE - software::OFFSET]);
    put(0, &software::MAGIC_1.to_le_bytes());
    put(4, &(size as u32 + 4).to_le_bytes());
    put(8, &features);
    put(16, &(size as u32).to_le_bytes());
    image
}

impl Current {
    /// Writes the frame of a handler, which blocks signals beyond those of `blocked`,
    /// and has the registers enter it.
    pub(super) fn push_frame(
        &mut self,
        info: &SigInfo,
        action: &Action,
        blocked: SignalSet,
    ) -> Result<(), Errno> {
        if !action.has(flag::RESTORER) {
            return Err(Errno::Fault);
        }
        let fpu = self.user.fpu_context();
        let context = self.user.context();
        let stack_pointer = context.rsp();
        let alternate = self.signals.alternate_stack;
        let other = alternate
            .top_for(stack_pointer)
            .filter(|_| action.has(flag::ON_STACK));
        let top = other.unwrap_or(stack_pointer.wrapping_sub(RED_ZONE));
        let image = image_for_handler(&fpu);
        let image_at = top.wrapping_sub(image.len()) & !(IMAGE_ALIGN - 1);
        let frame_at = (image_at.wrapping_sub(at::END) & !15).wrapping_sub(8);
        if other.is_some() && !alternate.contains(frame_at) {
            return Err(Errno::Fault);
        }
        let frame = self.frame(info, action, blocked, image_at);
        self.memory.write_bytes(image_at, &image)?;
        self.memory.write_bytes(frame_at, &frame)?;
        self.signals.alternate_stack.use_up();

        let context = self.user.context_mut();
        context.set_rip(action.handler);
        context.set_rsp(frame_at);
        context.set_rdi(usize::from(info.signal.as_u8()));
        context.set_rsi(frame_at + at::INFO);
        context.set_rdx(frame_at + at::UCONTEXT);
        context.set_rax(0);
        context.set_rflags(context.rflags() & !CLEARED_FLAGS);
        Ok(())
    }

    /// Puts the bytes of a frame together, but for the image.
    fn frame(
        &self,
        info: &SigInfo,
        action: &Action,
        blocked: SignalSet,
        image_at: usize,
    ) -> [u8; at::END] {
        let context = self.user.context();
        let mut words = [0; word::COUNT];
        words[..16].copy_from_slice(&general_registers(context));
        words[word::RIP] = context.rip();
        words[word::FLAGS] = context.rflags();
        words[word::SELECTORS] = SELECTORS;
        if let Some(exception) = context.last_exception() {
            words[word::ERROR_CODE] = shown_error_code(&exception);
            words[word::VECTOR] = usize::from(exception.vector);
            words[word::FAULT_ADDRESS] = exception.fault_address.unwrap_or(0);
        }
        words[word::OLD_MASK] = blocked.bits() as usize;
        words[word::IMAGE] = image_at;

        let stack = self.signals.alternate_stack.to_bytes(context.rsp());
        let mut frame = [0; at::END];
        let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &action.restorer.to_le_bytes());
        put(at::UCONTEXT, &CONTEXT_FLAGS.to_le_bytes());
        put(at::STACK, &stack);
        put(at::REGISTERS, words.map(usize::to_le_bytes).as_flattened());
        put(at::MASK, &blocked.bits().to_le_bytes());
        put(at::INFO, &info.to_bytes());
        frame
    }

    /// Goes back to what a handler has interrupted, by the frame that it left; returns
    /// what RAX is to be.
    pub(crate) fn return_from_handler(&mut self) -> usize {
        if self.pop_frame().is_err() {
            let at = self.user.context().rsp();
            let reason = format_args!("no frame to return by at {at:#x}");
            self.force_signal(SigInfo::of_kernel(Signal::SEGV), reason);
        }
        self.user.context().rax()
    }

    fn pop_frame(&mut self) -> Result<(), Errno> {
        let frame_at = self.user.context().rsp().wrapping_sub(8);
        let mut frame = [0; at::END];
        self.memory.read_bytes(frame_at, &mut frame)?;
        let (words, _) = frame[at::REGISTERS..at::MASK].as_chunks::<8>();
        let words: Vec<usize> = words.iter().copied().map(usize::from_le_bytes).collect();
        check_selectors(words[word::SELECTORS])?;
        let fpu = self.read_image(words[word::IMAGE])?;

        let mut mask = [0; 8];
        mask.copy_from_slice(&frame[at::MASK..at::INFO]);
        let mut stack = [0; STACK_SIZE];
        stack.copy_from_slice(&frame[at::STACK..at::REGISTERS]);

        let context = self.user.context_mut();
        set_general_registers(context, &words[..16]);
        context.set_rip(words[word::RIP]);
        context.set_rflags(words[word::FLAGS]);
        let stack_pointer = context.rsp();
        self.user.set_fpu_context(fpu);
        self.set_blocked(SignalSet::from_bits(u64::from_le_bytes(mask)));
        // As on Linux, a stack that cannot be is left as it was.
        let alternate = &mut self.signals.alternate_stack;
        if let Ok(stack) = alternate.replaced_by(&stack, stack_pointer) {
            *alternate = stack;
        }
        Ok(())
    }

    /// Reads an image of the vector registers, and checks it; without one, they become
    /// what a program starts with.
    fn read_image(&self, image_at: usize) -> Result<FpuContext, Errno> {
        if image_at == 0 {
            return Ok(FpuContext::new());
        }
        let mut image = alloc::vec![0; FpuContext::size()];
        self.memory
            .read_bytes(image_at, &mut image[..software::OLD_SIZE])?;
        let word = |at: usize| {
            let bytes = &image[software::OFFSET + at..][..4];
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let size = FpuContext::size();
        let is_whole = size > software::OLD_SIZE
            && word(0) == software::MAGIC_1
            && word(16) as usize == size
            && self.has_end_mark(image_at, size);
        if is_whole {
            self.memory.read_bytes(image_at, &mut image)?;
        } else {
            image.truncate(software::OLD_SIZE);
        }
        // Its bytes for software are no business of the processor's.
        image[software::OFFSET..software::OLD_SIZE].fill(0);
        FpuContext::from_user_bytes(&image).map_err(|_| Errno::Fault)
    }

    fn has_end_mark(&self, image_at: usize, size: usize) -> bool {
        let mut mark = [0; 4];
        let read = self
            .memory
            .read_bytes(image_at.wrapping_add(size), &mut mark);
        read.is_ok() && u32::from_le_bytes(mark) == software::MAGIC_2
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{FpuContext, at, image_for_handler, software, word};

    #[ktest]
    fn offsets_are_those_of_the_abi() {
        // `struct rt_sigframe` of Linux: 8 + 304 + 128 bytes.
        assert_eq!((at::STACK, at::REGISTERS), (24, 48));
        assert_eq!((at::MASK, at::INFO, at::END), (304, 312, 440));
        assert_eq!(at::REGISTERS + word::RIP * 8, 8 + 168);
        assert_eq!(word::COUNT * 8, 256);
    }

    #[ktest]
    fn image_says_what_is_valid_of_it() {
        let fpu = FpuContext::new();
        let image = image_for_handler(&fpu);
        let size = FpuContext::size();
        if size <= software::OLD_SIZE {
            assert_eq!(image.len(), size);
            return;
        }
        assert_eq!(image.len(), size + 4);
        assert_eq!(
            image[software::OFFSET..][..4],
            software::MAGIC_1.to_le_bytes()
        );
        assert_eq!(image[size..], software::MAGIC_2.to_le_bytes());
    }
}
