#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A small RFC 8555 CA for tests of the engine, driven by lines on standard input.

Usage: stepca_model.py DIRECTORY        (writes DIRECTORY/ca.pem, prints one JSON line when it listens)

It checks what a CA must (signature, nonce, url, kid), counts every request, and can keep the reply to the
n-th one, before or after it acted on it. Commands, each answered by one JSON line:

    reset               forgets accounts, orders, counters and scripts
    hold N before|after keeps request N; says {"held": N, ...} when it comes, closes that connection at
                        `release`
    release
    validate SECONDS    how long a validation takes
    refuse TYPE         newOrder is answered by this problem type (`refuse none` ends it)
    fail                validations fail (`fail none` ends it)
    orders on|off       does the account have a list of orders?
    wrongkey on|off     certificates are issued for another key
    report              counters
"""
import base64
import datetime
import http.server
import ipaddress
import json
import os
import queue
import socket
import ssl
import sys
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Problem(Exception):
    def __init__(self, status, kind, detail):
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail


class Ca:
    def __init__(self, directory):
        self.lock = threading.RLock()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "step model CA")])
        self.cert = self.sign(self.key.public_key(), self.name, [], True)
        with open(os.path.join(directory, "ca.pem"), "wb") as out:
            out.write(self.cert.public_bytes(serialization.Encoding.PEM))
        self.base = ""
        self.said = queue.Queue()
        self.reset()

    def reset(self):
        self.accounts, self.orders, self.authzs, self.nonces = {}, {}, {}, set()
        self.counts, self.requests = {}, []
        self.hold, self.held = None, threading.Event()
        self.delay, self.refuse, self.fail, self.list_orders = 0.0, None, False, True
        self.wrong_key = False
        self.validated, self.made = {}, 0

    def sign(self, public_key, subject, names, is_ca):
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                   .public_key(public_key).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(minutes=5))
                   .not_valid_after(now + datetime.timedelta(days=90))
                   .add_extension(x509.BasicConstraints(is_ca, None), True))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        if is_ca:
            builder = builder.add_extension(
                x509.KeyUsage(True, False, False, False, False, True, True, False, False), True)
        return builder.sign(self.key, hashes.SHA256())

    def identity(self, directory):
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        cert = self.sign(key.public_key(), x509.Name([]), names, False)
        path = os.path.join(directory, "server.pem")
        with open(path, "wb") as out:
            out.write(key.private_bytes(serialization.Encoding.PEM,
                                        serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()))
            out.write(cert.public_bytes(serialization.Encoding.PEM))
        return path

    # -- what a CA keeps --

    def nonce(self):
        with self.lock:
            text = b64(os.urandom(12))
            self.nonces.add(text)
            return text

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def verify(self, path, body):
        jws = json.loads(body)
        head = json.loads(unb64(jws["protected"]))
        if head["url"] != self.base + path:
            raise Problem(403, "unauthorized", "url " + head["url"])
        with self.lock:
            if head.get("nonce") not in self.nonces:
                raise Problem(400, "badNonce", "not one of ours")
            self.nonces.discard(head["nonce"])
        if ("jwk" in head) == ("kid" in head):
            raise Problem(400, "malformed", "jwk xor kid")
        if "kid" in head:
            if head["kid"] not in self.accounts:
                raise Problem(400, "accountDoesNotExist", "no such account")
            jwk = self.accounts[head["kid"]]["jwk"]
        else:
            jwk = head["jwk"]
        numbers = [int.from_bytes(unb64(jwk[c]), "big") for c in ("x", "y")]
        public = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
        raw = unb64(jws["signature"])
        signature = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"),
                                               int.from_bytes(raw[32:], "big"))
        public.verify(signature, (jws["protected"] + "." + jws["payload"]).encode(),
                      ec.ECDSA(hashes.SHA256()))
        payload = json.loads(unb64(jws["payload"])) if jws["payload"] else None
        return head, jwk, payload

    # -- resources; each returns status, headers, body --

    def new_account(self, head, jwk, payload):
        for kid, account in self.accounts.items():
            if account["jwk"] == jwk:
                return 200, {"Location": kid}, self.account_body(kid)
        if payload.get("onlyReturnExisting"):
            raise Problem(400, "accountDoesNotExist", "no such account")
        kid = "%s/acct/%d" % (self.base, len(self.accounts) + 1)
        self.accounts[kid] = {"jwk": jwk, "contact": payload.get("contact", [])}
        return 201, {"Location": kid}, self.account_body(kid)

    def account_body(self, kid):
        body = {"status": "valid", "contact": self.accounts[kid]["contact"]}
        if self.list_orders:
            body["orders"] = kid.replace("/acct/", "/orders/")
        return body

    def new_order(self, kid, payload):
        if self.refuse:
            raise Problem(429 if self.refuse == "rateLimited" else 400, self.refuse, "by script")
        names = [i["value"] for i in payload["identifiers"]]
        self.made += 1
        number = str(self.made)
        order = {"kid": kid, "names": names, "authz": [], "cert": None, "failed": False}
        for i, name in enumerate(names):
            url = "/authz/%s-%d" % (number, i)
            self.authzs[url] = {"name": name, "asked": None, "token": b64(os.urandom(24))}
            order["authz"].append(url)
        self.orders[number] = order
        return 201, {"Location": "%s/order/%s" % (self.base, number)}, self.order_body(number)

    def authz_status(self, url):
        authz = self.authzs[url]
        if authz["asked"] is None or time.monotonic() - authz["asked"] < self.delay:
            return "pending"
        return "invalid" if self.fail else "valid"

    def order_body(self, number):
        order = self.orders[number]
        states = [self.authz_status(a) for a in order["authz"]]
        status = ("valid" if order["cert"] else "invalid" if "invalid" in states
                  else "ready" if all(s == "valid" for s in states) else "pending")
        expires = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
        body = {"status": status, "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "identifiers": [{"type": "dns", "value": n} for n in order["names"]],
                "authorizations": [self.base + a for a in order["authz"]],
                "finalize": "%s/finalize/%s" % (self.base, number)}
        if order["cert"]:
            body["certificate"] = "%s/cert/%s" % (self.base, number)
        return body

    def challenge_body(self, url):
        status = self.authz_status(url)
        body = {"type": "http-01", "url": self.base + url.replace("/authz/", "/chall/"),
                "token": self.authzs[url]["token"], "status": status}
        if status == "invalid":
            body["error"] = {"type": "urn:ietf:params:acme:error:unauthorized",
                             "detail": "the key authorization was wrong"}
        return body

    def challenge(self, url, _, payload):
        if url not in self.authzs:
            raise Problem(404, "malformed", "no such thing")
        if payload is not None and self.authzs[url]["asked"] is None:
            self.authzs[url]["asked"] = time.monotonic()
        return 200, {}, self.challenge_body(url)

    def authz_body(self, url):
        return {"status": self.authz_status(url),
                "identifier": {"type": "dns", "value": self.authzs[url]["name"]},
                "expires": "2099-01-01T00:00:00Z", "challenges": [self.challenge_body(url)]}

    def finalize(self, number, payload):
        order = self.orders[number]
        if self.order_body(number)["status"] != "ready":
            raise Problem(403, "orderNotReady", "not ready")
        csr = x509.load_der_x509_csr(unb64(payload["csr"]))
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if not csr.is_signature_valid \
                or sorted(san.get_values_for_type(x509.DNSName)) != sorted(order["names"]):
            raise Problem(400, "badCSR", "other names")
        public = csr.public_key()
        if self.wrong_key:
            public = ec.generate_private_key(ec.SECP256R1()).public_key()
        leaf = self.sign(public, x509.Name([]), [x509.DNSName(n) for n in order["names"]], False)
        order["cert"] = leaf.public_bytes(serialization.Encoding.PEM).decode()
        return 200, {"Location": "%s/order/%s" % (self.base, number)}, self.order_body(number)

    def post(self, path, body):
        head, jwk, payload = self.verify(path, body)
        kid = head.get("kid")
        part, _, rest = path[1:].partition("/")
        self.count(part)
        if part == "new-account":
            return self.new_account(head, jwk, payload)
        if part == "acct":
            return 200, {}, self.account_body(kid)
        if part == "orders":
            mine = [n for n, o in self.orders.items() if o["kid"] == kid]
            return 200, {}, {"orders": ["%s/order/%s" % (self.base, n) for n in mine]}
        if part == "new-order":
            return self.new_order(kid, payload)
        if part == "order" and rest in self.orders:
            return 200, {}, self.order_body(rest)
        if part == "authz" and path in self.authzs:
            return 200, {}, self.authz_body(path)
        if part == "chall":
            return self.challenge(path.replace("/chall/", "/authz/"), jwk, payload)
        if part == "finalize" and rest in self.orders:
            return self.finalize(rest, payload)
        if part == "cert" and rest in self.orders:
            pem = self.orders[rest]["cert"] + self.cert.public_bytes(
                serialization.Encoding.PEM).decode()
            return 200, {"Content-Type": "application/pem-certificate-chain"}, pem
        raise Problem(404, "malformed", "no such thing")

    def answer(self, method, path, body):
        with self.lock:
            if method == "POST":
                try:
                    return self.post(path, body)
                except Problem as p:
                    return p.status, {"Content-Type": "application/problem+json"}, {
                        "type": "urn:ietf:params:acme:error:" + p.kind, "detail": p.detail}
            self.count(path[1:])
            if path == "/dir":
                return 200, {}, {"newNonce": self.base + "/new-nonce",
                                 "newAccount": self.base + "/new-account",
                                 "newOrder": self.base + "/new-order", "meta": None}
            return (204 if method == "GET" else 200), {}, ""

    # -- one request, held or not; None: no answer, close --

    def request(self, method, path, body):
        with self.lock:
            self.requests.append("%s %s" % (method, path))
            number = len(self.requests)
            mine = self.hold if self.hold and self.hold[0] == number else None
            held = self.held
        if mine is None:
            return self.answer(method, path, body)
        if mine[1] == "after":
            self.answer(method, path, body)
        say({"held": number, "what": "%s %s" % (method, path)})
        held.wait(60)
        return None


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ca = None

    def serve(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        answer = self.ca.request(self.command, self.path, body)
        if answer is None:
            self.close_connection = True
            return
        status, headers, text = answer
        data = (text if isinstance(text, str) else json.dumps(text)).encode()
        self.send_response(status)
        self.send_header("Replay-Nonce", self.ca.nonce())
        if "Content-Type" not in headers and data:
            self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        if self.command != "HEAD" and status != 204:
            self._headers_buffer.append(b"\r\n" + data)
            self.flush_headers()
        else:
            self.end_headers()

    do_GET = do_HEAD = do_POST = serve

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context = None

    def get_request(self):
        sock, address = super().get_request()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(sock, server_side=True,
                                        do_handshake_on_connect=False), address

    def handle_error(self, request, client_address):
        pass


def command(ca, words):
    if words[0] == "reset":
        ca.held.set()
        with ca.lock:
            ca.reset()
    elif words[0] == "hold":
        ca.hold = (int(words[1]), words[2])
    elif words[0] == "release":
        ca.held.set()
        with ca.lock:
            ca.hold, ca.held = None, threading.Event()
    elif words[0] == "validate":
        ca.delay = float(words[1])
    elif words[0] == "refuse":
        ca.refuse = None if words[1] == "none" else words[1]
    elif words[0] == "fail":
        ca.fail = words[1:] != ["none"]
    elif words[0] == "orders":
        ca.list_orders = words[1] == "on"
    elif words[0] == "wrongkey":
        ca.wrong_key = words[1] == "on"
    elif words[0] != "report":
        return {"error": words[0]}
    with ca.lock:
        return {"orders": len(ca.orders), "issued": sum(1 for o in ca.orders.values() if o["cert"]),
                "accounts": len(ca.accounts), "requests": len(ca.requests), "counts": ca.counts,
                "list": ca.requests}


def main():
    directory = sys.argv[1]
    ca = Ca(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.identity(directory))
    Server.context = context
    Handler.ca = ca
    server = Server(("127.0.0.1", 0), Handler)
    ca.base = "https://localhost:%d" % server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say({"port": server.server_address[1], "directory": ca.base + "/dir"})
    for line in sys.stdin:
        if line.split():
            say(command(ca, line.split()))


if __name__ == "__main__":
    main()
