# Licensed under the Apache License, Version 2.0; see LICENSE.
"""The README's minimal configuration works as it is printed there."""
import os
import random
import re

import pytest

from lib import util
from lib.httpd import SOURCE


def minimal():
    with open(os.path.join(SOURCE, "README.md")) as file:
        blocks = re.findall(r"```apache\n(.*?)```", file.read(), re.S)
    assert len(blocks) == 1, "README.md needs exactly one ```apache block"
    return blocks[0]


def test_minimal_configuration(make_httpd, make_pebble):
    # A loopback address of its own has the real ports 80 and 443, so the text needs no change at all.
    address = "127.%d.%d.%d" % (random.randint(1, 250), random.randint(1, 250), random.randint(2, 250))
    if not util.can_bind(address, 443) or not util.can_bind(address, 80):
        pytest.skip("ports 80 and 443 cannot be used here")
    httpd = make_httpd(address=address, http_port=80, https_port=443)
    pebble = make_pebble(httpd, dns_ipv4=address)
    text = minimal()
    load, rest = text.split("\n", 1)
    assert load.startswith("LoadModule acmeclient_module ")
    # The module has to be known before the lines that name the CA.
    httpd.conf(load)
    httpd.conf("AcmeDirectoryURL %s\nAcmeCAFile %s\nAcmeStoreDir %s" % (pebble.directory, pebble.ca_file, httpd.store))
    httpd.raw(rest)
    httpd.start()
    seen = httpd.wait_live("example.org", pebble)
    assert seen.names == ["example.org", "www.example.org"]
    assert httpd.get("example.org").status == 200
