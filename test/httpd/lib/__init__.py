# Licensed under the Apache License, Version 2.0; see LICENSE.
"""What the tests of a real httpd stand on.

    from lib.httpd import Httpd          a private httpd: ServerRoot, ports, children, log, handshakes
    from lib.pebble import Pebble        a private Pebble CA with its own PKI and DNS
    from lib.chaos import Chaos          a TLS proxy in front of Pebble that injects faults and keeps a log
    from lib.mockca import MockCa        an RFC 8555 CA of our own, with challenges of any type and validators
    from lib.caddy import Caddy          a CA of another make
    from lib.namespace import Namespace  a network, names and files of one's own, for those that want port 53, 80 or 443
    from lib.names import Names          what names resolve to in one httpd
    from lib.clock import Clock          the time of day of one httpd, moved while it runs
    from lib import records              staging logs, read and written
    from lib.authority import Authority      put in place by the test: an administrator's, a store's
    from lib.util import free_port, wait_for, running, where

Fixtures of conftest.py (each ends what it started, also after a failure):

    workdir      a directory under /tmp that www-data may enter
    make_httpd   make_httpd(ca=None, mpm="event", **options) -> Httpd (not started)
    make_pebble  make_pebble(**options) -> Pebble (started)
    make_chaos   make_chaos(pebble) -> Chaos (started)
    make_mockca  make_mockca(httpd, offers=[...]) -> MockCa (started)
    mpm          parametrised over event, worker and prefork

A whole test:

    def test_it(make_httpd, make_pebble):
        httpd = make_httpd()
        pebble = make_pebble(http_port=httpd.http_port, tls_port=httpd.https_port)
        httpd.use_ca(pebble)
        httpd.vhost("a.test", aliases=["www.a.test"])
        httpd.start()
        assert httpd.wait_live("a.test", pebble)          # served by the CA, no restart
        for seen in httpd.handshake_all_children("a.test").values():
            assert seen.issued_by(pebble)

Environment: ACMECLIENT_MODULE (the built mod_acmeclient.so), ACMECLIENT_HTTPD (httpd's program), ACMECLIENT_PRELOAD
(LD_PRELOAD for httpd: a sanitizer's runtime), PEBBLE (the program; pebble-challtestsrv is looked for beside it).
"""
