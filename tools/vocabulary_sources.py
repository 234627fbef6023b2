"""Where the names of argument values come from: data for tools/make_vocabulary.py.

`VOCABULARIES` says for each vocabulary which headers have it and which names of them to take. `add` has what is newer
than Debian 12's headers (Linux 6.1), or stands in no header that programs can include, with its place in the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Source:
    """One vocabulary.

    Attributes:
        headers: what to include, in this order.
        take: names or patterns (fnmatch) of macros and enumerators. Of names with one value the first taken is printed.
        skip: patterns of what `take` has too much.
        enums: take the enumerators of these enums only.
        add: names the headers do not have, with their values; of names with one value these are printed.
        fields: masks of those bits of a word that hold a number rather than flags.
        last: the numbers are written after the flags.
        shift: names that start so → bits to shift their value by.
        defined: what the definition of a name must look like.
        tolerant: leave out what does not compile.
    """

    name: str
    headers: tuple[str, ...] = ()
    take: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    enums: tuple[str, ...] = ()
    add: Mapping[str, int] = field(default_factory=dict)
    fields: tuple[int, ...] = ()
    last: bool = False
    shift: Mapping[str, int] = field(default_factory=dict)
    defined: str = ""
    tolerant: bool = False

    def shifted(self, name: str) -> str:
        """The C expression of a name's value."""
        for prefix, bits in self.shift.items():
            if name.startswith(prefix):
                return f"(({name}) << {bits})"
        return name


def _source(name: str, headers: str = "", take: str = "", **rest: object) -> Source:
    words = {
        key: tuple(value.split()) if key in ("skip", "enums") and isinstance(value, str) else value
        for key, value in rest.items()
    }
    return Source(name=name, headers=tuple(headers.split()), take=tuple(take.split()), **words)  # type: ignore[arg-type]


_HUGE = 0xFC000000  # six bits for the logarithm of the page size: include/uapi/asm-generic/hugetlb_encode.h
_NAMESPACES = (
    "CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_NEWTIME"
)
_SIGNALS = "SIGABRT SIGBUS SIGIO SIGSYS SIGCHLD SIG[A-Z]*"
_NOT_SIGNALS = "SIGRTMIN SIGRTMAX SIGSTKSZ SIGEV* SIGSTKFLT_* SIGSWI"
# Real-time signals have no names in headers; strace's are these. The kernel's SIGRTMIN is 32 (asm/signal.h).
_REAL_TIME = {"SIGRTMIN": 32} | {f"SIGRT_{number}": 32 + number for number in range(1, 33)}
_IPC_CMD = "IPC_RMID IPC_SET IPC_STAT IPC_INFO IPC_64"

_FILES = [
    _source(
        "open_flags", "asm/fcntl.h", "O_RDONLY O_WRONLY O_RDWR O_NONBLOCK O_* FASYNC", skip="O_ACCMODE"
        " O_TMPFILE_MASK", fields=(3,),
        add={"O_ASYNC": 0o20000},
    ),
    _source("dup_flags", "asm/fcntl.h", "O_CLOEXEC"),
    _source("pipe_flags", "asm/fcntl.h", "O_CLOEXEC O_NONBLOCK O_DIRECT", add={
        "O_NOTIFICATION_PIPE": 0o200,  # include/uapi/linux/watch_queue.h: O_EXCL
    }),
    _source("delete_module_flags", "asm/fcntl.h", "O_NONBLOCK O_TRUNC"),
    _source("resolve_flags", "linux/openat2.h", "RESOLVE_*"),
    _source("access_modes", "unistd.h", "F_OK R_OK W_OK X_OK"),
    # include/uapi/linux/fcntl.h: one bit means different things to different calls.
    _source("at_flags", "linux/fcntl.h", "AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT"),
    _source("unlinkat_flags", "linux/fcntl.h", "AT_REMOVEDIR"),
    _source("faccessat_flags", "linux/fcntl.h", "AT_EACCESS AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH"),
    _source("execveat_flags", "linux/fcntl.h", "AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH", add={
        "AT_EXECVE_CHECK": 0x10000,  # 6.14, include/uapi/linux/fcntl.h
    }),
    _source("name_to_handle_flags", "linux/fcntl.h", "AT_SYMLINK_FOLLOW AT_EMPTY_PATH", add={
        # 6.5, 6.12, 6.13: include/uapi/linux/fcntl.h
        "AT_HANDLE_FID": 0x200, "AT_HANDLE_MNT_ID_UNIQUE": 0x1, "AT_HANDLE_CONNECTABLE": 0x2,
    }),
    _source(
        "statx_flags", "linux/fcntl.h",
        "AT_STATX_SYNC_AS_STAT AT_STATX_FORCE_SYNC AT_STATX_DONT_SYNC AT_SYMLINK_NOFOLLOW AT_NO_AUTOMOUNT"
        " AT_EMPTY_PATH",
        fields=(0x6000,),
    ),
    _source("statx_mask", "linux/stat.h", "STATX_*", skip="STATX_ATTR_* STATX__*", add={
        # 6.6 to 6.16: include/uapi/linux/stat.h
        "STATX_MNT_ID_UNIQUE": 0x4000, "STATX_SUBVOL": 0x8000, "STATX_WRITE_ATOMIC": 0x10000,
        "STATX_DIO_READ_ALIGN": 0x20000,
    }),
    _source("file_types", "linux/stat.h", "S_IFSOCK S_IFLNK S_IFREG S_IFBLK S_IFDIR S_IFCHR S_IFIFO"),
    _source("rename_flags", "linux/fs.h", "RENAME_*"),
    _source("whence", "linux/fs.h", "SEEK_*", skip="SEEK_MAX"),
    _source("flock_operations", "asm/fcntl.h", "LOCK_SH LOCK_EX LOCK_UN LOCK_NB LOCK_MAND LOCK_READ LOCK_WRITE"),
    _source("rw_flags", "linux/fs.h", "RWF_*", skip="RWF_SUPPORTED", add={
        # 6.9, 6.11, 6.14, 6.18: include/uapi/linux/fs.h
        "RWF_NOAPPEND": 0x20, "RWF_ATOMIC": 0x40, "RWF_DONTCACHE": 0x80, "RWF_NOSIGNAL": 0x100,
    }),
    _source("splice_flags", "fcntl.h", "SPLICE_F_*"),
    _source("sync_file_range_flags", "linux/fs.h", "SYNC_FILE_RANGE_*"),
    _source("fallocate_flags", "linux/falloc.h", "FALLOC_FL_*", add={
        "FALLOC_FL_WRITE_ZEROES": 0x80,  # 6.17, include/uapi/linux/falloc.h
    }),
    _source("fadvise", "linux/fadvise.h", "POSIX_FADV_*"),
    _source("xattr_flags", "linux/xattr.h", "XATTR_CREATE XATTR_REPLACE"),
    _source(
        "fcntl_commands", "linux/fcntl.h", "F_DUPFD F_GET* F_SET* F_OFD_* F_*",
        skip="F_RDLCK F_WRLCK F_UNLCK F_EXLCK F_SHLCK F_SEAL_* F_OWNER_* F_LINUX_SPECIFIC_BASE",
        add={
            # The headers have these for 32 bits only (asm-generic/fcntl.h).
            "F_GETLK64": 12, "F_SETLK64": 13, "F_SETLKW64": 14,
            # 6.10, 6.12, 6.19: include/uapi/linux/fcntl.h
            "F_DUPFD_QUERY": 1027, "F_CREATED_QUERY": 1028, "F_GETDELEG": 1039, "F_SETDELEG": 1040,
        },
    ),
    _source("inotify_init_flags", "linux/inotify.h", "IN_CLOEXEC IN_NONBLOCK"),
    _source("inotify_mask", "linux/inotify.h", "IN_*", skip="IN_CLOEXEC IN_NONBLOCK"),
    _source(
        "fanotify_init_flags", "linux/fanotify.h",
        "FAN_CLASS_NOTIF FAN_CLASS_* FAN_CLOEXEC FAN_NONBLOCK FAN_UNLIMITED_* FAN_ENABLE_AUDIT FAN_REPORT_*",
        fields=(0xC,),
        add={"FAN_REPORT_FD_ERROR": 0x2000, "FAN_REPORT_MNT": 0x4000},  # 6.13, 6.14: include/uapi/linux/fanotify.h
    ),
    _source("fanotify_mark_flags", "linux/fanotify.h", "FAN_MARK_*", skip="FAN_MARK_INODE"),
    _source(
        "fanotify_mask", "linux/fanotify.h",
        "FAN_ACCESS FAN_MODIFY FAN_ATTRIB FAN_CLOSE_* FAN_OPEN FAN_MOVED_* FAN_CREATE FAN_DELETE FAN_DELETE_SELF"
        " FAN_MOVE_SELF"
        " FAN_OPEN_EXEC FAN_Q_OVERFLOW FAN_FS_ERROR FAN_OPEN_PERM FAN_ACCESS_PERM FAN_OPEN_EXEC_PERM"
        " FAN_EVENT_ON_CHILD FAN_RENAME FAN_ONDIR FAN_CLOSE FAN_MOVE",
        # 6.14, 6.15: include/uapi/linux/fanotify.h
        add={"FAN_PRE_ACCESS": 0x100000, "FAN_MNT_ATTACH": 0x1000000, "FAN_MNT_DETACH": 0x2000000},
    ),
]  # fmt: skip

