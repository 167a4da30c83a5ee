//! The steps of start-up, in order.

use core::ops::Range;
use core::slice;

use bootloader_api::BootInfo;
use spin::Once;

use super::cmdline::CommandLine;
use super::early_alloc::EarlyAllocator;
use super::kaslr::{self, Placement};
use super::loader::bytes_at;
use super::loader_map::LoaderMap;
use super::memory_map::{MemoryMap, RegionKind};
use super::platform::{self, Firmware, Platform};
use super::{acpi, crash, image, initramfs as archive, loader, metadata, protection};
use crate::arch::x86_64::{
    apic, cmos, context, exception_stacks, features, gdt, idt, irq, keyboard, lines, local, mmu,
    power as machine_power, serial, smp, timer, trampoline, user_entry,
};
use crate::arch::{cpu, memory};
use crate::console::framebuffer::Framebuffer;
use crate::console::marks::Stage;
use crate::console::{self, FramebufferInfo};
use crate::mm::frame::{allocator, memory_counts, reserve};
use crate::mm::kspace::{self, BootSpace, Extras};
use crate::mm::{PAGE_SIZE, Paddr, Vaddr, heap};
use crate::sync::SpinLock;
use crate::{log as kernel_log, power, task, time, trace, usb};

bootloader_api::entry_point!(start, config = &loader::CONFIG);

const MIB: u64 = 1 << 20;

static INITRAMFS: Once<&'static [u8]> = Once::new();
/// Bytes of memory that the loader used and gave back.
static RECLAIMED: Once<usize> = Once::new();
static COMMAND_LINE: Once<CommandLine<'static>> = Once::new();

static FIRMWARE: Once<Firmware> = Once::new();

/// The command line wants ACPI's tables left alone.
static NO_ACPI: Once<bool> = Once::new();

/// What the first half of start-up leaves for the second.
struct Handover {
    map: MemoryMap,
    space: BootSpace,
    framebuffer: Option<FramebufferInfo>,
}

static HANDOVER: SpinLock<Option<Handover>> = SpinLock::new(None);

unsafe extern "Rust" {
    /// The kernel's `main`, exported by `#[main]`.
    safe fn __vostok_main() -> !;
}

/// Returns the archive of files that the machine was booted with.
pub fn initramfs() -> &'static [u8] {
    INITRAMFS.get().copied().unwrap_or_default()
}

/// Returns the kernel's command line.
///
/// # Panics
///
/// Panics during start-up.
pub fn command_line() -> &'static CommandLine<'static> {
    COMMAND_LINE.get().expect("start-up reads the command line")
}

/// Returns what started the loader.
///
/// # Panics
///
/// Panics during start-up.
#[cfg(ktest)]
pub(crate) fn firmware() -> Firmware {
    *FIRMWARE.get().expect("start-up asks the loader")
}

/// Returns how many bytes of memory the loader used and gave back.
#[cfg(ktest)]
pub(crate) fn reclaimed_bytes() -> usize {
    RECLAIMED.get().copied().unwrap_or_default()
}

/// Moves the image, while no static holds an address, and goes on in it.
fn start(info: &'static mut BootInfo) -> ! {
    let mut nodes = kaslr::SpareNodes::new();
    // SAFETY:
    // 1. The nodes are on the loader's stack, and stay there as nobody returns.
    // 2. Nothing has run before this.
    let placement = unsafe { kaslr::place(info, &mut nodes) };
    // SAFETY: 1. it was just made; 2. the loader called this.
    unsafe { kaslr::leap(info, &placement) }
}

/// The first half, which the move goes on with: on the loader's stack, in the loader's
/// address space.
pub(super) extern "C" fn first_half(info: &'static mut BootInfo, placement: &Placement) -> ! {
    local::init_boot_cpu();
    gdt::init();
    idt::init();
    let has_serial = serial::init();

    let archive_range = loader::initramfs(info);
    apply_early_options(archive_range.clone());
    // Before anything is said, so that the screen has it, too.
    let framebuffer = loader::framebuffer(info);
    if let Some(framebuffer) = &framebuffer {
        // SAFETY: The loader mapped the framebuffer, for as long as its tables
        // are active; the screen is removed before they are not.
        let _ = unsafe { show_screen(framebuffer.vaddr, framebuffer.info) };
    }
    log::info!(
        "Vostok {} (image base {:#x})",
        env!("CARGO_PKG_VERSION"),
        image::base()
    );
    placement.log();
    features::init();
    let firmware = *FIRMWARE.call_once(|| loader::firmware(info));
    log::info!("firmware: {firmware}");
    read_platform(loader::rsdp(info));
    say_what_the_machine_is(has_serial, framebuffer.as_ref().map(|f| f.info));
    loader::say_where_the_screen_is(info, framebuffer.as_ref());
    console::mark(Stage::Traps);

    let frames = framebuffer.as_ref().map(|f| f.frames.clone());
    let map = loader::memory_map(info, frames.as_ref());
    say_what_memory_there_is(&map);
    trampoline::reserve(&map);
    console::mark(Stage::MemoryMap);

    let extras = Extras {
        framebuffer: frames,
        initramfs: archive_range,
    };
    let mut early = EarlyAllocator::new(&map);
    let space = kspace::build(&map, &mut early, loader::tree(), &extras)
        .expect("the machine has too little memory for the kernel's tables");
    say_what_was_built(&map, &space, &early);
    console::mark(Stage::PageTable);

    // The allocator's rest is carved from the map by taking what it used.
    let map = early.into_map();
    console::remove_screen();
    let (tree, stack_top) = (space.tree, space.stack.end);
    *HANDOVER.lock() = Some(Handover {
        map,
        space,
        framebuffer: framebuffer.map(|f| f.info),
    });
    // SAFETY:
    // 1. The tree maps the image page by page where it is, and is never taken
    //    down.
    // 2. It maps the stack, which was made for this, up to a page's border.
    unsafe { context::enter_space(tree.root_paddr(), stack_top, go_on) }
}

