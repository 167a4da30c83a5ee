//! Odd firmware, made of the firmware that is there: for tests.
//!
//! The firmware starts `odd-firmware` first, which reads words from a file beside it,
//! does what they say, and starts the pre-loader as firmware would. The oddities last
//! until the firmware's services end, or for ever.
//!
//! | word | what is odd then |
//! |---|---|
//! | `five-levels` | paging has 5 levels |
//! | `fragments=N` | the memory map has N more entries |
//! | `screen=device` | the screen is the memory of a PCI device (QEMU's `ivshmem-plain`), wherever the firmware put that, with a stride |
//! | `screen=ram` | the screen is RAM that the memory map calls free, with a stride |
//! | `screen=masks` | the format of a pixel is given by masks |
//! | `screen=blt-only` | the screen can be drawn on by the firmware alone |
//! | `no-preloader` | the loader is started without the pre-loader |
//!
//! Screens are filled with [`FILLING`] first, so that a test sees what was drawn on.

use core::ptr;

use uefi::boot::{self, AllocateType, MemoryType};
use uefi::proto::media::file::{File, FileAttribute, FileMode};
use uefi::{CStr16, Result, Status};
use uefi_raw::protocol::console::{
    GraphicsOutputModeInformation, GraphicsOutputProtocolMode, GraphicsPixelFormat, PixelBitmask,
};
use x86_64::instructions::port::Port;

use crate::levels;
use crate::screen::{self, Shown};

/// What every byte of an odd screen holds at first.
pub const FILLING: u8 = 0x5a;

const PAGE: u64 = 4096;
/// The shape of odd screens, in pixels.
const WIDTH: u32 = 1024;
const HEIGHT: u32 = 768;
const STRIDE: u32 = 1088;
const SCREEN_BYTES: usize = STRIDE as usize * HEIGHT as usize * 4;

/// Vendor and device of `ivshmem-plain`, whose second base address register is its memory.
const SHARED_MEMORY: u32 = 0x1110_1af4;
const MEMORY_REGISTER: u8 = 0x18;
const COMMAND_REGISTER: u8 = 4;
/// The device answers to its memory's addresses.
const ANSWERS_MEMORY: u32 = 2;

/// What is odd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    five_levels: bool,
    fragments: u32,
    screen: Option<OddScreen>,
    /// The loader is started at once.
    pub no_preloader: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OddScreen {
    Device,
    Ram,
    Masks,
    BltOnly,
}

impl Oddities {
    /// Reads the words of a file.
    ///
    /// # Errors
    ///
    /// The first word that means nothing: a test with a slip in it must not pass.
    pub fn parse(text: &str) -> core::result::Result<Self, &str> {
        let mut oddities = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("five-levels", "") => oddities.five_levels = true,
                ("no-preloader", "") => oddities.no_preloader = true,
                ("fragments", number) => {
                    oddities.fragments = number.parse().map_err(|_| word)?;
                }
                ("screen", "device") => oddities.screen = Some(OddScreen::Device),
                ("screen", "ram") => oddities.screen = Some(OddScreen::Ram),
                ("screen", "masks") => oddities.screen = Some(OddScreen::Masks),
                ("screen", "blt-only") => oddities.screen = Some(OddScreen::BltOnly),
                _ => return Err(word),
            }
        }
        Ok(oddities)
    }

    /// Makes the firmware odd.
    ///
    /// # Errors
    ///
    /// Those of allocating memory, and [`Status::NOT_FOUND`] without the device.
    pub fn apply(&self) -> Result {
        fragment(self.fragments)?;
        if let Some(screen) = self.screen {
            let (mode, info) = screen.make()?;
            screen::show(Shown::new(mode, info));
        }
        if self.five_levels {
            levels::turn_on_five()?;
        }
        Ok(())
    }
}

impl OddScreen {
    fn make(self) -> Result<(GraphicsOutputProtocolMode, GraphicsOutputModeInformation)> {
        let pixel_format = match self {
            Self::Device | Self::Ram => {
                GraphicsPixelFormat::PIXEL_BLUE_GREEN_RED_RESERVED_8_BIT_PER_COLOR
            }
            Self::Masks => GraphicsPixelFormat::PIXEL_BIT_MASK,
            Self::BltOnly => GraphicsPixelFormat::PIXEL_BLT_ONLY,
        };
        let info = GraphicsOutputModeInformation {
            version: 0,
            horizontal_resolution: WIDTH,
            vertical_resolution: HEIGHT,
            pixel_format,
            pixel_information: PixelBitmask {
                red: 0xff,
                green: 0xff00,
                blue: 0x00ff_0000,
                reserved: 0xff00_0000,
            },
            pixels_per_scan_line: STRIDE,
        };
        let base = match self {
            Self::Device => memory_of_the_device()?,
            Self::BltOnly => 0,
            Self::Ram | Self::Masks => {
                let pages = SCREEN_BYTES.div_ceil(PAGE as usize);
                let kind = MemoryType::BOOT_SERVICES_DATA;
                let start = boot::allocate_pages(AllocateType::AnyPages, kind, pages)?;
                start.as_ptr() as u64
            }
        };
        if base != 0 {
            uefi::println!("odd firmware: a screen at {base:#x}");
            // SAFETY: It is the device's memory, which is larger and nobody else's, or
            // was just allocated; firmware maps both as they are.
            unsafe { ptr::write_bytes(base as usize as *mut u8, FILLING, SCREEN_BYTES) };
        }
        let mode = GraphicsOutputProtocolMode {
            max_mode: 1,
            mode: 0,
            info: ptr::null(),
            size_of_info: size_of::<GraphicsOutputModeInformation>(),
            frame_buffer_base: base,
            frame_buffer_size: SCREEN_BYTES,
        };
        Ok((mode, info))
    }
}

