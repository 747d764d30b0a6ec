# Licensed under the Apache License, Version 2.0; see LICENSE.
"""When a certificate is renewed, when a failure is tried again, and that the old one serves meanwhile."""
import datetime
import json
import os
import re
import threading
import time

import pytest

from lib import records, util
from lib.clock import Clock
from lib.httpd import logged_at

DAY = 86400
LADDER = [60, 600, 6000, DAY, DAY]
SPREAD = 3600  # certificates obtained together are not renewed in the same second


@pytest.fixture
def clock(workdir):
    return Clock(workdir)


@pytest.fixture
def make_httpd(make_httpd):
    """Here the lifetime decides when; for the CA's windows see test_ari.py."""
    def make(*args, **options):
        httpd = make_httpd(*args, **options)
        httpd.conf("AcmeARI off")
        return httpd
    return make


def moment(text):
    """Seconds since the epoch of a time as log lines have it."""
    when = datetime.datetime.strptime(re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text).group(0), "%Y-%m-%dT%H:%M:%SZ")
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


def utc(when):
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


def attempt(httpd, name, number, timeout=15):
    """The line of a failed attempt: (when it was written, when the next one is)."""
    line = httpd.wait_log(r"%s: .*attempt %d, next try at" % (re.escape(name), number), timeout)[-1]
    return logged_at(line), moment(line[line.index("next try at"):])


def attempts(httpd, name):
    return len(httpd.log_lines(r"%s: .*attempt \d+, next try at" % re.escape(name)))


def renewal(httpd, name, count=1):
    return moment(httpd.wait_log(r"%s: next renewal at" % re.escape(name), count=count)[-1].split("renewal at")[1])


# ---- the moment ----

@pytest.mark.parametrize("days,left", [(90, {"auto": 30, "14d": 14, "30%": 27, "80d": 45}),
                                       (6, {"auto": 3, "14d": 3, "36h": 1.5, "10%": 0.6})])
def test_moment_of_renewal(make_httpd, make_pebble, days, left):
    """A third of the lifetime before the end, half of it under ten days, AcmeRenewBefore instead but never earlier than half."""
    httpd = make_httpd()
    pebble = make_pebble(httpd, validity=days * DAY)
    httpd.use_ca(pebble)
    names = {value: "v%d.test" % n for n, value in enumerate(left)}
    for value, name in names.items():
        httpd.vhost(name, extra="AcmeRenewBefore %s" % value)
    httpd.start()
    for value, name in names.items():
        end = utc(httpd.wait_live(name, pebble).not_after)
        late = renewal(httpd, name) - (end - left[value] * DAY)
        assert -3 <= late <= SPREAD + 3, "%s: %d s" % (value, late)
        assert late <= left[value] * DAY / 20 + 3


def test_renewed_when_announced_and_not_before(make_httpd, make_pebble, make_chaos, clock):
    httpd = make_httpd(env=clock.env)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    due = renewal(httpd, "a.test")
    clock.set(due - 30)
    httpd.wait_log("the clock jumped forward")
    time.sleep(1.5)
    assert chaos.count("newOrder") == 1
    clock.set(due)
    assert httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    assert chaos.count("newOrder") == 2 and chaos.count("newAccount") == 1


def test_renewal_while_serving(make_httpd, make_pebble):
    """Real time, a short lifetime: no handshake fails, no process goes, and the new one is in all children."""
    httpd = make_httpd()
    pebble = make_pebble(httpd, validity=int(util.patience(14)))
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    first = httpd.wait_live("a.test", pebble)
    httpd.handshake_all_children("a.test", until=lambda s: s.serial == first.serial, timeout=3)
    children, parent, serials, faults, over = httpd.children(), httpd.pid, [], [], threading.Event()

    def client(tls):
        while not over.is_set():
            try:
                seen = httpd.handshake("a.test", tls=tls)
                serials.append(seen.serial)
                if not seen.issued_by(pebble) or seen.not_after < datetime.datetime.utcnow():
                    faults.append(seen)
            except OSError as error:
                faults.append(error)
            time.sleep(0.01)

    clients = [threading.Thread(target=client, args=(tls,)) for tls in ("1.2", "1.3")]
    for thread in clients:
        thread.start()
    try:
        second = httpd.wait_live("a.test", pebble, not_serial=first.serial, timeout=util.patience(14))
        httpd.handshake_all_children("a.test", until=lambda s: s.serial == second.serial, pids=children,
                                     timeout=util.patience(3))
        assert httpd.get("a.test").status == 200
    finally:
        over.set()
        for thread in clients:
            thread.join()
    assert not faults, faults[:3]
    assert {first.serial, second.serial} <= set(serials)
    assert httpd.pid == parent and set(children) <= set(httpd.children())