_MEMORY = [
    _source("prot_flags", "linux/mman.h", "PROT_*"),
    _source(
        "mmap_flags", "linux/mman.h", "MAP_FILE MAP_SHARED MAP_PRIVATE MAP_SHARED_VALIDATE MAP_ANONYMOUS MAP_*",
        skip="MAP_TYPE MAP_HUGE_MASK MAP_HUGE_SHIFT", fields=(0xF, _HUGE),
        add={"MAP_DROPPABLE": 8},  # 6.11, include/uapi/linux/mman.h
    ),
    _source("mremap_flags", "linux/mman.h", "MREMAP_*"),
    _source("msync_flags", "linux/mman.h", "MS_ASYNC MS_INVALIDATE MS_SYNC"),
    _source("madvice", "linux/mman.h", "MADV_*", add={
        "MADV_GUARD_INSTALL": 102, "MADV_GUARD_REMOVE": 103,  # 6.13, include/uapi/asm-generic/mman-common.h
    }),
    _source("mlock2_flags", "linux/mman.h", "MLOCK_ONFAULT"),
    _source("mlockall_flags", "linux/mman.h", "MCL_*"),
    _source("pkey_rights", "linux/mman.h", "PKEY_DISABLE_ACCESS PKEY_DISABLE_WRITE"),
    _source("membarrier_commands", "linux/membarrier.h", "MEMBARRIER_CMD_GLOBAL MEMBARRIER_CMD_*",
            skip="MEMBARRIER_CMD_FLAG_*", add={
        "MEMBARRIER_CMD_GET_REGISTRATIONS": 512,  # 6.3, include/uapi/linux/membarrier.h
    }),
    _source("membarrier_flags", "linux/membarrier.h", "MEMBARRIER_CMD_FLAG_CPU"),
    _source("memfd_flags", "linux/memfd.h", "MFD_*", skip="MFD_HUGE_MASK MFD_HUGE_SHIFT", fields=(_HUGE,), add={
        "MFD_NOEXEC_SEAL": 8, "MFD_EXEC": 16,  # 6.3, include/uapi/linux/memfd.h
    }),
    _source("memory_policies", "linux/mempolicy.h", "MPOL_*", skip="MPOL_MAX MPOL_F_NODE MPOL_F_ADDR"
            " MPOL_F_MEMS_ALLOWED"
            " MPOL_MF_* MPOL_F_SHARED MPOL_F_MOF MPOL_F_MORON MPOL_MODE_FLAGS", fields=(0xFF,), add={
        "MPOL_WEIGHTED_INTERLEAVE": 6,  # 6.9, include/uapi/linux/mempolicy.h
    }),
    _source("get_mempolicy_flags", "linux/mempolicy.h", "MPOL_F_NODE MPOL_F_ADDR MPOL_F_MEMS_ALLOWED"),
    _source("move_pages_flags", "linux/mempolicy.h", "MPOL_MF_STRICT MPOL_MF_MOVE MPOL_MF_MOVE_ALL"),
    _source("map_shadow_stack_flags", add={
        # 6.6, arch/x86/include/uapi/asm/mman.h; 6.13, include/uapi/asm-generic/mman.h
        "SHADOW_STACK_SET_TOKEN": 1, "SHADOW_STACK_SET_MARKER": 2,
    }),
    _source("userfaultfd_flags", "asm/fcntl.h linux/userfaultfd.h", "O_CLOEXEC O_NONBLOCK UFFD_USER_MODE_ONLY"),
    _source("shmget_flags", "linux/shm.h", "IPC_CREAT IPC_EXCL SHM_HUGETLB SHM_NORESERVE SHM_HUGE_*",
            skip="SHM_HUGE_MASK SHM_HUGE_SHIFT", fields=(_HUGE,)),
    _source("shmat_flags", "linux/shm.h", "SHM_RDONLY SHM_RND SHM_REMAP SHM_EXEC"),
]  # fmt: skip

_IPC = [
    _source("ipc_get_flags", "linux/ipc.h", "IPC_CREAT IPC_EXCL"),
    # With IPC_64 libcs ask for the larger structures on some ABIs: include/uapi/linux/ipc.h.
    _source("shmctl_commands", "linux/shm.h", f"{_IPC_CMD} SHM_LOCK SHM_UNLOCK SHM_STAT SHM_INFO SHM_STAT_ANY",
            fields=(0xFF,)),
    _source(
        "semctl_commands", "linux/sem.h",
        f"{_IPC_CMD} GETPID GETVAL GETALL GETNCNT GETZCNT SETVAL SETALL SEM_STAT SEM_INFO SEM_STAT_ANY", fields=(0xFF,),
    ),
    _source("msgctl_commands", "linux/msg.h", f"{_IPC_CMD} MSG_STAT MSG_INFO MSG_STAT_ANY", fields=(0xFF,)),
    _source("sysv_msg_flags", "linux/msg.h", "IPC_NOWAIT MSG_NOERROR MSG_EXCEPT MSG_COPY"),
    _source("ipc_calls", "linux/ipc.h", "SEMOP SEMGET SEMCTL SEMTIMEDOP MSG* SHM* DIPC"),
    _source("socket_calls", "linux/net.h", "SYS_*"),
]  # fmt: skip

