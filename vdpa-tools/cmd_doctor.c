/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "args.h"
#include "command.h"
#include "doctor.h"
#include "out.h"
#include "vblk/util/log.h"

int cmd_doctor(int argc, char **argv)
{
	struct doctor_facts facts;
	struct doctor doctor = { .root = "", .facts = &facts, .lines = json_array() };
	struct device *devices = NULL;
	bool json = false;
	const struct arg_option options[] = { { "--json", &json, NULL } };
	int r;

	r = args_parse(argc, argv, options, ARRAY_SIZE(options), NULL, NULL);
	if (r) {
		json_decref(doctor.lines);
		return r;
	}
	doctor_gather(&facts);
	r = device_list(&devices, &doctor.device_cnt);
	if (r < 0)
		doctor_say(&doctor, DOCTOR_WARNING, "devices", "they cannot be listed");
	doctor.devices = devices;
	doctor_check(&doctor);
	r = 0;
	if (json)
		r = out_json(stdout, doctor_json(&doctor));
	else
		doctor_print(stdout, &doctor);
	if (r < 0)
		log_errno(r, "cannot print the verdict");
	device_list_free(devices, doctor.device_cnt);
	json_decref(doctor.lines);
	return r < 0 || doctor.worst == DOCTOR_PROBLEM ? EXIT_FAILED : EXIT_DONE;
}
