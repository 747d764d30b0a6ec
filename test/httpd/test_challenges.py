# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Challenges, with the test in the place of the CA's validator: who answers, what, and what is left alone."""
import os
import ssl
import threading

import pytest

from lib import util
from lib.own import kind_of, own_pair
from lib.sclient import s_client
from lib.validator import PREFIX, Held, alpn01, answered, http01, is_challenge_certificate, proves

FLAG = {"1.2": "-tls1_2", "1.3": "-tls1_3"}
PREFERENCES = {
    "RSA-PSS first": "rsa_pss_rsae_sha256:RSA+SHA256:ecdsa_secp256r1_sha256",
    "ECDSA first": "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:RSA+SHA256",
    "RSA only": "rsa_pss_rsae_sha256:RSA+SHA256",
    "ECDSA only": "ecdsa_secp256r1_sha256",
}


def held(make_httpd, make_pebble, make_chaos, challenge, vhosts=("a.test",), conf="", start=True, **options):
    """A server whose orders wait for the validator."""
    httpd = make_httpd(**options)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.conf("AcmeChallenges %s\n%s" % (challenge, conf))
    for name in vhosts:
        httpd.vhost(name)
    ca = Held(chaos)
    if start:
        httpd.start()
    return httpd, chaos, ca


# ---- http-01 ----

def test_http01_in_every_child(make_httpd, make_pebble, make_chaos, mpm):
    httpd, chaos, ca = held(make_httpd, make_pebble, make_chaos, "http-01", mpm=mpm, children=4)
    challenge = ca.wait("a.test", "http-01")
    replies = httpd.get_all_children("a.test", PREFIX + challenge.token)
    assert set(httpd.children()) <= set(replies)
    for reply in replies.values():
        assert reply.status == 200 and reply.body == challenge.key_authorization.encode()
    ca.release()
    httpd.wait_live("a.test", chaos)
    assert util.wait_for(lambda: http01(httpd, challenge)[0] == 404, 5), "answered after the order was done"


def test_http01_answer(make_httpd, make_pebble, make_chaos):
    """Exactly the key authorization; GET and HEAD; over HTTPS under the placeholder too."""
    httpd, _, ca = held(make_httpd, make_pebble, make_chaos, "http-01")
    challenge = ca.wait("a.test")
    status, headers, body, _ = http01(httpd, challenge)
    assert (status, body) == (200, challenge.key_authorization.encode())
    assert headers["content-length"] == str(len(body)) and headers["content-type"] == "text/plain"
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    status, headers, body, _ = http01(httpd, challenge, method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(challenge.key_authorization)))
    assert answered(http01(httpd, challenge, tls=True), challenge)
    assert httpd.get("a.test").status == 503


RIGHT = {
    "port": {"host": "a.test:80"}, "dot": {"host": "a.test."}, "case": {"host": "A.TEST"},
    "absolute form": {"path": "http://a.test{path}"}, "query": {"path": "{path}?x=y"},
    "conditional": {"headers": ["If-None-Match: *"]}, "range": {"headers": ["Range: bytes=5-9"]},
}
WRONG = {
    "other vhost's host": {"host": "b.test"}, "unknown host": {"host": "unknown.test"}, "address": {"host": "127.0.0.1"}, "IPv6 address": {"host": "[::1]"},
    "host below": {"host": "www.a.test"}, "host above": {"host": "test"}, "absolute form": {"path": "http://b.test{path}"},
    "no host": {"host": "", "version": "1.0"}, "prefix": {"path": "{short}"}, "longer": {"path": "{path}x"},
    "slash": {"path": "{path}/"}, "below": {"path": "{path}/x"}, "directory": {"path": PREFIX},
    "case of the path": {"path": "/.Well-Known/acme-challenge/{token}"}, "double slash": {"path": "/.well-known//acme-challenge/{token}"},
    "encoded": {"path": PREFIX + "%{hex}{rest}"}, "dots": {"path": PREFIX + "../acme-challenge/{token}"},
    "post": {"method": "POST"}, "put": {"method": "PUT"}, "options": {"method": "OPTIONS"}, "delete": {"method": "DELETE"},
    "another token": {"token": "A" * 43}, "key authorization as token": {"path": PREFIX + "{key_authorization}"},
    "long": {"path": PREFIX + "A" * 7000},
}