_SOCKETS = [
    _source("address_families", "sys/socket.h", "AF_UNIX AF_NETLINK AF_* PF_*", skip="AF_MAX PF_MAX"),
    _source(
        "socket_types", "sys/socket.h",
        "SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP SOCK_PACKET SOCK_CLOEXEC SOCK_NONBLOCK",
        fields=(0xF,),
    ),
    # A protocol's number means what the family says. IPPROTO_ names come first.
    _source(
        "protocols", "linux/in.h linux/netlink.h",
        "IPPROTO_IP IPPROTO_* NETLINK_ROUTE NETLINK_USERSOCK NETLINK_FIREWALL NETLINK_SOCK_DIAG NETLINK_NFLOG"
        " NETLINK_XFRM"
        " NETLINK_SELINUX NETLINK_ISCSI NETLINK_AUDIT NETLINK_FIB_LOOKUP NETLINK_CONNECTOR NETLINK_NETFILTER"
        " NETLINK_IP6_FW NETLINK_DNRTMSG NETLINK_KOBJECT_UEVENT NETLINK_GENERIC NETLINK_SCSITRANSPORT NETLINK_ECRYPTFS"
        " NETLINK_RDMA NETLINK_CRYPTO NETLINK_SMC",
        skip="IPPROTO_MAX",
        # linux/if_ether.h through htons on a little-endian machine, as strace prints what AF_PACKET takes.
        add={
            "htons(ETH_P_ALL)": 0x0300, "htons(ETH_P_IP)": 0x0008, "htons(ETH_P_ARP)": 0x0608,
            "htons(ETH_P_IPV6)": 0xDD86, "htons(ETH_P_LLDP)": 0xCC88, "htons(ETH_P_PAE)": 0x8E88,
        },
    ),
    _source("accept_flags", "sys/socket.h", "SOCK_CLOEXEC SOCK_NONBLOCK"),
    _source(
        "msg_flags", "sys/socket.h", "MSG_DONTROUTE MSG_*",
        add={
            # include/linux/socket.h
            "MSG_SENDPAGE_NOTLAST": 0x20000, "MSG_BATCH": 0x40000, "MSG_NO_SHARED_FRAGS": 0x80000,
            "MSG_SOCK_DEVMEM": 0x2000000, "MSG_SPLICE_PAGES": 0x8000000, "MSG_CMSG_COMPAT": 0x80000000,
        },
    ),
    _source("shutdown_how", add={"SHUT_RD": 0, "SHUT_WR": 1, "SHUT_RDWR": 2}),  # shutdown(2), net/ipv4/af_inet.c
    _source(
        "option_levels", "sys/socket.h", "SOL_*",
        add={
            # include/linux/socket.h, include/uapi/linux/in.h, include/uapi/linux/can.h and can/*.h
            "SOL_IP": 0, "SOL_TCP": 6, "SOL_UDP": 17, "SOL_IPV6": 41, "SOL_ICMPV6": 58, "SOL_SCTP": 132,
            "SOL_UDPLITE": 136, "SOL_CAN_BASE": 100, "SOL_CAN_RAW": 101, "SOL_CAN_ISOTP": 106, "SOL_CAN_J1939": 107,
            "SOL_IPX": 256, "SOL_AX25": 257, "SOL_ATALK": 258, "SOL_NETROM": 259, "SOL_ROSE": 260, "SOL_MPTCP": 284,
            "SOL_MCTP": 285, "SOL_SMC": 286, "SOL_VSOCK": 287, "AF_VSOCK": 40,
            "IPPROTO_IP": 0, "IPPROTO_TCP": 6, "IPPROTO_UDP": 17, "IPPROTO_IPV6": 41, "IPPROTO_ICMPV6": 58,
            "IPPROTO_SCTP": 132, "IPPROTO_UDPLITE": 136,
        },
    ),
    _source(
        "so_options", "asm/socket.h", "SO_*", skip="SO_TIMESTAMP SO_TIMESTAMPNS SO_TIMESTAMPING SO_RCVTIMEO"
        " SO_SNDTIMEO",
        add={
            # Macros of asm/socket.h that depend on the size of time_t; programs write the name without _OLD.
            "SO_RCVTIMEO": 20, "SO_SNDTIMEO": 21, "SO_TIMESTAMP": 29, "SO_TIMESTAMPNS": 35, "SO_TIMESTAMPING": 37,
            # 6.5 to 6.16: include/uapi/asm-generic/socket.h
            "SO_PASSPIDFD": 76, "SO_PEERPIDFD": 77, "SO_DEVMEM_LINEAR": 78, "SO_DEVMEM_DMABUF": 79,
            "SO_DEVMEM_DONTNEED": 80, "SO_RCVPRIORITY": 82, "SO_PASSRIGHTS": 83, "SO_INQ": 84,
        },
    ),
    _source(
        "ip_options", "linux/in.h", "IP_* MCAST_*",
        skip="IP_PMTUDISC_* IP_DEFAULT_* IP_MSFILTER_SIZE MCAST_INCLUDE MCAST_EXCLUDE",
        add={"IP_LOCAL_PORT_RANGE": 51, "IP_PROTOCOL": 52},  # 6.3, 6.4: include/uapi/linux/in.h
    ),
    _source("ip_routing_options", "linux/in.h linux/mroute.h", "MRT_INIT MRT_DONE MRT_ADD_* MRT_DEL_*"
            " MRT_VERSION MRT_ASSERT"
            " MRT_PIM MRT_TABLE MRT_ADD_MFC_PROXY MRT_DEL_MFC_PROXY MRT_FLUSH", skip="MRT_FLUSH_*"),
    _source("ip_filter_sets", "linux/in.h linux/netfilter_ipv4/ip_tables.h linux/netfilter_arp/arp_tables.h",
            "IPT_SO_SET_* ARPT_SO_SET_*", skip="*_MAX", add={"EBT_SO_SET_ENTRIES": 128, "EBT_SO_SET_COUNTERS": 129}),
    _source("ip_filter_gets", "linux/in.h linux/netfilter_ipv4/ip_tables.h linux/netfilter_arp/arp_tables.h",
            "IPT_SO_GET_* ARPT_SO_GET_*", skip="*_MAX", add={
        # include/uapi/linux/netfilter_bridge/ebtables.h; include/uapi/linux/netfilter_ipv4.h
        "EBT_SO_GET_INFO": 128, "EBT_SO_GET_ENTRIES": 129, "EBT_SO_GET_INIT_INFO": 130, "EBT_SO_GET_INIT_ENTRIES": 131,
        "SO_ORIGINAL_DST": 80,
    }),
    _source(
        "ipv6_options", "linux/in.h linux/in6.h", "IPV6_* MCAST_*",
        skip="IPV6_PMTUDISC_* IPV6_FL_* IPV6_FLOWINFO_* IPV6_PRIORITY_* IPV6_TLV_* MCAST_INCLUDE MCAST_EXCLUDE"
        " IPV6_SRCRT_* IPV6_PREFER_*",
    ),
    _source("ipv6_filter_sets", "linux/in.h linux/netfilter_ipv6/ip6_tables.h", "IP6T_SO_SET_*", skip="*_MAX"),
    _source("ipv6_filter_gets", "linux/in.h linux/netfilter_ipv6/ip6_tables.h", "IP6T_SO_GET_*", skip="*_MAX",
            add={"IP6T_SO_ORIGINAL_DST": 80}),  # include/uapi/linux/netfilter_ipv6/ip6_tables.h
    _source("icmpv6_options", add={"ICMPV6_FILTER": 1}),  # include/uapi/linux/icmpv6.h
    _source("raw_options", add={"ICMP_FILTER": 1}),  # include/uapi/linux/icmp.h
    _source(
        "tcp_options", "linux/tcp.h", "TCP_REPAIR_QUEUE TCP_MD5SIG_EXT TCP_*", defined=r"^\d+$",
        skip="TCP_MSS_* TCP_REPAIR_O* TCP_MD5SIG_* TCP_FLAG_* TCP_*_FLAG_* TCP_RECEIVE_ZEROCOPY_* TCP_*_QUEUE",
        add={
            # 6.7, 6.14, 6.15: include/uapi/linux/tcp.h
            "TCP_AO_ADD_KEY": 38, "TCP_AO_DEL_KEY": 39, "TCP_AO_INFO": 40, "TCP_AO_GET_KEYS": 41, "TCP_AO_REPAIR": 42,
            "TCP_IS_MPTCP": 43, "TCP_RTO_MAX_MS": 44, "TCP_RTO_MIN_US": 45, "TCP_DELACK_MAX_US": 46,
        },
    ),
    _source("udp_options", "linux/udp.h", "UDP_CORK UDP_ENCAP UDP_NO_CHECK6_TX UDP_NO_CHECK6_RX UDP_SEGMENT UDP_GRO"),
    _source(
        "netlink_options", "linux/netlink.h",
        "NETLINK_ADD_MEMBERSHIP NETLINK_DROP_MEMBERSHIP NETLINK_PKTINFO NETLINK_BROADCAST_ERROR NETLINK_NO_ENOBUFS"
        " NETLINK_RX_RING NETLINK_TX_RING NETLINK_LISTEN_ALL_NSID NETLINK_LIST_MEMBERSHIPS NETLINK_CAP_ACK"
        " NETLINK_EXT_ACK"
        " NETLINK_GET_STRICT_CHK",
    ),
    _source(
        "packet_options", "linux/if_packet.h",
        "PACKET_ADD_MEMBERSHIP PACKET_DROP_MEMBERSHIP PACKET_RECV_OUTPUT PACKET_RX_RING PACKET_STATISTICS"
        " PACKET_COPY_THRESH"
        " PACKET_AUXDATA PACKET_ORIGDEV PACKET_VERSION PACKET_HDRLEN PACKET_RESERVE PACKET_TX_RING PACKET_LOSS"
        " PACKET_VNET_HDR PACKET_TX_TIMESTAMP PACKET_TIMESTAMP PACKET_FANOUT PACKET_TX_HAS_OFF PACKET_QDISC_BYPASS"
        " PACKET_ROLLOVER_STATS PACKET_FANOUT_DATA PACKET_IGNORE_OUTGOING",
        add={"PACKET_VNET_HDR_SZ": 24},  # 6.4, include/uapi/linux/if_packet.h
    ),
    _source("alg_options", "linux/if_alg.h", "ALG_SET_*"),
    _source("tls_options", "linux/tls.h", "TLS_TX TLS_RX TLS_TX_ZEROCOPY_RO TLS_RX_EXPECT_NO_PAD"),
    _source(
        "xdp_options", "linux/if_xdp.h",
        "XDP_MMAP_OFFSETS XDP_RX_RING XDP_TX_RING XDP_UMEM_REG XDP_UMEM_FILL_RING XDP_UMEM_COMPLETION_RING"
        " XDP_STATISTICS XDP_OPTIONS",
        add={"XDP_MAX_TX_SKB_BUDGET": 9},  # 6.17, include/uapi/linux/if_xdp.h
    ),
    _source("vsock_options", "linux/vm_sockets.h", "SO_VM_SOCKETS_*", skip="*_NEW SO_VM_SOCKETS_CONNECT_TIMEOUT"),
    _source("can_raw_options", "linux/can/raw.h", "CAN_RAW_*", skip="CAN_RAW_FILTER_MAX"),
    _source("mptcp_options", "linux/mptcp.h", "MPTCP_INFO MPTCP_TCPINFO MPTCP_SUBFLOW_ADDRS",
            add={"MPTCP_FULL_INFO": 4}),  # 6.5, include/uapi/linux/mptcp.h
    _source("tipc_options", "linux/tipc.h", "TIPC_IMPORTANCE TIPC_SRC_DROPPABLE TIPC_DEST_DROPPABLE TIPC_CONN_TIMEOUT"
            " TIPC_NODE_RECVQ_DEPTH TIPC_SOCK_RECVQ_DEPTH TIPC_MCAST_* TIPC_GROUP_JOIN TIPC_GROUP_LEAVE"
            " TIPC_SOCK_RECVQ_USED"
            " TIPC_NODELAY"),
]  # fmt: skip

