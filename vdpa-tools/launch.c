/* SPDX-License-Identifier: MIT */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/log.h"

#define EXIT_EXEC_FAILED 127
/* How long a daemon that reported failure may take to end before we leave without it: it may
 * hang in the kernel, and its message has been seen. */
#define FAILED_GRACE_MS 2000

/**
 * struct run - one start
 * @interrupted: a signal was passed on; only the end counts now
 * @ended: @wait_status is valid
 */
struct run {
	pid_t pid;
	int notify_fd;
	int signal_fd;
	bool interrupted;
	bool ended;
	int wait_status;
};

static bool is_program(const char *path)
{
	return access(path, X_OK) == 0;
}

int launch_find_daemon(char ret_path[PATH_MAX])
{
	const char *env = secure_getenv("VBLKD");
	char self[PATH_MAX], *slash;
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - sizeof("vblkd"));
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash) {
		strcpy(slash + 1, "vblkd");
		if (is_program(self)) {
			strcpy(ret_path, self);
			return 0;
		}
	}
	if (!env || !is_program(env))
		env = VBLKD_SBIN_DIR "/vblkd";
	if (!is_program(env) || strlen(env) >= PATH_MAX)
		return -ENOENT;
	strcpy(ret_path, env);
	return 0;
}

static bool line_is(const char *line, size_t len, const char *want)
{
	return len == strlen(want) && !strncmp(line, want, len);
}

void launch_notice_parse(struct launch_notice *notice, const char *text)
{
	static const char node_key[] = "X_VBLKD_NODE=";
	const size_t key_len = sizeof(node_key) - 1;

	while (*text) {
		size_t len = strcspn(text, "\n");

		if (line_is(text, len, "READY=1"))
			notice->ready = true;
		else if (line_is(text, len, "X_VBLKD_FAILED=1"))
			notice->failed = true;
		else if (len > key_len && !strncmp(text, node_key, key_len) &&
			 len - key_len < sizeof(notice->node))
			snprintf(notice->node, sizeof(notice->node), "%.*s", (int)(len - key_len),
				 text + key_len);
		text += len;
		text += *text == '\n';
	}
}

/* A socket without a name in the filesystem: nothing to clean up. The kernel picks the name,
 * and passes on who sends. */
static int open_notify(int *ret_fd, char *ret_env, size_t env_len)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa_family_t);
	int on = 1;

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, len) < 0)
		return -errno;
	len = sizeof(addr);
	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	snprintf(ret_env, env_len, "@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1),
		 addr.sun_path + 1);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Anyone on the host may send to the socket; only the process that we started is heard, which
 * may have changed its user. The kernel vouches for the number of the sender. */
static bool is_from(struct msghdr *msg, pid_t pid)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	struct ucred cred;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_CREDENTIALS)
		return false;
	memcpy(&cred, CMSG_DATA(cmsg), sizeof(cred));
	return cred.pid == pid;
}

static void read_notices(int fd, pid_t pid, struct launch_notice *notice)
{
	char text[4096];
	/* No room for descriptors: the kernel closes those that somebody sends along. */
	union {
		char buf[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;

	for (;;) {
		struct iovec iov = { text, sizeof(text) - 1 };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.buf,
				      .msg_controllen = sizeof(control.buf) };
		ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0)
			return;
		text[n] = '\0';
		if (is_from(&msg, pid))
			launch_notice_parse(notice, text);
	}
}

/* In the child. */
static void VBLK_NORETURN become_daemon(const char *path, char **argv, const char *notify,
					const sigset_t *signals)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Our stdout carries the node's path, and whoever reads it waits for its end; stderr is
	 * kept until the daemon is ready, then it lets go of it itself. */
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
	    setsid() < 0 || setenv("NOTIFY_SOCKET", notify, 1) < 0 ||
	    sigprocmask(SIG_SETMASK, signals, NULL) < 0) {
		log_errno(-errno, "cannot start vblkd");
		_exit(EXIT_EXEC_FAILED);
	}
	execv(path, argv);
	log_errno(-errno, "cannot run %s", path);
	_exit(EXIT_EXEC_FAILED);
}

static void read_signals(struct run *run)
{
	struct signalfd_siginfo si;

	while (read(run->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			continue;
		run->interrupted = true;
		(void)kill(run->pid, SIGTERM);
	}
	if (waitpid(run->pid, &run->wait_status, WNOHANG) == run->pid)
		run->ended = true;
}

static void wait_for_daemon(struct run *run, struct launch_notice *notice)
{
	struct pollfd pfds[] = { { .fd = run->notify_fd, .events = POLLIN },
				 { .fd = run->signal_fd, .events = POLLIN } };

	while (!run->ended && (run->interrupted || !notice->ready)) {
		int r = poll(pfds, ARRAY_SIZE(pfds), notice->failed ? FAILED_GRACE_MS : -1);

		if (r == 0)
			return;
		read_signals(run);
		/* After the look at the child: what it said before its end is not missed. */
		read_notices(run->notify_fd, run->pid, notice);
	}
}

static int exit_code(const struct run *run, const struct launch_notice *notice)
{
	if (run->interrupted) {
		log_error("the start was interrupted%s",
			  run->ended ? "" : "; vblkd has not ended yet");
		return EXIT_FAILED;
	}
	if (!run->ended)
		return notice->ready ? EXIT_DONE : EXIT_FAILED;
	if (WIFSIGNALED(run->wait_status)) {
		log_error("vblkd died of signal %d (%s)", WTERMSIG(run->wait_status),
			  strsignal(WTERMSIG(run->wait_status)));
		return EXIT_FAILED;
	}
	if (WEXITSTATUS(run->wait_status) == EXIT_USAGE)
		return EXIT_USAGE;
	if (WEXITSTATUS(run->wait_status) == 0)
		log_error("vblkd ended before it was ready");
	return EXIT_FAILED;
}

int launch(const char *path, char **argv, struct launch_notice *ret_notice)
{
	_cleanup_close_ int notify_fd = -1, signal_fd = -1;
	struct launch_notice notice = { .ready = false };
	struct run run = { .pid = -1 };
	char notify[128];
	sigset_t signals, old;
	int r;

	r = open_notify(&notify_fd, notify, sizeof(notify));
	if (r < 0) {
		log_errno(r, "cannot make a socket");
		return EXIT_FAILED;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &signals, &old);
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd >= 0)
		run.pid = fork();
	if (run.pid < 0) {
		log_errno(-errno, "cannot start vblkd");
		return EXIT_FAILED;
	}
	if (run.pid == 0)
		become_daemon(path, argv, notify, &old);
	run.notify_fd = notify_fd;
	run.signal_fd = signal_fd;
	wait_for_daemon(&run, &notice);
	*ret_notice = notice;
	return exit_code(&run, &notice);
}
