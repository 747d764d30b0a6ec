# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Every directive: what is accepted where, what a refusal says, which context wins."""
import json
import os
import re

import pytest
from cryptography import x509

from lib.authority import Authority
from lib.chaos import jws_payload, unb64
from lib.httpd import SOURCE
from lib.util import where

SERVER, VHOST, SECTION, CA = "server", "vhost", "section", "ca"
ANYWHERE = {SERVER, VHOST, SECTION, CA}      # a CA's settings may be written flat, too
POLICY = {SERVER, VHOST, SECTION}
IDENTITY = {VHOST, SECTION}
LONG = "x" * 5000
KEY_TYPES = "P-256, P-384, RSA-2048, RSA-3072 or RSA-4096"
PATH = "a path of less than 1024 characters"


class Row:
    """good: accepted as they stand; wrong: refused, each for itself; allowed: what every refusal says.
    many: the smallest number of arguments that is one too many, None when there is no limit.
    secret: no refusal repeats an argument."""

    def __init__(self, contexts, good, wrong, allowed, many=2, secret=False):
        self.contexts, self.good, self.wrong, self.allowed, self.many = contexts, good, wrong, allowed, many
        self.secret = secret

    def shown(self, value):
        return "(not shown)" if self.secret else value


TABLE = {
    "AcmeEngine": Row(POLICY, ["on", "off", "ON"], ["yes", "1"], "on or off"),
    "AcmeUse": Row(IDENTITY, ["own", "*.example.org", "shop-1"], ["a/b", ".hidden", "a,b", "y" * 254],
                   "the label of an <AcmeCertificate> section, or own"),
    "AcmeCommonName": Row(IDENTITY, ["example.org", "*.example.org", "192.0.2.1", "[2001:db8::1]", "2001:db8::1"],
                          ["a_b.example.org", "a..b", "-a.example.org", "*.org", "1.2.3", "%s.org" % ("y" * 64)],
                          "a DNS name, a wildcard (*.example.org) or an IP address"),
    "AcmeNames": Row(IDENTITY, ["auto", "a.example.org b.example.org", "+a.example.org -b.example.org", "192.0.2.1"],
                     ["+", "-a_b.example.org", "a.example.org b..org", "*"], "auto, or DNS names", many=None),
    "AcmePartial": Row(POLICY, ["on", "off"], ["yes", "aliases"], "on or off"),
    "AcmeDirectoryURL": Row(ANYWHERE, ["letsencrypt", "https://ca.example.org:14000/dir?x=1", "internal letsencrypt",
                                       "https://ca.example.org/" + "d" * 300, "https://ca.example.org/" + "d" * 2000],
                            ["http://ca.example.org/dir", "https://", "https://ca.example.org:0/", "https://a b/",
                             "https://u@ca.example.org/", "ftp://ca.example.org/", "let/sencrypt", "none", "letsencrypt letsencrypt",
                             "y" * 254], "https", many=None),
    "AcmeEmail": Row(ANYWHERE, ["admin@example.org", "a@example.org b@example.org", "none"],
                     ["admin", "@example.org", "a@", "a@b@c", "a@example.org,b@example.org", "a@example.org none",
                      "mailto:<a@example.org>", "%s@example.org" % ("y" * 250)], "mail addresses, one an argument, or none", many=None),
    "AcmeTermsOfService": Row(ANYWHERE, ["accepted", "none"], ["yes", "on"], "accepted or none"),
    "AcmeAuthPath": Row(ANYWHERE, ["account.jwk", "/srv/acme/account.jwk"], ["y" * 1024, "a\tb"], PATH),
    "AcmeAccountKeyType": Row(ANYWHERE, ["P-256", "rsa-4096"], ["RSA", "RSA-1024", "ecdsa"], KEY_TYPES),
    "AcmeCAFile": Row(ANYWHERE, ["ca.pem", "none"], ["y" * 1024, "a\tb"], "none, or " + PATH),
    "AcmeExternalAccount": Row(ANYWHERE, ["kid-1 AAAA HS512", "kid-1 c2VjcmV0", "kid-1 c2VjcmV0+w==", "/etc/acme/eab.json", "none"],
                               ["a\tb", "kid-1 hidden*word", "kid-1 hidden+wor-", "kid-1 AAAA HS1", "kid-1 AAAA none"],
                               "a key identifier, an HMAC key in base64 or base64url", many=4, secret=True),
    "AcmeProxy": Row(ANYWHERE, ["http://proxy:3128", "http://192.0.2.1:3128 /etc/acme/proxy", "http://[2001:db8::1]:3128", "none"],
                     ["proxy:3128", "http://proxy", "https://proxy:3128", "http://hidden:word@proxy:3128", "http://proxy:3128/x",
                      "http://proxy:3128 none"],
                     "http://host:port and, if the proxy wants a password, a file", many=3, secret=True),
    "AcmeOrderRate": Row(ANYWHERE, ["250/3h", "1/1s", "off"], ["250", "0/3h", "x/3h", "3h/250", "250/", "250/0", "-1/3h"],
                         "NUMBER/DURATION (250/3h) or off"),
    "AcmeCertPath": Row(IDENTITY, ["crt.pem", "/srv/acme/crt.pem"], ["y" * 1024, "a\tb"], PATH),
    "AcmeKeyPath": Row(IDENTITY, ["key.pem", "/srv/acme/key.pem"], ["y" * 1024, "a\tb"], PATH),
    "AcmeCountry": Row(POLICY, ["TW", "none"], ["Taiwan", "1A", "T"], "a country code of two letters (ISO 3166), or none"),
    "AcmeState": Row(POLICY, ["Taipei", '"New Taipei"', "none"], ["y" * 65, "a\tb", "\udcff\udcfe"], "at most 64 characters of text, or none"),
    "AcmeLocality": Row(POLICY, ["Taipei", "none"], ["y" * 65, "a\tb"], "at most 64 characters of text, or none"),
    "AcmeOrganization": Row(POLICY, ['"Warm Cat"', "none"], ["y" * 65, "a\tb"], "at most 64 characters of text, or none"),
    "AcmeKeyType": Row(POLICY, ["P-256", "P-384 RSA-3072", "P-256 P-384 RSA-2048 RSA-3072 RSA-4096"],
                       ["RSA", "P-521", "P-256 P-256", "P-256 nonsense"], KEY_TYPES, many=6),
    "AcmeKeyReuse": Row(POLICY, ["on", "off"], ["yes", "always"], "on or off"),
    "AcmeARI": Row(POLICY, ["on", "off"], ["yes", "1"], "on or off"),
    "AcmeProfile": Row(POLICY, ["shortlived required", "tlsserver", "none"],
                       ["y" * 65, "a\tb", "shortlived optional", "none required", "required required"],
                       "required", many=3),
    "AcmePreferredChain": Row(POLICY, ['"ISRG Root X1"', "none"], ["y" * 65, "a\tb"], "at most 64 characters of text, or none"),
    "AcmeMustStaple": Row(POLICY, ["on", "off"], ["yes", "must"], "on or off"),
    "AcmeRenewBefore": Row(POLICY, ["auto", "14d", "14", "36h", "90mi", "30s", "2w", "33%", "50%"],
                           ["soon", "14x", "0", "51%", "0%", "%", "-1d", "1.5d", "99999w"], "auto, a duration (14d, 36h; a bare number is days) "
                           "or a percentage of the lifetime from 1% to 50%"),
    "AcmeChallenges": Row(POLICY, ["auto", "http-01", "tls-alpn-01 http-01", "TLS-SNI-01 http-01 tls-alpn-01",
                                   "dns-persist-01 dns-01 dns-account-01"],
                          ["dns-99", "http", "http-01 http-01", "auto http-01", "tls-sni-02"],
                          "http-01, tls-alpn-01, dns-01, dns-persist-01, dns-account-01, tls-sni-01 or auto", many=7),
    "AcmeDns01Command": Row(POLICY, ["none", "bin/dns01", "/bin/true -v -v x"], ["y" * 1024, "a\tb"],
                            "program and its arguments, or none", many=None),
    "AcmeDns01Timeout": Row(POLICY, ["1s", "60s", "1h"], ["0", "0s", "2h", "x", "1"], "a duration from 1s to 1h"),
    "AcmeDns01Propagation": Row(POLICY, ["0", "120s", "24h", "1"], ["25h", "x", "-1s"], "a duration up to 24h"),
    "AcmeSelfCheck": Row(POLICY, ["on", "off", "OFF"], ["yes", "1", "auto"], "on or off"),
    "AcmeFailoverAfter": Row(POLICY, ["1", "100"], ["0", "101", "-1", "many", "3x"], "a number from 1 to 100"),
    "AcmeActivate": Row(POLICY, ["now", "restart"], ["later"], "now or restart"),
    "AcmePlaceholder": Row(POLICY, ["503", "serve"], ["404", "off"], "503 or serve"),
    "AcmeStoreDir": Row({SERVER}, ["store", "/srv/acme"], ["y" * 1024, "a\tb"], PATH),
    "AcmeBackups": Row({SERVER}, ["0", "100"], ["101", "-1", "x", "3.5"], "a number from 0 to 100"),
    "AcmeWorkers": Row({SERVER}, ["1", "64"], ["0", "65", "x"], "a number from 1 to 64"),
    "AcmeControl": Row({SERVER}, ["run/a.sock", "/run/a.sock", "off"], ["y" * 1024, "a\tb"], "off, or " + PATH),
    "AcmePortMap": Row({SERVER}, ["http:8080 https:8443", "80:8080", "https:- http:80"],
                       ["8080", "http", "http:", "http:0", "http:65536", "ftp:21", "http:80 http:80"], "http:PORT and https:PORT", many=3),
    "AcmeNotifyCommand": Row({SERVER}, ["none", "bin/notify", "/bin/true -v -v x"], ["y" * 1024, "a\tb"],
                             "program and its arguments, or none", many=None),
    "AcmeCommandEnv": Row({SERVER}, ["none", "PATH", "A=b c_1= D=e=f", '"A=b c"'], ["=x", "1A=x", "A-B=x", "ACME_X=y", "acme_x", "A=a\tb"],
                          "NAME=value, or NAME to pass on httpd's own", many=None),
    "AcmeCommandUser": Row({SERVER}, ["none", "nobody", "www-data"], ["root", "Root", "0", "#1", "a/b", "-x"],
                           "the name of a user, not root, or none"),
}
NAMES = sorted(TABLE)
WORDS = {SERVER: "the server config", VHOST: "<VirtualHost>", SECTION: "<AcmeCertificate>", CA: "<AcmeCA>"}
OTHERS = {
    "directory": "<Directory />\n%s\n</Directory>", "location": "<Location /x>\n%s\n</Location>",
    "files": "<Files x>\n%s\n</Files>",
}


