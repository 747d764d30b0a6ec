# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Coming from another ACME client: its certificates go on being served, its account goes on being used."""
import json
import os
import re
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from lib import others, util
from lib.authority import Authority, write
from lib.chaos import jws_payload
from lib.clock import Clock

# 1 and 3 names, RSA and EC, one that two vhosts share, one whose names are not the vhost's.
SETS = [["one.test"], ["three.test", "www.three.test", "ftp.three.test"], ["s1.test", "s2.test"], ["four.test"],
        ["other.test"]]
RSA = ["one.test", "s1.test"]


def by_certbot(httpd, ca, make_httpd, workdir):
    etc = others.certbot(workdir, ca, httpd.http_port, [
        (names, "--key-type=" + ("rsa" if names[0] in RSA else "ecdsa")) for names in SETS])
    return etc, others.certbot_account(etc).kid


def by_mod_md(httpd, ca, make_httpd, workdir):
    former = make_httpd(modules=["md"], http_port=httpd.http_port, https_port=httpd.https_port)
    return others.mod_md(former, ca, [
        (names, "MDPrivateKeys " + ("RSA 2048" if names[0] in RSA else "secp256r1")) for names in SETS])


def written(told):
    """The sections that acmectl wants in the configuration: {label: text}, and what stands before them."""
    lines = [line[7:] for line in told.splitlines() if line.startswith("       ")]
    text = "\n".join(lines)
    sections = {m.group(1): m.group(0) for m in re.finditer(r"<AcmeCertificate (\S+)>.*?</AcmeCertificate>", text, re.S)}
    return text[:text.index("<AcmeCertificate")], sections