_PROCESSES = [
    _source("signals", "asm/signal.h", _SIGNALS, skip=_NOT_SIGNALS, add=_REAL_TIME),
    _source(
        "clone_flags", "linux/sched.h asm/signal.h", f"CLONE_* {_SIGNALS}",
        skip=f"{_NOT_SIGNALS} CLONE_NEWTIME CLONE_CLEAR_SIGHAND CLONE_INTO_CGROUP CLONE_ARGS_*", fields=(0xFF,),
        last=True, add=_REAL_TIME,
    ),
    _source("clone3_flags", "linux/sched.h", "CLONE_*", skip="CLONE_ARGS_*"),
    _source(
        "unshare_flags", "linux/sched.h",
        f"{_NAMESPACES} CLONE_FS CLONE_FILES CLONE_SYSVSEM CLONE_THREAD CLONE_SIGHAND CLONE_VM",
    ),
    _source("namespaces", "linux/sched.h", _NAMESPACES),
    _source(
        "prctl_options", "linux/prctl.h",
        "PR_SET_* PR_GET_* PR_CAPBSET_* PR_TASK_PERF_EVENTS_* PR_MCE_KILL PR_MCE_KILL_GET PR_MPX_*"
        " PR_CAP_AMBIENT PR_SVE_SET_VL"
        " PR_SVE_GET_VL PR_SME_SET_VL PR_SME_GET_VL PR_PAC_RESET_KEYS PR_PAC_SET_ENABLED_KEYS PR_PAC_GET_ENABLED_KEYS"
        " PR_SCHED_CORE",
        skip="PR_SET_MM_* PR_SET_VMA_* PR_SET_PTRACER_*",
        add={
            # 6.3 to 7.0: include/uapi/linux/prctl.h
            "PR_SET_MDWE": 65, "PR_GET_MDWE": 66, "PR_SET_MEMORY_MERGE": 67, "PR_GET_MEMORY_MERGE": 68,
            "PR_RISCV_V_SET_CONTROL": 69, "PR_RISCV_V_GET_CONTROL": 70, "PR_RISCV_SET_ICACHE_FLUSH_CTX": 71,
            "PR_PPC_GET_DEXCR": 72, "PR_PPC_SET_DEXCR": 73, "PR_GET_SHADOW_STACK_STATUS": 74,
            "PR_SET_SHADOW_STACK_STATUS": 75, "PR_LOCK_SHADOW_STACK_STATUS": 76, "PR_TIMER_CREATE_RESTORE_IDS": 77,
            "PR_FUTEX_HASH": 78, "PR_RSEQ_SLICE_EXTENSION": 79, "PR_GET_AUXV": 0x41555856,
        },
    ),
    _source("arch_prctl_codes", "asm/prctl.h", "ARCH_*", add={
        # 6.4, 6.6: arch/x86/include/uapi/asm/prctl.h
        "ARCH_GET_UNTAG_MASK": 0x4001, "ARCH_ENABLE_TAGGED_ADDR": 0x4002, "ARCH_GET_MAX_TAG_BITS": 0x4003,
        "ARCH_FORCE_TAGGED_SVA": 0x4004, "ARCH_SHSTK_ENABLE": 0x5001, "ARCH_SHSTK_DISABLE": 0x5002,
        "ARCH_SHSTK_LOCK": 0x5003, "ARCH_SHSTK_UNLOCK": 0x5004, "ARCH_SHSTK_STATUS": 0x5005,
    }),
    _source(
        "personalities", "linux/personality.h",
        "UNAME26 ADDR_NO_RANDOMIZE FDPIC_FUNCPTRS MMAP_PAGE_ZERO ADDR_COMPAT_LAYOUT READ_IMPLIES_EXEC ADDR_LIMIT_32BIT"
        " SHORT_INODE WHOLE_SECONDS STICKY_TIMEOUTS ADDR_LIMIT_3GB PER_*",
        skip="PER_MASK PER_CLEAR_ON_SETID", fields=(0xFF,),
    ),
    _source(
        "ptrace_requests", "linux/ptrace.h asm/ptrace.h", "PTRACE_*",
        skip="PTRACE_O_* PTRACE_EVENT* PTRACE_PEEKSIGINFO_SHARED PTRACE_SYSCALL_INFO_* PTRACE_SECCOMP_GET_FILTER_*",
        add={
            # 6.4, 6.16: include/uapi/linux/ptrace.h
            "PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG": 0x4210, "PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG": 0x4211,
            "PTRACE_SET_SYSCALL_INFO": 0x4212,
        },
    ),
    _source("sigprocmask_how", "asm/signal.h", "SIG_BLOCK SIG_UNBLOCK SIG_SETMASK"),
    _source("signalfd_flags", "linux/signalfd.h", "SFD_CLOEXEC SFD_NONBLOCK"),
    _source("pidfd_flags", "linux/pidfd.h", "PIDFD_NONBLOCK", add={
        "PIDFD_THREAD": 0o200,  # 6.9, include/uapi/linux/pidfd.h: O_EXCL
    }),
    _source("pidfd_signal_flags", add={
        # 6.9, include/uapi/linux/pidfd.h
        "PIDFD_SIGNAL_THREAD": 1, "PIDFD_SIGNAL_THREAD_GROUP": 2, "PIDFD_SIGNAL_PROCESS_GROUP": 4,
    }),
    _source("wait_options", "linux/wait.h", "WNOHANG WUNTRACED WCONTINUED WSTOPPED WEXITED WNOWAIT __WNOTHREAD"
            " __WALL __WCLONE"),
    _source("wait_ids", "linux/wait.h", "P_*"),
    _source("kcmp_types", "linux/kcmp.h", "KCMP_*", skip="KCMP_TYPES"),
    _source("futex_operations", "linux/futex.h", "FUTEX_PRIVATE_FLAG FUTEX_CLOCK_REALTIME FUTEX_*", fields=(0x7F,),
            skip="FUTEX_WAITERS FUTEX_OWNER_DIED FUTEX_TID_MASK FUTEX_BITSET_MATCH_ANY FUTEX_CMD_MASK FUTEX_OP_*"
            " FUTEX_32"
            " FUTEX_WAITV_MAX"),
    _source("futex2_flags", fields=(3,), add={
        # 6.7, 6.16: include/uapi/linux/futex.h
        "FUTEX2_SIZE_U8": 0, "FUTEX2_SIZE_U16": 1, "FUTEX2_SIZE_U32": 2, "FUTEX2_SIZE_U64": 3, "FUTEX2_NUMA": 4,
        "FUTEX2_MPOL": 8, "FUTEX2_PRIVATE": 128,
    }),
    _source("sched_policies", "linux/sched.h", "SCHED_NORMAL SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_IDLE SCHED_DEADLINE"
            " SCHED_RESET_ON_FORK", fields=(0xFFFF,), add={
        "SCHED_OTHER": 0, "SCHED_EXT": 7,  # sched(7); 6.12, include/uapi/linux/sched.h
    }),
    _source("rusage_who", "linux/resource.h", "RUSAGE_SELF RUSAGE_CHILDREN RUSAGE_THREAD"),
    _source("priority_which", "linux/resource.h", "PRIO_PROCESS PRIO_PGRP PRIO_USER"),
    _source("rlimits", "linux/resource.h", "RLIMIT_*"),
    _source("ioprio_which", "linux/ioprio.h", "IOPRIO_WHO_*"),
    _source("itimers", "linux/time.h", "ITIMER_*"),
    _source("clocks", "linux/time.h", "CLOCK_*", add={
        "CLOCK_AUX": 16,  # 6.17, include/uapi/linux/time.h: the first of eight
    }),
    _source("timer_flags", "linux/time.h", "TIMER_ABSTIME"),
    _source("timerfd_flags", "sys/timerfd.h", "TFD_CLOEXEC TFD_NONBLOCK"),
    _source("timerfd_settime_flags", "sys/timerfd.h", "TFD_TIMER_*"),
    _source("eventfd_flags", "sys/eventfd.h", "EFD_*"),
    _source("epoll_flags", "linux/eventpoll.h", "EPOLL_CLOEXEC"),
    _source("epoll_operations", "linux/eventpoll.h", "EPOLL_CTL_*"),
    _source("rseq_flags", "linux/rseq.h", "RSEQ_FLAG_UNREGISTER"),
    _source("close_range_flags", "linux/close_range.h", "CLOSE_RANGE_*"),
    _source("getrandom_flags", "linux/random.h", "GRND_*"),
]  # fmt: skip

