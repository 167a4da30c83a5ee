//! What the loader is told and what it tells (`bootloader_api`).
//!
//! The loader enters the kernel with the image, a stack, all of physical memory
//! and the framebuffer mapped in tables of its own. Everything that it says is
//! copied and checked here; nothing of it is used after start-up.

use core::ops::Range;
use core::slice;

use bootloader_api::config::Mapping;
use bootloader_api::info::{MemoryRegionKind, Optional, PixelFormat as LoaderFormat};
use bootloader_api::{BootInfo, BootloaderConfig};

use super::image;
use super::memory_map::{MemoryMap, RawRegion, RegionKind};
use super::platform::Firmware;
use crate::arch::x86_64::mmu;
use crate::console::{FramebufferInfo, PixelFormat};
use crate::mm::kspace::layout::{IMAGE_BASE, LINEAR_MAP_BASE};
use crate::mm::page_table::boot::Tree;
use crate::mm::{PAGE_SIZE, Paddr, PageFlags, Vaddr};

/// What the kernel asks of the loader.
pub(super) static CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    // A third of it is for `kaslr::SpareNodes`.
    config.kernel_stack_size = 192 * 1024;
    config.mappings.kernel_base = Mapping::FixedAddress(IMAGE_BASE as u64);
    config.mappings.physical_memory = Some(Mapping::FixedAddress(LINEAR_MAP_BASE as u64));
    // The loader's own things stay out of the ranges that the kernel uses.
    config.mappings.dynamic_range_start = Some(0x0000_1000_0000_0000);
    config.mappings.dynamic_range_end = Some(0x0000_2000_0000_0000);
    config
};

/// The framebuffer, as the loader mapped it and where it is.
#[derive(Clone, Debug)]
pub(super) struct LoaderFramebuffer {
    pub(super) vaddr: Vaddr,
    pub(super) frames: Range<Paddr>,
    pub(super) info: FramebufferInfo,
}

/// Returns the loader's page tables, which are active until the kernel's are.
pub(super) fn tree() -> Tree {
    // SAFETY: The loader's tables are in loader memory, which is given back only
    // when they are not used any more.
    unsafe { Tree::from_root(mmu::active_root()) }
}

/// Returns the framebuffer, if there is one that can be used.
pub(super) fn framebuffer(info: &mut BootInfo) -> Option<LoaderFramebuffer> {
    let framebuffer = info.framebuffer.as_mut()?;
    let format = framebuffer.info();
    let vaddr = framebuffer.buffer_mut().as_mut_ptr() as Vaddr;
    let start = tree().translate(vaddr)?;
    Some(LoaderFramebuffer {
        vaddr,
        frames: start..start.checked_add(format.byte_len)?,
        info: FramebufferInfo {
            byte_len: format.byte_len,
            width: format.width,
            height: format.height,
            stride: format.stride,
            bytes_per_pixel: format.bytes_per_pixel,
            pixel_format: match format.pixel_format {
                LoaderFormat::Rgb => PixelFormat::Rgb,
                LoaderFormat::Bgr => PixelFormat::Bgr,
                LoaderFormat::U8 => PixelFormat::U8,
                LoaderFormat::Unknown {
                    red_position,
                    green_position,
                    blue_position,
                } => PixelFormat::Unknown {
                    red_position,
                    green_position,
                    blue_position,
                },
                _ => return None,
            },
        },
    })
}

/// Returns where the loader mapped the initramfs; empty when there is none.
pub(super) fn initramfs(info: &BootInfo) -> Range<Vaddr> {
    match info.ramdisk_addr {
        Optional::Some(start) => start as Vaddr..(start + info.ramdisk_len) as Vaddr,
        Optional::None => 0..0,
    }
}

/// Returns the address of ACPI's root pointer.
pub(super) fn rsdp(info: &BootInfo) -> Option<Paddr> {
    info.rsdp_addr.into_option().map(|address| address as Paddr)
}

/// Returns the kind of firmware, by whose memory map the loader has passed on: there is
/// always something in it that the loader does not know, such as the firmware's own.
pub(super) fn firmware(info: &BootInfo) -> Firmware {
    let is_uefi = |kind| matches!(kind, MemoryRegionKind::UnknownUefi(_));
    match info
        .memory_regions
        .iter()
        .any(|region| is_uefi(region.kind))
    {
        true => Firmware::Uefi,
        false => Firmware::Bios,
    }
}

/// Returns the memory map: the loader's, sanitised, with what the kernel keeps
/// of the loader's memory carved out by ourselves.
pub(super) fn memory_map(info: &BootInfo, framebuffer: Option<&Range<Paddr>>) -> MemoryMap {
    let raw = info.memory_regions.iter().map(|region| RawRegion {
        start: region.start,
        end: region.end,
        kind: match region.kind {
            MemoryRegionKind::Usable => RegionKind::Usable,
            MemoryRegionKind::Bootloader => RegionKind::Reclaimable,
            _ => RegionKind::Reserved,
        },
    });
    let mut map = MemoryMap::from_regions(raw);
    for segment in image::segments() {
        let kind = if segment.flags.contains(PageFlags::W) {
            RegionKind::Kernel
        } else {
            RegionKind::KernelConstant
        };
        carve_mapped(&mut map, segment.pages, kind);
    }
    carve_mapped(&mut map, initramfs(info), RegionKind::Initramfs);
    if let Some(frames) = framebuffer {
        map.carve(
            frames.start as u64..frames.end as u64,
            RegionKind::Framebuffer,
        );
    }
    map
}

/// Carves out the frames behind a range that the loader mapped.
fn carve_mapped(map: &mut MemoryMap, range: Range<Vaddr>, kind: RegionKind) {
    let loader = tree();
    let first = range.start / PAGE_SIZE * PAGE_SIZE;
    for vaddr in (first..range.end).step_by(PAGE_SIZE) {
        if let Some(paddr) = loader.translate(vaddr) {
            map.carve(paddr as u64..(paddr + PAGE_SIZE) as u64, kind);
        }
    }
}

/// Returns memory as bytes.
///
/// # Safety
///
/// The range is mapped, and not written, for as long as the bytes are used.
pub(super) unsafe fn bytes_at(range: Range<Vaddr>) -> &'static [u8] {
    if range.is_empty() {
        return &[];
    }
    // SAFETY: As the caller promises.
    unsafe { slice::from_raw_parts(range.start as *const u8, range.len()) }
}
