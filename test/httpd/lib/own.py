# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Certificates of the administrator's own in vhosts, by kind of key.

    own = own_pair(httpd, "a.test", "rsa")   own.serial; own.chain (file of its issuer)
    own.lines                                SSLCertificateFile and SSLCertificateKeyFile of it
    kind_of(certificate)                     "rsa" or "ec"
"""
import collections
import os

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .authority import Authority, write

Own = collections.namedtuple("Own", "serial chain lines")
DER = serialization.Encoding.DER
KINDS = {"rsa": lambda: rsa.generate_private_key(65537, 2048), "ec": lambda: ec.generate_private_key(ec.SECP256R1())}


def kind_of(cert):
    return "rsa" if isinstance(cert.public_key(), rsa.RSAPublicKey) else "ec"


def own_pair(httpd, name, kind="rsa", names=None):
    """The leaf alone in its file, its issuer in `chain`, as with SSLCertificateChainFile."""
    pair = Authority(httpd.root, "the administrator's own CA").issue(names or [name], key=KINDS[kind]())
    stem = os.path.join(httpd.root, "own", "%s-%s" % (name, kind))
    leaf, mark, issuer = pair.chain.partition(b"-----END CERTIFICATE-----\n")
    write(stem + ".pem", leaf + mark)
    write(stem + ".chain", issuer)
    write(stem + ".key", pair.key)
    return Own(pair.serial, stem + ".chain", "SSLCertificateFile %s.pem\nSSLCertificateKeyFile %s.key" % (stem, stem))
