# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A private httpd: root parent, www-data children, loopback ports, its own ServerRoot.

    h = Httpd(directory, mpm="event")      nothing is started; h.http_port and h.https_port are chosen
    h.conf("AcmeWorkers 2")                more lines of server config (any text)
    h.use_ca(pebble_or_chaos, **more)      AcmeDirectoryURL, AcmeCAFile, AcmeEmail, AcmeTermsOfService, AcmePortMap
    h.vhost("a.test", aliases=[...], extra="AcmeKeyType RSA-2048", engine=True)
    h.raw("...")                           the whole acme and vhost part as text instead of the above
    h.start()  h.stop()  h.graceful()  h.restart()  h.kill9()
    h.pid  h.children()  h.log()  h.log_lines(pattern)  h.wait_log(pattern, timeout)
    logged_at(line)                        seconds since the epoch of a line of the error log
    h.wrapper = ["prlimit", "--nofile=1100"]     start() runs httpd through a command that execs it
    h.configtest("-D", "DUMP_ACME", wrapper=["strace", ...])  -> CompletedProcess
    h.handshake("a.test", tls="1.2", ciphers="aRSA", alpn=[...]) -> Seen(der, serial, issuer, names, pid, ...)
    h.get("a.test", "/path", tls=True)     -> Reply(status, headers, body, pid)
    h.wait_live("a.test", ca)              -> Seen of the CA's certificate, or AssertionError with the log's tail
    h.handshake_all_children("a.test", until=lambda seen: ..., timeout=10) -> {pid: Seen}
    h.owner()                              pid of the running child that took the owner lock last, from the log
    h.store                                the AcmeStoreDir
