# Licensed under the Apache License, Version 2.0; see LICENSE.
"""The first certificate: live in every child, no restart, no process replaced."""
import os
import re
import time

import pytest

from lib.clock import Clock
from lib.pebble import pebble_program


def first(make_httpd, make_pebble, challenge, **options):
    httpd = make_httpd()
    pebble = make_pebble(httpd, **options)
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges %s" % challenge)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.start()
    return httpd, pebble


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_first_certificate(make_httpd, make_pebble, challenge):
    httpd, pebble = first(make_httpd, make_pebble, challenge)
    parent, children = httpd.pid, httpd.children()
    seen = httpd.wait_live("a.test", pebble)
    assert seen.names == ["a.test", "www.a.test"]
    everywhere = httpd.handshake_all_children("a.test", until=lambda s: s.serial == seen.serial, timeout=5)
    assert httpd.get("a.test").status == 200
    assert httpd.pid == parent and set(children) <= set(httpd.children())
    assert set(children) <= set(everywhere)


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_several_names_and_vhosts(make_httpd, make_pebble, challenge):
    """Many names in a certificate, many certificates at once, many vhosts with one: each name is served under it."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges %s" % challenge)
    aliases = ["alias%d.many.test" % i for i in range(5)]
    httpd.vhost("many.test", aliases=aliases)
    for i in range(4):
        httpd.vhost("v%d.test" % i)
    httpd.conf("<AcmeCertificate shared>\n    AcmeNames s0.test s1.test s2.test\n</AcmeCertificate>")
    for i in range(3):
        httpd.vhost("s%d.test" % i)
    httpd.start()
    parent = httpd.pid
    many = httpd.wait_live("many.test", pebble)
    assert many.names == sorted(["many.test", *aliases])
    for alias in aliases:
        assert httpd.handshake(alias).serial == many.serial and httpd.get(alias).status == 200
    own = [httpd.wait_live("v%d.test" % i, pebble) for i in range(4)]
    assert [seen.names for seen in own] == [["v%d.test" % i] for i in range(4)]
    shared = [httpd.wait_live("s%d.test" % i, pebble) for i in range(3)]
    assert shared[0].names == ["s0.test", "s1.test", "s2.test"] and len({seen.serial for seen in shared}) == 1
    assert len({many.serial, shared[0].serial, *[seen.serial for seen in own]}) == 6
    assert httpd.pid == parent and not httpd.log_lines("attempt 1")


def test_ca_down_then_up(make_httpd, make_pebble, make_chaos, workdir):
    """The first try fails, the second comes a minute later by itself, without a restart."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    pebble.stop_ca()
    httpd.vhost("a.test")
    httpd.start()
    children = set(httpd.children())
    line = httpd.wait_log(r"a\.test: .*attempt 1, next try at")[-1]
    assert "AC02" in line and "[acmeclient:warn]" in line
    pebble.start_ca()
    time.sleep(1)
    assert httpd.handshake("a.test").issuer == httpd.handshake("a.test").subject
    clock.forward(70)
    httpd.wait_live("a.test", pebble)
    assert children <= set(httpd.children())


@pytest.mark.parametrize("names", [("localhost",), ("other.test",)], ids=["unknown issuer", "another host's"])
def test_wrong_certificate_of_the_ca(make_httpd, make_pebble, make_chaos, names):
    """Refused before a word is said; with the right trust anchor all goes on."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble, names=names)
    httpd.use_ca(chaos)
    if names == ("localhost",):
        httpd.conf("AcmeCAFile %s" % pebble.ca_file)
    httpd.vhost("a.test")
    httpd.start()
    assert re.search("AC02.*certificate", httpd.wait_log(r"a\.test: .*attempt 1, next try at")[-1])
    assert chaos.count() == 0
    assert httpd.get("a.test").status == 503
    httpd.clear()
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.graceful()
    httpd.wait_live("a.test", pebble)


def test_placeholder_first(make_httpd, make_pebble):
    """A CA that is down: a self-signed certificate and 503, and httpd runs."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    pebble.stop_ca()
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.handshake("a.test")
    assert seen.issuer == seen.subject and seen.names == ["a.test"]
    reply = httpd.get("a.test")
    assert reply.status == 503 and int(reply.headers["retry-after"]) > 0


def test_adopted_by_graceful(make_httpd, make_pebble):
    httpd, pebble = first(make_httpd, make_pebble, "http-01")
    seen = httpd.wait_live("a.test", pebble)
    httpd.graceful()
    files = httpd.store_files()
    assert "a.test.crt.pem" in files and "a.test.key.pem" in files
    assert os.stat(os.path.join(httpd.store, "a.test.key.pem")).st_mode & 0o777 == 0o600
    assert httpd.handshake("a.test").serial == seen.serial
    httpd.stop()
    httpd.start()
    assert httpd.handshake("a.test").serial == seen.serial


def test_through_the_proxy(make_httpd, make_pebble, make_chaos):
    """The proxy the fault tests stand on is invisible: one order, one finalize."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble)
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", chaos)
    assert chaos.count("newOrder") == 1 and chaos.count("finalize") == 1
    assert chaos.count("newAccount") == 1


@pytest.mark.parametrize("nonce_reject,authz_reuse", [(0, 0), (20, 0), (0, 100), (20, 100)])
def test_moods_of_the_ca(make_httpd, make_pebble, nonce_reject, authz_reuse):
    httpd, pebble = first(make_httpd, make_pebble, "http-01", nonce_reject=nonce_reject, authz_reuse=authz_reuse)
    httpd.wait_live("a.test", pebble)


def test_oldest_supported_ca(make_httpd, make_pebble, monkeypatch):
    """Debian's own Pebble, where another is the default."""
    if not os.path.exists("/usr/bin/pebble") or pebble_program() == "/usr/bin/pebble":
        pytest.skip("only one Pebble is installed")
    monkeypatch.setenv("PEBBLE", "/usr/bin/pebble")
    httpd, pebble = first(make_httpd, make_pebble, "http-01")
    httpd.wait_live("a.test", pebble)
