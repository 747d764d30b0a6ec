# Licensed under the Apache License, Version 2.0; see LICENSE.
"""What libwebsockets' plugin promises and no other file shows: docs/SEED.md says which row is shown where."""
import datetime
import json
import os
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lib import others
from lib.authority import PEM, Authority, key_pem, write
from lib.chaos import jws_payload, unb64
from lib.clock import Clock

SUBJECT = [(NameOID.COUNTRY_NAME, "TW"), (NameOID.STATE_OR_PROVINCE_NAME, "Taipei"), (NameOID.LOCALITY_NAME, "Zhōngzhèng"),
           (NameOID.ORGANIZATION_NAME, "Wärm Cat"), (NameOID.COMMON_NAME, "two.test")]


def signed(chaos):
    """Every signed request: (entry, protected header)."""
    return [(e, json.loads(unb64(json.loads(e.body)["protected"]))) for e in chaos.requests() if e.method == "POST"]


def test_what_the_ca_is_sent(make_httpd, make_pebble, make_chaos):
    """One account for all with the exact contact, one order a certificate whatever the number of children, requests signed
    as RFC 8555 section 6.2 says, CSRs without padding and with just the names and the subject that were configured."""
    httpd = make_httpd(children=8)
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos, email="Admin.Of+acme@example.org")
    httpd.vhost("one.test")
    httpd.vhost("two.test", aliases=["www.two.test", "WWW.two.test"],
                extra='AcmeCommonName two.test\nAcmeCountry TW\nAcmeState Taipei\nAcmeLocality Zhōngzhèng\nAcmeOrganization "Wärm Cat"')
    many = ["n%d.twenty.test" % i for i in range(19)]
    httpd.vhost("twenty.test", aliases=many)
    httpd.start()
    wanted = {"one.test": ["one.test"], "two.test": ["two.test", "www.two.test"], "twenty.test": sorted(["twenty.test", *many])}
    for name, names in wanted.items():
        assert httpd.wait_live(name, chaos, timeout=30).names == names
    assert len(httpd.children()) >= 8

    nonces = [header["nonce"] for _, header in signed(chaos)]
    assert len(nonces) == len(set(nonces)) > 10
    for entry, header in signed(chaos):
        assert entry.headers["Content-Type"] == "application/jose+json"
        assert header["url"] == "https://localhost:%d%s" % (chaos.port, entry.path) and header["alg"] == "ES256"
        assert ("jwk" in header) == (entry.step == "newAccount") == ("kid" not in header)
    account, = [jws_payload(e.body) for e in chaos.requests("newAccount")]
    assert json.loads(account)["contact"] == ["mailto:Admin.Of+acme@example.org"]
    ordered = [[i["value"] for i in json.loads(jws_payload(e.body))["identifiers"]] for e in chaos.requests("newOrder")]
    assert sorted(map(sorted, ordered)) == sorted(map(sorted, wanted.values()))
    for entry in chaos.requests("finalize"):
        text = json.loads(jws_payload(entry.body))["csr"]
        assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
        csr = x509.load_der_x509_csr(unb64(text))
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        assert sorted(names) in wanted.values()
        assert [(a.oid, a.value) for a in csr.subject] == (SUBJECT if "two.test" in names else [])

    known = chaos.count("newAccount")
    httpd.stop()
    httpd.vhost("later.test")
    httpd.start()
    httpd.wait_live("later.test", chaos)
    assert chaos.count("newAccount") == known == 1 and chaos.count("newOrder") == 4


def test_deleted_account_key(make_httpd, make_pebble, make_chaos):
    """The account is given up, with a line that says so; a new one is made and works."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", chaos)
    httpd.stop()
    os.unlink("%s/localhost-%d.jwk" % (httpd.store, chaos.port))
    httpd.vhost("b.test")
    httpd.start()
    httpd.wait_live("b.test", chaos)
    assert httpd.log_lines("acmeclient:warn.*AC0609")
    assert [e.status for e in chaos.requests("newAccount")] == [201, 201]
    assert len({others.kid_of(e) for e in chaos.requests("newOrder")}) == 2


def test_terms_are_not_agreed_to_in_silence(make_httpd, make_pebble, make_chaos):
    """Without AcmeTermsOfService: where to read them, what to write, and no account."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble)
    httpd.use_ca(chaos, terms=False)
    httpd.vhost("a.test")
    httpd.start()
    line = httpd.wait_log(r"a\.test: .*AcmeTermsOfService accepted")[-1]
    assert pebble.meta()["meta"]["termsOfService"][:20] in line
    assert not chaos.count("newAccount") and httpd.get("a.test").status == 503


def test_directory_of_version_one(make_httpd, make_pebble, make_chaos):
    """ACME v1 is named, and nothing else is asked."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    urls = {name: "https://localhost:%d/%s" % (chaos.port, name) for name in ("new-reg", "new-authz", "new-cert", "revoke-cert")}
    chaos.on("directory", status=200, headers={"Content-Type": "application/json"}, body=json.dumps(urls))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    assert re.search("ACME v(ersion )?1", httpd.wait_log(r"a\.test: .*next try at")[-1], re.I)
    assert chaos.count() == chaos.count("directory")


def pair_that_ends(authority, name, begin, end):
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(authority.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), True).sign(authority.key, hashes.SHA256()))
    return leaf.public_bytes(PEM) + authority.certificate.public_bytes(PEM), key_pem(key)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Taipei"])
def test_two_weeks_left_in_any_time_zone(make_httpd, make_pebble, make_chaos, workdir, zone):
    """AcmeRenewBefore 14d, from certificates whose end is known; one ends after 2050, where X.509 writes years in full. The
    log has every day what is left of each."""
    clock = Clock(workdir)
    httpd = make_httpd(env={**clock.env, "TZ": zone})
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.conf("AcmeRenewBefore 14d")
    authority, now = Authority(workdir), datetime.datetime.utcnow()
    ends = {"less.test": now + datetime.timedelta(days=13, hours=22), "more.test": now + datetime.timedelta(days=14, hours=1),
            "days15.test": now + datetime.timedelta(days=15, hours=1), "far.test": datetime.datetime(2051, 6, 1)}
    for name, end in ends.items():
        chain, key = pair_that_ends(authority, name, now - datetime.timedelta(days=90), end)
        write("%s/%s.crt.pem" % (httpd.store, name), chain)
        write("%s/%s.key.pem" % (httpd.store, name), key)
        httpd.vhost(name)
    httpd.start()
    httpd.wait_live("less.test", chaos)
    left = lambda name: [line.split(": valid")[1] for line in httpd.log_lines("AC0958: %s: valid until" % re.escape(name))]
    assert left("far.test")[0].startswith(" until 2051-06-01T00:00:00Z, ") and left("more.test")[0].endswith("Z, 336 hours left")
    assert ordered(chaos) == ["less.test"] and len(left("far.test")) == 1
    clock.forward(86400)
    httpd.wait_live("more.test", chaos)
    httpd.wait_log("AC0958: far.test", count=2)
    assert left("days15.test")[1].endswith("Z, 336 hours left")
    assert ordered(chaos) == ["less.test", "more.test"]


def ordered(chaos):
    return [json.loads(jws_payload(e.body))["identifiers"][0]["value"] for e in chaos.requests("newOrder")]