@pytest.mark.parametrize("client,read", [("certbot", by_certbot), ("mod_md", by_mod_md)], ids=["certbot", "mod_md"])
def test_import(make_httpd, make_pebble, make_chaos, workdir, client, read):
    """Five certificates, and no order in a day for the four that the configuration still wants; the same account."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    ca = make_chaos(make_pebble(httpd))
    source, kid = read(httpd, ca, make_httpd, workdir)
    before = others.tree(source)

    told = others.acmectl(httpd, "import", client, source, "--dry-run").stdout
    assert told.count("would be imported") == 1 + len(SETS) and not os.path.exists(httpd.store)
    told = others.acmectl(httpd, "import", client, source).stdout
    assert len(re.findall(r"^certificate \S+: imported; ", told, re.M)) == len(SETS)
    assert re.search(r"^account \S+: imported; kid %s$" % re.escape(kid), told, re.M)
    made = others.tree(httpd.store)
    assert all(mode & 0o777 == 0o600 for mode, *_ in made.values())
    again = others.acmectl(httpd, "import", client, source).stdout
    assert again.count("already there") == 1 + len(SETS) and others.tree(httpd.store) == made
    assert others.tree(source) == before

    steps = [int(n) for n in re.findall(r"^(\d)\. ", told, re.M)]
    assert steps == list(range(1, len(steps) + 1))
    places = [told.index(word) for word in ("AcmeEmail", "AcmeEngine on", "httpd -t", "httpd -k graceful")]
    assert places == sorted(places)

    first, sections = written(told)
    assert sorted(sections) == sorted(names[0] for names in SETS)
    httpd.conf(first.replace("(your address)", "certbot@example.org") + "AcmeCAFile %s" % ca.ca_file)
    httpd.conf("AcmePortMap http:%d https:%d" % (httpd.http_port, httpd.https_port))
    httpd.conf("\n".join(sections[name] for name in sections if name not in ("one.test", "other.test")))
    for names in SETS[:2] + SETS[3:4]:
        httpd.vhost(names[0], aliases=names[1:])
    httpd.vhost("s1.test")
    httpd.vhost("s2.test")
    httpd.vhost("other.test", aliases=["new.other.test"])
    known = ca.count()
    httpd.start()
    serials = {name: httpd.handshake(name).serial for name in ("one.test", "three.test", "s1.test", "s2.test", "four.test")}
    assert "%x" % serials["one.test"] in told and serials["s1.test"] == serials["s2.test"]
    assert all(httpd.handshake(name).issued_by(ca) for name in serials)
    since = lambda step: [e for e in ca.requests()[known:] if e.step == step]
    assert util.wait_for(lambda: "new.other.test" in httpd.handshake("other.test").names, 15), util.tail(httpd.error_log)
    for hours in (1, 23):
        clock.forward(hours * 3600)
        time.sleep(1.5)
    assert [sorted(i["value"] for i in json.loads(jws_payload(e.body))["identifiers"]) for e in since("newOrder")] == [
        ["new.other.test", "other.test"]]
    assert {others.kid_of(e) for e in since("newOrder")} == {kid} and not since("newAccount")
    assert {name: httpd.handshake(name).serial for name in serials} == serials
    assert others.tree(source) == before


def test_keys_of_other_clients(make_httpd, make_pebble, make_chaos, workdir):
    """certbot's JWK and lego's PEM as AcmeAuthPath: the CA finds their accounts, no second one is made."""
    httpd = make_httpd()
    ca = make_chaos(make_pebble(httpd))
    etc = others.certbot(workdir, ca, httpd.http_port, [(["certbot.test"],)])
    theirs = {"a.test": others.certbot_account(etc), "b.test": others.lego(workdir + "/lego", ca, httpd.http_port, "lego.test")}
    httpd.use_ca(ca)
    for name, account in theirs.items():
        path = os.path.join(httpd.store, name + ".key")
        with open(account.key, "rb") as file:
            write(path, file.read())
        httpd.vhost(name, extra="AcmeAuthPath %s" % path)
    known = ca.count()
    httpd.start()
    for name in theirs:
        httpd.wait_live(name, ca)
    since = ca.requests()[known:]
    kids = {json.loads(jws_payload(e.body))["identifiers"][0]["value"]: others.kid_of(e) for e in since if e.step == "newOrder"}
    assert kids == {name: account.kid for name, account in theirs.items()}
    assert {e.status for e in since if e.step == "newAccount"} == {200}
    for name, account in theirs.items():
        with open(account.key, "rb") as mine, open(os.path.join(httpd.store, name + ".key"), "rb") as kept:
            assert mine.read() == kept.read()


# ---- sources that are not as they should be ----

def lineage(etc, authority, name, names, days=90, key=None, number=1, server="https://ca.test/dir"):
    pair = authority.issue(names, days, key)
    os.makedirs(etc + "/live/" + name, exist_ok=True)
    for kind, data in (("fullchain", pair.chain), ("privkey", pair.key)):
        write("%s/archive/%s/%s%d.pem" % (etc, name, kind, number), data)
        link = "%s/live/%s/%s.pem" % (etc, name, kind)
        if not os.path.lexists(link):
            os.symlink("../../archive/%s/%s%d.pem" % (name, kind, number), link)
    write("%s/renewal/%s.conf" % (etc, name), b"version = 2.1.0\n[renewalparams]\nserver = %s\n" % server.encode(), 0o644)
    return pair


@pytest.fixture
def etc(workdir):
    return workdir + "/etc"


def results(httpd_or_store, etc):
    told = others.acmectl(httpd_or_store, "--json", "import", "certbot", etc).stdout
    found = [json.loads(line) for line in told.splitlines()]
    return [(f["certificate"], os.path.basename(f["cert_path"]), f["result"], f["why"]) for f in found if "certificate" in f]


def test_names_of_files(etc, workdir):
    """Both key types of a name, a second lineage of the same name, wildcards, a name that is none."""
    a, rsa_key = Authority(workdir), rsa.generate_private_key(65537, 2048)
    lineage(etc, a, "both.test", ["both.test", "www.both.test"], key=rsa_key)
    lineage(etc, a, "both.test-0001", ["both.test", "www.both.test"])
    lineage(etc, a, "more.test", ["more.test"])
    time.sleep(1)
    lineage(etc, a, "more.test-0001", ["more.test", "www.more.test"])
    lineage(etc, a, "wild.test", ["*.wild.test"])
    lineage(etc, a, "apex.test", ["*.apex.test", "apex.test"])
    lineage(etc, a, "my site", ["c.test", "b.test"])
    found = results(workdir + "/store", etc)
    assert [row[:3] for row in found] == [
        ("apex.test", "apex.test.crt.pem", "imported"),
        ("both.test-0001", "both.test.crt.pem", "imported"),
        ("both.test", "both.test.rsa2048.crt.pem", "imported"),
        ("my site", "c.test.crt.pem", "imported"),
        ("more.test-0001", "more.test.crt.pem", "imported"),
        ("more.test", "", "left out"),
        ("wild.test", "_wildcard.wild.test.crt.pem", "imported")] or found
    assert "more.test-0001 is newer" in [row[3] for row in found if row[0] == "more.test"][0]


def test_what_is_left_out(etc, workdir):
    a = Authority(workdir)
    lineage(etc, a, "good.test", ["good.test"])
    lineage(etc, a, "expired.test", ["expired.test"], days=-0.02)
    lineage(etc, a, "other.test", ["other.test"], number=1)
    write(etc + "/archive/other.test/privkey1.pem", a.issue(["x.test"]).key)
    lineage(etc, a, "out.test", ["out.test"])
    os.unlink(etc + "/live/out.test/privkey.pem")
    write(workdir + "/elsewhere/key.pem", a.issue(["out.test"]).key)
    os.symlink(workdir + "/elsewhere/key.pem", etc + "/live/out.test/privkey.pem")
    lineage(etc, a, "gone.test", ["gone.test"])
    os.unlink(etc + "/archive/gone.test/fullchain1.pem")
    lineage(etc, a, "owned.test", ["owned.test"])
    os.chown(etc + "/archive/owned.test/privkey1.pem", 33, 33)
    lineage(etc, a, "open.test", ["open.test"])
    os.chmod(etc + "/archive/open.test", 0o777)
    lineage(etc, a, "garbage.test", ["garbage.test"])
    write(etc + "/archive/garbage.test/fullchain1.pem", b"\0\xff" * 1000)
    found = {row[0]: row[2:] for row in results(workdir + "/store", etc)}
    why = {"expired.test": "expired", "other.test": "not the key", "out.test": "outside", "gone.test": "No such file",
           "owned.test": "uid 33", "open.test": "0777", "garbage.test": "chain"}
    assert found.pop("good.test") == ("imported", "")
    assert set(found) == set(why) and all(result == "left out" for result, _ in found.values())
    assert not {name: found[name] for name in why if why[name] not in found[name][1]}
    assert sorted(os.listdir(workdir + "/store")) == ["good.test.crt.pem", "good.test.crt.pem.upd", "good.test.key.pem"]


def test_what_is_there_stays(etc, workdir):
    """Newer, older, half, an account key of our own: nothing in the store is ever written over."""
    a, store = Authority(workdir), workdir + "/store"
    for name in ("newer.test", "half.test"):
        lineage(etc, a, name, [name])
    time.sleep(1)
    for where in ("newer.test", "older.test"):
        pair = a.issue([where])
        write("%s/%s.crt.pem" % (store, where), pair.chain)
        write("%s/%s.key.pem" % (store, where), pair.key)
    write(store + "/half.test.key.pem", a.issue(["half.test"]).key)
    time.sleep(1)
    lineage(etc, a, "older.test", ["older.test"])
    before = others.tree(store)
    found = {row[0]: row[2:] for row in results(store, etc)}
    assert {result for result, _ in found.values()} == {"kept"}
    assert "newer" in found["newer.test"][1] and "mv '" in found["older.test"][1] and "missing" in found["half.test"][1]
    assert others.tree(store) == before


@pytest.mark.parametrize("arguments,code", [
    (["certbot"], 1), (["lego", "/etc"], 1), (["certbot", "/etc", "more"], 1), ([], 1),
    (["certbot", "/nonexistent"], 2), (["mod_md", "/etc/ssl"], 2), (["certbot", "/tmp"], 2)])
def test_refusals(workdir, arguments, code):
    done = others.acmectl(workdir + "/store", "import", *arguments, code=code)
    assert done.stderr and not os.path.exists(workdir + "/store")


# ---- account keys as other programs see them ----

def test_account_keys_are_plain_jwks(make_httpd, make_pebble):
    """python3-jwcrypto reads them, has the same thumbprint, and signs with them: the CA knows the account by it."""
    jwk = pytest.importorskip("jwcrypto.jwk")
    jws = pytest.importorskip("jwcrypto.jws")
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    types = {"p256.test": ("P-256", "EC", "ES256"), "p384.test": ("P-384", "EC", "ES384"), "rsa.test": ("RSA-2048", "RSA", "RS256")}
    for name, (type_name, _, _) in types.items():
        httpd.vhost(name, extra="AcmeAccountKeyType %s\nAcmeAuthPath %s/%s.jwk" % (type_name, httpd.store, name))
    httpd.start()
    for name in types:
        httpd.wait_live(name, pebble)
    directory = pebble.meta()
    for name, (_, kty, alg) in types.items():
        with open("%s/%s.jwk" % (httpd.store, name)) as file:
            text = file.read()
        with open("%s/%s.jwk.upd" % (httpd.store, name)) as file:
            record = json.loads([line for line in file if line.startswith("{") and '"kid"' in line][-1])
        members = json.loads(text)
        assert members["kty"] == kty and "=" not in text
        assert set(members) >= ({"crv", "x", "y", "d"} if kty == "EC" else {"n", "e", "d", "p", "q"})
        key = jwk.JWK.from_json(text)
        assert key.thumbprint() == record["key"]
        token = jws.JWS(json.dumps({"onlyReturnExisting": True}))
        nonce = pebble.nonce(directory["newNonce"])
        token.add_signature(key, None, json.dumps({
            "alg": alg, "nonce": nonce, "url": directory["newAccount"], "jwk": key.export_public(as_dict=True)}), None)
        assert pebble.location(directory["newAccount"], token.serialize()).split("/")[-1] == record["kid"].split("/")[-1]