def test_http01_exact_token_and_host_only(make_httpd, make_pebble, make_chaos):
    httpd, _, ca = held(make_httpd, make_pebble, make_chaos, "http-01", vhosts=("a.test", "b.test"))
    a, b = ca.wait("a.test"), ca.wait("b.test")
    parts = {"path": PREFIX + a.token, "short": PREFIX + a.token[:-1], "token": a.token, "hex": "%02X" % ord(a.token[0]),
             "rest": a.token[1:], "key_authorization": a.key_authorization}

    def ask(how):
        how = dict(how)
        if "path" in how:
            how["path"] = how["path"].format(**parts)
        return http01(httpd, a, **how)
    assert answered(http01(httpd, b), b)
    for what, how in RIGHT.items():
        assert answered(ask(how), a), what
    for what, how in WRONG.items():
        status, _, body, _ = ask(how)
        assert status != 200 or what == "options", what
        assert a.key_authorization.encode() not in body, what
    assert not answered(http01(httpd, a, host="b.test", tls=True), a), "the name of the handshake is not the Host"
    assert not answered(http01(httpd, a, host="b.test"), a) and not answered(http01(httpd, b, host="a.test"), b)
    assert httpd.log_lines(r"AC0431: a\.test: .*Host"), "a foreign Host is worth a warning"


FIGHTS = {
    "Redirect": "Redirect 301 / https://a.test/",
    "RedirectMatch": "RedirectMatch ^/(.*) https://a.test/$1",
    "RewriteRule": "RewriteEngine on\nRewriteRule ^ https://a.test%{REQUEST_URI} [R=301,L]",
    "RewriteRule forbidden": "RewriteEngine on\nRewriteRule ^ - [F]",
    "Require all denied": "<Location />\n    Require all denied\n</Location>",
    "Basic": "<Location />\n    AuthType Basic\n    AuthName x\n    AuthBasicProvider file\n    AuthUserFile /dev/null\n"
             "    Require valid-user\n</Location>",
    "ProxyPass": "ProxyPass / http://127.0.0.1:1/",
    "SSLRequireSSL": "<Location />\n    SSLRequireSSL\n</Location>",
    "handler": "<Location />\n    SetHandler server-status\n</Location>",
    "LimitRequest": "<Location />\n    <Limit GET>\n        Require all denied\n    </Limit>\n</Location>",
}


def test_http01_through_redirects_rewrites_and_refusals(make_httpd, make_pebble, make_chaos):
    """In whatever vhost the request arrives, the one for port 80 of this name or of none."""
    httpd, chaos, ca = held(
        make_httpd, make_pebble, make_chaos, "http-01", vhosts=["n%d.test" % i for i in range(len(FIGHTS))] + ["none.test"],
        conf="AcmeWorkers 16", start=False, modules=["alias", "rewrite", "auth_basic", "authn_core", "authn_file", "authz_user", "proxy", "proxy_http",
                              "status"])
    httpd.vhost("first.test", tls=False, extra="Redirect 403 /")
    for i, (what, conf) in enumerate(FIGHTS.items()):
        httpd.vhost("n%d.test" % i, tls=False, extra=conf)
    httpd.start()
    for i, what in enumerate(FIGHTS):
        challenge = ca.wait("n%d.test" % i, "http-01")
        assert answered(http01(httpd, challenge), challenge), what
        status, _, body, _ = http01(httpd, challenge, token="x" * 43)
        assert b"x.test" not in body and not (status == 200 and what != "handler"), "%s does not hold for other tokens" % what
    challenge = ca.wait("none.test", "http-01")
    assert answered(http01(httpd, challenge), challenge)
    assert http01(httpd, challenge, token="x" * 43)[0] == 403
    ca.release()
    httpd.wait_live("none.test", chaos)


