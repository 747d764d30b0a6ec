# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Hot swap: what new handshakes see, in every child, and what is left alone."""
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

from lib import util
from lib.clock import Clock
from lib.own import DER, kind_of, own_pair
from lib.sclient import HalfHello, s_client

BOTH_TYPES = "AcmeKeyType P-256 RSA-2048"
RSA_CIPHERS = "SSLCipherSuite ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
SIGALGS = {"rsa": "rsa_pss_rsae_sha256:RSA+SHA256", "ec": "ecdsa_secp256r1_sha256"}
FLAG = {"1.2": "-tls1_2", "1.3": "-tls1_3"}
SHORT = 6  # seconds a certificate is valid where a test wants renewals without a restart: one every three


def renew(httpd, *ids):
    """The administrator's order to renew."""
    for name in ids:
        util.touch(os.path.join(httpd.store, name + ".retry"))
    httpd.graceful()


def second_after_issue(chaos):
    """Until a second after the CA has sent its last certificate."""
    sent = max(entry.time for entry in chaos.requests("certificate") if entry.reply)
    time.sleep(max(0, sent + util.patience(1) - time.time()))


def serials(everywhere):
    return {seen.serial for seen in everywhere.values()}


def serial_of(session):
    return session.leaf.serial_number if session.ok else None


class Client:
    """An HTTP/1.1 client whose connection lives on."""

    def __init__(self, httpd, name, version, former=None):
        """former: a client whose session is resumed."""
        self.httpd, self.name = httpd, name
        self.context = former.context if former else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.minimum_version = self.context.maximum_version = {
            "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        raw = socket.create_connection((httpd.address, httpd.https_port), timeout=10)
        self.sock = self.context.wrap_socket(raw, server_hostname=name, session=former.session if former else None)
        self.resumed = self.sock.session_reused

    def get(self, path="/"):
        self.sock.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, self.name)).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.sock.recv(65536)
            assert part, "closed after %r" % data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        while length and len(body) < length[0]:
            body += self.sock.recv(65536)
        self.session = self.sock.session
        return int(head.split()[1])

    def serial(self):
        return self.httpd.look(self.sock).serial


# ---- every child ----

@pytest.mark.alone
def test_every_child_serves_it_within_a_second(make_httpd, make_pebble, make_chaos, mpm):
    """First certificate, renewal, adoption: no process is replaced, no child lags behind, not even one that only
    half a handshake keeps alive after a graceful restart."""
    httpd = make_httpd(mpm=mpm, children=4)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    gate = chaos.on("newOrder", hold="before")
    httpd.start()
    gate.wait_held()
    parent, children = httpd.pid, set(httpd.children())
    placeholder = httpd.handshake_all_children("a.test", pids=children)
    assert all(seen.issuer == seen.subject for seen in placeholder.values())
    chaos.off(gate)
    first = httpd.wait_live("a.test", chaos)
    second_after_issue(chaos)
    assert serials(httpd.handshake_all_children("a.test", pids=children)) == {first.serial}
    assert httpd.pid == parent and children <= set(httpd.children())

    gate = chaos.on("newOrder", hold="before")
    with HalfHello(httpd, "a.test") as pinned:
        children = set(httpd.children())
        assert pinned.pid in children
        renew(httpd, "a.test")
        gate.wait_held()
        assert httpd.handshake("a.test").serial == first.serial
        chaos.off(gate)
        second = httpd.wait_live("a.test", chaos, not_serial=first.serial)
        second_after_issue(chaos)
        young = set(httpd.children()) - children
        assert serials(httpd.handshake_all_children("a.test", pids=young)) == {second.serial}
        assert util.running(pinned.pid) and pinned.finish() == second.serial
    httpd.graceful()
    assert serials(httpd.handshake_all_children("a.test", pids=set(httpd.children()) - young)) == {second.serial}


