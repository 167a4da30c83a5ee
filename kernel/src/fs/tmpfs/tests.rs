//! Does a filesystem in memory do what a tree of files does?

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use nucleus::mm::{PAGE_SIZE, VmReader, VmWriter};
use nucleus::prelude::*;

use super::{TmpDirectory, Tmpfs};
use crate::errno::Errno;
use crate::fs::node::{Directory, Inode, New, Node, Place, RegularFile};
use crate::fs::path::{Found, Last, Walk};

const FILE: New<'_> = New::File { permissions: 0o644 };
const DIRECTORY: New<'_> = New::Directory { permissions: 0o755 };

fn filesystem() -> Arc<TmpDirectory> {
    Tmpfs::with_limits("/test", 0o777, 8, 8).expect("enough memory")
}

fn file(node: Node) -> Arc<dyn RegularFile> {
    match node {
        Node::File(file) => file,
        other => panic!("{other:?} is no file"),
    }
}

fn directory(node: Node) -> Arc<dyn Directory> {
    match node {
        Node::Directory(directory) => directory,
        other => panic!("{other:?} is no directory"),
    }
}

#[track_caller]
fn make(parent: &dyn Directory, name: &[u8], new: New<'_>) -> Node {
    parent.create(name, new).expect("a free name")
}

/// Walks from the root of a filesystem, which is the root of everything here.
fn walk(root: &Arc<TmpDirectory>, path: &[u8]) -> Walk {
    let root: Arc<dyn Directory> = root.clone();
    Walk::new(Arc::clone(&root), root, path)
}

#[track_caller]
fn find(root: &Arc<TmpDirectory>, path: &[u8]) -> Result<u64, Errno> {
    let found = walk(root, path).find(true).and_then(Found::something);
    found.map(|location| location.node.inode().metadata().number)
}

fn names(directory: &dyn Directory, from: u64) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let listed = directory.list(from, &mut |listed| {
        names.push(listed.name.to_vec());
        true
    });
    listed.expect("a directory that is there");
    names
}

#[ktest]
fn file_without_a_name_lives_until_nobody_has_it() {
    let root = filesystem();
    let file = file(make(&*root, b"f", FILE));
    let written = file.write_at(0, &mut VmReader::from(&b"contents"[..]));
    assert_eq!(written, Ok(8));
    assert_eq!(root.unlink(b"f"), Ok(()));
    let mut buffer = [0; 8];
    let read = file.read_at(0, &mut VmWriter::from(&mut buffer[..]));
    assert_eq!((read, &buffer), (Ok(8), b"contents"));
    assert_eq!((root.usage().frames, root.usage().files), (1, 2));
    drop(file);
    assert_eq!((root.usage().frames, root.usage().files), (0, 1));
}

#[ktest]
fn full_filesystem_refuses_files_and_contents() {
    let root = filesystem();
    for name in [b"1", b"2", b"3", b"4", b"5", b"6", b"7"] {
        make(&*root, name, FILE);
    }
    assert_eq!(root.create(b"8", FILE).err(), Some(Errno::NoSpace));
    let file = file(root.lookup(b"1").expect("a directory").expect("a file"));
    let bytes = vec![1; 9 * PAGE_SIZE];
    let written = file.write_at(0, &mut VmReader::from(&bytes[..]));
    assert_eq!(written, Ok(8 * PAGE_SIZE));
    assert_eq!(file.len(), 8 * PAGE_SIZE as u64);
    let (count, end) = file
        .append(&mut VmReader::from(&[][..]), u64::MAX)
        .expect("nothing");
    assert_eq!((count, end), (0, 8 * PAGE_SIZE as u64));
    assert_eq!(file.resize(0), Ok(()));
    assert_eq!(root.usage().frames, 0);
}

