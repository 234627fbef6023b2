/* The entry: hand the initial stack over, aligned as the calling convention wants it. And threads: the kernel returns in
 * both with the same registers but for the stack, so that there is nothing for the new one to return to. */
	.text
	.globl _start
	.type _start, %function
_start:
#if defined(__x86_64__)
	xorl %ebp, %ebp
	movq %rsp, %rdi
	andq $-16, %rsp
	call launcher
#elif defined(__aarch64__)
	mov x29, #0
	mov x30, #0
	mov x0, sp
	and sp, x0, #-16
	bl launcher
#endif

	.globl sys_thread
	.type sys_thread, %function
sys_thread:
#if defined(__x86_64__)
	/* clone(flags, stack, parent_tid, child_tid, tls); the kernel keeps all registers but rax, rcx and r11. */
	movq %rdx, %r9
	xorl %edx, %edx
	xorl %r10d, %r10d
	xorl %r8d, %r8d
	movl $56, %eax
	syscall
	testq %rax, %rax
	jnz 1f
	xorl %ebp, %ebp
	andq $-16, %rsp
	call *%r9
1:	ret
#elif defined(__aarch64__)
	/* clone(flags, stack, parent_tid, tls, child_tid); the kernel keeps all registers but x0. */
	mov x9, x2
	mov x2, #0
	mov x3, #0
	mov x4, #0
	mov x8, #220
	svc #0
	cbnz x0, 1f
	mov x29, #0
	mov x30, #0
	blr x9
1:	ret
#endif
	.section .note.GNU-stack,"",%progbits
