"""A filter on the system calls of a child, set by the child itself: no program is started and no socket to
the network opened.

Classic BPF through prctl, as the kernel's Documentation/userspace-api/seccomp_filter.rst describes it;
nothing but ctypes is needed. It holds for good, for threads and children too. Linux on x86-64 and ARM64;
elsewhere there is none.
"""

import ctypes
import errno
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # places in the kernel's struct seccomp_data
AF_UNIX, AF_NETLINK = 1, 16  # within this machine: the one joins processes, the other tells of the kernel
X32 = 0x40000000  # x86-64's second table of calls, which would lead round the numbers below
# by machine: the kernel's name for it, and the numbers of the calls
MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41,
            "execve": 59,
            "execveat": 322,
            "ptrace": 101,
            "process_vm_writev": 311,
            "process_vm_readv": 310,
            "mount": 165,
            "io_uring_setup": 425,
            "bpf": 321,
            "keyctl": 250,
            "pidfd_getfd": 438,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket": 198,
            "execve": 221,
            "execveat": 281,
            "ptrace": 117,
            "process_vm_writev": 271,
            "process_vm_readv": 270,
            "mount": 40,
            "io_uring_setup": 425,
            "bpf": 280,
            "keyctl": 219,
            "pidfd_getfd": 438,
        },
    ),
}
ALWAYS = (
    "ptrace",
    "process_vm_writev",
    "process_vm_readv",
    "mount",
    "io_uring_setup",
    "bpf",
    "keyctl",
    "pidfd_getfd",
)
PROGRAMS = ("execve", "execveat")


def restrict(network: bool, programs: bool) -> bool:
    """Refuses this process, for good, what no child needs, and sockets beyond the machine and new programs
    unless allowed.

    Refused calls fail with EPERM. Returns whether the kernel took the filter.
    """
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return False
    program = _program(*machine, network, programs)
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and libc.prctl(PR_SET_SECCOMP, MODE_FILTER, filter_, 0, 0) == 0
    )


def _program(architecture: int, calls: dict[str, int], network: bool, programs: bool) -> bytes:
    """Returns the filter: instructions of eight bytes (code, jump if true, jump if false, operand)."""
    refused = [calls[name] for name in (*ALWAYS, *(() if programs else PROGRAMS))]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, REFUSE),
    ]
    for number in refused:
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    if not network:
        steps += [
            (EQUAL, 0, 4, calls["socket"]),
            (LOAD, 0, 0, FIRST_ARGUMENT),
            (EQUAL, 2, 0, AF_UNIX),
            (EQUAL, 1, 0, AF_NETLINK),
            (RETURN, 0, 0, REFUSE),
        ]
    steps += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
