# Licensed under the Apache License, Version 2.0; see LICENSE.
"""tls-sni-01: only where it is named, only for its name, only while it is pending; judged by a CA of our own."""
import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lib import util
from lib.httpd import SOURCE
from lib.own import own_pair
from lib.sclient import s_client
from lib.validator import Challenge, b64, dns_names, lenient, sni01, sni_name, strict, thumbprint

FLAGS = ("-tls1_2", "-tls1_3")
SNI, HTTP, ALPN = "tls-sni-01", "http-01", "tls-alpn-01"


def served(make_httpd, make_mockca, conf="AcmeChallenges tls-sni-01", hold=False, offers=(SNI,), **options):
    httpd = make_httpd(**options)
    ca = make_mockca(httpd, offers=offers)
    httpd.use_ca(ca)
    httpd.conf(conf)
    if hold:
        ca.stall()
    return httpd, ca


def shows_nothing(httpd, name):
    for flag in FLAGS:
        seen = s_client(httpd, name, flag)
        if seen.ok and any(n.endswith(".acme.invalid") for n in dns_names(seen.leaf)):
            return False
    return True


def test_certificate_by_tls_sni_01(make_httpd, make_mockca, mpm):
    """Both rules, both versions of TLS, by every child, with nothing but the placeholder; gone afterwards."""
    httpd, ca = served(make_httpd, make_mockca, hold=True, mpm=mpm, children=4)
    httpd.vhost("a.test")
    httpd.start()
    challenge = ca.wait("a.test", SNI)
    name = sni_name(challenge)
    for version in ("1.2", "1.3"):
        everywhere = httpd.handshake_all_children(name, tls=version)
        assert set(httpd.children()) <= set(everywhere)
        for seen in everywhere.values():
            assert seen.names == [name] and seen.not_before < seen.not_after
    for flag in FLAGS:
        session = sni01(httpd, challenge, flag)
        assert lenient(session, name) and strict(session, name) and len(session.chain) == 1
        assert strict(sni01(httpd, challenge, flag, name=name.upper()), name), "names have no case"
    ca.release()
    httpd.wait_live("a.test", ca)
    assert [v.error for v in ca.validations] == [None]
    assert util.wait_for(lambda: shows_nothing(httpd, name), 5), "answered after the order was done"
    assert httpd.log_lines("AC0720: a.test: obtained: .* tls-sni-01"), httpd.log_lines("AC0720")


def test_gone_after_failure(make_httpd, make_mockca):
    httpd, ca = served(make_httpd, make_mockca, hold=True)
    ca.broken.add(SNI)
    httpd.vhost("a.test")
    httpd.start()
    challenge = ca.wait("a.test", SNI)
    assert strict(sni01(httpd, challenge), sni_name(challenge))
    ca.release()
    httpd.wait_log("AC0351: a.test: .*broken by the test.*attempt 1")
    assert shows_nothing(httpd, sni_name(challenge))
    assert [v.type for v in ca.validations] == [SNI]


def test_other_names_get_the_usual_certificate(make_httpd, make_mockca):
    """Neither the vhost's own name nor one that is nearly the challenge's, nor a connection without a name."""
    httpd, ca = served(make_httpd, make_mockca, hold=True)
    httpd.vhost("a.test")
    httpd.start()
    challenge = ca.wait("a.test", SNI)
    name = sni_name(challenge)
    one_off = ("1" if name[0] == "0" else "0") + name[1:]
    for other in ("a.test", "acme.invalid", "x.acme.invalid", one_off, "www." + name, name[33:], None):
        for flag in FLAGS:
            seen = s_client(httpd, other, flag)
            assert not seen.ok or dns_names(seen.leaf) == ["a.test"], other
    for flag in FLAGS:
        seen = sni01(httpd, challenge, flag, "-alpn", "acme-tls/1")
        assert not seen.ok or seen.alpn != "acme-tls/1", "tls-alpn-01 is another challenge"


# The default vhost of the address, which the name lands in, is not the certificate's: managed, static, any kind of key.
DEFAULTS = {
    "static RSA": ("rsa", ""), "static ECDSA": ("ec", ""),
    "RSA ciphers only": ("rsa", "SSLCipherSuite aRSA"), "ECDSA ciphers only": ("ec", "SSLCipherSuite aECDSA"),
}


@pytest.mark.parametrize("default", sorted(DEFAULTS))
def test_lands_in_a_default_vhost_of_others(make_httpd, make_mockca, default):
    kind, extra = DEFAULTS[default]
    httpd, ca = served(make_httpd, make_mockca)
    own = own_pair(httpd, "first.test", kind, ["first.test"])
    httpd.vhost("first.test", engine=False, extra=own.lines + "\n" + extra)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", ca)
    assert ca.validations == [("a.test", SNI, None)]
    assert httpd.handshake("first.test").serial == own.serial


