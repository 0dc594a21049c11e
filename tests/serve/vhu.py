# SPDX-License-Identifier: MIT
"""vhu.py - a vhost-user-blk client for tests, independent of our own: the front-end's side of
the protocol and a driver of split rings. It keeps what it had in flight over a lost connection.

What one side changes while the other looks is read and written through Client.words, which is one
access of the CPU: struct stores zeroes first, and then byte after byte.

Source: QEMU docs/interop/vhost-user.rst; virtio 1.2 s2.7, s5.2
"""

import mmap
import os
import select
import socket
import struct
import threading
import time

GET_FEATURES, SET_FEATURES, SET_OWNER = 1, 2, 3
SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE = 5, 8, 9, 10
GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 11, 12, 13
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM = 15, 16, 17
SET_VRING_ENABLE, SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG = 18, 21, 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD = 31, 32
BACKEND_CONFIG_CHANGE = 2

P_MQ, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG, P_INFLIGHT = 0, 3, 5, 9, 12
F_PROTOCOL, F_VERSION_1, F_FLUSH, F_RO, F_MQ, F_CONFIG_WCE, F_ERASE = 30, 32, 9, 5, 12, 11, 16

T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_ZEROES, T_ERASE = 0, 1, 4, 8, 11, 13, 14

SECTOR = 512
BASE = 0x7F0000000000  # how the server is told our addresses
SLOT_BYTES = 64 * 1024
RING_BYTES = 64 * 1024


class Gone(Exception):
    """The server closed the connection."""


class Refused(Exception):
    """It said no."""


class Request:
    def __init__(self, slot, kind, sector, length):
        self.slot, self.kind, self.sector, self.length = slot, kind, sector, length


