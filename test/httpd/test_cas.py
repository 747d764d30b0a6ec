# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Certification authorities: those known by name, several in order, their staging, the way to them."""
import base64
import os
import re
import socket
import threading

import pytest

from lib.clock import Clock
from lib.util import free_port

KNOWN = {"letsencrypt": ("acme-v02.api.letsencrypt.org", False),
         "letsencrypt-staging": ("acme-staging-v02.api.letsencrypt.org", False),
         "zerossl": ("acme.zerossl.com", True), "google": ("dv.acme-v02.api.pki.goog", True),
         "google-staging": ("dv.acme-v02.test-api.pki.goog", True), "ssl.com": ("acme.ssl.com", True),
         "actalis": ("acme-api.actalis.com", True)}
EAB = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")


def section(name, *lines):
    return "<AcmeCA %s>\n%s\n</AcmeCA>" % (name, "\n".join("    " + line for line in lines))


def private(name, ca, *more):
    return section(name, "AcmeDirectoryURL %s" % ca.directory, "AcmeCAFile %s" % ca.ca_file, *more)


def base(httpd, terms=True):
    httpd.conf("AcmeStoreDir %s\nAcmePortMap http:%d https:%d" % (httpd.store, httpd.http_port, httpd.https_port))
    if terms:
        httpd.conf("AcmeEmail admin@example.org\nAcmeTermsOfService accepted")


# ---- known by name ----

def test_known_names_say_what_they_need(make_httpd):
    """-t names each missing agreement and external account, and none where all is there."""
    httpd = make_httpd()
    base(httpd, terms=False)
    for name in KNOWN:
        httpd.vhost("%s.example.org" % name.replace(".", "-"), extra="AcmeDirectoryURL %s" % name)
    said = httpd.configtest()
    assert said.returncode == 0, said.stdout
    for name, (_, external) in KNOWN.items():
        assert re.search(r"AC0112.*CA %s: its terms" % re.escape(name), said.stdout), said.stdout
        assert bool(re.search(r"AC0149.*CA %s: .*AcmeExternalAccount" % re.escape(name), said.stdout)) == external
    httpd.conf("AcmeTermsOfService accepted\nAcmeExternalAccount %s %s" % EAB)
    said = httpd.configtest()
    assert "AC0112" not in said.stdout and "AC0149" not in said.stdout
    assert EAB[1] not in said.stdout + httpd.configtest("-D", "DUMP_ACME").stdout


class Listener:
    """A CONNECT proxy that counts who is asked for, and opens tunnels: the CAs' names stand for the ports in `to`."""

    def __init__(self, to=None, user=None, reply=None):
        self.to, self.user, self.reply, self.asked = to or {}, user, reply, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def refuse(self, client, target, head):
        if self.reply:
            return self.reply
        if self.user and base64.b64encode(self.user.encode()) not in head:
            return b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        return None if target in self.to else b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(4096)
            if not part:
                return
            head += part
        target = head.split()[1].decode()
        self.asked.append(target)
        refusal = self.refuse(client, target, head)
        if refusal is not None:
            client.sendall(refusal)
            client.close()
            return
        upstream = socket.create_connection(("127.0.0.1", self.to[target]))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=self.copy, args=(upstream, client), daemon=True).start()
        self.copy(client, upstream)

    @staticmethod
    def copy(source, target):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self.socket.close()


@pytest.fixture
def make_proxy():
    made = []

    def make(*args, **options):
        made.append(Listener(*args, **options))
        return made[-1]
    yield make
    for proxy in made:
        proxy.stop()


def test_nothing_is_sent_to_a_known_ca_that_lacks_something(make_httpd, make_proxy):
    """Terms or external account missing: no connection at all, one line each; the others are asked."""
    httpd, proxy = make_httpd(), make_proxy()
    base(httpd, terms=False)
    httpd.conf("AcmeProxy http://127.0.0.1:%d" % proxy.port)
    for name in KNOWN:
        for terms, eab in ((0, 0), (1, 0), (0, 1), (1, 1)):
            httpd.vhost("%s-%d%d.example.org" % (name.replace(".", "-"), terms, eab), extra="AcmeDirectoryURL %s%s%s" % (
                name, "\nAcmeTermsOfService accepted" if terms else "", "\nAcmeExternalAccount %s %s" % EAB if eab else ""))
    httpd.start()
    complete = {"%s-11" % name.replace(".", "-") for name in KNOWN} | {"%s-10" % name for name, (_, external) in KNOWN.items() if not external}
    httpd.wait_log("AC0212: .*attempt 1", count=len(complete))
    assert {re.search(r"(\S+)\.example\.org: ", line).group(1) for line in httpd.log_lines("attempt 1")} == complete
    assert {target.split(":")[0] for target in proxy.asked} == {host for host, _ in KNOWN.values()}
    for name, (_, external) in KNOWN.items():
        assert httpd.log_lines(r"AC0376: .*%s: the CA has terms" % re.escape(name))
        assert bool(httpd.log_lines(r"AC0309: .*%s: the CA registers accounts only with" % re.escape(name))) == external


