//! The deliberate deaths of the kernel that is shipped, and what it says of them.

use anyhow::Result;

use crate::artifacts::{self, Kernel, KernelKind};
use crate::flags::{EmulatorKind, MachineOptions, TestOptions};
use crate::interrupt;
use crate::kernel_tests::{self, BootSpec, SILENCE};
use crate::shell::Progress;
use crate::stream::Event;
use crate::test::{Outcome, Verdict};
use crate::toolchain::Toolchain;

/// Deaths on purpose: the option, and what the report has to contain.
const DEATHS: [(&str, &[&str]); 10] = [
    (
        "null",
        &[
            "page fault",
            "kernel read of a page that is not mapped",
            "that address is next to zero",
            "boot::crash::read_null",
        ],
    ),
    (
        "panic",
        &["the command line asked for it", "boot::crash::die"],
    ),
    (
        "other-panic",
        &[
            "another processor asked for it",
            "boot::crash::panic_elsewhere",
        ],
    ),
    (
        "stack-overflow",
        &["kernel stack overflow", "boot::crash::recurse_for_ever"],
    ),
    (
        "double-fault",
        &["double fault", "boot::crash::fault_without_a_stack"],
    ),
    (
        "write-text",
        &[
            "kernel write to a page that may not be written",
            "that address is in the kernel's text",
            "boot::crash::write_text",
        ],
    ),
    (
        "run-data",
        &[
            "kernel instruction fetch from a page that may not be executed",
            "that address is in the kernel's data",
            "boot::crash::die",
        ],
    ),
    (
        "guard-page",
        &[
            "kernel read of a page that is not mapped",
            "that address is in a guard page of a kernel stack",
            "boot::crash::read_guard_page",
        ],
    ),
    (
        "canary",
        &[
            "the stack of its own for NonMaskable has overflowed",
            "trap::handle_trap_on_own_stack",
        ],
    ),
    (
        "nested-trap",
        &[
            "debug exception (vector 1), nested",
            "it struck while its own handler ran",
            "trap::handle_trap_on_own_stack",
        ],
    ),
];

pub(crate) fn run(toolchain: &Toolchain, options: &TestOptions) -> Result<Vec<Outcome>> {
    let kernel = artifacts::kernel(toolchain, KernelKind::Release)?;
    let mut machines = vec![options.machine.clone()];
    if !options.machine.is_chosen() {
        // The other processors have to stop, and must not tear the report.
        let memory = &options.machine.memory;
        machines.push(MachineOptions::new(EmulatorKind::Qemu, 2, memory));
    }
    let mut outcomes = Vec::new();
    for machine in &machines {
        for (way, expected) in DEATHS {
            let name = format!("crash={way}");
            if options.selects(&name) && !interrupt::is_requested() {
                let verdict = die(toolchain, &kernel, machine, &name, expected)?;
                outcomes.push(Outcome::new("kernel", &name, verdict).on(&machine.label()));
            }
        }
    }
    Ok(outcomes)
}

/// Has the kernel die by this option, and looks for what its report has to contain.
fn die(
    toolchain: &Toolchain,
    kernel: &Kernel,
    machine: &MachineOptions,
    cmdline: &str,
    expected: &[&str],
) -> Result<Verdict> {
    let progress = Progress::start(&format!("a deliberate death: {cmdline}"));
    let mut text = String::new();
    let mut handle = |event: Event| {
        if let Event::Bytes(bytes) = event {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    let spec = BootSpec {
        machine,
        cmdline,
        silence: SILENCE,
    };
    let (_, facts) = kernel_tests::boot(toolchain, kernel, &spec, &mut handle)?;
    progress.finish();
    let missing = expected.iter().find(|part| !text.contains(**part));
    Ok(match missing {
        None if facts.panicked => Verdict::Passed,
        None => Verdict::Failed(format!("no panic was reported:\n{text}")),
        Some(part) => Verdict::Failed(format!("the report lacks `{part}`:\n{text}")),
    })
}
