"""Calls whose arguments are worth a check by default, and calls that are dangerous in a container.

SENSITIVE: the argument decides what the call can do to the system, and programs hardly vary it. Places are those of
most ABIs (tables.arguments); every one is an argument whose values are recorded. DANGEROUS: each call with one sentence
that says why. Sources: the manual page of each call, capabilities(7), and the notes to Docker's default profile
(docs.docker.com, "Seccomp security profiles for Docker").
"""

from __future__ import annotations

from collections.abc import Mapping

SENSITIVE: Mapping[str, tuple[int, ...]] = {
    "arch_prctl": (0,),
    "bpf": (0,),
    "clone": (0,),
    "execveat": (4,),
    "fanotify_init": (0,),
    "fsconfig": (1,),
    "io_uring_register": (1,),
    "kcmp": (2,),
    "keyctl": (0,),
    "memfd_create": (1,),
    "mknod": (1,),
    "mknodat": (2,),
    "mmap": (2,),
    "mmap2": (2,),
    "modify_ldt": (0,),
    "mount": (3,),
    "mount_setattr": (2,),
    "move_mount": (4,),
    "mprotect": (2,),
    "open_by_handle_at": (2,),
    "open_tree": (2,),
    "perf_event_open": (4,),
    "personality": (0,),
    "pkey_mprotect": (2,),
    "prctl": (0,),
    "process_madvise": (3,),
    "ptrace": (0,),
    "quotactl": (0,),
    "reboot": (2,),
    "remap_file_pages": (2,),
    "sched_setscheduler": (1,),
    "seccomp": (0, 1),
    "setns": (1,),
    "shmat": (2,),
    "socket": (0, 1, 2),
    "socketpair": (0,),
    "syslog": (0,),
    "umount2": (1,),
    "unshare": (0,),
    "userfaultfd": (0,),
}

_KEYS = "It reaches the kernel's keyrings, which are not apart for each container."
_LOOK = "It sees and changes the memory of other processes."
_MODULE = "It loads or unloads code of the kernel, which is the host's."
_MOUNT = "It changes what is mounted, and so what paths mean and which of them are read-only."
_KEXEC = "It loads another kernel to start, for the whole host."
_PORTS = "It gives access to the ports of devices."
_SWAP = "It changes where the host swaps memory to."
_TIME = "It sets the clock of the host: there is no namespace for it."
_RING = "It has the kernel do calls that no filter sees."
_OLD = "It is a call of old kernels that nothing needs and nobody tests."
_PCI = "It speaks to devices on the host's buses, past their drivers."
_EMULATION = "It is a rare part of the processor's interface, which had faults that gave the rights of the kernel."
_HANDLE = "It belongs to opening files by handles, without a path, which reaches files outside of a container."

DANGEROUS: Mapping[str, str] = {
    "_sysctl": "It sets parameters of the kernel.",
    "acct": "It turns process accounting of the host on and off, and its log fills disks.",
    "add_key": _KEYS,
    "adjtimex": _TIME,
    "afs_syscall": _OLD,
    "bdflush": _OLD,
    "bpf": "It loads programs into the kernel, which can see the whole host.",
    "chroot": "It changes the root directory, which those who are root can leave again.",
    "clock_adjtime": _TIME,
    "clock_adjtime64": _TIME,
    "clock_settime": _TIME,
    "clock_settime64": _TIME,
    "create_module": _MODULE,
    "delete_module": _MODULE,
    "fanotify_init": "It watches, and can hold up, what others do with files on a whole mount.",
    "finit_module": _MODULE,
    "fsconfig": _MOUNT,
    "fsmount": _MOUNT,
    "fsopen": _MOUNT,
    "fspick": _MOUNT,
    "get_kernel_syms": "It tells addresses of the kernel, which helps to attack it.",
    "init_module": _MODULE,
    "io_uring_enter": _RING,
    "io_uring_register": _RING,
    "io_uring_setup": _RING,
    "ioperm": _PORTS,
    "iopl": _PORTS,
    "kcmp": "It compares objects of the kernel of two processes, which helps to guess addresses.",
    "kexec_file_load": _KEXEC,
    "kexec_load": _KEXEC,
    "keyctl": _KEYS,
    "lookup_dcookie": "It tells paths of the host by numbers that tracing gives.",
    "modify_ldt": _EMULATION,
    "mount": _MOUNT,
    "mount_setattr": _MOUNT,
    "move_mount": _MOUNT,
    "name_to_handle_at": _HANDLE,
    "nfsservctl": _OLD,
    "open_by_handle_at": _HANDLE,
    "open_tree": _MOUNT,
    "open_tree_attr": _MOUNT,
    "pciconfig_iobase": _PCI,
    "pciconfig_read": _PCI,
    "pciconfig_write": _PCI,
    "perf_event_open": "It counts and samples what the kernel and other processes do, and had many faults.",
    "personality": "It can turn off the shuffling of addresses and make all memory executable.",
    "pidfd_getfd": "It takes open files out of other processes.",
    "pivot_root": _MOUNT,
    "process_vm_readv": _LOOK,
    "process_vm_writev": _LOOK,
    "ptrace": "It governs other processes: whoever has it can act as all of them, past their filters on old kernels.",
    "query_module": _MODULE,
    "quotactl": "It sets how much room users have on a file system, containers together.",
    "quotactl_fd": "It sets how much room users have on a file system, containers together.",
    "reboot": "It restarts or stops the host, or ends everything in a namespace of processes.",
    "request_key": _KEYS,
    "rtas": _PCI,
    "s390_pci_mmio_read": _PCI,
    "s390_pci_mmio_write": _PCI,
    "setdomainname": "It renames the host where the container has no UTS namespace of its own.",
    "sethostname": "It renames the host where the container has no UTS namespace of its own.",
    "setns": "It enters namespaces, those of the host too where a descriptor of them is there.",
    "settimeofday": _TIME,
    "spu_create": _OLD,
    "spu_run": _OLD,
    "stime": _TIME,
    "subpage_prot": _EMULATION,
    "swapoff": _SWAP,
    "swapon": _SWAP,
    "switch_endian": _EMULATION,
    "sys_debug_setcontext": _EMULATION,
    "sysfs": _OLD,
    "syslog": "It reads and clears the kernel's messages, which tell of the whole host.",
    "umount": _MOUNT,
    "umount2": _MOUNT,
    "unshare": "It makes namespaces; in one of users the caller has every capability and reaches code meant for root.",
    "uselib": _OLD,
    "userfaultfd": "It lets a program halt the kernel at a page fault, which makes faults of the kernel easier to use.",
    "ustat": _OLD,
    "vhangup": "It hangs up the terminal of everybody on it.",
    "vm86": _EMULATION,
    "vm86old": _EMULATION,
    "vserver": _OLD,
}