def test_http01_of_others_is_left_alone(make_httpd, make_pebble, make_chaos):
    """A file of another ACME client is served while challenges of ours are pending, and before and after."""
    httpd, chaos, ca = held(make_httpd, make_pebble, make_chaos, "http-01")
    directory = os.path.join(httpd.root, "htdocs", ".well-known", "acme-challenge")
    os.makedirs(directory)
    for token in ("another-clients-token-0123456789", "short"):
        with open(os.path.join(directory, token), "w") as file:
            file.write("another client's")
    challenge = ca.wait("a.test")
    for released in (False, True):
        for token in ("another-clients-token-0123456789", "short"):
            assert http01(httpd, challenge, token=token)[::2] == (200, b"another client's")
        ca.release()
        httpd.wait_live("a.test", chaos)


@pytest.mark.alone
def test_http01_hammered_through_a_graceful_restart(make_httpd, make_pebble, make_chaos):
    """Children of the old and of the new generation, from the moment the CA is told, 32 at a time."""
    httpd, chaos, ca = held(make_httpd, make_pebble, make_chaos, "http-01")
    challenge = ca.wait("a.test")
    wrong, done, right = [], threading.Event(), []

    def hammer():
        while not done.is_set():
            try:
                reply = http01(httpd, challenge)
            except OSError as trouble:
                reply = (0, {}, str(trouble).encode(), None)
            (right if answered(reply, challenge) else wrong).append(reply)
    threads = [threading.Thread(target=hammer) for _ in range(32)]
    for thread in threads:
        thread.start()
    try:
        httpd.graceful()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert len(right) > 100 and not wrong, wrong[:3]
    ca.release()
    httpd.wait_live("a.test", chaos)


TOKENS = ["../../etc/cron.d/x", "a/b" * 10, "%2e%2e" * 8, "", "x", "a" * 300, "AAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAA\r\nX: y",
          "AAAAAAAAAAAAAAAAAAAA\x00", '"><script>alert(1)</script>', "$(id)" * 6, "AAAAAAAAAAAAAAAAAAAAä"]


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_tokens_that_are_none_are_refused(make_httpd, make_mockca, challenge):
    """Nothing is provisioned for them, and the line is fit for a terminal."""
    httpd = make_httpd()
    ca = make_mockca(httpd, offers=[challenge])
    httpd.use_ca(ca)
    httpd.conf("AcmeChallenges %s" % challenge)
    for i, token in enumerate(TOKENS):
        ca.tokens["n%d.test" % i] = token
        httpd.vhost("n%d.test" % i)
    httpd.start()
    for i, token in enumerate(TOKENS):
        line = httpd.wait_log(r"acmeclient:(warn|error).*: n%d\.test: .*attempt 1" % i)[0]
        assert "authz" in line and line.isprintable(), token
    assert not ca.told and not httpd.log_lines("AC0410")


def test_http01_gone_after_failure(make_httpd, make_mockca):
    httpd = make_httpd()
    ca = make_mockca(httpd, offers=["http-01"])
    ca.spoilt.add("a.test")
    httpd.use_ca(ca)
    httpd.conf("AcmeChallenges http-01")
    httpd.vhost("a.test")
    ca.stall()
    httpd.start()
    challenge = ca.wait("a.test", "http-01")
    assert answered(http01(httpd, challenge), challenge)
    ca.release()
    httpd.wait_log("AC0351: a.test: .*attempt 1")
    assert http01(httpd, challenge)[0] == 404


# ---- tls-alpn-01 ----

def test_alpn01_in_every_child(make_httpd, make_pebble, make_chaos, mpm):
    """With nothing but the placeholder, by both versions of TLS."""
    httpd, chaos, ca = held(make_httpd, make_pebble, make_chaos, "tls-alpn-01", mpm=mpm, children=4)
    challenge = ca.wait("a.test", "tls-alpn-01")
    for version in FLAG:
        everywhere = httpd.handshake_all_children("a.test", tls=version, alpn=["acme-tls/1"])
        assert set(httpd.children()) <= set(everywhere)
        for seen in everywhere.values():
            assert seen.alpn == "acme-tls/1" and seen.names == ["a.test"]
        # httpd may end an idle child that owns; the next owner presents the challenge anew.
        assert len({seen.der for seen in everywhere.values()}) <= len(httpd.log_lines("owner is pid"))
        assert proves(alpn01(httpd, challenge, FLAG[version]), challenge)
        usual = s_client(httpd, "a.test", FLAG[version], "-alpn", "http/1.1")
        assert usual.ok and not is_challenge_certificate(usual.leaf)
    ca.release()
    httpd.wait_live("a.test", chaos)

    def withdrawn():
        seen = alpn01(httpd, challenge)
        return not seen.ok or not is_challenge_certificate(seen.leaf)
    assert util.wait_for(withdrawn, 5), "answered after the order was done"


