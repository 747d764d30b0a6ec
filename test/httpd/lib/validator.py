# Licensed under the Apache License, Version 2.0; see LICENSE.
"""The CA's validator, played by the test while the real one is held.

    held = Held(chaos)                       no challenge is announced to the CA before held.release()
    httpd.start()
    c = held.wait("a.test", "tls-alpn-01")   -> Challenge(name, type, token, key_authorization), now answerable
    http01(httpd, c)                         -> Reply of the right request; host=, token=, method= and others change it
    alpn01(httpd, c, "-tls1_2", ...)         -> sclient.Session
    proves(session, c)                       is it the challenge certificate of RFC 8737?
    sni01(httpd, c, "-tls1_2", ...)          -> sclient.Session for the name of tls-sni-01, which sni_name(c) is
    lenient(session, name)                   did Boulder take it? (the first certificate has the name, byte for byte)
    strict(session, name)                    does the draft? (and no other name under acme.invalid)

What is held is known from the recorded requests: the token from the authorization, the thumbprint (RFC 7638) from
the key of newAccount.
"""
import base64
import collections
import hashlib
import json
import socket

from cryptography import x509

from . import sclient, util

Challenge = collections.namedtuple("Challenge", "name type token key_authorization")
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
PREFIX = "/.well-known/acme-challenge/"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(jwk):
    members = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    text = json.dumps({name: jwk[name] for name in sorted(members)}, separators=(",", ":"))
    return b64(hashlib.sha256(text.encode()).digest())


class Held:
    def __init__(self, chaos):
        self.chaos = chaos
        self.rule = chaos.on("challenge", hold="before")

    def challenges(self):
        """Those whose announcement is held, newest last."""
        jwk, by_path = None, {}
        for entry in self.chaos.requests():
            if entry.step == "newAccount":
                head = json.loads(entry.body)["protected"]
                jwk = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))).get("jwk", jwk)
            elif entry.step == "authz" and entry.reply:
                told = json.loads(entry.reply)
                for challenge in told.get("challenges", ()):
                    by_path[challenge["url"].split("/", 3)[3]] = told["identifier"]["value"], challenge
        found = []
        for entry in self.chaos.requests("challenge"):
            name, challenge = by_path.get(entry.path.lstrip("/"), (None, None))
            if challenge and entry.status is None:
                found.append(Challenge(name, challenge["type"], challenge["token"],
                                       challenge["token"] + "." + thumbprint(jwk)))
        return found

    def find(self, name, kind=None):
        return [c for c in self.challenges() if c.name == name and kind in (None, c.type)]

    def wait(self, name, kind=None, timeout=20, count=1):
        """The newest one (a list of the newest with count > 1)."""
        found = util.wait_for(lambda: len(self.find(name, kind)) >= count and self.find(name, kind), timeout)
        assert found, "no %s challenge of %s is pending" % (kind or "", name)
        return found[-1] if count == 1 else found[-count:]

    def release(self):
        self.chaos.off(self.rule)


def http01(httpd, challenge, host=None, token=None, path=None, method="GET", tls=False, port=None, version="1.1", headers=()):
    """The validator's request, or one that is wrong in one thing; (status, headers, body, pid)."""
    path = path or PREFIX + (token or challenge.token)
    host = challenge.name if host is None else host
    lines = ["%s %s HTTP/%s" % (method, path, version)] + (["Host: %s" % host] if host else [])
    if tls:
        sock = httpd.connect(challenge.name)
    else:
        sock = socket.create_connection((httpd.address, port or httpd.http_port), timeout=10)
    with sock:
        sock.sendall("\r\n".join(lines + [*headers, "Connection: close", "", ""]).encode("latin-1"))
        pid, data = httpd.child_of_socket(sock), b""
        while True:
            part = sock.recv(65536)
            if not part:
                break
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    head = head.decode("latin-1").split("\r\n")
    fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), fields, body, pid


def answered(reply, challenge):
    return reply[0] == 200 and reply[2] == challenge.key_authorization.encode()


def alpn01(httpd, challenge, *options, name=None, **more):
    return sclient.s_client(httpd, name or challenge.name, "-alpn", "acme-tls/1", *options, **more)


def is_challenge_certificate(cert):
    try:
        cert.extensions.get_extension_for_oid(ACME_IDENTIFIER)
        return True
    except x509.ExtensionNotFound:
        return False


def proves(session, challenge):
    """RFC 8737 section 3: one SAN, critical acmeIdentifier with the SHA-256 of the key authorization, ALPN."""
    if not session.ok or session.alpn != "acme-tls/1" or not is_challenge_certificate(session.leaf):
        return False
    sans = session.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    extension = session.leaf.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    digest = hashlib.sha256(challenge.key_authorization.encode()).digest()
    return ([str(name.value) for name in sans] == [challenge.name] and extension.critical
            and extension.value.value == b"\x04\x20" + digest)


# ---- tls-sni-01 (draft-ietf-acme-acme-01 section 7.3, as Boulder had it: one round) ----

def sni_name(challenge):
    z = hashlib.sha256(challenge.key_authorization.encode()).hexdigest()
    return "%s.%s.acme.invalid" % (z[:32], z[32:])


def sni01(httpd, challenge, *options, name=None, **more):
    """As Boulder asked: no ALPN, no verification, nothing sent."""
    return sclient.s_client(httpd, name or sni_name(challenge), *options, **more)


def dns_names(cert):
    try:
        return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        return []


def lenient(session, name):
    return bool(session.ok and session.chain) and name in dns_names(session.leaf)


def strict(session, name):
    if not session.ok or not session.leaf:
        return False
    there = [n.lower() for n in dns_names(session.leaf)]
    return name.lower() in there and not [n for n in there if n.endswith(".acme.invalid") and n != name.lower()]
