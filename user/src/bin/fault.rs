//! Dies of the fault that it is asked for. It must be alone in that.

use std::arch::asm;
use std::hint::black_box;

fn main() {
    let kind = std::env::args().nth(1).unwrap_or_default();
    println!("about to fault: {kind}");
    fault(&kind);
    println!("still alive");
}

fn fault(kind: &str) {
    let local = [0xc3_u8; 16]; // `ret`, if it were code
    match kind {
        // SAFETY: Not sound, which is the point, here and below: the processor
        // refuses, and the program ends.
        "null-read" => unsafe { read(8) },
        // SAFETY: See above.
        "null-write" => unsafe { black_box(8 as *mut u8).write_volatile(1) },
        // SAFETY: See above.
        "kernel-read" => unsafe { read(0xffff_8000_0000_0000) },
        // SAFETY: See above.
        "text-write" => unsafe { (main as *const () as *mut u8).write_volatile(0xc3) },
        // SAFETY: See above.
        "null-jump" => unsafe { asm!("xor eax, eax", "jmp rax") },
        // SAFETY: See above.
        "stack-jump" => unsafe { asm!("call {}", in(reg) black_box(&local).as_ptr()) },
        // SAFETY: See above.
        "non-canonical-read" => unsafe { asm!("mov rax, [{}]", in(reg) 1_u64 << 63, out("rax") _) },
        // SAFETY: See above.
        "non-canonical-jump" => unsafe { asm!("jmp {}", in(reg) 1_u64 << 63) },
        // SAFETY: See above.
        "privileged" => unsafe { asm!("cli") },
        // SAFETY: See above.
        "port" => unsafe { asm!("out dx, al", in("dx") 0x80_u16, in("al") 0_u8) },
        // SAFETY: See above.
        "illegal" => unsafe { asm!("ud2") },
        // SAFETY: See above.
        "breakpoint" => unsafe { asm!("int3") },
        // SAFETY: See above. The trap flag raises an exception after the next
        // instruction.
        "single-step" => unsafe { asm!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop") },
        // SAFETY: See above.
        "divide" => unsafe {
            asm!("xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
        },
        "overflow-stack" => {
            black_box(recurse(black_box(0)));
        }
        _ => println!("there is no such fault"),
    }
}

/// Reads a byte.
///
/// # Safety
///
/// The address can be read.
unsafe fn read(address: usize) {
    // SAFETY: As the caller promises.
    black_box(unsafe { (address as *const u8).read_volatile() });
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let padding = black_box([depth; 512]);
    recurse(depth + 1) + padding[7]
}