def test_old_child_that_looks_late(make_httpd, make_pebble, make_chaos, mpm):
    """A child whose first look at a certificate comes after the graceful restart that has adopted it."""
    httpd = make_httpd(mpm=mpm)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    gate = chaos.on("newOrder", hold="before")
    httpd.start()
    gate.wait_held()
    with HalfHello(httpd, "a.test") as pinned:
        assert pinned.pid in httpd.children()
        chaos.off(gate)
        httpd.wait_log("AC0721: a.test")
        httpd.graceful()
        live = httpd.wait_live("a.test", chaos)
        httpd.wait_log("AC0710", count=2)
        time.sleep(0.5)
        assert util.running(pinned.pid) and pinned.finish() == live.serial


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_every_kind_of_client(make_httpd, make_pebble, version):
    """Both key types live: HTTP/2, clients that know only RSA or only ECDSA, each with its chain."""
    httpd = make_httpd(modules=["http2"])
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("Protocols h2 http/1.1")
    httpd.vhost("a.test", aliases=["www.a.test"], extra=BOTH_TYPES)
    httpd.start()
    serial = {}

    def both(other_than=None):
        for kind, sigalgs in SIGALGS.items():
            seen = s_client(httpd, "a.test", FLAG[version], "-sigalgs", sigalgs, "-alpn", "h2,http/1.1")
            if not seen.ok or not pebble.issued(seen.leaf.public_bytes(DER)) or serial_of(seen) == (other_than or {}).get(kind):
                return False
            assert kind_of(seen.leaf) == kind and seen.alpn == "h2" and seen.version == "TLSv" + version
            assert len(seen.chain) == 2 and seen.chain[0].issuer == seen.chain[1].subject
            serial[kind] = serial_of(seen)
        return True
    assert util.wait_for(both, 20), util.tail(httpd.error_log)
    first = dict(serial)
    renew(httpd, "a.test", "a.test.rsa2048")
    assert util.wait_for(lambda: both(other_than=first), 20), util.tail(httpd.error_log)
    httpd.graceful()
    second = dict(serial)
    assert both() and serial == second


def test_chain_of_several_links(make_httpd, make_pebble):
    httpd = make_httpd()
    pebble = make_pebble(httpd, chain_length=3)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    live = s_client(httpd, "a.test").chain
    assert len(live) == 4
    httpd.graceful()
    assert s_client(httpd, "a.test").chain == live


# ---- what is left alone ----

@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_and_open_connections_live_on(make_httpd, make_pebble, make_chaos, version):
    """What began under the placeholder or the former certificate resumes after the swap and is served; an open
    connection keeps its certificate."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd, validity=SHORT))
    httpd.use_ca(chaos)
    httpd.conf("KeepAliveTimeout 30")
    httpd.vhost("a.test")
    gate = chaos.on("newOrder", hold="before")
    httpd.start()
    gate.wait_held()
    before = Client(httpd, "a.test", version)
    assert before.get() == 503
    placeholder = before.serial()
    chaos.off(gate)
    httpd.wait_live("a.test", chaos)
    again = Client(httpd, "a.test", version, before)
    assert again.resumed and again.get() == 200
    opened = Client(httpd, "a.test", version)
    assert opened.get() == 200
    under = opened.serial()
    assert under != placeholder
    httpd.wait_live("a.test", chaos, not_serial=under)
    assert opened.get() == 200 and opened.serial() == under
    again = Client(httpd, "a.test", version, opened)
    assert again.resumed and again.get() == 200


def test_renegotiation(make_httpd, make_pebble, make_chaos):
    """One connection shows one certificate; one that began by resumption, and showed none, the newest."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd, validity=SHORT))
    httpd.use_ca(chaos)
    httpd.conf("KeepAliveTimeout 30\n<Location /private>\n    SSLVerifyClient optional_no_ca\n</Location>")
    httpd.vhost("a.test")
    gate = chaos.on("newOrder", hold="before")
    httpd.start()
    gate.wait_held()
    before = Client(httpd, "a.test", "1.2")
    assert before.get() == 503
    chaos.off(gate)
    httpd.wait_live("a.test", chaos)
    opened = Client(httpd, "a.test", "1.2")
    under = opened.serial()
    newer = httpd.wait_live("a.test", chaos, not_serial=under)
    assert opened.get("/private") == 404 and opened.serial() == under
    resumed = Client(httpd, "a.test", "1.2", before)
    assert resumed.resumed and resumed.get("/private") == 404
    seen = httpd.look(resumed.sock)
    assert seen.issued_by(chaos) and seen.not_before >= newer.not_before


