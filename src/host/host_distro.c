/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_module.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "host_file.h"

#define FIELD_MAX 64

/* The value of "KEY=VALUE" or KEY="VALUE" in os-release(5); "" when there is none. */
static void read_field(const char *text, const char *key, char ret_value[FIELD_MAX])
{
	size_t key_len = strlen(key);

	ret_value[0] = '\0';
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");

		if (!strncmp(line, key, key_len) && line[key_len] == '=') {
			const char *value = line + key_len + 1;
			size_t skip = strspn(value, "\"'");

			value += skip;
			snprintf(ret_value, FIELD_MAX, "%.*s", (int)strcspn(value, "\"'\n"), value);
			return;
		}
		line += len;
		line += *line == '\n';
	}
}

/* As dpkg calls this machine. */
static const char *debian_arch(void)
{
	static struct utsname uts;

	if (uname(&uts) < 0 || !strcmp(uts.machine, "x86_64"))
		return "amd64";
	return !strcmp(uts.machine, "aarch64") ? "arm64" : uts.machine;
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += len)
		if ((p == list || p[-1] == ' ') && (!p[len] || p[len] == ' '))
			return true;
	return false;
}

const char *host_kernel_advice(const char *root, const char *release, char *buf, size_t len)
{
	char path[PATH_MAX], text[2048] = "", id[FIELD_MAX], like[FIELD_MAX], version[FIELD_MAX];

	if (host_path(path, sizeof(path), "%s/etc/os-release", root) == 0 &&
	    host_read(path, text, sizeof(text)) < 0)
		text[0] = '\0';
	read_field(text, "ID", id);
	read_field(text, "ID_LIKE", like);
	read_field(text, "VERSION_ID", version);
	if (!strcmp(id, "debian") && atoi(version) == 12)
		snprintf(buf, len, "install the package linux-image-6.12-%s and reboot",
			 debian_arch());
	else if (!strcmp(id, "debian"))
		snprintf(buf, len, "install the package linux-image-%s and reboot", debian_arch());
	else if (!strcmp(id, "ubuntu") || has_word(like, "ubuntu"))
		snprintf(buf, len, "install the package linux-modules-extra-%s", release);
	else if (!strcmp(id, "fedora"))
		snprintf(buf, len, "install the package kernel-modules-%s", release);
	else
		snprintf(buf, len,
			 "boot a kernel that has it (6.1 or newer with CONFIG_VDPA_USER and "
			 "CONFIG_VIRTIO_VDPA)");
	return buf;
}
