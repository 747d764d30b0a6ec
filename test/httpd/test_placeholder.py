# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Before the first certificate: a placeholder that stays, 503 with Retry-After, and normal service as soon as there is one."""
import os
import re
import shutil
import subprocess
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lib import util
from lib.authority import Authority


@pytest.fixture
def httpd(make_httpd):
    """A CA that is down."""
    h = make_httpd()
    h.conf("AcmeDirectoryURL https://127.0.0.1:%d/dir\nAcmeTermsOfService accepted\nAcmeStoreDir %s\nAcmePortMap http:80 https:443"
           % (util.free_port(), h.store))
    # Names of the tests' own kind are for a CA of one's own.
    h.conf("AcmeCAFile %s" % Authority(h.root).pem(["ca.test"]))
    os.chmod(os.path.join(h.root, "ca.test.pem"), 0o644)
    return h


@pytest.fixture
def held(make_httpd, make_pebble, make_chaos):
    """(httpd, CA, rule): newOrder is held until rule.release()."""
    h = make_httpd(modules=["status"])
    chaos = make_chaos(make_pebble(h))
    h.use_ca(chaos)
    rule = chaos.on("newOrder", hold="before", times=1)
    return h, chaos, rule


def extension(cert, kind):
    return cert.extensions.get_extension_for_class(kind).value


def certificate(seen):
    return x509.load_der_x509_certificate(seen.der)


# ---- requests ----

def request(sock, name, method="GET"):
    """The status of the answer to one request on an open connection."""
    sock.sendall(("%s / HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n" % (method, name)).encode())
    return int(sock.recv(65536).split()[1])


def s_client(httpd, *more):
    """(status, text) of a request by the openssl command."""
    result = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % httpd.https_port, "-servername", "a.test", "-tls1_2", "-ign_eof", *more],
                            input="GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, universal_newlines=True, timeout=20)
    found = re.search(r"^HTTP/1.1 (\d+)", result.stdout, re.M)
    return int(found.group(1)) if found else None, result.stdout


def test_503_until_the_first_certificate(held):
    """Everything on that vhost gets it, nothing on others; then the same processes serve normally."""
    httpd, chaos, rule = held
    httpd.conf("<Location /server-status>\n    SetHandler server-status\n    Require all granted\n</Location>")
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.vhost("a.test", tls=False)
    httpd.vhost("b.test", extra="AcmePlaceholder serve")
    httpd.vhost("static.test", engine=False, extra="SSLCertificateFile %s" % Authority(httpd.root).pem(["static.test"]))
    httpd.vhost("both.test", extra="SSLCertificateFile %s" % Authority(httpd.root).pem(["both.test"]))
    chaos.on("newOrder", hold="before")
    httpd.start()
    rule.wait_held()
    for path in ("/", "/index.html", "/no/such/file", "/.well-known/acme-challenge/unknown-token-0123456789"):
        reply = httpd.get("a.test", path)
        assert reply.status == 503 and 0 < int(reply.headers["retry-after"]) <= 120, (path, reply)
    assert httpd.get("www.a.test").status == 503
    for method in ("HEAD", "POST", "OPTIONS", "DELETE"):
        with httpd.connect("a.test") as sock:
            assert request(sock, "a.test", method) == 503
    assert httpd.get("a.test", "/server-status").status == 200
    assert httpd.get("a.test", tls=False).status == 200
    placeholder = httpd.handshake("b.test")
    assert httpd.get("b.test").status == 200 and placeholder.issuer == placeholder.subject
    assert httpd.get("static.test").status == 200
    assert httpd.get("both.test").status == 200 and not httpd.handshake("both.test").issuer == "CN=both.test"
    assert httpd.log_lines(r"AC0830: a\.test: no certificate yet")
    parent, children = httpd.pid, set(httpd.children())
    chaos.clear()
    httpd.wait_live("a.test", chaos)
    httpd.handshake_all_children("a.test", until=lambda seen: seen.issued_by(chaos))
    assert httpd.get("a.test").status == 200 and httpd.get("a.test", "/no/such/file").status == 404
    assert "retry-after" not in httpd.get("a.test").headers
    assert httpd.pid == parent and children <= set(httpd.children())


def test_ends_on_open_connections_too(held):
    """What decides is the certificate there is, not what this connection saw: opened before, or resumed."""
    httpd, chaos, rule = held
    httpd.vhost("a.test")
    httpd.start()
    rule.wait_held()
    before = httpd.connect("a.test", tls="1.2")
    # openssl keeps a session in a file, which Python cannot.
    kept = os.path.join(httpd.root, "session")
    assert s_client(httpd, "-sess_out", kept)[0] == 503
    chaos.clear()
    httpd.wait_live("a.test", chaos)
    httpd.handshake_all_children("a.test", until=lambda seen: seen.issued_by(chaos))
    with before:
        assert httpd.look(before).issuer == httpd.look(before).subject and request(before, "a.test") == 200
    status, text = s_client(httpd, "-sess_in", kept)
    assert "Reused, TLSv1.2" in text and status == 200


# ---- the placeholder itself ----

