#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Instructions the server executes for a full TLS handshake and one request, counted by Valgrind's callgrind: what
handshake.py measures in time, without the noise of a machine. States as there.

The count of a server that got few connections is taken from that of one that got many. httpd runs as one process here, not
as root, so that the counting sees all of it.
"""
import glob
import os
import re
import shutil
import socket
import ssl
import time

from lab import Lab, Ports, Subject, arguments, poll

NAME = "d0.hs.example.org"
FEW, MANY = 50, 250


def connect(server):
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", server.ports.https), 60) as raw:
        with context.wrap_socket(raw, server_hostname=NAME) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % NAME.encode())
            return b"".join(iter(lambda: sock.recv(65536), b"")).startswith(b"HTTP/1.1 200")


def counted(lab, subject, state, connections):
    """Instructions from start to end with so many connections."""
    ports = Ports()
    obtains = state == "obtained"
    server = lab.server(subject, [NAME], ports, ca=lab.pebble(ports) if obtains else None,
                        extra="" if obtains else Subject(subject).quiet or "")
    if not obtains:
        server.give(lab.certificates([NAME]))
    server.wrapper = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + server.at("count.%p")]
    if os.geteuid() == 0:
        server.wrapper = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"] + server.wrapper
        for directory, below, files in os.walk(server.root):
            for name in [directory] + [os.path.join(directory, file) for file in files]:
                shutil.chown(name, "www-data", "www-data")
    server.start()
    if obtains:
        poll(lambda: server.live(NAME), 120, 0.5, NAME)
        # The children of a restart begin anew; here it is one process that goes on.
    time.sleep(1)
    if not all(connect(server) for _ in range(connections)):
        raise RuntimeError("a request failed")
    time.sleep(0.5)
    server.stop()
    return sum(int(re.search(r"^(?:summary|totals): (\d+)", open(file).read(), re.M).group(1))
               for file in glob.glob(server.at("count.*")))


def main():
    options = arguments(__doc__, subjects="ssl,acmeclient", rounds=1).parse_args()
    with Lab("instructions", options) as lab:
        cases = [(subject, "disk") for subject in lab.subjects]
        cases += [(subject, "obtained") for subject in lab.ordering() if not Subject(subject).needs_restart]
        for i in range(options.rounds):
            for subject, state in cases:
                few, many = counted(lab, subject, state, FEW), counted(lab, subject, state, MANY)
                lab.record(subject=subject, state=state, round=i, instructions=(many - few) / (MANY - FEW))


if __name__ == "__main__":
    main()