def quoted(value):
    return '"%s"' % value if "\t" in value or value == "" else value


@pytest.fixture
def httpd(make_httpd):
    h = make_httpd()
    h.conf("AcmeStoreDir %s\nAcmePortMap http:80 https:443\nAcmeTermsOfService accepted" % h.store)
    return h


@pytest.fixture
def ordering(make_httpd, make_pebble, make_chaos):
    """(httpd, CA): the CA's requests are on record."""
    h = make_httpd()
    chaos = make_chaos(make_pebble(h))
    h.use_ca(chaos, email=None)
    return h, chaos


def put(httpd, context, line):
    """Writes the line into that context of a configuration; "the file:line of it" is what a message has to hold."""
    shape = {
        SERVER: "%s",
        # ServerName comes last: a message has to know it all the same.
        VHOST: "<VirtualHost 127.0.0.1:%d>\n    %%s\n    SSLEngine on\n    AcmeEngine on\n    ServerName a.example.org\n</VirtualHost>"
               % httpd.https_port,
        SECTION: "<AcmeCertificate b.example.org>\n%s\n</AcmeCertificate>",
        CA: "<AcmeCA internal>\n%s\n</AcmeCA>",
        **OTHERS,
    }[context]
    if context == VHOST and line.startswith("AcmeEngine"):
        shape = shape.replace("    AcmeEngine on\n", "")
    httpd.raw(shape % line)
    httpd.write()


