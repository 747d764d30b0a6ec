# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A private Pebble CA: own PKI, own DNS (pebble-challtestsrv), loopback ports, ended by pid.

    p = Pebble(directory, http_port=..., tls_port=..., strict=True, nonce_reject=0, authz_reuse=0,
               validity=90 * 86400, chain_length=1, alternate_roots=0, eab={kid: base64url key}, sleep=None,
               always_valid=False, dns_ipv4="127.0.0.1", blocklist=[...],
               dnsserver="127.77.0.1:53")       asked in place of its own DNS
    p.start()  p.stop()  p.suspend()  p.resume()
    p.directory  p.ca_file     what AcmeDirectoryURL and AcmeCAFile want
    p.issued(der)              is this a certificate of this CA? (its signature is checked)
    p.roots()                  PEM of the root of what it issues
    p.has("renewalInfo")       does the running version offer it? (a member of the directory or of its meta)
    p.version                  (2, 10), (2, 6) or (2, 4), the smallest that offers what this one does
    p.renewal_info(der, text)  what it says of a certificate's renewal from now on (a POST to its management)
    p.dns("set-default-ipv4", ip="127.0.0.1")   a POST to the DNS server's management
"""
import datetime
import ipaddress
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from . import util


def _go_bin():
    if os.environ.get("GOBIN"):
        yield os.environ["GOBIN"]
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if os.path.exists(go):
        for name, below in (("GOBIN", ""), ("GOPATH", "bin")):
            try:
                path = subprocess.run([go, "env", name], stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()
            except OSError:
                continue
            if path:
                yield os.path.join(path, below)


def pebble_program():
    """$PEBBLE, else one that Go installed (the newest), else the system's."""
    if os.environ.get("PEBBLE"):
        return os.environ["PEBBLE"]
    for directory in _go_bin():
        path = os.path.join(directory, "pebble")
        if os.path.exists(path):
            return path
    found = shutil.which("pebble")
    if not found:
        raise RuntimeError("pebble not found: install the Debian package pebble")
    return found