#[ktest]
fn offsets_near_the_end_are_refused() {
    let root = filesystem();
    let file = file(make(&*root, b"f", FILE));
    let write = |offset| file.write_at(offset, &mut VmReader::from(&b"xy"[..]));
    assert_eq!(write(u64::MAX), Err(Errno::FileTooBig));
    assert_eq!(write(i64::MAX as u64 - 1), Err(Errno::FileTooBig));
    assert_eq!(write(i64::MAX as u64 - 2), Ok(2));
    assert_eq!(file.resize(u64::MAX), Err(Errno::FileTooBig));
    assert_eq!(file.len(), i64::MAX as u64);
    assert_eq!(file.allocate(u64::MAX, 1, false), Err(Errno::FileTooBig));
}

#[ktest]
fn rename_replaces_files_and_empty_directories_alone() {
    let root = filesystem();
    let to: Arc<dyn Directory> = root.clone();
    for (name, new) in [
        (&b"f"[..], FILE),
        (b"g", FILE),
        (b"d", DIRECTORY),
        (b"e", DIRECTORY),
    ] {
        make(&*root, name, new);
    }
    let e = directory(root.lookup(b"e").expect("a directory").expect("a name"));
    make(&*e, b"x", FILE);
    assert_eq!(root.rename(b"f", &to, b"g", true), Err(Errno::Exists));
    assert_eq!(root.rename(b"f", &to, b"g", false), Ok(()));
    assert_eq!(root.rename(b"f", &to, b"g", false), Err(Errno::NoEntry));
    assert_eq!(root.rename(b"g", &to, b"d", false), Err(Errno::IsDirectory));
    assert_eq!(
        root.rename(b"d", &to, b"g", false),
        Err(Errno::NotDirectory)
    );
    assert_eq!(root.rename(b"d", &to, b"e", false), Err(Errno::NotEmpty));
    assert_eq!(root.rename(b"e", &to, b"d", false), Ok(()));
    assert_eq!(names(&*root, 0), [b"g", b"d"]);
    assert_eq!(root.rename(b"g", &to, b"g", false), Ok(()));
    assert_eq!(root.metadata().links, 3);
}

#[ktest]
fn directory_does_not_get_into_itself() {
    let root = filesystem();
    let a = directory(make(&*root, b"a", DIRECTORY));
    let b = directory(make(&*a, b"b", DIRECTORY));
    assert_eq!(root.rename(b"a", &b, b"c", false), Err(Errno::Invalid));
    assert_eq!(root.rename(b"a", &a, b"c", false), Err(Errno::Invalid));
    let top: Arc<dyn Directory> = root.clone();
    assert_eq!(a.rename(b"b", &top, b"a", false), Err(Errno::NotEmpty));
    assert_eq!(a.rename(b"b", &top, b"c", false), Ok(()));
    assert_eq!(find(&root, b"/c/../a"), find(&root, b"/a"));
}

#[ktest]
fn removed_directory_is_nowhere_and_takes_nothing_in() {
    let root = filesystem();
    let gone = directory(make(&*root, b"d", DIRECTORY));
    make(&*gone, b"f", FILE);
    assert_eq!(root.remove_directory(b"d"), Err(Errno::NotEmpty));
    assert_eq!(gone.unlink(b"f"), Ok(()));
    assert_eq!(root.unlink(b"d"), Err(Errno::IsDirectory));
    assert_eq!(root.remove_directory(b"d"), Ok(()));
    assert_eq!(gone.create(b"f", FILE).err(), Some(Errno::NoEntry));
    assert!(matches!(gone.place(), Place::Nowhere));
    let start = Walk::new(root.clone(), gone, b"..");
    assert_eq!(start.find(true).map(drop), Err(Errno::NoEntry));
}

#[ktest]
fn listing_goes_on_where_it_was_while_names_come_and_go() {
    let root = filesystem();
    for name in [b"a", b"b", b"c"] {
        make(&*root, name, FILE);
    }
    let mut position = 0;
    let listed = root.list(0, &mut |listed| {
        position = listed.next;
        listed.name != b"a"
    });
    assert_eq!(listed, Ok(()));
    assert_eq!(root.unlink(b"a"), Ok(()));
    assert_eq!(root.unlink(b"b"), Ok(()));
    make(&*root, b"d", FILE);
    assert_eq!(names(&*root, position), [b"c", b"d"]);
}

