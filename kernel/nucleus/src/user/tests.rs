//! Does a program find in its registers what it left there, or what it was given?

use alloc::sync::Arc;

use super::{CpuException, FpuContext, ReturnReason, UserContext, UserMode};
use crate::arch::x86_64::features;
use crate::cpu::{CpuId, CpuSet, disable_preempt};
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, USER_END, UntypedMem,
    VmReader, VmSpace,
};
use crate::prelude::*;
use crate::task::{Task, TaskOptions};

/// Where the code of a program is.
const CODE: Vaddr = 0x40_0000;
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `movq xmm15, rax; syscall; movq rbx, xmm15; syscall`.
const KEEP_IN_VECTOR: [u8; 14] = [
    0x66, 0x4c, 0x0f, 0x6e, 0xf8, 0x0f, 0x05, 0x66, 0x4c, 0x0f, 0x7e, 0xfb, 0x0f, 0x05,
];
/// `wrfsbase rax; wrgsbase rbx; syscall; rdfsbase rsi; rdgsbase rdi; syscall`.
const KEEP_IN_BASES: [u8; 24] = [
    0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x48, 0x0f, 0xae, 0xdb, 0x0f, 0x05, 0xf3, 0x48, 0x0f, 0xae,
    0xc6, 0xf3, 0x48, 0x0f, 0xae, 0xcf, 0x0f, 0x05,
];

/// Makes an address space with a page of code.
fn space_with(code: &[u8]) -> Arc<VmSpace> {
    let space = Arc::new(VmSpace::new().expect("enough memory"));
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    VmReader::from(code).read(&mut frame.writer());
    let guard = disable_preempt();
    let mut cursor = space
        .cursor_mut(&guard, &(CODE..CODE + PAGE_SIZE))
        .expect("a legal range");
    let prop = PageProperty::new_user(PageFlags::RX, CachePolicy::Writeback);
    cursor.map(frame.into(), prop).expect("enough memory");
    drop(cursor);
    space
}

/// Runs a program until something other than an interrupt ends user mode.
fn run(user: &mut UserMode) -> ReturnReason {
    loop {
        match user.execute() {
            ReturnReason::KernelEvent => {}
            reason => return reason,
        }
    }
}

/// Runs a program until its next system call.
#[track_caller]
fn run_to_call(user: &mut UserMode) {
    assert_eq!(run(user), ReturnReason::UserSyscall);
}

#[ktest]
fn non_canonical_rip_never_reaches_ring_3() {
    // peer_084, peer_092
    for rip in [
        USER_END,
        0x8000_0000_0000,
        0xffff_8000_0000_0000,
        usize::MAX,
    ] {
        let mut program = UserMode::new(UserContext::new(rip, 0x1000));
        assert_eq!(program.execute(), ReturnReason::InvalidState);
    }
}

#[ktest]
#[should_panic(expected = "entered in atomic mode")]
fn peer_050_user_mode_is_not_entered_while_a_guard_keeps_the_task() {
    let _stays = disable_preempt();
    UserMode::new(UserContext::new(USER_END, 0x1000)).execute();
}

#[ktest]
#[should_panic(expected = "entered in atomic mode")]
fn peer_050_user_mode_is_not_entered_while_interrupts_are_off() {
    // It ends with interrupts on, whatever a guard has promised.
    let _irq_off = crate::irq::disable_local();
    UserMode::new(UserContext::new(USER_END, 0x1000)).execute();
}

#[ktest]
fn kernel_stack_pointer_never_reaches_ring_3() {
    let mut program = UserMode::new(UserContext::new(0x1000, usize::MAX - 7));
    assert_eq!(program.execute(), ReturnReason::InvalidState);
}

type Setter = fn(&mut UserContext, usize);
type Getter = fn(&UserContext) -> usize;

/// The registers that a system call leaves as they are, but for the stack pointer.
const KEPT: [(Setter, Getter); 13] = [
    (UserContext::set_rax, UserContext::rax),
    (UserContext::set_rbx, UserContext::rbx),
    (UserContext::set_rdx, UserContext::rdx),
    (UserContext::set_rsi, UserContext::rsi),
    (UserContext::set_rdi, UserContext::rdi),
    (UserContext::set_rbp, UserContext::rbp),
    (UserContext::set_r8, UserContext::r8),
    (UserContext::set_r9, UserContext::r9),
    (UserContext::set_r10, UserContext::r10),
    (UserContext::set_r12, UserContext::r12),
    (UserContext::set_r13, UserContext::r13),
    (UserContext::set_r14, UserContext::r14),
    (UserContext::set_r15, UserContext::r15),
];

