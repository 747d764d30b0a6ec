# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Children come and go at any moment, the work goes on, and the log tells of it."""
import itertools
import os
import random
import re
import signal
import socket
import threading
import time

import pytest

from lib import util
from lib.chaos import set_json
from lib.httpd import logged_at
from lib.pebble import make_pki
from test_renewal import moment

OWNERS, EXITS = 26, 67  # that end on each MPM: 200 children on three


def sockets_to(port):
    """Inodes of the sockets that are connected to a local port."""
    found = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name) as file:
            found |= {f[9] for f in (line.split() for line in file) if f[2].endswith(":%04X" % port) and f[3] == "01"}
    return found


def busy(pid, ca_port):
    """Is a thread of it computing, or has it a connection to the CA?"""
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, task)) as file:
                if file.read().rpartition(")")[2].split()[0] == "R":
                    return True
        held = {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
    except OSError:
        return False
    return any("socket:[%s]" % inode in held for inode in sockets_to(ca_port))


class Takeovers:
    """Owners in the order of the log, with the time each took the lock."""

    def __init__(self, httpd):
        self.httpd = httpd

    def lines(self):
        return self.httpd.log_lines(r"AC0742: pid \d+ owns the store")

    def wait(self, count, timeout=15):
        lines = util.wait_for(lambda: len(self.lines()) >= count and self.lines(), timeout, 0.02)
        assert lines, "no owner number %d:\n%s" % (count, util.tail(self.httpd.error_log))
        line = lines[count - 1]
        return int(re.search(r"AC0742: pid (\d+)", line).group(1)), logged_at(line)


def check_clean(httpd):
    bad = httpd.log_lines(r"exit signal|AH0004[56]|AH00052|core dump|still did not exit")
    assert not bad, bad[:3]
    assert not [name for name in os.listdir(httpd.root) if name.startswith("core")]


def key_types(httpd, chaos, n, kind):
    """Half of the certificates want large keys, each time of another size, so that there is always one to make."""
    httpd.clear()
    httpd.use_ca(chaos)
    for i in range(n):
        httpd.vhost("k%d.test" % i, extra="AcmeKeyType %s" % (kind if i % 2 else "P-256"))


def exits(make_httpd, make_pebble, make_chaos, mpm, owners_wanted):
    """Ends owners in the middle of TLS and key generation; returns how many children have ended."""
    httpd = make_httpd(mpm=mpm, children=3)
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("newOrder", hold="before", times=8)
    kinds, owners, dice = itertools.cycle(["RSA-4096", "RSA-3072"]), Takeovers(httpd), random.Random(mpm)
    key_types(httpd, chaos, 12, next(kinds))
    httpd.start()
    # From here on owners know directory and account, and begin with keys and orders.
    httpd.wait_log("account registered")
    chaos.clear()
    chaos.on("*", drip=0.001)
    were_busy, seen = 0, set()
    for number in range(1, owners_wanted + 1):
        owner, _ = owners.wait(number)
        time.sleep(dice.uniform(0.02, 0.25))
        were_busy += busy(owner, chaos.port)
        seen |= set(httpd.children())
        since = time.time()
        if number % 10 == 0:
            httpd.stop()
            httpd.start()
            since = None
        elif mpm == "prefork" and number % 4 == 0:
            # What the parent sends to each child of a server that stops; the other two are told by a pipe.
            os.kill(owner, signal.SIGTERM)
        else:
            key_types(httpd, chaos, 12, next(kinds))
            httpd.graceful()
        if since:
            assert owners.wait(number + 1)[1] - since <= 2, "exit %d: the lock was not taken over within 2 s" % number
        assert util.wait_for(lambda: not util.running(owner), 5), "exit %d: %d still runs" % (number, owner)
    seen |= set(httpd.children())
    httpd.stop()
    check_clean(httpd)
    assert were_busy >= owners_wanted * 3 // 4, "only %d of %d owners were at work" % (were_busy, owners_wanted)
    return len([pid for pid in seen if not util.running(pid)])


@pytest.mark.alone
def test_owner_exits_inside_openssl(make_httpd, make_pebble, make_chaos, mpm):
    """No crash, no core, nobody killed by the parent, and the lock passed on in 2 s."""
    assert exits(make_httpd, make_pebble, make_chaos, mpm, OWNERS if mpm != "prefork" else OWNERS * 7 // 5) >= EXITS


@pytest.mark.alone
@pytest.mark.sweep
def test_a_thousand_exits(make_httpd, make_pebble, make_chaos, mpm):
    assert exits(make_httpd, make_pebble, make_chaos, mpm, 334) >= 334


class Hammer:
    """Handshakes from several threads; what was not a certificate of the CA is kept."""

    def __init__(self, httpd, name, ca, threads=4, pause=0):
        self.httpd, self.name, self.ca, self.pause, self.over = httpd, name, ca, pause, threading.Event()
        self.faults, self.count, self.pids = [], 0, set()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.over.is_set():
            time.sleep(self.pause)
            try:
                seen = self.httpd.handshake(self.name)
                self.count += 1
                self.pids.add(seen.pid)
                if self.ca and not seen.issued_by(self.ca):
                    self.faults.append(seen.issuer)
            except OSError as error:
                # A child that ends may leave a connection in its listen queue's hands; a fault is a wrong certificate.
                if not isinstance(error, (ConnectionResetError, socket.timeout)):
                    self.faults.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def short_lives(httpd):
    return (httpd._mpm_lines() if httpd.mpm == "prefork" else
            "StartServers 3\nServerLimit 16\nThreadsPerChild 8\nMinSpareThreads 16\nMaxSpareThreads 40\n"
            "MaxRequestWorkers 128") + "\nMaxConnectionsPerChild 6"


def test_children_that_live_short(make_httpd, make_pebble, make_chaos, mpm):
    """MaxConnectionsPerChild 6 under load: the order is finished, once, and new children never show the placeholder again."""
    httpd = make_httpd(mpm=mpm)
    httpd.mpm_conf = short_lives(httpd)
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("*", delay=0.05)
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    with Hammer(httpd, "a.test", None, threads=2, pause=0.1):
        httpd.wait_log("a.test: live", timeout=25)
    assert chaos.count("newOrder", status=201) == 1 and chaos.count("finalize", status=200) == 1
    with Hammer(httpd, "a.test", chaos, threads=8) as hammer:
        assert util.wait_for(lambda: len(hammer.pids) >= 15, 20), "children do not change"
    assert not hammer.faults, hammer.faults[:3]
    assert len(httpd.log_lines("AC0742")) >= 2
    check_clean(httpd)


@pytest.mark.alone
def test_pinned_owner_gives_up(make_httpd, make_pebble, make_chaos, mpm):
    """A download of hours keeps the old owner's process; the lock, its workers and its configuration go within 2 s."""
    httpd = make_httpd(mpm=mpm)
    chaos = make_chaos(make_pebble(httpd))
    with open(os.path.join(httpd.root, "htdocs", "big"), "wb") as file:
        file.truncate(200 << 20)
    httpd.use_ca(chaos)
    httpd.vhost("a.test", extra="AcmePlaceholder serve")
    rule = chaos.on("authz", nth=1, hold="after")
    httpd.start()
    rule.wait_held()
    owner, downloads = httpd.owner(), []
    try:
        while not downloads or httpd.child_of_socket(downloads[-1]) != owner:
            downloads.append(socket.create_connection((httpd.address, httpd.http_port), timeout=10))
            downloads[-1].sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            downloads[-1].recv(1000)
            assert len(downloads) < 40
        ended = time.time()
        httpd.graceful()
        fresh, since = Takeovers(httpd).wait(2)
        assert fresh != owner and since - ended <= 2
        assert util.running(owner), "the old owner was not pinned, the test shows nothing"
        httpd.wait_live("a.test", chaos)
        assert chaos.count("newOrder", status=201) == 1 and chaos.count("finalize", status=200) == 1
    finally:
        for sock in downloads:
            sock.close()


def test_never_two_owners(make_httpd, make_pebble, make_chaos):
    """By the log: whoever takes the store, the one before has given it up or is gone."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("*", delay=0.05)
    httpd.use_ca(chaos)
    for n in range(6):
        httpd.vhost("n%d.test" % n)
    httpd.start()
    killed = {}
    for n in range(1, 7):
        owner, _ = Takeovers(httpd).wait(n)
        time.sleep(0.1)
        if n % 2:
            killed[owner] = time.time()
            os.kill(owner, signal.SIGKILL)
        else:
            httpd.graceful()
    for n in range(6):
        httpd.wait_live("n%d.test" % n, chaos)
    assert chaos.count("newOrder", status=201) == 6
    holder = None
    for line in httpd.log_lines("AC0742|AC0743"):
        pid = int(re.search(r"AC074\d: pid (\d+)", line).group(1))
        if "AC0743" in line:
            assert holder == pid
            holder = None
        else:
            assert holder is None or logged_at(line) >= killed[holder]
            holder = pid


def test_restarts_leak_nothing(make_httpd, make_pebble):
    """Descriptors of parent and children after twenty graceful restarts are those after two; the parent does not grow."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.vhost("b.test")
    httpd.start()
    for name in ("a.test", "b.test"):
        httpd.wait_live(name, pebble)

    def counts():
        owner = httpd.owner()
        child = next(pid for pid in reversed(httpd.children()) if pid != owner)
        return len(os.listdir("/proc/%d/fd" % httpd.pid)), len(os.listdir("/proc/%d/fd" % child))

    def anonymous():
        with open("/proc/%d/status" % httpd.pid) as file:
            return int(re.search(r"RssAnon:\s*(\d+) kB", file.read()).group(1))
    for n in range(20):
        if n == 2:
            fds, child_fds = counts()
        if n == 8:
            size = anonymous()
        httpd.graceful(write=False)
    now = counts()
    assert now[0] == fds and now[1] <= child_fds + 1
    assert os.environ.get("ACMECLIENT_PRELOAD") or anonymous() - size <= 400


def test_all_killed_then_started(make_httpd, make_pebble):
    """What was live but not yet adopted is live at once after the next start."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    assert "a.test.crt.pem" not in httpd.store_files()
    httpd.kill9()
    httpd.start()
    assert httpd.handshake("a.test").serial == seen.serial
    assert httpd.log_lines(r":notice\].* a\.test: adopted")


def test_parent_killed(make_httpd, make_pebble, make_chaos):
    """Its orphans keep the lock as long as they live; a new server works when they are gone, on the same order."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    rule = chaos.on("finalize", nth=1, hold="before")
    httpd.start()
    rule.wait_held()
    orphans = httpd.children()
    os.kill(httpd.pid, signal.SIGKILL)
    httpd.process.wait()
    util.kill(orphans)
    httpd.start()
    httpd.wait_live("a.test", chaos)
    assert chaos.count("newOrder", status=201) == 1
    assert len([e for e in chaos.requests("finalize") if e.status]) == 1


def test_board_that_is_outgrown(make_httpd, make_pebble, make_chaos):
    """Many certificates more at a graceful restart, an order under way: it is gone on with, and what was live stays live."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    rule = chaos.on("finalize", nth=1, hold="after")
    httpd.graceful()
    rule.wait_held()
    make_pki(os.path.join(httpd.root, "nowhere"))
    for n in range(80):
        httpd.vhost("n%d.test" % n, extra="AcmeDirectoryURL https://localhost:%d/dir\nAcmeCAFile %s/nowhere/ca.pem"
                    % (util.free_port(), httpd.root))
    httpd.graceful()
    assert httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    assert chaos.count("newOrder", status=201) == 2
    assert len([e for e in chaos.requests("finalize") if e.status]) == 2


# ---- the log ----

def test_the_lines_of_a_life(make_httpd, make_pebble, make_chaos):
    """Summary, obtained, live, adopted at NOTICE, name first; order URL and owner at INFO; one id for one kind of line."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test", extra="ErrorLog %s/a.log" % httpd.root)
    httpd.vhost("b.test")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    httpd.wait_live("b.test", chaos)
    summary = httpd.wait_log("2 never issued")[0]
    assert re.search(r"acmeclient:notice\] .* AC0710: 2 certificates: 0 valid, 0 due, 0 failing, 2 never issued; store %s; CA %s"
                     % (re.escape(httpd.store), re.escape(chaos.directory)), summary)
    assert httpd.log_lines(r"acmeclient:info\] .*owner is pid %d" % httpd.owner())
    assert httpd.log_lines(r"acmeclient:info\] .*AC0721: a\.test: next renewal at 20\d\d-")
    assert len(httpd.log_lines(r"acmeclient:info\] .* a\.test: .*https://localhost:%d/my-order/" % chaos.port)) == 1
    serial = "%x" % seen.serial
    lines = httpd.log_lines(r"acmeclient:notice\] .*AC0\d+: a\.test: ")
    assert [re.search(r"a\.test: (\w+)", line).group(1) for line in lines] == ["obtained", "live"]
    assert all(serial in line for line in lines)
    httpd.graceful()
    assert len(httpd.wait_log(r"acmeclient:notice\] .*AC0\d+: a\.test: adopted.*%s" % serial)) == 1
    assert httpd.wait_log("2 certificates: 2 valid, 0 due, 0 failing, 0 never issued")
    # The vhost's own log has what concerns it, and nothing of the others.
    with open(os.path.join(httpd.root, "a.log")) as file:
        copy = [line for line in file if "acmeclient:" in line]
    assert [re.search(r"a\.test: (\w+)", line).group(1) for line in copy] == ["obtained", "live", "adopted"]
    ours = httpd.log_lines(r"\[acmeclient:(notice|warn|error)")
    assert all(re.search(r"AC0\d{3}: ", line) for line in ours)
    assert not httpd.log_lines(r"\[acmeclient:(warn|error)\](?!.*AC0103)")


def failed_validation(httpd):
    line = httpd.wait_log(r"acmeclient:warn\] .*a\.test: .*attempt 1, next try at")
    assert len(line) == 1
    match = re.search(r"AC0\d+: a\.test: (\S+): (.*); arrivals here: (\d+) over IPv4, (\d+) over IPv6, (\d+) with a foreign Host; "
                      r"(\d+) strays(?:; self-check of [^;]*)? \((\S+)\); attempt 1, next try at (\S+)", line[0])
    assert match, line[0]
    return match.groups()


def test_validation_that_never_arrives(make_httpd, make_pebble):
    """Step, type of challenge, the CA's words, the attempt, the next try in UTC, and that nothing came here."""
    httpd = make_httpd()
    pebble = make_pebble(httpd, http_port=util.free_port(), tls_port=util.free_port())
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges http-01")
    httpd.vhost("a.test")
    httpd.start()
    step, text, v4, v6, foreign, strays, ca, following = failed_validation(httpd)
    assert "a.test: http-01: " in text and "connection" in text and "refused" in text
    assert (v4, v6, foreign, strays) == ("0", "0", "0", "0") and ca == pebble.directory
    assert 58 <= moment(following) - time.time() <= 67


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_validation_that_arrives_and_fails(make_httpd, make_pebble, make_chaos, challenge):
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    wrong = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "another\nmachine \x1b[31manswered"}
    asked = chaos.on("order", edit=set_json(status="invalid"))

    def refuse(reply):
        if asked.seen:
            set_json(status="invalid", challenges=[{"type": challenge, "url": chaos.directory, "status": "invalid", "token": "a" * 32,
                                                    "error": wrong}])(reply)
    chaos.on("authz", edit=refuse)
    httpd.use_ca(chaos)
    httpd.conf("AcmeChallenges %s" % challenge)
    httpd.vhost("a.test")
    httpd.start()
    _, text, v4, v6, foreign, _, _, _ = failed_validation(httpd)
    assert "a.test: %s: " % challenge in text and "unauthorized" in text
    assert "\x1b" not in text and re.search(r"another.*machine", text)
    assert int(v4) >= 1 and (v6, foreign) == ("0", "0")