def test_shorter_lifetime_is_no_step_back(make_httpd, make_pebble):
    """From 90 days to 6: another CA's policy, an earlier end, the newer certificate all the same."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    old = httpd.wait_live("a.test", pebble)
    httpd.graceful()
    pebble.stop_ca()
    pebble.config["certificateValidityPeriod"] = pebble.config["profiles"]["default"]["validityPeriod"] = 6 * DAY
    pebble.start_ca()
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    new = httpd.wait_live("a.test", pebble)
    assert new.not_after < old.not_after and new.not_after - new.not_before < datetime.timedelta(days=7)
    httpd.graceful()
    assert {s.serial for s in httpd.handshake_all_children("a.test").values()} == {new.serial}
    httpd.stop()
    httpd.start()
    assert httpd.handshake("a.test").serial == new.serial
    assert len(httpd.log_lines("a.test: adopted")) == 2 and not httpd.log_lines("AC0605")


def test_expiry_is_an_error_in_time(make_httpd, make_pebble, clock):
    """A renewal that fails becomes an error at a quarter, a tenth and a thirtieth of the lifetime; the old one serves on."""
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    end = utc(seen.not_after)
    pebble.stop_ca()
    clock.set(renewal(httpd, "a.test"))
    attempt(httpd, "a.test", 1)
    assert not httpd.log_lines("AC0704")
    for n, part in enumerate([4, 10, 30], 1):
        clock.set(end - 90 * DAY / part + 60)
        line = httpd.wait_log(r":error\].* AC0704: a\.test: expires at .* and is not renewed", count=n)[-1]
        assert moment(line.split("expires at")[1]) == int(end)
        assert httpd.handshake("a.test").serial == seen.serial and httpd.get("a.test").status == 200
    assert len(httpd.log_lines("AC0704")) == 3


# ---- the retry ladder ----

def test_retry_ladder(make_httpd, make_pebble, clock):
    """A CA that is down: 1, 10, 100 min, 24 h, 24 h (+0 to 10 %), each when it was announced; up again, the next one succeeds."""
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    pebble.stop_ca()
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    announced = None
    for number, step in enumerate(LADDER, 1):
        written, following = attempt(httpd, "a.test", number)
        assert announced is None or 0 <= written - announced <= 5
        announced = following
        assert step - 1 <= announced - written <= step * 1.1 + 1
        assert attempts(httpd, "a.test") == number
        if number == 2:
            survives_restarts(httpd, number)
        clock.set(announced - 2)
        httpd.wait_log("the clock jumped forward|a.test: .*attempt %d" % (number + 1), count=1)
        time.sleep(0.7)
        assert attempts(httpd, "a.test") == number, "tried before it was announced"
        if number == len(LADDER):
            pebble.start_ca()
        clock.set(announced)
    assert httpd.wait_live("a.test", pebble, timeout=10)
    assert attempts(httpd, "a.test") == len(LADDER)
    # Success begins the ladder anew.
    last = [r for r in records.read(os.path.join(httpd.store, "a.test.crt.pem.upd")) if r.type == "attempt"][-1]
    assert json.loads(last.payload)["failures"] == 0


def test_clock_set_back_stretches_no_wait(make_httpd, make_pebble, clock):
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    pebble.stop_ca()
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    attempt(httpd, "a.test", 1)
    clock.forward(-30 * DAY)
    httpd.wait_log("the clock jumped back")
    assert attempts(httpd, "a.test") == 1
    clock.forward(67)
    attempt(httpd, "a.test", 2, timeout=5)


def test_no_clock_at_boot(make_httpd, make_pebble, clock):
    """In 2001 everything is served and adopted as ever, nothing is ordered; with the right time the work goes on."""
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    httpd.kill9()
    clock.set(1000000000)
    httpd.vhost("b.test")
    httpd.start()
    httpd.wait_log("owner is pid", count=2)
    assert httpd.log_lines("a.test: adopted")
    for name in ("a.test", "b.test"):
        assert httpd.get(name).status == (200 if name == "a.test" else 503)
    assert {s.serial for s in httpd.handshake_all_children("a.test").values()} == {seen.serial}
    assert not httpd.log_lines("b.test: (order|obtained|.*next try)")
    clock.set(time.time())
    httpd.wait_live("b.test", pebble, timeout=10)
    assert len(httpd.log_lines("a.test: obtained")) == 1


def survives_restarts(httpd, number):
    """Ten graceful restarts and one kill -9 of everything: no attempt more, none less to come."""
    owners = len(httpd.log_lines("owner is pid"))
    for n in range(1, 11):
        httpd.graceful(write=False)
        httpd.wait_log("owner is pid", count=owners + n)
    httpd.kill9()
    httpd.start(write=False)
    httpd.wait_log("owner is pid", count=owners + 11)
    # httpd may end an idle child that owns: one owner more is no fault, one that knows less is.
    told = httpd.log_lines("AC0710")
    assert len(told) >= owners + 11
    assert all("1 certificate: 0 valid, 0 due, 0 failing, 1 never issued" in line for line in told)
    assert attempts(httpd, "a.test") == number


@pytest.fixture
def failing(make_httpd, make_pebble):
    """Two certificates whose first attempt has failed; the CA is up again."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    pebble.stop_ca()
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.vhost("b.test")
    httpd.start()
    for name in ("a.test", "b.test"):
        attempt(httpd, name, 1)
    pebble.start_ca()
    return httpd, pebble


