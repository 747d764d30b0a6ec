# Licensed under the Apache License, Version 2.0; see LICENSE.
"""What the benches stand on: subjects, private httpds, ready-made certificates, the load generator, results.

    with Lab("latency", options) as lab:
        pebble = lab.pebble(ports)                      test/httpd/lib/pebble.py, ended with the lab
        server = lab.server("md", names, ca=pebble)     not started
        server.give(lab.certificates(names))            pairs that are there before the start
        server.start()  server.graceful()  server.stop()
        lab.load(server, name=..., ...)                 load.c's result as a dictionary
        lab.record(case="...", subject="md", round=0, live_s=0.1)

One JSON line for every record goes to standard output and to OUT/BENCH.jsonl; table.py makes tables of them. Everything
runs in a temporary directory and on private loopback ports; only processes started here are ended, by their pid.
"""
import argparse
import datetime
import glob
import json
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "test", "httpd"))
sys.dont_write_bytecode = True

from lib import util  # noqa: E402
from lib.httpd import _built_in, _modules_dir, httpd_program, module_file  # noqa: E402
from lib.pebble import Pebble  # noqa: E402

MODULES = ["mpm_event", "unixd", "log_config", "authz_core", "watchdog", "dir", "setenvif", "socache_shmcb", "status",
           "ssl"]
TICKS = os.sysconf("SC_CLK_TCK")
NOWHERE = "https://localhost:9/dir"  # a CA that cannot be reached: nothing is obtained while a start is measured
now = time.monotonic


def arguments(text, **defaults):
    """The options all benches have; more with add_argument on the result."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", default=defaults.get("subjects", "ssl,md,acmeclient"),
                        help="of subjects/ (%(default)s)")
    parser.add_argument("--rounds", type=int, default=defaults.get("rounds", 5), help="%(default)s")
    parser.add_argument("--out", default="bench-results", help="directory for the results (./%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory")
    return parser


def numbers(text):
    return [int(part) for part in text.split(",")]


def say(text, *values):
    sys.stderr.write(time.strftime("%H:%M:%S ") + text % values + "\n")


def poll(condition, timeout, interval, what):
    """Seconds until condition() is true."""
    began = now()
    while not condition():
        if now() - began > timeout:
            raise TimeoutError("%s: not in %g s" % (what, timeout))
        time.sleep(interval)
    return now() - began


# ---- processes ----

def _stat(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def cpu_of(pid):
    """CPU seconds of a process, of its children, and of those it has waited for."""
    fields = _stat(pid)
    if fields is None:
        return 0.0
    return (sum(int(f) for f in fields[11:15]) / TICKS
            + sum(sum(int(f) for f in (_stat(child) or [0] * 13)[11:13]) / TICKS for child in util.children_of(pid)))


def memory_of(pid):
    """KiB: resident, proportional."""
    found = {"Rss": 0, "Pss": 0}
    try:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in found:
                    found[name] = int(rest.split()[0])
    except OSError:
        pass
    return found["Rss"], found["Pss"]


# ---- certificates that are there before the start ----

def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Issuer:
    """A CA of the benches' own."""
    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.shared = None
        self.cert = self._build("bench CA", self.key.public_key(), "bench CA", ca=True)

    def _build(self, subject, public_key, issuer, ca=False):
        at = datetime.datetime.utcnow().replace(microsecond=0)
        builder = (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer)).public_key(public_key)
                   .serial_number(x509.random_serial_number()).not_valid_before(at - datetime.timedelta(hours=1))
                   .not_valid_after(at + datetime.timedelta(days=3650 if ca else 90))
                   .add_extension(x509.BasicConstraints(ca, None), critical=True))
        if not ca:
            builder = (builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
                       .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False))
        return builder.sign(self.key, hashes.SHA256())

    def pair(self, name, kind="ec"):
        """(key PEM, chain PEM). One RSA key for all: making them takes longer than any bench."""
        if kind == "ec":
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = self.shared = self.shared or rsa.generate_private_key(65537, 2048)
        pem = serialization.Encoding.PEM
        chain = self._build(name, key.public_key(), "bench CA").public_bytes(pem) + self.cert.public_bytes(pem)
        return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), chain