@pytest.mark.parametrize("seconds,least", [pytest.param(60, 20, marks=pytest.mark.alone), (10, 3)])
def test_load_over_swaps(make_httpd, make_pebble, seconds, least):
    """A minute of handshakes, two versions, two key types and three vhosts, over twenty swaps: none fails, none is a
    mixture (its client checks signature and chain), and what has gone is not seen again."""
    httpd = make_httpd(children=3)
    pebble = make_pebble(httpd, validity=SHORT)
    httpd.use_ca(pebble)
    names = ["a.test", "b.test", "c.test"]
    httpd.vhost("a.test", aliases=["b.test"], extra=BOTH_TYPES)
    httpd.vhost("b.test", extra=BOTH_TYPES + "\nAcmeCommonName a.test")
    httpd.vhost("c.test")
    httpd.start()
    for name in names:
        httpd.wait_live(name, pebble)
    for name in names[:2]:
        httpd.wait_live(name, pebble, tls="1.2", ciphers="aRSA")
    roots = os.path.join(httpd.root, "roots.pem")
    with open(roots, "w") as file:
        file.write(pebble.roots())
    parent, children = httpd.pid, set(httpd.children())
    load = Load(httpd, names, roots).run(seconds)
    assert not load.failures, load.failures[:5]
    assert load.done > 5 * seconds
    certificates = [("a.test", "TLSv1_2aECDSA"), ("a.test", "TLSv1_2aRSA"), ("c.test", "TLSv1_2aECDSA")]
    swaps = [len(load.order[which]) - 1 for which in certificates]
    assert len(load.order) == 8 and sum(swaps) >= least and min(swaps) >= least // 4
    assert httpd.pid == parent and children <= set(httpd.children())


class Load:
    """Two threads of full handshakes, verified by their client up to the CA's root."""

    def __init__(self, httpd, names, roots):
        self.httpd, self.names, self.lock = httpd, names, threading.Lock()
        self.failures, self.done, self.order, self.newest_seen = [], 0, {}, {}
        self.contexts = []
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for ciphers in ("aRSA", "aECDSA") if version == ssl.TLSVersion.TLSv1_2 else ("DEFAULT",):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(roots)
                context.minimum_version = context.maximum_version = version
                context.set_ciphers(ciphers)
                self.contexts.append((str(version.name) + ciphers, context))

    def one(self, name, label, context):
        raw = socket.create_connection((self.httpd.address, self.httpd.https_port), timeout=10)
        try:
            with context.wrap_socket(raw, server_hostname=name) as sock:
                return sock.getpeercert()["serialNumber"]
        finally:
            raw.close()

    def loop(self, end):
        while time.monotonic() < end:
            for name in self.names:
                for label, context in self.contexts:
                    if name == "c.test" and label.endswith("aRSA"):
                        continue
                    began = time.monotonic()
                    try:
                        serial = self.one(name, label, context)
                    except (OSError, ssl.SSLError) as error:
                        # A certificate may end between handshake and check where the machine is slow: not ours to fail.
                        if "expired" not in str(error):
                            self.failures.append("%s %s: %r" % (name, label, error))
                        continue
                    with self.lock:
                        self.done += 1
                        self.note((name, label), serial, began)

    def note(self, key, serial, began):
        """Handshakes overtake each other: one that began a second after a newer certificate was seen shows no former one."""
        order, newest_seen = self.order.setdefault(key, []), self.newest_seen.get(key)
        if serial not in order:
            order.append(serial)
            self.newest_seen[key] = time.monotonic()
        elif serial != order[-1] and began > newest_seen + 1:
            self.failures.append("%s %s: a former certificate %.1f s later" % (*key, began - newest_seen))

    def run(self, seconds):
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self.loop, args=(end,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self


# ---- several vhosts ----

def served(httpd, name):
    return httpd.handshake(name).serial


def misdirected(httpd, sni, host):
    with httpd.connect(sni) as sock:
        sock.sendall(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host).encode())
        return int(sock.recv(100).split()[1])


def test_vhosts_share_a_connection_exactly_when_they_share_the_certificate(make_httpd, make_pebble, make_chaos):
    """421 with the placeholder, after the swap, after the restart; over HTTP/1.1 and HTTP/2."""
    httpd = make_httpd(modules=["http2"])
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.conf("Protocols h2 http/1.1\n<AcmeCertificate shared.test>\n    AcmeNames a.test b.test\n</AcmeCertificate>")
    for name in ("a.test", "b.test", "c.test"):
        httpd.vhost(name)
    gate = chaos.on("newOrder", hold="before")
    httpd.start()
    gate.wait_held()
    state = {(sni, host): misdirected(httpd, sni, host) for sni in ("a.test", "c.test") for host in ("a.test", "b.test", "c.test")}
    assert state == {("a.test", "a.test"): 503, ("a.test", "b.test"): 503, ("a.test", "c.test"): 421,
                     ("c.test", "a.test"): 421, ("c.test", "b.test"): 421, ("c.test", "c.test"): 503}
    assert served(httpd, "a.test") == served(httpd, "b.test") != served(httpd, "c.test")
    chaos.off(gate)
    for restart in (False, True):
        if restart:
            httpd.graceful()
        for name in ("a.test", "b.test", "c.test"):
            httpd.wait_live(name, chaos)
        assert served(httpd, "a.test") == served(httpd, "b.test") != served(httpd, "c.test")
        for host, status in (("a.test", 200), ("b.test", 200), ("c.test", 421)):
            assert misdirected(httpd, "a.test", host) == status
            seen = subprocess.run(
                ["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-H", "Host: " + host,
                 "--resolve", "a.test:%d:127.0.0.1" % httpd.https_port, "https://a.test:%d/" % httpd.https_port],
                stdout=subprocess.PIPE, universal_newlines=True, timeout=20)
            assert seen.stdout == "2 %d" % status


