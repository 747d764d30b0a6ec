# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A small RFC 8555 CA (test/data/stepca_model.py) that offers what types of challenge the test wants, and validates
them itself: what no CA of today does any more (tls-sni-01), and what none shows (each look at the server, on record).

    ca = make_mockca(httpd, offers=["tls-sni-01"])    started; ca.directory, ca.ca_file, ca.issued(): as Pebble's
    ca.offers = ["http-01", "x-99"]          from the next authorization on; a type without a validator fails
    ca.broken.add("http-01")                 validations of that type fail, without a look
    ca.spoilt.add("a.test")                  those of that name fail after it
    ca.tokens["a.test"] = "../x"             what its challenges have for a token
    ca.stall()  ca.release()                  validations wait in between
    ca.wait("a.test", "tls-sni-01")          -> validator.Challenge that the CA was told about
    ca.validations                           [Validation(name, type, error)], in the order they ended; error None: passed
"""
import collections
import importlib.util
import os
import threading

from . import util, validator
from .pebble import signed_by

_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "stepca_model.py")
_spec = importlib.util.spec_from_file_location("stepca_model", _path)
model = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(model)

Validation = collections.namedtuple("Validation", "name type error")
VERSIONS = ("-tls1_2", "-tls1_3")


def _http01(httpd, challenge):
    status, _, body, _ = validator.http01(httpd, challenge)
    return None if (status, body) == (200, challenge.key_authorization.encode()) else "HTTP %d" % status


def _alpn01(httpd, challenge):
    return None if validator.proves(validator.alpn01(httpd, challenge), challenge) else "wrong certificate"


def _sni01(httpd, challenge):
    """Both rules, both versions of TLS."""
    name = validator.sni_name(challenge)
    for version in VERSIONS:
        session = validator.sni01(httpd, challenge, version)
        for rule in (validator.lenient, validator.strict):
            if not rule(session, name):
                return "%s, %s: requested %s, names %s" % (
                    version, rule.__name__, name, validator.dns_names(session.leaf) if session.leaf else None)
    return None


VALIDATORS = {"http-01": _http01, "tls-alpn-01": _alpn01, "tls-sni-01": _sni01}


class MockCa(model.Ca):
    def __init__(self, directory, httpd, offers=("tls-sni-01",)):
        os.makedirs(str(directory), exist_ok=True)
        os.chmod(str(directory), 0o755)
        super().__init__(str(directory))
        self.dir, self.httpd, self.offers, self.broken = str(directory), httpd, list(offers), set()
        self.spoilt, self.tokens = set(), {}
        self.ca_file = os.path.join(self.dir, "ca.pem")
        os.chmod(self.ca_file, 0o644)
        self.validations, self.told = [], []
        self.gate = threading.Event()
        self.gate.set()
        self.server = None

    def start(self):
        context = model.ssl.SSLContext(model.ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.identity(self.dir))
        server = type("Server", (model.Server,), {"context": context})
        handler = type("Handler", (model.Handler,), {"ca": self})
        self.server = server(("127.0.0.1", 0), handler)
        self.base = "https://localhost:%d" % self.server.server_address[1]
        self.directory = self.base + "/dir"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def stop(self):
        self.release()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def issued(self, der):
        return signed_by(der, self.cert)

    # ---- the test's side ----

    def stall(self):
        self.gate.clear()

    def release(self):
        self.gate.set()

    def wait(self, name, kind, timeout=20):
        found = util.wait_for(lambda: [c for c in self.told if (c.name, c.type) == (name, kind)], timeout)
        assert found, "the CA was told of no %s of %s" % (kind, name)
        return found[-1]

    # ---- the CA's ----

    def authz_status(self, url):
        return self.authzs[url].get("state", "pending")

    def authz_body(self, url):
        authz = self.authzs[url]
        authz.setdefault("offers", list(self.offers))
        authz["token"] = self.tokens.get(authz["name"], authz["token"])
        return {"status": self.authz_status(url), "identifier": {"type": "dns", "value": authz["name"]},
                "expires": "2099-01-01T00:00:00Z",
                "challenges": [self.challenge_body(url, kind) for kind in authz["offers"]]}

    def challenge_body(self, url, kind):
        authz = self.authzs[url]
        asked = authz["asked"] == kind
        body = {"type": kind, "url": "%s%s/%s" % (self.base, url.replace("/authz/", "/chall/"), kind),
                "token": authz["token"], "status": self.authz_status(url) if asked else "pending"}
        if asked and authz.get("error"):
            body["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": authz["error"]}
        return body

    def challenge(self, path, jwk, payload):
        url, _, kind = path.rpartition("/")
        authz = self.authzs.get(url)
        if authz is None or kind not in authz["offers"]:
            raise model.Problem(404, "malformed", "no such thing")
        if payload is not None and authz["asked"] is None:
            authz["asked"] = kind
            told = validator.Challenge(authz["name"], kind, authz["token"],
                                       authz["token"] + "." + validator.thumbprint(jwk))
            self.told.append(told)
            threading.Thread(target=self.validate, args=(authz, told), daemon=True).start()
        return 200, {}, self.challenge_body(url, kind)

    def validate(self, authz, told):
        self.gate.wait()
        check = VALIDATORS.get(told.type)
        try:
            error = ("no validator" if not check else "broken by the test" if told.type in self.broken
                     else check(self.httpd, told))
            error = error or ("spoilt by the test" if told.name in self.spoilt else None)
        except (OSError, ValueError, IndexError) as trouble:
            error = str(trouble) or type(trouble).__name__
        with self.lock:
            self.validations.append(Validation(told.name, told.type, error))
            authz["error"], authz["state"] = error, "invalid" if error else "valid"