def test_section_overrides_a_known_ca(make_httpd, make_pebble):
    """<AcmeCA letsencrypt> with another URL; without one it adds to what is known."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    base(httpd)
    httpd.conf(private("letsencrypt", pebble, "AcmeEmail other@example.org"))
    httpd.conf(section("zerossl", "AcmeExternalAccount %s %s" % EAB))
    httpd.vhost("a.test")
    httpd.vhost("z.example.org", extra="AcmeDirectoryURL zerossl")
    said = httpd.configtest()
    assert "AC0149" not in said.stdout and "AC0111" not in said.stdout, said.stdout
    httpd._vhosts.pop()
    httpd.start()
    httpd.wait_live("a.test", pebble)


# ---- in order ----

def rare(*values):
    return pytest.param(*values, marks=pytest.mark.sweep)


@pytest.mark.parametrize("trouble,after", [
    ("down", 2), rare("tls", 2), ("500", 2), rare("429", 2), rare("html", 2), ("account", 2), rare("terms", 2),
    ("rejectedIdentifier", 1), rare("caa", 1), rare("unsupportedIdentifier", 1)])
def test_next_ca_by_class_of_error(make_httpd, make_pebble, make_chaos, workdir, trouble, after):
    """AcmeFailoverAfter attempts for what may pass, at once for policy; then the second CA issues."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    first = make_chaos(pebble, names=("other.test",) if trouble == "tls" else ("localhost",))
    problem = {"type": "urn:ietf:params:acme:error:" + trouble, "detail": "no"}
    rules = {"500": ("newOrder", dict(status=500, body=problem)),
             "429": ("newOrder", dict(status=429, body={"type": "urn:ietf:params:acme:error:rateLimited", "detail": "no"})),
             "html": ("directory", dict(status=200, body="<html>", headers={"Content-Type": "text/html"})),
             "account": ("newAccount", dict(status=403, body={"type": "urn:ietf:params:acme:error:unauthorized", "detail": "no"}))}
    if trouble == "down":
        first.stop()
    elif trouble in rules or after == 1:
        step, what = rules.get(trouble, ("newOrder", dict(status=403, body=problem)))
        first.on(step, **what)
    base(httpd)
    httpd.conf(private("one", first, *(["AcmeTermsOfService none"] if trouble == "terms" else [])))
    httpd.conf(private("two", pebble))
    httpd.conf("AcmeDirectoryURL one two\nAcmeFailoverAfter 2")
    httpd.vhost("a.test")
    httpd.start()
    for attempt in range(1, after + 1):
        line = httpd.wait_log(r"a\.test: .*\(one\); attempt %d, next try at" % attempt)[-1]
        assert (" with two" in line) == (attempt == after), line
        clock.forward(700)
    httpd.wait_live("a.test", pebble)
    assert len(httpd.log_lines(r"a\.test: .*attempt \d")) == after


def test_failed_validation_stays_with_its_ca(make_httpd, make_pebble, make_chaos, workdir):
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    one, two = make_pebble(httpd, http_port=free_port(), tls_port=free_port()), make_chaos(make_pebble(httpd))
    base(httpd)
    httpd.conf(private("one", one) + "\n" + private("two", two) + "\nAcmeDirectoryURL one two\nAcmeFailoverAfter 1")
    httpd.vhost("a.test")
    httpd.start()
    for attempt in (1, 2):
        assert " with " not in httpd.wait_log(r"a\.test: .*\(one\); attempt %d, next try at" % attempt)[-1].split("next try")[1]
        clock.forward(700)
    assert two.count() == 0


def test_trust_anchors_of_two_cas(make_httpd, make_pebble):
    """AcmeCAFile is each CA's own: swapped, neither is trusted."""
    httpd = make_httpd()
    one, two = make_pebble(httpd), make_pebble(httpd)
    base(httpd)
    httpd.conf(private("one", one) + "\n" + private("two", two))
    httpd.conf(section("crossed", "AcmeDirectoryURL %s" % one.directory, "AcmeCAFile %s" % two.ca_file,
                       "AcmeAuthPath %s/crossed.jwk" % httpd.store))
    for name in ("one", "two", "crossed"):
        httpd.vhost(name + ".test", extra="AcmeDirectoryURL " + name)
    httpd.start()
    httpd.wait_live("one.test", one)
    httpd.wait_live("two.test", two)
    assert "AC0210" in httpd.wait_log(r"crossed\.test: .*attempt 1")[-1]


# ---- staging ----