def refusal(httpd, context, line):
    """What -t says, which must refuse the line, at its place, with the vhost's name."""
    put(httpd, context, line)
    place = where(httpd.conf_file, line, -1)
    result = httpd.configtest(write=False)
    assert result.returncode != 0, "%r in %s is accepted:\n%s" % (line, context, result.stdout)
    message = [text for text in result.stdout.splitlines() if text.startswith(line.split()[0] + ": ")]
    assert len(message) == 1, result.stdout
    assert "(%s" % place in message[0], message[0]
    if context == VHOST:
        assert message[0].endswith(", ServerName a.example.org)"), message[0]
    assert len(message[0]) < 1000, message[0]
    return message[0]


def home(name):
    """A context where the directive may stand; a vhost's where possible."""
    return VHOST if VHOST in TABLE[name].contexts else SERVER


def test_table_is_complete():
    with open(os.path.join(SOURCE, "mod_acmeclient", "directives.h")) as file:
        assert set(re.findall(r"^DIRECTIVE\((\w+),", file.read(), re.M)) == set(TABLE)


@pytest.mark.parametrize("name", NAMES)
def test_accepted_in_its_contexts(httpd, name):
    for context in sorted(TABLE[name].contexts):
        for value in TABLE[name].good:
            put(httpd, context, "%s %s" % (name, value))
            result = httpd.configtest(write=False)
            assert result.returncode == 0 and "Syntax OK" in result.stdout, (context, value, result.stdout)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument", ["", '""', '"', "''"], ids=["none", "empty", "quote", "single"])
def test_empty_is_refused(httpd, name, argument):
    message = refusal(httpd, home(name), ("%s %s" % (name, argument)).strip())
    assert '""' in message and "allowed: " in message and TABLE[name].allowed in message


@pytest.mark.parametrize("name", [n for n in NAMES if TABLE[n].many])
def test_too_many_arguments_are_refused(httpd, name):
    row = TABLE[name]
    words = [v for v in " ".join(row.good).replace('"', "").split() if v not in ("none", "auto")]
    words = list(dict.fromkeys(words))[:row.many - 1] + ["surplus"]
    message = refusal(httpd, home(name), "%s %s" % (name, " ".join(words)))
    assert '"%s" is one argument too many' % row.shown("surplus") in message
    assert "allowed: at most %d, " % (row.many - 1) in message and row.allowed in message


@pytest.mark.parametrize("name", NAMES)
def test_wrong_word_is_refused(httpd, name):
    for value in TABLE[name].wrong:
        line = "%s %s" % (name, quoted(value))
        message = refusal(httpd, home(name), line)
        shown = re.sub("[\t\udcff\udcfe]", "?", value.split(" ")[-1])[:90]
        assert '"%s' % TABLE[name].shown(shown) in message and TABLE[name].allowed in message, message
        assert not TABLE[name].secret or "hidden" not in message


