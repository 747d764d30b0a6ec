# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A CA of another make: Caddy's acme_server (smallstep's certificates). It validates on ports 80 and 443 and with the
system's resolver only, so it lives in a Namespace whose hosts have NAME.

    c = Caddy(directory).start()     c.directory  c.ca_file  c.issued(der)     c.stop()
"""
import json
import os
import shutil
import subprocess

from cryptography import x509

from . import util
from .pebble import signed_by

NAME = "ca.acme.test"


class Caddy:
    def __init__(self, directory):
        self.dir = str(directory)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.port, self.admin, self.http = util.free_port(), util.free_port(), util.free_port()
        self.directory = "https://%s:%d/acme/local/directory" % (NAME, self.port)
        self.ca_file = os.path.join(self.dir, "root.crt")
        self.process = None

    def _config(self):
        route = {"match": [{"host": [NAME]}], "handle": [{"handler": "acme_server"}], "terminal": True}
        server = {"listen": ["127.0.0.1:%d" % self.port], "automatic_https": {"disable_redirects": True},
                  "routes": [route], "tls_connection_policies": [{}]}
        return {"admin": {"listen": "127.0.0.1:%d" % self.admin},
                "storage": {"module": "file_system", "root": os.path.join(self.dir, "storage")},
                "apps": {"pki": {"certificate_authorities": {"local": {"install_trust": False}}},
                         "http": {"http_port": self.http, "https_port": self.port, "servers": {"acme": server}},
                         "tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}}}}

    def start(self, timeout=20):
        config = os.path.join(self.dir, "ca.json")
        with open(config, "w") as file:
            json.dump(self._config(), file)
        home = {name: self.dir for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        with open(os.path.join(self.dir, "caddy.log"), "ab") as out:
            self.process = subprocess.Popen(["caddy", "run", "--config", config], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, cwd=self.dir, env={**os.environ, **home})
        pki = os.path.join(self.dir, "storage", "pki", "authorities", "local")
        util.wait_for(lambda: util.listening("127.0.0.1", self.port) and os.path.exists(os.path.join(pki, "intermediate.crt")),
                      timeout)
        shutil.copy(os.path.join(pki, "root.crt"), self.ca_file)
        os.chmod(self.ca_file, 0o644)
        with open(os.path.join(pki, "intermediate.crt"), "rb") as file:
            self._issuer = x509.load_pem_x509_certificate(file.read())
        return self

    def issued(self, der):
        return signed_by(der, self._issuer)

    def stop(self):
        if self.process is not None:
            util.end_process(self.process)
            self.process = None
