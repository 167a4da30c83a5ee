"""`walk ADDRESS`: what the processor's page tables say of an address.

Loaded after `symbols.py`, which knows where the image is.

The tables are read by their physical addresses, through QEMU's monitor, so that any
tables can be walked: the loader's, and those of a kernel that is badly broken. Bits as in
the SDM, vol. 3A, 4.5; cache policies as the kernel sets the page-attribute table.
"""

import gdb

MASK = 0xFFFF_FFFF_FFFF_FFFF
PAGE = 4096
ADDRESS = 0x000F_FFFF_FFFF_F000
PRESENT, LARGE = 1 << 0, 1 << 7

# As in `kernel/nucleus/src/mm/kspace/layout.rs`; a test of xtask compares them.
LINEAR_MAP = (0xFFFF_8000_0000_0000, 0xFFFF_C000_0000_0000)
KVIRT = (0xFFFF_C000_0000_0000, 0xFFFF_E000_0000_0000)
METADATA = (0xFFFF_E000_0000_0000, 0xFFFF_E100_0000_0000)
IMAGE = (0xFFFF_E800_0000_0000, 0xFFFF_F800_0000_0000)
LOADER_IMAGE = (0xFFFF_FFFF_8000_0000, 1 << 64)
USER_END = 0x0000_7FFF_FFFF_F000
SLOT_SIZE = 32

# By bits 7 (12 of a large page), 4 and 3.
POLICIES = [
    "write-back",
    "write-through",
    "write-combining",
    "uncacheable",
    "write-protected",
    "write-through",
    "write-combining",
    "uncacheable",
]
SIZES = {1: "4 KiB", 2: "2 MiB", 3: "1 GiB"}


def read_physical(address):
    """Reads a word of physical memory."""
    text = gdb.execute(f"monitor xp /1gx {address:#x}", to_string=True)
    return int(text.split(":")[1], 16)


def is_within(address, bounds):
    return bounds[0] <= address < bounds[1]


def place_of(address):
    """Says in which range of the kernel's map an address lies."""
    if address <= USER_END:
        return "user space"
    if address < LINEAR_MAP[0]:
        return "not canonical, or the last user page"
    if is_within(address, LINEAR_MAP):
        return f"linear map of physical {address - LINEAR_MAP[0]:#x}"
    if is_within(address, KVIRT):
        return "kernel virtual areas"
    if is_within(address, METADATA):
        frame = (address - METADATA[0]) // SLOT_SIZE * PAGE
        return f"metadata of frame {frame:#x}"
    if SYMBOLS is not None and SYMBOLS.base <= address and is_within(address, IMAGE):
        return f"kernel image + {address - SYMBOLS.base:#x}"
    if is_within(address, IMAGE):
        return "range of the kernel image"
    if is_within(address, LOADER_IMAGE):
        return "kernel image as the loader leaves it"
    return "unused"


def flags_of(entry):
    """Names what an entry allows, and what the processor noted in it."""
    names = ["writable" if entry & 2 else "read-only"]
    names.append("user" if entry & 4 else "kernel")
    names.append("no-execute" if entry >> 63 else "executable")
    for bit, name in [(8, "global"), (5, "accessed"), (6, "dirty")]:
        if entry >> bit & 1:
            names.append(name)
    return ", ".join(names)


def policy_of(entry, level):
    attribute = entry >> (7 if level == 1 else 12) & 1
    return POLICIES[attribute << 2 | entry >> 3 & 3]


def nr_levels():
    """Four, or five where they are switched on."""
    return 5 if int(gdb.parse_and_eval("$cr4")) >> 12 & 1 else 4


def walk(root, address):
    """Walks the tables below a root; returns the lines that tell of it."""
    levels = nr_levels()
    lines = [f"walk of {address:#x} from root {root:#x}: {place_of(address)}"]
    node = root
    for level in range(levels, 0, -1):
        index = address >> (12 + 9 * (level - 1)) & 511
        entry = read_physical(node + 8 * index)
        head = f"  level {level}, entry {index:3} at {node + 8 * index:#x}: {entry:#018x}"
        if not entry & PRESENT:
            return lines + [f"{head}  absent", "  not mapped"]
        is_leaf = level == 1 or (level <= 3 and entry & LARGE)
        if not is_leaf:
            node = entry & ADDRESS
            lines.append(f"{head}  table {node:#x}: {flags_of(entry)}")
            continue
        size = PAGE << 9 * (level - 1)
        frame = entry & ADDRESS & ~(size - 1)
        what = f"page of {SIZES[level]}: {flags_of(entry)}, {policy_of(entry, level)}"
        lines.append(f"{head}  {what}")
        return lines + [f"  physical {frame + address % size:#x}"]
    raise AssertionError("level 1 has no tables")


class Walk(gdb.Command):
    """Walk the active page tables for an address, and decode each entry.

    walk ADDRESS            the address may be any expression
    walk ADDRESS, ROOT      the tables below another root, by its physical address
    """

    def __init__(self):
        super().__init__("walk", gdb.COMMAND_DATA)

    def invoke(self, argument, _from_tty):
        if not argument.strip():
            raise gdb.GdbError("walk ADDRESS[, ROOT]")
        address, _, root = argument.partition(",")
        address = int(gdb.parse_and_eval(address)) & MASK
        root = int(gdb.parse_and_eval(root.strip() or "$cr3")) & ADDRESS
        print("\n".join(walk(root, address)))


Walk()
