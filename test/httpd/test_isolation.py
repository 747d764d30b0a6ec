# Licensed under the Apache License, Version 2.0; see LICENSE.
"""One certificate's trouble is nobody else's, and an order that waits for the CA holds no worker."""
import json
import os
import time

import pytest

from lib import util
from lib.httpd import logged_at

pytestmark = pytest.mark.alone

NAMES = ["n%02d.test" % n for n in range(20)]
BAD, OTHERS = NAMES[7], NAMES[:7] + NAMES[8:]
EACH_REQUEST = 0.07  # what the CA takes to answer, so that the time is made of waiting and not of this machine's load


def stalling_ca(httpd, chaos, make_chaos):
    stalled = make_chaos(chaos.pebble)
    stalled.on("*", silent=True)
    return "AcmeDirectoryURL %s\nAcmeCAFile %s" % (stalled.directory, stalled.ca_file)


def contradiction(httpd, chaos, make_chaos):
    httpd.vhost(BAD, extra="AcmeKeyType RSA-3072")
    return "AcmeKeyType P-384"


def unwritable_log(httpd, chaos, make_chaos):
    os.makedirs(os.path.join(httpd.store, BAD + ".crt.pem.upd"), mode=0o700)
    os.chmod(httpd.store, 0o700)
    return ""


def wrong_name(httpd, chaos, make_chaos):
    chaos.pebble.stop_ca()
    chaos.pebble.config["domainBlocklist"] = [BAD]
    chaos.pebble.start_ca()
    return ""


def nothing(httpd, chaos, make_chaos):
    return ""


def time_to_live(httpd, names, timeout=30):
    """From the moment there is an owner until the last of them is live, by the log."""
    def live():
        lines = httpd.log_lines("AC0810: ")
        return lines if all(any(": %s: live" % n in line for line in lines) for n in names) else None
    lines = util.wait_for(live, timeout)
    assert lines, "not live in %d s: %s" % (timeout, [n for n in names if not httpd.log_lines(": %s: live" % n)])
    last = max(logged_at(line) for line in lines if any(": %s: live" % n in line for n in names))
    return last - logged_at(httpd.log_lines("owner is pid")[0])


@pytest.fixture
def twenty(make_httpd, make_pebble, make_chaos):
    """Twenty certificates, one of them with a trouble; seconds until the others are live."""
    def run(trouble):
        httpd = make_httpd(children=2)
        chaos = make_chaos(make_pebble(httpd))
        chaos.on("*", delay=EACH_REQUEST)
        httpd.use_ca(chaos)
        bad = trouble(httpd, chaos, make_chaos)
        for name in NAMES:
            httpd.vhost(name, extra=bad if name == BAD else "")
        httpd.start()
        taken = time_to_live(httpd, OTHERS)
        assert (": %s: live" % BAD in httpd.log()) == (trouble is nothing)
        for name in OTHERS[:3]:
            assert httpd.handshake(name).issued_by(chaos)
        assert httpd.handshake(BAD).names and httpd.configtest(write=False).returncode == 0
        return httpd, taken
    return run


@pytest.fixture(scope="module")
def undisturbed():
    """Measured once, by whoever needs it first."""
    return {}


@pytest.mark.parametrize("trouble,line", [
    (stalling_ca, None),
    (contradiction, "AC0111: %s: .*AcmeKeyType differs between vhosts" % BAD),
    (unwritable_log, r":error\].* %s: .*%s\.crt\.pem\.upd" % (BAD, BAD)),
    (wrong_name, r":(warn|error)\].* %s: new-order: .*rejectedIdentifier.*next try at" % BAD),
])
def test_one_in_twenty(twenty, undisturbed, trouble, line):
    """The other 19 are live within 1.5 times the time they take without it."""
    if "taken" not in undisturbed:
        undisturbed["taken"] = twenty(nothing)[1]
    httpd, taken = twenty(trouble)
    assert taken <= 1.5 * undisturbed["taken"], "%.2f s, undisturbed %.2f s" % (taken, undisturbed["taken"])
    if line:
        assert httpd.log_lines(line)
    assert not httpd.log_lines(r"AC0\d+: n(?!07)\d\d\.test: .*next try at")


def slow_validation(seconds):
    """Makes the CA take that long from the first look at an order until it leaves pending."""
    since = {}

    def edit(reply):
        order = json.loads(reply.body)
        if order.get("status") in ("pending", "ready"):
            first = since.setdefault(order["finalize"], time.monotonic())
            if time.monotonic() - first < seconds:
                order["status"] = "pending"
                reply.body = json.dumps(order).encode()
    return edit


def test_waiting_orders_hold_no_worker(make_httpd, make_pebble, make_chaos):
    """5 s of validation, 8 workers, 20 certificates: 12 s, not 15 and not 100."""
    httpd = make_httpd(children=2)
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("order", edit=slow_validation(5))
    httpd.use_ca(chaos)
    httpd.conf("AcmeWorkers 8")
    for name in NAMES:
        httpd.vhost(name)
    httpd.start()
    taken = time_to_live(httpd, NAMES)
    assert 5 <= taken <= 12
    assert chaos.count("newOrder", status=201) == 20
