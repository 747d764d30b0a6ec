# Licensed under the Apache License, Version 2.0; see LICENSE.
"""httpd -t: tells everything, touches nothing, talks to nobody, also with 5,000 vhosts."""
import os
import re
import resource
import stat

import pytest

from lib import util
from lib.authority import Authority, write
from lib.util import where

NOBODY = 65534
CHANGES = re.compile(r"^(mkdir|mknod|rmdir|unlink|rename|link|symlink|chmod|fchmod|chown|fchown|lchown|truncate|ftruncate|utime|futimes|"
                     r"setxattr|fsetxattr|fallocate|creat|flock|fsync|fdatasync)")
NETWORK = re.compile(r"^(connect|bind|listen|accept|sendto|sendmsg|sendmmsg)\b")


def as_nobody():
    return ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]


class Trace:
    """The system calls of a -t."""

    def __init__(self, httpd, wrapper=(), *more):
        path = os.path.join(httpd.root, "traces", "trace")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.chmod(os.path.dirname(path), 0o1777)
        if os.path.exists(path):
            os.remove(path)
        self.result = httpd.configtest(*more, wrapper=[*wrapper, "strace", "-f", "-o", path, "-s", "200"])
        with open(path, errors="replace") as file:
            self.calls = [re.sub(r"^\d+ +", "", line) for line in file]
        assert len(self.calls) > 100, self.calls

    def changes(self):
        """Calls that open something for writing or change something."""
        opened = [c for c in self.calls if re.match(r"(openat2?|open)\(", c) and re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND", c)
                  and '"/dev/null"' not in c]
        changed = [c for c in self.calls if CHANGES.match(c)]
        if os.environ.get("ACMECLIENT_PRELOAD"):
            changed = [c for c in changed if "EEXIST" not in c]   # a sanitizer makes sure of its log's directory
        return opened + changed

    def talk(self):
        """What is said to sockets, without what differs from run to run."""
        return {re.sub(r"\d+", "N", c.split(" = ")[0]) for c in self.calls if NETWORK.match(c)}

    def opened(self, path):
        return [c for c in self.calls if re.match(r"(openat2?|open)\(", c) and '"%s' % path in c]


def snapshot(directory):
    """Everything a look must not change."""
    seen = {}
    for place, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(place, name)
            st = os.lstat(path)
            data = open(path, "rb").read() if stat.S_ISREG(st.st_mode) else None
            seen[path] = (st.st_mode, st.st_uid, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns, data)
    return seen


@pytest.fixture
def httpd(make_httpd):
    h = make_httpd()
    h.conf("AcmeStoreDir %s\nAcmePortMap http:%d https:%d\nAcmeTermsOfService accepted\nAcmeDirectoryURL https://127.0.0.1:%d/dir"
           % (h.store, h.http_port, h.https_port, util.free_port()))
    h.vhost("a.example.org")
    return h


def nothing(httpd):
    pass


def empty(httpd):
    os.mkdir(httpd.store, 0o700)


def lived_in(httpd):
    """A store that a server has used, with files of every kind and of every state."""
    authority = Authority(httpd.root)
    httpd.vhost("b.example.org", extra="AcmeKeyType P-256 RSA-2048")
    authority.store(httpd, "b.example.org")
    httpd.start()
    httpd.stop()
    authority.store(httpd, "a.example.org")
    for name in ("a.example.org.crt.pem.upd", "overflow.upd", "journal", "a.example.org.retry", "b.example.org.key.pem.new"):
        write(os.path.join(httpd.store, name), b"damaged\n")
    os.chmod(os.path.join(httpd.store, "a.example.org.key.pem"), 0o644)
    files = httpd.store_files()
    assert any(f.endswith(".jwk") for f in files) and "lock" in files and any(f.startswith("placeholder/") for f in files), files


def loose(httpd):
    lived_in(httpd)
    os.chmod(httpd.store, 0o777)


