#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""What a new certificate costs those who connect while it goes live: 200 new TLS connections a second, each with a request,
to one of 1,000 vhosts, whose certificate is replaced 20 times.

Compared are connections that began in the 3 s around a swap (1.5 s before to 1.5 s after the first handshake that showed
the new certificate; with a restart: 3 s from the signal on) with those of the 3 s before that.

  needs_restart   the vhost's files are replaced and SIGUSR1 is sent
  otherwise       Pebble's certificates live for --validity seconds, and the module renews them by itself
"""
import os
import re
import signal
import threading
import time

from lab import Lab, Ports, Subject, arguments, logged_at, now, percentile, poll, say

AROUND, LEAD = 1.5, 2.0
NAME = "d0.swap.example.org"


def samples(path):
    """[(seconds since the epoch, ms, worked, serial)] in the order of their beginning."""
    found = []
    with open(path) as file:
        for line in file:
            start, took, ok, status, serial = line.split()
            found.append((int(start) / 1e6, int(took) / 1e3, ok == "1" and status == "200", serial))
    return sorted(found)


def window(found, begin, end):
    chosen = [s for s in found if begin <= s[0] < end]
    return [s[1] for s in chosen if s[2]], sum(not s[2] for s in chosen)


def figures(found, begin):
    """Of the 3 s from `begin` on, and of the 3 s before."""
    before, failed_before = window(found, begin - 3.0, begin)
    during, failed = window(found, begin, begin + 3.0)
    return {"before_p50_ms": percentile(before, 0.5), "before_p99_ms": percentile(before, 0.99),
            "around_p50_ms": percentile(during, 0.5), "around_p99_ms": percentile(during, 0.99),
            "around_max_ms": max(during, default=None), "over_50ms": sum(ms > 50 for ms in during),
            "over_200ms": sum(ms > 200 for ms in during), "connections": len(during) + failed,
            "failed": failed, "failed_before": failed_before}


def changes(found):
    """[(first with the new, last with the former)] for every new certificate."""
    first, last = {}, {}
    for start, _, ok, serial in found:
        if ok:
            first.setdefault(serial, start)
            last[serial] = start
    order = sorted(first, key=first.get)
    return [(first[serial], last[former]) for former, serial in zip(order, order[1:])]


def swaps_of(found, signals):
    """[(beginning of the 3 s around it, first with the new, last with the former)], where the load covers all of it."""
    swaps = []
    for first, last in changes(found):
        begin = first - AROUND if signals is None else max([s for s in signals if s <= first], default=0)
        if begin - 3.0 >= found[0][0] and begin + 3.0 <= found[-1][0]:
            swaps.append((begin, first, last))
    return swaps


def by_restart(lab, server, seconds):
    """Signals while the load runs; moments of the signals."""
    moments = []

    def restart():
        for _ in range(lab.options.swaps):
            time.sleep(lab.options.every)
            server.give({NAME: lab.issuer.pair(NAME)})
            moments.append(time.time())
            os.kill(server.process.pid, signal.SIGUSR1)
    thread = threading.Thread(target=restart)
    time.sleep(LEAD)
    thread.start()
    thread.join(seconds)
    return moments


def obtained(server):
    """When the module had each certificate, by its log."""
    return [logged_at(line) for line in server.log().splitlines() if re.search(r"AC0720: \S+: obtained", line)]


def run(lab, subject, n, i):
    ports, options = Ports(), lab.options
    others = ["d%d.swap.example.org" % k for k in range(1, n)]
    restarts = bool(Subject(subject).needs_restart)
    ca = None if restarts else lab.pebble(ports, validity=options.validity)
    server = lab.server(subject, [NAME] + others, ports, ca=ca)
    server.extra = (server.subject.quiet if restarts else server.subject.short_lived) or ""
    server.give(lab.certificates(others + [NAME] if restarts else others))
    server.start()
    if not restarts:
        poll(lambda: server.live(NAME), 120, 0.05, NAME)
    time.sleep(LEAD)
    seconds = 2 * LEAD + (options.swaps + 1) * (options.every if restarts else options.validity * 0.6) + 4
    log = os.path.join(lab.work, "swap.log")
    load = lab.load_begin(server, NAME, seconds, options.threads, rate=options.rate, get=True, log=log)
    moments = by_restart(lab, server, seconds) if restarts else []
    say("%s: load for %d s", subject, seconds)
    load.communicate()
    had, found = obtained(server), samples(log)
    server.stop()
    swaps = swaps_of(found, moments if restarts else None)
    for k, (begin, first, last) in enumerate(swaps[:options.swaps]):
        since = begin if restarts else max([m for m in had if m <= first + 0.05], default=first)
        lab.record(subject=subject, n=n, round=i, swap=k, rate=options.rate, **figures(found, begin),
                   to_first_new_s=first - since, to_last_former_s=last - since)


def main():
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--n", type=int, default=1000, help="vhosts (%(default)s)")
    parser.add_argument("--swaps", type=int, default=20, help="%(default)s")
    parser.add_argument("--rate", type=int, default=200, help="new connections a second (%(default)s)")
    parser.add_argument("--threads", type=int, default=1000, help="connections that may be open at once (%(default)s)")
    parser.add_argument("--every", type=float, default=12, help="seconds between two restarts (%(default)s)")
    parser.add_argument("--validity", type=int, default=24, help="seconds; renewed after half of it (%(default)s)")
    options = parser.parse_args()
    began = now()
    with Lab("swap", options) as lab:
        for i in range(options.rounds):
            for subject in lab.rotated(i):
                run(lab, subject, options.n, i)
    say("swap: %d s", now() - began)


if __name__ == "__main__":
    main()