def make_pki(directory, names=("localhost",), addresses=("127.0.0.1", "::1")):
    """ca.pem, server.pem and server.key in directory."""
    now = datetime.datetime.utcnow()
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test PKI of the CA's own server")])

    def build(subject, public_key, ca):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public_key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=4000)).not_valid_after(now + datetime.timedelta(days=8000))
                .add_extension(x509.BasicConstraints(ca, None), critical=True))
    ca_cert = build(ca_name, ca_key.public_key(), True).sign(ca_key, hashes.SHA256())
    sans = [x509.DNSName(n) for n in names] + [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
    cert = (build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), key.public_key(), False)
            .add_extension(x509.SubjectAlternativeName(sans), critical=False).sign(ca_key, hashes.SHA256()))
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)
    pem = serialization.Encoding.PEM
    for name, data in (("ca.pem", ca_cert.public_bytes(pem)), ("server.pem", cert.public_bytes(pem)),
                       ("server.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                                        serialization.NoEncryption()))):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
        os.chmod(os.path.join(directory, name), 0o644)


def signed_by(der, issuer):
    """Did the issuer's key sign this certificate?"""
    cert, key = x509.load_der_x509_certificate(der), issuer.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(cert.signature, cert.tbs_certificate_bytes, padding.PKCS1v15(), cert.signature_hash_algorithm)
        else:
            key.verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
        return cert.issuer == issuer.subject
    except Exception:
        return False


class Pebble:
    def __init__(self, directory, http_port, tls_port, strict=True, nonce_reject=0, authz_reuse=0,
                 validity=90 * 86400, chain_length=1, alternate_roots=0, eab=None, sleep=None, always_valid=False,
                 dns_ipv4="127.0.0.1", blocklist=(), retry_after=None, host="localhost", env=None, profiles=None,
                 dnsserver=None):
        self.dir = str(directory)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.program = pebble_program()
        self.host = host
        self.port, self.management = util.free_port(), util.free_port()
        self.dns_port, self.dns_management = util.free_port(), util.free_port()
        self.directory = "https://%s:%d/dir" % (host, self.port)
        self.ca_file = os.path.join(self.dir, "pki", "ca.pem")
        self.strict, self.dns_ipv4 = strict, dns_ipv4
        self.dnsserver = dnsserver or "127.0.0.1:%d" % self.dns_port
        self.process = self.dns_process = None
        self.config = {
            "listenAddress": "127.0.0.1:%d" % self.port, "managementListenAddress": "127.0.0.1:%d" % self.management,
            "certificate": os.path.join(self.dir, "pki", "server.pem"),
            "privateKey": os.path.join(self.dir, "pki", "server.key"),
            "httpPort": http_port, "tlsPort": tls_port, "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(eab), "externalAccountMACKeys": dict(eab or {}),
            "domainBlocklist": list(blocklist), "certificateValidityPeriod": validity,
            "retryAfter": retry_after or {"authz": 1, "order": 1},
            "profiles": {name: {"description": "the tests' %s" % name, "validityPeriod": seconds}
                         for name, seconds in (profiles or {"default": validity}).items()},
        }
        self.env = {"PEBBLE_WFE_NONCEREJECT": str(nonce_reject), "PEBBLE_AUTHZREUSE": str(authz_reuse),
                    "PEBBLE_CHAIN_LENGTH": str(chain_length), "PEBBLE_ALTERNATE_ROOTS": str(alternate_roots)}
        if sleep is None:
            self.env["PEBBLE_VA_NOSLEEP"] = "1"
        else:
            self.env["PEBBLE_VA_SLEEPTIME"] = str(sleep)
        if always_valid:
            self.env["PEBBLE_VA_ALWAYS_VALID"] = "1"
        self.env.update(env or {})
        self._issuers = []
        make_pki(os.path.join(self.dir, "pki"), [host, "ca.test"] if host != "127.0.0.1" else ["ca.test"])

    def _run(self, command, log, env=None):
        with open(os.path.join(self.dir, log), "ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.dir,
                                    env=dict(os.environ, **(env or {})), start_new_session=True)

    def _start_dns(self):
        program = os.path.join(os.path.dirname(self.program), "pebble-challtestsrv")
        if not os.path.exists(program):
            program = shutil.which("pebble-challtestsrv")
        told = subprocess.run([program, "-h"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True).stdout
        flag = "-dnsserver" if "-dnsserver" in told else "-dns01"
        command = [program, flag, "127.0.0.1:%d" % self.dns_port, "-management", "127.0.0.1:%d" % self.dns_management,
                   "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", self.dns_ipv4, "-defaultIPv6", ""]
        if "-doh" in told:
            command += ["-doh", ""]
        self.dns_process = self._run(command, "dns.log")

    def start(self):
        self._start_dns()
        assert util.wait_for(lambda: util.listening("127.0.0.1", self.dns_management), 10), \
            "pebble-challtestsrv did not start:\n" + util.tail(os.path.join(self.dir, "dns.log"))
        self.start_ca()
        return self

    def start_ca(self):
        """Pebble alone, after stop_ca(): a CA that lost its memory, with self.config as it is now."""
        with open(os.path.join(self.dir, "pebble.json"), "w") as file:
            json.dump({"pebble": self.config}, file)
        command = [self.program, "-config", "pebble.json", "-dnsserver", self.dnsserver]
        self.process = self._run(command + (["-strict"] if self.strict else []), "pebble.log", self.env)
        up = util.wait_for(lambda: self.process.poll() is not None or util.listening("127.0.0.1", self.management)
                           and util.listening("127.0.0.1", self.port), 15)
        assert up and self.process.poll() is None, "pebble did not start:\n" + util.tail(os.path.join(self.dir, "pebble.log"))
        self._issuers = []

    def stop_ca(self):
        util.end_process(self.process)
        self.process = None

    def stop(self):
        self.stop_ca()
        util.end_process(self.dns_process)
        self.dns_process = None

    def suspend(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)

    # ---- asking it ----

    def _fetch(self, url, data=None):
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers={"User-Agent": "test"}),
                                    context=context, timeout=5) as reply:
            return reply.read()

    def _post(self, url, data, headers):
        request = urllib.request.Request(url, data=data, headers={"User-Agent": "test", **headers},
                                         method="POST" if data else "HEAD")
        with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=5) as reply:
            return reply.headers

    def nonce(self, url):
        return self._post(url, None, {})["Replay-Nonce"]

    def location(self, url, jws):
        """What the answer to a signed request of a test's own names."""
        return self._post(url, jws.encode(), {"Content-Type": "application/jose+json"})["Location"]

    def manage(self, path, data=None):
        return self._fetch("https://127.0.0.1:%d%s" % (self.management, path), data)

    def roots(self, n=0):
        return self.manage("/roots/%d" % n).decode()

    def issuers(self):
        if not self._issuers:
            pem = self.manage("/roots/0") + b"\n" + self.manage("/intermediates/0")
            blocks = re.findall(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.S)
            self._issuers = [x509.load_pem_x509_certificate(block + b"\n") for block in blocks]
        return self._issuers

    def issued(self, der):
        return any(signed_by(der, issuer) for issuer in self.issuers())

    def meta(self):
        return json.loads(self._fetch("https://127.0.0.1:%d/dir" % self.port))

    def has(self, member):
        directory = self.meta()
        return member in directory or member in directory.get("meta", {})

    @property
    def version(self):
        """(2, 10), (2, 6) or (2, 4), by what it offers: builds do not know their number."""
        return (2, 10) if self.has("profiles") else (2, 6) if self.has("renewalInfo") else (2, 4)

    def renewal_info(self, der, body):
        """What the CA says when it wants this certificate renewed: body as it is sent (2.8 and later)."""
        pem = ssl.DER_cert_to_PEM_cert(der)
        return self.manage("/set-renewal-info/", json.dumps({"Certificate": pem, "ARIResponse": body}).encode())

    def dns(self, command, **values):
        return self._fetch("http://127.0.0.1:%d/%s" % (self.dns_management, command), json.dumps(values).encode())

    def log(self):
        return util.tail(os.path.join(self.dir, "pebble.log"), 100000)