@pytest.mark.parametrize("prepare", [nothing, empty, lived_in, loose])
@pytest.mark.parametrize("wrapper", [[], as_nobody()], ids=["root", "nobody"])
def test_touches_nothing_and_talks_to_nobody(httpd, prepare, wrapper):
    if os.geteuid() != 0 and wrapper:
        pytest.skip("needs root to become somebody else")
    prepare(httpd)
    before = snapshot(httpd.store)
    trace = Trace(httpd, wrapper, "-D", "DUMP_ACME")
    assert trace.result.returncode == 0 and "Syntax OK" in trace.result.stdout, trace.result.stdout
    assert trace.changes() == []
    assert snapshot(httpd.store) == before
    assert os.path.exists(httpd.store) == (prepare is not nothing)
    if prepare is not nothing and not wrapper:
        assert trace.opened(httpd.store)   # it did look
    httpd.clear()
    httpd.vhost("a.example.org", engine=False, extra="SSLCertificateFile %s" % Authority(httpd.root).pem(["a.example.org"]))
    os.chmod(os.path.join(httpd.root, "a.example.org.pem"), 0o644)
    without = Trace(httpd, wrapper)
    assert without.result.returncode == 0
    assert trace.talk() == without.talk()


def test_leaves_a_running_server_alone(httpd):
    """-t beside it takes no lock, changes no file, and the server goes on."""
    Authority(httpd.root).store(httpd, "a.example.org")
    httpd.start()
    httpd.wait_log(r"owner is pid")
    before = {p: v for p, v in snapshot(httpd.store).items() if not p.endswith(".upd")}
    result = httpd.configtest()
    assert result.returncode == 0 and "AC0711" not in result.stdout
    after = {p: v for p, v in snapshot(httpd.store).items() if not p.endswith(".upd")}
    assert after == before
    assert httpd.owner() in httpd.children() and httpd.get("a.example.org").status == 200