_KERNEL = [
    _source("keyctl_operations", "linux/keyctl.h", "KEYCTL_*", skip="KEYCTL_CAPS* KEYCTL_SUPPORTS_* KEYCTL_MOVE_EXCL",
            add={"KEYCTL_CAPABILITIES": 31}),
    _source("bpf_commands", "linux/bpf.h", enums="bpf_cmd", skip="__MAX_BPF_CMD", add={
        # 6.9, 6.17, 6.19: include/uapi/linux/bpf.h
        "BPF_TOKEN_CREATE": 36, "BPF_PROG_STREAM_READ_BY_FD": 37, "BPF_PROG_ASSOC_STRUCT_OPS": 38,
    }),
    _source("perf_flags", "linux/perf_event.h", "PERF_FLAG_*"),
    _source("seccomp_operations", "linux/seccomp.h", "SECCOMP_SET_MODE_* SECCOMP_GET_ACTION_AVAIL"
            " SECCOMP_GET_NOTIF_SIZES"),
    _source("seccomp_flags", "linux/seccomp.h", "SECCOMP_FILTER_FLAG_*"),
    _source("landlock_create_flags", "linux/landlock.h", "LANDLOCK_CREATE_RULESET_*", add={
        "LANDLOCK_CREATE_RULESET_ERRATA": 2,  # 6.15, include/uapi/linux/landlock.h
    }),
    _source("landlock_rules", "linux/landlock.h", "LANDLOCK_RULE_*", add={
        "LANDLOCK_RULE_NET_PORT": 2,  # 6.7, include/uapi/linux/landlock.h
    }),
    _source("landlock_restrict_flags", add={
        # 6.15, 7.0: include/uapi/linux/landlock.h
        "LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF": 1, "LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON": 2,
        "LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF": 4, "LANDLOCK_RESTRICT_SELF_TSYNC": 8,
    }),
    _source("mount_flags", "linux/mount.h", "MS_*", skip="MS_RMT_MASK MS_MGC_MSK"),
    _source("umount_flags", "sys/mount.h", "MNT_FORCE MNT_DETACH MNT_EXPIRE UMOUNT_NOFOLLOW"),
    _source("open_tree_flags", "linux/mount.h linux/fcntl.h",
            "OPEN_TREE_CLONE OPEN_TREE_CLOEXEC AT_EMPTY_PATH AT_NO_AUTOMOUNT AT_SYMLINK_NOFOLLOW AT_RECURSIVE"),
    _source("mount_setattr_flags", "linux/fcntl.h", "AT_EMPTY_PATH AT_NO_AUTOMOUNT AT_SYMLINK_NOFOLLOW AT_RECURSIVE"),
    _source("move_mount_flags", "linux/mount.h", "MOVE_MOUNT_*", skip="MOVE_MOUNT__*", add={
        "MOVE_MOUNT_BENEATH": 0x200,  # 6.5, include/uapi/linux/mount.h
    }),
    _source("fsopen_flags", "linux/mount.h", "FSOPEN_*"),
    _source("fspick_flags", "linux/mount.h", "FSPICK_*"),
    _source("fsconfig_commands", "linux/mount.h", enums="fsconfig_command", add={
        "FSCONFIG_CMD_CREATE_EXCL": 8,  # 6.6, include/uapi/linux/mount.h
    }),
    _source("fsmount_flags", "linux/mount.h", "FSMOUNT_*"),
    _source("mount_attributes", "linux/mount.h", "MOUNT_ATTR_*", skip="MOUNT_ATTR__* MOUNT_ATTR_SIZE_*",
            fields=(0x70,)),
    _source("listmount_flags", add={"LISTMOUNT_REVERSE": 1}),  # 6.11, include/uapi/linux/mount.h
    _source("lsm_attributes", add={
        # 6.8, include/uapi/linux/lsm.h
        "LSM_ATTR_UNDEF": 0, "LSM_ATTR_CURRENT": 100, "LSM_ATTR_EXEC": 101, "LSM_ATTR_FSCREATE": 102,
        "LSM_ATTR_KEYCREATE": 103, "LSM_ATTR_PREV": 104, "LSM_ATTR_SOCKCREATE": 105,
    }),
    _source("lsm_flags", add={"LSM_FLAG_SINGLE": 1}),  # 6.8, include/uapi/linux/lsm.h
    _source("io_uring_enter_flags", "linux/io_uring.h", "IORING_ENTER_*", add={
        # 6.12 to 6.15: include/uapi/linux/io_uring.h
        "IORING_ENTER_ABS_TIMER": 0x20, "IORING_ENTER_EXT_ARG_REG": 0x40, "IORING_ENTER_NO_IOWAIT": 0x80,
    }),
    _source(
        "io_uring_register_operations", "linux/io_uring.h", "IORING_REGISTER_* IORING_UNREGISTER_*",
        skip="IORING_REGISTER_LAST IORING_REGISTER_FILES_SKIP", fields=(0x7FFFFFFF,),
        add={
            # 6.3 to 7.0: include/uapi/linux/io_uring.h
            "IORING_REGISTER_PBUF_STATUS": 26, "IORING_REGISTER_NAPI": 27, "IORING_UNREGISTER_NAPI": 28,
            "IORING_REGISTER_CLOCK": 29, "IORING_REGISTER_CLONE_BUFFERS": 30, "IORING_REGISTER_SEND_MSG_RING": 31,
            "IORING_REGISTER_ZCRX_IFQ": 32, "IORING_REGISTER_RESIZE_RINGS": 33, "IORING_REGISTER_MEM_REGION": 34,
            "IORING_REGISTER_QUERY": 35, "IORING_REGISTER_ZCRX_CTRL": 36, "IORING_REGISTER_BPF_FILTER": 37,
            "IORING_REGISTER_USE_REGISTERED_RING": 0x80000000,
        },
    ),
    _source("finit_module_flags", "linux/module.h", "MODULE_INIT_*"),
    _source("kexec_flags", "linux/kexec.h", "KEXEC_ON_CRASH KEXEC_PRESERVE_CONTEXT KEXEC_ARCH_*",
            skip="KEXEC_ARCH_MASK",
            fields=(0xFFFF0000,), add={
        "KEXEC_UPDATE_ELFCOREHDR": 4, "KEXEC_CRASH_HOTPLUG_SUPPORT": 8,  # 6.5, 6.10: include/uapi/linux/kexec.h
    }),
    _source("kexec_file_flags", "linux/kexec.h", "KEXEC_FILE_*", add={
        # 6.8, 6.17: include/uapi/linux/kexec.h
        "KEXEC_FILE_DEBUG": 8, "KEXEC_FILE_NO_CMA": 16, "KEXEC_FILE_FORCE_DTB": 32,
    }),
    # QCMD(): the command in the high 24 bits, the type in the low 8 (linux/quota.h).
    _source("quota_commands", "linux/types.h linux/quota.h linux/dqblk_xfs.h", "USRQUOTA GRPQUOTA PRJQUOTA Q_*",
            defined=r"^[\(\w]", skip="Q_*_FLAG", shift={"Q_": 8}, fields=(0xFF, 0xFFFFFF00)),
    _source("reboot_commands", "linux/reboot.h", "LINUX_REBOOT_CMD_*"),
    _source("swap_flags", "sys/swap.h", "SWAP_FLAG_PREFER SWAP_FLAG_DISCARD", add={
        "SWAP_FLAG_DISCARD_ONCE": 0x20000, "SWAP_FLAG_DISCARD_PAGES": 0x40000,  # include/linux/swap.h
    }),
    _source("syslog_actions", add={
        # include/linux/syslog.h
        "SYSLOG_ACTION_CLOSE": 0, "SYSLOG_ACTION_OPEN": 1, "SYSLOG_ACTION_READ": 2, "SYSLOG_ACTION_READ_ALL": 3,
        "SYSLOG_ACTION_READ_CLEAR": 4, "SYSLOG_ACTION_CLEAR": 5, "SYSLOG_ACTION_CONSOLE_OFF": 6,
        "SYSLOG_ACTION_CONSOLE_ON": 7, "SYSLOG_ACTION_CONSOLE_LEVEL": 8, "SYSLOG_ACTION_SIZE_UNREAD": 9,
        "SYSLOG_ACTION_SIZE_BUFFER": 10,
    }),
    _source("riscv_hwprobe_flags", add={"RISCV_HWPROBE_WHICH_CPUS": 1}),  # 6.8, arch/riscv/include/uapi/asm/hwprobe.h
    # Flags that must be zero as yet, and small numbers without names.
    _source("no_flags"),
    _source("numbers"),
]  # fmt: skip

