# Licensed under the Apache License, Version 2.0; see LICENSE.
"""The first certificate: live in every child, no restart, no process replaced."""
import os

import pytest

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


@pytest.mark.parametrize("nonce_reject,authz_reuse", [(20, 0), (0, 100), (20, 100)])
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
