# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A TLS proxy in front of Pebble that injects faults and keeps a log of every request.

Pebble builds its URLs from the request's Host and checks the JWS `url`, so a proxy that keeps Host and path is
invisible to it and needs no keys.

    c = Chaos(directory, pebble).start()       c.directory, c.ca_file, c.issued(): in place of Pebble's
    c.on("finalize", nth=2, status=500, body="<html>") -> Rule      only the second finalize
    c.on("order", times=3, edit=set_json(status="processing"))      the first three polls
    c.on("newOrder", hold="before")            the request waits here, not yet forwarded
    c.on("newOrder", hold="after")             forwarded, the reply waits here
        rule.wait_held(10)  rule.release()     (a held request whose client is gone ends by itself)
    c.off(rule)   c.clear()
    c.requests("newOrder") -> [Entry]          c.count("newOrder")

Steps: directory newNonce newAccount account newOrder orders order authz challenge finalize certificate renewalInfo
keyChange revokeCert other; "*" is any. nth counts from 1 among the requests of that step since the rule was made;
times limits how often it fires. What a rule can do, in this order:

    delay=SECONDS             before anything else
    hold="before"|"after"     see above
    status=, headers={}, body=   a reply of ours; with forward=True the request still reaches Pebble, first
    edit=function(reply)      changes Reply(status, headers, body) of Pebble; see set_json, set_header
    reset="before"|"after"    RST, before forwarding or instead of the reply
    truncate=N                announces all, sends N bytes of the body, closes
    drip=SECONDS              a pause after every byte
    silent=True               no reply at all until the client goes
"""
import base64
import collections
import http.client
import http.server
import json
import os
import re
import select
import socket
import socketserver
import ssl
import struct
import threading
import time

from . import util
from .pebble import make_pki

Entry = collections.namedtuple("Entry", "time step method path headers body status reply")

STEPS = [
    ("newNonce", r"/nonce"), ("newAccount", r"/sign-me-up"), ("newOrder", r"/order-plz"),
    ("orders", r"/list-orderz"), ("order", r"/my-order/"), ("authz", r"/authZ/"), ("challenge", r"/chalZ/"),
    ("finalize", r"/finalize-order/"), ("certificate", r"/certZ/"), ("account", r"/my-account"),
    ("renewalInfo", r"renewalInfo|/renewal-info"), ("keyChange", r"/rollover"), ("revokeCert", r"/revoke"),
    ("directory", r"/dir$"),
]


def classify(path):
    for step, pattern in STEPS:
        if re.search(pattern, path):
            return step
    return "other"


def set_json(**members):
    def edit(reply):
        data = json.loads(reply.body)
        data.update(members)
        reply.body = json.dumps(data).encode()
    return edit


def set_header(name, value):
    """None takes the header away."""
    def edit(reply):
        reply.headers = [(n, v) for n, v in reply.headers if n.lower() != name.lower()]
        if value is not None:
            reply.headers.append((name, value))
    return edit


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jws_payload(body):
    """The JWS payload's bytes of a request body."""
    return unb64(json.loads(body)["payload"])


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, list(headers), body


class Rule:
    def __init__(self, step, nth=None, times=None, match=None, delay=0, hold=None, status=None, headers=None, body=None,
                 forward=False, edit=None, reset=None, truncate=None, drip=None, silent=False):
        assert hold in (None, "before", "after") and reset in (None, "before", "after")
        self.step, self.nth, self.times, self.match = step, nth, times, match
        self.delay, self.hold, self.status, self.headers = delay, hold, status, dict(headers or {})
        self.body = body if isinstance(body, (bytes, type(None))) else (
            body.encode() if isinstance(body, str) else json.dumps(body).encode())
        self.forward, self.edit, self.reset = forward, edit, reset
        self.truncate, self.drip, self.silent = truncate, drip, silent
        self.seen = self.fired = 0
        self.held, self.released = threading.Event(), threading.Event()

    def takes(self, step, path):
        """Called under the proxy's lock, once per request."""
        if self.step not in ("*", step) or (self.match and not re.search(self.match, path)):
            return False
        self.seen += 1
        if (self.nth is not None and self.seen != self.nth) or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True

    def wait_held(self, timeout=15):
        assert self.held.wait(timeout), "no %s request came in %gs" % (self.step, timeout)

    def release(self):
        self.released.set()

    def own_reply(self):
        headers = {"Content-Type": "application/problem+json", **self.headers}
        return Reply(self.status or 200, headers.items(), self.body or b"")


