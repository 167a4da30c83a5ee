//! The report of a trap that the kernel does not survive.

use super::gdt::KERNEL_CODE;
use super::idt::vector;
use super::trap::TrapFrame;
use crate::console::{self, println};
use crate::mm::kspace::{self, layout::is_kernel_address};
use crate::mm::{PAGE_SIZE, Vaddr};
use crate::power::ExitCode;
use crate::trap_decode::{PageFaultCode, exception_name};
use crate::{panic, task};

/// Reports a trap in the kernel and ends the test that caused it, or the
/// machine. Runs with interrupts off.
pub(super) fn die(frame: &TrapFrame, fault_address: Option<Vaddr>) -> ! {
    let name = exception_name(frame.vector as u8);
    if task::is_testing() {
        if !console::is_locked() {
            print_report(frame, fault_address);
        }
        task::fault_current_test(name);
    }
    panic::start_report();
    print_report(frame, fault_address);
    let code = if frame.vector == u64::from(vector::DOUBLE_FAULT) {
        ExitCode::DoubleFault
    } else {
        ExitCode::Panic
    };
    panic::finish_report(code)
}

/// Reports an exception that struck while its own handler ran, and ends the machine:
/// there is nothing that the first one could return to, a test neither.
pub(super) fn die_nested(frame: &TrapFrame) -> ! {
    panic::start_report();
    let name = exception_name(frame.vector as u8);
    println!("kernel trap: {name} (vector {}), nested", frame.vector);
    println!(
        "it struck while its own handler ran, on the same stack, whose first frame it has \
         overwritten: there is no way back"
    );
    print_registers(frame);
    panic::print_backtrace(Some(frame.rip as usize), frame.rbp as usize);
    panic::finish_report(ExitCode::Panic)
}

fn print_report(frame: &TrapFrame, fault_address: Option<Vaddr>) {
    let name = exception_name(frame.vector as u8);
    println!("kernel trap: {name} (vector {})", frame.vector);
    if is_stack_overflow(frame) {
        println!("kernel stack overflow: the stack pointer has reached a guard page");
    }
    print_cause(frame, fault_address);
    print_registers(frame);
    panic::print_backtrace(Some(frame.rip as usize), frame.rbp as usize);
}

/// A double fault whose page fault hit just below the stack means that there
/// was no room for that fault's frame.
fn is_stack_overflow(frame: &TrapFrame) -> bool {
    if frame.vector != u64::from(vector::DOUBLE_FAULT) {
        return false;
    }
    let address = super::trap::page_fault_address();
    let stack = frame.rsp as usize;
    is_kernel_address(stack) && address <= stack && stack - address <= PAGE_SIZE
}

fn print_cause(frame: &TrapFrame, fault_address: Option<Vaddr>) {
    match fault_address {
        Some(address) => {
            let code = PageFaultCode::from_bits_retain(frame.error_code);
            println!(
                "address {address:#018x}: {code} (error code {:#x})",
                frame.error_code
            );
            println!("that address is {}", kspace::describe(address));
        }
        None => println!(
            "error code {:#x}, CR2 {:#018x}",
            frame.error_code,
            super::trap::page_fault_address()
        ),
    }
}

fn print_registers(frame: &TrapFrame) {
    let f = frame;
    println!(
        "rip {:016x}  cs  {:04x}  rflags {:08x}",
        f.rip, f.cs, f.rflags
    );
    println!("rsp {:016x}  ss  {:04x}", f.rsp, f.ss);
    for [(a, x), (b, y), (c, z)] in [
        [("rax", f.rax), ("rbx", f.rbx), ("rcx", f.rcx)],
        [("rdx", f.rdx), ("rsi", f.rsi), ("rdi", f.rdi)],
        [("rbp", f.rbp), ("r8 ", f.r8), ("r9 ", f.r9)],
        [("r10", f.r10), ("r11", f.r11), ("r12", f.r12)],
        [("r13", f.r13), ("r14", f.r14), ("r15", f.r15)],
    ] {
        println!("{a} {x:016x}  {b} {y:016x}  {c} {z:016x}");
    }
    if f.cs != u64::from(KERNEL_CODE) {
        println!("the code segment is not the kernel's: the frame itself may be damaged");
    }
}
