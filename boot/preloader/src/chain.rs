//! Starting another application of the medium that this one came from.

use core::mem::MaybeUninit;
use core::time::Duration;

use uefi::boot::{
    self, LoadImageSource, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol,
};
use uefi::proto::device_path::DevicePath;
use uefi::proto::device_path::build::{DevicePathBuilder, media};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::{BootPolicy, ProtocolPointer};
use uefi::{CStr16, Handle, Result, Status};

/// Longest device path of a file, in bytes.
const MAX_PATH: usize = 1024;
/// How long a message stays before firmware goes on.
const TIME_TO_READ: Duration = Duration::from_secs(10);

/// Starts an application by its path on this one's medium; returns when it does.
///
/// # Errors
///
/// [`Status::NOT_FOUND`] if there is no such file, what else firmware says of loading it,
/// and what the application returns.
pub fn start(path: &CStr16) -> Result {
    let this = boot::image_handle();
    let device = get::<LoadedImage>(this)?.device();
    let device = get::<DevicePath>(device.ok_or(Status::NOT_FOUND)?)?;
    let mut buffer = [MaybeUninit::uninit(); MAX_PATH];
    let mut builder = DevicePathBuilder::with_buf(&mut buffer);
    for node in device.node_iter() {
        builder = builder.push(&node).map_err(|_| Status::BUFFER_TOO_SMALL)?;
    }
    let file = media::FilePath { path_name: path };
    let builder = builder.push(&file).map_err(|_| Status::BUFFER_TOO_SMALL)?;
    let full = builder.finalize().map_err(|_| Status::BUFFER_TOO_SMALL)?;
    let source = LoadImageSource::FromDevicePath {
        device_path: full,
        boot_policy: BootPolicy::ExactMatch,
    };
    let image = boot::load_image(this, source)?;
    boot::start_image(image)
}

/// Opens a protocol of a handle without keeping others from it: firmware and the loader
/// use it, too.
pub(crate) fn get<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: Firmware takes away neither the medium that we came from, nor our image, a
    // screen, or what protects memory, while one application after the other runs.
    unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) }
}

/// Says on the firmware's console why Vostok does not start, for long enough to be read;
/// returns what firmware is told.
pub fn give_up(what: &str, status: Status) -> Status {
    uefi::println!("\r\nVostok cannot start: {what}: {status}");
    boot::stall(TIME_TO_READ);
    status
}
