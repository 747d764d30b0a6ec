# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A certificate that is still valid stays in service, whatever happens to orders, files, configuration and clock."""
import os
import shutil
import time

import pytest

from lib import records, util
from lib.authority import Authority
from lib.chaos import set_json
from lib.clock import Clock

YEAR = 365 * 86400


STAGED, ADOPTED = "staged.test", "adopted.test"


class Site:
    """Two vhosts with a live certificate each: one that is on disk too, one that stands only in its staging log."""

    def __init__(self, make_httpd, make_pebble, make_chaos, aliases=(), extra="", **options):
        self.httpd = make_httpd(children=2, **options)
        self.chaos = make_chaos(make_pebble(self.httpd))
        self.serial = {}
        for names in ([ADOPTED], [ADOPTED, STAGED]):
            self.configure(aliases, extra, names=names)
            if self.httpd.running():
                self.httpd.graceful()
            else:
                self.httpd.start()
            self.learn(names[-1])
        self.httpd.wait_log("AC0721: " + STAGED)
        self.chaos.forget()

    def learn(self, name, **options):
        """Another certificate than before is live now."""
        seen = self.httpd.wait_live(name, self.chaos, not_serial=self.serial.get(name), **options)
        self.serial[name] = seen.serial
        return seen

    def configure(self, aliases=(), extra="", ca=None, names=(ADOPTED, STAGED)):
        """aliases: first labels."""
        self.httpd.clear()
        self.httpd.use_ca(ca or self.chaos)
        for name in names:
            self.httpd.vhost(name, aliases=["%s.%s" % (alias, name) for alias in aliases], extra=extra)

    def assert_in_service(self, pause=0):
        """In every child, with content."""
        time.sleep(pause)
        for name, serial in self.serial.items():
            everywhere = self.httpd.handshake_all_children(name)
            assert {seen.serial for seen in everywhere.values()} == {serial}, name + "\n" + util.tail(self.httpd.error_log)
            assert self.httpd.get(name).status == 200

    def retry(self):
        for name in self.serial:
            util.touch(os.path.join(self.httpd.store, name + ".retry"))
        self.httpd.graceful()

    def restart(self):
        self.httpd.stop()
        self.httpd.start()


@pytest.fixture
def make_site(make_httpd, make_pebble, make_chaos):
    def make(**options):
        return Site(make_httpd, make_pebble, make_chaos, **options)
    return make


REFUSAL = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "no"}
BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
ORDERS = [  # the last one can be resumed
    {"step": "newOrder", "status": 403, "body": REFUSAL},
    {"step": "newOrder", "status": 500, "body": "x"},
    {"step": "authz", "edit": set_json(status="invalid")},
    {"step": "certificate", "status": 200, "body": BROKEN, "headers": {"Content-Type": "application/pem-certificate-chain"}},
]


def test_failed_orders(make_site):
    """Refused, not understood, not validated, ended with a certificate that is none; and a restart after it all."""
    site = make_site()
    for i, rule in enumerate(ORDERS):
        site.chaos.on(**rule)
        site.retry()
        for name in site.serial:
            site.httpd.wait_log(r"AC0\d+: %s: .*attempt \d+, next try at" % name, count=i + 1)
        site.assert_in_service()
        site.chaos.clear()
    site.restart()
    site.assert_in_service()


def test_dead_ca(make_site):
    site = make_site()
    site.chaos.pebble.stop_ca()
    site.retry()
    site.httpd.wait_log("next try at")
    site.assert_in_service()
    site.restart()
    site.assert_in_service()


def stage(site, name, names, damage=b""):
    """What a compromised child could append: a newer pair of somebody else's CA."""
    pair = Authority(site.httpd.root, "somebody").issue(names)
    logs = [os.path.join(site.httpd.store, "%s.%s.pem.upd" % (name, kind)) for kind in ("crt", "key")]
    seq = max([r.seq for log in logs for r in records.read(log)] + [0])
    head = b'{"keyDigest":"%s"}' % (b"0" * 64)
    records.append(logs[1], records.encode(name, "key", seq + 1, pair.key))
    records.append(logs[0], records.encode(name, "certificate", seq + 2, head + b"\n" + pair.chain) + damage)


def test_rejected_adoption(make_site):
    """Staged by somebody, for other names, damaged: refused and told, what is live stays."""
    site = make_site()
    for names, damage in ((None, b""), (["bank.test"], b""), (None, b"acme1 a.test certificate 9 5 x\n" + os.urandom(50))):
        for name in site.serial:
            stage(site, name, names or [name], damage)
        site.httpd.graceful()
        site.assert_in_service()
    for name in site.serial:
        site.httpd.wait_log("AC060[345]: " + name)
    site.restart()
    site.assert_in_service()


