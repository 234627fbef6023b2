/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Socket addresses: of connect, bind, listen, and of what is sent to one. */
#ifndef SCMM_SOCKETS_BPF_H
#define SCMM_SOCKETS_BPF_H

#include "facts.bpf.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

/* Messages of one sendmmsg(2): UIO_MAXIOV, of which the kernel sends no more. */
#define MOST_MESSAGES 1024

/* Socket operations, as SOCKET_OPERATIONS in scmm_oci/tables/operations.py. */
enum socket_op {
	SOCKET_BIND = 1,
	SOCKET_CONNECT = 2,
	SOCKET_SENDTO = 3,
	SOCKET_LISTEN = 4,
};

/* The kernel's socket of a descriptor, or nothing. */
static __always_inline struct sock *sock_of(u64 fd)
{
	struct file *file = (void *)file_of(fd);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return socket ? BPF_CORE_READ(socket, sk) : 0;
}

/* Keep the address in s->address, of which `length` bytes count. */
__noinline int keep_address(struct scmm_thread *thread, u64 fd, u32 op, u32 length, long ret)
{
	struct sock *sock = sock_of(fd);
	struct scratch *s;
	u16 family;

	s = new_fact(0, 0);
	if (!s || !thread)
		return 0;
	if (!sock) {
		if (ret >= 0)
			count_loss(thread, SCMM_LOST_SOCKETS);
		return 0;
	}
	s->fact.info = BPF_CORE_READ(sock, sk_type) | (u32)BPF_CORE_READ(sock, sk_protocol) << 16;
	family = *(u16 *)s->address;
	if (length > sizeof(s->address))
		length = sizeof(s->address);
	/* What is padding, or differs by chance, is left out. */
	if (family == AF_INET && length > 8)
		length = 8;
	if (family == AF_INET6 && length > 24) {
		*(u32 *)&s->address[4] = 0;
		length = 24;
	}
	bpf_probe_read_kernel(s->data, sizeof(s->address), s->address);
	/* What follows a path's NUL is whatever lay in the caller's memory. */
	if (family == AF_UNIX && length > 2 && s->address[2]) {
		long path = bpf_probe_read_kernel_str(&s->data[2], 110, &s->address[2]);

		if (path > 0)
			length = path + 1;
	}
	s->length = length;
	s->fact.name_length = length;
	keep(thread, SCMM_SOCKET | op << 8, ret);
	if (family != AF_UNIX || length <= 2 || !s->address[2])
		return 0;
	/* It is a file, too. */
	s = new_fact(0, 0);
	if (!s)
		return 0;
	length = bpf_probe_read_kernel_str(s->data, 110, &s->address[2]);
	if ((int)length <= 1)
		return 0;
	s->length = length - 1;
	s->dirfd = AT_FDCWD;
	keep_name(thread, op == SOCKET_BIND ? OP_BIND : OP_CONNECT, ret);
	return 0;
}

/* Read an address out of the caller's memory, and keep it. */
static __always_inline int user_address(struct scmm_thread *thread, u64 fd, u64 where, u64 length_op, long ret)
{
	struct scratch *s = scratch();
	u64 length = (u32)length_op;

	/* No address: the socket is connected already. */
	if (!s || !where || !length)
		return 0;
	if (length > sizeof(s->address))
		length = sizeof(s->address);
	__builtin_memset(s->address, 0, sizeof(s->address));
	CHECKED(length);
	if (length > sizeof(s->address) || bpf_probe_read_user(s->address, length, (void *)where)) {
		if (ret != -EFAULT && thread)
			count_loss(thread, SCMM_LOST_SOCKETS);
		return 0;
	}
	return keep_address(thread, fd, length_op >> 32, length, ret);
}

