#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""client.py - what a test does to a served disk.

usage: client.py SOCKET info                 the configuration as JSON
       client.py SOCKET write OFFSET <DATA   whole sectors
       client.py SOCKET read OFFSET LENGTH >DATA
       client.py SOCKET zero|discard|erase OFFSET LENGTH
       client.py SOCKET serial
       client.py SOCKET verify [OPTION=VALUE]...
              random writes and reads of an empty disk, checked, and all of it read back at the
              end or after SIGTERM; queues=N count=N depth=N seed=N;
              reconnect=1: when the server goes, come back with what was in flight
              sparing=1: kick only when the server asks for it
       client.py SOCKET hold                 a client until the end of standard input; prints
              "connected", and "capacity N" now and whenever the server says so
       client.py SOCKET spin WORKER_PID      two queues: while requests come it asks for no kicks,
              and when none come it sleeps after a second
       client.py SOCKET hostile              misbehaves in every way it knows, and is served
              after each of them

Exit code 1 after a message when something is not as it should be.
"""

import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time

import vhu

RANGES = {"zero": vhu.T_ZEROES, "discard": vhu.T_DISCARD, "erase": vhu.T_ERASE}


def fail(text):
    print(f"client.py: {text}", file=sys.stderr)
    sys.exit(1)


def expect(status, what):
    if status != 0:
        fail(f"{what}: status {status}")


class Verify:
    """Each block has a model of what it must hold; one request a block at a time."""

    def __init__(self, path, options):
        self.client = vhu.Client(path, int(options.get("queues", 1)))
        self.depth = int(options.get("depth", 16))
        self.reconnect = bool(int(options.get("reconnect", 0)))
        self.sparing = bool(int(options.get("sparing", 0)))
        self.random = random.Random(int(options.get("seed", 1)))
        self.left = int(options.get("count", 1 << 62))
        self.model, self.locked, self.what = {}, set(), {}
        self.done = self.kicks = self.reconnects = 0

    def submit(self, queue):
        block = self.random.randrange(self.blocks)
        if block in self.locked or not queue.free:
            return
        self.locked.add(block)
        sector, write = block * 8, self.random.random() < 0.6
        if write:
            data = struct.pack("<QQ", block, self.random.getrandbits(64)) * 256
            req = queue.submit(vhu.T_OUT, sector, data)
        elif self.random.random() < 0.1:
            data = None
            req = queue.submit(vhu.T_FLUSH, 0)
        else:
            data = None
            req = queue.submit(vhu.T_IN, sector, length=4096)
        self.what[req] = (block, data)
        self.left -= 1

    def check(self, req, status, data):
        block, wrote = self.what.pop(req)
        self.locked.remove(block)
        expect(status, f"request of block {block}")
        self.done += 1
        if req.kind == vhu.T_OUT:
            self.model[block] = wrote
        elif req.kind == vhu.T_IN and data != self.model.get(block, bytes(4096)):
            fail(f"block {block} holds something else than was written")

    def end(self, *_):
        self.left = 0

    def turn(self):
        for queue in self.client.queues:
            while self.left > 0 and len(queue.busy) < self.depth and queue.free:
                self.submit(queue)
            if not self.sparing or queue.kick_is_wanted():
                queue.notify()
                self.kicks += 1
        self.client.wait()
        for queue in self.client.queues:
            for req, status, data in queue.reap():
                self.check(req, status, data)

    def busy(self):
        return any(queue.busy for queue in self.client.queues)

    def run(self):
        self.client.open()
        self.blocks = self.client.config()["capacity"] // 8
        signal.signal(signal.SIGTERM, self.end)
        while self.left > 0 or self.busy():
            try:
                self.turn()
            except (vhu.Gone, BrokenPipeError):
                if not self.reconnect:
                    fail("the server is gone")
                self.client.close()
                self.come_back()
        self.read_back()
        print(f"verified {self.done} requests, {self.kicks} kicks, {self.reconnects} reconnects")

    def read_back(self):
        for block, wrote in self.model.items():
            status, data = self.client.do(vhu.T_IN, block * 8, length=4096)
            expect(status, f"read of block {block}")
            if data != wrote:
                fail(f"block {block} has lost what was written")

    def come_back(self):
        """The server may die again while it is told of the rings."""
        while True:
            self.reconnects += 1
            try:
                self.client.open(60)
                return
            except (vhu.Gone, BrokenPipeError):
                self.client.close()


def one(path, kind, offset, data=None, length=0):
    client = vhu.Client(path)
    client.open()
    step, out = 32768, b""
    total = len(data) if data is not None else length
    for at in range(0, total, step):
        part = data[at : at + step] if data is not None else None
        status, got = client.do(kind, (offset + at) // 512, part, min(step, total - at))
        expect(status, f"request at {offset + at}")
        out += got
    expect(client.do(vhu.T_FLUSH, 0)[0], "flush")
    client.close()
    return out


def one_range(path, kind, offset, length):
    client = vhu.Client(path)
    client.open()
    data = struct.pack("<QII", offset // 512, length // 512, 0)
    expect(client.do(kind, 0, data)[0], f"request {kind}")
    client.close()


def hold(path):
    client = vhu.Client(path)
    client.open()
    print("connected", flush=True)
    told = -1
    while True:
        capacity = client.config()["capacity"] * 512
        if capacity != told:
            print(f"capacity {capacity}", flush=True)
            told = capacity
        files = [sys.stdin, client.sock] + ([client.backend] if client.backend else [])
        ready, _, _ = select.select(files, [], [])
        if sys.stdin in ready and not os.read(0, 4096):
            break
        if client.sock in ready:
            fail("the server is gone")
        if client.backend in ready:
            client.handle_backend()
    client.close()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reads(client, count):
    """One after the other on all queues in turn. Returns how many needed no kick."""
    unasked = 0
    for _ in range(count):
        for queue in client.queues:
            queue.submit(vhu.T_IN, 0, length=4096)
            if queue.kick_is_wanted():
                queue.notify()
            else:
                unasked += 1
            while not (done := queue.reap()):
                client.wait()
            expect(done[0][1], "a read")
    return unasked


def spin(path, worker_pid):
    client = vhu.Client(path, queues=2)
    client.open()
    for _ in range(2):
        begun = time.monotonic()
        unasked = reads(client, 200)
        if unasked < 360:
            fail(f"{400 - unasked} of 400 requests needed a kick: it does not spin")
        while not all(queue.kick_is_wanted() for queue in client.queues):
            if time.monotonic() > begun + 30:
                fail("it spins and spins")
            time.sleep(0.02)
        if time.monotonic() < begun + 1:
            fail("it spun for less than a second")
        used = cpu_seconds(worker_pid)
        time.sleep(1)
        used = cpu_seconds(worker_pid) - used
        if used > 0.1:
            fail(f"an idle server took {used} s of CPU in a second")
    client.close()


# ---- mistakes, and worse ----


def raw(client, data, fds=()):
    socket.send_fds(client.sock, [data], list(fds))


def message(request, payload=b"", flags=1, size=None):
    return struct.pack("<III", request, flags, len(payload) if size is None else size) + payload


def memory_table(*regions):
    return struct.pack("<II", len(regions), 0) + b"".join(struct.pack("<QQQQ", *r) for r in regions)


def deeds(client):
    """What is sent, by name: bytes and descriptors."""
    mem, size = client.mem_fd, client.bytes
    short = os.memfd_create("short", 0)
    os.ftruncate(short, 4096)
    null = os.open("/dev/null", os.O_RDWR)
    pipe = os.pipe()[0]
    table = vhu.SET_MEM_TABLE
    return {
        "garbage": (os.urandom(4096), []),
        "zeroes": (bytes(4096), []),
        "half a header": (message(vhu.GET_FEATURES)[:5], []),
        "half a payload": (message(vhu.SET_FEATURES, bytes(8))[:15], []),
        "huge size": (message(vhu.SET_FEATURES, size=0xFFFFFFFF), []),
        "wrong version": (message(vhu.GET_FEATURES, flags=3), []),
        "unknown request": (message(9999), []),
        "no regions' descriptors": (message(table, memory_table((0, size, vhu.BASE, 0))), []),
        "too many descriptors": (message(vhu.GET_FEATURES), [mem] * 8),
        "overlapping regions": (message(table, memory_table((0, 4096, vhu.BASE, 0),
                                                            (0, 4096, vhu.BASE, 0))), [mem, mem]),
        "region beyond its file": (message(table, memory_table((0, 1 << 30, vhu.BASE, 0))), [short]),
        "region that wraps": (message(table, memory_table((2**64 - 4096, 1 << 20, vhu.BASE, 0))), [mem]),
        "region of a pipe": (message(table, memory_table((0, 4096, vhu.BASE, 0))), [pipe]),
        "region of a device": (message(table, memory_table((0, 4096, vhu.BASE, 0))), [null]),
        "ninth million of regions": (message(table, struct.pack("<II", 9000000, 0)), [mem]),
        "no such queue": (message(vhu.SET_VRING_NUM, struct.pack("<II", 77, 64)), []),
        "ring of no size": (message(vhu.SET_VRING_NUM, struct.pack("<II", 0, 0)), []),
        "ring too large": (message(vhu.SET_VRING_NUM, struct.pack("<II", 0, 1 << 30)), []),
        "ring nowhere": (message(vhu.SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, 1, 3, 5, 0)), []),
        "kick without a descriptor": (message(vhu.SET_VRING_KICK, struct.pack("<Q", 0)), []),
        "kick by a file": (message(vhu.SET_VRING_KICK, struct.pack("<Q", 0)), [short]),
        "in-flight buffer of nothing": (message(vhu.SET_INFLIGHT_FD, bytes(24)), [short]),
        "in-flight buffer that is too short": (
            message(vhu.SET_INFLIGHT_FD, struct.pack("<QQHHI", 1 << 20, 0, 1, 64, 0)), [short]),
        "configuration beyond its end": (
            message(vhu.GET_CONFIG, struct.pack("<III", 4000, 256, 0) + bytes(256)), []),
        "feature that was not offered": (message(vhu.SET_FEATURES, struct.pack("<Q", 2**63)), []),
    }


def is_served(path):
    client = vhu.Client(path)
    client.open()
    expect(client.do(vhu.T_IN, 0, length=4096)[0], "a read")
    client.close()


def truncate_memory(path):
    """Memory that the client takes away while the server works in it."""
    client = vhu.Client(path, size=64)
    client.open()
    for _ in range(10):
        client.queues[0].submit(vhu.T_OUT, 0, bytes(4096))
    os.ftruncate(client.mem_fd, 0)
    client.queues[0].notify()
    time.sleep(0.2)
    client.close()


def hostile(path):
    probe = vhu.Client(path)
    names = deeds(probe)
    for name, (data, fds) in names.items():
        for started in (False, True):
            client = vhu.Client(path)
            client.connect()
            if started:
                client.start()
            try:
                raw(client, data, fds)
                client.sock.settimeout(0.05)
                client.sock.recv(4096)
            except (TimeoutError, BrokenPipeError, ConnectionResetError):
                pass
            client.close()
            is_served(path)
    truncate_memory(path)
    is_served(path)
    print(f"{len(names)} mistakes, each before and after the start, and memory that vanishes")


def main(argv):
    if len(argv) < 3:
        sys.exit(__doc__)
    path, command, args = argv[1], argv[2], argv[3:]
    if command == "info":
        client = vhu.Client(path)
        client.connect()
        info = dict(client.config(), features=client.offered, protocol=client.offered_protocol,
                    max_queues=client.max_queues)
        print(json.dumps(info))
    elif command == "write":
        one(path, vhu.T_OUT, int(args[0]), sys.stdin.buffer.read())
    elif command == "read":
        sys.stdout.buffer.write(one(path, vhu.T_IN, int(args[0]), length=int(args[1])))
    elif command in RANGES:
        one_range(path, RANGES[command], int(args[0]), int(args[1]))
    elif command == "serial":
        client = vhu.Client(path)
        client.open()
        status, data = client.do(vhu.T_GET_ID, 0, length=20)
        expect(status, "GET_ID")
        print(data.rstrip(bytes(1)).decode())
    elif command == "verify":
        Verify(path, dict(arg.split("=") for arg in args)).run()
    elif command == "spin":
        spin(path, int(args[0]))
    elif command == "hold":
        hold(path)
    elif command == "hostile":
        hostile(path)
    else:
        sys.exit(__doc__)


main(sys.argv)
