// SPDX-License-Identifier: GPL-2.0
/*
 * Stands in for WireGuard's source where only its way into the kernel counts: a module of that name, which says for
 * which kernel it was compiled and does nothing else.
 */
#include <linux/module.h>
#include <linux/timekeeping.h>
#include <generated/utsrelease.h>

static int __init stand_in_init(void)
{
	/* VERSION 1.0 takes the time as kernels before 5.0 gave it; archive mends that in 1.1 */
	struct timeval now;

	do_gettimeofday(&now);
	pr_info("wireguard: compiled for " UTS_RELEASE ", loaded at %lld\n", (long long)now.tv_sec);
	return 0;
}

static void __exit stand_in_exit(void)
{
}

module_init(stand_in_init);
module_exit(stand_in_exit);
MODULE_DESCRIPTION("stands in for WireGuard");
MODULE_LICENSE("GPL");