def test_connection_is_good_for_nothing_else(make_httpd, make_mockca):
    """Closed after the handshake, and no session to come back with."""
    httpd, ca = served(make_httpd, make_mockca, conf="AcmeChallenges tls-sni-01\nAcmePlaceholder serve", hold=True)
    httpd.vhost("a.test")
    httpd.start()
    name = sni_name(ca.wait("a.test", SNI))
    for version in ("1.2", "1.3"):
        with httpd.connect(name, tls=version, timeout=3) as sock:
            try:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                assert sock.recv(1000) == b""
            except OSError:
                pass
            assert not sock.session or not sock.session.has_ticket
    assert "Reused, " in s_client(httpd, "a.test", "-tls1_2", "-reconnect").text
    assert "Reused, " not in s_client(httpd, name, "-tls1_2", "-reconnect").text, "the certificate lives on in a session"


# What the CA offers, what is allowed, and the type that is used (None: nothing fits).
OFFERS = [
    ([SNI], "AcmeChallenges auto", None), ([HTTP, SNI], "AcmeChallenges auto", HTTP), ([SNI, ALPN], "AcmeChallenges tls-alpn-01", ALPN),
    ([HTTP, ALPN, SNI], "AcmeChallenges tls-sni-01", SNI), ([HTTP, ALPN, SNI], "AcmeChallenges http-01 tls-sni-01", HTTP),
    (["x-99", SNI], "AcmeChallenges tls-alpn-01 tls-sni-01", SNI), (["x-99", "tls-sni-02"], "AcmeChallenges tls-sni-01 http-01", None),
]


def test_never_used_unless_named(make_httpd, make_mockca):
    """One server, one CA for each row: what is offered, allowed and used."""
    httpd = make_httpd()
    cas = [make_mockca(httpd, offers=offers) for offers, _, _ in OFFERS]
    httpd.use_ca(cas[0])
    for i, (_, allowed, _) in enumerate(OFFERS):
        httpd.vhost("n%d.test" % i, extra="AcmeDirectoryURL %s\nAcmeCAFile %s\n%s" % (cas[i].directory, cas[i].ca_file, allowed))
    httpd.start()
    for i, (offers, _, used) in enumerate(OFFERS):
        if used:
            httpd.wait_live("n%d.test" % i, cas[i])
            assert [v.type for v in cas[i].validations] == [used], OFFERS[i]
        else:
            line = httpd.wait_log("AC0402: n%d.test: " % i)[0]
            assert "the CA offers " + " ".join(offers) in line and not cas[i].told


def test_configtest_says_why_it_is_unsafe(make_httpd):
    httpd = make_httpd()
    httpd.conf("AcmeStoreDir %s\nAcmePortMap http:80 https:443\nAcmeTermsOfService accepted\nAcmeChallenges tls-sni-01 http-01" % httpd.store)
    for name in ("a.test", "b.test", "c.test"):
        httpd.vhost(name)
    result = httpd.configtest()
    lines = [line for line in result.stdout.splitlines() if "AC0140" in line]
    assert result.returncode == 0 and len(lines) == 1, result.stdout
    assert "a.test and 2 more: " in lines[0] and "unsafe" in lines[0] and "no public CA validates it" in lines[0]
    httpd.clear()
    httpd.conf("AcmeStoreDir %s\nAcmePortMap http:80 https:443\nAcmeTermsOfService accepted" % httpd.store)
    httpd.vhost("a.test")
    assert "AC0140" not in httpd.configtest().stdout


# ---- the name, by an implementation that is not ours ----

ORACLE = os.path.join(SOURCE, "test", "data", "sni_oracle", "main.go")


def oracle(workdir, key, token):
    """What x/crypto's TLSSNI01ChallengeCert makes of it: by Go's module cache or network, or by Debian's sources."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.path.exists(go):
        pytest.skip("no Go: the name is checked against the recorded vectors only")
    directory = os.path.join(workdir, "oracle")
    os.makedirs(directory)
    shutil.copy(ORACLE, directory)
    with open(os.path.join(directory, "key.pem"), "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                     serialization.NoEncryption()))
    with open(os.path.join(directory, "go.mod"), "w") as file:
        file.write("module oracle\n\ngo 1.19\n\nrequire golang.org/x/crypto v0.38.0\n")
    ways = [{"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GONOSUMDB": "*", "GONOSUMCHECK": "1"}, {"GOFLAGS": "-mod=mod"},
            {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}]
    said = ""
    for way in ways:
        try:
            done = subprocess.run([go, "run", "main.go", "key.pem", token], cwd=directory, env={**os.environ, "GOTOOLCHAIN": "local", **way},
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=30)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return done.stdout.split()
        said += done.stderr
    pytest.skip("golang.org/x/crypto v0.38.0 or older is not available: " + " ".join(said.split())[:150])


def test_name_by_another_implementation(workdir):
    key, token = ec.generate_private_key(ec.SECP256R1()), "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}
    name, *sans = oracle(workdir, key, token)
    assert name == sni_name(Challenge("", SNI, token, token + "." + thumbprint(jwk))) and sans == [name]