@pytest.mark.parametrize("name", NAMES)
def test_wrong_context_is_refused(httpd, name):
    row = TABLE[name]
    value = row.good[0]
    for context in sorted({SERVER, VHOST, SECTION, CA} - row.contexts) + sorted(OTHERS):
        message = refusal(httpd, context, "%s %s" % (name, value))
        assert '"%s" is not allowed here' % row.shown(value) in message
        told = message.split("allowed: only in ")[1]
        for place, words in WORDS.items():
            assert (words in told) == (place in row.contexts), message


@pytest.mark.parametrize("name", NAMES)
def test_overlong_is_refused(httpd, name):
    """And the message stays one readable line."""
    message = refusal(httpd, home(name), "%s %s" % (name, LONG))
    assert '"%s' % TABLE[name].shown(LONG[:90]) in message and LONG[:200] not in message
    assert "allowed: " in message and TABLE[name].allowed in message


def test_not_in_htaccess(httpd):
    """A request below such a file fails; the server does not."""
    httpd.raw("<Directory %s/htdocs>\n    AllowOverride All\n</Directory>" % httpd.root)
    os.mkdir(os.path.join(httpd.root, "htdocs", "sub"))
    with open(os.path.join(httpd.root, "htdocs", "sub", ".htaccess"), "w") as file:
        file.write("AcmeEngine on\n")
    httpd.vhost("plain.example.org", tls=False)
    httpd.vhost("a.example.org", extra="SSLCertificateFile %s" % snake_oil(httpd), engine=False)
    httpd.start()
    assert httpd.get("plain.example.org", "/sub/", tls=False).status == 500
    assert httpd.get("plain.example.org", "/", tls=False).status == 200
    assert httpd.log_lines("AcmeEngine")


def snake_oil(httpd):
    return Authority(httpd.root).pem(["static.example.org"])


# ---- sections ----

@pytest.mark.parametrize("name", ["<AcmeCA", "<AcmeCertificate"])
@pytest.mark.parametrize("label,says", [
    ("", "one label"), ("a b", "one label"), ("a/b", "one label"), (".a", "one label"), ("y" * 254, "one label"),
], ids=["none", "two", "slash", "dot", "overlong"])
def test_section_needs_one_label(httpd, name, label, says):
    httpd.raw("%s %s>\n</%s>" % (name, label, name[1:]))
    result = httpd.configtest()
    assert result.returncode != 0 and "%s>: " % name in result.stdout
    assert says in result.stdout and label[:90] in result.stdout and where(httpd.conf_file, name) in result.stdout


@pytest.mark.parametrize("name", ["<AcmeCA", "<AcmeCertificate"])
@pytest.mark.parametrize("around", ["<VirtualHost 127.0.0.1:1>\nServerName a.example.org\n%s\n</VirtualHost>", "<AcmeCA x>\n%s\n</AcmeCA>",
                                    "<AcmeCertificate x>\n%s\n</AcmeCertificate>", "<Directory />\n%s\n</Directory>"],
                         ids=["vhost", "ca", "certificate", "directory"])
def test_section_only_in_server_config(httpd, name, around):
    httpd.raw(around % ("    %s inner>\n</%s>" % (name, name[1:])))
    result = httpd.configtest()
    assert result.returncode != 0 and "%s>: " % name in result.stdout
    assert "only in the server config, outside of other sections" in result.stdout
    assert where(httpd.conf_file, "    %s inner" % name) in result.stdout


@pytest.mark.parametrize("name", ["<AcmeCA", "<AcmeCertificate"])
def test_section_label_only_once(httpd, name):
    httpd.raw("%s one.example.org>\n</%s>\n%s ONE.example.org>\n</%s>" % (name, name[1:], name, name[1:]))
    result = httpd.configtest()
    assert result.returncode != 0 and "there twice" in result.stdout
    assert where(httpd.conf_file, "%s one" % name) in result.stdout and where(httpd.conf_file, "%s ONE" % name) in result.stdout


def test_unknown_word_in_section(httpd):
    httpd.raw("<AcmeCA internal>\n    AcmeNonsense on\n</AcmeCA>")
    result = httpd.configtest()
    assert result.returncode != 0 and "AcmeNonsense" in result.stdout


# ---- which context wins ----

class Dump:
    """-t -D DUMP_ACME, by certificate."""

    def __init__(self, httpd, *more):
        result = httpd.configtest("-D", "DUMP_ACME", *more)
        assert result.returncode == 0, result.stdout
        self.text, self.certificates, current = result.stdout, {}, None
        started = False
        for line in result.stdout.splitlines():
            started = started or line.startswith("CERTIFICATE ")
            head = re.match(r"(\S+) +(P-\d+|RSA-\d+) +(\S+) +(present|placeholder|missing)$", line)
            fact = re.match(r" {4}(\w+) +(.*)$", line)
            if started and head:
                current = self.certificates.setdefault((head.group(1)), {"key": head.group(2), "until": head.group(3), "disk": head.group(4)})
            elif started and fact and current is not None:
                current[fact.group(1)] = fact.group(2)

    def __getitem__(self, identity):
        assert identity in self.certificates, "no %s in:\n%s" % (identity, self.text)
        return self.certificates[identity]

    def remarks(self, code):
        return [line for line in self.text.splitlines() if re.match(r"(error|warning|notice): %s: " % code, line)]


