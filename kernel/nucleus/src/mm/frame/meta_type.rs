//! What a type of frame is, and what is known of it when only a slot is.

use core::any::TypeId;
use core::fmt;
use core::marker::PhantomData;

use crate::arch::memory;
use crate::mm::{Infallible, PAGE_SIZE, Paddr, VmReader};

/// The type of a frame: what its slot holds.
///
/// At most [`FRAME_METADATA_MAX_SIZE`](super::meta::FRAME_METADATA_MAX_SIZE) bytes; a larger type does not compile.
/// Implement it with [`impl_frame_meta_for!`](crate::impl_frame_meta_for) or
/// [`impl_untyped_frame_meta_for!`](crate::impl_untyped_frame_meta_for).
///
/// ```compile_fail
/// // Three words do not fit into a slot (peer 22).
/// #[derive(Debug)]
/// struct TooLarge([u64; 3]);
/// nucleus::impl_frame_meta_for!(TooLarge);
/// # fn main() {
/// let _ = nucleus::mm::FrameAllocOptions::new().alloc_frame_with(TooLarge([0; 3]));
/// # }
/// ```
///
/// ```compile_fail
/// // Nor does one of untyped frames that is aligned to more than a slot's data.
/// #[derive(Debug)]
/// #[repr(align(16))]
/// struct TooAligned(u64);
/// nucleus::impl_untyped_frame_meta_for!(TooAligned);
/// # fn main() {
/// let _ = nucleus::mm::FrameAllocOptions::new().alloc_frame_with(TooAligned(0));
/// # }
/// ```
///
/// # Safety
///
/// 1. `is_untyped` says yes only for a type whose frames hold plain bytes that
///    anybody may see and change, user programs included.
/// 2. `drop_hook` says [`DropHook::LeavesZeros`] only if that is so.
pub unsafe trait AnyFrameMeta: fmt::Debug + Send + Sync + 'static {
    /// Called once, when the last reference is gone and before the data is
    /// dropped, with the bytes of the page. Must not take locks that somebody
    /// who drops a frame may hold.
    fn on_drop(&mut self, _reader: &mut VmReader<'_, Infallible>) {}

    /// Returns whether the frame is plain bytes.
    fn is_untyped(&self) -> bool {
        false
    }

    /// Returns what the type's frames are called where they are counted.
    fn kind() -> FrameKind
    where
        Self: Sized,
    {
        FrameKind::named(core::any::type_name::<Self>())
    }

    /// Says whether [`Self::on_drop`] has work to do; if not, it is not called.
    fn drop_hook() -> DropHook
    where
        Self: Sized,
    {
        DropHook::None
    }
}

/// What frames of a type, or of several, are called in a [`Census`](super::Census).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKind {
    /// Its name: one word, unless the type has not been given one.
    pub name: &'static str,
    /// Whether each of its frames is of a level of paging.
    pub(super) has_levels: bool,
}

impl FrameKind {
    /// Returns the kind of a name.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            has_levels: false,
        }
    }

    /// Returns the kind of nodes of paging, which are counted by level.
    pub(crate) const fn nodes(name: &'static str) -> Self {
        Self {
            name,
            has_levels: true,
        }
    }
}

/// What a type of frame does when its last reference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropHook {
    /// Nothing.
    None,
    /// [`AnyFrameMeta::on_drop`] is called.
    Runs,
    /// It is called, and leaves the page all zeros.
    LeavesZeros,
}

/// The vtables of a type; which one is its own depends on its drop hook.
struct VtableOf<M>(PhantomData<M>);

impl<M: AnyFrameMeta> VtableOf<M> {
    const PLAIN: &'static MetaVtable = &MetaVtable {
        type_id: TypeId::of::<M>,
        kind: M::kind,
        leaves_zeros: false,
        destroy: if core::mem::needs_drop::<M>() {
            Some(destroy::<M>)
        } else {
            None
        },
        as_dyn: as_dyn::<M>,
    };
    const HOOKED: &'static MetaVtable = &MetaVtable {
        destroy: Some(destroy_with_hook::<M>),
        ..*Self::PLAIN
    };
    const ZEROING: &'static MetaVtable = &MetaVtable {
        leaves_zeros: true,
        ..*Self::HOOKED
    };

    #[inline]
    fn get() -> &'static MetaVtable {
        match M::drop_hook() {
            DropHook::None => Self::PLAIN,
            DropHook::Runs => Self::HOOKED,
            DropHook::LeavesZeros => Self::ZEROING,
        }
    }
}