def test_retry_file_tries_now(failing):
    httpd, pebble = failing
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    httpd.wait_live("a.test", pebble, timeout=5)
    assert "a.test.retry" not in httpd.store_files()
    assert not httpd.handshake("b.test").issued_by(pebble)
    assert attempts(httpd, "a.test") == attempts(httpd, "b.test") == 1
    # It is used up: another restart is no other order.
    httpd.graceful()
    httpd.wait_log("a.test: adopted")
    assert len(httpd.log_lines("a.test: obtained")) == 1


def test_renewal_on_request_that_fails(make_httpd, make_pebble, make_chaos, clock):
    """Of a certificate that is not due: the next try is the announced one, over restarts and deaths, and then it is done."""
    httpd = make_httpd(env=clock.env)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    rule = chaos.on("newOrder", status=400, body={"type": "urn:ietf:params:acme:error:malformed", "detail": "not today"},
                    headers={"Content-Type": "application/problem+json"})
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    _, announced = attempt(httpd, "a.test", 1)
    chaos.off(rule)
    httpd.graceful()
    httpd.wait_log("1 certificate: 0 valid, 0 due, 1 failing")
    httpd.kill9()
    httpd.start()
    httpd.wait_log("1 certificate: 0 valid, 0 due, 1 failing", count=2)
    assert chaos.count("newOrder") == 2 and httpd.handshake("a.test").serial == seen.serial
    clock.set(announced)
    assert httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    assert chaos.count("newOrder") == 3 and attempts(httpd, "a.test") == 1


def test_changed_configuration_tries_now(failing):
    """Only of that certificate; what others wait for stays as it was."""
    httpd, pebble = failing
    httpd.clear()
    httpd.use_ca(pebble)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.vhost("b.test")
    httpd.graceful()
    assert httpd.wait_live("a.test", pebble, timeout=5).names == ["a.test", "www.a.test"]
    assert not httpd.handshake("b.test").issued_by(pebble)
    assert attempts(httpd, "b.test") == 1


@pytest.mark.parametrize("form", ["7200", "date"])
def test_ca_that_asks_for_a_rest(make_httpd, make_pebble, make_chaos, form):
    """Retry-After wins when it is later than the ladder."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    if form == "date":
        form = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))
    chaos.on("newOrder", status=429, headers={"Retry-After": form, "Content-Type": "application/problem+json"},
             body={"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many of them"})
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    written, following = attempt(httpd, "a.test", 1)
    assert 7190 <= following - written <= 7210
    assert httpd.log_lines(r":warn\].* a\.test: new-order: .*rateLimited.*too many of them")
