# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Staging logs as files (see src/protocol/record.h), read and written by the tests' own code.

    read(path) -> [Record(id, type, seq, payload, time)]      intact records in file order
    encode(id, type, seq, payload, time="2026-01-01T00:00:00Z") -> bytes
    append(path, bytes)                                       as a child would, without changing mode or owner
"""
import collections
import hashlib
import os
import re

Record = collections.namedtuple("Record", "id type seq payload time")
HEAD = re.compile(rb"acme1 (\S+) (\S+) (\d+) (\d+) ([0-9a-f]{64}) (\S+)\n")


def digest(head, time, payload):
    return hashlib.sha256(head + time + payload).hexdigest()


def encode(ident, kind, seq, payload, time="2026-01-01T00:00:00Z"):
    payload = payload if isinstance(payload, bytes) else payload.encode()
    head = ("acme1 %s %s %d %d " % (ident, kind, seq, len(payload))).encode()
    stamp = (" " + time).encode()
    return head + digest(head, stamp[1:], payload).encode() + stamp + b"\n" + payload + b"\n"


def parse(data):
    found, at = [], 0
    while True:
        match = HEAD.search(data, at)
        if not match:
            return found
        ident, kind, seq, length, told, time = match.groups()
        payload = data[match.end():match.end() + int(length)]
        head = data[match.start():match.start(5)]
        if len(payload) == int(length) and digest(head, time, payload) == told.decode():
            found.append(Record(ident.decode(), kind.decode(), int(seq), payload, time.decode()))
            at = match.end() + int(length)
        else:
            at = match.end()


def read(path):
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return parse(file.read())


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)