/// What a slot's type is when only the slot is known.
#[derive(Clone, Copy)]
pub(super) struct MetaVtable {
    type_id: fn() -> TypeId,
    /// What its frames are called.
    pub(super) kind: fn() -> FrameKind,
    /// Whether the page is all zeros after the data is destroyed.
    pub(super) leaves_zeros: bool,
    /// Destroys the data: drop hook, then destructor. SAFETY: see [`destroy`].
    pub(super) destroy: Option<unsafe fn(*mut u8, Paddr)>,
    /// Returns the data as what all types have in common. SAFETY: see [`as_dyn`].
    pub(super) as_dyn: unsafe fn(*const u8) -> *const dyn AnyFrameMeta,
}

/// From where the distances of vtables are counted. They are constants of the
/// same image, so they are less than 2 GiB away.
static ANCHOR: u64 = 0;

/// The bit of a number that says that the data has something to do when its frame goes.
/// Vtables and the anchor are aligned, so no distance has it.
const IS_DESTROYED: u32 = 1;
const _: () = assert!(align_of::<MetaVtable>() == align_of_val(&ANCHOR));

impl MetaVtable {
    /// Returns the number by which a slot remembers the vtable of a type: its distance,
    /// and in the lowest bit what is asked most often.
    #[inline]
    pub(super) fn number_of<M: AnyFrameMeta>() -> u32 {
        let vtable = VtableOf::<M>::get();
        let address = (vtable as *const Self).expose_provenance();
        let distance = address.wrapping_sub((&raw const ANCHOR).expose_provenance()) as u32;
        match vtable.destroy {
            None => distance,
            Some(_) => distance | IS_DESTROYED,
        }
    }

    /// Returns whether the data whose vtable has this number has nothing to do when its
    /// frame goes.
    #[inline]
    pub(super) const fn is_plain(number: u32) -> bool {
        number & IS_DESTROYED == 0
    }

    /// Returns the vtable of a number.
    ///
    /// # Safety
    ///
    /// The number is from [`Self::number_of`].
    #[inline]
    pub(super) unsafe fn by_number(number: u32) -> &'static Self {
        let anchor = (&raw const ANCHOR).expose_provenance();
        let distance = (number & !IS_DESTROYED) as i32;
        let address = anchor.wrapping_add_signed(distance as isize);
        let vtable = core::ptr::with_exposed_provenance::<Self>(address);
        // SAFETY: The number is the distance of a constant of this image.
        unsafe { &*vtable }
    }

    /// Returns whether the type is `M`.
    pub(super) fn is_of<M: AnyFrameMeta>(&self) -> bool {
        (self.type_id)() == TypeId::of::<M>()
    }
}

impl fmt::Debug for MetaVtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetaVtable")
    }
}

/// Drops the data of a frame.
///
/// # Safety
///
/// `data` holds a value of `M` that nobody uses any more.
unsafe fn destroy<M: AnyFrameMeta>(data: *mut u8, _paddr: Paddr) {
    // SAFETY: As the caller promises; nobody reads it after this.
    unsafe { data.cast::<M>().drop_in_place() };
}

/// Runs the drop hook of a frame and drops its data.
///
/// # Safety
///
/// `data` holds a value of `M` that nobody uses any more, of the frame at `paddr`.
unsafe fn destroy_with_hook<M: AnyFrameMeta>(data: *mut u8, paddr: Paddr) {
    let page = memory::paddr_to_vaddr(paddr) as *const u8;
    // SAFETY: The linear map holds the page, and the frame has no user left.
    let mut reader = unsafe { VmReader::from_kernel_space(page, PAGE_SIZE) };
    // SAFETY: The caller promises a value that is nobody else's.
    unsafe { (*data.cast::<M>()).on_drop(&mut reader) };
    // SAFETY: As the caller promises.
    unsafe { destroy::<M>(data, paddr) };
}

/// Returns the data as what all types have in common.
///
/// # Safety
///
/// `data` holds a value of `M`.
unsafe fn as_dyn<M: AnyFrameMeta>(data: *const u8) -> *const dyn AnyFrameMeta {
    data.cast::<M>()
}

crate::impl_untyped_frame_meta_for!(() => "untyped");
