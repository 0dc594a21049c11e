/* SPDX-License-Identifier: MIT */
/* org.varlink.service, which every Varlink server has. */
#include "varlink_priv.h"

#include <string.h>

#define URL "man:vblkd(8)"

static const char service_description[] =
	"# What every Varlink service can say about itself.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (\n"
	"  vendor: string,\n"
	"  product: string,\n"
	"  version: string,\n"
	"  url: string,\n"
	"  interfaces: []string\n"
	")\n"
	"\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n"
	"error PermissionDenied ()\n"
	"error ExpectedMore ()\n";

/* The name behind "interface " at the start of a line. */
static json_t *interface_name(const char *description)
{
	static const char keyword[] = "interface ";
	const char *p = description;

	while (p && strncmp(p, keyword, sizeof(keyword) - 1) != 0) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (!p)
		return json_string("");
	p += sizeof(keyword) - 1;
	return json_stringn(p, strcspn(p, " \t\r\n"));
}

static void get_info(struct varlink_conn *conn, const char *description)
{
	varlink_reply(conn, json_pack("{s:s, s:s, s:s, s:s, s:[s, o]}", "vendor", "vblkd",
				      "product", "vblkd", "version", VBLK_VERSION, "url", URL,
				      "interfaces", VARLINK_SERVICE, interface_name(description)));
}

static void get_description(struct varlink_conn *conn, json_t *parameters, const char *description)
{
	const char *wanted = json_string_value(json_object_get(parameters, "interface"));
	json_t *own = interface_name(description);
	const char *text = NULL;

	if (wanted && !strcmp(wanted, VARLINK_SERVICE))
		text = service_description;
	else if (wanted && own && !strcmp(wanted, json_string_value(own)))
		text = description;
	json_decref(own);

	if (!wanted)
		varlink_error(conn, VARLINK_SERVICE ".InvalidParameter",
			      json_pack("{s:s}", "parameter", "interface"));
	else if (!text)
		varlink_error(conn, VARLINK_SERVICE ".InterfaceNotFound",
			      json_pack("{s:s}", "interface", wanted));
	else
		varlink_reply(conn, json_pack("{s:s}", "description", text));
}

void varlink_service_call(struct varlink_conn *conn, const char *method, json_t *parameters,
			  const char *description, bool known_interface)
{
	size_t len = varlink_interface_len(method);
	bool service = len == strlen(VARLINK_SERVICE) && !strncmp(method, VARLINK_SERVICE, len);

	if (!strcmp(method, VARLINK_SERVICE ".GetInfo"))
		get_info(conn, description);
	else if (!strcmp(method, VARLINK_SERVICE ".GetInterfaceDescription"))
		get_description(conn, parameters, description);
	else if (len && !service && !known_interface)
		varlink_error(conn, VARLINK_SERVICE ".InterfaceNotFound",
			      json_pack("{s:s%}", "interface", method, len));
	else
		varlink_error(conn, VARLINK_SERVICE ".MethodNotFound",
			      json_pack("{s:s}", "method", method));
}
