"""Symbols that follow the kernel's image, which moves itself to a random base.

The loader puts the image at a base that xtask knows, so the symbols are loaded there at
first. The kernel's first steps choose another base, and jump there by way of the function
`enter_image`, which has the new base as its third argument. A hardware breakpoint on it
stops the guest once, and the symbols are loaded again; breakpoints by name follow.
"""

import re

import gdb

LEAP = "::boot::kaslr::enter_image"
FIRST_FUNCTION = "nucleus::boot::start::first_half"


def address_of(end_of_name):
    """The address of the function whose name ends so, which may have no debug information."""
    text = gdb.execute(f"info functions {end_of_name}$", to_string=True)
    return int(re.search(r"^0x[0-9a-f]+", text, re.MULTILINE).group(), 16)


class Symbols:
    """The kernel's symbols, and the breakpoint at which they move."""

    def __init__(self, path, loader_base):
        self.path = path
        self.load(loader_base)
        self.leap = gdb.Breakpoint(
            f"*{address_of(LEAP):#x}", type=gdb.BP_HARDWARE_BREAKPOINT, internal=True
        )
        gdb.events.stop.connect(self.on_stop)

    def load(self, base):
        gdb.execute("set language rust")
        gdb.execute(f"symbol-file {self.path} -o {base:#x}", to_string=True)
        self.base = base

    def on_stop(self, event):
        breakpoints = getattr(event, "breakpoints", [])
        if self.leap is None or self.leap not in breakpoints:
            return
        # It has done its part, and would be looked for at the new base.
        self.leap.enabled = False
        self.leap = None
        base = int(gdb.parse_and_eval("$rdx")) & 0xFFFF_FFFF_FFFF_FFFF
        self.load(base)
        gdb.write(f"the kernel's image goes to {base:#x}, and so do its symbols\n")


SYMBOLS = None


class KernelSymbols(gdb.Command):
    """Load the kernel's symbols at the loader's base, and again where its image goes.

    kernel-symbols FILE BASE
    """

    def __init__(self):
        super().__init__("kernel-symbols", gdb.COMMAND_FILES)

    def invoke(self, argument, _from_tty):
        global SYMBOLS
        path, base = gdb.string_to_argv(argument)
        SYMBOLS = Symbols(path, int(base, 0))


class ToKernel(gdb.Command):
    """Go on until the kernel's first function is about to run, where its image is then.

    to-kernel
    """

    def __init__(self):
        super().__init__("to-kernel", gdb.COMMAND_RUNNING)

    def invoke(self, _argument, _from_tty):
        gdb.execute("continue")
        if SYMBOLS is None or SYMBOLS.leap is not None:
            raise gdb.GdbError("the guest stopped before the kernel moved its image")
        gdb.execute("thbreak " + FIRST_FUNCTION, to_string=True)
        gdb.execute("continue")


KernelSymbols()
ToKernel()