/// The second half: on the kernel's own stack, in its own address space.
extern "C" fn go_on() -> ! {
    let handover = HANDOVER.lock().take().expect("the first half left it");
    features::protect();
    local::current().note_idle_stack(handover.space.stack.clone());
    if let (Some(vaddr), Some(info)) = (handover.space.framebuffer, handover.framebuffer) {
        // SAFETY: The kernel's tree maps the framebuffer there for ever.
        let is_shown = unsafe { show_screen(vaddr, info) };
        if !is_shown {
            log::warn!("the framebuffer's shape makes no sense: {info:?}");
        }
    }
    console::mark(Stage::OwnSpace);

    metadata::publish(&handover.map);
    // SAFETY: 1. `kspace::build` made the tree, of frames that it took from the
    // early allocator. 2. nothing else runs.
    let table = unsafe { handover.space.tree.adopt() };
    memory::memory().kernel_page_table.call_once(|| table);
    give_memory_to_the_allocator(&handover.map);
    heap::init().expect("the machine has too little memory for the heap");
    console::grow();
    cpu::local().init();
    exception_stacks::install_guarded().expect("the machine has too little memory for its stacks");
    open_initramfs(handover.space.initramfs);
    console::mark(Stage::Memory);

    init_interrupts();
    timer::init_tick();
    init_input();
    machine_power::init();
    user_entry::init();
    irq::enable();
    console::mark(Stage::Interrupts);
    smp::start_others();
    protection::check_protection();
    protection::print_page_table_if_asked();

    warn_of_unknown_options();
    crash::die_if_asked();
    console::mark(Stage::Main);
    task::start(|| __vostok_main())
}

/// Reads the options that matter before the command line proper is there.
fn apply_early_options(archive_range: Range<Vaddr>) {
    // SAFETY: The loader mapped the archive, for as long as its tables are
    // active, and nobody changes it.
    let bytes = unsafe { bytes_at(archive_range) };
    let line = CommandLine::parse(archive::command_line(bytes));
    kernel_log::init(line.log);
    power::configure(line.debug_exit, line.reset);
    trace::init(line.trace);
    NO_ACPI.call_once(|| line.no_acpi);
}

/// Reads ACPI's tables, if there are some and the command line wants it, and
/// starts the clock by the timers that they name.
fn read_platform(root: Option<Paddr>) {
    // SAFETY: The loader's tables are active, and the map is dropped here.
    let memory = unsafe { LoaderMap::new() };
    let boot_apic = apic::initial_id();
    let platform = match root.filter(|_| NO_ACPI.get() != Some(&true)) {
        Some(root) => acpi::read_platform(&memory, root as u64, boot_apic),
        None => Platform::without_tables(boot_apic),
    };
    let hpet = platform.hpet.and_then(|address| memory.hpet(address));
    timer::init_clock(hpet, platform.pm_timer);
    read_calendar(&platform);
    log::info!("{platform}");
    platform::set(platform);
}

/// Reads the battery-backed clock, once.
fn read_calendar(platform: &Platform) {
    match platform.calendar_clock.and_then(cmos::read) {
        Some(now) => {
            time::set_since_epoch(now.since_epoch());
            log::info!("calendar: {now} UTC");
        }
        None => log::warn!("calendar: no clock that makes sense; it is 1970"),
    }
}

/// Brings the boot processor's interrupt controllers into a known state, with all
/// lines masked.
fn init_interrupts() {
    let line = command_line();
    if line.no_apic || !apic::is_present() {
        log::info!("apic: there is none, or the command line wants it left alone");
    } else if let Err(error) = apic::init(!line.no_x2apic) {
        log::warn!("apic: cannot be used: {error}");
    } else {
        apic::init_local();
        log::info!("{}, in {}", apic::id(), apic::mode_name());
    }
    lines::init();
}