def test_staging_after_two_failed_validations(make_httpd, make_pebble, make_chaos, workdir):
    """The third try goes to the staging, and so does the fourth; when it validates there, the CA itself is asked at once.
    Nothing of the staging is kept."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    real, staging = make_chaos(make_pebble(httpd)), make_chaos(make_pebble(httpd))
    for ca in (real, staging):
        ca.pebble.dns("set-default-ipv4", ip="127.0.0.2")
    base(httpd)
    httpd.conf(private("corp", real) + "\n" + private("corp-staging", staging) + "\nAcmeDirectoryURL corp\nAcmeChallenges http-01")
    httpd.vhost("a.test")
    httpd.start()
    for attempt in (1, 2):
        line = httpd.wait_log(r"a\.test: .*\(corp\); attempt %d, next try at" % attempt)[-1]
        assert ("with corp-staging" in line) == (attempt == 2), line
        clock.forward(700)
    clock.forward(7000)
    httpd.wait_log(r"AC0362: a\.test: corp could not validate it: this try goes to its staging, corp-staging")
    line = httpd.wait_log(r"a\.test: .*\(corp-staging\); attempt 3, next try at")[-1]
    assert "with" not in line.split("next try at")[1], line
    assert real.count("newOrder") == 2 and staging.count("newOrder") == 1
    for ca in (real, staging):
        ca.pebble.dns("set-default-ipv4", ip="127.0.0.1")
    os.kill(httpd.owner(), 9)
    clock.forward(2 * 86400)
    httpd.wait_log(r"AC0363: a\.test: corp-staging validates it: the next try goes to corp")
    seen = httpd.wait_live("a.test", real)
    assert not seen.issued_by(staging)
    assert real.count("newOrder") == 3 and staging.count("newOrder") == 2 and staging.count("finalize") == 1
    assert len(httpd.log_lines("AC0720")) == 1 and len(httpd.log_lines("AC0810")) == 1
    httpd.graceful()
    assert httpd.handshake("a.test").serial == seen.serial
    assert {"localhost-%d.jwk" % real.port, "localhost-%d.jwk" % staging.port} <= set(httpd.store_files())
    assert not [name for name in httpd.store_files() if name.endswith(".rej")]


def test_trouble_at_the_staging_keeps_nobody_from_the_ca(make_httpd, make_pebble, make_chaos, workdir):
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    real, staging = make_chaos(make_pebble(httpd)), make_chaos(make_pebble(httpd))
    staging.stop()
    real.pebble.dns("set-default-ipv4", ip="127.0.0.2")
    base(httpd)
    httpd.conf(private("corp", real) + "\n" + private("corp-staging", staging) + "\nAcmeDirectoryURL corp\nAcmeChallenges http-01")
    httpd.vhost("a.test")
    httpd.start()
    for attempt, who in ((1, "corp"), (2, "corp"), (3, "corp-staging")):
        line = httpd.wait_log(r"a\.test: .*\(%s\); attempt %d, next try at" % (who, attempt))[-1]
        clock.forward(8000)
    assert line.endswith("with corp")
    real.pebble.dns("set-default-ipv4", ip="127.0.0.1")
    clock.forward(86400)
    httpd.wait_live("a.test", real)


# ---- the way to them ----

def through(httpd, pebble, proxy, credentials=None):
    base(httpd)
    httpd.conf(private("one", pebble, "AcmeProxy http://127.0.0.1:%d%s" % (proxy.port, " " + credentials if credentials else "")))
    httpd.conf("AcmeDirectoryURL one")
    httpd.vhost("a.test")
    httpd.start()


def credentials_file(workdir, text, mode=0o600):
    path = os.path.join(workdir, "proxy-user")
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def test_proxy_with_user_and_password(make_httpd, make_pebble, make_proxy, workdir):
    """Each connection goes through it; the password is in no log."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    proxy = make_proxy({"localhost:%d" % pebble.port: pebble.port}, user="web:pa:ss wörd")
    httpd.log_level = "trace8"
    through(httpd, pebble, proxy, credentials_file(workdir, "web:pa:ss wörd\n"))
    httpd.wait_live("a.test", pebble)
    assert proxy.asked and set(proxy.asked) == {"localhost:%d" % pebble.port}
    assert "pa:ss" not in httpd.log() and base64.b64encode("web:pa:ss wörd".encode()).decode() not in httpd.log()


@pytest.mark.parametrize("case", ["none", "wrong", rare("503"), rare("rubbish"), "open file", rare("down")])
def test_proxy_that_refuses(make_httpd, make_pebble, make_proxy, workdir, case):
    """One clear line, and nothing goes around the proxy."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    replies = {"503": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "rubbish": b"220 smtp.example.org ESMTP\r\n"}
    proxy = make_proxy({"localhost:%d" % pebble.port: pebble.port}, user="web:secretword", reply=replies.get(case))
    if case == "down":
        proxy.stop()
    file = {"wrong": ("web:otherword", 0o600), "open file": ("web:secretword", 0o644)}.get(case)
    through(httpd, pebble, proxy, credentials_file(workdir, *file) if file else None)
    line = httpd.wait_log(r"a\.test: .*attempt 1, next try at")[-1]
    assert "AC0212" in line and "AcmeProxy http://127.0.0.1:%d" % proxy.port in line
    says = {"none": "it wants user and password", "wrong": "it does not take user and password", "503": "status 503",
            "rubbish": "", "open file": "it wants user and password", "down": ""}
    assert says[case] in line
    assert bool(httpd.log_lines(r"AC0147: one: AcmeProxy: .*mode 0644.*chmod 0600")) == (case == "open file")
    assert "word" not in re.sub(r"user and password", "", httpd.log())