def test_is_what_mod_ssl_takes_without_a_word(httpd):
    """Self-signed, the vhost's names, CA:FALSE, P-256; in the store, for root alone."""
    httpd.vhost("a.test", aliases=["www.a.test", "192.0.2.7"])
    httpd.start()
    seen = httpd.handshake("a.test")
    cert = certificate(seen)
    assert seen.issuer == seen.subject and seen.names == ["192.0.2.7", "a.test", "www.a.test"]
    assert extension(cert, x509.BasicConstraints).ca is False
    assert isinstance(cert.public_key(), ec.EllipticCurvePublicKey) and cert.public_key().curve.name == "secp256r1"
    cert.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
    directory = os.path.join(httpd.store, "placeholder")
    assert os.stat(directory).st_mode & 0o7777 == 0o700
    for name in ("a.test.crt.pem", "a.test.key.pem"):
        assert os.stat(os.path.join(directory, name)).st_mode & 0o7777 == 0o600
    assert not os.path.exists(os.path.join(httpd.store, "a.test.crt.pem"))


def test_persists(httpd):
    """The same one after a graceful restart and after a stop: browsers that were told to accept it go on doing so."""
    httpd.vhost("a.test")
    httpd.start()
    first = httpd.handshake("a.test").serial
    httpd.graceful()
    assert httpd.handshake("a.test").serial == first
    httpd.stop()
    httpd.start()
    assert httpd.handshake("a.test").serial == first and httpd.get("a.test").status == 503


@pytest.mark.parametrize("damage", ["empty", "torn", "other key", "directory", "names"])
def test_is_made_again_when_it_does_not_fit(httpd, damage):
    httpd.vhost("a.test")
    httpd.start()
    first = httpd.handshake("a.test").serial
    path = os.path.join(httpd.store, "placeholder", "a.test.key.pem")
    if damage == "empty":
        open(path, "w").close()
    elif damage == "torn":
        os.truncate(path, os.path.getsize(path) // 2)
    elif damage == "other key":
        with open(path, "wb") as file:
            file.write(Authority(httpd.root).issue(["a.test"]).key)
    elif damage == "directory":
        os.remove(path)
        os.mkdir(path)
    else:
        httpd._vhosts[0] = httpd._vhosts[0].replace("ServerName a.test", "ServerName a.test\n    ServerAlias new.a.test")
    httpd.graceful()
    again = httpd.handshake("a.test")
    assert again.serial != first and again.names == (["a.test", "new.a.test"] if damage == "names" else ["a.test"])
    assert httpd.get("a.test").status == 503


def test_one_for_all_key_types(httpd):
    httpd.vhost("a.test", extra="AcmeKeyType RSA-2048 P-384")
    httpd.start()
    assert sorted(f for f in httpd.store_files() if f.startswith("placeholder/")) == ["placeholder/a.test.crt.pem", "placeholder/a.test.key.pem"]
    assert httpd.get("a.test").status == 503


@pytest.mark.parametrize("stapling", ["off", "on"])
def test_mod_ssl_says_nothing_about_it(held, stapling):
    """At start, in handshakes that ask for a staple, after the swap, after a restart."""
    httpd, chaos, rule = held
    httpd.log_level = "info"
    if stapling == "on":
        httpd.conf("SSLUseStapling on\nSSLStaplingCache shmcb:run/stapling(32768)")
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.vhost("b.test")
    chaos.on("newOrder", hold="before")
    httpd.start()
    rule.wait_held()

    assert "OCSP response: no response sent" in s_client(httpd, "-status")[1]
    assert httpd.get("a.test").status == 503 and httpd.get("b.test").status == 503
    httpd.graceful()
    s_client(httpd, "-status")
    # AH01882 is about the versions of the libraries.
    assert not httpd.log_lines(r"\[ssl:(notice|warn|error|crit|alert|emerg)\] (?!.*AH01882)")


# ---- a thousand ----

def processor_seconds(pid):
    """Of that process alone: other tests beside this one do not count, and neither do its children."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_seconds(httpd):
    begun = len(httpd.log_lines("resuming normal operations"))
    httpd.start(write=False, wait=False)
    up = util.wait_for(lambda: not httpd.running() or len(httpd.log_lines("resuming normal operations")) > begun, 120, 0.02)
    assert up and httpd.running(), util.tail(httpd.error_log)
    used = processor_seconds(httpd.pid)
    httpd.stop()
    return used


@pytest.fixture
def fast_disk():
    """The numbers are the module's, not the disk's."""
    path = tempfile.mkdtemp(prefix="acmeclient-test-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def thousand(make_httpd, directory, name):
    h = make_httpd(name=name, store=os.path.join(directory, name))
    h.log_level = "warn mpm_event:notice"
    h.conf("AcmeDirectoryURL https://127.0.0.1:%d/dir\nAcmeCAFile %s/ca.pem\nAcmeTermsOfService accepted\nAcmeStoreDir %s\nAcmeEngine on\n"
           "AcmePortMap http:80 https:443" % (util.free_port(), h.root, h.store))
    with open(os.path.join(h.root, "ca.pem"), "wb") as file:
        file.write(Authority(h.root).issue(["ca.test"]).chain)
    for i in range(1000):
        h.vhost("v%d.test" % i, engine=False)
    h.write()
    return h


@pytest.mark.alone
def test_a_thousand_placeholders_cost_little(make_httpd, fast_disk):
    """First start with 1,000 missing minus first start with 1,000 present <= 0.8 s; a later one <= 0.1 s."""
    present, missing = thousand(make_httpd, fast_disk, "present"), thousand(make_httpd, fast_disk, "missing")
    authority, key = Authority(present.root), ec.generate_private_key(ec.SECP256R1())
    for i in range(1000):
        authority.store(present, "v%d.test" % i, key=key)
    with_files, first, later = start_seconds(present), start_seconds(missing), start_seconds(missing)
    assert len(os.listdir(os.path.join(missing.store, "placeholder"))) == 2000
    assert first - with_files <= 0.8, (first, with_files)
    assert later - with_files <= 0.1, (later, with_files)