# Terminals first: their numbers are what most programs use, and some drivers' are the same.
_IOCTLS = {
    "asm/ioctls.h": "TC* TIO* FIO*",
    "linux/sockios.h": "SIOC*",
    "linux/fs.h": "FS_IOC* FI* BLK*",
    "linux/random.h": "RND*",
    "linux/if_tun.h": "TUN*",
    "linux/nsfs.h": "NS_GET_*",
    "linux/loop.h": "LOOP_*",
    "linux/seccomp.h": "SECCOMP_IOCTL_*",
    "linux/userfaultfd.h": "UFFDIO_*",
    "linux/perf_event.h": "PERF_EVENT_IOC_*",
    "linux/fuse.h": "FUSE_DEV_IOC_*",
    "linux/fscrypt.h": "FS_IOC_*",
    "linux/fsverity.h": "FS_IOC_*",
    "linux/btrfs.h": "BTRFS_IOC_*",
    "linux/dm-ioctl.h": "DM_*",
    "linux/nbd.h": "NBD_*",
    "linux/kd.h": "KD* GIO_* PIO_*",
    "linux/vt.h": "VT_*",
    "linux/rtc.h": "RTC_*",
    "linux/watchdog.h": "WDIOC_*",
    "linux/kvm.h": "KVM_*",
    "linux/vhost.h": "VHOST_*",
    "linux/vfio.h": "VFIO_*",
    "linux/ptp_clock.h": "PTP_*",
    "linux/sync_file.h": "SYNC_IOC_*",
    "linux/dma-buf.h": "DMA_BUF_*",
    "linux/dma-heap.h": "DMA_HEAP_*",
    "linux/udmabuf.h": "UDMABUF_*",
    "linux/input.h": "EVIOC*",
    "linux/uinput.h": "UI_*",
    "linux/hidraw.h": "HIDIOC*",
    "linux/usbdevice_fs.h": "USBDEVFS_*",
    "linux/gpio.h": "GPIO_*",
    "linux/ppp-ioctl.h": "PPPIOC*",
    "linux/cdrom.h": "CDROM*",
    "linux/hdreg.h": "HDIO_*",
    "scsi/sg.h": "SG_*",
    "linux/nvme_ioctl.h": "NVME_IOCTL_*",
    "linux/auto_fs.h": "AUTOFS_*",
    "linux/videodev2.h": "VIDIOC_*",
    "linux/media.h": "MEDIA_IOC_*",
}
_IOCTL_SOURCE = _source(
    "ioctl_commands",
    " ".join(["sys/types.h", "sys/time.h", "sys/socket.h", "netinet/in.h", "linux/ioctl.h", *_IOCTLS]),
    " ".join(dict.fromkeys(" ".join(_IOCTLS.values()).split())),
    defined=r"_IO[RW]*\(|^0x[0-9A-Fa-f]{4}\b|^(FION|TIOC|SIOC)\w+$",
    skip="TUN_* KVM_STATE_* KVM_DEV_IRQ_* SG_BIG_BUFF SG_DEF_* VHOST_PAGE_SIZE VHOST_VIRTIO TIOCM_* TIOCPKT_*"
    " TIOCSER_TEMT"
    " *_MAGIC HDIO_DRIVE_CMD_AEB *_HDR_SIZE *_NUM_MASK SIOCDEVPRIVATE SIOCPROTOPRIVATE",
    tolerant=True,
    add={
        # include/uapi/linux/pidfd.h (6.11 and 6.13)
        "PIDFD_GET_CGROUP_NAMESPACE": 0xFF01, "PIDFD_GET_IPC_NAMESPACE": 0xFF02, "PIDFD_GET_MNT_NAMESPACE": 0xFF03,
        "PIDFD_GET_NET_NAMESPACE": 0xFF04, "PIDFD_GET_PID_NAMESPACE": 0xFF05,
        "PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE": 0xFF06, "PIDFD_GET_TIME_NAMESPACE": 0xFF07,
        "PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE": 0xFF08, "PIDFD_GET_USER_NAMESPACE": 0xFF09,
        "PIDFD_GET_UTS_NAMESPACE": 0xFF0A,
        # include/uapi/linux/sockios.h: macros that depend on time_t.
        "SIOCGSTAMP": 0x8906, "SIOCGSTAMPNS": 0x8907,
    },
)  # fmt: skip

