//! Writing an image to a medium, and reading it back.
//!
//! A write that returned has reached the kernel's cache and no more, so each piece
//! is waited for, by which the progress is that of the medium. The piece with the
//! boot sector and the tables comes last, and zeros in its place first: a stick that
//! is pulled out early starts nowhere, instead of somehow.
//!
//! Reading goes past the cache (`O_DIRECT`), or it would compare the kernel with
//! itself. Where that cannot be done, such as for a file in memory, the cache is
//! asked to forget, and the verdict says so.

use std::fmt::{self, Display, Formatter};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{Advice, OFlags, fadvise};

/// What is written and read at once.
const PIECE: usize = 1 << 20;
/// What buffers and places have to be multiples of for reads past the cache.
const ALIGNMENT: usize = 4096;

/// How the medium was compared with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    /// What is on the medium itself.
    Directly,
    /// What the kernel reads, which may be what it remembers.
    ThroughCache,
}

impl Display for Verified {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directly => "as read back from the medium",
            Self::ThroughCache => "as read back, perhaps from the kernel's cache",
        })
    }
}

/// Opens what is to be written; `alone` fails for a device that is in use.
pub(super) fn open_to_write(path: &Path, alone: bool) -> io::Result<File> {
    // Without `O_CREAT` this is about devices: none that is mounted, or a part of
    // another one, is opened.
    let flags = if alone { OFlags::EXCL } else { OFlags::empty() };
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags.bits().cast_signed());
    options.open(path)
}

/// Writes the first `len` bytes of an image; tells how many are there.
pub(super) fn write(
    image: &mut File,
    target: &File,
    len: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let first = usize::try_from(len).map_or(PIECE, |len| len.min(PIECE));
    put(target, &buffer[..first], 0)?;
    let mut done = 0;
    let starts = (0..len).step_by(PIECE).skip(1).chain([0]);
    for start in starts {
        let piece = piece(&mut buffer, len, start);
        image.read_exact_at(piece, start)?;
        put(target, piece, start)?;
        done += piece.len() as u64;
        progress(done);
    }
    target.sync_all().context("the medium failed")
}

fn put(target: &File, bytes: &[u8], at: u64) -> Result<()> {
    let written = target.write_all_at(bytes, at);
    written
        .and_then(|()| target.sync_data())
        .with_context(|| format!("cannot write at byte {at}"))
}

/// Returns the part of the buffer for the piece that starts here.
fn piece(buffer: &mut [u8], len: u64, start: u64) -> &mut [u8] {
    let rest = usize::try_from(len - start).unwrap_or(usize::MAX);
    let size = rest.min(buffer.len());
    &mut buffer[..size]
}

/// Compares what was written with the image.
///
/// # Errors
///
/// The place of the first difference.
pub(super) fn verify(
    image: &mut File,
    path: &Path,
    len: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Verified> {
    let mut options = OpenOptions::new();
    let direct = options
        .read(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed());
    let (medium, how) = match direct.open(path) {
        Ok(medium) => (medium, Verified::Directly),
        Err(_) => {
            let medium = File::open(path).context("cannot read it back")?;
            fadvise(&medium, 0, None, Advice::DontNeed)?;
            (medium, Verified::ThroughCache)
        }
    };
    let (mut wanted, mut room) = (vec![0; PIECE], vec![0; PIECE + ALIGNMENT]);
    let offset = room.as_ptr().align_offset(ALIGNMENT);
    let found = &mut room[offset..offset + PIECE];
    for start in (0..len).step_by(PIECE) {
        let wanted = piece(&mut wanted, len, start);
        image.read_exact_at(wanted, start)?;
        // Whole blocks, even of the last piece.
        let whole = wanted.len().next_multiple_of(ALIGNMENT);
        let read = read_at(&medium, &mut found[..whole], start, wanted.len())
            .with_context(|| format!("cannot read at byte {start}"))?;
        let difference = wanted.iter().zip(&found[..read]).position(|(a, b)| a != b);
        if let Some(at) = difference {
            let at = start + at as u64;
            bail!("byte {at} reads back differently: the medium is broken, or not what it says");
        }
        progress(start + wanted.len() as u64);
    }
    Ok(how)
}

/// Reads at least so much into a buffer, which may be longer than what there is.
fn read_at(file: &File, buffer: &mut [u8], at: u64, least: usize) -> io::Result<usize> {
    let mut done = 0;
    while done < least {
        match file.read_at(&mut buffer[done..], at + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    use super::{PIECE, open_to_write, verify, write};

    #[test]
    fn first_difference_is_found_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (image, medium) = (directory.path().join("a"), directory.path().join("b"));
        let len = 2 * PIECE + 1000;
        let bytes: Vec<u8> = (0..len).map(|at| (at / 3) as u8).collect();
        fs::write(&image, &bytes).unwrap();
        fs::write(&medium, vec![0; len + 5]).unwrap();
        let mut image = File::open(&image).unwrap();
        let file = open_to_write(&medium, false).unwrap();
        let mut places = Vec::new();
        let mut note = |done| places.push(done);
        write(&mut image, &file, len as u64, &mut note).unwrap();
        let read = verify(&mut image, &medium, len as u64, &mut note);
        read.unwrap();
        let (a, b, c) = (PIECE as u64, 2 * PIECE as u64, len as u64);
        assert_eq!(places, [a, a + 1000, c, a, b, c]);

        for at in [0, 4095, PIECE, len - 1] {
            let wrong = [!bytes[at]];
            file.write_all_at(&wrong, at as u64).unwrap();
            let error = verify(&mut image, &medium, c, &mut |_| ()).unwrap_err();
            assert!(
                error.to_string().contains(&format!("byte {at} ")),
                "{error}"
            );
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
        file.set_len(c - 1).unwrap();
        assert!(verify(&mut image, &medium, c, &mut |_| ()).is_err());
    }

    #[test]
    fn medium_that_ends_early_fails_and_has_no_boot_sector() {
        let directory = tempfile::tempdir().unwrap();
        let (image, medium) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&image, vec![1; PIECE]).unwrap();
        fs::write(&medium, vec![2; 3 * PIECE]).unwrap();
        let mut image = File::open(&image).unwrap();
        let file = open_to_write(&medium, false).unwrap();
        // The image is shorter than it says: the second piece cannot be read.
        assert!(write(&mut image, &file, 2 * PIECE as u64, &mut |_| ()).is_err());
        assert!(fs::read(&medium).unwrap()[..PIECE] == [0; PIECE]);
    }
}