def test_nearest_context_wins_whole(httpd):
    """The value of the nearest context is the whole value: nothing of the outer one is left over."""
    httpd.conf("AcmeKeyType P-384 RSA-2048\nAcmeChallenges tls-alpn-01 http-01\nAcmeDirectoryURL https://outer.example.org/d")
    httpd.conf("<AcmeCertificate s.example.org>\n    AcmeKeyType RSA-3072\n</AcmeCertificate>")
    httpd.vhost("outer.example.org")
    httpd.vhost("inner.example.org", extra="AcmeKeyType P-256\nAcmeChallenges http-01\nAcmeDirectoryURL https://inner.example.org/d")
    dump = Dump(httpd)
    assert dump["outer.example.org"]["key"] == "P-384" and "outer.example.org.rsa2048" in dump.certificates
    assert dump["outer.example.org"]["challenges"] == "tls-alpn-01,http-01"
    assert dump["inner.example.org"]["key"] == "P-256" and "inner.example.org.rsa2048" not in dump.certificates
    assert dump["inner.example.org"]["challenges"] == "http-01"
    assert dump["inner.example.org"]["CA"] == "https://inner.example.org/d"
    assert dump["s.example.org"]["key"] == "RSA-3072" and dump["s.example.org"]["challenges"] == "tls-alpn-01,http-01"
    assert dump["s.example.org"]["CA"] == "https://outer.example.org/d"


def test_auto_turns_back(httpd):
    httpd.conf("AcmeChallenges http-01")
    httpd.conf("<AcmeCertificate s.example.org>\n    AcmeChallenges auto\n</AcmeCertificate>")
    httpd.conf("AcmePortMap http:- https:%d" % httpd.https_port)
    httpd.vhost("a.example.org", extra="AcmeChallenges auto\nAcmeNames auto")
    httpd.vhost("b.example.org")
    dump = Dump(httpd)
    assert dump["a.example.org"]["challenges"] == dump["s.example.org"]["challenges"] == "tls-alpn-01"
    assert dump["b.example.org"]["challenges"] == "http-01"


def test_none_turns_back(ordering):
    """AcmeEmail none and AcmeCountry none in a vhost: the account has no contact, the request no country."""
    httpd, chaos = ordering
    httpd.conf("AcmeEmail outer@example.org\nAcmeCountry TW")
    httpd.vhost("a.test", extra="AcmeEmail none\nAcmeCountry none")
    httpd.start()
    httpd.wait_live("a.test", chaos)
    account = json.loads(jws_payload(chaos.requests("newAccount")[0].body))
    assert not account.get("contact")
    csr = json.loads(jws_payload(chaos.requests("finalize")[0].body))["csr"]
    assert not x509.load_der_x509_csr(unb64(csr)).subject.rfc4514_string()


def test_engine_off_turns_back(httpd):
    httpd.conf("AcmeEngine on")
    httpd.vhost("on.example.org", engine=False)
    httpd.vhost("off.example.org", engine=False, extra="AcmeEngine off")
    assert set(Dump(httpd).certificates) == {"on.example.org"}


def test_inherited_engine_leaves_own_certificates_alone(httpd):
    """Inherited `on` passes by a vhost that names a certificate; written in it, it takes over and says so."""
    files = "SSLCertificateFile %s" % snake_oil(httpd)
    httpd.conf("AcmeEngine on")
    httpd.vhost("has.example.org", engine=False, extra=files)
    httpd.vhost("takes.example.org", engine=True, extra=files)
    dump = Dump(httpd)
    assert set(dump.certificates) == {"takes.example.org"}
    (remark,) = dump.remarks("AC0118")
    assert "takes.example.org" in remark and where(httpd.conf_file, "<VirtualHost", 2) in remark


def test_identity_is_not_inherited(httpd):
    """A second certificate never gets the names or files of the first."""
    httpd.vhost("a.example.org", extra="AcmeNames www.example.org\nAcmeCertPath %s/a.pem\nAcmeKeyPath %s/a.key" % (httpd.store, httpd.store))
    httpd.vhost("b.example.org")
    dump = Dump(httpd)
    assert dump["b.example.org"]["names"] == "b.example.org"
    assert dump["b.example.org"]["files"] == "%s/b.example.org.crt.pem %s/b.example.org.key.pem" % (httpd.store, httpd.store)
    assert dump["a.example.org"]["files"] == "%s/a.pem %s/a.key" % (httpd.store, httpd.store)


def test_names_and_email_accumulate(ordering):
    httpd, chaos = ordering
    httpd.vhost("a.test", extra="AcmeNames a.test b.test\nAcmeNames c.test\nAcmeEmail one@example.org\nAcmeEmail two@example.org")
    dump = Dump(httpd)
    assert dump["a.test"]["names"] == "a.test,b.test,c.test" and not dump.remarks("AC0119")
    httpd.start()
    httpd.wait_live("a.test", chaos)
    account = json.loads(jws_payload(chaos.requests("newAccount")[0].body))
    assert account["contact"] == ["mailto:one@example.org", "mailto:two@example.org"]