VOCABULARIES: tuple[Source, ...] = (*_FILES, *_MEMORY, *_IPC, *_SOCKETS, *_PROCESSES, *_KERNEL, _IOCTL_SOURCE)

_COMMON: dict[str, list[str]] = {
    "1": ["so_options"], "6": ["tcp_options"], "17": ["udp_options"], "136": ["udp_options"], "58": ["icmpv6_options"],
    "255": ["raw_options"], "263": ["packet_options"], "270": ["netlink_options"], "271": ["tipc_options"],
    "279": ["alg_options"], "282": ["tls_options"], "283": ["xdp_options"], "284": ["mptcp_options"],
    "40": ["vsock_options"], "101": ["can_raw_options"],
}  # fmt: skip
# Socket options by level (a decimal number, as JSON wants strings). Netfilter's numbers differ between set and get.
PAIRS: dict[str, dict[str, list[str]]] = {
    "setsockopt_options": {
        **_COMMON,
        "0": ["ip_options", "ip_routing_options", "ip_filter_sets"],
        "41": ["ipv6_options", "ipv6_filter_sets"],
    },
    "getsockopt_options": {
        **_COMMON,
        "0": ["ip_options", "ip_routing_options", "ip_filter_gets"],
        "41": ["ipv6_options", "ipv6_filter_gets"],
    },
}

# What other architectures' headers say: vocabulary → architecture → name → value, None for a name it does not have.
# Taken from Debian 12's linux-libc-dev-ARCH-cross (6.1), compiled by clang for that architecture.
_Changes = Mapping[str, int | None]


def _without(names: str) -> _Changes:
    return dict.fromkeys(names.split())


