# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Which names a certificate has, what the order says, and who is served with it."""
import json
import os
import re
import ssl

import pytest
from cryptography import x509

from lib import util
from lib.chaos import jws_payload, unb64
from lib.clock import Clock
from lib.sclient import s_client
from lib.util import where

BOOKS, BOOKS_A = "b\u00fccher.test", "xn--bcher-kva.test"


@pytest.fixture
def ordering(make_httpd, make_pebble, make_chaos):
    """A server and its CA, with a record of what it is asked for."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble)
    httpd.use_ca(chaos)
    return httpd, chaos


@pytest.fixture
def httpd(make_httpd):
    """To be looked at by -t."""
    h = make_httpd()
    h.conf("AcmeStoreDir %s\nAcmePortMap http:80 https:443\nAcmeTermsOfService accepted" % h.store)
    return h


def dump(httpd):
    result = httpd.configtest("-D", "DUMP_ACME")
    assert result.returncode == 0, result.stdout
    return result.stdout


def fact(text, certificate, name):
    """What stands behind the word in the certificate's part of the dump."""
    part = re.search(r"^%s .*\n((?: {4}.*\n)*)" % re.escape(certificate), text, re.M)
    assert part, "no %s in:\n%s" % (certificate, text)
    found = re.search(r"^ {4}%s +(.*)$" % name, part.group(1), re.M)
    return found and found.group(1)


def remarks(text, code):
    return [line for line in text.splitlines() if ": %s: " % code in line]


def identifiers(chaos, nth=0):
    """[(type, value)] of the nth newOrder."""
    payload = json.loads(jws_payload(chaos.requests("newOrder")[nth].body))
    return [(i["type"], i["value"]) for i in payload["identifiers"]]


def csr_of(chaos):
    payload = json.loads(jws_payload(chaos.requests("finalize")[0].body))
    return x509.load_der_x509_csr(unb64(payload["csr"]))


# ---- internationalized names ----

def test_u_labels_are_ordered_as_a_labels(ordering):
    """ServerName, alias and AcmeNames in any spelling; the order, the files and the certificate have the A-labels."""
    httpd, chaos = ordering
    httpd.vhost(BOOKS, aliases=[BOOKS_A, "Stra\u00dfe.test", "xn--strae-oqa.test"], extra="AcmeNames +BU\u0308CHER2.test")
    httpd.start()
    seen = httpd.wait_live(BOOKS_A, chaos)
    names = [BOOKS_A, "xn--bcher2-3ya.test", "xn--strae-oqa.test"]
    assert seen.names == names
    assert sorted(identifiers(chaos)) == [("dns", name) for name in names]
    assert not httpd.log_lines("AC0124")
    # httpd writes what is not ASCII as \xNN.
    assert httpd.log_lines(r"%s: obtained \(b\\xc3\\xbccher\.test\): " % BOOKS_A)
    httpd.graceful()
    assert "%s.crt.pem" % BOOKS_A in httpd.store_files()
    text = dump(httpd)
    assert fact(text, BOOKS_A, "names").split(",")[0] == BOOKS_A
    assert fact(text, BOOKS_A, "unicode").split(",")[0] == BOOKS


def test_section_by_u_label(httpd):
    """Label and AcmeUse are names in whatever spelling; one section a name."""
    httpd.conf("<AcmeCertificate B\u00dcCHER.example.org>\n    AcmeNames a.example.org\n</AcmeCertificate>")
    httpd.vhost("c.example.org", extra="AcmeUse xn--bcher-kva.example.org")
    httpd.vhost("a.example.org")
    text = dump(httpd)
    assert fact(text, "xn--bcher-kva.example.org", "names") == "xn--bcher-kva.example.org,a.example.org"
    assert len(fact(text, "xn--bcher-kva.example.org", "vhosts").split(",")) == 2
    httpd.conf("<AcmeCertificate xn--bcher-kva.example.org>\n</AcmeCertificate>")
    result = httpd.configtest()
    assert result.returncode != 0 and "is there twice" in result.stdout


