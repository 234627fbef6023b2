/* The entry: hand the initial stack over, aligned as the calling convention wants it. */
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
	.section .note.GNU-stack,"",%progbits
