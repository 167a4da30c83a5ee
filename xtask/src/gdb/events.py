"""`events`: the kernel's rings of events, read from memory (`kernel/nucleus/src/trace`).

The guest is stopped, so that a slot whose stamp is zero is one that was being written.
"""

import gdb

CAPACITY = 256
SLOT_WORDS = 4
U64 = 8
CPUS = "nucleus::arch::x86_64::local::CPUS"
NR_CPUS = "nucleus::arch::x86_64::local::NR_CPUS"
START = "nucleus::arch::x86_64::timer::TSC_AT_START"
SCALE = "nucleus::arch::x86_64::timer::SCALE"

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


def static(name):
    """A static, which the compiler may have made visible outside of its file."""
    symbol = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
    return symbol.value()


def rings():
    """The processors' rings, as values."""
    cpus = static(CPUS)
    local = gdb.lookup_type("nucleus::arch::x86_64::local::CpuLocal").pointer()
    for index in range(number_in(static(NR_CPUS))):
        pointer = find(cpus[index], lambda v: v.type.code == gdb.TYPE_CODE_PTR)
        if int(pointer) != 0:
            yield pointer.cast(local).dereference()["memory"]["events"]


class Clock:
    """Turns counts of cycles into time, as `arch::x86_64::timer` does."""

    def __init__(self):
        self.start = number_in(static(START))
        self.scale = number_in(static(SCALE))

    def length(self, cycles):
        """How long so many cycles take."""
        if self.scale == 0:
            return f"{cycles} cycles"
        return f"{cycles * self.scale >> 32} ns"

    def time(self, cycles):
        """When a count was."""
        if self.scale == 0:
            return f"[cycle {cycles}]"
        ns = max(0, cycles - self.start) * self.scale >> 32
        seconds, rest = divmod(ns, 1_000_000_000)
        return f"[{seconds:5}.{rest // 1000:06}]"


def events_of(ring):
    """The events of a ring as (cycles, kind, small, word, word), oldest first."""
    memory = gdb.selected_inferior().read_memory(
        int(ring["slots"].address), CAPACITY * SLOT_WORDS * U64
    )
    words = memory.cast("Q")
    after = number_in(ring["next"]) // (SLOT_WORDS * U64)
    for number in range(max(0, after - CAPACITY), after):
        start = number % CAPACITY * SLOT_WORDS
        stamp, what, one, other = words[start : start + SLOT_WORDS]
        if stamp != 0:
            yield stamp, what & 0xFF, what >> 8, one, other


def describe(clock, kind, small, one, other):
    """Says what an event is, in the words of the kernel's own reports."""
    if kind == FAULT:
        return f"fault: code {small:#x}: {one:#x}, at {other:#x}"
    if kind == FAULT_END:
        return f"fault {'resolved' if small else 'refused'}: {one:#x}, in {clock.length(other)}"
    if kind == FLUSH:
        pages = small >> 8 & 0xFFFF
        what = f"{pages} pages from {other:#x}" if pages else "everything"
        table = f"table {one}" if one else "kernel"
        return f"flush of {what}, {table}, {small & 0xFF} others asked"
    if kind == SERVED:
        return f"served requests to flush, table {one}"
    if kind == SWITCH:
        return f"switch from task {one} to {other}"
    return f"kind {kind}: {small:#x} {one:#x} {other:#x}"


class Events(gdb.Command):
    """Print what the processors did last, all but details (unless `trace=`).

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
        clock = Clock()
        print(f"the last {min(wanted, len(merged))} events of {len(merged)}:")
        for (cycles, *event), cpu in merged[-wanted:] if wanted else []:
            print(f"  {clock.time(cycles)} cpu {cpu}: {describe(clock, *event)}")


Events()