@pytest.mark.parametrize("context", [SERVER, VHOST, SECTION])
def test_repeated_directive_is_remarked(httpd, context):
    """The last one wins, and -t tells both places."""
    put(httpd, context, "AcmeKeyType P-384\n    AcmeKeyType RSA-2048")
    if context == SERVER:
        httpd.vhost("a.example.org")
    dump = Dump(httpd)
    identity = "b.example.org" if context == SECTION else "a.example.org"
    assert dump[identity]["key"] == "RSA-2048"
    (remark,) = dump.remarks("AC0119")
    assert remark.startswith("warning: ") and "AcmeKeyType" in remark
    assert where(httpd.conf_file, "AcmeKeyType P-384") in remark and where(httpd.conf_file, "AcmeKeyType RSA-2048") in remark


def test_directive_in_two_contexts_is_no_repetition(httpd):
    httpd.conf("AcmeKeyType P-384")
    httpd.vhost("a.example.org", extra="AcmeKeyType P-256")
    assert not Dump(httpd).remarks("AC0119")


# ---- names ----

@pytest.mark.parametrize("lines,names", [
    ("", "a.example.org,www.example.org"),
    ("AcmeNames +b.example.org", "a.example.org,www.example.org,b.example.org"),
    ("AcmeNames -www.example.org", "a.example.org"),
    ("AcmeNames auto +b.example.org -www.example.org", "a.example.org,b.example.org"),
    ("AcmeNames B.Example.ORG.", "a.example.org,b.example.org"),
    ("AcmeCommonName cn.example.org", "cn.example.org,a.example.org,www.example.org"),
], ids=["auto", "plus", "minus", "both", "exact", "common name"])
def test_names_of_a_vhost(httpd, lines, names):
    httpd.vhost("a.example.org", aliases=["www.example.org"], extra=lines)
    (certificate,) = Dump(httpd).certificates.values()
    assert sorted(certificate["names"].split(",")) == sorted(names.split(","))
    assert certificate["names"].split(",")[0] == names.split(",")[0]


@pytest.mark.parametrize("alias", ["*.example.org", "a?.example.org", "localhost", "printer", "a_b.example.org", "192.168.1.1", "a.internal"])
def test_alias_no_ca_can_certify_is_left_out(httpd, alias):
    httpd.vhost("a.example.org", aliases=["www.example.org", alias])
    dump = Dump(httpd)
    assert dump["a.example.org"]["names"] == "a.example.org,www.example.org"
    (remark,) = dump.remarks("AC0113")
    assert remark.startswith("warning: ") and alias in remark and "a.example.org" in remark
    assert where(httpd.conf_file, "<VirtualHost") in remark


@pytest.mark.parametrize("name", ["*.example.org", "localhost", "192.168.1.1", "a.internal"])
def test_written_name_no_ca_can_certify_is_an_error(httpd, name):
    """Of that certificate alone."""
    httpd.vhost("a.example.org", extra="AcmeNames +%s" % name)
    httpd.vhost("b.example.org")
    dump = Dump(httpd)
    assert name in dump["a.example.org"]["error"] and where(httpd.conf_file, "AcmeNames") in dump["a.example.org"]["error"]
    assert "error" not in dump["b.example.org"]


def test_guessed_name_is_never_ordered(httpd):
    """No ServerName and no AcmeCommonName: one error that names both, and what else is missing is told as well."""
    httpd.clear()
    httpd.conf("AcmeStoreDir %s" % httpd.store)
    httpd.raw("<VirtualHost 127.0.0.1:%d>\n    SSLEngine on\n    AcmeEngine on\n</VirtualHost>" % httpd.https_port)
    httpd.vhost("b.example.org")
    dump = Dump(httpd)
    (remark,) = dump.remarks("AC0114")
    assert remark.startswith("error: ") and "ServerName" in remark and "AcmeCommonName" in remark
    assert where(httpd.conf_file, "<VirtualHost") in remark
    assert set(dump.certificates) == {"b.example.org"}
    assert any("AcmeTermsOfService accepted" in line for line in dump.remarks("AC0112"))


# ---- sections at work ----

def test_section_orders_without_a_vhost(httpd):
    httpd.conf("<AcmeCertificate s.example.org>\n    AcmeNames t.example.org\n</AcmeCertificate>")
    httpd.vhost("other.example.org", engine=False, extra="SSLCertificateFile %s" % snake_oil(httpd))
    certificate = Dump(httpd)["s.example.org"]
    assert certificate["names"] == "s.example.org,t.example.org" and certificate["vhosts"] == "-"