class _Gone(Exception):
    pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def client_gone(self):
        """The client's end is closed and nothing is left to read."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable or self.connection.pending():
            return False
        self.connection.settimeout(0.2)
        try:
            return self.connection.recv(1) == b""
        except (socket.timeout, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(self.timeout)

    def pause(self, rule):
        rule.held.set()
        while not rule.released.wait(0.05):
            if self.server.chaos.stopping or self.client_gone():
                raise _Gone()

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Gone()

    def forward(self, body):
        upstream = http.client.HTTPSConnection("127.0.0.1", self.server.chaos.pebble.port, timeout=60,
                                               context=ssl._create_unverified_context())
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "transfer-encoding"):
                    upstream.putheader(name, value)
            upstream.putheader("Connection", "close")
            upstream.endheaders(body)
            reply = upstream.getresponse()
            data = reply.read()
            return Reply(reply.status, reply.getheaders(), data)
        except (OSError, http.client.HTTPException) as error:
            return Reply(502, [("Content-Type", "text/plain")], str(error).encode())
        finally:
            upstream.close()

    def send(self, reply, rule):
        lines = ["HTTP/1.1 %d %s" % (reply.status, http.client.responses.get(reply.status, "X"))]
        skip = ("content-length", "transfer-encoding", "connection")
        lines += ["%s: %s" % (n, v) for n, v in reply.headers if n.lower() not in skip]
        body = b"" if self.command == "HEAD" or reply.status in (204, 304) else reply.body
        if reply.status != 204:
            lines.append("Content-Length: %d" % len(reply.body if self.command != "HEAD" else b""))
        data = "\r\n".join(lines + ["", ""]).encode("latin-1")
        if rule and rule.truncate is not None:
            body, self.close_connection = body[:rule.truncate], True
        if not rule or not rule.drip:
            self.connection.sendall(data + body)
            return
        for byte in data + body:
            if self.server.chaos.stopping:
                raise _Gone()
            self.connection.sendall(bytes([byte]))
            time.sleep(rule.drip)

    def answer(self, rule, body):
        if rule is None:
            return self.forward(body)
        if rule.delay:
            time.sleep(rule.delay)
        if rule.hold == "before":
            self.pause(rule)
        if rule.silent:
            self.pause(rule)
        if rule.reset == "before":
            self.reset()
        if rule.status is not None or rule.body is not None:
            if rule.forward:
                self.forward(body)
            return rule.own_reply()
        reply = self.forward(body)
        if rule.edit:
            rule.edit(reply)
        return reply

    def one(self):
        chaos = self.server.chaos
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        step = classify(self.path)
        rule = chaos.rule_for(step, self.path)
        row = chaos.note(step, self.command, self.path, dict(self.headers.items()), body)
        try:
            reply = self.answer(rule, body)
            chaos.replied(row, reply)
            if rule and rule.hold == "after":
                self.pause(rule)
            if rule and rule.reset == "after":
                self.reset()
            self.send(reply, rule)
        except (_Gone, OSError):
            self.close_connection = True

    do_GET = do_POST = do_HEAD = one


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def finish_request(self, request, client_address):
        # The handshake happens here, in the connection's own thread.
        try:
            request.settimeout(60)
            tls = self.chaos.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        try:
            self.RequestHandlerClass(tls, client_address, self)
        except OSError:
            pass
        finally:
            tls.close()

    def handle_error(self, request, client_address):
        pass


class Chaos:
    def __init__(self, directory, pebble, names=("localhost",)):
        self.dir, self.pebble = str(directory), pebble
        self.port = util.free_port()
        make_pki(os.path.join(self.dir, "chaos"), names)
        self.ca_file = os.path.join(self.dir, "chaos", "ca.pem")
        self.directory = "https://%s:%d/dir" % (pebble.host, self.port)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(os.path.join(self.dir, "chaos", "server.pem"), os.path.join(self.dir, "chaos", "server.key"))
        self.lock = threading.Lock()
        self.rules, self.entries = [], []
        self.stopping = False
        self.server = None

    def start(self):
        self.server = _Server(("127.0.0.1", self.port), _Handler)
        self.server.chaos = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def stop(self):
        self.stopping = True
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def issued(self, der):
        return self.pebble.issued(der)

    # ---- rules ----

    def on(self, step, **what):
        rule = Rule(step, **what)
        with self.lock:
            self.rules.append(rule)
        return rule

    def off(self, rule):
        rule.release()
        with self.lock:
            if rule in self.rules:
                self.rules.remove(rule)

    def clear(self):
        for rule in list(self.rules):
            self.off(rule)

    def rule_for(self, step, path):
        """The first rule that takes this request; every rule counts it."""
        with self.lock:
            taken = [rule for rule in self.rules if rule.takes(step, path)]
        return taken[0] if taken else None

    # ---- the log ----

    def note(self, step, method, path, headers, body):
        with self.lock:
            self.entries.append(Entry(time.time(), step, method, path, headers, body, None, None))
            return len(self.entries) - 1

    def replied(self, row, reply):
        with self.lock:
            self.entries[row] = self.entries[row]._replace(status=reply.status, reply=reply.body)

    def requests(self, step="*"):
        with self.lock:
            return [entry for entry in self.entries if step in ("*", entry.step)]

    def count(self, step="*", status=None):
        return len([e for e in self.requests(step) if status is None or e.status == status])

    def forget(self):
        with self.lock:
            self.entries = []