def test_vhosts_attached_by_path(make_httpd, make_pebble):
    """SSLCertificateFile of a managed certificate's path: not managed, swapped all the same, those that it names."""
    attached = {"e.test": ["ec"], "r.test": ["rsa"], "both.test": ["ec", "rsa"], "own.test": ["ec", "own"]}
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra="AcmeNames a.test %s\n%s" % (" ".join(attached), BOTH_TYPES))
    httpd.start()
    for ciphers in ("aECDSA", "aRSA"):
        httpd.wait_live("a.test", pebble, tls="1.2", ciphers=ciphers)
    httpd.graceful()
    own = own_pair(httpd, "own.test", "rsa")
    pair = "SSLCertificateFile %s/a.test%s.crt.pem\nSSLCertificateKeyFile %s/a.test%s.key.pem"
    lines = {"ec": pair % (httpd.store, "", httpd.store, ""), "own": own.lines,
             "rsa": pair % (httpd.store, ".rsa2048", httpd.store, ".rsa2048")}
    for name, kinds in attached.items():
        httpd.vhost(name, engine=False, extra="\n".join(lines[kind] for kind in kinds))
    httpd.graceful()

    def seen(name, kind):
        return serial_of(s_client(httpd, name, "-tls1_2", "-sigalgs", SIGALGS[kind]))

    def assert_attached():
        for name, kinds in attached.items():
            for kind in ("ec", "rsa"):
                want = seen("a.test", kind) if kind in kinds else own.serial if "own" in kinds else None
                assert seen(name, kind) == want, (name, kind)
            assert misdirected(httpd, "a.test", name) == (200 if name == "both.test" else 421)
    former = {kind: seen("a.test", kind) for kind in ("ec", "rsa")}
    assert_attached()
    renew(httpd, "a.test", "a.test.rsa2048")
    assert util.wait_for(lambda: all(seen("a.test", kind) not in (former[kind], None) for kind in former), 20)
    assert_attached()
    httpd.graceful()
    assert_attached()


def test_activation_at_restart_only(make_httpd, make_pebble, workdir):
    """AcmeActivate restart: not live before, unless nine tenths of the former one's lifetime are over."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra="AcmeActivate restart")
    httpd.start()
    httpd.wait_log("AC0811: a.test")
    assert httpd.get("a.test").status == 503
    httpd.graceful()
    first = httpd.wait_live("a.test", pebble, timeout=1)
    renew(httpd, "a.test")
    httpd.wait_log("AC0811: a.test", count=2)
    assert serials(httpd.handshake_all_children("a.test")) == {first.serial}
    children = set(httpd.children())
    clock.forward(82 * 86400)
    httpd.wait_live("a.test", pebble, not_serial=first.serial)
    assert "[acmeclient:warn]" in httpd.wait_log("AC0722: a.test")[-1]
    assert children <= set(httpd.children())


# ---- certificates of the administrator's own ----

@pytest.mark.parametrize("own", ["rsa", "ec"])
def test_own_certificate_until_the_managed_one_exists(make_httpd, make_pebble, make_chaos, own):
    """Then the managed one alone, in whatever order the client prefers, with its own chain."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    mine = own_pair(httpd, "a.test", own)
    httpd.vhost("a.test", extra="AcmeKeyType %s\n%s\nSSLCertificateChainFile %s" % (
        "P-256" if own == "rsa" else "RSA-2048", mine.lines, mine.chain))
    gate = chaos.on("newOrder", hold="before")
    httpd.start()
    gate.wait_held()
    assert serials(httpd.handshake_all_children("a.test")) == {mine.serial}
    assert httpd.get("a.test").status == 200
    chaos.off(gate)
    live = httpd.wait_live("a.test", chaos)
    for restart in (False, True):
        if restart:
            httpd.graceful()
        for version in FLAG:
            for first, second in (("rsa", "ec"), ("ec", "rsa")):
                seen = s_client(httpd, "a.test", FLAG[version], "-sigalgs", SIGALGS[first] + ":" + SIGALGS[second])
                assert serial_of(seen) == live.serial
                assert len(seen.chain) == 2 and seen.chain[0].issuer == seen.chain[1].subject
        assert not s_client(httpd, "a.test", "-tls1_3", "-sigalgs", SIGALGS[own]).ok