def test_alpn01_for_every_validator_whatever_the_vhost_serves(make_httpd, make_pebble, make_chaos):
    """Static and managed RSA, with and without ECDSA beside it; four kinds of client; both versions of TLS."""
    httpd, chaos, ca = held(make_httpd, make_pebble, make_chaos, "http-01", vhosts=(), start=False)
    own = {kind: own_pair(httpd, "own.test", kind, ["static-rsa.test", "static-both.test"]) for kind in ("rsa", "ec")}
    extra = {
        "static-rsa.test": own["rsa"].lines, "static-both.test": own["rsa"].lines + "\n" + own["ec"].lines,
        "managed-rsa.test": "AcmeKeyType RSA-2048", "managed-both.test": "AcmeKeyType RSA-2048 P-256",
        "former-rsa.test": "AcmeKeyType RSA-2048",
    }
    managed = [name for name in extra if not name.startswith("static")]

    def vhosts(names):
        for name in names:
            httpd.vhost(name, extra=extra[name])
    ca.release()
    vhosts(managed)
    httpd.start()
    for name in managed:
        httpd.wait_live(name, chaos)
    assert util.wait_for(lambda: httpd.try_handshake("managed-both.test", tls="1.2", ciphers="aECDSA"), 20)
    httpd.graceful()
    httpd.clear()
    httpd.use_ca(chaos)
    extra["former-rsa.test"] = "AcmeKeyType P-256"
    httpd.conf("AcmeChallenges tls-alpn-01")
    vhosts(extra)
    ca = Held(chaos)
    for name in managed:
        util.touch(os.path.join(httpd.store, name + ".retry"))
    httpd.graceful()
    serves = {name: {"ec", "rsa"} if name.endswith("both.test") else {"rsa"} for name in extra}
    wrong = []
    for name in extra:
        challenge = ca.wait(name, "tls-alpn-01")
        for version, flag in FLAG.items():
            for client, sigalgs in PREFERENCES.items():
                # In TLS 1.2 the cipher, and by it the kind of key, is chosen before the ALPN protocol is known.
                can = version == "1.3" or client != "ECDSA only" or "ec" in serves[name]
                usual = s_client(httpd, name, flag, "-sigalgs", sigalgs)
                assert not usual.ok or kind_of(usual.leaf) in serves[name] and not is_challenge_certificate(usual.leaf)
                assert usual.ok == (client != "ECDSA only" or "ec" in serves[name])
                if proves(alpn01(httpd, challenge, flag, "-sigalgs", sigalgs), challenge) != can:
                    wrong.append((name, version, client))
    assert not wrong


def test_alpn01_exact_protocol_and_name_only(make_httpd, make_pebble, make_chaos):
    """Everything else is an ordinary handshake, with an ordinary certificate."""
    httpd, _, ca = held(make_httpd, make_pebble, make_chaos, "tls-alpn-01", vhosts=("a.test", "b.test"),
                        conf="Protocols h2 http/1.1", modules=["http2"])
    a, b = ca.wait("a.test"), ca.wait("b.test")
    assert proves(alpn01(httpd, b), b) and not proves(alpn01(httpd, a, name="b.test"), a)
    for offer, want in (("acme-tls/1,h2,http/1.1", "h2"), ("http/1.1,acme-tls/1", "http/1.1"), ("h2,acme-tls/1", "h2"),
                        ("h2,http/1.1", "h2"), ("http/1.1", "http/1.1"), ("acme-tls/2", None), ("acme-tls/2,http/1.1", "http/1.1")):
        for name in ("a.test", "b.test", None):
            seen = s_client(httpd, name, "-alpn", offer)
            assert seen.ok == (want is not None), (offer, name)
            assert not seen.ok or seen.alpn == want and not is_challenge_certificate(seen.leaf), (offer, name)
    for name in ("unknown.test", "www.a.test", None):
        seen = s_client(httpd, name, "-alpn", "acme-tls/1")
        assert not seen.ok or seen.alpn != "acme-tls/1" and not is_challenge_certificate(seen.leaf), name