#[ktest]
fn user_registers_are_as_they_were_set_but_for_what_a_system_call_changes() {
    let space = space_with(&SYSCALL);
    space.activate();
    let mut context = UserContext::new(CODE, 0x7000);
    let value = |index: usize| (index + 1) << 40 | index;
    for (index, (set, _)) in KEPT.into_iter().enumerate() {
        set(&mut context, value(index));
    }
    let mut user = UserMode::new(context);
    // The first time by the way that restores all, the second time by the fast one.
    for _ in 0..2 {
        run_to_call(&mut user);
        let context = user.context_mut();
        assert!(context.is_in_system_call());
        for (index, (_, get)) in KEPT.into_iter().enumerate() {
            assert_eq!(get(context), value(index), "register {index}");
        }
        assert_eq!(context.rsp(), 0x7000);
        assert_eq!((context.rip(), context.rcx()), (CODE + 2, CODE + 2));
        assert_eq!(context.r11(), context.rflags());
        // Back to the call, as a program that loops around it.
        context.set_rip(CODE);
        context.set_rcx(CODE);
    }
    VmSpace::deactivate_current();
}

#[ktest]
fn user_bases_survive_switches_and_are_known_where_programs_set_them() {
    if !features::has_fsgsbase() {
        crate::ktest::skip("the processor has no instructions for bases");
    }
    const ROUNDS: usize = 20;
    let space = space_with(&KEEP_IN_BASES);
    let worker = |number: usize| {
        let space = Arc::clone(&space);
        move || {
            space.activate();
            for round in 0..ROUNDS {
                // What a program may choose by itself, though no setter takes it.
                let half = if round % 2 == 0 { 0 } else { 0xffff_8000 << 32 };
                let fs = half | number << 16 | round << 4;
                let mut user = UserMode::new(UserContext::new(CODE, 0));
                user.context_mut().set_rax(fs);
                user.context_mut().set_rbx(fs + 1);
                run_to_call(&mut user);
                let context = user.context();
                assert_eq!((context.fs_base(), context.gs_base()), (fs, fs + 1));
                Task::yield_now();
                run_to_call(&mut user);
                let context = user.context();
                assert_eq!((context.rsi(), context.rdi()), (fs, fs + 1));
            }
        }
    };
    join((0..4).map(worker));
}

/// Runs bodies as tasks, two of them where tests run.
fn join<F: FnOnce() + Send + 'static>(bodies: impl Iterator<Item = F>) {
    let spawn = |(index, body)| {
        let options = TaskOptions::new(body);
        let options = match index {
            0 | 1 => options.affinity(CpuSet::from(CpuId::bsp())),
            _ => options,
        };
        options.spawn().expect("enough memory")
    };
    let tasks: alloc::vec::Vec<_> = bodies.enumerate().map(spawn).collect();
    tasks.iter().for_each(|task| task.join());
}

#[ktest]
fn user_bases_that_the_kernel_sets_are_what_the_program_finds() {
    if !features::has_fsgsbase() {
        crate::ktest::skip("the processor has no instructions for bases");
    }
    let space = space_with(&KEEP_IN_BASES);
    space.activate();
    let mut user = UserMode::new(UserContext::new(CODE, 0));
    run_to_call(&mut user);
    user.context_mut().set_fs_base(0x1111).expect("a user's");
    user.context_mut().set_gs_base(0x2222).expect("a user's");
    run_to_call(&mut user);
    let context = user.context();
    assert_eq!((context.rsi(), context.rdi()), (0x1111, 0x2222));
    VmSpace::deactivate_current();
}

#[ktest]
fn fpu_registers_of_programs_survive_switches() {
    const ROUNDS: usize = 20;
    let space = space_with(&KEEP_IN_VECTOR);
    let worker = |number: usize| {
        let space = Arc::clone(&space);
        move || {
            space.activate();
            for round in 0..ROUNDS {
                let value = number << 32 | round;
                let mut user = UserMode::new(UserContext::new(CODE, 0));
                user.context_mut().set_rax(value);
                run_to_call(&mut user);
                Task::yield_now();
                run_to_call(&mut user);
                assert_eq!(user.context().rbx(), value);
            }
        }
    };
    join((1..=4).map(worker));
}

#[ktest]
fn fpu_registers_are_copied_by_a_fork_and_then_each_ones_own() {
    let space = space_with(&KEEP_IN_VECTOR);
    space.activate();
    let mut parent = UserMode::new(UserContext::new(CODE, 0));
    parent.context_mut().set_rax(7);
    run_to_call(&mut parent);
    let (context, fpu) = (parent.context().clone(), parent.fpu_context());
    let child_space = Arc::clone(&space);
    let child = move || {
        child_space.activate();
        let mut child = UserMode::with_fpu(context, fpu);
        run_to_call(&mut child);
        assert_eq!(child.context().rbx(), 7);
        child.context_mut().set_rip(CODE);
        child.context_mut().set_rax(8);
        run_to_call(&mut child);
    };
    // It runs after this, and its registers are those of before.
    let here = CpuSet::from(CpuId::bsp());
    let child = TaskOptions::new(child).affinity(here).spawn();
    child.expect("enough memory").join();
    run_to_call(&mut parent);
    assert_eq!(parent.context().rbx(), 7);
    VmSpace::deactivate_current();
}