def test_section_covers_vhosts(httpd):
    """The section whose names cover ServerName, or the one that AcmeUse names, or an own one."""
    httpd.conf("<AcmeCertificate s.example.org>\n    AcmeNames t.example.org\n</AcmeCertificate>\n"
               "<AcmeCertificate label>\n    AcmeNames l.example.org\n</AcmeCertificate>")
    for name, extra in (("t.example.org", ""), ("u.example.org", "AcmeUse label"), ("l.example.org", "AcmeUse own"), ("v.example.org", "")):
        httpd.vhost(name, extra=extra)
    dump = Dump(httpd)
    assert dump["s.example.org"]["vhosts"] == where(httpd.conf_file, "<VirtualHost", 1)
    assert dump["label"]["vhosts"] == where(httpd.conf_file, "<VirtualHost", 2)
    assert dump["l.example.org"]["vhosts"] == where(httpd.conf_file, "<VirtualHost", 3)
    assert dump["v.example.org"]["vhosts"] == where(httpd.conf_file, "<VirtualHost", 4)
    assert dump["label"]["names"] == "l.example.org"


def test_use_of_no_section(httpd):
    """One vhost's error; the others go on."""
    httpd.vhost("a.example.org", extra="AcmeUse nowhere")
    httpd.vhost("b.example.org")
    dump = Dump(httpd)
    (remark,) = dump.remarks("AC0116")
    assert "nowhere" in remark and "a.example.org" in remark and where(httpd.conf_file, "<VirtualHost") in remark
    assert set(dump.certificates) == {"b.example.org"}


def test_settings_without_effect_are_remarked(httpd):
    httpd.conf("<AcmeCertificate s.example.org>\n    AcmeUse own\n</AcmeCertificate>")
    httpd.vhost("s.example.org", extra="AcmeKeyType RSA-2048")
    dump = Dump(httpd)
    (remark,) = dump.remarks("AC0120")
    assert "AcmeKeyType" in remark and where(httpd.conf_file, "AcmeKeyType") in remark and where(httpd.conf_file, "<AcmeCertificate") in remark
    assert where(httpd.conf_file, "AcmeUse own") in dump.remarks("AC0121")[0]


def test_ca_sections(httpd):
    """Settings of a section, then flat ones; a name without section or fame is that certificate's error."""
    httpd.conf("AcmeEmail flat@example.org\n<AcmeCA internal>\n    AcmeDirectoryURL https://ca.example.org:14000/dir\n</AcmeCA>")
    httpd.conf("<AcmeCA empty>\n</AcmeCA>")
    httpd.vhost("a.example.org", extra="AcmeDirectoryURL internal letsencrypt")
    httpd.vhost("b.example.org", extra="AcmeDirectoryURL nowhere")
    httpd.vhost("c.example.org", extra="AcmeDirectoryURL empty")
    httpd.vhost("d.example.org", extra="AcmeDirectoryURL letsencrypt letsencrypt-staging")
    httpd.vhost("e.example.org")
    dump = Dump(httpd)
    assert dump["a.example.org"]["CA"] == "internal,letsencrypt" and "error" not in dump["a.example.org"]
    assert "nowhere" in dump["b.example.org"]["error"] and where(httpd.conf_file, "AcmeDirectoryURL nowhere") in dump["b.example.org"]["error"]
    assert "empty" in dump["c.example.org"]["error"] and where(httpd.conf_file, "<AcmeCA empty") in dump["c.example.org"]["error"]
    assert "letsencrypt-staging" in dump["d.example.org"]["error"]
    assert dump["e.example.org"]["CA"] == "letsencrypt" and "error" not in dump["e.example.org"]


# ---- contradictions ----

def same(path):
    return "AcmeCertPath %s/x.crt\nAcmeKeyPath %s/x.key" % (path, path)


@pytest.mark.parametrize("one,two", [
    ("AcmeKeyType P-384", "AcmeKeyType RSA-2048"), ("AcmeKeyType P-384", ""), ("AcmeRenewBefore 14d", "AcmeRenewBefore 10d"),
    ("AcmeEmail a@example.org", "AcmeEmail b@example.org"), ("AcmeKeyPath one.key", "AcmeKeyPath two.key"),
])
def test_contradiction_is_one_certificates_error(httpd, one, two):
    """Both places named; every other certificate is as it was."""
    httpd.vhost("a.example.org", extra=one)
    httpd.vhost("a.example.org", aliases=["b.example.org"], extra=two)
    httpd.vhost("c.example.org")
    dump = Dump(httpd)
    error = dump["a.example.org"]["error"]
    assert one.split()[0] in error and one.split()[1] in error
    assert where(httpd.conf_file, one) in error
    assert (where(httpd.conf_file, two) if two else where(httpd.conf_file, "<VirtualHost", 2)) in error
    assert len(dump.remarks("AC0111")) == 1 and "error" not in dump["c.example.org"]
    assert httpd.configtest("-D", "ACME_STRICT").returncode != 0


def test_same_name_is_one_certificate(httpd):
    """Names united; two settings that say the same are no contradiction."""
    httpd.vhost("a.example.org", aliases=["b.example.org"], extra="AcmeKeyType P-384")
    httpd.vhost("A.example.org.", aliases=["c.example.org"], extra="AcmeKeyType P-384")
    dump = Dump(httpd)
    assert set(dump.certificates) == {"a.example.org"} and "error" not in dump["a.example.org"]
    assert dump["a.example.org"]["names"] == "a.example.org,b.example.org,c.example.org"
    assert dump["a.example.org"]["vhosts"].count(",") == 1