@pytest.mark.parametrize("name,why", [("\u00fc" * 58 + ".example.org", "longer than 63 characters as an A-label"),
                                      ("i\u2764.example.org", "not allowed by IDNA 2008"),
                                      ("b\udcff.example.org", "not UTF-8")], ids=["long", "disallowed", "not UTF-8"])
def test_u_label_that_is_none(httpd, name, why):
    """In a directive refused, with the cause; as an alias left out, with the cause."""
    httpd.vhost("a.example.org", extra="AcmeNames +%s" % name)
    result = httpd.configtest()
    assert result.returncode != 0 and why in result.stdout and "AcmeNames: " in result.stdout
    httpd._vhosts.clear()
    httpd.vhost("a.example.org", aliases=[name])
    (line,) = remarks(dump(httpd), "AC0113")
    assert why in line


def test_u_label_without_its_a_label(httpd):
    """Clients ask for the A-label: httpd has to know it."""
    httpd.vhost("b\u00fccher.example.org", aliases=["stra\u00dfe.example.org", "xn--strae-oqa.example.org"])
    (line,) = remarks(dump(httpd), "AC0124")
    assert "ServerAlias xn--bcher-kva.example.org" in line and where(httpd.conf_file, "<VirtualHost") in line


# ---- addresses ----

