# Licensed under the Apache License, Version 2.0; see LICENSE.
"""TLS clients that Python's ssl cannot be: the openssl program as it is installed.

    s = s_client(httpd, "a.test", "-tls1_2", "-sigalgs", "RSA+SHA256", "-alpn", "acme-tls/1")
    s.ok  s.chain  s.leaf (python-cryptography)  s.alpn  s.version  s.status (stapled?)  s.text (all it printed)

    with HalfHello(httpd, "a.test") as hello:    a connection whose ClientHello has only begun: a child holds it
        hello.pid                                that child
        hello.finish()                           the rest of the handshake -> serial of what was served
"""
import collections
import re
import socket
import ssl
import subprocess

from cryptography import x509

from . import util

Session = collections.namedtuple("Session", "ok chain leaf alpn version status text")


def s_client(httpd, name, *options, timeout=15, port=None, send=b""):
    """name None: no SNI. The connection is closed when the handshake is done (and `send` was sent)."""
    sni = ["-servername", name] if name else ["-noservername"]
    command = ["openssl", "s_client", "-connect", "%s:%d" % (httpd.address, port or httpd.https_port), *sni,
               "-showcerts", "-status", *options]
    done = subprocess.run(command, input=send, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    text = done.stdout.decode("latin-1")
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.S)
    # The leaf is printed once more below "Server certificate".
    shown = text.partition("\nServer certificate")[0] if "\nServer certificate" in text else text
    chain = [x509.load_pem_x509_certificate(block.encode() + b"\n")
             for block in re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shown, re.S) or blocks[:1]]
    version = re.search(r"^(?:New|Reused), (TLSv[\d.]+), Cipher is (?!\(NONE\))", text, re.M)
    alpn = re.search(r"^ALPN protocol: (.*)$", text, re.M)
    return Session(bool(version and chain), chain, chain[0] if chain else None, alpn and alpn.group(1),
                   version and version.group(1), "OCSP Response Status" in text, text)


class HalfHello:
    def __init__(self, httpd, name, alpn=None):
        self.httpd = httpd
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(alpn)
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.came, self.goes, server_hostname=name)
        self.sock = socket.create_connection((httpd.address, httpd.https_port), timeout=15)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = self.goes.read()
        self.sock.sendall(hello[:20])
        self.rest = hello[20:]
        self.pid = util.wait_for(lambda: httpd.child_of_socket(self.sock), 5)

    def finish(self):
        self.sock.sendall(self.rest)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionResetError("closed in the handshake") from None
                self.came.write(data)
        self.sock.sendall(self.goes.read())
        return x509.load_der_x509_certificate(self.tls.getpeercert(True)).serial_number

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.sock.close()
