//! Do readers and writers copy what they should, and no more?

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{VmIo, VmIoOnce, VmReader, VmWriter};
use crate::cpu::disable_preempt;
use crate::irq;
use crate::mm::vm_space::PageFaultInfo;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, Segment, UntypedMem,
    VmSpace,
};
use crate::prelude::*;
use crate::sync::SpinLock;

#[ktest]
fn claim_164_copy_is_of_the_shorter_side_and_moves_both() {
    let mut target = [0_u8; 3];
    let mut reader = VmReader::from(&[1_u8, 2, 3, 4, 5][..]);
    let mut writer = VmWriter::from(&mut target[..]);
    assert_eq!(reader.read(&mut writer), 3);
    assert_eq!((reader.remain(), writer.avail()), (2, 0));
    assert!(reader.has_remain() && !writer.has_avail());
    assert_eq!(reader.read(&mut writer), 0, "nothing is legal");
    assert_eq!(target, [1, 2, 3]);
}

#[ktest]
fn claim_165_limit_never_enlarges() {
    let mut reader = VmReader::from(&[0_u8; 8][..]);
    assert_eq!(reader.limit(4).limit(usize::MAX).remain(), 4);
    assert_eq!(reader.skip(1).skip(2).remain(), 1);
}

#[ktest]
#[should_panic(expected = "skip beyond the end")]
fn claim_165_skip_beyond_the_end_panics() {
    VmReader::from(&[0_u8; 8][..]).skip(9);
}

#[ktest]
fn claim_166_value_from_a_short_reader_is_refused_and_nothing_moves() {
    let mut reader = VmReader::from(&[1_u8, 2, 3][..]);
    assert_eq!(reader.read_val::<u32>(), Err(Error::InvalidArgs));
    assert_eq!(reader.read_once::<u32>(), Err(Error::InvalidArgs));
    assert_eq!((reader.remain(), reader.read_val::<u8>()), (3, Ok(1)));
    let mut bytes = [0; 3];
    let mut writer = VmWriter::from(&mut bytes[..]);
    assert_eq!(writer.write_val(&1_u32), Err(Error::InvalidArgs));
    assert_eq!((writer.avail(), writer.write_val(&9_u16)), (3, Ok(())));
    assert_eq!(writer.avail(), 1);
}

#[ktest]
fn once_accesses_move_by_the_value() {
    let mut words = [0_u64; 2];
    let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut words[..]);
    let mut writer = VmWriter::from(&mut *bytes);
    assert_eq!((writer.write_once(&7_u64), writer.avail()), (Ok(()), 8));
    assert_eq!(VmReader::from(&*bytes).read_once::<u64>(), Ok(7));
}

#[ktest]
#[should_panic(expected = "is misaligned")]
fn claim_169_misaligned_single_access_panics() {
    let words = [0_u64; 2];
    let mut reader = VmReader::from(zerocopy::IntoBytes::as_bytes(&words[..]));
    let _ = reader.skip(1).read_once::<u64>();
}

#[ktest]
fn claim_172_zeroing_says_how_much() {
    let mut bytes = [1_u8; 8];
    let mut writer = VmWriter::from(&mut bytes[..]);
    assert_eq!((writer.fill_zeros(5), writer.fill_zeros(5)), (5, 3));
    assert_eq!(bytes, [0; 8]);
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    assert_eq!(VmIo::fill_zeros(&frame, 0, PAGE_SIZE), Ok(PAGE_SIZE));
    assert_eq!(
        frame.fill_zeros(PAGE_SIZE - 2, 5),
        Err((Error::InvalidArgs, 2))
    );
    assert_eq!(
        frame.fill_zeros(PAGE_SIZE + 1, 5),
        Err((Error::InvalidArgs, 0))
    );
}

#[ktest]
fn filling_repeats_a_value() {
    let mut words = [0_u32; 3];
    let mut writer = VmWriter::from(zerocopy::IntoBytes::as_mut_bytes(&mut words[..]));
    assert_eq!(writer.fill(0xabcd_u32), 3);
    assert_eq!(words, [0xabcd; 3]);
}