def test_adoption_that_cannot_be_made(make_site):
    """There is no place for the former pair: the new one stays live and is adopted when there is."""
    site = make_site()
    archive = os.path.join(site.httpd.store, "archive")
    shutil.rmtree(archive, ignore_errors=True)
    util.touch(archive)
    site.retry()
    for name in site.serial:
        site.learn(name)
    site.httpd.graceful()
    site.assert_in_service()
    os.unlink(archive)
    site.httpd.graceful()
    site.assert_in_service()
    site.restart()
    site.assert_in_service()


def test_shrunk_names(make_site):
    """A removed name waits for the next renewal: nothing is ordered."""
    site = make_site(aliases=["www", "old"])
    for aliases in (["www"], []):
        site.configure(aliases=aliases)
        site.httpd.graceful()
        site.assert_in_service()
    site.assert_in_service(pause=1)
    assert site.chaos.count("newOrder") == 0
    site.retry()
    for name in site.serial:
        assert site.learn(name).names == [name]


def test_grown_names(make_site):
    """Reissued at once, the former certificate serving until the new one is there."""
    site = make_site()
    gate = site.chaos.on("finalize", hold="before")
    site.configure(aliases=["www"])
    site.httpd.graceful()
    gate.wait_held()
    site.assert_in_service()
    site.chaos.off(gate)
    for name in site.serial:
        assert site.learn(name).names == [name, "www." + name]


def test_changed_ca(make_site, make_pebble):
    """Reissued at once by the new CA, the former's certificate serving until then."""
    site = make_site()
    other = make_pebble(site.httpd)
    other.suspend()
    site.configure(ca=other)
    site.httpd.graceful()
    site.assert_in_service()
    site.assert_in_service(pause=1)
    other.resume()
    for name in site.serial:
        site.httpd.wait_live(name, other)


def test_changed_key_type(make_site):
    """Waits for the next renewal."""
    site = make_site(extra="AcmeKeyType P-256")
    site.configure(extra="AcmeKeyType RSA-2048")
    site.httpd.graceful()
    site.assert_in_service(pause=1)
    assert site.chaos.count("newOrder") == 0
    site.retry()
    for name in site.serial:
        site.learn(name, tls="1.2", ciphers="aRSA")
    site.assert_in_service()
    site.httpd.graceful()
    site.assert_in_service()


def too_open(store):
    os.chmod(store, 0o777)


def of_somebody_else(store):
    os.chown(store, 33, 33)


def logs_not_to_be_opened(store):
    """As near as root comes to a store it cannot read."""
    for name in os.listdir(store):
        if name.endswith(".upd"):
            os.rename(os.path.join(store, name), os.path.join(store, name + ".aside"))
            os.mkdir(os.path.join(store, name))


def full_of_rubbish(store):
    for name in ("journal", "lock", "overflow.upd"):
        with open(os.path.join(store, name), "wb") as file:
            file.write(os.urandom(3000))
    for name in os.listdir(store):
        if name.endswith((".upd", ".jwk")):
            with open(os.path.join(store, name), "ab") as file:
                file.write(os.urandom(3000))


@pytest.mark.parametrize("trouble", [too_open, of_somebody_else, logs_not_to_be_opened, full_of_rubbish], ids=lambda f: f.__name__)
def test_unreadable_store(make_site, trouble):
    """One line says what is wrong, and everything is served; when it is mended, everything goes on."""
    site = make_site()
    store = site.httpd.store
    mode, owner = os.stat(store).st_mode, os.stat(store).st_uid
    trouble(store)
    site.httpd.graceful()
    site.assert_in_service()
    assert site.httpd.log_lines(r"\[acmeclient:(error|warn)\].*" + store)
    os.chmod(store, mode)
    os.chown(store, owner, -1)
    for name in os.listdir(store):
        if name.endswith(".aside"):
            os.rmdir(os.path.join(store, name[:-6]))
            os.rename(os.path.join(store, name), os.path.join(store, name[:-6]))
    site.httpd.graceful()
    site.assert_in_service()
    site.restart()
    site.assert_in_service()
    if trouble is not full_of_rubbish:
        site.retry()
        for name in site.serial:
            site.learn(name)


@pytest.mark.parametrize("years", [-10, 10])
def test_clock_jump(make_site, workdir, years):
    """Ten years to either side, while it runs, over a graceful restart in that time, and back."""
    clock = Clock(workdir)
    site = make_site(env=clock.env)
    for there in (years, -years):
        clock.forward(there * YEAR)
        site.assert_in_service(pause=1)
        site.httpd.graceful()
        site.assert_in_service(pause=1)
    assert site.chaos.count("newOrder") <= (0 if years < 0 else 4)


def test_pair_of_the_administrator(make_site):
    """What he puts in the place of ours is served, though something newer is live."""
    site = make_site()
    for name in site.serial:
        site.serial[name] = Authority(site.httpd.root).store(site.httpd, name).serial
    site.httpd.graceful()
    site.serial.pop(STAGED)
    site.assert_in_service()