def test_never_a_pair_that_the_vhost_cannot_negotiate(make_httpd, make_pebble):
    """P-256 under RSA-only ciphers: what works stays, live and after a restart, and a line tells the remedy, which
    then helps."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    mine = own_pair(httpd, "a.test", "rsa")
    httpd.vhost("a.test", extra=RSA_CIPHERS + "\n" + mine.lines)
    httpd.start()
    httpd.wait_log("AC0828: a.test: .*AcmeKeyType P-256 RSA-2048")
    httpd.wait_log("a.test: live")
    for restart in (False, True):
        if restart:
            httpd.graceful()
            assert "a.test.crt.pem" in httpd.store_files()
        assert serials(httpd.handshake_all_children("a.test", tls="1.2")) == {mine.serial}
        assert httpd.handshake("a.test", tls="1.3").serial == mine.serial
        assert httpd.get("a.test").status == 200
    httpd.clear()
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra="\n".join([RSA_CIPHERS, mine.lines, BOTH_TYPES]))
    httpd.graceful()
    assert util.wait_for(lambda: httpd.handshake("a.test", tls="1.2").issued_by(pebble), 20)
    httpd.graceful()
    assert httpd.handshake("a.test", tls="1.2").issued_by(pebble)


def test_former_key_type_stays_while_the_new_one_cannot_be_negotiated(make_httpd, make_pebble):
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra=RSA_CIPHERS + "\nAcmeKeyType RSA-2048")
    httpd.start()
    former = httpd.wait_live("a.test", pebble, tls="1.2")
    httpd.graceful()
    httpd.clear()
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra=RSA_CIPHERS)
    obtained = len(httpd.log_lines("a.test: live"))
    renew(httpd, "a.test")
    httpd.wait_log("a.test: live", count=obtained + 1)
    assert serials(httpd.handshake_all_children("a.test", tls="1.2")) == {former.serial}
    httpd.graceful()
    assert httpd.handshake("a.test", tls="1.2").serial == former.serial


def test_changed_key_type_replaces_the_former(make_httpd, make_pebble):
    """After the renewal no client gets the certificate of the former type, which nobody renews any more."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra="AcmeKeyType RSA-2048")
    httpd.start()
    former = httpd.wait_live("a.test", pebble)
    httpd.graceful()
    httpd.clear()
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra="AcmeKeyType P-256")
    renew(httpd, "a.test")
    live = httpd.wait_live("a.test", pebble, not_serial=former.serial)
    for restart in (False, True):
        if restart:
            httpd.graceful()
        seen = s_client(httpd, "a.test", "-tls1_3", "-sigalgs", SIGALGS["rsa"] + ":" + SIGALGS["ec"])
        assert serial_of(seen) == live.serial and kind_of(seen.leaf) == "ec"


def test_added_key_type_does_not_take_the_former_away(make_httpd, make_pebble, make_chaos):
    """RSA, then P-256 and RSA: RSA clients are served while the second certificate is on its way."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test", extra="AcmeKeyType RSA-2048")
    httpd.start()
    former = httpd.wait_live("a.test", chaos)
    httpd.graceful()
    httpd.clear()
    httpd.use_ca(chaos)
    httpd.vhost("a.test", extra=BOTH_TYPES)
    gate = chaos.on("finalize", nth=1, hold="before")
    renew(httpd, "a.test")
    gate.wait_held()

    def seen(kind):
        return serial_of(s_client(httpd, "a.test", "-tls1_2", "-sigalgs", SIGALGS[kind]))
    assert seen("rsa") == former.serial
    chaos.off(gate)
    assert util.wait_for(lambda: seen("ec") and seen("rsa") not in (None, former.serial), 20), util.tail(httpd.error_log)


# ---- stapling ----

def test_stapling(make_httpd, make_pebble):
    """SSLUseStapling: no complaint about placeholders, no staple of another certificate, no failed handshake."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("SSLUseStapling on\nSSLStaplingCache shmcb:run/stapling(32768)")
    httpd.vhost("a.test")
    httpd.start()
    complaints = [line for line in httpd.log_lines(r"\[ssl:(error|warn)\]") if "AH01882" not in line]
    assert not complaints, complaints
    httpd.wait_live("a.test", pebble)
    seen = s_client(httpd, "a.test")
    assert seen.ok and not seen.status
    assert not httpd.log_lines("AH01926"), "mod_ssl was asked for a staple of a swapped certificate"
