# Licensed under the Apache License, Version 2.0; see LICENSE.
"""AcmeSelfCheck: what the CA will meet, as far as this machine can see it; in the line of a failed validation."""
import re
import socket
import threading
import time

import pytest

from lib import util
from lib.httpd import logged_at
from lib.names import Names

# What a name's addresses are, and what is told of them.
VERDICTS = {
    "own.test": (["127.0.0.1"], r"127\.0\.0\.1: own answer \(inconclusive: private addresses"),
    "two.test": (["127.0.0.9", "127.0.0.1"], r"127\.0\.0\.9: refused, 127\.0\.0\.1: own answer"),
    "other.test": (["127.0.0.8"], r"127\.0\.0\.8: answered by someone else \(status 403, Server Gate/1\)"),
    "refused.test": (["127.0.0.9"], r"127\.0\.0\.9: refused \(inconclusive: private"),
    "nowhere.test": ([], r"nowhere\.test: cannot resolve: "),
}


def someone_else(address, port):
    """Another server."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(16)

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 403 Forbidden\r\nServer: Gate/1\r\nContent-Length: 0\r\n\r\n")
    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.fixture
def place(make_httpd, make_mockca, workdir):
    """(httpd, CA, Names): nothing is started, every validation by http-01 fails without a look."""
    names = Names(workdir, {name: addresses for name, (addresses, _) in VERDICTS.items()})
    httpd = make_httpd(env=names.env)
    ca = make_mockca(httpd, offers=["http-01", "tls-alpn-01"])
    ca.broken.add("http-01")
    httpd.use_ca(ca)
    httpd.conf("AcmeChallenges http-01")
    return httpd, ca, names


def failure(httpd, name):
    return httpd.wait_log("AC0351: %s: .*attempt 1" % name)[0]


def test_verdicts_stand_in_the_line_of_the_failure(place):
    httpd, ca, _ = place
    other = someone_else("127.0.0.8", httpd.http_port)
    for name in VERDICTS:
        httpd.vhost(name)
    ca.stall()
    httpd.start()
    for name, (_, verdict) in VERDICTS.items():
        httpd.wait_log(r"AC0461: %s: self-check of http-01 for %s: %s" % (name, name, verdict))
    ca.release()
    for name, (_, verdict) in VERDICTS.items():
        line = failure(httpd, name)
        assert re.search(r"broken by the test; arrivals here: 0 over IPv4, 0 over IPv6, .*; self-check of %s: %s" % (name, verdict), line), line
    other.close()


def test_tls_alpn_01_and_success(place):
    """A check that agrees with the CA is an INFO line; it is no arrival of the CA's, and another certificate is named."""
    httpd, ca, names = place
    names.set("good.test", ["127.0.0.1"])
    names.set("bad.test", ["127.0.0.1"])
    httpd.vhost("good.test", extra="AcmeChallenges tls-alpn-01")
    httpd.vhost("bad.test", extra="AcmeChallenges tls-alpn-01\nProtocolsHonorOrder on")
    httpd.start()
    httpd.wait_live("good.test", ca)
    for name in ("good.test", "bad.test"):
        httpd.wait_log(r"AC0461: %s: self-check of tls-alpn-01 for %s: 127\.0\.0\.1: own answer" % (name, name))


def test_the_order_does_not_wait(place):
    """A server that is silent: the failure is told at once, the check's result by a line of its own."""
    httpd, _, names = place
    names.set("silent.test", ["127.0.0.7"])
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.7", httpd.http_port))
        silent.listen(16)
        httpd.vhost("silent.test")
        began = time.time()
        httpd.start()
        line = failure(httpd, "silent.test")
        assert "self-check" not in line and logged_at(line) - began < 4
        late = httpd.wait_log(r"warn.*AC0462: silent\.test: self-check of http-01 for silent\.test: 127\.0\.0\.7: connected, but no answer")[0]
        assert 4 < logged_at(late) - logged_at(line) < 7


def test_hairpin_is_inconclusive(place):
    """The CA comes, but this machine does not reach its own address."""
    httpd, ca, names = place
    names.set("hairpin.test", ["127.0.0.9"])
    ca.broken.clear()
    ca.spoilt.add("hairpin.test")
    httpd.vhost("hairpin.test")
    httpd.start()
    line = failure(httpd, "hairpin.test")
    assert re.search(r"arrivals here: 1 over IPv4.*; self-check of hairpin\.test: 127\.0\.0\.9: refused \(inconclusive: the CA's requests do arrive", line), line


def test_off(place):
    httpd, ca, names = place
    names.set("off.test", ["127.0.0.1"])
    httpd.vhost("off.test", extra="AcmeSelfCheck off")
    httpd.vhost("own.test")
    httpd.start()
    failure(httpd, "off.test")
    httpd.wait_log("self-check of http-01 for own.test")
    assert not httpd.log_lines("AC0351: off.test: .*self-check") and not httpd.log_lines("self-check of .*off.test")


def test_an_owner_that_checks_stops_in_time(place):
    """Dozens of silent names: a few are looked at, and a graceful stop does not wait for them."""
    httpd, ca, names = place
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.7", httpd.http_port))
        silent.listen(128)
        for i in range(40):
            names.set("s%d.test" % i, ["127.0.0.7"])
            httpd.vhost("s%d.test" % i)
        httpd.start()
        for i in range(40):
            failure(httpd, "s%d.test" % i)
        silent.setblocking(False)
        came = 0
        try:
            while True:
                silent.accept()[0].close()
                came += 1
        except BlockingIOError:
            pass
        assert 1 <= came <= 4
        began = time.time()
        httpd.stop()
        assert time.time() - began < util.patience(4)