def test_of_a_user_gives_no_false_advice(httpd):
    """Root's store is right for the server, whoever runs -t."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    lived_in(httpd)
    result = httpd.configtest(wrapper=as_nobody())
    assert result.returncode == 0 and "uid %d" % NOBODY not in result.stdout, result.stdout
    os.chmod(httpd.store, 0o755)
    result = httpd.configtest(wrapper=as_nobody())
    assert result.returncode == 0 and "chmod 0700 '%s'" % httpd.store in result.stdout and "uid %d" % NOBODY not in result.stdout


# ---- strict ----

def test_strict_tells_by_status(httpd):
    """-D ACME_STRICT: 0 when there is nothing to say, 1 when there is; without it always 0."""
    empty(httpd)
    result = httpd.configtest("-D", "ACME_STRICT")
    assert result.returncode == 0 and "AC0" not in result.stdout, result.stdout
    os.chmod(httpd.store, 0o755)
    assert httpd.configtest("-D", "ACME_STRICT").returncode == 1
    assert httpd.configtest().returncode == 0


# ---- -D DUMP_ACME ----

LONG_NAME = "a-rather-long-name-for-a-host.with-many-labels.example.org"


@pytest.fixture
def dumped(httpd):
    authority = Authority(httpd.root)
    httpd.vhost(LONG_NAME, aliases=["www.example.org"], extra="AcmeKeyType P-384 RSA-2048\nAcmeChallenges tls-alpn-01 http-01")
    httpd.vhost("a.example.org", aliases=["b.example.org"])
    httpd.vhost("bad.example.org", extra="AcmeNames +localhost")
    pair = authority.store(httpd, "a.example.org", names=["a.example.org", "b.example.org"], days=61)
    authority.store(httpd, "former.example.org")
    result = httpd.configtest("-D", "DUMP_ACME")
    assert result.returncode == 0, result.stdout
    return httpd, pair, result.stdout


def table(text):
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("CERTIFICATE "))
    return lines[start], [line for line in lines[start + 1:] if not line.startswith(" ")], lines[start + 1:]


def facts(lines, identity):
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == [identity])
    found = {}
    for line in lines[at + 1:]:
        if not line.startswith("    "):
            break
        name, value = line.split(None, 1)
        found[name] = value
    return lines[at], found


def test_dump_has_every_fact(dumped):
    httpd, pair, text = dumped
    _, _, lines = table(text)
    row, fact = facts(lines, "a.example.org")
    assert row.split() == ["a.example.org", "P-256", pair.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"), "present"]
    assert fact["names"] == "a.example.org,b.example.org"
    assert fact["CA"].startswith("https://127.0.0.1:") and fact["challenges"]
    assert fact["vhosts"] == "%s,%s" % (where(httpd.conf_file, "<VirtualHost", 1), where(httpd.conf_file, "<VirtualHost", 3))
    assert fact["files"] == "%s/a.example.org.crt.pem %s/a.example.org.key.pem" % (httpd.store, httpd.store)
    row, fact = facts(lines, LONG_NAME)
    assert row.split() == [LONG_NAME, "P-384", "-", "missing"] and fact["challenges"] == "tls-alpn-01,http-01"
    row, fact = facts(lines, LONG_NAME + ".rsa2048")
    assert row.split()[1] == "RSA-2048"
    assert fact["files"] == "%s/%s.rsa2048.crt.pem %s/%s.rsa2048.key.pem" % (httpd.store, LONG_NAME, httpd.store, LONG_NAME)
    assert facts(lines, "bad.example.org")[1]["error"].startswith("localhost cannot be ordered")


def test_dump_has_fixed_columns(dumped):
    _, _, text = dumped
    head, rows, _ = table(text)
    columns = [head.index(word) for word in ("KEY", "EXPIRES", "ON DISK")]
    rows = [row for row in rows if re.search(r" (present|missing|placeholder)$", row)]
    assert len(rows) == 4
    for row in rows:
        for column in columns:
            assert row[column] != " " and row[column - 1] == " ", (head, row)


def test_dump_tells_orphans_and_warnings(dumped):
    httpd, _, text = dumped
    assert "orphan: %s/former.example.org.crt.pem" % httpd.store in text.splitlines()
    assert len([line for line in text.splitlines() if line.startswith("orphan: ")]) == 1
    assert any(re.match(r"error: AC0111: bad\.example\.org: ", line) for line in text.splitlines())
    os.chmod(httpd.store, 0o750)
    text = httpd.configtest("-D", "DUMP_ACME").stdout
    assert any(re.match(r"error: AC0106: .*mode 0750; wanted: .*mode 0700; remedy: ", line) for line in text.splitlines()), text


def test_no_dump_unless_asked(httpd):
    assert "CERTIFICATE " not in httpd.configtest().stdout


# ---- many ----

def seconds(httpd):
    """Of processor time, so that a busy machine does not matter much. (Only the sum is exact: what is the kernel's part is
    sampled.)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = httpd.configtest(write=False, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stdout[-2000:]
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def many(make_httpd, n, engine, shape):
    h = make_httpd(name="%d-%s" % (n, engine))
    h.conf("AcmeStoreDir %s\nAcmeEngine %s\nAcmePortMap http:80 https:443\nAcmeTermsOfService accepted" % (h.store, engine))
    os.makedirs(h.store, 0o700, exist_ok=True)
    for i in range(n):
        h.vhost("v%d.example.org" % i, aliases=["www.v%d.example.org" % i], engine=False, extra=shape % {"i": i})
    h.write()
    return h


@pytest.mark.alone
@pytest.mark.parametrize("shape", ["", "AcmeKeyType P-256 RSA-2048\nAcmeCertPath crt/%(i)d.pem\nAcmeKeyPath key/%(i)d.pem\nAcmeEmail a@example.org",
                                   "AcmeCertPath one.pem\nAcmeKeyPath one.key"], ids=["plain", "written", "one certificate"])
def test_thousands_of_vhosts_are_linear(make_httpd, shape):
    """Twice the vhosts take twice the time and a bit, in the module's own part: with AcmeEngine on minus off. Seen over two
    doublings around 5,000, where a square would be sixteen times as much."""
    hosts = {(n, engine): many(make_httpd, n, engine, shape) for n in (2500, 10000) for engine in ("on", "off")}
    rounds = [{which: seconds(h) for which, h in hosts.items()} for _ in range(4)]
    best = {which: min(one[which] for one in rounds) for which in hosts}
    own = {n: best[n, "on"] - best[n, "off"] for n in (2500, 10000)}
    assert own[10000] <= 2.4 * 2.4 * own[2500] + 0.1, best


@pytest.mark.parametrize("portmap, warned", [("", True), ("AcmePortMap http:- https:-", True), ("AcmePortMap http:%(http)d", False),
                                             ("AcmePortMap https:%(https)d", False), ("AcmePortMap http:1 https:2", True)])
def test_nothing_listens_where_the_ca_comes(make_httpd, portmap, warned):
    httpd = make_httpd()
    httpd.conf("AcmeStoreDir %s\nAcmeTermsOfService accepted\n%s" % (
        httpd.store, portmap % {"http": httpd.http_port, "https": httpd.https_port}))
    httpd.vhost("a.example.org")
    result = httpd.configtest()
    assert result.returncode == 0 and ("AC0103" in result.stdout) == warned, result.stdout
