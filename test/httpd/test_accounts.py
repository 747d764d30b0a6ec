# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Accounts at a CA: external ones, forgotten ones, contacts, terms, the order rate; objects with more in them than we know."""
import base64
import json
import os
import re

import pytest
from jwcrypto import jwk, jws

from lib.chaos import jws_payload, set_json, unb64
from lib.clock import Clock
from lib.util import wait_for

from test_cas import base, private

KEY = base64.urlsafe_b64encode(bytes(range(200, 248)) + b"\xfb\xff\xfe\x00" * 4).decode()
FORMS = {
    "url": "kid-1 %s" % KEY, "unpadded": "kid-1 %s" % KEY.rstrip("="),
    "plain": "kid-1 %s" % KEY.replace("-", "+").replace("_", "/"),
}


def retry(httpd, name):
    """The administrator's wish; graceful."""
    path = os.path.join(httpd.store, name + ".retry")
    with open(path, "w"):
        pass
    httpd.graceful()


def account_files(httpd):
    return [name for name in httpd.store_files() if name.endswith(".jwk")]


# ---- external accounts ----

def check_binding(entry, alg):
    """RFC 8555 section 7.3.4, with another JOSE implementation."""
    outer = json.loads(unb64(json.loads(entry.body)["protected"]))
    bound = jws_payload(entry.body)
    inner = json.loads(bound)["externalAccountBinding"]
    token = jws.JWS()
    token.allowed_algs = [alg]
    token.deserialize(json.dumps(inner), jwk.JWK(kty="oct", k=KEY.rstrip("=")))
    assert json.loads(unb64(inner["protected"])) == {"alg": alg, "kid": "kid-1", "url": outer["url"]}
    assert json.loads(token.payload) == outer["jwk"] and set(inner) == {"protected", "payload", "signature"}


def rare(value):
    return pytest.param(value, marks=pytest.mark.sweep)


@pytest.mark.parametrize("how", [rare("url"), rare("unpadded"), "plain", rare("file"), "json"])
def test_external_account(make_httpd, make_pebble, make_chaos, workdir, how):
    """Several certificates at once: one account, bound once, recorded at once; the key is nowhere to be read."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd, eab={"kid-1": KEY.rstrip("=")}))
    path, alg = os.path.join(workdir, "eab"), "HS256"
    with open(path, "w") as file:
        os.chmod(path, 0o600)
        file.write(json.dumps({"kid": "kid-1", "hmac": KEY}) if how == "json" else "kid-1\n%s\n" % KEY)
    base(httpd)
    httpd.conf(private("one", chaos, "AcmeExternalAccount %s" % FORMS.get(how, path)) + "\nAcmeDirectoryURL one")
    httpd.log_level = "trace8"
    for i in range(3):
        httpd.vhost("v%d.test" % i)
    httpd.start()
    for i in range(3):
        httpd.wait_live("v%d.test" % i, chaos)
    assert chaos.count("newAccount") == 1
    check_binding(chaos.requests("newAccount")[0], alg)
    assert len(account_files(httpd)) == 1
    # All of it is known to the next owner, without the external account.
    httpd.clear()
    base(httpd)
    httpd.conf(private("one", chaos) + "\nAcmeDirectoryURL one")
    httpd.vhost("v0.test")
    retry(httpd, "v0.test")
    assert wait_for(lambda: chaos.count("newOrder") == 4, 10)
    assert wait_for(lambda: len(httpd.log_lines("AC0720")) == 4, 10) and chaos.count("newAccount") == 1
    for form in (KEY, KEY.rstrip("="), KEY.replace("-", "+").replace("_", "/").rstrip("=")):
        assert form not in httpd.log() + httpd.configtest("-D", "DUMP_ACME").stdout


@pytest.mark.parametrize("alg", ["HS384", rare("HS512")])
def test_external_account_algorithms(make_httpd, make_pebble, make_chaos, alg):
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    base(httpd)
    httpd.conf(private("one", chaos, "AcmeExternalAccount %s %s" % (FORMS["url"], alg.lower())) + "\nAcmeDirectoryURL one")
    httpd.vhost("a.test")
    httpd.start()
    assert wait_for(lambda: chaos.count("newAccount"), 10)
    check_binding(chaos.requests("newAccount")[0], alg)


def test_external_account_good_for_once(make_httpd, make_pebble, make_chaos):
    """The owner dies between newAccount and its answer: the next one asks whether there is an account, without the
    external one."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd, eab={"kid-1": KEY.rstrip("=")}))
    rule = chaos.on("newAccount", nth=1, hold="after")
    base(httpd)
    httpd.conf(private("one", chaos, "AcmeExternalAccount %s" % FORMS["url"]) + "\nAcmeDirectoryURL one")
    httpd.vhost("a.test")
    httpd.start()
    rule.wait_held()
    os.kill(httpd.owner(), 9)
    httpd.wait_live("a.test", chaos)
    first, *others = [json.loads(jws_payload(entry.body)) for entry in chaos.requests("newAccount")]
    assert "externalAccountBinding" in first and not first.get("onlyReturnExisting")
    assert [other.get("onlyReturnExisting") for other in others] == [True]
    assert "externalAccountBinding" not in others[0]