# ---- a server ----

class Ports:
    def __init__(self):
        self.http, self.https = util.free_port(), util.free_port()


def fill(text, values):
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match.group(1)]), text)


class Subject:
    """subjects/NAME/: global.conf and vhost.conf are templates, subject.json says

    modules         of httpd, beside those every server has
    load            {module: environment variable with the file}
    orders          it gets certificates from a CA (plain mod_ssl does not)
    keys            {"ec": ..., "rsa": ...}: what @KEY@ becomes
    pair            files of the key and of the chain, below the ServerRoot
    staged          pattern of the files that a restart makes live
    needs_restart   a new certificate is live after a graceful restart only
    quiet           more configuration, so that nothing is asked of the CA
    short_lived     more configuration where certificates live for seconds
    """
    def __init__(self, name):
        self.name, self.directory = name, os.path.join(HERE, "subjects", name)
        with open(os.path.join(self.directory, "subject.json")) as file:
            self.facts = json.load(file)

    def template(self, name):
        with open(os.path.join(self.directory, name)) as file:
            return file.read()

    def __getattr__(self, name):
        return self.facts.get(name)


class Server:
    def __init__(self, root, subject, names, ports, ca=None, kind="ec", challenge="http-01", extra=""):
        self.root, self.subject, self.names, self.ports = root, subject, list(names), ports
        self.kind, self.extra, self.process = kind, extra, None
        self.wrapper = []  # a command that runs httpd as one process, as the user it wants
        self.values = {"ROOT": root, "HTTP": ports.http, "HTTPS": ports.https, "CHALLENGE": challenge,
                       "DIRECTORY": ca.directory if ca else NOWHERE,
                       "CA_FILE": ca.ca_file if ca else self.at("bench-ca.pem"),
                       "KEY": (subject.keys or {}).get(kind), "EC": "secp256r1." if kind == "ec" else ""}
        for name in ("", "htdocs", "modules", "run"):
            os.makedirs(self.at(name), exist_ok=True)
            os.chmod(self.at(name), 0o755)
        with open(self.at("htdocs/index.html"), "w") as file:
            file.write("ok\n")

    def at(self, path):
        return os.path.join(self.root, path)

    def _put(self, path, data, mode=0o600):
        made = os.path.dirname(path)
        if not os.path.isdir(made):
            os.makedirs(made, mode=0o700)
        with open(path + ".new", "wb", opener=lambda p, flags: os.open(p, flags, mode)) as file:
            file.write(data)
        os.rename(path + ".new", path)

    def give(self, pairs):
        """{name: (key, chain)} as files where this subject looks for them."""
        for name, contents in pairs.items():
            for path, data in zip(self.subject.pair, contents):
                self._put(self.at(fill(path, dict(self.values, DOMAIN=name))), data)

    def staged(self, name):
        return glob.glob(self.at(fill(self.subject.staged, {"DOMAIN": name})))

    def _modules(self):
        built_in, directory = _built_in(httpd_program()), _modules_dir(httpd_program())
        for name in MODULES + (self.subject.modules or []):
            if name not in built_in:
                yield "LoadModule %s_module %s/mod_%s.so" % (name, directory, name)
        for name in self.subject.load or {}:
            # A copy, so that a build that goes on beside the bench cannot change it.
            copy = self.at("modules/mod_%s.so" % name)
            if not os.path.exists(copy):
                shutil.copy(module_file(), copy)
            yield "LoadModule %s_module %s" % (name, copy)

    def write(self):
        lines = ["ServerRoot %s" % self.root, "DefaultRuntimeDir run", "PidFile run/httpd.pid", "ServerName localhost",
                 "ErrorLog error.log", "LogLevel notice acmeclient:info" if self.subject.load else "LogLevel notice",
                 'ErrorLogFormat "[%{uc}t] [%l] [pid %P] %M"', *self._modules()]
        if os.geteuid() == 0:
            lines += ["User www-data", "Group www-data"]
        lines += ["StartServers 2", "ServerLimit 6", "ThreadsPerChild 64", "MinSpareThreads 1", "MaxSpareThreads 256",
                  "MaxRequestWorkers 256", "ListenBacklog 4096", "Timeout 60", "ExtendedStatus Off",
                  "Listen 127.0.0.1:%d" % self.ports.http, "Listen 127.0.0.1:%d https" % self.ports.https,
                  "DocumentRoot %s/htdocs" % self.root, "<Directory />", "    Require all granted", "</Directory>",
                  "<Location /server-status>", "    SetHandler server-status", "</Location>",
                  "SSLSessionCache none", "SSLSessionTickets off",
                  fill(self.subject.template("global.conf"), self.values), self.extra,
                  "<VirtualHost 127.0.0.1:%d>" % self.ports.http, "    ServerName localhost", "    ServerAlias *",
                  "</VirtualHost>"]
        vhost = self.subject.template("vhost.conf")
        lines += [fill(vhost, dict(self.values, DOMAIN=name)) for name in self.names]
        with open(self.at("httpd.conf"), "w") as file:
            file.write("\n".join(lines) + "\n")

    # ---- life ----

    def spawn(self):
        self.write()
        with open(self.at("stderr"), "ab") as out:
            self.began = now()
            self.process = subprocess.Popen([*self.wrapper, httpd_program(), "-d", self.root, "-f", self.at("httpd.conf"),
                                             "-X" if self.wrapper else "-DFOREGROUND"],
                                            stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)

    def start(self, timeout=900):
        """Seconds until the first answer."""
        self.spawn()
        return poll(lambda: self._alive() and self.answer("/"), timeout, 0.001, "start")

    def _alive(self):
        if self.process.poll() is not None:
            raise RuntimeError("httpd ended:\n" + util.tail(self.at("stderr")) + util.tail(self.at("error.log")))
        return True

    def answer(self, path, timeout=60):
        """The bytes of an answer over plain HTTP, or None."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports.http), timeout) as sock:
                sock.sendall(b"GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" % path.encode())
                data = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError:
            return None
        return data if data.startswith(b"HTTP/1.1 200") else None

    def generation(self):
        found = re.search(rb"ParentServerMPMGeneration: (\d+)", self.answer("/server-status?auto") or b"")
        return int(found.group(1)) if found else -1

    def graceful(self, timeout=900):
        """Seconds until a new connection is answered by the new generation."""
        former = self.generation()
        os.kill(self.process.pid, signal.SIGUSR1)
        return poll(lambda: self._alive() and self.generation() > former, timeout, 0.002, "graceful restart")

    def stop(self):
        """Seconds until all is gone."""
        if self.process is None:
            return None
        began = now()
        left = util.descendants_of(self.process.pid)
        util.end_process(self.process, 60)
        util.wait_for(lambda: not any(util.running(pid) for pid in left), 5, 0.002)
        util.kill([pid for pid in left if util.running(pid)])
        self.process = None
        return now() - began

    # ---- seen from outside ----

    def peer(self, name, timeout=30):
        """DER of the certificate that is served, or None."""
        context = ssl._create_unverified_context()
        try:
            with socket.create_connection(("127.0.0.1", self.ports.https), timeout) as raw:
                with context.wrap_socket(raw, server_hostname=name) as sock:
                    return sock.getpeercert(True)
        except OSError:
            return None

    def live(self, name):
        """Is it a certificate of Pebble's? Its issuer's name is enough here."""
        return b"Pebble Intermediate CA" in (self.peer(name) or b"")

    def cpu(self):
        return cpu_of(self.process.pid)

    def memory(self):
        parent = memory_of(self.process.pid)
        children = [memory_of(pid) for pid in util.children_of(self.process.pid)]
        return {"parent_rss_kib": parent[0], "child_rss_kib": max((c[0] for c in children), default=0),
                "total_pss_kib": parent[1] + sum(c[1] for c in children)}

    def log(self):
        with open(self.at("error.log"), errors="replace") as file:
            return file.read()


def logged_at(line):
    """Seconds since the epoch of a line of our error logs (local time)."""
    text = re.match(r"\[([-\d]+[ T][\d:.]+)", line).group(1).replace("T", " ")
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").timestamp()


# ---- the lab ----

class Lab:
    def __init__(self, bench, options):
        self.bench, self.options = bench, options
        self.issuer, self.pairs = Issuer(), {}
        self.subjects = [name for name in options.subjects.split(",") if name]
        self.work = tempfile.mkdtemp(prefix="acmeclient-bench-")
        os.chmod(self.work, 0o755)
        self.started, self.count = [], 0
        self.run = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.makedirs(options.out, exist_ok=True)
        self.results = os.path.join(options.out, bench + ".jsonl")
        self.program = self.compile("load", "ssl", "crypto", "pthread")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for thing in reversed(self.started):
            thing.stop()
        if self.options.keep or kind:
            say("kept: %s", self.work)
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    def compile(self, name, *libraries):
        """The program made of NAME.c."""
        program = os.path.join(self.work, name)
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu99", "-O2", "-o", program, os.path.join(HERE, name + ".c")]
                       + ["-l" + library for library in libraries], check=True)
        return program

    def ordering(self):
        return [name for name in self.subjects if Subject(name).orders]

    def rotated(self, i, things=None):
        """So that nobody is always the first."""
        things = list(things if things is not None else self.subjects)
        return things[i % len(things):] + things[:i % len(things)] if things else []

    def pebble(self, ports, **options):
        self.count += 1
        pebble = Pebble(os.path.join(self.work, "pebble%d" % self.count), http_port=ports.http, tls_port=ports.https,
                        **options)
        self.started.append(pebble)
        return pebble.start()

    def server(self, subject, names, ports, root=None, **options):
        """A fresh one, or with root= one that finds what another server has left there."""
        self.count += 1
        root = root or os.path.join(self.work, "%s%d" % (subject, self.count))
        server = Server(root, Subject(subject), names, ports, **options)
        with open(server.at("bench-ca.pem"), "wb") as file:
            file.write(self.issuer.cert.public_bytes(serialization.Encoding.PEM))
        self.started.append(server)
        return server

    def certificates(self, names, kind="ec"):
        """Made once for all servers."""
        for name in names:
            if (name, kind) not in self.pairs:
                self.pairs[name, kind] = self.issuer.pair(name, kind)
        return {name: self.pairs[name, kind] for name in names}

    def load_begin(self, server, name, seconds, threads, count=1, rate=0, get=False, log=None, tls=None):
        command = [self.program, "-p", server.ports.https, "-n", name, "-d", int(seconds * 1000), "-t", threads, "-c", count]
        command += ["-r", rate] if rate else []
        command += ["-g"] if get else []
        command += ["-l", log] if log else []
        command += ["-v", tls] if tls else []
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)

    def load(self, *args, **options):
        return json.loads(self.load_begin(*args, **options).communicate()[0])

    def record(self, **values):
        """One line of results. Numbers ending in _s are seconds, _ms milliseconds, _us microseconds, _kib KiB."""
        values = {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}
        line = json.dumps({"bench": self.bench, "run": self.run, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                           **values, "load_average": round(os.getloadavg()[0], 2)})
        with open(self.results, "a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def requests_of(pebble, begin):
    """["GET dir", "POST order-plz", ...]: what Pebble's log shows behind that offset."""
    with open(os.path.join(pebble.dir, "pebble.log"), errors="replace") as file:
        file.seek(begin)
        return ["%s %s" % found for found in re.findall(r"(GET|POST|HEAD) /([\w-]*)\S* -> calling handler", file.read())]


def log_size(pebble):
    return os.path.getsize(os.path.join(pebble.dir, "pebble.log"))


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else None
