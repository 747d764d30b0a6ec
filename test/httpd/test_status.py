# Licensed under the Apache License, Version 2.0; see LICENSE.
"""SetHandler acme-status: what is served, what is pending, why and when next, for people and for programs."""
import html.parser
import json
import re
import time

import pytest

from lib import util
from lib.chaos import set_json

PAGE = "<Location /acme-status>\n    SetHandler acme-status\n    Require all granted\n</Location>"


@pytest.fixture
def site(make_httpd, make_pebble, make_chaos):
    """A server with a status page on a plain vhost, not started; its CA behind a proxy."""
    def make(**options):
        httpd = make_httpd(**options)
        chaos = make_chaos(make_pebble(httpd))
        httpd.use_ca(chaos)
        httpd.conf(PAGE)
        httpd.vhost("plain.test", tls=False)
        return httpd, chaos
    return make


def status(httpd):
    reply = httpd.get("plain.test", "/acme-status?json", tls=False)
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    return json.loads(reply.body)


def of(httpd, ident):
    return next(c for c in status(httpd)["certificates"] if c["id"] == ident)


def until(httpd, ident, condition, timeout=15):
    end = time.monotonic() + timeout
    while True:
        found = of(httpd, ident)
        if condition(found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def test_from_placeholder_to_disk(site):
    """Placeholder and ordering, then live and pending, then on disk; step, CA, names and places all the time."""
    httpd, chaos = site()
    rule = chaos.on("newOrder", hold="before", times=1)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.start()
    rule.wait_held()
    seen = until(httpd, "a.test", lambda c: c.get("state") == "ordering")
    assert seen["served"] == {"from": "placeholder"} and seen["names"] == ["a.test", "www.a.test"]
    assert seen["key_type"] == "P-256" and seen["ca"] == chaos.directory and not seen["pending"]
    assert len(seen["vhosts"]) == 1 and re.search(r"httpd\.conf:\d+$", seen["vhosts"][0])
    rule.release()
    live = httpd.wait_live("a.test", chaos)
    seen = until(httpd, "a.test", lambda c: c["served"]["from"] == "board" and c["state"] == "idle")
    assert int(seen["served"]["serial"], 16) == live.serial and seen["pending"] and seen["failures"] == 0
    assert seen["next"] < seen["served"]["not_after"]
    httpd.graceful()
    seen = until(httpd, "a.test", lambda c: c.get("state") == "idle")
    assert seen["served"]["from"] == "disk" and int(seen["served"]["serial"], 16) == live.serial and not seen["pending"]
    # None, or one of the former generation, while it is handed over.
    util.wait_for(lambda: status(httpd)["owner"] in httpd.children(), 10)
    whole = status(httpd)
    assert whole["summary"] == {"certificates": 1, "valid": 1, "expired": 0, "missing": 0, "failing": 0, "held": 0,
                                "ordering": 0}


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.names, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_hostile_text_is_shown_whole_and_harmless(site):
    """A failure with a long detail and subproblems: all of it, escaped, without a tag of its own."""
    httpd, chaos = site()
    detail = "<script>alert(1)</script>\" onmouseover='x' &amp; \u00e9 " + "long " * 150 + "END"
    problem = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": detail,
               "subproblems": [{"type": "urn:ietf:params:acme:error:caa", "detail": "<img src=x onerror=alert(2)>",
                                "identifier": {"type": "dns", "value": "a.test"}}]}
    chaos.on("newOrder", status=403, headers={"Content-Type": "application/problem+json"}, body=json.dumps(problem))
    httpd.vhost("a.test")
    httpd.start()
    seen = until(httpd, "a.test", lambda c: c["failures"] == 1 and c.get("state") != "ordering")
    assert detail in seen["error"] and "<img src=x onerror=alert(2)>" in seen["error"] and seen["step"]
    assert seen["next"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    reply = httpd.get("plain.test", "/acme-status", tls=False)
    assert reply.headers["content-type"].lower() == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    page = Tags()
    page.feed(reply.body.decode())
    assert detail in page.text and "rejectedIdentifier" in page.text
    assert not page.names & {"script", "img"}
    assert status(httpd)["summary"]["failing"] == 1


def test_failed_validation_shows_arrivals(site):
    httpd, chaos = site()
    httpd.vhost("a.test")
    httpd.conf("AcmeChallenges http-01")
    chaos.on("authz", times=200, edit=set_json(status="pending"))
    httpd.start()
    seen = until(httpd, "a.test", lambda c: "arrivals" in c)
    assert seen["arrivals"]["ipv4"] >= 1 and seen["arrivals"]["http-01"] >= 1 and seen["arrivals"]["ipv6"] == 0


def test_no_secret_in_it_and_only_for_reading(site):
    httpd, chaos = site()
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", chaos)
    for path in ("/acme-status", "/acme-status?json"):
        body = httpd.get("plain.test", path, tls=False).body.decode()
        assert "a.test" in body and "PRIVATE" not in body and "BEGIN" not in body and httpd.store not in body
    with httpd.open("plain.test") as sock:
        sock.sendall(b"POST /acme-status HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 0\r\n\r\n")
        assert int(sock.recv(65536).split()[1]) == 405


def test_reachable_on_a_vhost_without_certificate(site):
    """The page answers where everything else gets 503."""
    httpd, chaos = site()
    chaos.on("newOrder", hold="before", times=1)
    httpd.vhost("a.test")
    httpd.start()
    assert httpd.get("a.test", "/").status == 503
    assert httpd.get("a.test", "/acme-status").status == 200


def test_many_certificates(site):
    """All in one page, soon."""
    httpd, chaos = site()
    httpd.conf("AcmeWorkers 1")
    chaos.on("newOrder", hold="before")
    for i in range(400):
        httpd.conf('<AcmeCertificate c%d.test>\n    AcmeNames %s\n</AcmeCertificate>'
                  % (i, " ".join("n%d.c%d.test" % (k, i) for k in range(5))))
    httpd.start()
    began = time.monotonic()
    found = status(httpd)
    assert found["summary"]["certificates"] == 400 and len(found["certificates"]) == 400
    assert time.monotonic() - began < 2
    assert httpd.get("plain.test", "/acme-status", tls=False).body.count(b"<tr") == 401