#[ktest]
fn links_count_names() {
    let root = filesystem();
    let node = make(&*root, b"f", FILE);
    assert_eq!(root.link(b"g", &node), Ok(()));
    assert_eq!(root.link(b"g", &node), Err(Errno::Exists));
    assert_eq!(node.inode().metadata().links, 2);
    assert_eq!(root.unlink(b"f"), Ok(()));
    assert_eq!(root.unlink(b"g"), Ok(()));
    assert_eq!(root.link(b"h", &node), Err(Errno::NoEntry));
    let directory = make(&*root, b"d", DIRECTORY);
    assert_eq!(root.link(b"h", &directory), Err(Errno::NotPermitted));
}

#[ktest]
fn paths_are_walked_by_dots_slashes_and_links() {
    let root = filesystem();
    let d = directory(make(&*root, b"d", DIRECTORY));
    let f = make(&*d, b"f", FILE).inode().metadata().number;
    make(&*root, b"to-d", New::Link { target: b"d" });
    make(
        &*d,
        b"up",
        New::Link {
            target: b"../to-d/./f",
        },
    );
    make(&*d, b"abs", New::Link { target: b"/d/f" });
    for path in [
        &b"d/f"[..],
        b"/d/f",
        b"//d/.//f",
        b"to-d/f",
        b"d/up",
        b"to-d/abs",
        b"/../../d/../d/f",
    ] {
        assert_eq!(find(&root, path), Ok(f), "{path:?}");
    }
    assert_eq!(find(&root, b""), Err(Errno::NoEntry));
    assert_eq!(find(&root, b"d/f/"), Err(Errno::NotDirectory));
    assert_eq!(find(&root, b"d/up/"), Err(Errno::NotDirectory));
    assert_eq!(find(&root, b"d/f/x"), Err(Errno::NotDirectory));
    assert_eq!(find(&root, b"d/f/.."), Err(Errno::NotDirectory));
    assert_eq!(find(&root, b"no/f"), Err(Errno::NoEntry));
    assert_eq!(find(&root, &[b'x'; 256]), Err(Errno::NameTooLong));
}

#[ktest]
fn last_link_is_followed_only_if_wanted_or_before_a_slash() {
    let root = filesystem();
    make(&*root, b"d", DIRECTORY);
    make(&*root, b"l", New::Link { target: b"d" });
    let kept = |path: &[u8]| {
        let found = walk(&root, path).find(false).and_then(Found::something);
        matches!(found.expect("it is there").node, Node::Link(_))
    };
    assert!(kept(b"l"));
    assert!(!kept(b"l/"));
    make(&*root, b"dangling", New::Link { target: b"new" });
    let Ok(Found::Nothing(parent)) = walk(&root, b"dangling").find(true) else {
        panic!("nothing has the name that the link says");
    };
    assert_eq!(parent.last, Last::Name(b"new"[..].into()));
}

#[ktest]
fn links_in_a_circle_end_the_walk() {
    let root = filesystem();
    make(&*root, b"a", New::Link { target: b"b/x" });
    make(&*root, b"b", New::Link { target: b"a" });
    make(&*root, b"self", New::Link { target: b"self" });
    assert_eq!(find(&root, b"a"), Err(Errno::TooManyLinks));
    assert_eq!(find(&root, b"self"), Err(Errno::TooManyLinks));
}

#[ktest]
fn last_part_of_a_path_need_not_be_a_name() {
    let root = filesystem();
    let last = |path: &[u8]| {
        let parent = walk(&root, path).parent().expect("a directory");
        (parent.last, parent.has_slash)
    };
    assert_eq!(last(b"/"), (Last::Root, false));
    assert_eq!(last(b"."), (Last::Here, false));
    assert_eq!(last(b"../"), (Last::Up, true));
    assert_eq!(last(b"x//"), (Last::Name(b"x"[..].into()), true));
}
