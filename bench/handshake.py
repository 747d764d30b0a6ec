#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""CPU of the server for a full TLS handshake, against plain mod_ssl.

All servers run at the same time; in every round each gets the same load for some seconds, one after the other, in turns.
The ratio is that of two neighbours in one round, so what else the machine does hits both.

  disk      certificates were there at the start
  obtained  d0 got its certificate while the server ran (the load goes to d0); only subjects that need no restart for it
"""
import time

from lab import Lab, Ports, Subject, arguments, numbers, poll, say

DOMAIN = "hs.example.org"


def names_of(n):
    return ["d%d.%s" % (k, DOMAIN) for k in range(n)]


def disk(lab, subject, n, kind):
    server = lab.server(subject, names_of(n), Ports(), kind=kind, extra=Subject(subject).quiet or "")
    server.give(lab.certificates(names_of(n), kind))
    return server


def obtained(lab, subject, n, kind):
    ports = Ports()
    server = lab.server(subject, names_of(n), ports, kind=kind, ca=lab.pebble(ports))
    server.give(lab.certificates(names_of(n)[1:], kind))
    return server


def measure(lab, server, n, one_name):
    options = lab.options
    target = {"name": "d0." + DOMAIN} if one_name or n == 1 else {"name": DOMAIN, "count": n}
    lab.load(server, seconds=0.3, threads=options.threads, tls=options.tls, **target)
    begin = server.cpu()
    found = lab.load(server, seconds=options.seconds, threads=options.threads, tls=options.tls, **target)
    spent = server.cpu() - begin
    return {"cpu_us": spent / max(1, found["ok"]) * 1e6, "per_s": found["per_s"], "p50_ms": found["p50_ms"],
            "p99_ms": found["p99_ms"], "failed": found["failed"]}


def run(lab, n, kind):
    cases = [(subject, "disk") for subject in lab.subjects]
    cases += [(subject, "obtained") for subject in lab.ordering() if not Subject(subject).needs_restart]
    servers = {}
    for subject, state in cases:
        servers[subject, state] = server = (disk if state == "disk" else obtained)(lab, subject, n, kind)
        server.start()
        if state == "obtained":
            poll(lambda: server.live("d0." + DOMAIN), 120, 0.05, "d0")
    time.sleep(lab.options.settle)
    for i in range(lab.options.rounds):
        for case in lab.rotated(i, cases):
            lab.record(subject=case[0], state=case[1], n=n, key=kind, tls=lab.options.tls, round=i,
                       **measure(lab, servers[case], n, case[1] == "obtained"))
    for server in servers.values():
        server.stop()


def main():
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--n", default="1,1000", help="vhosts, as a list (%(default)s)")
    parser.add_argument("--keys", default="ec,rsa", help="%(default)s")
    parser.add_argument("--seconds", type=float, default=3, help="of load in a round (%(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="of the load (%(default)s)")
    parser.add_argument("--tls", default="13", choices=["12", "13"])
    parser.add_argument("--settle", type=float, default=5, help="seconds after the start (%(default)s)")
    options = parser.parse_args()
    with Lab("handshake", options) as lab:
        for kind in options.keys.split(","):
            for n in numbers(options.n):
                say("handshake: %s, %d vhosts", kind, n)
                run(lab, n, kind)


if __name__ == "__main__":
    main()
