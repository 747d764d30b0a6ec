# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Fixtures; see lib/__init__.py for what they give. Every one ends its processes, also after a failure."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from lib import util  # noqa: E402
from lib.chaos import Chaos  # noqa: E402
from lib.httpd import Httpd  # noqa: E402
from lib.mockca import MockCa  # noqa: E402
from lib.pebble import Pebble  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "sweep: takes long; only with --sweep")
    config.addinivalue_line("markers", "alone: measures time, so that nothing else should run beside it")


def pytest_addoption(parser):
    parser.addoption("--sweep", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--sweep"):
        skip = pytest.mark.skip(reason="a long one: use --sweep")
        for item in items:
            if "sweep" in item.keywords:
                item.add_marker(skip)


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "result_" + call.when, outcome.get_result())


@pytest.fixture
def workdir():
    """Not pytest's own: www-data must be able to enter it."""
    path = tempfile.mkdtemp(prefix="acmeclient-test-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_httpd(workdir, request):
    made = []

    def make(ca=None, name=None, **options):
        directory = os.path.join(workdir, name or "httpd%d" % len(made))
        httpd = Httpd(directory, **options)
        made.append(httpd)
        if ca is not None:
            httpd.use_ca(ca)
        return httpd
    yield make
    reports = ""
    for httpd in made:
        httpd.stop()
        reports += httpd.sanitizer_reports()
        result = getattr(request.node, "result_call", None)
        if result is not None and result.failed:
            print("---- %s\n%s" % (httpd.error_log, util.tail(httpd.error_log, 80)))
    assert not reports, reports


@pytest.fixture
def make_pebble(workdir):
    made = []

    def make(httpd=None, **options):
        if httpd is not None:
            options = {"http_port": httpd.http_port, "tls_port": httpd.https_port, **options}
        pebble = Pebble(os.path.join(workdir, "pebble%d" % len(made)), **options)
        made.append(pebble)
        return pebble.start()
    yield make
    for pebble in made:
        pebble.stop()


@pytest.fixture
def make_chaos(workdir):
    made = []

    def make(pebble, **options):
        chaos = Chaos(os.path.join(workdir, "chaos%d" % len(made)), pebble, **options)
        made.append(chaos)
        return chaos.start()
    yield make
    for chaos in made:
        chaos.stop()


@pytest.fixture
def make_mockca(workdir):
    made = []

    def make(httpd, **options):
        ca = MockCa(os.path.join(workdir, "mockca%d" % len(made)), httpd, **options)
        made.append(ca)
        return ca.start()
    yield make
    for ca in made:
        ca.stop()


@pytest.fixture(params=["event", "worker", "prefork"])
def mpm(request):
    return request.param
