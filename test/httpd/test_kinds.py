# Licensed under the Apache License, Version 2.0; see LICENSE.
"""What kind of certificate: profile, chain, must-staple, key kept or new, key types added and taken away; and which change
of the configuration orders at once."""
import json
import os
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from lib import util
from lib.chaos import jws_payload, set_json, unb64
from lib.sclient import s_client

DAY = 86400
RSA, EC = "rsa_pss_rsae_sha256:RSA+SHA256", "ecdsa_secp256r1_sha256"
BOTH = "AcmeKeyType P-256 RSA-2048"


@pytest.fixture
def asked(make_httpd, make_pebble, make_chaos):
    def make(**options):
        httpd = make_httpd()
        chaos = make_chaos(make_pebble(httpd, **options))
        httpd.use_ca(chaos)
        return httpd, chaos
    return make


def renew(httpd, *names):
    for name in names:
        open(os.path.join(httpd.store, name + ".retry"), "w").close()
    httpd.graceful()


def days(seen):
    return round((seen.not_after - seen.not_before).total_seconds() / DAY)


def ordered(chaos, name):
    """The newOrder payloads for this name."""
    sent = [json.loads(jws_payload(entry.body)) for entry in chaos.requests("newOrder")]
    return [order for order in sent if any(i["value"] == name for i in order["identifiers"])]


def spki(der):
    return x509.load_der_x509_certificate(der).public_key().public_bytes(serialization.Encoding.DER,
                                                                         serialization.PublicFormat.SubjectPublicKeyInfo)


# ---- profiles ----

def test_profiles(asked):
    """Ordered by name, at a renewal too; one that is not offered: a warning and the usual kind, or with `required`
    nothing; refused by the CA although it is offered: the same."""
    httpd, chaos = asked(profiles={"default": 90 * DAY, "brief": 6 * DAY})
    if not chaos.pebble.has("profiles"):
        pytest.skip("this Pebble has no profiles (2.7 and later do)")
    profiles = {"default": "90 days", "brief": "6 days", "ghost": "the directory has it, the CA does not"}
    chaos.on("directory", edit=lambda reply: set_json(meta=dict(json.loads(reply.body)["meta"], profiles=profiles))(reply))
    for label, value in (("plain", "none"), ("named", "default"), ("brief", "brief required"), ("absent", "nosuch"), ("wanted", "nosuch required"),
                         ("ghost", "ghost"), ("must", "ghost required")):
        httpd.vhost(label + ".test", extra="AcmeProfile %s" % value)
    httpd.start()
    for name in ("plain.test", "named.test", "absent.test", "ghost.test"):
        httpd.wait_live(name, chaos)
    assert days(httpd.handshake("named.test")) == 90 and days(httpd.wait_live("brief.test", chaos)) == 6
    assert "[acmeclient:warn]" in httpd.wait_log("AC0318: wanted.test: .*nosuch.*next try at")[-1]
    assert "invalidProfile" in httpd.wait_log("must.test: .*invalidProfile.*next try at")[-1]
    assert [o.get("profile") for o in ordered(chaos, "named.test")] == ["default"]
    assert [o.get("profile") for o in ordered(chaos, "plain.test")] == [None]
    assert [o.get("profile") for o in ordered(chaos, "absent.test")] == [None]
    assert [o.get("profile") for o in ordered(chaos, "ghost.test")] == ["ghost", None]
    assert [o.get("profile") for o in ordered(chaos, "must.test")] == ["ghost"]
    assert ordered(chaos, "wanted.test") == []
    assert len(httpd.log_lines("AC0317: absent.test")) == 1 and len(httpd.log_lines("AC0316: ghost.test")) == 1
    renew(httpd, "named.test")
    assert util.wait_for(lambda: [o.get("profile") for o in ordered(chaos, "named.test")] == ["default", "default"], 15)


# ---- chains ----

def root_name(pebble, n):
    subject = x509.load_pem_x509_certificate(pebble.roots(n).encode()).subject
    return subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def top_issuer(httpd, name):
    return s_client(httpd, name, "-tls1_3").chain[-1].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def test_preferred_chain(asked):
    """The one whose topmost certificate that root issued; the default where none does, or where it is spoilt."""
    httpd, chaos = asked(alternate_roots=2)
    pebble = chaos.pebble
    wanted = {"first.test": 0, "second.test": 1, "third.test": 2}
    for name, n in wanted.items():
        httpd.vhost(name, extra='AcmePreferredChain "%s"' % root_name(pebble, n))
    httpd.vhost("none.test", extra='AcmePreferredChain "%s"' % root_name(pebble, 1)[:-1])
    httpd.start()
    for name in [*wanted, "none.test"]:
        httpd.wait_live(name, chaos)
    for name, n in wanted.items():
        assert top_issuer(httpd, name) == root_name(pebble, n)
    assert "[acmeclient:notice]" in httpd.wait_log("AC0526: none.test")[-1]
    assert top_issuer(httpd, "none.test") == root_name(pebble, 0) and len(httpd.log_lines("AC0526")) == 1
    httpd.graceful()
    assert top_issuer(httpd, "third.test") == root_name(pebble, 2)


