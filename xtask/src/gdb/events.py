"""`events`: the kernel's rings of events, read from memory (`kernel/nucleus/src/trace`).

The guest is stopped, so that a slot whose header is zero, or has another event's number,
is one that was being written.
"""

import gdb

CAPACITY = 256
SLOT_WORDS = 4
U64 = 8
NUMBER_MASK = 0xFFFF_FFFF
RINGS = "nucleus::trace::RINGS"

# As bits of `trap_decode::PageFaultCode`, in words.
FAULT, FAULT_END, FLUSH, SERVED, SWITCH = range(1, 6)


def fields_of(value):
    """The fields of a structure or union, as values; nothing of another type."""
    kind = value.type.strip_typedefs()
    if kind.code not in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return []
    return [value[field] for field in kind.fields() if not field.is_base_class]


def find(value, is_wanted):
    """Finds the first value that passes, in depth-first order of the fields."""
    if is_wanted(value):
        return value
    for field in fields_of(value):
        found = find(field, is_wanted)
        if found is not None:
            return found
    return None


def number_in(value):
    """The number inside an atomic or another wrapper."""
    return int(find(value, lambda v: v.type.strip_typedefs().code == gdb.TYPE_CODE_INT))


def rings():
    """The rings, as values; none before they are made."""
    once = gdb.lookup_static_symbol(RINGS).value()
    vector = find(once, lambda v: str(v.type).startswith("alloc::vec::Vec<"))
    length = number_in(vector["len"])
    pointer = find(vector["buf"], lambda v: v.type.code == gdb.TYPE_CODE_PTR)
    ring = gdb.lookup_type("nucleus::trace::ring::Ring").pointer()
    if int(pointer) == 0 or number_in(once["status"]) == 0:
        return []
    first = pointer.cast(ring)
    return [(first + index).dereference() for index in range(length)]


def events_of(ring):
    """The events of a ring as (time in ns, kind, small, word, word), oldest first."""
    memory = gdb.selected_inferior().read_memory(
        int(ring["slots"].address), CAPACITY * SLOT_WORDS * U64
    )
    words = memory.cast("Q")
    after = number_in(ring["next"])
    for number in range(max(0, after - CAPACITY), after):
        start = number % CAPACITY * SLOT_WORDS
        header, time, one, other = words[start : start + SLOT_WORDS]
        if header >> 32 == (number + 1) & NUMBER_MASK:
            yield time, header & 0xFF, header >> 8 & 0xFF_FFFF, one, other


def describe(kind, small, one, other):
    """Says what an event is, in the words of the kernel's own reports."""
    if kind == FAULT:
        return f"fault: code {small:#x}: {one:#x}, at {other:#x}"
    if kind == FAULT_END:
        return f"fault {'resolved' if small else 'refused'}: {one:#x}, in {other} ns"
    if kind == FLUSH:
        pages = small >> 8 & 0xFFFF
        what = f"{pages} pages from {other:#x}" if pages else "everything"
        table = f"table {one}" if one else "kernel"
        return f"flush of {what}, {table}, {small & 0xFF} others asked"
    if kind == SERVED:
        return f"served requests to flush, table {one}"
    if kind == SWITCH:
        return f"switch from task {one:#x} to {other:#x}"
    return f"kind {kind}: {small:#x} {one:#x} {other:#x}"


class Events(gdb.Command):
    """Print what the processors did last, as far as it was traced (`trace=all`).

    events          the last 40
    events N        the last N
    """

    def __init__(self):
        super().__init__("events", gdb.COMMAND_DATA)

    def invoke(self, argument, _from_tty):
        wanted = int(argument) if argument.strip() else 40
        merged = [
            (event, cpu) for cpu, ring in enumerate(rings()) for event in events_of(ring)
        ]
        merged.sort(key=lambda pair: pair[0][0])
        print(f"the last {min(wanted, len(merged))} events of {len(merged)}:")
        for (time, *event), cpu in merged[-wanted:] if wanted else []:
            seconds, rest = divmod(time, 1_000_000_000)
            print(f"  [{seconds:5}.{rest // 1000:06}] cpu {cpu}: {describe(*event)}")


Events()