"""
import collections
import functools
import datetime
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

from cryptography import x509

from . import util

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
MODULES = ["unixd", "log_config", "authz_core", "watchdog", "dir", "setenvif", "socache_shmcb", "ssl"]

def logged_at(line):
    """When a line of the error log was written (httpd runs in UTC), as time.time() counts."""
    when = datetime.datetime.strptime(re.match(r"\[([^]]*)\]", line).group(1), "%a %b %d %H:%M:%S.%f %Y")
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


Seen = collections.namedtuple("Seen", "der serial issuer subject names not_before not_after pid version cipher alpn reused")
Seen.issued_by = lambda self, ca: self.issuer != self.subject and ca.issued(self.der)
Reply = collections.namedtuple("Reply", "status headers body pid")


def httpd_program():
    named = os.environ.get("ACMECLIENT_HTTPD")
    for name in [named] if named else ["apache2", "httpd"]:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/apache2/bin")
        if found:
            return found
    raise RuntimeError("no httpd found: install apache2-bin or set ACMECLIENT_HTTPD")


def module_file():
    named = os.environ.get("ACMECLIENT_MODULE")
    for path in [named] if named else [os.path.join(d, ".libs", "mod_acmeclient.so") for d in (os.getcwd(), SOURCE)]:
        if os.path.exists(path):
            return os.path.abspath(path)
    raise RuntimeError("mod_acmeclient.so is not built: run make, or set ACMECLIENT_MODULE")


@functools.lru_cache(maxsize=None)
def _built_in(program):
    text = subprocess.run([program, "-l"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True).stdout
    return set(re.findall(r"mod_(\w+)\.c", text))


def _modules_dir(program):
    for path in ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules",
                 os.path.join(os.path.dirname(os.path.dirname(program)), "modules")):
        if os.path.exists(os.path.join(path, "mod_ssl.so")):
            return path
    raise RuntimeError("no directory with mod_ssl.so found")


def unchunk(body):
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            return whole
        whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]


class Httpd:
    def __init__(self, directory, mpm="event", modules=(), address="127.0.0.1", http_port=None, https_port=None,
                 children=3, mpm_conf=None, env=None, module=None, store=None):
        self.root = str(directory)
        self.mpm = mpm
        self.modules = MODULES + [m for m in modules if m not in MODULES]
        self.address = address
        self.http_port = http_port or util.free_port(address)
        self.https_port = https_port or util.free_port(address)
        self.program = httpd_program()
        self.module = module or module_file()
        self.env = dict(env or {})
        self.n_children = children
        self.mpm_conf = mpm_conf
        self.store = store or os.path.join(self.root, "store")
        self.error_log = os.path.join(self.root, "error.log")
        self.conf_file = os.path.join(self.root, "httpd.conf")
        self.log_level = "info acmeclient:debug"
        self.process = None
        self.wrapper = []
        self._conf, self._vhosts, self._raw, self._names = [], [], None, []
        self._recorded = set()
        for name in ("", "htdocs", "modules", "run"):
            os.makedirs(os.path.join(self.root, name), exist_ok=True)
            os.chmod(os.path.join(self.root, name), 0o755)
        # A sanitizer's report may come from a child.
        os.makedirs(os.path.join(self.root, "san"), exist_ok=True)
        os.chmod(os.path.join(self.root, "san"), 0o1777)
        # A copy, so that a build that goes on beside the test cannot change it; and where README says it is.
        shutil.copy(self.module, os.path.join(self.root, "modules", "mod_acmeclient.so"))
        with open(os.path.join(self.root, "htdocs", "index.html"), "w") as file:
            file.write("hello\n")

    # ---- configuration ----

    def conf(self, text):
        self._conf.append(text)

    def raw(self, text):
        self._raw = text

    def clear(self):
        """Forgets conf(), use_ca(), vhost() and raw(): for a graceful restart with another configuration."""
        self._conf, self._vhosts, self._raw, self._names = [], [], None, []

    def use_ca(self, ca, email="admin@example.org", terms=True, portmap=True, store=True):
        self.conf("AcmeDirectoryURL %s\nAcmeCAFile %s" % (ca.directory, ca.ca_file))
        if email:
            self.conf("AcmeEmail %s" % email)
        if terms:
            self.conf("AcmeTermsOfService accepted")
        if portmap:
            self.conf("AcmePortMap http:%d https:%d" % (self.http_port, self.https_port))
        if store:
            self.conf("AcmeStoreDir %s" % self.store)

    def vhost(self, name, aliases=(), extra="", engine=True, tls=True, port=None):
        lines = ["<VirtualHost %s:%d>" % (self.address, port or (self.https_port if tls else self.http_port)),
                 "    ServerName %s" % name]
        lines += ["    ServerAlias %s" % alias for alias in aliases]
        lines += ["    SSLEngine on"] if tls else []
        lines += ["    AcmeEngine on"] if tls and engine else []
        lines += ["    " + line for line in extra.splitlines()]
        self._vhosts.append("\n".join(lines + ["</VirtualHost>", ""]))
        self._names += [name, *aliases]

    def _mpm_lines(self):
        if self.mpm_conf is not None:
            return self.mpm_conf
        n = self.n_children
        if self.mpm == "prefork":
            return "StartServers %d\nMinSpareServers %d\nMaxSpareServers %d\nMaxRequestWorkers 40" % (n, n, n + 8)
        return ("StartServers %d\nServerLimit 16\nThreadsPerChild 8\nMinSpareThreads %d\nMaxSpareThreads %d\n"
                "MaxRequestWorkers 128" % (n, 8 * (n - 1), 8 * (n + 2)))

    def write(self):
        """The configuration as it stands, with everything a private server needs around it."""
        built_in, directory = _built_in(self.program), _modules_dir(self.program)
        lines = ["ServerRoot %s" % self.root, "DefaultRuntimeDir run", "PidFile run/httpd.pid",
                 "ServerName localhost", "ErrorLog %s" % self.error_log, "LogLevel %s" % self.log_level]
        for name in ["mpm_" + self.mpm] + self.modules:
            if name not in built_in:
                lines.append("LoadModule %s_module %s/mod_%s.so" % (name, directory, name))
        if "LoadModule acmeclient_module" not in "\n".join([self._raw or "", *self._conf]):
            lines.append("LoadModule acmeclient_module modules/mod_acmeclient.so")
        if os.geteuid() == 0:
            lines += ["User www-data", "Group www-data"]
        lines += [self._mpm_lines(), "Listen %s:%d" % (self.address, self.http_port),
                  "Listen %s:%d" % (self.address, self.https_port), "DocumentRoot %s/htdocs" % self.root,
                  "<Directory %s/htdocs>" % self.root, "    Require all granted", "</Directory>",
                  'LogFormat "%P %v %>s %U" pid', "CustomLog access.log pid", "Timeout 10", "KeepAliveTimeout 3"]
        lines += ["SSLSessionCache shmcb:run/ssl_scache(512000)"] if "ssl" in self.modules else []
        lines += self._conf
        if self._raw is not None:
            lines.append(self._raw)
        lines += self._vhosts
        with open(self.conf_file, "w", errors="surrogateescape") as file:
            file.write("\n".join(lines) + "\n")

    def environment(self):
        env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "FAKETIME")}
        env["TZ"] = "UTC"
        env.update(self.env)
        preload = " ".join(p for p in (os.environ.get("ACMECLIENT_PRELOAD"), self.env.get("LD_PRELOAD")) if p)
        if preload:
            env["LD_PRELOAD"] = preload
            env.setdefault("ASAN_OPTIONS", "detect_leaks=0:log_path=%s/san/asan" % self.root)
            env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:log_path=%s/san/ubsan" % self.root)
            # Threads that are left are httpd's own, and so are races between its own calls of libc.
            env.setdefault("TSAN_OPTIONS", "report_thread_leaks=0:ignore_noninstrumented_modules=1:log_path=%s/san/tsan" % self.root)
        return env

    def command(self, *more):
        return [self.program, "-d", self.root, "-f", self.conf_file, *more]

    def configtest(self, *more, wrapper=(), write=True, timeout=60):
        if write:
            self.write()
        return subprocess.run([*wrapper, *self.command("-t", *more)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, errors="replace", env=self.environment(), timeout=timeout)

    # ---- life ----

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def start(self, wait=True, write=True, timeout=30):
        if write:
            self.write()
        self._out = open(os.path.join(self.root, "stderr"), "ab")
        self.process = subprocess.Popen([*self.wrapper, *self.command("-DFOREGROUND")], env=self.environment(), stdout=self._out,
                                        stderr=self._out, stdin=subprocess.DEVNULL, start_new_session=True)
        self._out.close()
        if not wait:
            return self
        up = util.wait_for(lambda: self.process.poll() is not None or (util.listening(self.address, self.https_port)
                                                                       and self.children()), timeout)
        assert up and self.process.poll() is None, "httpd did not start:\n%s\n%s" % (
            util.tail(os.path.join(self.root, "stderr")), util.tail(self.error_log))
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def children(self):
        """Processes of the server below its parent (with mod_cgid that one's daemon as well)."""
        if not self.running():
            return []
        try:
            program = os.readlink("/proc/%d/exe" % self.pid)
        except OSError:
            return []
        found = []
        for pid in util.children_of(self.pid):
            try:
                if os.readlink("/proc/%d/exe" % pid) == program:
                    found.append(pid)
            except OSError:
                pass
        self._recorded.update(found)
        return found

    def graceful(self, write=True, wait=True, timeout=20):
        """SIGUSR1; waits until the new generation's children are there."""
        if write:
            self.write()
        before, resumed = set(self.children()), len(self.log_lines("resuming normal operations"))
        os.kill(self.pid, signal.SIGUSR1)
        if wait:
            done = util.wait_for(lambda: not self.running() or (
                len(self.log_lines("resuming normal operations")) > resumed and set(self.children()) - before), timeout)
            assert done and self.running(), "httpd did not survive a graceful restart:\n" + util.tail(self.error_log)

    def restart(self, write=True, timeout=20):
        if write:
            self.write()
        resumed = len(self.log_lines("resuming normal operations"))
        os.kill(self.pid, signal.SIGHUP)
        done = util.wait_for(lambda: not self.running()
                             or len(self.log_lines("resuming normal operations")) > resumed, timeout)
        assert done and self.running(), "httpd did not survive a restart:\n" + util.tail(self.error_log)

    def stop(self, timeout=15):
        """SIGTERM; whatever is left of this server afterwards is killed by its pid."""
        if self.process is None:
            return
        self.children()
        left = set(util.descendants_of(self.pid)) if self.running() else set()
        util.end_process(self.process, timeout)
        self._end(left)

    def kill9(self):
        """The power cut: parent and children at once; stopped, the parent starts none meanwhile."""
        util.kill([self.pid], signal.SIGSTOP)
        left = set(util.descendants_of(self.pid))
        util.kill([self.pid, *left])
        self.process.wait()
        self._end(left)

    def _end(self, pids):
        pids = {pid for pid in pids if util.running(pid)}
        if not util.wait_for(lambda: not any(util.running(pid) for pid in pids), 3):
            util.kill([pid for pid in pids if util.running(pid)])
        self.process = None

    # ---- log ----

    def log(self):
        try:
            with open(self.error_log, errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def log_lines(self, pattern):
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, timeout=15.0, count=1):
        lines = util.wait_for(lambda: len(self.log_lines(pattern)) >= count and self.log_lines(pattern), timeout)
        assert lines, "no log line /%s/ in %gs:\n%s" % (pattern, timeout, util.tail(self.error_log))
        return lines

    def sanitizer_reports(self):
        """What a sanitizer wrote, of any process of this server; "" without one."""
        text = "".join(util.tail(os.path.join(self.root, "san", name), 200) for name in os.listdir(os.path.join(self.root, "san")))
        for path in (self.error_log, os.path.join(self.root, "stderr")):
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    text += "".join(l for l in file if re.search(r"(Address|Thread|Leak)Sanitizer|runtime error:", l))
        return text

    # ---- seen from outside ----

    def child_of_socket(self, sock):
        """The pid of the child that holds the other end of a connection: the kernel knows."""
        local, remote = sock.getsockname(), sock.getpeername()
        want = ":%04X" % remote[1], ":%04X" % local[1]
        inode = None
        with open("/proc/net/tcp") as file:
            for line in file:
                fields = line.split()
                if fields[1].endswith(want[0]) and fields[2].endswith(want[1]):
                    inode = "socket:[%s]" % fields[9]
        for pid in self.children() if inode else []:
            try:
                for fd in os.listdir("/proc/%d/fd" % pid):
                    if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == inode:
                        return pid
            except OSError:
                continue
        return None

    def connect(self, name, tls=None, ciphers=None, alpn=None, session=None, timeout=10, verify=None, port=None):
        """An open TLS connection (ssl.SSLSocket); tls "1.2" or "1.3"."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if verify:
            context.load_verify_locations(verify)
            context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, True
        if tls:
            version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[tls]
            context.minimum_version = context.maximum_version = version
        if ciphers:
            context.set_ciphers(ciphers)
        if alpn:
            context.set_alpn_protocols(alpn)
        if session is not None:
            context = getattr(session, "_context", context)
        raw = socket.create_connection((self.address, port or self.https_port), timeout=timeout)
        try:
            return context.wrap_socket(raw, server_hostname=name, session=session)
        except BaseException:
            raw.close()
            raise

    def look(self, sock):
        """What an open connection shows."""
        der = sock.getpeercert(True)
        cert = x509.load_der_x509_certificate(der)
        try:
            sans = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = sorted(str(n.value) for n in sans)
        except x509.ExtensionNotFound:
            names = []
        return Seen(der, cert.serial_number, cert.issuer.rfc4514_string(), cert.subject.rfc4514_string(), names,
                    cert.not_valid_before, cert.not_valid_after, self.child_of_socket(sock), sock.version(),
                    sock.cipher()[0], sock.selected_alpn_protocol(), sock.session_reused)

    def handshake(self, name, **options):
        with self.connect(name, **options) as sock:
            return self.look(sock)

    def get(self, name, path="/", tls=True, timeout=10, headers=(), port=None):
        """One request, one connection."""
        return self.request(self.open(name, tls, timeout, port), name, path, headers)

    def open(self, name, tls=False, timeout=10, port=None):
        if tls:
            return self.connect(name, timeout=timeout, port=port)
        return socket.create_connection((self.address, port or self.http_port), timeout=timeout)

    def request(self, sock, name, path="/", headers=()):
        """The last request of an open connection."""
        with sock:
            lines = ["GET %s HTTP/1.1" % path, "Host: %s" % name, "Connection: close", *headers, "", ""]
            sock.sendall("\r\n".join(lines).encode())
            pid, data = self.child_of_socket(sock), b""
            while True:
                try:
                    part = sock.recv(65536)
                except ssl.SSLError:
                    break
                if not part:
                    break
                data += part
        head, _, body = data.partition(b"\r\n\r\n")
        head = head.decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        assert len(head[0].split()) > 1, "no HTTP answer: %r" % data[:200]
        if fields.get("transfer-encoding") == "chunked":
            body = unchunk(body)
        return Reply(int(head[0].split()[1]), fields, body, pid)

    def try_handshake(self, name, **options):
        try:
            return self.handshake(name, **options)
        except OSError:
            return None

    def wait_live(self, name, ca, timeout=20.0, not_serial=None, **options):
        """Waits until a fresh handshake shows a certificate of the CA (another than not_serial)."""
        def live():
            seen = self.try_handshake(name, **options)
            return seen if seen and seen.issued_by(ca) and seen.serial != not_serial else None
        seen = util.wait_for(live, timeout)
        assert seen, "%s: no certificate of the CA in %gs:\n%s" % (name, timeout, util.tail(self.error_log))
        return seen

    def handshake_all_children(self, name, until=None, timeout=10.0, pids=None, **options):
        """Handshakes until every child has answered; with `until`, until each child's last answer satisfies it.

        Connections are held open in growing batches, so that a child that is busy with one cannot take all of
        them. Returns {pid: last Seen}; fails when the time is over."""
        seen, end, batch = {}, time.monotonic() + timeout, 4
        at_first = set(self.children())
        while True:
            # Children that httpd starts meanwhile, for the connections held here, are none of those asked for.
            now = set(self.children())
            wanted = set(pids) if pids is not None else now & at_first or now
            missing = {p for p in wanted if p not in seen or (until and not until(seen[p]))}
            if wanted and not missing:
                return {pid: seen[pid] for pid in wanted}
            assert time.monotonic() < end, "%s: no %sanswer of %s; got %s" % (
                name, "right " if until else "", sorted(missing), {p: hex(s.serial) for p, s in seen.items()})
            held = []
            try:
                for _ in range(batch):
                    held.append(self.connect(name, **options))
                    look = self.look(held[-1])
                    if look.pid is not None:
                        seen[look.pid] = look
            except OSError:
                time.sleep(0.05)
            finally:
                for sock in held:
                    sock.close()
            batch = min(batch + 4, 32)

    def get_all_children(self, name, path, timeout=10.0, tls=False):
        """{pid: Reply} with an answer of every child to one plain request."""
        seen, end, batch = {}, time.monotonic() + timeout, 4
        while True:
            missing = set(self.children()) - set(seen)
            if seen and not missing:
                return seen
            assert time.monotonic() < end, "no answer of %s" % sorted(missing)
            held = []
            try:
                # All are open before the first is used: whoever has accepted some leaves the rest to others.
                for _ in range(batch):
                    held.append(self.open(name, tls))
                while held:
                    reply = self.request(held.pop(), name, path)
                    seen[reply.pid] = reply
            finally:
                for sock in held:
                    sock.close()
            seen.pop(None, None)
            batch = min(batch + 4, 24)

    def owner(self):
        """The pid in the newest line that says who took the owner lock, if that child still runs."""
        for line in reversed(self.log_lines(r"owner is pid \d+")):
            pid = int(re.search(r"owner is pid (\d+)", line).group(1))
            if util.running(pid):
                return pid
        return None

    def store_files(self):
        found = []
        for directory, _, files in os.walk(self.store):
            found += [os.path.relpath(os.path.join(directory, f), self.store) for f in files]
        return sorted(found)
