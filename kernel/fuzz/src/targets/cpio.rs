//! Archives: whatever the bytes, names and contents are parts of them; and what
//! the image builder writes, the kernel finds.

use std::collections::BTreeMap;

use nucleus::boot::initramfs::command_line;
use nucleus::planted::Bug;

use super::Target;
use crate::archive::{File, Tree};
use crate::initramfs::Archive;
use crate::input::Bytes;

pub(super) const TARGET: Target = Target {
    name: "cpio",
    claim: "an archive is read within its bounds, and as it was written",
    run,
    max_len: 1024,
    inputs: 200_000,
    bugs: &[(Bug::NamePrefix, "finds: a file found by a part of its name")],
};

fn run(input: &[u8]) {
    let mut input = Bytes(input);
    match input.byte() % 2 {
        0 => read_anything(input.0),
        _ => write_and_read(input),
    }
}

/// Reads bytes that may be an archive.
fn read_anything(archive: &[u8]) {
    let text = command_line(archive);
    assert!(is_part(text.as_bytes(), archive));
    let mut names: Vec<_> = cpio_reader::iter_files(archive)
        .map(|entry| entry.name())
        .collect();
    assert!(names.len() <= archive.len(), "more files than bytes");
    names.truncate(64);
    let tree = Tree::new(archive);
    assert!(
        tree.files().len() <= archive.len() + 1,
        "more files than bytes"
    );
    for (index, file) in tree.files().iter().enumerate() {
        assert!(is_part(file.name.as_bytes(), archive), "{}", file.name);
        assert!(is_part(file.contents, archive), "{}", file.name);
        let parent = &tree.files()[file.parent];
        assert!(parent.is_directory(), "{} is in a file", file.name);
        assert!(index == 0 || parent.children[file.name] == index);
    }
    for name in names.iter().copied().chain(["", "/", "bin/init"]) {
        let _ = find(&tree, name);
    }
}

/// Finds a file by its path from the root.
fn find<'t, 'a>(tree: &'t Tree<'a>, path: &str) -> Option<&'t File<'a>> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let index = parts.try_fold(0, |directory, name| tree.lookup(directory, name))?;
    tree.files().get(index)
}

/// Returns whether bytes are the very bytes of a part of others.
fn is_part(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}

/// Writes an archive of the files that the input describes, and looks for them.
fn write_and_read(mut input: Bytes<'_>) {
    let mut archive = Archive::default();
    let mut files = BTreeMap::new();
    let cut = input.number(2) as usize;
    while let Some(len) = input.next() {
        let name = name(&mut input, usize::from(len % 16));
        let contents: Vec<u8> = (0..input.below(32)).map(|_| input.byte()).collect();
        let permissions = 0o777 & input.number(2) as u32;
        if archive
            .add_file(&name, permissions, contents.clone())
            .is_ok()
        {
            files.insert(
                name.trim_start_matches('/').to_owned(),
                (permissions, contents),
            );
        }
    }
    let ends = |name: &String| name == "TRAILER!!!" || name.starts_with("TRAILER!!!/");
    let bytes = match (archive.into_bytes(), files.keys().any(ends)) {
        (Ok(bytes), false) => bytes,
        (Err(_), true) => return,
        (result, _) => panic!("{result:?} of {files:?}"),
    };
    let tree = Tree::new(&bytes);
    for (name, (permissions, contents)) in &files {
        let is_below_a_file = name
            .match_indices('/')
            .any(|(end, _)| files.contains_key(&name[..end]));
        if is_below_a_file {
            continue;
        }
        let file = find(&tree, name).unwrap_or_else(|| panic!("{name:?} is not found"));
        let last = name.rsplit('/').next();
        assert_eq!((Some(file.name), file.contents), (last, &contents[..]));
        assert_eq!(file.mode, 0o100_000 | permissions, "the mode of {name:?}");
        assert!(!file.is_directory());
        let part = &name[..name.floor_char_boundary(name.len() - 1)];
        let below = |part: &str, name: &String| name.starts_with(&format!("{part}/"));
        let plain = part.trim_matches('/');
        let is_there =
            plain.is_empty() || files.keys().any(|name| name == plain || below(plain, name));
        assert_eq!(find(&tree, part).is_some(), is_there, "{part:?}");
        if let Some((directory, _)) = name.rsplit_once('/') {
            let found = find(&tree, directory).expect("its directory was implied");
            assert!(found.is_directory() || files.contains_key(directory));
        }
    }
    for name in cpio_reader::iter_files(&bytes).map(|entry| entry.name()) {
        let below = format!("{name}/");
        let is_known = files
            .keys()
            .any(|file| file == name || file.starts_with(&below));
        assert!(is_known, "nobody wrote {name:?}");
    }
    let text = files
        .get("boot/cmdline")
        .map_or(&b""[..], |(_, contents)| contents);
    assert_eq!(
        command_line(&bytes),
        std::str::from_utf8(text).unwrap_or("")
    );
    read_cut(&bytes, cut % (bytes.len() + 1));
}

/// Of a part of an archive, the files are the same, as far as there are any.
fn read_cut(bytes: &[u8], len: usize) {
    let (whole, cut) = (
        cpio_reader::iter_files(bytes),
        cpio_reader::iter_files(&bytes[..len]),
    );
    let cut: Vec<_> = cut.collect();
    assert!(whole.take(cut.len()).eq(cut));
}

/// Reads a name: one that means something, or one of few letters, so that names
/// meet.
fn name(input: &mut Bytes<'_>, len: usize) -> String {
    const NAMES: [&str; 6] = [
        "boot/cmdline",
        ".boot/cmdline",
        "TRAILER!!!",
        "bin/init",
        "bin",
        "/",
    ];
    const LETTERS: &[u8; 8] = b"ab/./A\xc3\xa4";
    if let Some(name) = NAMES.get(len) {
        return (*name).to_owned();
    }
    let letter = |byte: u8| match byte {
        0..128 => LETTERS[usize::from(byte) % LETTERS.len()],
        _ => byte - 128,
    };
    let letters: Vec<u8> = (NAMES.len()..=len).map(|_| letter(input.byte())).collect();
    String::from_utf8_lossy(&letters).into_owned()
}
