//! The screen that the loader is shown.
//!
//! The loader opens the firmware's graphics output protocol (UEFI 2.10, 12.9) and
//! panics where it cannot draw. So the pre-loader looks at every such protocol
//! itself, sets the mode that [`crate::modes`] chooses on the first with one, and puts a
//! function of its own in the place of `BootServices.OpenProtocol`. That function hands
//! out our description of the screen, with this mode as the only one; where no screen
//! can be drawn on, it says that there is no such protocol, and the loader does without.
//!
//! Firmware's own protocol stays as it is, for its own console.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use uefi::boot::{self, MemoryType, SearchType};
use uefi::proto::console::gop::GraphicsOutput;
use uefi::{Guid, Handle, Identify, Status};
use uefi_raw::protocol::console::{
    GraphicsOutputBltOperation, GraphicsOutputBltPixel, GraphicsOutputModeInformation,
    GraphicsOutputProtocol, GraphicsOutputProtocolMode,
};

use crate::{chain, hook, modes};

type OpenProtocol = unsafe extern "efiapi" fn(
    uefi_raw::Handle,
    *const Guid,
    *mut *mut c_void,
    uefi_raw::Handle,
    uefi_raw::Handle,
    u32,
) -> Status;

/// `EFI_OPEN_PROTOCOL_TEST_PROTOCOL`: the caller wants to know, not to use (7.3.9).
const TEST_PROTOCOL: u32 = 4;

/// A protocol with one mode, and what it points to.
#[repr(C)]
pub(crate) struct Shown {
    protocol: GraphicsOutputProtocol,
    mode: GraphicsOutputProtocolMode,
    info: GraphicsOutputModeInformation,
}

/// The firmware's function while ours stands in its place, and what ours hands out:
/// nothing if null. No order matters, as in [`crate::levels`].
static OPEN_PROTOCOL: AtomicUsize = AtomicUsize::new(0);
static SHOWN: AtomicPtr<Shown> = AtomicPtr::new(ptr::null_mut());

/// Chooses the screen and has the loader be shown nothing else.
pub fn choose() {
    let handles = boot::locate_handle_buffer(SearchType::ByProtocol(&GraphicsOutput::GUID));
    // Where there is no screen, the loader sees that for itself.
    if let Ok(handles) = handles {
        show(handles.iter().find_map(|handle| shown_of(*handle)));
    }
}

/// Has whoever opens a screen be shown this one from now on, or none.
pub(crate) fn show(shown: Option<NonNull<Shown>>) {
    let shown = shown.map_or(ptr::null_mut(), NonNull::as_ptr);
    SHOWN.store(shown, Ordering::Relaxed);
    // SAFETY:
    // 1. Ours does what the firmware's does, but for one protocol, which it replaces by
    //    one that has all of its functions.
    // 2. `show_all` undoes it when the loader returns; if it does not, our image stays.
    unsafe {
        hook::change(|services| {
            OPEN_PROTOCOL.store(services.open_protocol as usize, Ordering::Relaxed);
            services.open_protocol = open_protocol;
        });
    }
}

/// Puts the firmware's own function back, if another stands in its place.
pub fn show_all() {
    let original = OPEN_PROTOCOL.swap(0, Ordering::Relaxed);
    if original != 0 {
        // SAFETY: It was taken from the table as such a function.
        let original = unsafe { core::mem::transmute::<usize, OpenProtocol>(original) };
        // SAFETY: It is the firmware's own.
        unsafe { hook::change(|services| services.open_protocol = original) };
    }
}

/// Returns the firmware's protocol of a handle.
///
/// It is used beside the firmware, whose console it is; nobody else runs meanwhile.
fn protocol_of(handle: Handle) -> Option<NonNull<GraphicsOutputProtocol>> {
    let mut protocol = chain::get::<GraphicsOutput>(handle).ok()?;
    Some(NonNull::from(protocol.get_mut()?).cast())
}

/// Sets the best mode of a screen; returns what the loader is shown of it.
fn shown_of(handle: Handle) -> Option<NonNull<Shown>> {
    let protocol = protocol_of(handle)?.as_ptr();
    let current = current_mode(protocol)?;
    let all = (0..current.max_mode).filter_map(|number| Some((number, mode(protocol, number)?)));
    let chosen = modes::choose(current.mode, all)?;
    if chosen != current.mode {
        // SAFETY: The protocol is the firmware's.
        let set_mode = unsafe { (*protocol).set_mode };
        // SAFETY: It is the protocol's own, and there is such a mode.
        let status = unsafe { set_mode(protocol, chosen) };
        if status.is_error() {
            uefi::println!("screen: mode {chosen} is refused: {status}");
        }
    }
    // Whatever mode it is in now, this is what firmware says of it.
    let set = current_mode(protocol)?;
    // SAFETY: It points to the description of the mode that is set.
    let info = unsafe { set.info.read() };
    let (info, len) = modes::shown(&info, set.frame_buffer_base, set.frame_buffer_size as u64)?;
    let mode = GraphicsOutputProtocolMode {
        max_mode: 1,
        mode: 0,
        frame_buffer_size: usize::try_from(len).ok()?,
        ..set
    };
    Shown::new(mode, info)
}

