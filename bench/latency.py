#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""From the start of httpd to a TLS handshake that shows the CA's certificate, and what was asked of the CA for it.

  new account     nothing is there: account key, account, certificate
  known account   the store of a former run; another name is new

  floor           (with http-01 and one certificate) a client that does nothing else, from its start to the certificate: floor.c

Where a certificate is live only after a restart, the graceful restart follows at once and counts. With --n the start is
that of a server with so many names without certificates, and the end is the last one's.
"""
import json
import os
import signal
import subprocess
import time

from lab import Lab, Ports, arguments, log_size, now, numbers, poll, requests_of

TIMEOUT = 900
DOWNLOAD = "POST certZ"


def wait_live(server, names):
    """Waits for all; asks for the first that is missing only, so as to disturb little."""
    left = list(names)
    while left:
        poll(lambda: server.live(left[0]), TIMEOUT, 0.005, left[0])
        left.pop(0)


def one(server, pebble, names):
    begin = log_size(pebble)
    server.names = names
    found = {"ready_s": server.start(), "obtained_s": None}
    if server.subject.needs_restart:
        for name in names:
            poll(lambda: server.staged(name), TIMEOUT, 0.005, name)
        found["obtained_s"] = now() - server.began
        pause = 0.05  # the last file is written right after; not counted
        time.sleep(pause)
        os.kill(server.process.pid, signal.SIGUSR1)
    else:
        pause = 0
    wait_live(server, names)
    found["live_s"] = now() - server.began - pause
    found["cpu_s"] = server.cpu()
    time.sleep(0.3)
    requests = requests_of(pebble, begin)
    server.stop()
    # The last download ends it; what is asked afterwards (when to renew, after a restart) counts in all_requests only.
    needed = requests[:len(requests) - requests[::-1].index(DOWNLOAD)]
    found["requests_per_certificate"] = len(needed) / len(names)
    found["all_requests"] = len(requests)
    found["mix"] = {what: needed.count(what) for what in sorted(set(needed))}
    return found


class Floor:
    """floor.c, its results in our terms."""
    def __init__(self, lab, ports, pebble):
        self.lab, self.rounds = lab, 0
        port = pebble.directory.rpartition(":")[2].partition("/")[0]
        self.command = [lab.compile("floor", "jansson", "ssl", "crypto", "pthread"), "-p", port, "-c", pebble.ca_file,
                        "-h", str(ports.http)]

    def round(self, **what):
        """A new account and its first certificate, then one more."""
        self.rounds += 1
        for case in ("new account", "known account"):
            self.lab.count += 1
            run = subprocess.run(self.command + ["-a", os.path.join(self.lab.work, "floor-account-%d" % self.rounds),
                                                 "-n", "d0.r%d.bench.example.org" % self.lab.count],
                                 check=True, stdout=subprocess.PIPE)
            found = json.loads(run.stdout)
            self.lab.record(subject="floor", case=case, live_s=found["total_ms"] / 1e3,
                            requests_per_certificate=found["requests"], **what)


def main():
    parser = arguments(__doc__, subjects="md,acmeclient", rounds=7)
    parser.add_argument("--n", default="1", help="certificates of one start, as a list (%(default)s)")
    parser.add_argument("--challenges", default="http-01,tls-alpn-01", help="%(default)s")
    parser.add_argument("--key", default="ec", choices=["ec", "rsa"])
    parser.add_argument("--retry-after", type=int, default=0, help="what the CA asks clients to wait, in seconds; 0: it does "
                        "not say (%(default)s)")
    options = parser.parse_args()
    with Lab("latency", options) as lab:
        ports = Ports()
        pebble = lab.pebble(ports, retry_after={"authz": options.retry_after, "order": options.retry_after})
        floor = Floor(lab, ports, pebble)
        for n in numbers(options.n):
            for challenge in options.challenges.split(","):
                for i in range(options.rounds):
                    what = {"challenge": challenge, "n": n, "key": options.key, "retry_after": options.retry_after,
                            "round": i}
                    if what["challenge"] == "http-01" and n == 1 and options.key == "ec":
                        floor.round(**what)
                    for subject in lab.rotated(i, lab.ordering()):
                        server = lab.server(subject, [], ports, ca=pebble, kind=options.key, challenge=challenge)
                        for case in ("new account", "known account"):
                            lab.count += 1
                            names = ["d%d.r%d.bench.example.org" % (k, lab.count) for k in range(n)]
                            lab.record(subject=subject, case=case, **what, **one(server, pebble, names))


if __name__ == "__main__":
    main()