def test_subproblems_are_told(make_httpd, make_pebble, make_chaos):
    """Which of the names, and what is wrong with it; nothing the CA sends breaks the line."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("newOrder", status=403, headers={"Content-Type": "application/problem+json"}, body={
        "type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not these\r\n[Tue] forged line", "subproblems": [
            {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "never that one",
             "identifier": {"type": "dns", "value": "www.a.test"}}]})
    httpd.use_ca(chaos)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.start()
    line = httpd.wait_log(r"a\.test: new-order: .*attempt 1, next try at")
    assert len(line) == 1 and "rejectedIdentifier" in line[0] and "not these" in line[0]
    assert re.search(r"www\.a\.test.*never that one", line[0])
    assert not httpd.log_lines(r"^\[Tue\] forged")


def test_graceful_stop_in_the_middle(make_httpd, make_pebble, make_chaos, mpm):
    """SIGWINCH while an order is under way: all processes end, cleanly, and the next start goes on with it."""
    httpd = make_httpd(mpm=mpm)
    chaos = make_chaos(make_pebble(httpd))
    rule = chaos.on("finalize", nth=1, hold="before")
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    rule.wait_held()
    children, since = httpd.children(), time.monotonic()
    os.kill(httpd.pid, signal.SIGWINCH)
    httpd.process.wait(util.patience(5))
    assert not any(util.running(pid) for pid in children) and time.monotonic() - since < util.patience(5)
    check_clean(httpd)
    httpd.start()
    httpd.wait_live("a.test", chaos)
    assert chaos.count("newOrder", status=201) == 1


def test_something_rewrites_the_host(make_httpd, make_pebble):
    """The right token with another Host: counted, and said so."""
    httpd = make_httpd()
    front = Front(httpd)
    pebble = make_pebble(httpd, http_port=front.port)
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges http-01")
    httpd.vhost("a.test")
    httpd.start()
    try:
        _, _, v4, _, foreign, _, _, _ = failed_validation(httpd)
    finally:
        front.stop()
    assert int(foreign) >= 1 and int(foreign) == int(v4)


class Front:
    """What stands in front and passes requests on with another Host."""

    def __init__(self, httpd):
        self.httpd, self.port = httpd, util.free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                head = client.recv(65536)
                with socket.create_connection((self.httpd.address, self.httpd.http_port)) as inner:
                    inner.sendall(re.sub(rb"(?i)\r\nHost: [^\r]*", b"\r\nHost: inner.test\r\nConnection: close", head, 1))
                    inner.shutdown(socket.SHUT_WR)
                    while True:
                        part = inner.recv(65536)
                        if not part:
                            break
                        client.sendall(part)

    def stop(self):
        self.listener.close()
