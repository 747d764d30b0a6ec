#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Servers that misbehave to the byte, for the unit tests of transport and session.

    rawca.py DIR transport|session

makes certificates in DIR with the openssl command, listens on a free loopback port for every
scenario of the set, prints "NAME PORT" for each and "ready", and ends when its standard input is
closed.
"""
import base64
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore")
DIR = sys.argv[1]


# ---- certificates ----

def openssl(*args):
    subprocess.run(("openssl",) + args, cwd=DIR, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


CERTS = {
    # name: (common name, extensions, days)
    "good": ("rawca", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1", 30),
    "expired": ("rawca", "subjectAltName=DNS:localhost,IP:127.0.0.1", 0),
    "wronghost": ("rawca", "subjectAltName=DNS:other.example", 30),
    "partial": ("rawca", "subjectAltName=DNS:local*", 30),
    "wrongip": ("127.0.0.1", "subjectAltName=DNS:127.0.0.1,IP:127.0.0.2", 30),
    "cnonly": ("localhost", "keyUsage=digitalSignature", 30),
    "clientonly": ("rawca", "subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth", 30),
}


def make_certs(names):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "cakey.pem")
    openssl("req", "-x509", "-new", "-key", "cakey.pem", "-subj", "/CN=rawca root", "-days", "60",
            "-out", "ca.pem")
    for name in names:
        cn, ext, days = CERTS[name]
        with open(os.path.join(DIR, name + ".ext"), "w", encoding="ascii") as f:
            f.write(ext + "\n")
        openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=" + cn, "-out", name + ".csr")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "cakey.pem",
                "-CAcreateserial", "-days", str(days), "-extfile", name + ".ext", "-out",
                name + ".pem")
    openssl("req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=localhost", "-days", "30",
            "-addext", "subjectAltName=DNS:localhost", "-out", "selfsigned.pem")


def context(cert):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(os.path.join(DIR, cert + ".pem"), os.path.join(DIR, "key.pem"))
    return ctx


# ---- plumbing ----

COUNTS = {}


def count(name, what):
    COUNTS.setdefault(name, {}).setdefault(what, 0)
    COUNTS[name][what] += 1
    return COUNTS[name][what]


def read_request(s):
    """Head and body of one request, or None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = 0
    for line in head.split(b"\r\n")[1:]:
        key, value = line.split(b":", 1)
        if key.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        more = s.recv(65536)
        if not more:
            return None
        body += more
    return head, body


def reply(body, extra=b"", status=b"200 OK", kind=b"text/plain"):
    return (b"HTTP/1.1 " + status + b"\r\nContent-Type: " + kind + b"\r\nContent-Length: "
            + str(len(body)).encode() + b"\r\n" + extra + b"\r\n" + body)


def reset(s):
    """RST instead of FIN."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(s.detach())


def cut(s):
    """FIN without TLS' close_notify."""
    fd = s.detach()
    raw = socket.socket(fileno=fd)
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()


