/* SPDX-License-Identifier: MIT */
/* What only some processors have. */
#ifndef VBLK_UTIL_CPU_H
#define VBLK_UTIL_CPU_H

/* Between two looks of a loop that spins: spares power, and the other thread of a core. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

#endif