@pytest.mark.parametrize("case", ["missing", "wrong", rare("unknown"), "open", rare("no file")])
def test_external_account_that_is_none(make_httpd, make_pebble, make_chaos, workdir, case):
    """One clear line; what cannot succeed is not sent."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd, eab={"kid-1": KEY.rstrip("=")}))
    path = os.path.join(workdir, "eab")
    with open(path, "w") as file:
        file.write(FORMS["url"])
    os.chmod(path, 0o644)
    what = {"missing": "none", "wrong": "kid-1 AAAA" + KEY, "unknown": "kid-2 " + KEY, "open": path, "no file": path + ".json"}[case]
    base(httpd)
    httpd.conf(private("one", chaos, "AcmeExternalAccount %s" % what) + "\nAcmeDirectoryURL one")
    httpd.vhost("a.test")
    httpd.start()
    code, says = {"missing": ("AC0309", "set AcmeExternalAccount to what its operator gives you"), "wrong": ("AC0374", "AcmeExternalAccount kid-1"),
                  "unknown": ("AC0374", "AcmeExternalAccount kid-2"), "open": ("AC0226", "chmod 0600 '%s'" % path),
                  "no file": ("AC0226", "there is no such file")}[case]
    line = httpd.wait_log(r"AC0226: one: " if code == "AC0226" else r"a\.test: .*attempt 1, next try at")[-1]
    assert code in line and says in line, line
    assert chaos.count("newAccount") == (1 if code == "AC0374" else 0)
    assert chaos.count("newOrder") == 0 and KEY not in httpd.log()
    if code == "AC0226":
        httpd.wait_log(r"1 certificate: .*\(1 held\)")
        assert chaos.count() == 0


# ---- what becomes of an account ----

def test_forgotten_account(make_httpd, make_pebble, make_chaos, workdir):
    """Restored with the same key, and the order goes on; once a day, whoever the owner is."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble)
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", chaos)
    for day in (1, 2):
        pebble.stop_ca()
        pebble.start_ca()
        chaos.forget()
        retry(httpd, "a.test")
        httpd.wait_live("a.test", chaos)
        lines = httpd.log_lines("AC0379")
        assert len(lines) == day and "registering it again with the same key" in lines[-1]
        assert chaos.count("newOrder", status=201) == 1
        existing, new = [json.loads(jws_payload(entry.body)) for entry in chaos.requests("newAccount")]
        assert existing.get("onlyReturnExisting") and not new.get("onlyReturnExisting")
        if day == 1:
            pebble.stop_ca()
            pebble.start_ca()
            chaos.forget()
            retry(httpd, "a.test")
            line = httpd.wait_log(r"AC0307: a\.test: .*attempt 1, next try at")[-1]
            assert "restored within the last 24 h already" in line and chaos.count("newAccount") == 0
            clock.forward(86400 + 60)


def test_one_update_for_a_changed_contact(make_httpd, make_pebble, make_chaos):
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    for orders, email in enumerate(["one@example.org", "two@example.org", "two@example.org", "two@example.org"], 1):
        httpd.clear()
        httpd.use_ca(chaos, email=email)
        httpd.vhost("a.test")
        if orders == 1:
            httpd.start()
        else:
            retry(httpd, "a.test")
        assert wait_for(lambda: len(httpd.log_lines("AC0720")) == orders, 15)
    for _ in range(10 - 3):
        httpd.graceful()
    updates = [json.loads(jws_payload(entry.body)) for entry in chaos.requests("account")]
    assert updates == [{"contact": ["mailto:two@example.org"]}] and chaos.count("newAccount") == 1


