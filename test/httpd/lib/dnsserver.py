# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Private DNS servers with RFC 2136 updates, each on port 53 of a loopback address of its own, ended by pid.

    address()                        a free one of 127/8
    k = Knot(directory, address(), {"a.test": {"ns": [k.address], "update": True, "records": ["x A 127.0.0.1"]}})
    b = Bind(...)                    the same with bind9
    s.start()  s.stop()
    s.key_file                       a TSIG key that may change TXT records; s.other_key_file: one it does not know,
    s.poor_key_file                  one that may change nothing
    s.txt("_acme-challenge.a.test")  -> [values], asked over TCP
    s.add("name", "TXT", '"text"')   by nsupdate with the key
    resolving(httpd, s)              httpd's resolver is s: by a mount namespace of its own
"""
import os
import random
import shutil
import socket
import subprocess

import pytest

from . import namespace, util

SECRETS = {"updater": "c2VjcmV0LW9mLXRoZS11cGRhdGVyLTAxMjM0NTY3ODk=", "poor": "c2VjcmV0LW9mLXRoZS1wb29yLW9uZS0wMTIzNDU2Nzg5MA==",
           "other": "YW5vdGhlci1zZWNyZXQtdGhhdC1ub2JvZHkta25vd3MhIQ=="}


def address():
    for _ in range(100):
        found = "127.%d.%d.%d" % (random.randrange(64, 120), random.randrange(256), random.randrange(1, 255))
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((found, 53))
                udp.bind((found, 53))
                return found
            except OSError:
                pass
    raise RuntimeError("no address where port 53 is free")


def resolving(httpd, server):
    if not namespace.available():
        pytest.skip("no mount namespaces here")
    path = os.path.join(httpd.root, "resolv.conf")
    with open(path, "w") as file:
        file.write("nameserver %s\n" % server.address)
    httpd.wrapper = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', path]


class Server:
    def __init__(self, directory, at, zones):
        self.dir, self.address, self.zones, self.process = str(directory), at, zones, None
        os.makedirs(os.path.join(self.dir, "db"))
        os.chmod(self.dir, 0o777)
        self.key_file, self.poor_key_file, self.other_key_file = [self._key(name) for name in ("updater", "poor", "other")]
        for zone, what in zones.items():
            lines = ["$TTL 1", "@ SOA ns1 admin 1 60 60 60000 1"]
            for i, ns in enumerate(what.get("ns") or [at], 1):
                lines += ["@ NS ns%d" % i, "ns%d A %s" % (i, ns)]
            with open(os.path.join(self.dir, zone + ".zone"), "w") as file:
                file.write("$ORIGIN %s.\n%s\n" % (zone, "\n".join(lines + what.get("records", []))))
            os.chmod(file.name, 0o666)

    def _key(self, name):
        path = os.path.join(self.dir, name + ".key")
        with open(path, "w") as file:
            file.write('key "%s" {\n\talgorithm hmac-sha256;\n\tsecret "%s";\n};\n' % (name, SECRETS[name]))
        os.chmod(path, 0o644)
        return path

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as out:
            self.process = subprocess.Popen(self.command(), stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.dir,
                                            start_new_session=True)
        zone = next(iter(self.zones))
        assert util.wait_for(lambda: self.process.poll() is None and self.ask(zone, "SOA"), 10), \
            "the DNS server did not start:\n" + util.tail(os.path.join(self.dir, "log"))
        return self

    def stop(self):
        util.end_process(self.process)
        self.process = None

    def ask(self, name, kind, *more):
        done = subprocess.run(["dig", "@" + self.address, "+short", "+tcp", "+time=1", "+tries=1", name + ".", kind, *more],
                              stdout=subprocess.PIPE, universal_newlines=True)
        return [line for line in done.stdout.splitlines() if done.returncode == 0 and not line.startswith(";")]

    def txt(self, name):
        return [line.replace('" "', "").strip('"') for line in self.ask(name, "TXT")]

    def add(self, name, kind, data):
        done = subprocess.run(["nsupdate", "-k", self.key_file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                              input="server %s 53\nupdate add %s. 1 %s %s\nsend\n" % (self.address, name, kind, data))
        assert done.returncode == 0, done.stdout


class Knot(Server):
    program = shutil.which("knotd", path=os.environ.get("PATH", "") + ":/usr/sbin")

    def command(self):
        conf = ["server:", "  listen: %s@53" % self.address, "  rundir: %s" % self.dir, "database:", "  storage: %s/db" % self.dir,
                "log:", "  - target: stderr", "    any: info", "key:"]
        for name in ("updater", "poor"):
            conf += ["  - id: " + name, "    algorithm: hmac-sha256", "    secret: " + SECRETS[name]]
        conf += ["acl:", "  - id: change", "    key: updater", "    action: update", "    update-type: [TXT]", "zone:"]
        for zone, what in self.zones.items():
            conf += ["  - domain: " + zone, "    file: %s/%s.zone" % (self.dir, zone), "    zonefile-sync: -1", "    zonefile-load: whole"]
            conf += ["    acl: change"] if what.get("update") else []
        with open(os.path.join(self.dir, "knot.conf"), "w") as file:
            file.write("\n".join(conf) + "\n")
        return [self.program, "-c", file.name]


class Bind(Server):
    program = shutil.which("named", path=os.environ.get("PATH", "") + ":/usr/sbin")

    def start(self):
        # It listens on addresses of interfaces only.
        subprocess.run(["ip", "address", "add", self.address + "/32", "dev", "lo"], stderr=subprocess.DEVNULL)
        return super().start()

    def stop(self):
        super().stop()
        subprocess.run(["ip", "address", "delete", self.address + "/32", "dev", "lo"], stderr=subprocess.DEVNULL)

    def command(self):
        conf = ['options { directory "%s"; listen-on port 53 { %s; }; listen-on-v6 { none; }; recursion yes; pid-file none; '
                'session-keyfile none; dnssec-validation no; allow-query { any; }; };' % (self.dir, self.address),
                "controls { };", 'include "%s";' % self.key_file, 'include "%s";' % self.poor_key_file]
        for zone, what in self.zones.items():
            policy = "update-policy { grant updater subdomain %s. TXT; };" % zone if what.get("update") else ""
            conf.append('zone "%s" { type primary; file "%s.zone"; %s };' % (zone, zone, policy))
        with open(os.path.join(self.dir, "named.conf"), "w") as file:
            file.write("\n".join(conf) + "\n")
        return [self.program, "-g", "-n", "1", "-c", file.name]