def listen(name, handler):
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(64)

    def serve(conn):
        try:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handler(name, conn)
        except (OSError, ValueError):
            pass
        finally:
            conn.close()

    def accept():
        while True:
            conn, _ = s.accept()
            count(name, "connections")
            threading.Thread(target=serve, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(name, s.getsockname()[1])


def tls(cert, handler, tune=None):
    ctx = context(cert)
    if tune:
        tune(ctx)

    def run(name, conn):
        s = ctx.wrap_socket(conn, server_side=True)
        if s.session_reused:
            count(name, "resumed")
        try:
            handler(name, s)
            s.unwrap()
        finally:
            s.close()
    return run


# ---- scenarios of the transport ----

def echo(name, s):
    while True:
        request = read_request(s)
        if request is None:
            return
        count(name, "requests")
        s.sendall(reply(request[0] + b"\r\n\r\n" + request[1]))


def counts(name, s):
    while True:
        request = read_request(s)
        if request is None:
            return
        which = request[0].split(b" ")[1][1:].decode()
        got = COUNTS.get(which, {})
        s.sendall(reply(("%d %d %d" % (got.get("connections", 0), got.get("requests", 0),
                                       got.get("resumed", 0))).encode()))


def once(name, s):
    """Says keep-alive, and closes."""
    read_request(s)
    count(name, "requests")
    s.sendall(reply(b"once"))


def second(name, s):
    """Takes a second request on a connection and closes without an answer."""
    read_request(s)
    count(name, "requests")
    s.sendall(reply(b"first"))
    if read_request(s):
        count(name, "requests")


def after_request(data, end=None, wait=0.0):
    def run(name, s):
        read_request(s)
        count(name, "requests")
        s.sendall(data)
        time.sleep(wait)
        if end:
            end(s)
    return run


def drip(_, s):
    read_request(s)
    for byte in reply(b"x" * 200):
        s.sendall(bytes([byte]))
        time.sleep(0.05)


def reset_once(name, s):
    read_request(s)
    if count(name, "requests") == 1:
        reset(s)
        return
    s.sendall(reply(b"second"))


def sink(_, s):
    s.recv(100)
    reset(s)


def endless(_, s):
    read_request(s)
    s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"1000\r\n" + b"y" * 4096 + b"\r\n"
    for _ in range(100000):
        s.sendall(chunk)


def mute(_, conn):
    conn.recv(1)
    time.sleep(30)


def tunnel(name, conn):
    request = read_request(conn)
    count(name, "requests")
    host, port = request[0].split(b" ")[1].rsplit(b":", 1)
    if b"\r\nHost: " + host + b":" + port not in request[0]:
        return
    other = socket.create_connection((host.decode().strip("[]"), int(port)))
    conn.sendall(b"HTTP/1.1 200 Connection established\r\nVia: rawca\r\n\r\n")

    def pump(a, b):
        try:
            data = a.recv(65536)
            while data:
                b.sendall(data)
                data = a.recv(65536)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    threading.Thread(target=pump, args=(other, conn), daemon=True).start()
    pump(conn, other)


def plain(data):
    def run(_, conn):
        conn.recv(65536)
        conn.sendall(data)
        time.sleep(0.3)
    return run


def old_tls(ctx):
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    ctx.minimum_version = ssl.TLSVersion.TLSv1
    ctx.maximum_version = ssl.TLSVersion.TLSv1_1


def tls12(ctx):
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2


def transport():
    make_certs(CERTS)
    for cert in list(CERTS) + ["selfsigned"]:
        listen(cert, tls(cert, echo))
    table = {
        "counts": counts,
        "once": once,
        "second": second,
        "midbody": after_request(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"),
        "chunkcut": after_request(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        "toend": after_request(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"),
        "toend_cut": after_request(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", cut),
        "silent": after_request(b"", None, 30),
        "drip": drip,
        "reset": after_request(b"", reset),
        "reset_body": after_request(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123", reset, 0.1),
        "reset_once": reset_once,
        "sink": sink,
        "endless": endless,
        "toolong": after_request(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"),
        "surplus": after_request(reply(b"one") + b"HTTP/1.1 200 OK\r\n"),
    }
    for name, handler in table.items():
        listen(name, tls("good", handler))
    listen("tls12", tls("good", echo, tls12))
    listen("oldtls", tls("good", echo, old_tls))
    listen("mute", mute)
    listen("plain", plain(reply(b"no TLS here")))
    listen("proxy", tunnel)
    listen("proxy407", plain(b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                             b"Content-Length: 2\r\n\r\nno"))
    listen("proxybig", plain(b"HTTP/1.1 200 OK\r\n" + (b"X-Fill: " + b"x" * 1000 + b"\r\n") * 40
                             + b"\r\n"))
    listen("proxyinject", plain(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))


# ---- scenarios of the session: a CA by script ----

def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Ca:
    """options: what is peculiar about this one."""

    def __init__(self, name, **options):
        self.name, self.options = name, options
        self.lock = threading.Lock()
        self.nonces, self.log = set(), []
        self.accounts = {}          # jwk as text -> number
        self.bad, self.made, self.redirects = options.get("bad", 0), 0, 0
        self.lose = options.get("lose", 0)
        self.base = ""

    def nonce(self):
        self.made += 1
        value = "%s-%04d_%s" % (self.name.replace("_", ""), self.made, os.urandom(6).hex())
        self.nonces.add(value)
        return value

    def problem(self, status, kind, detail, **more):
        body = dict(type="urn:ietf:params:acme:error:" + kind, detail=detail, **more)
        return status, json.dumps(body).encode(), b"application/problem+json", []

    def directory(self):
        opt, base = self.options, self.base
        prefix = opt.get("prefix", "/acme")
        if opt.get("v1"):
            return {"new-reg": base + "/new-reg", "new-cert": base + "/new-cert"}
        d = {"newNonce": base + prefix + "/new-nonce", "newAccount": base + prefix + "/new-account",
             "newOrder": base + prefix + "/new-order", "revokeCert": base + "/revoke",
             "r%d" % self.made: "https://community.example/random", "meta": {}}
        if opt.get("terms"):
            d["meta"]["termsOfService"] = "https://ca.example/terms-1"
        if opt.get("eab"):
            d["meta"]["externalAccountRequired"] = True
        return d

    def get(self, path):
        opt = self.options
        if path == "/directory":
            if self.redirects < opt.get("redirect", 0):
                self.redirects += 1
                return 302, b"", b"text/plain", [("Location", opt.get("to", "/directory"))]
            if opt.get("html"):
                return 200, b"<html>Please log in</html>", b"text/html; charset=utf-8", []
            if opt.get("broken"):
                return 200, b'{"newNonce": ', b"application/json", []
            return 200, json.dumps(self.directory()).encode(), b"application/json", []
        if path == "/log":
            self.log.pop()
            return 200, "".join(x + "\n" for x in self.log).encode(), b"text/plain", []
        return self.problem(404, "malformed", "no such thing")

    def jws(self, path, body):
        """(header, payload text), or a problem."""
        jws = json.loads(body)
        header = json.loads(unb64(jws["protected"]))
        if sorted(jws) != ["payload", "protected", "signature"] or header["alg"] != "ES256":
            raise ValueError("not the JWS of RFC 8555")
        if header["url"] != self.base + path or ("jwk" in header) == ("kid" in header):
            raise ValueError("wrong header")
        if len(unb64(jws["signature"])) != 64:
            raise ValueError("wrong signature")
        return header, unb64(jws["payload"]).decode()

    def post(self, path, body):
        header, payload = self.jws(path, body)
        self.log[-1] += " " + payload
        good = header["nonce"] in self.nonces
        self.nonces.discard(header["nonce"])
        if self.bad > 0 or not good:
            self.bad -= 1
            return self.problem(400, "badNonce", "stale" if good else "unknown")
        if path == self.options.get("prefix", "/acme") + "/new-account":
            return self.new_account(header, json.loads(payload))
        if "kid" not in header:
            return self.problem(400, "malformed", "kid wanted")
        number = header["kid"].rsplit("/", 1)[1]
        if self.lose > 0 or number not in self.accounts.values():
            self.lose -= 1
            self.accounts.clear()
            return self.problem(400, "accountDoesNotExist", "who are you?")
        if "/account/" in path:
            if self.options.get("contact_refused"):
                return self.problem(400, "invalidContact", "no such mailbox")
            return 200, b'{"status": "valid"}', b"application/json", []
        if path == self.options.get("prefix", "/acme") + "/new-order":
            return 201, b'{"you": "said"}', b"application/json", []
        return self.problem(404, "malformed", "no such thing")

    def new_account(self, header, payload):
        opt = self.options
        jwk = json.dumps(header["jwk"], sort_keys=True)
        if opt.get("action"):
            return self.problem(403, "userActionRequired", "new terms",
                                instance="https://ca.example/agree")
        if opt.get("status429"):
            s, b, k, h = self.problem(429, "rateLimited", "slow down")
            return s, b, k, h + [("Retry-After", "3600")]
        if opt.get("badalg"):
            return self.problem(400, "badSignatureAlgorithm", "no", algorithms=["RS256"])
        if opt.get("eab") and self.eab(header, payload.get("externalAccountBinding")) is None:
            return self.problem(403, "externalAccountRequired", "no binding")
        known = jwk in self.accounts
        if payload.get("onlyReturnExisting") and not known:
            return self.problem(400, "accountDoesNotExist", "never seen")
        number = self.accounts.setdefault(jwk, str(self.options.get("first", 1) + self.made))
        body = {"status": opt.get("status", "valid"), "orders": self.base + "/orders/" + number}
        body["contact"] = ["mailto:old@a.b"] if opt.get("former") else payload.get("contact", [])
        headers = [] if opt.get("nolocation") else [("Location", "/account/" + number)]
        time.sleep(opt.get("slow", 0))
        return (200 if known or opt.get("former") else 201, json.dumps(body).encode(),
                b"application/json", headers)

    def eab(self, header, binding):
        if not binding:
            return None
        inner = json.loads(unb64(binding["protected"]))
        same = json.loads(unb64(binding["payload"])) == header["jwk"]
        return True if inner["kid"] == "kid-1" and inner["url"] == header["url"] and same else None

    def answer(self, head, body):
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.log.append(method + " " + path)
        host = [x[6:] for x in head.decode().split("\r\n") if x.lower().startswith("host: ")]
        self.base = "https://" + host[0]
        if method == "HEAD":
            ok = path == self.options.get("prefix", "/acme") + "/new-nonce"
            result = (200 if ok else 404), b"", b"text/plain", []
            if self.options.get("nononce"):
                return result, None
        elif method == "GET":
            return self.get(path), None
        else:
            try:
                result = self.post(path, body)
            except (KeyError, ValueError) as error:
                result = self.problem(400, "malformed", "%s: %s" % (type(error).__name__, error))
        return result, self.nonce()

    def serve(self, _, s):
        while True:
            request = read_request(s)
            if request is None:
                return
            with self.lock:
                (status, body, kind, headers), nonce = self.answer(*request)
            if nonce:
                headers = headers + [("Replay-Nonce", nonce)]
            if self.options.get("date"):
                headers = headers + [("Date", self.options["date"])]
            extra = "".join("%s: %s\r\n" % h for h in headers).encode()
            data = reply(body, extra, b"%d Because" % status, kind)
            s.sendall(data)


def session():
    make_certs(["good"])
    table = {
        "plain": {},
        "terms": {"terms": True},
        "redirect3": {"redirect": 3},
        "redirect4": {"redirect": 4},
        "redirect_http": {"redirect": 1, "to": "http://localhost/directory"},
        "bad1": {"bad": 1},
        "bad5": {"bad": 5},
        "bad_ever": {"bad": 1000},
        "lost": {},
        "lost_once": {"lose": 1},
        "lost_ever": {"lose": 1000},
        "eab": {"eab": True},
        "eab_terms": {"eab": True, "terms": True},
        "deactivated": {"status": "deactivated"},
        "nolocation": {"nolocation": True},
        "action": {"action": True},
        "badalg": {"badalg": True},
        "limited": {"status429": True},
        "html": {"html": True},
        "broken": {"broken": True},
        "v1": {"v1": True},
        "nononce": {"nononce": True},
        "moved": {"prefix": "/v2/acme"},
        "former": {"former": True},
        "contact_refused": {"contact_refused": True},
        "slow": {"slow": 0.5},
        "skew": {"date": "Sun, 06 Nov 1994 08:49:37 GMT"},
    }
    for name, options in table.items():
        listen(name, tls("good", Ca(name, **options).serve))


def main():
    {"transport": transport, "session": session}[sys.argv[2]]()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


main()