def test_changed_terms(make_httpd, make_pebble, make_chaos, workdir):
    """The page to visit and the terms are in the line, which is an error; a day until the next try."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("newOrder", status=403, headers={"Link": '<https://ca.example.org/terms-2>;rel="terms-of-service"'},
             body={"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "Terms of service have changed",
                   "instance": "https://ca.example.org/agree/?token=1"})
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    line = httpd.wait_log(r"a\.test: .*attempt 1, next try at")[-1]
    assert "[acmeclient:error]" in line and "AC0311" in line and "Terms of service have changed" in line
    assert "visit https://ca.example.org/agree/?token=1" in line and "https://ca.example.org/terms-2" in line
    clock.forward(86000)
    assert not wait_for(lambda: chaos.count("newOrder") > 1, 1.5)
    chaos.clear()
    clock.forward(10 * 3600)
    httpd.wait_live("a.test", chaos)


def test_order_rate_outlives_owners(make_httpd, make_pebble, make_chaos, workdir):
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.conf("AcmeOrderRate 3/1h")
    names = ["v%d.test" % i for i in range(5)]
    for name in names:
        httpd.vhost(name)
    httpd.start()
    assert wait_for(lambda: len(httpd.log_lines("AC0720")) == 3, 15)
    line = httpd.wait_log("AC0364")[-1]
    assert "AcmeOrderRate (3 orders) is used up" in line
    os.kill(httpd.owner(), 9)
    httpd.wait_log("owner is pid", count=2)
    httpd.graceful()
    httpd.wait_log("owner is pid", count=3)
    assert not wait_for(lambda: chaos.count("newOrder") > 3, 2)
    assert 1 <= len(httpd.log_lines("AC0364")) <= len(httpd.log_lines("owner is pid"))    # each owner once
    clock.forward(3700)
    for name in names:
        httpd.wait_live(name, chaos)
    assert chaos.count("newOrder") == 5


# ---- objects ----

MORE = {"x-string": "\u2028<&>", "x-int": -2**53, "x-real": 1e300, "x-true": True, "x-false": False, "x-null": None,
        "x-object": {"a": {"b": [{}]}}, "x-array": [[], "", 0]}


def add_more(reply):
    """To every object of ours in a reply, also within others; a challenge of a type nobody knows, first."""
    try:
        data = json.loads(reply.body)
    except ValueError:
        return

    def more(value):
        for inner in list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []:
            more(inner)
        if isinstance(value, dict):
            value.update(MORE)
    more(data)
    if isinstance(data.get("challenges"), list):
        data["challenges"].insert(0, {"type": "x-99", "url": 7, "status": ["odd"], "token": None})
    reply.body = json.dumps(data).encode()


def test_members_nobody_knows_are_ignored(make_httpd, make_pebble, make_chaos):
    """All seven JSON types (and both kinds of number) in directory, meta, account, order, authorization, challenge, problem."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("newOrder", nth=1, status=400, headers={"Replay-Nonce": "x"},
             body={"type": "urn:ietf:params:acme:error:badNonce", "detail": "again", **MORE})
    chaos.on("*", edit=add_more)
    httpd.use_ca(chaos)
    httpd.vhost("a.test", aliases=["b.test"])
    httpd.start()
    assert httpd.wait_live("a.test", chaos).names == ["a.test", "b.test"]
    assert not httpd.log_lines("acmeclient:(warn|error)")


def inside(key, **members):
    """Changes the one object, or all, behind a key."""
    def edit(reply):
        data = json.loads(reply.body)
        if key in data:
            for one in data[key] if isinstance(data[key], list) else [data[key]]:
                one.update(members)
        reply.body = json.dumps(data).encode()
    return edit


ODD = [
    # step, what is done to the reply, what the one line says
    ("newAccount", dict(edit=set_json(status="odd")), "odd"),
    ("newAccount", dict(edit=set_json(status=7)), "status"),
    ("newOrder", dict(edit=set_json(status="odd")), "odd"),
    ("order", dict(edit=set_json(status="odd")), "odd"),
    ("order", dict(edit=set_json(status=None)), "status"),
    ("authz", dict(edit=set_json(status="odd")), "odd"),
    ("authz", dict(edit=inside("challenges", type="x-99")), "http-01"),
    ("authz", dict(edit=inside("challenges", status="odd")), "odd"),
    ("newOrder", dict(edit=set_json(authorizations="x")), "authorizations"),
    ("directory", dict(edit=set_json(newOrder=["x"])), "newOrder"),
    ("directory", dict(edit=set_json(meta=7)), "meta"),
    ("newOrder", dict(status=403, body={"type": "urn:ietf:params:acme:error:odd", "detail": "why not"}), "odd"),
    ("newOrder", dict(status=403, body={"type": "https://ca.example.org/errors/odd", "detail": "why not"}), "why not"),
    ("newOrder", dict(status=403, body={"type": 7, "detail": {"a": 1}, "subproblems": "x"}), "403"),
    ("newOrder", dict(status=500, body=[1]), "500"),
    ("finalize", dict(edit=set_json(status="odd")), "odd"),
]


def test_odd_objects_make_one_clear_error(make_httpd, make_pebble, make_chaos):
    """Unknown status, type and error, members of the wrong type: each CA of its own, all in one server."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    base(httpd)
    httpd.conf("AcmeChallenges http-01")
    for i, (step, what, _) in enumerate(ODD):
        chaos = make_chaos(pebble)
        chaos.on(step, **what)
        httpd.conf(private("ca%d" % i, chaos))
        httpd.vhost("v%d.test" % i, extra="AcmeDirectoryURL ca%d" % i)
    httpd.start()
    for i, (_, _, says) in enumerate(ODD):
        ended = httpd.wait_log(r"v%d\.test: (.*attempt 1, next try at|live:)" % i, timeout=30)[-1]
        assert re.search(r"AC0\d\d\d: v%d\.test: " % i, ended) and says in ended, ended
        assert len(httpd.log_lines(r"acmeclient:(warn|error).*v%d\.test" % i)) == 1