/// Adds entries to the memory map: pages of three kinds in turn, and between them holes.
fn fragment(entries: u32) -> Result {
    const KINDS: [MemoryType; 3] = [
        MemoryType::RESERVED,
        MemoryType::ACPI_NON_VOLATILE,
        MemoryType::ACPI_RECLAIM,
    ];
    if entries == 0 {
        return Ok(());
    }
    let pages = entries as usize;
    let free = MemoryType::LOADER_DATA;
    let place = boot::allocate_pages(AllocateType::AnyPages, free, pages)?;
    let start = place.as_ptr() as u64;
    // SAFETY: They were just allocated, and nobody uses them.
    unsafe { boot::free_pages(place, pages)? };
    for (page, kind) in (0..u64::from(entries)).step_by(2).zip(KINDS.iter().cycle()) {
        let place = AllocateType::Address(start + page * PAGE);
        boot::allocate_pages(place, *kind, 1)?;
    }
    uefi::println!("odd firmware: {entries} fragments at {start:#x}");
    Ok(())
}

/// Returns where the memory of the device is, which then answers there.
fn memory_of_the_device() -> Result<u64> {
    let is_wanted = |device: &u8| read_config(*device, 0) == SHARED_MEMORY;
    let device = (0..32).find(is_wanted).ok_or(Status::NOT_FOUND)?;
    let command = read_config(device, COMMAND_REGISTER) | ANSWERS_MEMORY;
    select(device, COMMAND_REGISTER);
    // SAFETY: The device's memory is where firmware assigned it, over nothing else.
    unsafe { Port::new(CONFIG_DATA).write(command) };
    let low = read_config(device, MEMORY_REGISTER) & !0xf;
    let high = read_config(device, MEMORY_REGISTER + 4);
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// The ports of PCI's configuration space (PCI 3.0, 3.2.2.3.2).
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// Reads a register of a device of bus 0, or ones.
fn read_config(device: u8, register: u8) -> u32 {
    select(device, register);
    // SAFETY: Reading configuration changes nothing.
    unsafe { Port::new(CONFIG_DATA).read() }
}

fn select(device: u8, register: u8) {
    let address = 1 << 31 | u32::from(device) << 11 | u32::from(register);
    // SAFETY: It selects what the next access is to, and nobody else runs.
    unsafe { Port::new(CONFIG_ADDRESS).write(address) };
}

/// Reads a file of the medium that this application came from, as far as it fits.
///
/// # Errors
///
/// What the firmware says, and [`Status::COMPROMISED_DATA`] if it is no text.
pub fn read_file<'a>(path: &CStr16, buffer: &'a mut [u8]) -> Result<&'a str> {
    let mut medium = boot::get_image_file_system(boot::image_handle())?;
    let file = medium
        .open_volume()?
        .open(path, FileMode::Read, FileAttribute::empty())?;
    let mut file = file.into_regular_file().ok_or(Status::NOT_FOUND)?;
    let len = file.read(buffer)?;
    core::str::from_utf8(&buffer[..len]).map_err(|_| Status::COMPROMISED_DATA.into())
}

#[cfg(test)]
mod tests {
    use super::{OddScreen, Oddities};

    #[test]
    fn words_are_read() {
        let odd = Oddities::parse("five-levels fragments=300\nscreen=ram no-preloader\n");
        let expected = Oddities {
            five_levels: true,
            fragments: 300,
            screen: Some(OddScreen::Ram),
            no_preloader: true,
        };
        assert_eq!(odd, Ok(expected));
        assert_eq!(Oddities::parse(""), Ok(Oddities::default()));
    }

    #[test]
    fn word_that_means_nothing_is_named() {
        for bad in [
            "six-levels",
            "fragments=many",
            "screen=green",
            "five-levels=1",
        ] {
            assert_eq!(Oddities::parse(bad), Err(bad));
        }
    }
}