@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_addresses(ordering, challenge):
    """RFC 8738: ordered as ip, IPv6 in its canonical form, proved either way, served to who sends no name."""
    httpd, chaos = ordering
    if not util.can_bind("127.0.0.1", 0) or not os.path.exists("/proc/net/if_inet6") or not open("/proc/net/if_inet6").read():
        pytest.skip("no IPv6 here")
    httpd.conf("Listen [::1]:%d\nListen [::1]:%d\nAcmeChallenges %s" % (httpd.http_port, httpd.https_port, challenge))
    httpd.raw("<VirtualHost 127.0.0.1:%d [::1]:%d>\n    SSLEngine on\n    AcmeEngine on\n    AcmeCommonName [0:0::0:1]\n"
              "    AcmeNames 127.0.0.1 a.test\n</VirtualHost>" % (httpd.https_port, httpd.https_port))
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    assert seen.names == ["127.0.0.1", "::1", "a.test"]
    assert sorted(identifiers(chaos)) == [("dns", "a.test"), ("ip", "127.0.0.1"), ("ip", "::1")]
    csr = csr_of(chaos).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(map(str, csr.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]
    assert s_client(httpd, None).leaf.serial_number == seen.serial
    for address in ("127.0.0.1", "::1"):
        pem = ssl.get_server_certificate((address, httpd.https_port))
        assert x509.load_pem_x509_certificate(pem.encode()).serial_number == seen.serial
    httpd.graceful()
    assert "ip---1.crt.pem" in httpd.store_files()
    assert not httpd.log_lines("attempt 1")


def test_address_without_a_way_to_prove_it(httpd):
    httpd.conf("AcmeDns01Command /bin/true")
    httpd.vhost("a.example.org", extra="AcmeNames +8.8.8.8\nAcmeChallenges dns-01")
    text = dump(httpd)
    assert "8.8.8.8" in fact(text, "a.example.org", "error") and "AcmeChallenges" in fact(text, "a.example.org", "error")
    assert where(httpd.conf_file, "AcmeChallenges") in fact(text, "a.example.org", "error")


# ---- wildcards and what they cover ----

@pytest.mark.parametrize("names,want", [
    ("a.example.org *.example.org", "example.org,*.example.org"),
    ("*.example.org a.b.example.org b.example.org", "example.org,*.example.org,a.b.example.org"),
], ids=["covered", "two labels"])
def test_what_a_wildcard_covers_is_not_ordered(httpd, names, want):
    """CAs call it redundant and refuse the order."""
    httpd.conf("AcmeDns01Command /bin/true\n<AcmeCertificate example.org>\n    AcmeNames %s\n</AcmeCertificate>" % names)
    httpd.vhost("a.example.org", aliases=["c.example.org"])
    text = dump(httpd)
    assert fact(text, "example.org", "names") == want and not fact(text, "example.org", "error")
    assert fact(text, "example.org", "vhosts") == where(httpd.conf_file, "<VirtualHost")
    assert not remarks(text, "AC0123")


def test_first_name_below_a_wildcard(httpd):
    """It still names the files; a common name that is not ordered would be refused."""
    httpd.conf("AcmeDns01Command /bin/true")
    httpd.vhost("a.example.org", extra="AcmeCommonName a.example.org\nAcmeNames *.example.org")
    httpd.vhost("b.example.org", extra="AcmeCommonName *.b.example.org")
    text = dump(httpd)
    assert fact(text, "a.example.org", "names") == "*.example.org"
    assert fact(text, "a.example.org", "files").endswith("/a.example.org.key.pem")
    (line,) = remarks(text, "AC0125")
    assert line.startswith("notice: ") and "a.example.org" in line and where(httpd.conf_file, "AcmeCommonName") in line
    assert fact(text, "_wildcard.b.example.org", "files").startswith(os.path.join(httpd.store, "_wildcard.b.example.org.crt.pem"))


def test_section_that_lacks_a_name_of_its_vhost(httpd):
    httpd.conf("<AcmeCertificate shop>\n    AcmeNames a.example.org b.example.org\n</AcmeCertificate>")
    httpd.vhost("a.example.org", aliases=["b.example.org", "c.example.org"])
    httpd.vhost("d.example.org", extra="AcmeUse shop")
    text = dump(httpd)
    lacking = remarks(text, "AC0123")
    assert len(lacking) == 2 and all(line.startswith("warning: ") and "<AcmeCertificate shop>" in line for line in lacking)
    assert lacking[0].endswith("no name for c.example.org") and lacking[1].endswith("no name for d.example.org")


def test_taking_away_what_is_not_there(httpd):
    httpd.vhost("a.example.org", aliases=["www.example.org"], extra="AcmeNames -wwww.example.org -www.example.org")
    text = dump(httpd)
    (line,) = remarks(text, "AC0127")
    assert "-wwww.example.org" in line and where(httpd.conf_file, "AcmeNames") in line
    assert fact(text, "a.example.org", "names") == "a.example.org"


# ---- one certificate for many ----

def test_section_for_vhosts_and_names_without_one(ordering):
    """One order, all its names in the certificate, served by the vhosts it covers and by the one that asks for it."""
    httpd, chaos = ordering
    httpd.conf("<AcmeCertificate shop>\n    AcmeNames a.test b.test mail.test c.test\n</AcmeCertificate>")
    httpd.vhost("a.test")
    httpd.vhost("b.test")
    httpd.vhost("www.c.test", aliases=["c.test"], extra="AcmeUse shop")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    assert seen.names == ["a.test", "b.test", "c.test", "mail.test"]
    assert {httpd.handshake(name).serial for name in ("b.test", "c.test", "www.c.test")} == {seen.serial}
    assert chaos.count("newOrder") == 1
    text = dump(httpd)
    assert fact(text, "shop", "names") == "a.test,b.test,mail.test,c.test"
    assert fact(text, "shop", "vhosts").split(",") == [where(httpd.conf_file, "<VirtualHost", n) for n in (1, 2, 3)]


def test_long_first_name(ordering):
    """Over 64 characters: no common name in the request, all names in the list."""
    httpd, chaos = ordering
    name = "%s.%s.test" % ("a" * 40, "b" * 40)
    httpd.vhost("short.test", extra="AcmeCommonName %s" % name)
    httpd.start()
    seen = httpd.wait_live("short.test", chaos)
    assert seen.names == sorted([name, "short.test"])
    assert not csr_of(chaos).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert "%s.crt.pem.upd" % name in httpd.store_files()
    assert len(httpd.log_lines("AC0125")) >= 1


def test_one_path_however_it_is_spelled(ordering):
    """Vhosts that name one file, by relative path, doubled slash and link, share one certificate; who is not managed and
    names that file gets each new one, too."""
    httpd, chaos = ordering
    for name in ("real", "keys"):
        os.mkdir(os.path.join(httpd.root, name), 0o700)
    os.symlink("real", os.path.join(httpd.root, "link"))
    spellings = {"a.test": "real/x.pem", "b.test": httpd.root + "//real/./x.pem", "c.test": "link/x.pem"}
    for name, path in spellings.items():
        httpd.vhost(name, extra="AcmeCertPath %s\nAcmeKeyPath keys/x.pem" % path)
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    assert seen.names == ["a.test", "b.test", "c.test"] and chaos.count("newOrder") == 1
    assert {httpd.handshake(name).serial for name in spellings} == {seen.serial}
    httpd.graceful()
    httpd.vhost("d.test", engine=False, extra="SSLCertificateFile %s/link//x.pem\nSSLCertificateKeyFile %s/keys/x.pem"
                % (httpd.root, httpd.root))
    httpd.graceful()
    assert httpd.handshake("d.test").serial == seen.serial
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    newer = httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    for name in [*spellings, "d.test"]:
        everywhere = httpd.handshake_all_children(name, until=lambda s: s.serial == newer.serial, timeout=5)
        assert {look.serial for look in everywhere.values()} == {newer.serial}


# ---- AcmePartial ----

def orders(httpd):
    return len(httpd.log_lines("AC0718"))


def test_dead_alias_is_left_out(make_httpd, make_pebble, workdir):
    """Three attempts that fail for it alone, over a restart; then the rest gets its certificate, which root adopts. Told
    daily, tried again after a week, taken in when it works again."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    pebble.dns("add-a", host="dead.a.test", addresses=["127.0.0.9"])
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges http-01")
    httpd.vhost("a.test", aliases=["dead.a.test", "www.a.test"])
    httpd.start()
    for attempt, seconds in ((1, 70), (2, 700)):
        assert "dead.a.test" in httpd.wait_log(r"a\.test: .*attempt %d, next try at" % attempt)[-1]
        clock.forward(seconds)
    httpd.wait_log("AC0746: a.test: dead.a.test ")
    assert orders(httpd) == 3
    httpd.graceful()
    clock.forward(70)
    seen = httpd.wait_live("a.test", pebble)
    assert seen.names == ["a.test", "www.a.test"] and orders(httpd) == 4
    httpd.graceful()
    assert fact(dump(httpd), "a.test", "lacks") == "dead.a.test"
    (told,) = httpd.wait_log("AC0747: a.test: ")[-1:]
    assert "dead.a.test" in told and "[acmeclient:warn]" in told
    count = len(httpd.log_lines("AC0747"))
    clock.forward(86400)
    httpd.wait_log("AC0747: a.test: ", count=count + 1)
    assert orders(httpd) == 4 and not httpd.log_lines("AC060[45]")
    clock.forward(6 * 86400)
    assert "dead.a.test" in httpd.wait_log(r"AC0351: a\.test: .*attempt 1, next try at", count=2)[-1]
    assert orders(httpd) == 5 and httpd.handshake("a.test").serial == seen.serial
    pebble.dns("clear-a", host="dead.a.test")
    clock.forward(7 * 86400 + 60)
    whole = httpd.wait_live("a.test", pebble, not_serial=seen.serial)
    assert whole.names == ["a.test", "dead.a.test", "www.a.test"] and orders(httpd) == 6
    httpd.graceful()
    assert not fact(dump(httpd), "a.test", "lacks")


def test_partial_certificate_when_all_names_are_wanted(make_httpd, make_pebble, workdir):
    """AcmePartial off: what was left out is ordered at once, the certificate without it serves until then."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    pebble.dns("add-a", host="dead.a.test", addresses=["127.0.0.9"])
    httpd.use_ca(pebble)
    httpd.conf("AcmeChallenges http-01")
    httpd.vhost("a.test", extra="AcmeNames +dead.a.test\nAcmePartial on")
    httpd.start()
    for attempt, seconds in ((1, 70), (2, 700), (3, 70)):
        httpd.wait_log(r"a\.test: .*attempt %d, next try at" % attempt)
        clock.forward(seconds)
    seen = httpd.wait_live("a.test", pebble)
    assert seen.names == ["a.test"]
    httpd.graceful()
    httpd.conf("AcmePartial off")
    httpd._vhosts.clear()
    httpd.vhost("a.test", extra="AcmeNames +dead.a.test")
    httpd.graceful()
    assert "names changed" in httpd.wait_log("AC0726: a.test: ordering from ", count=5)[-1]
    assert httpd.handshake("a.test").serial == seen.serial