#[ktest]
#[should_panic(expected = "no whole number of values")]
fn filling_with_a_rest_panics() {
    let mut words = [0_u32; 3];
    VmWriter::from(zerocopy::IntoBytes::as_mut_bytes(&mut words[..])).fill(1_u64.to_ne_bytes());
}

#[ktest]
fn readers_are_cloned_and_writers_borrowed() {
    let mut reader = VmReader::from(&[1_u8, 2][..]);
    assert_eq!(
        (reader.clone().read_val::<u8>(), reader.read_val::<u8>()),
        (Ok(1), Ok(1))
    );
    let mut bytes = [0; 2];
    let mut writer = VmWriter::from(&mut bytes[..]);
    assert_eq!(writer.clone_exclusive().write_val(&5_u8), Ok(()));
    assert_eq!(writer.avail(), 2);
}

#[ktest]
fn fallible_copies_of_kernel_memory_complete() {
    let mut target = [0_u8; 4];
    let mut reader = VmReader::from(&[1_u8, 2, 3][..]).to_fallible();
    let mut writer = VmWriter::from(&mut target[..]).to_fallible();
    assert_eq!(reader.read_fallible(&mut writer), Ok(3));
    assert_eq!((writer.avail(), writer.fill_zeros(9)), (1, Ok(1)));
    assert_eq!(reader.read_fallible(&mut writer), Ok(0));
    assert_eq!(
        VmReader::from(&[4_u8, 5][..]).to_fallible().collect(),
        Ok(alloc::vec![4, 5])
    );
}

#[ktest]
fn claim_171_objects_refuse_what_leaves_them_and_transfer_nothing() {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    let mut bytes = [7; 8];
    for (offset, error) in [
        (PAGE_SIZE - 7, Error::InvalidArgs),
        (PAGE_SIZE, Error::InvalidArgs),
        (usize::MAX - 3, Error::Overflow),
    ] {
        assert_eq!(frame.read_bytes(offset, &mut bytes), Err(error));
        assert_eq!(frame.write_bytes(offset, &bytes), Err(error));
    }
    assert_eq!(bytes, [7; 8]);
    assert_eq!(
        frame.read_val::<u64>(PAGE_SIZE - 8),
        Ok(0),
        "nothing was written"
    );
    assert_eq!(frame.read_bytes(PAGE_SIZE, &mut []), Ok(()));
}

#[ktest]
fn claim_173_what_is_written_in_chunks_is_read_in_others() {
    let segment: Segment<()> = FrameAllocOptions::new()
        .alloc_segment(2)
        .expect("enough memory");
    let pattern = |index: usize| (index * 7 + index / 256) as u8;
    let mut offset = 0;
    for chunk in [1, 4095, 3, 1000, 3093] {
        let bytes: alloc::vec::Vec<u8> = (offset..offset + chunk).map(pattern).collect();
        segment.write_bytes(offset, &bytes).expect("it fits");
        offset += chunk;
    }
    assert_eq!(offset, 2 * PAGE_SIZE);
    let mut bytes = alloc::vec![0; 2 * PAGE_SIZE];
    for chunk in bytes.chunks_mut(777).enumerate() {
        segment.read_bytes(chunk.0 * 777, chunk.1).expect("it fits");
    }
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(index, byte)| *byte == pattern(index))
    );
}

#[ktest]
fn values_are_written_until_one_does_not_fit() {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    let values = [1_u32, 2, 3];
    assert_eq!(frame.write_vals(PAGE_SIZE - 8, values.iter(), 0), Ok(2));
    assert_eq!(
        frame.write_vals(PAGE_SIZE - 2, values.iter(), 0),
        Err(Error::InvalidArgs)
    );
    assert_eq!(frame.write_vals(1, values.iter(), 16), Ok(3));
    assert_eq!(frame.read_val::<u32>(48), Ok(3));
    let mut slice = [0_u32; 2];
    frame.write_slice(100, &[8_u32, 9]).expect("it fits");
    frame.read_slice(100, &mut slice).expect("it fits");
    assert_eq!(slice, [8, 9]);
}