/* struct msghdr begins with the address; 32-bit programs and x32 have the narrow one. */
__noinline int user_message(struct scmm_thread *thread, u64 fd, u64 where, u32 narrow, long ret)
{
	u64 head[2] = {};

	if (bpf_probe_read_user(head, narrow ? 8 : 16, (void *)where)) {
		if (ret != -EFAULT && thread)
			count_loss(thread, SCMM_LOST_SOCKETS);
		return 0;
	}
	if (narrow) {
		head[1] = head[0] >> 32;
		head[0] = (u32)head[0];
	}
	if ((s32)head[1] < 0)
		return 0; /* EINVAL */
	return user_address(thread, fd, head[0], (u32)head[1] | (u64)SOCKET_SENDTO << 32, ret);
}

struct messages {
	struct scmm_thread *thread;
	u64 fd;
	u64 where;
	u32 narrow;
};

static long next_message(u32 index, struct messages *messages)
{
	u64 size = messages->narrow ? 32 : 64; /* struct mmsghdr */

	if (index >= MOST_MESSAGES)
		return 1;
	user_message(messages->thread, messages->fd, messages->where + index * size, messages->narrow, 0);
	return 0;
}

__noinline int user_messages(struct scmm_thread *thread, u64 fd, u64 where, u32 narrow, long ret)
{
	struct messages messages = { .thread = thread, .fd = fd, .where = where, .narrow = narrow };
	u32 sent = ret;

	if (!thread)
		return 0;
	/* When none was sent, the first is to blame. */
	if (ret <= 0)
		return user_message(thread, fd, where, narrow, ret);
	if (sent > MOST_MESSAGES)
		count_loss(thread, SCMM_LOST_SOCKETS);
	bpf_loop(sent > MOST_MESSAGES ? MOST_MESSAGES : sent, next_message, &messages, 0);
	return 0;
}

/* A listening socket, under the address that it is bound to. */
__noinline int keep_listening(struct scmm_thread *thread, u64 fd, long ret)
{
	struct sock *sock = sock_of(fd);
	struct scratch *s = scratch();
	u64 length = 2;
	u16 family;

	if (!s || !sock) {
		if (ret >= 0 && thread)
			count_loss(thread, SCMM_LOST_SOCKETS);
		return 0;
	}
	family = BPF_CORE_READ(sock, __sk_common.skc_family);
	__builtin_memset(s->address, 0, sizeof(s->address));
	*(u16 *)s->address = family;
	if (family == AF_INET || family == AF_INET6) {
		u16 port = BPF_CORE_READ(sock, __sk_common.skc_num);

		*(u16 *)&s->address[2] = __builtin_bswap16(port);
		if (family == AF_INET) {
			*(u32 *)&s->address[4] = BPF_CORE_READ(sock, __sk_common.skc_rcv_saddr);
			length = 8;
		} else {
			if (bpf_core_field_exists(sock->__sk_common.skc_v6_rcv_saddr))
				bpf_core_read(&s->address[8], 16, &sock->__sk_common.skc_v6_rcv_saddr);
			length = 24;
		}
	} else if (family == AF_UNIX && bpf_core_type_exists(struct unix_sock)) {
		struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sock, addr);

		if (address) {
			length = BPF_CORE_READ(address, len);
			if (length > 110)
				length = 110;
			CHECKED(length);
			if (length <= 110)
				bpf_probe_read_kernel(s->address, length, &address->name[0]);
		}
	}
	/* Its name was a file when it was bound; listening asks for nothing more. */
	if (family == AF_UNIX) {
		s = new_fact(0, BPF_CORE_READ(sock, sk_type) | (u32)BPF_CORE_READ(sock, sk_protocol) << 16);
		if (!s)
			return 0;
		bpf_probe_read_kernel(s->data, sizeof(s->address), s->address);
		s->length = length;
		s->fact.name_length = length;
		keep(thread, SCMM_SOCKET | SOCKET_LISTEN << 8, ret);
		return 0;
	}
	return keep_address(thread, fd, SOCKET_LISTEN, length, ret);
}

#endif