@pytest.mark.parametrize("present", [False, True])
def test_same_file_is_one_certificate(httpd, present):
    """In whatever spelling: relative, with //, through a link; whether or not the file is there."""
    real = os.path.join(httpd.root, "real")
    os.mkdir(real)
    os.symlink(real, os.path.join(httpd.root, "link"))
    if present:
        open(os.path.join(real, "x.crt"), "w").close()
    for name, path in (("a.example.org", real), ("b.example.org", "real"), ("c.example.org", httpd.root + "//real/"),
                       ("d.example.org", httpd.root + "/link")):
        httpd.vhost(name, extra=same(path))
    dump = Dump(httpd)
    assert set(dump.certificates) == {"a.example.org"} and "error" not in dump["a.example.org"], dump.text
    assert dump["a.example.org"]["names"] == "a.example.org,b.example.org,c.example.org,d.example.org"


def test_file_of_another_certificate(httpd):
    """A key or chain that two certificates would write: the later one's error, both places named."""
    httpd.vhost("a.example.org")
    httpd.vhost("b.example.org", extra="AcmeKeyPath %s/a.example.org.key.pem" % httpd.store)
    httpd.vhost("c.example.org", extra="AcmeCertPath %s/same.pem\nAcmeKeyPath %s/same.pem" % (httpd.store, httpd.store))
    httpd.vhost("d.example.org", extra="AcmeAuthPath %s/d.example.org.key.pem" % httpd.store)
    dump = Dump(httpd)
    error = dump["b.example.org"]["error"]
    assert "a.example.org.key.pem" in error and "a.example.org" in error
    assert where(httpd.conf_file, "<VirtualHost", 1) in error and where(httpd.conf_file, "<VirtualHost", 2) in error
    assert "same.pem" in dump["c.example.org"]["error"] and "account key" in dump["d.example.org"]["error"]
    assert "error" not in dump["a.example.org"]


def test_contradiction_stops_neither_start_nor_restart(ordering):
    """It is not ordered, a neighbour is; httpd starts and survives SIGUSR1."""
    httpd, chaos = ordering
    httpd.vhost("bad.test", extra="AcmeKeyType P-384")
    httpd.vhost("bad.test", extra="AcmeKeyType RSA-2048")
    httpd.vhost("good.test")
    httpd.start()
    httpd.wait_live("good.test", chaos)
    httpd.graceful()
    assert httpd.get("good.test").status == 200 and httpd.get("bad.test").status == 503
    assert chaos.count("newOrder") == 1
    (line,) = httpd.log_lines("AC0111")[:1]
    assert "acmeclient:error" in line and line.count(httpd.conf_file) == 2


# ---- the seed's options ----

OPTIONS = ["AcmeAuthPath", "AcmeCertPath", "AcmeKeyPath", "AcmeCommonName", "AcmeEmail", "AcmeCountry", "AcmeState", "AcmeLocality",
           "AcmeOrganization", "AcmeNames"]


def seed_options(httpd, name, without=None):
    values = dict(AcmeAuthPath="%s/%s.jwk" % (httpd.store, name), AcmeCertPath="%s/%s.chain" % (httpd.store, name),
                  AcmeKeyPath="%s/%s.private" % (httpd.store, name), AcmeCommonName=name, AcmeEmail="a@example.org", AcmeCountry="TW",
                  AcmeState="Taipei", AcmeLocality="Taipei", AcmeOrganization='"Warm Cat"', AcmeNames="+www.%s" % name)
    return "\n".join("%s %s" % (k, v) for k, v in values.items() if k != without)


def test_every_option_can_be_left_out(ordering):
    """All of the seed's options at once, and each left out in turn: a certificate comes all the same."""
    httpd, chaos = ordering
    names = {"all.test": None}
    names.update(("no-%s.test" % option[4:].lower(), option) for option in OPTIONS)
    for name, without in names.items():
        httpd.vhost(name, extra=seed_options(httpd, name, without))
    httpd.start()
    for name in names:
        seen = httpd.wait_live(name, chaos)
        assert name in seen.names and ("www." + name in seen.names) == (names[name] != "AcmeNames")


def test_without_directory_url_it_is_lets_encrypt(httpd):
    httpd.vhost("a.example.org")
    assert Dump(httpd)["a.example.org"]["CA"] == "letsencrypt"


def test_only_managed_vhosts_order(ordering):
    httpd, chaos = ordering
    httpd.vhost("managed.test")
    httpd.vhost("static.test", engine=False, extra="SSLCertificateFile %s" % snake_oil(httpd))
    httpd.start()
    httpd.wait_live("managed.test", chaos)
    assert httpd.handshake("static.test").names == ["static.example.org"]
    assert chaos.count("newOrder") == 1


@pytest.mark.parametrize("length", [300, 2000])
def test_long_directory_url_works(make_httpd, make_pebble, length):
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("AcmeDirectoryURL %s?%s" % (pebble.directory, "x" * (length - len(pebble.directory) - 1)))
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", pebble)
