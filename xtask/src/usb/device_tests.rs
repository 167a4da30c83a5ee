//! Devices of a system that is made of files, and a real one where that can be had.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Disk, System, Target, Use, is_on_usb};
use crate::flags::UsbOptions;
use crate::usb::{self, copy};

/// A system whose directories are temporary.
struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    fn new(mounts: &str, swaps: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let fake = Self { root };
        fake.file("proc/self/mountinfo", mounts);
        fake.file(
            "proc/swaps",
            &format!("Filename Type Size Used Priority\n{swaps}"),
        );
        fake
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Adds a device whose directory is here, below `sys/devices`.
    fn device(&self, place: &str, number: &str, sectors: u64, removable: bool) {
        let place = format!("sys/devices/{place}");
        self.file(&format!("{place}/dev"), &format!("{number}\n"));
        self.file(&format!("{place}/size"), &format!("{sectors}\n"));
        self.file(&format!("{place}/ro"), "0\n");
        let removable = u8::from(removable);
        self.file(&format!("{place}/removable"), &format!("{removable}\n"));
        fs::create_dir_all(self.path("sys/dev/block")).unwrap();
        let link = self.path(&format!("sys/dev/block/{number}"));
        symlink(self.path(&place), link).unwrap();
    }

    /// Adds a partition to a device.
    fn partition(&self, place: &str, number: &str) {
        self.device(place, number, 2048, false);
        self.file(&format!("sys/devices/{place}/partition"), "1\n");
    }

    /// Says that one device lies on another.
    fn holds(&self, below: &str, above: &str) {
        let holders = self.path(&format!("sys/devices/{below}/holders"));
        fs::create_dir_all(&holders).unwrap();
        let above = self.path(&format!("sys/devices/{above}"));
        symlink(&above, holders.join(above.file_name().unwrap())).unwrap();
    }

    fn look(&self, number: (u32, u32)) -> Target {
        let (proc, sys) = (self.path("proc"), self.path("sys"));
        System { proc, sys }.device(number).unwrap()
    }

    #[track_caller]
    fn disk(&self, number: (u32, u32)) -> Disk {
        match self.look(number) {
            Target::Disk(disk) => disk,
            other => panic!("{other:?}"),
        }
    }
}

const STICK: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/block/sdb";

/// Returns a system with a stick of two partitions.
fn with_stick(mounts: &str, swaps: &str) -> Fake {
    let fake = Fake::new(mounts, swaps);
    fake.device(STICK, "8:16", 31_268_864, true);
    fake.partition(&format!("{STICK}/sdb1"), "8:17");
    fake.partition(&format!("{STICK}/sdb2"), "8:18");
    fake.file(&format!("sys/devices/{STICK}/device/vendor"), "SanDisk \n");
    fake.file(&format!("sys/devices/{STICK}/device/model"), "Ultra   \n");
    fake
}

fn mount(what: &str, at: &str) -> Use {
    let (what, at) = (what.to_owned(), at.to_owned());
    Use::Mount { what, at }
}