/// Returns what a protocol says of the mode that is set, if it says something.
fn current_mode(protocol: *mut GraphicsOutputProtocol) -> Option<GraphicsOutputProtocolMode> {
    // SAFETY: The protocol is the firmware's.
    let mode = unsafe { (*protocol).mode };
    // SAFETY: It is null or points to such a description.
    let mode = unsafe { mode.as_ref() }?;
    (!mode.info.is_null()).then_some(*mode)
}

/// Returns what a protocol says of one of its modes.
fn mode(
    protocol: *mut GraphicsOutputProtocol,
    number: u32,
) -> Option<GraphicsOutputModeInformation> {
    let (mut len, mut info) = (0, ptr::null_mut());
    // SAFETY: The protocol is the firmware's.
    let query_mode = unsafe { (*protocol).query_mode };
    // SAFETY: It is the protocol's own, and the places are local ones.
    let status = unsafe { query_mode(protocol, number, &raw mut len, &raw mut info) };
    let info = NonNull::new(info).filter(|_| status.is_success())?;
    let is_whole = len >= size_of::<GraphicsOutputModeInformation>();
    // SAFETY: The memory is as long as that.
    let mode = is_whole.then(|| unsafe { info.read() });
    // SAFETY: The memory is ours by the service's contract, and not used any more.
    let _ = unsafe { boot::free_pool(info.cast()) };
    mode
}

impl Shown {
    /// Puts a protocol into memory of its own, for ever, unless there is none.
    pub(crate) fn new(
        mode: GraphicsOutputProtocolMode,
        info: GraphicsOutputModeInformation,
    ) -> Option<NonNull<Self>> {
        let place = boot::allocate_pool(MemoryType::LOADER_DATA, size_of::<Self>());
        let place = place.ok()?.cast::<Self>();
        let this = place.as_ptr();
        let shown = Self {
            protocol: GraphicsOutputProtocol {
                query_mode,
                set_mode,
                blt,
                // SAFETY: The memory is as long as that.
                mode: unsafe { &raw const (*this).mode },
            },
            mode: GraphicsOutputProtocolMode {
                // SAFETY: As above.
                info: unsafe { &raw const (*this).info },
                ..mode
            },
            info,
        };
        // SAFETY: The memory was just allocated, is as long as that and aligned to 8.
        unsafe { place.write(shown) };
        Some(place)
    }
}

/// What stands in the firmware's table: opens any protocol but a screen.
unsafe extern "efiapi" fn open_protocol(
    handle: uefi_raw::Handle,
    protocol: *const Guid,
    interface: *mut *mut c_void,
    agent: uefi_raw::Handle,
    controller: uefi_raw::Handle,
    attributes: u32,
) -> Status {
    let original = OPEN_PROTOCOL.load(Ordering::Relaxed);
    // SAFETY: This function stands in the table only while that one is kept here.
    let original = unsafe { core::mem::transmute::<usize, OpenProtocol>(original) };
    // SAFETY: The caller passes the address of an identifier.
    let is_screen = unsafe { protocol.as_ref() } == Some(&GraphicsOutput::GUID);
    let shown = SHOWN.load(Ordering::Relaxed);
    if is_screen && shown.is_null() {
        return Status::UNSUPPORTED;
    }
    // SAFETY: The arguments are the caller's. It is opened in earnest, since it will
    // be closed.
    let status = unsafe { original(handle, protocol, interface, agent, controller, attributes) };
    let wants_interface = attributes != TEST_PROTOCOL;
    if is_screen && status.is_success() && wants_interface && !interface.is_null() {
        // SAFETY: The caller passes a place for it.
        unsafe { interface.write(shown.cast()) };
    }
    status
}

/// Describes the only mode, in memory that becomes the caller's.
unsafe extern "efiapi" fn query_mode(
    this: *const GraphicsOutputProtocol,
    number: u32,
    len: *mut usize,
    info: *mut *mut GraphicsOutputModeInformation,
) -> Status {
    if number != 0 || len.is_null() || info.is_null() {
        return Status::INVALID_PARAMETER;
    }
    let size = size_of::<GraphicsOutputModeInformation>();
    match boot::allocate_pool(MemoryType::LOADER_DATA, size) {
        Ok(place) => {
            let place = place.as_ptr().cast::<GraphicsOutputModeInformation>();
            // SAFETY: `this` is the first field of what `Shown::new` made.
            let shown = unsafe { &*this.cast::<Shown>() };
            // SAFETY: The memory was just allocated for it.
            unsafe { place.write(shown.info) };
            // SAFETY: The caller passes a place for it.
            unsafe { info.write(place) };
            // SAFETY: The caller passes a place for it.
            unsafe { len.write(size) };
            Status::SUCCESS
        }
        Err(error) => error.status(),
    }
}

/// Sets the only mode, which is set.
unsafe extern "efiapi" fn set_mode(_this: *mut GraphicsOutputProtocol, number: u32) -> Status {
    if number == 0 {
        Status::SUCCESS
    } else {
        Status::UNSUPPORTED
    }
}

/// Moves pixels for nobody: the loader draws by itself.
unsafe extern "efiapi" fn blt(
    _this: *mut GraphicsOutputProtocol,
    _buffer: *mut GraphicsOutputBltPixel,
    _operation: GraphicsOutputBltOperation,
    _source_x: usize,
    _source_y: usize,
    _destination_x: usize,
    _destination_y: usize,
    _width: usize,
    _height: usize,
    _delta: usize,
) -> Status {
    Status::UNSUPPORTED
}
