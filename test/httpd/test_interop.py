# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Against CAs of another make, another age and another temper."""
import os
import shutil
import subprocess

import pytest
from cryptography import x509

from lib import util
from lib.caddy import NAME, Caddy
from lib.namespace import Namespace, available
from lib.pebble import pebble_program

SYSTEM = "/usr/bin/pebble"


# ---- Caddy ----

@pytest.fixture(scope="module")
def own_network():
    if not shutil.which("caddy"):
        pytest.skip("no Caddy here: install the Debian package caddy")
    if not available():
        pytest.skip("no network namespaces here")


@pytest.fixture
def caddy(own_network, workdir):
    hosts = {name: "127.0.0.1" for name in (NAME, "a.test", "www.a.test", "b.test")}
    with Namespace(hosts):
        ca = Caddy(os.path.join(workdir, "caddy"))
        try:
            yield ca.start()
        finally:
            ca.stop()


def site(make_httpd, ca, extra):
    httpd = make_httpd(http_port=80, https_port=443)
    httpd.use_ca(ca, portmap=False)
    httpd.conf(extra)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.vhost("b.test", extra="AcmeKeyType RSA-2048")
    httpd.start()
    return httpd


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_caddy(make_httpd, caddy, challenge):
    """Two names and an RSA key; adopted; renewed, with the same account."""
    httpd = site(make_httpd, caddy, "AcmeChallenges " + challenge)
    first = {name: httpd.wait_live(name, caddy) for name in ("a.test", "b.test")}
    names = x509.load_der_x509_certificate(first["a.test"].der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert sorted(names.value.get_values_for_type(x509.DNSName)) == ["a.test", "www.a.test"]
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    renewed = httpd.wait_live("a.test", caddy, not_serial=first["a.test"].serial)
    assert renewed.serial != first["a.test"].serial
    assert httpd.handshake("b.test").serial == first["b.test"].serial
    assert len(httpd.log_lines("AC0377")) == 1 and not httpd.log_lines(r"acmeclient:(error|warn)")


# ---- Pebble: strict, nonces rejected, authorizations reused, links of the chain, alternate roots: all pairs ----

PAIRS = [
    # version, strict, nonces, reuse, links, alternates
    ("new", True, 0, 0, 1, 0),
    ("old", False, 0, 50, 3, 2),
    ("new", False, 0, 100, 1, 2),
    ("old", True, 20, 0, 3, 2),
    ("new", False, 20, 50, 1, 0),
    ("old", True, 20, 100, 3, 0),
    ("old", False, 50, 0, 1, 0),
    ("new", True, 50, 50, 3, 2),
    ("new", True, 50, 100, 1, 2),
    ("old", True, 0, 50, 1, 0),
]


def test_the_table_has_all_pairs():
    values = [sorted({row[i] for row in PAIRS}, key=str) for i in range(6)]
    assert values[2:4] == [[0, 20, 50], [0, 100, 50]]
    for i in range(6):
        for j in range(i):
            missing = [(a, b) for a in values[i] for b in values[j] if not any(r[i] == a and r[j] == b for r in PAIRS)]
            assert not missing, (i, j, missing)


def program(version):
    """Pebble of that age, or a reason why not."""
    if version == "old":
        return SYSTEM if os.path.exists(SYSTEM) else pytest.skip("no Pebble of the system's here")
    return pebble_program()


@pytest.mark.parametrize("version, strict, nonces, reuse, links, alternates", PAIRS)
def test_pebble(make_httpd, make_pebble, monkeypatch, version, strict, nonces, reuse, links, alternates):
    """Obtained, adopted and renewed."""
    monkeypatch.setenv("PEBBLE", program(version))
    httpd = make_httpd()
    pebble = make_pebble(httpd, strict=strict, nonce_reject=nonces, authz_reuse=reuse, chain_length=links,
                         alternate_roots=alternates)
    httpd.use_ca(pebble)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.vhost("b.test")
    httpd.start()
    first = httpd.wait_live("a.test", pebble)
    httpd.wait_live("b.test", pebble)
    shown = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % httpd.https_port, "-servername", "a.test",
                            "-showcerts"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           timeout=20).stdout
    assert shown.count(b"BEGIN CERTIFICATE") == 1 + links
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    httpd.wait_live("a.test", pebble, not_serial=first.serial)
    assert not httpd.log_lines(r"acmeclient:(error|warn)")
