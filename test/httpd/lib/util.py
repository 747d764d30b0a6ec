# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Ports, waiting, processes."""
import os
import random
import signal
import socket
import subprocess
import time

_taken = set()


def _ports():
    """Outside the range the kernel gives to outgoing connections; pytest's parallel workers share none."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        return 12000, 31000
    first = 12000 + 2300 * (int(worker[2:]) % 8)
    return first, first + 2299


def free_port(address="127.0.0.1"):
    """A port nobody listens on."""
    while True:
        port = random.randint(*_ports())
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
        _taken.add(port)
        return port


def patience(seconds):
    """Longer where a sanitizer watches every access to memory."""
    return 3 * seconds if os.environ.get("ACMECLIENT_PRELOAD") else seconds


def can_bind(address, port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def wait_for(condition, timeout=10.0, interval=0.05):
    """The first true value of condition(), or its last false one when the time is over."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(interval)


def listening(address, port):
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def _stat(pid):
    """(state, parent) of a process, or None."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    except (OSError, IndexError, ValueError):
        return None


def running(pid):
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX"


def children_of(parent):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(int(entry))
            if stat and stat[1] == parent and stat[0] not in "ZX":
                found.append(int(entry))
    return sorted(found)


def descendants_of(parent):
    found = []
    for pid in children_of(parent):
        found.append(pid)
        found += descendants_of(pid)
    return found


def kill(pids, sig=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


def end_process(process, timeout=5.0):
    """SIGTERM, then SIGKILL, to a Popen that was started here."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def touch(path):
    with open(path, "a"):
        pass


def tail(path, lines=40):
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError as error:
        return str(error)


def where(path, text, nth=1):
    """"file:line" of the nth line (-1: the last) that begins with text, or with its first line; blanks in front do not
    count."""
    wanted = text.strip().splitlines()[0]
    with open(path, errors="surrogateescape") as file:
        lines = [number for number, line in enumerate(file, 1) if line.strip().startswith(wanted)]
    assert len(lines) >= abs(nth), "%s: no %d. line that begins with %r" % (path, nth, wanted)
    return "%s:%d" % (path, lines[nth - 1 if nth > 0 else nth])
