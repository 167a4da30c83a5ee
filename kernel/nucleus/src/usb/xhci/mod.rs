//! The controller: an xHCI, which all PCs have had since about 2013, and most have alone.
//!
//! [`Controller::serve`] is its whole life. What is where:
//!
//! * [`registers`]: where its registers are.
//! * [`start`]: it is taken from firmware, reset, given its memory, and run.
//! * [`work`]: commands and events; what a tick does.
//! * [`transfer`]: requests to devices, and what they say by themselves.
//! * [`device`]: a device from its address to its role.
//! * [`port`], [`hub`]: what is plugged in and out.
//!
//! **Memory.** One page holds what the controller is told once, one each the rings of
//! commands and events, and each slot has a page:
//!
//! ```text
//!  0      device context  ──  the controller's own
//!  2048   ring of control
//!  2560   ring of interrupts
//!  3072   data of control
//!  3584   reports, 8 of 64 bytes
//! ```
//!
//! A slot's page is used again when the controller has said that the slot is disabled.
//! None is ever given back: nobody could tell that the controller has no use for it.

mod device;
mod hub;
mod port;
mod registers;
mod start;
mod transfer;
mod work;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, pending};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Waker};

use self::device::Device;
use self::registers::{Layout, Ports};
use self::work::{Done, PortSet};
use super::ring::{EventRing, ProducerRing};
use super::trb::Completion;
use crate::arch::x86_64::device_memory::Registers;
use crate::arch::x86_64::pci::{self, Function};
use crate::mm::dma::DmaCoherent;
use crate::sync::SpinLock;

/// Most devices at a controller at once. Only keyboards and hubs keep a slot.
const MAX_SLOTS: u8 = 16;
/// Most controllers.
const MAX_CONTROLLERS: usize = 8;
/// Class, subclass and interface of an xHCI.
const CLASS: (u8, u8, u8) = (0x0c, 0x03, 0x30);

/// A controller's life.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All controllers. Taken by start-up and by the boot processor's tick, which does not
/// wait for it; other locks are taken while it is held, and never the other way round.
static DRIVERS: SpinLock<Vec<Driver>> = SpinLock::new(Vec::new());
/// There is one.
static HAS_DRIVER: AtomicBool = AtomicBool::new(false);

/// Looks for controllers, and has ticks drive them from now on.
pub(crate) fn init() {
    let mut drivers = Vec::new();
    pci::for_each(|function| {
        if function.class() != CLASS || drivers.len() == MAX_CONTROLLERS {
            return;
        }
        match Controller::new(function) {
            Ok(controller) => {
                log::info!(
                    "usb: controller {function}, {} ports",
                    controller.layout.nr_ports
                );
                let driver: Driver = Box::pin(controller.live());
                drivers.push(driver);
            }
            Err(why) => log::warn!("usb: controller {function} cannot be used: {why}"),
        }
    });
    let has_any = !drivers.is_empty();
    *DRIVERS.lock() = drivers;
    // Relaxed: the lock orders what it tells of.
    HAS_DRIVER.store(has_any, Ordering::Relaxed);
}

/// Drives all controllers on; at each tick of the boot processor, with interrupts off.
pub(crate) fn on_tick() {
    // Relaxed: as above.
    if !HAS_DRIVER.load(Ordering::Relaxed) {
        return;
    }
    let Some(mut drivers) = DRIVERS.try_lock() else {
        return;
    };
    // The next tick comes whether anybody is woken or not.
    let mut context = Context::from_waker(Waker::noop());
    for driver in drivers.iter_mut() {
        // None ever ends.
        let _ = driver.as_mut().poll(&mut context);
    }
}

/// Why something with a device, or all with a controller, came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The controller is of no use any more.
    Controller(&'static str),
    /// It ended in this way.
    Ended(Completion),
    /// The device does not answer.
    Silent,
    /// What the device says or does makes no sense.
    Nonsense(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(why) | Self::Nonsense(why) => f.write_str(why),
            Self::Ended(completion) => write!(f, "{completion:?}"),
            Self::Silent => f.write_str("it does not answer"),
        }
    }
}

/// A controller, and all that is known of what is plugged in.
struct Controller {
    function: Function,
    registers: Registers,
    layout: Layout,
    /// Which protocols the ports speak.
    protocols: Vec<Ports>,
    /// What the controller is told once: see [`start`].
    shared: DmaCoherent,
    /// The controller's own pages, kept.
    _scratch: Option<(DmaCoherent, DmaCoherent)>,
    command_memory: DmaCoherent,
    commands: ProducerRing,
    events: EventRing,
    /// A page for each slot, the first one being slot 1's.
    pages: Vec<DmaCoherent>,
    /// The devices by their slots.
    devices: [Option<Device>; MAX_SLOTS as usize],
    command_done: Option<Done>,
    /// Of the request that is waited for.
    control_done: Option<Done>,
    /// Ports at which something happened.
    changed: PortSet,
    /// Ports whose device was looked at.
    settled: PortSet,
    /// It was started, and is to run until it fails.
    is_running: bool,
    nr_ticks: u32,
}

impl Controller {
    /// Drives the controller for ever; does nothing more once it has failed.
    async fn live(mut self) {
        let Err(fault) = self.serve().await;
        log::error!("usb: controller {} is given up: {fault}", self.function);
        self.release_all_keys();
        self.stop();
        // Nobody knows whether it still uses its memory, which `self` keeps.
        pending().await
    }

    /// Starts the controller, and sees to all that is plugged in or out, or says something.
    async fn serve(&mut self) -> Result<core::convert::Infallible, Fault> {
        self.start().await?;
        loop {
            self.tick().await?;
            let outcome = if let Some(port) = self.changed.take() {
                self.visit_root_port(port).await
            } else if let Some((slot, port)) = self.take_changed_hub_port() {
                self.visit_hub_port(slot, port).await
            } else if let Some(slot) = self.halted_slot() {
                self.revive(slot).await
            } else if let Some(slot) = self.unlit_slot() {
                self.light(slot).await
            } else {
                Ok(())
            };
            match outcome {
                Err(fault @ Fault::Controller(_)) => return Err(fault),
                Err(fault) => log::debug!("usb: {fault}"),
                Ok(()) => {}
            }
        }
    }
}