#[ktest]
fn fpu_registers_are_those_of_the_image_that_was_set() {
    let space = space_with(&KEEP_IN_VECTOR);
    space.activate();
    let mut user = UserMode::new(UserContext::new(CODE, 0));
    let initial = user.fpu_context();
    assert_eq!(
        initial.as_bytes(),
        FpuContext::from_image(crate::arch::x86_64::fpu::Area::INITIAL).as_bytes()
    );
    user.context_mut().set_rax(1);
    run_to_call(&mut user);
    // Every register of 128 bits, and the upper half of each of 256.
    let mut bytes = user.fpu_context().as_bytes().to_vec();
    bytes[160..416].fill(0x5a);
    let is_wide = FpuContext::components() != 0;
    if is_wide {
        bytes[512] |= 0b111;
        bytes[576..832].fill(0xa5);
    }
    let image = FpuContext::from_user_bytes(&bytes).expect("a legal image");
    user.set_fpu_context(image);
    assert_eq!(user.fpu_context().as_bytes(), bytes, "not loaded yet");
    run_to_call(&mut user);
    assert_eq!(user.context().rbx(), 0x5a5a_5a5a_5a5a_5a5a);
    let left = user.fpu_context();
    assert_eq!(left.as_bytes()[160..416], bytes[160..416]);
    if is_wide {
        assert_eq!(left.as_bytes()[576..832], bytes[576..832]);
    }
    VmSpace::deactivate_current();
}

#[ktest]
fn peer_109_single_steps_of_a_program_stop_at_each_instruction() {
    const TRAP_FLAG: usize = 0x100;
    const STEP: ReturnReason = ReturnReason::UserException(CpuException {
        vector: 1,
        error_code: 0,
        fault_address: None,
    });
    // `nop; syscall; nop; syscall`
    let space = space_with(&[0x90, 0x0f, 0x05, 0x90, 0x0f, 0x05]);
    space.activate();
    let mut user = UserMode::new(UserContext::new(CODE, 0));
    user.context_mut().set_rflags(TRAP_FLAG);
    assert_eq!(run(&mut user), STEP);
    assert_eq!(user.context().rip(), CODE + 1);
    run_to_call(&mut user);
    assert_ne!(user.context().r11() & TRAP_FLAG, 0);
    assert_eq!(run(&mut user), STEP);
    assert_eq!(user.context().rip(), CODE + 4);
    user.context_mut().set_rflags(0);
    run_to_call(&mut user);
    let last = user.context().last_exception();
    assert_eq!(last.map(ReturnReason::UserException), Some(STEP));
    VmSpace::deactivate_current();
}

#[ktest]
fn user_programs_cannot_read_descriptor_tables_where_that_can_be_refused() {
    const GENERAL_PROTECTION: u8 = 13;
    if !features::get().umip {
        crate::ktest::skip("the processor has no UMIP");
    }
    // `sgdt`, `sidt`, `sldt`, `str` and `smsw`, of or to the place at RAX.
    let space = space_with(&[
        0x0f, 0x01, 0x00, 0x0f, 0x01, 0x08, 0x0f, 0x00, 0x00, 0x0f, 0x00, 0x08, 0x0f, 0x01, 0x20,
    ]);
    space.activate();
    for instruction in 0..5 {
        let mut user = UserMode::new(UserContext::new(CODE + 3 * instruction, 0));
        let ReturnReason::UserException(exception) = run(&mut user) else {
            panic!("instruction {instruction} was carried out");
        };
        assert_eq!(exception.vector, GENERAL_PROTECTION, "of {instruction}");
    }
    VmSpace::deactivate_current();
}

#[ktest]
fn peer_091_programs_that_load_selectors_lose_their_bases_and_nothing_else() {
    const USER_DATA: usize = 0x1b;
    // `mov fs, eax; mov gs, eax; syscall`
    let space = space_with(&[0x8e, 0xe0, 0x8e, 0xe8, 0x0f, 0x05]);
    space.activate();
    let mut user = UserMode::new(UserContext::new(CODE, 0));
    user.context_mut().set_rax(USER_DATA);
    user.context_mut().set_fs_base(0x1111).expect("a user's");
    user.context_mut().set_gs_base(0x2222).expect("a user's");
    run_to_call(&mut user);
    let context = user.context();
    assert_eq!((context.fs_base(), context.gs_base()), (0, 0));
    VmSpace::deactivate_current();
}