#[test]
fn stick_is_described_with_what_would_be_lost() {
    let fake = with_stick(
        "36 35 8:17 / /media/my\\040files rw - vfat /dev/sdb1 rw\n",
        "",
    );
    let disk = fake.disk((8, 16));
    assert!(disk.is_removable && disk.is_usb && !disk.is_read_only);
    assert_eq!((disk.number, disk.bytes), ((8, 16), 31_268_864 * 512));
    assert_eq!(disk.model, "SanDisk Ultra");
    assert_eq!(disk.uses, [mount("sdb1", "/media/my files")]);
    let text = Target::Disk(disk).describe(Path::new("/dev/sdb"));
    for part in [
        "SanDisk Ultra",
        "14.91 GiB",
        "on USB",
        "sdb2: 1.00 MiB",
        "/media/my files",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn partition_names_its_disk() {
    match with_stick("", "").look((8, 18)) {
        Target::Partition { of } => assert_eq!(of, "sdb"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mounts_of_others_do_not_matter() {
    let others =
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /tmp rw - tmpfs tmpfs rw\nodd line\n";
    let fake = with_stick(others, "/dev/sda2 partition 9 0 -2\n");
    assert_eq!(fake.disk((8, 16)).uses, []);
}

#[test]
fn whole_disk_and_file_systems_with_numbers_of_their_own_are_seen_mounted() {
    let whole = with_stick("36 35 8:16 / /mnt rw shared:1 - iso9660 /dev/sdb ro\n", "");
    assert_eq!(whole.disk((8, 16)).uses, [mount("sdb", "/mnt")]);
    // btrfs
    let made_up = with_stick("36 35 0:44 / /mnt rw - btrfs /dev/sdb2 rw\n", "");
    assert_eq!(made_up.disk((8, 16)).uses, [mount("sdb2", "/mnt")]);
}

#[test]
fn swap_is_seen() {
    let fake = with_stick("", "/dev/sdb2 partition 1024 0 -2\n");
    let what = "sdb2".to_owned();
    assert_eq!(fake.disk((8, 16)).uses, [Use::Swap { what }]);
}

#[test]
fn encrypted_volume_two_layers_up_that_is_the_root_is_seen() {
    let fake = with_stick("1 0 253:1 / / rw - ext4 /dev/mapper/root rw\n", "");
    fake.device("virtual/block/dm-0", "253:0", 2048, false);
    fake.device("virtual/block/dm-1", "253:1", 2048, false);
    fake.holds(&format!("{STICK}/sdb2"), "virtual/block/dm-0");
    fake.holds("virtual/block/dm-0", "virtual/block/dm-1");
    let uses = fake.disk((8, 16)).uses;
    let holder = |what: &str| Use::Holder {
        what: what.to_owned(),
    };
    for wanted in [mount("dm-1", "/"), holder("dm-0"), holder("dm-1")] {
        assert!(uses.contains(&wanted), "{uses:?}");
    }
    assert_eq!(uses.len(), 3);
}

#[test]
fn disk_of_the_machine_is_not_on_usb() {
    let fake = Fake::new("", "");
    fake.device("pci0000:00/ata1/host0/block/sda", "8:0", 2048, false);
    let disk = fake.disk((8, 0));
    assert!(!disk.is_usb && !disk.is_removable);
    assert_eq!(disk.model, "of no known model");
    assert!(!is_on_usb(Path::new("/sys/devices/virtual/usbish/block/x")));
    assert!(is_on_usb(Path::new(
        "/sys/devices/pci0000:00/usb12/12-1/block/x"
    )));
}

#[test]
fn device_that_the_kernel_does_not_tell_of_is_an_error() {
    let fake = Fake::new("", "");
    let (proc, sys) = (fake.path("proc"), fake.path("sys"));
    assert!(System { proc, sys }.device((8, 16)).is_err());
}

/// A loop device of a file, while it lives.
struct Loop(PathBuf);

impl Loop {
    /// Returns none where this is not root, or not allowed to.
    fn new(file: &Path) -> Option<Self> {
        let mut command = Command::new("/sbin/losetup");
        let output = command.args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Self(name.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/losetup")
            .arg("-d")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn real_device_is_written_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    let (medium, image) = (directory.path().join("m"), directory.path().join("i"));
    fs::write(&medium, vec![9; 4 << 20]).unwrap();
    let mut bytes: Vec<u8> = (0..(2 << 20) + 512).map(|at| (at / 5) as u8).collect();
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[512..520].copy_from_slice(b"EFI PART");
    fs::write(&image, &bytes).unwrap();
    let Some(device) = Loop::new(&medium) else {
        eprintln!("skipped: there are no loop devices for us here");
        return;
    };
    let options = UsbOptions {
        device: Some(device.0.clone()),
        image: Some(image),
        force: false,
        dry_run: false,
        yes: true,
    };
    let held = copy::open_to_write(&device.0, true).unwrap();
    assert!(copy::open_to_write(&device.0, true).is_err());
    drop(held);
    // It is neither removable nor on USB.
    assert!(usb::run(&options).is_err());
    assert!(fs::read(&medium).unwrap().iter().all(|byte| *byte == 9));
    let force = true;
    assert_eq!(usb::run(&UsbOptions { force, ..options }).unwrap(), 0);
    let written = fs::read(&medium).unwrap();
    assert!(written[..bytes.len()] == bytes && written[bytes.len()..].iter().all(|b| *b == 9));
}
