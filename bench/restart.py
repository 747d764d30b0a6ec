#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""How long httpd needs until it answers, with many vhosts: first start, later start, graceful restart; and its memory.

  present   the certificates are there, nothing is to be adopted or obtained
  missing   no certificate is there (placeholders are made at the first start); no CA can be reached, so that nothing is
            obtained meanwhile. Plain mod_ssl does not start so.
"""
import time

from lab import Lab, Ports, arguments, median, numbers


def one(lab, subject, n, case, kind):
    names = ["d%d.start.example.org" % k for k in range(n)]
    ports = Ports()
    server = lab.server(subject, names, ports, kind=kind)
    server.extra = server.subject.quiet or ""
    if case == "present":
        server.give(lab.certificates(names, kind))
    found = {"first_start_s": server.start(), "first_start_cpu_s": server.cpu()}
    time.sleep(lab.options.settle)
    found.update(server.memory())
    if case == "present":
        each = []
        for _ in range(lab.options.gracefuls):
            each.append(server.graceful())
            time.sleep(lab.options.settle)
        found["graceful_s"], found["gracefuls_s"] = median(each), [round(s, 4) for s in each]
        found["parent_rss_after_kib"] = server.memory()["parent_rss_kib"]
    found["stop_s"] = server.stop()
    found["later_start_s"] = server.start()
    server.stop()
    return found


def main():
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--n", default="1000", help="vhosts, as a list (%(default)s)")
    parser.add_argument("--cases", default="present,missing", help="%(default)s")
    parser.add_argument("--key", default="ec", choices=["ec", "rsa"])
    parser.add_argument("--gracefuls", type=int, default=3, help="graceful restarts of each run (%(default)s)")
    parser.add_argument("--settle", type=float, default=2, help="seconds after each start (%(default)s)")
    options = parser.parse_args()
    with Lab("restart", options) as lab:
        for n in numbers(options.n):
            for i in range(options.rounds):
                for case in options.cases.split(","):
                    for subject in lab.rotated(i, lab.subjects if case == "present" else lab.ordering()):
                        lab.record(subject=subject, case=case, n=n, key=options.key, round=i,
                                   **one(lab, subject, n, case, options.key))


if __name__ == "__main__":
    main()