def test_alpn01_connection_is_good_for_nothing_else(make_httpd, make_pebble, make_chaos, mpm):
    """RFC 8737 section 3: closed after the handshake, whatever is sent; no ticket to come back with."""
    httpd, _, ca = held(make_httpd, make_pebble, make_chaos, "tls-alpn-01", conf="AcmePlaceholder serve", mpm=mpm)
    ca.wait("a.test")
    for version in FLAG:
        with httpd.connect("a.test", tls=version, alpn=["acme-tls/1"], timeout=3) as sock:
            try:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                assert sock.recv(1000) == b""
            except (ConnectionError, ssl.SSLError):
                pass
            assert version == "1.2" or not sock.session or not sock.session.has_ticket
        with httpd.connect("a.test", tls=version, alpn=["acme-tls/1"], timeout=3) as sock:
            try:
                assert sock.recv(1000) == b"", "not closed"
            except (ConnectionError, ssl.SSLError):
                pass


@pytest.mark.parametrize("protocols", ["", "Protocols h2 http/1.1", "Protocols h2", "Protocols h2 http/1.1\nProtocolsHonorOrder off",
                                       "Protocols http/1.1 acme-tls/1"])
def test_ordinary_negotiation_is_as_without_the_module(make_httpd, make_pebble, protocols):
    """Nothing pending; managed and unmanaged vhosts; clients that offer acme-tls/1 among others keep working."""
    offers = ["acme-tls/1,h2,http/1.1", "h2,http/1.1", "http/1.1,h2", "http/1.1", "h2", "acme-tls/1,http/1.1"]
    seen = {}
    for engine in (False, True):
        httpd = make_httpd(modules=["http2"])
        pebble = make_pebble(httpd)
        own = own_pair(httpd, "own.test", "ec", ["a.test", "b.test"])
        httpd.use_ca(pebble)
        httpd.conf(protocols)
        httpd.vhost("a.test", engine=engine, extra="" if engine else own.lines)
        httpd.vhost("b.test", engine=False, extra=own.lines)
        httpd.start()
        if engine:
            httpd.wait_live("a.test", pebble)
        for name in ("a.test", "b.test"):
            for offer in offers:
                for flag in FLAG.values():
                    one = s_client(httpd, name, flag, "-alpn", offer)
                    seen.setdefault((name, offer, flag), []).append((one.ok, one.alpn))
            assert httpd.get(name).status == 200
    assert not {what: both for what, both in seen.items() if both[0] != both[1]}


def test_mod_md_beside(make_httpd, make_pebble, make_chaos):
    """Its challenges are answered by it, ours by us, and both get their certificates."""
    if not os.path.exists("/usr/lib/apache2/modules/mod_md.so"):
        pytest.skip("mod_md is not installed")
    httpd = make_httpd(modules=["md", "log_debug"])
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.conf("AcmeChallenges tls-alpn-01\nMDStoreDir %s/md\nMDCertificateAuthority %s\nMDCACertificateFile %s\n"
               "MDCertificateAgreement accepted\nMDContactEmail admin@example.org\nMDPortMap 80:- 443:%d\nMDomain md.test\n"
               "MDCAChallenges tls-alpn-01\nProtocolsHonorOrder off" % (
                   httpd.root, chaos.directory, chaos.ca_file, httpd.https_port))
    httpd.vhost("a.test")
    httpd.vhost("md.test", engine=False, extra="Protocols http/1.1 acme-tls/1")
    ca = Held(chaos)
    httpd.start()
    ours = ca.wait("a.test", "tls-alpn-01", timeout=30)
    assert proves(alpn01(httpd, ours), ours)
    theirs = util.wait_for(lambda: [e for e in chaos.requests("challenge") if "mod_md" in e.headers.get("User-Agent", "")], 30)
    assert theirs, "mod_md ordered nothing: " + util.tail(httpd.error_log)
    seen = s_client(httpd, "md.test", "-alpn", "acme-tls/1")
    assert seen.ok and seen.alpn == "acme-tls/1" and is_challenge_certificate(seen.leaf)
    for version in FLAG.values():
        seen = s_client(httpd, "a.test", version, "-alpn", "acme-tls/1,http/1.1")
        assert seen.ok and seen.alpn == "http/1.1", "mod_md's proposal to those that offer it among others has come through"
    ca.release()
    httpd.wait_live("a.test", chaos)

    def md_done():
        return any(file == "pubcert.pem" for _, _, files in os.walk(os.path.join(httpd.root, "md", "staging")) for file in files)
    assert util.wait_for(md_done, 20), util.tail(httpd.error_log)