/// Has serial port and keyboards tell when somebody types; those with interrupts of their own: their lines first, since a
/// request that is there already would not be seen.
fn init_input() {
    if keyboard::init(platform::get().keyboard_controller) {
        lines::unmask(lines::KEYBOARD);
        keyboard::enable_interrupts();
    }
    console::set_keymap(command_line().keymap);
    if command_line().no_usb {
        log::info!("usb: left alone, as the command line wants it");
    } else {
        usb::init();
    }
    lines::unmask(lines::SERIAL);
    if !serial::enable_interrupts() {
        lines::mask(lines::SERIAL);
    }
}

/// Shows the console on a framebuffer; returns whether its shape makes sense.
///
/// # Safety
///
/// The framebuffer is mapped there until the screen is removed, and belongs to
/// the console.
unsafe fn show_screen(vaddr: Vaddr, info: FramebufferInfo) -> bool {
    // SAFETY: As the caller promises.
    let bytes = unsafe { slice::from_raw_parts_mut(vaddr as *mut u8, info.byte_len) };
    let screen = Framebuffer::new(bytes, info);
    let is_shown = screen.is_some();
    screen.into_iter().for_each(console::set_screen);
    is_shown
}

fn say_what_the_machine_is(serial: bool, screen: Option<FramebufferInfo>) {
    log::info!("processor: {}", features::get());
    if !serial {
        log::warn!("serial: no port answers at COM1");
    }
    match screen {
        Some(info) => log::info!(
            "screen: {} x {}, {:?}",
            info.width,
            info.height,
            info.pixel_format
        ),
        None => log::info!("screen: none"),
    }
}

fn say_what_memory_there_is(map: &MemoryMap) {
    let kib = |kind| map.bytes_of(kind) / 1024;
    log::info!(
        "memory: {} KiB usable, {} KiB the loader's, {} KiB image, {} KiB initramfs, {} KiB reserved",
        kib(RegionKind::Usable),
        kib(RegionKind::Reclaimable),
        kib(RegionKind::Kernel) + kib(RegionKind::KernelConstant),
        kib(RegionKind::Initramfs),
        kib(RegionKind::Reserved)
    );
    for region in map.regions() {
        log::debug!(
            "{:#014x}..{:#014x} {:?}",
            region.start,
            region.end,
            region.kind
        );
    }
    if map.lost_bytes() > 0 {
        log::warn!(
            "memory: {} KiB given up, the map is full",
            map.lost_bytes() / 1024
        );
    }
}

fn say_what_was_built(map: &MemoryMap, space: &BootSpace, early: &EarlyAllocator<'_>) {
    let ram: u64 = map.ram_regions().map(|range| range.end - range.start).sum();
    let metadata = space.metadata_bytes as u64;
    // In hundredths of a per cent, since there are no floats in the kernel.
    let share = metadata * 10_000 / ram.max(1);
    log::info!(
        "metadata: {} KiB for {} MiB of RAM ({}.{:02} %)",
        metadata / 1024,
        ram / MIB,
        share / 100,
        share % 100
    );
    log::info!(
        "page table: pages up to level {}, {} KiB taken for all of start-up",
        mmu::highest_leaf_level(),
        early.allocated_bytes() / 1024
    );
}

fn give_memory_to_the_allocator(map: &MemoryMap) {
    let mut loader_bytes = 0;
    for region in map.regions() {
        let range = region.start as usize..region.end as usize;
        let given_back = region.kind == RegionKind::Reclaimable;
        if !given_back && region.kind != RegionKind::Usable {
            continue;
        }
        // SAFETY: Usable memory that the early allocator took has another kind
        // by now. The loader's memory held its tables, stack and information,
        // none of which is used any more; what the kernel keeps of it, image
        // and initramfs, has another kind as well.
        let frames = unsafe { allocator::add_memory(range) };
        if given_back {
            loader_bytes += frames * PAGE_SIZE;
        }
    }
    RECLAIMED.call_once(|| loader_bytes);
    reserve::keep_usual_reserve();
    let counts = memory_counts();
    log::info!(
        "frames: {} free ({} MiB, {} KiB of them for the kernel alone), {} KiB given back by \
         the loader",
        counts.free / PAGE_SIZE,
        counts.free as u64 / MIB,
        counts.reserve / 1024,
        loader_bytes / 1024
    );
}

fn open_initramfs(range: Range<Vaddr>) {
    // SAFETY: The kernel's tree maps the archive there for ever, read-only.
    let bytes = unsafe { bytes_at(range) };
    INITRAMFS.call_once(|| bytes);
    COMMAND_LINE.call_once(|| CommandLine::parse(archive::command_line(bytes)));
}

fn warn_of_unknown_options() {
    for option in command_line().unknown() {
        log::warn!("command line: `{option}` is not understood");
    }
}