#[ktest]
fn single_accesses_of_objects() {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    assert_eq!(frame.write_once(16, &5_u64), Ok(()));
    assert_eq!(frame.read_once::<u64>(16), Ok(5));
    assert_eq!(frame.read_once::<u64>(PAGE_SIZE), Err(Error::InvalidArgs));
}

#[ktest]
#[should_panic(expected = "skip beyond the end")]
fn single_access_beyond_the_object_panics() {
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    let _ = frame.read_once::<u64>(PAGE_SIZE + 8);
}

#[ktest]
#[should_panic(expected = "are not user memory")]
fn reader_of_a_user_cannot_cover_the_kernel() {
    VmReader::<super::Fallible>::from_user_space(crate::mm::USER_END as *const u8, 1);
}

#[ktest]
fn peer_036_memory_that_others_may_use_is_copied_upwards_by_words() {
    // Not by the compiler's copy, which chooses its direction, and may read twice
    // what a program changes meanwhile.
    let frame = FrameAllocOptions::new()
        .alloc_frame()
        .expect("enough memory");
    frame.write_bytes(0, b"one word").expect("it fits");
    let mut reader = frame.reader();
    let mut writer = frame.writer();
    assert_eq!(reader.limit(16).read(writer.skip(8)), 16);
    let mut bytes = [0; 25];
    frame.read_bytes(0, &mut bytes).expect("it fits");
    assert_eq!(&bytes, b"one wordone wordone word\0");
}

const USER_PAGE: usize = 0x40_0000;

/// How often the handler of faults was asked.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Maps a page where the fault was.
fn make_page(space: &VmSpace, info: &PageFaultInfo) -> core::result::Result<(), ()> {
    ASKED.fetch_add(1, Ordering::Relaxed);
    let (guard, start) = (disable_preempt(), info.address / PAGE_SIZE * PAGE_SIZE);
    let mut cursor = space
        .cursor_mut(&guard, &(start..start + PAGE_SIZE))
        .map_err(|_| ())?;
    let frame = FrameAllocOptions::new().alloc_frame().map_err(|_| ())?;
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    cursor.map(frame.into(), prop).map_err(|_| ())
}

#[ktest]
fn peers_050_051_fault_in_atomic_mode_is_an_error_and_no_handler_is_asked() {
    ASKED.store(0, Ordering::Relaxed);
    let space = Arc::new(VmSpace::new().expect("enough memory"));
    space.set_page_fault_handler(make_page);
    space.activate();
    let read = || {
        let mut reader = space.reader(USER_PAGE, 1).expect("a legal range");
        reader.read_val::<u8>()
    };
    let faults = Err(Error::PageFault);
    {
        let _stays = disable_preempt();
        assert_eq!(read(), faults);
    }
    {
        let _irq_off = irq::disable_local();
        assert_eq!(read(), faults);
    }
    {
        let lock = SpinLock::new(());
        let _held = lock.lock();
        assert_eq!(read(), faults);
    }
    {
        // A handler would wait for the very cursor that its caller holds.
        let guard = disable_preempt();
        let range = USER_PAGE..USER_PAGE + PAGE_SIZE;
        let _cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        assert_eq!(read(), faults);
    }
    assert_eq!(ASKED.load(Ordering::Relaxed), 0);
    assert_eq!((read(), ASKED.load(Ordering::Relaxed)), (Ok(0), 1));
    VmSpace::deactivate_current();
}

#[ktest]
fn peer_089_values_at_odd_addresses_are_copied_and_those_beyond_the_end_refused() {
    let bytes: [u8; 12] = core::array::from_fn(|index| index as u8);
    for start in 0..=4 {
        let mut reader = VmReader::from(&bytes[start..]);
        let expected = bytes[start..].first_chunk().copied();
        let value = reader.read_val::<u64>();
        assert_eq!(value.map(u64::to_le_bytes).ok(), expected);
        let rest = VmReader::from(&bytes[start + 5..]).read_val::<u64>();
        assert_eq!(rest, Err(Error::InvalidArgs));
    }
}