@pytest.mark.parametrize("fault", [
    pytest.param({"status": 404, "body": b"{}"}, marks=pytest.mark.sweep),
    pytest.param({"reset": "before"}, marks=pytest.mark.sweep),
    pytest.param({"status": 200, "headers": {"Content-Type": "application/pem-certificate-chain"},
                  "body": b"-----BEGIN CERTIFICATE-----\n"}, marks=pytest.mark.sweep),
    "foreign",
], ids=["not there", "reset", "rubbish", "foreign"])
def test_alternate_chain_that_fails_costs_no_certificate(asked, fault):
    """Also one that holds another certificate under the right root: checked like the default one."""
    httpd, chaos = asked(alternate_roots=1)
    if fault == "foreign":
        httpd.vhost("other.test", extra='AcmePreferredChain "%s"' % root_name(chaos.pebble, 1))
        httpd.start()
        httpd.wait_live("other.test", chaos)
        foreign = [e for e in chaos.requests("certificate") if "alternate" in e.path][-1].reply
        fault = {"edit": lambda reply: setattr(reply, "body", foreign)}
    chaos.on("certificate", match="alternate", **fault)
    httpd.vhost("a.test", extra='AcmePreferredChain "%s"' % root_name(chaos.pebble, 1))
    httpd.graceful() if httpd.pid else httpd.start()
    httpd.wait_live("a.test", chaos)
    assert top_issuer(httpd, "a.test") == root_name(chaos.pebble, 0)
    assert httpd.wait_log("AC052[67]: a.test") and not httpd.log_lines("a.test: .*next try at")
    assert len(ordered(chaos, "a.test")) == 1


# ---- must-staple ----

def test_must_staple_goes_live_at_a_restart(asked):
    httpd, chaos = asked()
    httpd.vhost("a.test", extra="AcmeMustStaple on")
    httpd.start()
    httpd.wait_log("AC0811: a.test")
    time.sleep(0.7)
    assert not httpd.handshake("a.test").issued_by(chaos)
    httpd.graceful()
    seen = httpd.wait_live("a.test", chaos)
    asked_for = x509.load_der_x509_csr(unb64(json.loads(jws_payload(chaos.requests("finalize")[0].body))["csr"]))
    feature = [x509.TLSFeatureType.status_request]
    assert list(asked_for.extensions.get_extension_for_class(x509.TLSFeature).value) == feature
    if chaos.pebble.version < (2, 6):  # 2.5 and later copy it from the request
        assert "[acmeclient:warn]" in httpd.log_lines("AC0528: a.test")[0]
    else:
        got = x509.load_der_x509_certificate(seen.der).extensions.get_extension_for_class(x509.TLSFeature).value
        assert list(got) == feature and not httpd.log_lines("AC0528")
    assert httpd.get("a.test").status == 200


def test_must_staple_where_it_is_refused(make_httpd):
    httpd = make_httpd()
    httpd.conf("AcmeStoreDir %s\nAcmePortMap http:80 https:443\nAcmeTermsOfService accepted" % httpd.store)
    httpd.vhost("a.example.org", extra="AcmeMustStaple on")
    httpd.vhost("b.example.org")
    told = [line for line in httpd.configtest().stdout.splitlines() if "AC0160" in line]
    assert len(told) == 1 and "a.example.org" in told[0] and "letsencrypt" in told[0]


# ---- keys ----

def test_key_reuse(asked):
    """Kept at every renewal, in one generation and over restarts; new ones where it is off, and after it was turned
    off."""
    httpd, chaos = asked()
    httpd.vhost("kept.test", extra="AcmeKeyReuse on")
    httpd.vhost("new.test")
    httpd.start()
    seen = {name: httpd.wait_live(name, chaos) for name in ("kept.test", "new.test")}
    for _ in range(2):
        former = seen
        renew(httpd, *seen)
        seen = {name: httpd.wait_live(name, chaos, not_serial=former[name].serial) for name in former}
        assert spki(seen["kept.test"].der) == spki(former["kept.test"].der)
        assert spki(seen["new.test"].der) != spki(former["new.test"].der)
    httpd.graceful()
    assert httpd.handshake("kept.test").serial == seen["kept.test"].serial
    httpd.clear()
    httpd.use_ca(chaos)
    httpd.vhost("kept.test", extra="AcmeKeyReuse off")
    renew(httpd, "kept.test")
    assert spki(httpd.wait_live("kept.test", chaos, not_serial=seen["kept.test"].serial).der) != spki(seen["kept.test"].der)