# ---- first certificates by challenge ----

@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_both_key_types_by_one_challenge(make_httpd, make_pebble, challenge):
    """Two orders for the same names; tls-alpn-01 knows the two apart by nothing but time."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges " + challenge)
    httpd.vhost("a.test", aliases=["www.a.test"], extra="AcmeKeyType P-256 RSA-2048")
    httpd.start()
    for ciphers in ("aECDSA", "aRSA"):
        httpd.wait_live("a.test", pebble, tls="1.2", ciphers=ciphers)
    assert not httpd.log_lines("attempt 1")


# ---- one type per attempt ----

def presented(httpd, name):
    """The types that were presented, attempt by attempt."""
    return [line.split("AC0410: ")[1].split()[1] for line in httpd.log_lines(r"AC0410: %s: " % name.replace(".", r"\."))]


def graceful_retry(httpd, name):
    util.touch(os.path.join(httpd.store, name + ".retry"))
    httpd.graceful()


@pytest.mark.parametrize("broken, works", [("http-01", "tls-alpn-01"), ("tls-alpn-01", "http-01")])
def test_types_alternate_and_what_worked_is_remembered(make_httpd, make_pebble, make_chaos, broken, works):
    """One validation for each attempt; what worked leads for every certificate of the server, after restarts too."""
    httpd = make_httpd()
    dead = {"http-01": "http_port", "tls-alpn-01": "tls_port"}[broken]
    chaos = make_chaos(make_pebble(httpd, **{dead: util.free_port()}))
    httpd.use_ca(chaos)
    httpd.conf("AcmeChallenges %s %s" % (broken, works))
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.start()
    httpd.wait_log(r"AC0351: a\.test: .*%s: .*attempt 1" % broken)
    assert set(presented(httpd, "a.test")) == {broken} and chaos.count("challenge") == 2, "one of each name"
    assert chaos.count("newOrder") == 1
    graceful_retry(httpd, "a.test")
    httpd.wait_live("a.test", chaos)
    assert presented(httpd, "a.test") == [broken] * 2 + [works] * 2 and chaos.count("challenge") == 4
    # A certificate that is new to the server, and after a start with nothing in memory.
    httpd.vhost("b.test")
    httpd.graceful()
    httpd.wait_live("b.test", chaos)
    httpd.stop()
    httpd.vhost("c.test")
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    before = httpd.log_lines("AC0720: a.test")
    httpd.start()
    httpd.wait_live("c.test", chaos)
    httpd.wait_log("AC0720: a.test", count=len(before) + 1)
    assert presented(httpd, "b.test") == presented(httpd, "c.test") == [works] and presented(httpd, "a.test")[4:] == [works] * 2
    assert len(httpd.log_lines("AC0351")) == 1
    failed = [line for line in chaos.pebble.log().splitlines() if "set INVALID" in line and "authz" in line.split("set INVALID")[0]]
    assert len(failed) == 2, "one failed validation of each name: %s" % failed


def test_a_failure_of_another_kind_does_not_begin_anew(make_httpd, make_mockca):
    """http-01 fails, then the CA is out of order for once, then it is tls-alpn-01's turn."""
    httpd = make_httpd()
    ca = make_mockca(httpd, offers=["http-01", "tls-alpn-01"])
    ca.broken.add("http-01")
    httpd.use_ca(ca)
    httpd.conf("AcmeChallenges http-01 tls-alpn-01")
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_log("AC0351: a.test: .*attempt 1")
    ca.refuse = "serverInternal"
    graceful_retry(httpd, "a.test")
    httpd.wait_log("a.test: .*serverInternal.*attempt 1")
    ca.refuse = None
    graceful_retry(httpd, "a.test")
    httpd.wait_live("a.test", ca)
    assert [v.type for v in ca.validations] == ["http-01", "tls-alpn-01"]