class Queue:
    """One ring. The slot of a request is its descriptors (three) and its memory."""

    def __init__(self, client, idx, size):
        self.client, self.idx, self.size = client, idx, size
        self.ring = idx * RING_BYTES
        self.data = client.data_start + idx * (size // 3) * (SLOT_BYTES + SECTOR)
        self.avail_idx = self.used_idx = 0
        self.busy = {}
        self.free = list(range(size // 3))
        self.kick, self.call = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.barrier = threading.Lock()  # to take it orders our stores before our loads

    def desc(self):
        return self.ring

    def avail(self):
        return self.ring + 16 * self.size

    def used(self):
        return self.ring + RING_BYTES // 2

    def at(self, slot):
        """Data of the slot; its header and status are behind."""
        return self.data + slot * (SLOT_BYTES + SECTOR)

    def submit(self, kind, sector, data=None, length=0):
        mem, slot = self.client.mem, self.free.pop()
        length = len(data) if data is not None else length
        at, head = self.at(slot), 3 * slot
        if data is not None:
            mem[at : at + length] = data
        struct.pack_into("<IIQ", mem, at + SLOT_BYTES, kind, 0, sector)
        mem[at + SLOT_BYTES + 16] = 0xFF
        writes = kind in (T_IN, T_GET_ID)
        chain = [(at + SLOT_BYTES, 16, 0)]
        if length:
            chain.append((at, length, 2 if writes else 0))
        chain.append((at + SLOT_BYTES + 16, 1, 2))
        for i, (addr, size, flags) in enumerate(chain):
            last = i + 1 == len(chain)
            struct.pack_into("<QIHH", mem, self.desc() + 16 * (head + i), addr, size,
                             flags | (0 if last else 1), 0 if last else head + i + 1)
        struct.pack_into("<H", mem, self.avail() + 4 + 2 * (self.avail_idx % self.size), head)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        self.client.words[self.avail() // 2 + 1] = self.avail_idx
        req = Request(slot, kind, sector, length)
        self.busy[head] = req
        return req

    def notify(self):
        os.eventfd_write(self.kick, 1)

    def kick_is_wanted(self):
        """The server asks for it, having seen what is in the ring or going to look (s2.7.10)."""
        with self.barrier:
            return not self.client.words[self.used() // 2] & 1

    def reap(self):
        """Requests that have ended: (request, status, data)."""
        mem, done = self.client.mem, []
        now = self.client.words[self.used() // 2 + 1]
        while self.used_idx != now:
            head, _ = struct.unpack_from("<II", mem, self.used() + 4 + 8 * (self.used_idx % self.size))
            req = self.busy.pop(head)  # an unknown one, or one that ended twice: KeyError
            at = self.at(req.slot)
            done.append((req, mem[at + SLOT_BYTES + 16], bytes(mem[at : at + req.length])))
            self.free.append(req.slot)
            self.used_idx = (self.used_idx + 1) & 0xFFFF
        return done


class Client:
    def __init__(self, path, queues=1, size=64, wanted=None):
        self.path, self.queue_cnt, self.size, self.wanted = path, queues, size, wanted
        self.data_start = queues * RING_BYTES
        total = self.data_start + queues * (size // 3) * (SLOT_BYTES + SECTOR)
        self.bytes = (total + 4095) // 4096 * 4096
        self.mem_fd = os.memfd_create("client", 0)
        os.ftruncate(self.mem_fd, self.bytes)
        self.mem = mmap.mmap(self.mem_fd, self.bytes)
        self.words = memoryview(self.mem).cast("H")
        self.queues = [Queue(self, i, size) for i in range(queues)]
        self.sock = self.backend = None
        self.inflight = None  # (payload, fd)
        self.config_changes = 0

    # ---- messages ----

    def send(self, request, payload=b"", fds=(), need_reply=False):
        flags = 1 | (8 if need_reply else 0)
        data = struct.pack("<III", request, flags, len(payload)) + payload
        try:
            socket.send_fds(self.sock, [data], list(fds))
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise Gone from exc

    def receive(self):
        """Payload and descriptors of a reply."""
        head, fds = self.exactly(12)
        _, _, size = struct.unpack("<III", head)
        payload, more = self.exactly(size)
        return payload, fds + more

    def exactly(self, count):
        data, fds = b"", []
        while len(data) < count:
            try:
                part, new, _, _ = socket.recv_fds(self.sock, count - len(data), 8)
            except ConnectionResetError as exc:
                raise Gone from exc
            if not part:
                raise Gone
            data, fds = data + part, fds + new
        return data, fds

    def ask(self, request, payload=b"", fds=()):
        self.send(request, payload, fds)
        return self.receive()

    def ask_u64(self, request, payload=b""):
        return struct.unpack("<Q", self.ask(request, payload)[0])[0]

    def tell(self, request, payload=b"", fds=()):
        """With an acknowledgement where the server gives one."""
        acked = bool(self.protocol & 1 << P_REPLY_ACK)
        self.send(request, payload, fds, need_reply=acked)
        if acked and struct.unpack("<Q", self.receive()[0])[0]:
            raise Refused(request)

    # ---- connection ----

    def connect(self, timeout=10.0):
        """Until the server is there; others may be before us."""
        end = time.monotonic() + timeout
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            try:
                self.sock.connect(self.path)
                self.negotiate()
                return
            except (FileNotFoundError, ConnectionRefusedError, Gone):
                self.sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def negotiate(self):
        self.protocol = 0
        self.offered = self.ask_u64(GET_FEATURES)
        self.offered_protocol = self.ask_u64(GET_PROTOCOL_FEATURES)
        wanted = 1 << P_MQ | 1 << P_REPLY_ACK | 1 << P_BACKEND_REQ | 1 << P_CONFIG | 1 << P_INFLIGHT
        self.protocol = self.offered_protocol & wanted
        self.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", self.protocol))
        self.send(SET_OWNER)
        self.max_queues = self.ask_u64(GET_QUEUE_NUM)
        bits = [F_PROTOCOL, F_VERSION_1, F_FLUSH, F_RO, F_MQ, F_CONFIG_WCE, F_ERASE, 13, 14, 6, 10]
        self.features = self.offered & sum(1 << b for b in (self.wanted or bits))
        if self.protocol & 1 << P_BACKEND_REQ:
            ours, theirs = socket.socketpair()
            self.tell(SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
            theirs.close()
            self.backend = ours

    def config(self):
        """The configuration space as a dictionary."""
        payload, _ = self.ask(GET_CONFIG, struct.pack("<III", 0, 60, 0) + bytes(60))
        raw = payload[12:]
        if len(raw) < 60:
            raise Refused("GET_CONFIG")
        names = ("capacity", "size_max", "seg_max", "cylinders", "heads", "sectors", "blk_size",
                 "physical_block_exp", "alignment_offset", "min_io_size", "opt_io_size", "wce",
                 "unused", "num_queues", "max_discard_sectors", "max_discard_seg",
                 "discard_sector_alignment", "max_write_zeroes_sectors", "max_write_zeroes_seg",
                 "write_zeroes_may_unmap")
        return dict(zip(names, struct.unpack_from("<QIIHBBIBBHIBBHIIIIIB", raw)))

    def start(self):
        """Memory, in-flight buffer, rings: new ones, or those of before."""
        self.tell(SET_FEATURES, struct.pack("<Q", self.features))
        if self.protocol & 1 << P_INFLIGHT:
            if not self.inflight:
                want = struct.pack("<QQHHI", 0, 0, self.queue_cnt, self.size, 0)
                payload, fds = self.ask(GET_INFLIGHT_FD, want)
                self.inflight = (payload, fds[0])
            self.tell(SET_INFLIGHT_FD, self.inflight[0], [self.inflight[1]])
        region = struct.pack("<IIQQQQ", 1, 0, 0, self.bytes, BASE, 0)
        self.tell(SET_MEM_TABLE, region, [self.mem_fd])
        for queue in self.queues:
            self.start_queue(queue)

    def start_queue(self, queue):
        idx = queue.idx
        used_idx = self.words[queue.used() // 2 + 1]
        self.tell(SET_VRING_NUM, struct.pack("<II", idx, queue.size))
        self.tell(SET_VRING_BASE, struct.pack("<II", idx, used_idx))
        self.tell(SET_VRING_ADDR, struct.pack("<IIQQQQ", idx, 0, BASE + queue.desc(),
                                              BASE + queue.used(), BASE + queue.avail(), 0))
        self.tell(SET_VRING_CALL, struct.pack("<Q", idx), [queue.call])
        self.tell(SET_VRING_KICK, struct.pack("<Q", idx), [queue.kick])
        self.tell(SET_VRING_ENABLE, struct.pack("<II", idx, 1))
        queue.notify()

    def open(self, timeout=10.0):
        self.connect(timeout)
        self.start()

    def stop_queue(self, queue):
        return struct.unpack("<II", self.ask(GET_VRING_BASE, struct.pack("<II", queue.idx, 0))[0])[1]

    def close(self):
        self.sock.close()
        if self.backend:
            self.backend.close()
        self.backend = None

    # ---- requests ----

    def wait(self, timeout=30.0):
        """Until something happens; Gone when the server is."""
        files = [q.call for q in self.queues] + [self.sock]
        if self.backend:
            files.append(self.backend)
        ready, _, _ = select.select(files, [], [], timeout)
        if not ready:
            raise TimeoutError
        for queue in self.queues:
            if queue.call in ready:
                try:
                    os.eventfd_read(queue.call)
                except BlockingIOError:
                    pass
        if self.backend and self.backend in ready:
            self.handle_backend()
        if self.sock in ready:
            raise Gone

    def handle_backend(self):
        data = self.backend.recv(12)
        if not data:
            self.backend.close()
            self.backend = None
            return
        request, flags, size = struct.unpack("<III", data)
        if size:
            self.backend.recv(size)
        if request == BACKEND_CONFIG_CHANGE:
            self.config_changes += 1
        if flags & 8:
            self.backend.send(struct.pack("<IIIQ", request, 5, 8, 0))

    def do(self, kind, sector, data=None, length=0, queue=0, timeout=30.0):
        """One request, waited for: its status and data."""
        ring = self.queues[queue]
        ring.submit(kind, sector, data, length)
        ring.notify()
        while True:
            done = ring.reap()
            if done:
                return done[0][1], done[0][2]
            self.wait(timeout)
