# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Certificates that no CA of the tests issued: an administrator's own, and pairs put into a store.

    a = Authority(directory)               a private CA, P-256
    a.issue(["a.test"], days=90, key=None) -> Pair(chain, key, serial, not_after); PEM, leaf and issuer
    a.pem(["a.test"]) -> path              key and chain in one file, for SSLCertificateFile
    a.store(httpd, "a.test", names=None)   puts a pair where the module keeps it (the store made 0700) -> Pair
    write(path, data, mode=0o600)
"""
import collections
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Pair = collections.namedtuple("Pair", "chain key serial not_after")
PEM = serialization.Encoding.PEM


def write(path, data, mode=0o600):
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.fchmod(fd, mode)
    os.close(fd)


def key_pem(key):
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def san(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    def __init__(self, directory, name="test authority"):
        self.dir, self.name, self.key = str(directory), name_of(name), ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self.key.public_key(), 3650, [
            (x509.BasicConstraints(True, None), True)])

    def _sign(self, subject, public_key, days, extensions):
        now = datetime.datetime.utcnow().replace(microsecond=0)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=days)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, names, days=90, key=None):
        key = key or ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign(name_of(names[0]), key.public_key(), days, [
            (x509.SubjectAlternativeName([san(n) for n in names]), False), (x509.BasicConstraints(False, None), True)])
        return Pair(leaf.public_bytes(PEM) + self.certificate.public_bytes(PEM), key_pem(key), leaf.serial_number,
                    leaf.not_valid_after)

    def pem(self, names, days=90):
        pair = self.issue(names, days)
        path = os.path.join(self.dir, names[0] + ".pem")
        write(path, pair.key + pair.chain)
        return path

    def store(self, httpd, name, names=None, days=90, key=None):
        pair = self.issue(names or [name], days, key)
        write(os.path.join(httpd.store, name + ".crt.pem"), pair.chain)
        write(os.path.join(httpd.store, name + ".key.pem"), pair.key)
        return pair