@pytest.mark.sweep
def test_key_reuse_within_one_generation(make_httpd, make_pebble):
    """No restart between two renewals: the key is that of the board, not that of the file."""
    httpd = make_httpd()
    pebble = make_pebble(httpd, validity=int(util.patience(10)))
    httpd.use_ca(pebble)
    httpd.conf("AcmeARI off")
    httpd.vhost("a.test", extra="AcmeKeyReuse on")
    httpd.start()
    first = httpd.wait_live("a.test", pebble)
    second = httpd.wait_live("a.test", pebble, not_serial=first.serial, timeout=util.patience(12))
    assert spki(second.der) == spki(first.der)


def test_key_types_come_and_go(asked):
    """P-256; RSA added, and the P-256 one not ordered again; P-256 taken away: each client gets what is configured."""
    httpd, chaos = asked()

    def configure(types):
        httpd.clear()
        httpd.use_ca(chaos)
        httpd.vhost("a.test", extra="AcmeKeyType " + types)

    def leaf(sigalgs):
        """Serial of what a client gets that takes no other kind, None when the handshake fails."""
        got = s_client(httpd, "a.test", "-tls1_3", "-sigalgs", sigalgs)
        return got.leaf.serial_number if got.ok and got.chain else None
    configure("P-256")
    httpd.start()
    ec = httpd.wait_live("a.test", chaos).serial
    assert leaf(EC) == ec and leaf(RSA) is None
    configure("P-256 RSA-2048")
    httpd.graceful()
    assert leaf(EC) == ec
    assert util.wait_for(lambda: leaf(RSA) is not None, 20)
    rsa = leaf(RSA)
    assert leaf(EC) == ec and rsa != ec and len(ordered(chaos, "a.test")) == 2
    httpd.graceful()
    assert (leaf(EC), leaf(RSA)) == (ec, rsa)
    assert sorted(f for f in os.listdir(httpd.store) if f.endswith(".crt.pem")) == ["a.test.crt.pem", "a.test.rsa2048.crt.pem"]
    configure("P-256")
    httpd.graceful()
    assert leaf(EC) == ec and leaf(RSA) is None
    assert len(ordered(chaos, "a.test")) == 2


# ---- what orders at once ----

CHANGES = {
    # what is written first, what is written then, orders at once
    "name-added": ("", "AcmeNames +www.name-added.test", True),
    "name-taken": ("AcmeNames +www.name-taken.test", "", False),
    "type-added": ("AcmeKeyType P-256", BOTH, True),
    "type-other": ("AcmeKeyType P-256", "AcmeKeyType P-384", False),
    "profile": ("", "AcmeProfile default", False),
    "chain": ("", 'AcmePreferredChain "Some Root"', False),
    "staple": ("", "AcmeMustStaple on", False),
    "subject": ("", "AcmeOrganization Example", False),
    "reuse": ("", "AcmeKeyReuse on", False),
    "challenge": ("", "AcmeChallenges tls-alpn-01", False),
    "activate": ("", "AcmeActivate restart", False),
    "contact": ("", "AcmeEmail other@example.org", False),
}


def test_which_change_orders_at_once(asked):
    """A name or a key type more; all else waits for the next renewal, and what is in service stays."""
    httpd, chaos = asked()
    for n in (0, 1):
        httpd.clear()
        httpd.use_ca(chaos, email=None)
        for label, row in CHANGES.items():
            httpd.vhost(label + ".test", extra=row[n])
        if n == 0:
            httpd.start()
            seen = {label: httpd.wait_live(label + ".test", chaos).serial for label in CHANGES}
        httpd.graceful()
    assert util.wait_for(lambda: all(len(ordered(chaos, label + ".test")) == 2 for label, row in CHANGES.items() if row[2]), 20)
    time.sleep(1)
    assert {label: len(ordered(chaos, label + ".test")) for label in CHANGES} == {
        label: 2 if row[2] else 1 for label, row in CHANGES.items()}
    for label, row in CHANGES.items():
        assert row[2] or httpd.handshake(label + ".test").serial == seen[label]