_ARM_OPEN: _Changes = {
    "O_DIRECT": 0x10000, "O_DIRECTORY": 0x4000, "O_LARGEFILE": 0x20000, "O_NOFOLLOW": 0x8000, "O_TMPFILE": 0x404000,
}  # fmt: skip
_PPC_OPEN: _Changes = {
    "O_DIRECT": 0x20000, "O_DIRECTORY": 0x4000, "O_LARGEFILE": 0x10000, "O_NOFOLLOW": 0x8000, "O_TMPFILE": 0x404000,
}  # fmt: skip
_NO_X86_REQUESTS: _Changes = _without(
    "PTRACE_ARCH_PRCTL PTRACE_GETFPREGS PTRACE_GETFPXREGS PTRACE_GETREGS PTRACE_GET_THREAD_AREA PTRACE_OLDSETOPTIONS"
    " PTRACE_SETFPREGS PTRACE_SETFPXREGS PTRACE_SETREGS PTRACE_SET_THREAD_AREA PTRACE_SINGLEBLOCK"
)
_NO_EMULATION: _Changes = {"PTRACE_SYSEMU": None, "PTRACE_SYSEMU_SINGLESTEP": None}
_S390_REQUESTS: _Changes = {
    **_NO_X86_REQUESTS, "PTRACE_SINGLEBLOCK": 0xC, "PTRACE_PROT": 0x15, "PTRACE_PEEKUSR_AREA": 0x5000,
    "PTRACE_POKEUSR_AREA": 0x5001, "PTRACE_PEEKTEXT_AREA": 0x5002, "PTRACE_PEEKDATA_AREA": 0x5003,
    "PTRACE_POKETEXT_AREA": 0x5004, "PTRACE_POKEDATA_AREA": 0x5005, "PTRACE_GET_LAST_BREAK": 0x5006,
    "PTRACE_PEEK_SYSTEM_CALL": 0x5007, "PTRACE_POKE_SYSTEM_CALL": 0x5008, "PTRACE_ENABLE_TE": 0x5009,
    "PTRACE_DISABLE_TE": 0x5010, "PTRACE_TE_ABORT_RAND": 0x5011,
}  # fmt: skip
# The structures of these are the architecture's own.
_NO_X86_KVM: _Changes = _without(
    """
KVM_GET_CPUID2 KVM_GET_DEBUGREGS KVM_GET_EMULATED_CPUID KVM_GET_FPU KVM_GET_LAPIC KVM_GET_MSRS
KVM_GET_MSR_FEATURE_INDEX_LIST KVM_GET_MSR_INDEX_LIST KVM_GET_NESTED_STATE KVM_GET_PIT KVM_GET_PIT2 KVM_GET_REGS
KVM_GET_SREGS KVM_GET_SREGS2 KVM_GET_SUPPORTED_CPUID KVM_GET_SUPPORTED_HV_CPUID KVM_GET_VCPU_EVENTS KVM_GET_XCRS
KVM_GET_XSAVE KVM_GET_XSAVE2 KVM_SET_CPUID KVM_SET_CPUID2 KVM_SET_DEBUGREGS KVM_SET_FPU KVM_SET_GUEST_DEBUG
KVM_SET_LAPIC KVM_SET_MEMORY_ALIAS KVM_SET_MSRS KVM_SET_NESTED_STATE KVM_SET_PIT KVM_SET_PIT2
KVM_SET_PMU_EVENT_FILTER KVM_SET_REGS KVM_SET_SREGS KVM_SET_SREGS2 KVM_SET_VCPU_EVENTS KVM_SET_XCRS
KVM_SET_XSAVE KVM_X86_SET_MCE KVM_X86_SET_MSR_FILTER KVM_XEN_HVM_CONFIG
"""
)
_S390_ADVICE: _Changes = {"POSIX_FADV_DONTNEED": 6, "POSIX_FADV_NOREUSE": 7}
# arch/powerpc/include/uapi/asm/ioctl.h encodes directions otherwise, so most numbers differ: no names there.
_NONE_AT_ALL: _Changes = {"*": None}
# Only x86 has the call.
_NO_ARCH_PRCTL = dict.fromkeys(("aarch64", "arm", "riscv64", "s390x", "s390", "ppc64le"), _NONE_AT_ALL)

OTHER_ARCHES: Mapping[str, Mapping[str, _Changes]] = {
    "open_flags": {"aarch64": _ARM_OPEN, "arm": _ARM_OPEN, "ppc64le": _PPC_OPEN},
    "pipe_flags": {"aarch64": {"O_DIRECT": 0x10000}, "arm": {"O_DIRECT": 0x10000}, "ppc64le": {"O_DIRECT": 0x20000}},
    # The 31-bit ABI has the usual numbers.
    "fadvise": {"s390x": _S390_ADVICE},
    "prot_flags": {"aarch64": {"PROT_BTI": 0x10, "PROT_MTE": 0x20}, "ppc64le": {"PROT_SAO": 0x10}},
    "mmap_flags": {
        **{arch: {"MAP_32BIT": None} for arch in ("aarch64", "arm", "riscv64", "s390x", "s390")},
        # 6.6, arch/x86/include/uapi/asm/mman.h
        **{arch: {"MAP_ABOVE4G": 0x80} for arch in ("x86_64", "x32")},
        "ppc64le": {"MAP_32BIT": None, "MAP_LOCKED": 0x80, "MAP_NORESERVE": 0x40, "MAP_RENAME": 0x20},
    },
    "mlockall_flags": {"ppc64le": {"MCL_CURRENT": 0x2000, "MCL_FUTURE": 0x4000, "MCL_ONFAULT": 0x8000}},
    "so_options": {
        "ppc64le": {
            "SO_PASSCRED": 20, "SO_PEERCRED": 21, "SO_RCVLOWAT": 16, "SO_SNDLOWAT": 17, "SO_RCVTIMEO": 18,
            "SO_SNDTIMEO": 19, "SO_RCVTIMEO_OLD": 18, "SO_SNDTIMEO_OLD": 19,
        },
    },
    "arch_prctl_codes": _NO_ARCH_PRCTL,
    "ptrace_requests": {
        "aarch64": {**_NO_X86_REQUESTS, "PTRACE_PEEKMTETAGS": 0x21, "PTRACE_POKEMTETAGS": 0x22},
        "arm": {
            **_NO_EMULATION, "PTRACE_GETFPXREGS": None, "PTRACE_SETFPXREGS": None, "PTRACE_SET_THREAD_AREA": None,
            "PTRACE_SINGLEBLOCK": None, "PTRACE_GET_THREAD_AREA": 22, "PTRACE_SET_SYSCALL": 23,
            "PTRACE_GETWMMXREGS": 18, "PTRACE_SETWMMXREGS": 19, "PTRACE_GETCRUNCHREGS": 25,
            "PTRACE_SETCRUNCHREGS": 26, "PTRACE_GETVFPREGS": 27, "PTRACE_SETVFPREGS": 28, "PTRACE_GETHBPREGS": 29,
            "PTRACE_SETHBPREGS": 30, "PTRACE_GETFDPIC": 31,
        },
        "riscv64": {**_NO_X86_REQUESTS, **_NO_EMULATION},
        "s390x": _S390_REQUESTS,
        "s390": _S390_REQUESTS,
        "ppc64le": {
            **_NO_X86_REQUESTS, "PTRACE_GETREGS": 12, "PTRACE_SETREGS": 13, "PTRACE_GETFPREGS": 14,
            "PTRACE_SETFPREGS": 15, "PTRACE_GETVRREGS": 18, "PTRACE_SETVRREGS": 19, "PTRACE_GETEVRREGS": 20,
            "PTRACE_SETEVRREGS": 21, "PTRACE_GETREGS64": 22, "PTRACE_SETREGS64": 23, "PTRACE_GET_DEBUGREG": 25,
            "PTRACE_SET_DEBUGREG": 26, "PTRACE_GETVSRREGS": 27, "PTRACE_SETVSRREGS": 28, "PTRACE_SYSEMU": 29,
            "PTRACE_SYSEMU_SINGLESTEP": 30, "PTRACE_SINGLEBLOCK": 0x100,
        },
    },
    "ioctl_commands": {
        "aarch64": _NO_X86_KVM,
        "riscv64": _NO_X86_KVM,
        "s390x": {**_NO_X86_KVM, "FIOQSIZE": 0x545E},
        "s390": {**_NO_X86_KVM, "FIOQSIZE": 0x545E},
        "ppc64le": _NONE_AT_ALL,
        # Eight-byte numbers are aligned to eight bytes there, to four on x86.
        "arm": {
            **_NO_X86_KVM, "FIOQSIZE": 0x545E, "BTRFS_IOC_DEV_REPLACE": 0xCA289435,
            "BTRFS_IOC_GET_SUBVOL_INFO": 0x81F8943C,
            "BTRFS_IOC_SEND": 0x40489426, "BTRFS_IOC_SET_RECEIVED_SUBVOL": 0xC0C89425, "KVM_DIRTY_TLB": 0x4010AEAA,
            "NVME_IOCTL_SUBMIT_IO": 0x40304E42, "VIDIOC_DQEVENT": 0x80805659, "VIDIOC_ENUMINPUT": 0xC050561A,
            "VIDIOC_ENUMSTD": 0xC0485619,
        },
    },
}  # fmt: skip
