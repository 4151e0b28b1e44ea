"""A seccomp filter that takes files, sockets, processes and privileges away from the tracing child.

A deny-list on purpose: XLA, LLVM and glibc use calls that differ between versions, and a missing call must
not break a trace. What is denied fails with EPERM, so libraries see an ordinary error.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1

_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

# (AUDIT_ARCH, number of seccomp(2), of clone(2), of clone3(2)) for the two machines that JAX has wheels for.
_MACHINES = {"x86_64": (0xC000003E, 317, 56, 435), "aarch64": (0xC00000B7, 277, 220, 435)}

# System call -> its number on (x86_64, aarch64); None where the machine lacks it.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # Files: opening, creating, changing, removing.
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "link": (86, None), "linkat": (265, 37), "unlink": (87, None), "unlinkat": (263, 35),
    "symlink": (88, None), "symlinkat": (266, 36), "readlink": (89, None), "readlinkat": (267, 78),
    "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    # Network.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206),
    "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # Other programs and other processes.
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180),
    # Limits, privileges and the kernel itself.
    "prlimit64": (302, 261), "setrlimit": (160, 164), "setpriority": (141, 140), "unshare": (272, 97),
    "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40),
    "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "setuid": (105, 146),
    "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147),
    "setresgid": (119, 149), "setgroups": (116, 159), "capset": (126, 91), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "personality": (135, 92), "quotactl": (179, 60), "syslog": (103, 116),
}  # fmt: skip


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install() -> bool:
    """Filters every thread of this process, for good. False when machine or kernel cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    machine = _MACHINES.get(platform.machine())
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or machine is None:
        return False
    audit_arch, seccomp, clone, clone3 = machine
    column = list(_MACHINES).index(platform.machine())
    denied = [number for numbers in _DENIED.values() if (number := numbers[column]) is not None]
    code = _assemble(audit_arch, denied, clone, clone3)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    result = libc.syscall(
        ctypes.c_long(seccomp),
        ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_long(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.byref(program),
    )
    return bool(result == 0)


def _assemble(audit_arch: int, denied: list[int], clone: int, clone3: int) -> bytes:
    """Classic BPF over ``struct seccomp_data``: number at byte 0, architecture at 4, arguments from 16."""

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    refuse = step(_RETURN, _ERRNO | errno.EPERM)
    lines = [
        step(_LOAD, 4),
        step(_JUMP_EQUAL, audit_arch, 1, 0),
        step(_RETURN, _KILL),
        step(_LOAD, 0),
        # x86's second table of the same calls, under other numbers.
        step(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        refuse,
        # glibc falls back from clone3, whose flags a filter cannot see, to clone.
        step(_JUMP_EQUAL, clone3, 0, 1),
        step(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for number in denied:
        lines += [step(_JUMP_EQUAL, number, 0, 1), refuse]
    lines += [
        step(_JUMP_EQUAL, clone, 0, 3),
        step(_LOAD, 16),
        step(_JUMP_SET, _CLONE_THREAD, 1, 0),
        refuse,
        step(_RETURN, _ALLOW),
    ]
    return b"".join(lines)
