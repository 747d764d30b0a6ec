# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Renewal information (RFC 9773): the CA's window decides, whatever the CA says about it stays harmless."""
import base64
import datetime
import json
import os
import shutil
import time

import pytest
from cryptography import x509

from lib import records, util
from lib.chaos import jws_payload
from lib.clock import Clock

DAY = 86400
EXPLANATION = "https://ca.example/why?a=%3Cb%3E"


@pytest.fixture
def make_offering(make_pebble):
    """make_pebble for tests that need a CA with renewal information."""
    def make(*args, **options):
        pebble = make_pebble(*args, **options)
        if not pebble.has("renewalInfo"):
            pytest.skip("this Pebble offers no renewalInfo (2.6 and later do)")
        return pebble
    return make


@pytest.fixture
def asked(make_httpd, make_offering, make_chaos):
    """(httpd, the CA whose requests are on record)"""
    httpd = make_httpd()
    chaos = make_chaos(make_offering(httpd))
    httpd.use_ca(chaos)
    return httpd, chaos


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def name_of(der):
    """RFC 9773 section 4.1, from python3-cryptography's reading of the certificate."""
    cert = x509.load_der_x509_certificate(der)
    issuer = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = cert.serial_number
    return "%s.%s" % (b64(issuer), b64(serial.to_bytes(serial.bit_length() // 8 + 1, "big")))


def stamp(seconds):
    return datetime.datetime.utcfromtimestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def window(start, end, **more):
    return json.dumps({"suggestedWindow": {"start": stamp(start), "end": stamp(end)}, **more})


def ari_records(httpd, name):
    return [json.loads(r.payload) for r in records.read(os.path.join(httpd.store, name + ".crt.pem.upd")) if r.type == "ari"]


def orders(chaos):
    return [json.loads(jws_payload(entry.body)) for entry in chaos.requests("newOrder")]


def renew(httpd, name):
    open(os.path.join(httpd.store, name + ".retry"), "w").close()
    httpd.graceful()


def test_moment_is_chosen_once_and_survives_restarts(asked):
    """An unsigned GET of the certificate's name; a moment in the window, kept over restarts, which ask nothing before
    Retry-After is over."""
    httpd, chaos = asked
    start = time.time() + 20 * DAY
    chaos.on("renewalInfo", status=200, body=window(start, start + DAY, explanationURL=EXPLANATION), headers={"Retry-After": "7200"})
    httpd.vhost("a.test", extra="<Location /acme-status>\nSetHandler acme-status\nRequire all granted\n</Location>")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    line = httpd.wait_log("AC0752: a.test")[-1]
    assert EXPLANATION in httpd.wait_log("AC0753: a.test")[-1]
    for page in ("/acme-status", "/acme-status?json"):
        assert util.wait_for(lambda: EXPLANATION.encode() in httpd.get("a.test", page).body, 3)
    (question,) = chaos.requests("renewalInfo")
    assert question.method == "GET" and question.body is None and question.path.endswith("/" + name_of(seen.der))
    (record,) = ari_records(httpd, "a.test")
    assert record["id"] == name_of(seen.der)
    assert start - 1 <= record["at"] / 1e6 <= start + DAY and stamp(record["at"] / 1e6) in line
    assert 7200 <= record["next"] / 1e6 - question.time <= 7200 * 1.05 + 5
    for _ in range(2):
        owners = len(httpd.log_lines("AC0742"))
        httpd.graceful()
        httpd.wait_log("AC0742", count=owners + 1)
        time.sleep(1)
    assert ari_records(httpd, "a.test") == [record]
    assert chaos.count("renewalInfo") == 1 and chaos.count("newOrder") == 1


def test_window_in_the_past_renews_now(make_httpd, make_offering):
    """Pebble's own override, as before a mass revocation: renewed at once, and the order names what it replaces."""
    httpd = make_httpd()
    pebble = make_offering(httpd, validity=3600)
    if pebble.version < (2, 8):
        pytest.skip("this Pebble has no override of renewal information (2.8 and later do)")
    httpd.use_ca(pebble)
    httpd.vhost("a.test", extra="AcmeARI off")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    pebble.renewal_info(seen.der, window(time.time() - 3600, time.time() - 1800))
    httpd.clear()
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.graceful()
    httpd.wait_live("a.test", pebble, not_serial=seen.serial)
    assert httpd.log_lines("AC0726: a.test: .*renewal window")


NONSENSE = [
    b"not JSON", b"{}", b"[]", b"\x00" * 100, json.dumps({"suggestedWindow": {"start": "x", "end": "y"}}),
    window(0, DAY), window(0, 253402300799), window(time.time() + DAY, time.time()), window(9e10, 9.1e10),
    json.dumps({"suggestedWindow": {"start": 1, "end": 2}}),
]


def test_nonsense_is_one_warning_and_the_lifetime_decides(make_httpd, make_offering, make_chaos):
    """Hostile windows, one a certificate: each is served and waits for its lifetime; one WARNING for the CA."""
    httpd = make_httpd()
    chaos = make_chaos(make_offering(httpd))
    httpd.use_ca(chaos)
    paths = {}

    def spoil(reply):
        body = NONSENSE[len(paths) % len(NONSENSE)]
        paths[len(paths)] = True
        reply.status, reply.body = 200, body if isinstance(body, bytes) else body.encode()
    chaos.on("renewalInfo", edit=spoil)
    names = ["v%d.test" % n for n in range(len(NONSENSE))]
    for name in names:
        httpd.vhost(name)
    httpd.start()
    for name in names:
        httpd.wait_live(name, chaos)
    lines = httpd.wait_log("AC0750", count=len(NONSENSE))
    time.sleep(1)
    assert len([line for line in lines if "[acmeclient:warn]" in line]) == 1
    assert not httpd.log_lines("AC0752") and chaos.count("newOrder") == len(NONSENSE)
    for name in names:
        assert [r["at"] for r in ari_records(httpd, name)] == [0]


@pytest.mark.sweep
def test_failing_answers_hold_up_nothing(asked):
    """500, 404, a 503 that asks for a rest: no WARNING for those that pass, and the CA is not left alone with orders."""
    httpd, chaos = asked
    for n, status in ((1, 500), (2, 503), (3, 404)):
        chaos.on("renewalInfo", nth=n, status=status, headers={"Retry-After": "3600"}, body=b"{}")
    for n in range(3):
        httpd.vhost("v%d.test" % n)
    httpd.start()
    for n in range(3):
        httpd.wait_live("v%d.test" % n, chaos)
    lines = httpd.wait_log("AC0750", count=3)
    assert len([line for line in lines if "[acmeclient:warn]" in line]) == 1 and not httpd.log_lines("AC0702")
    httpd.vhost("later.test")
    httpd.graceful()
    httpd.wait_live("later.test", chaos)


def test_questions_hold_up_no_order_and_come_one_by_one(asked):
    """A CA that does not answer them; then, after a restart of many certificates, never a burst."""
    httpd, chaos = asked
    gate = chaos.on("renewalInfo", hold="before")
    httpd.conf("AcmeWorkers 1")
    httpd.vhost("a.test")
    httpd.start()
    gate.wait_held()
    for n in range(6):
        httpd.vhost("v%d.test" % n)
    httpd.graceful()
    for n in range(6):
        httpd.wait_live("v%d.test" % n, chaos)
    assert chaos.count("renewalInfo", status=200) == 0
    chaos.off(gate)
    chaos.forget()
    assert util.wait_for(lambda: chaos.count("renewalInfo") >= 6, 15)
    times = sorted(entry.time for entry in chaos.requests("renewalInfo"))
    assert min(b - a for a, b in zip(times, times[1:])) > 0.2


REFUSALS = {
    "alreadyReplaced": (409, {"type": "urn:ietf:params:acme:error:alreadyReplaced", "detail": "it was"}),
    "malformed": (400, {"type": "urn:ietf:params:acme:error:malformed", "detail": "cannot use the \"replaces\" field"}),
    "serverInternal": (500, {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "looking up ARI CertID failed"}),
}


def test_replaces_and_once_more_without(asked):
    """The order names the certificate it replaces; refused for that, it is placed without, in the same attempt. With
    AcmeARI off nothing is asked or named."""
    httpd, chaos = asked
    names = {why: "%s.test" % why.lower() for why in REFUSALS}
    for name in names.values():
        httpd.vhost(name)
    httpd.vhost("off.test", extra="AcmeARI off")
    httpd.start()
    off = httpd.wait_live("off.test", chaos)
    first = {name: httpd.wait_live(name, chaos) for name in names.values()}
    chaos.forget()

    def refuse(reply):
        sent = json.loads(jws_payload(chaos.requests("newOrder")[-1].body))
        if "replaces" in sent:
            why = [w for w, name in names.items() if any(i["value"] == name for i in sent["identifiers"])][0]
            reply.status, reply.body = REFUSALS[why][0], json.dumps(REFUSALS[why][1]).encode()
            reply.headers = [(n, v) for n, v in reply.headers if n.lower() not in ("location", "content-type")]
            reply.headers.append(("Content-Type", "application/problem+json"))
    httpd.conf("AcmeWorkers 1")  # one after the other, so that the proxy knows whose order it is
    chaos.on("newOrder", edit=refuse)
    for name in [*names.values(), "off.test"]:
        open(os.path.join(httpd.store, name + ".retry"), "w").close()
    httpd.graceful()
    for name, seen in first.items():
        httpd.wait_live(name, chaos, not_serial=seen.serial)
        placed = [order for order in orders(chaos) if order["identifiers"][0]["value"] == name]
        assert [order.get("replaces") for order in placed] == [name_of(seen.der), None]
        assert "without \"replaces\"" in httpd.log_lines("AC0312: %s" % name)[-1]
    assert not httpd.log_lines(r"attempt \d+, next try")
    httpd.wait_live("off.test", chaos, not_serial=off.serial)
    assert ["replaces" in order for order in orders(chaos) if order["identifiers"][0]["value"] == "off.test"] == [False]
    assert not httpd.log_lines("AC0752: off.test")


@pytest.mark.sweep
def test_pebble_says_already_replaced(asked):
    """The real refusal: the store was put back to before a renewal."""
    httpd, chaos = asked
    if chaos.pebble.version < (2, 10):
        pytest.skip("this Pebble does not know alreadyReplaced (2.10 does)")
    httpd.vhost("a.test")
    httpd.start()
    first = httpd.wait_live("a.test", chaos)
    httpd.graceful()
    httpd.stop()
    copy = httpd.store + ".copy"
    shutil.copytree(httpd.store, copy)
    httpd.start()
    renew(httpd, "a.test")
    second = httpd.wait_live("a.test", chaos, not_serial=first.serial)
    httpd.stop()
    for entry in os.listdir(httpd.store):
        if entry.startswith("a.test."):
            os.unlink(os.path.join(httpd.store, entry))
    for entry in os.listdir(copy):
        if entry.startswith("a.test."):
            shutil.copy2(os.path.join(copy, entry), httpd.store)
    httpd.start()
    assert httpd.wait_live("a.test", chaos).serial == first.serial
    renew(httpd, "a.test")
    third = httpd.wait_live("a.test", chaos, not_serial=first.serial)
    assert third.serial != second.serial and "alreadyReplaced" in httpd.wait_log("AC0312: a.test")[-1]
    assert chaos.count("newOrder", status=409) == 1


def test_asked_is_the_ca_that_issued(make_httpd, make_offering, make_chaos):
    """Another CA is first in the list now: the issuing one is asked, the other one is told of no replacement."""
    httpd = make_httpd()
    one, two = make_chaos(make_offering(httpd)), make_chaos(make_offering(httpd))

    def configure(cas):
        httpd.clear()
        for name, ca in (("one", one), ("two", two)):
            httpd.conf("<AcmeCA %s>\nAcmeDirectoryURL %s\nAcmeCAFile %s\nAcmeTermsOfService accepted\n</AcmeCA>"
                       % (name, ca.directory, ca.ca_file))
        httpd.conf("AcmePortMap http:%d https:%d\nAcmeStoreDir %s" % (httpd.http_port, httpd.https_port, httpd.store))
        httpd.vhost("a.test", extra="AcmeDirectoryURL %s" % cas)
    configure("one")
    httpd.start()
    seen = httpd.wait_live("a.test", one)
    httpd.wait_log("AC0752: a.test")
    assert one.count("renewalInfo") == 1
    configure("two one")
    renew(httpd, "a.test")
    httpd.wait_live("a.test", two, not_serial=seen.serial)
    assert util.wait_for(lambda: two.count("renewalInfo") == 1, 10)
    assert one.count("newOrder") == 1 and ["replaces" in order for order in orders(two)] == [False]


def test_changed_window_and_the_moment_it_comes(make_httpd, make_offering, make_chaos, workdir):
    """Asked again when Retry-After is over: another window, another moment; renewed at that moment and not before."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    chaos = make_chaos(make_offering(httpd))
    httpd.use_ca(chaos)
    start = time.time() + 40 * DAY
    first = chaos.on("renewalInfo", status=200, body=window(start, start + DAY), headers={"Retry-After": "1"})
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    httpd.wait_log("AC0752: a.test")
    chaos.off(first)
    chaos.on("renewalInfo", status=200, body=window(start - 20 * DAY, start - 19 * DAY))
    clock.forward(70)
    httpd.wait_log("AC0752: a.test", count=2)
    due = ari_records(httpd, "a.test")[-1]["at"] / 1e6
    assert start - 20 * DAY <= due + 1 and due <= start - 19 * DAY
    clock.set(due - 60)
    time.sleep(1.5)
    assert chaos.count("newOrder") == 1
    clock.set(due + 1)
    httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    assert orders(chaos)[-1]["replaces"] == name_of(seen.der)
