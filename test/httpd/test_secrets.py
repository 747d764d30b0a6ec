# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Nobody but root reads a key or a staging log: not www-data, no CGI, no piped logger, nobody who reads the logs."""
import base64
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest
from cryptography.hazmat.primitives import serialization

from lib import records, util
from lib.chaos import Chaos
from lib.httpd import Httpd
from lib.pebble import Pebble

PROGRAM = """#!%s
import os, sys
%s
out.write("ids %%d %%d\\n" %% (os.getuid(), os.geteuid()))
for fd in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        out.write("fd %%s %%s\\n" %% (fd, os.readlink("/proc/self/fd/" + fd)))
    except OSError:
        pass
for name, value in os.environ.items():
    out.write("env %%s=%%s\\n" %% (name, value))
out.write("end\\n")
out.flush()
%s
"""


@pytest.fixture(scope="module")
def server():
    """A server with one adopted certificate and one that is staged, at trace8; only looked at."""
    path = tempfile.mkdtemp(prefix="acmeclient-test-")
    os.chmod(path, 0o755)
    httpd = Httpd(os.path.join(path, "httpd"))
    pebble = Pebble(os.path.join(path, "pebble"), httpd.http_port, httpd.https_port)
    chaos = Chaos(os.path.join(path, "chaos"), pebble)
    try:
        pebble.start()
        httpd.use_ca(chaos.start())
        httpd.log_level = "trace8"
        httpd.vhost("a.test")
        httpd.start()
        seen = httpd.wait_live("a.test", chaos)
        util.touch(os.path.join(httpd.store, "a.test.retry"))
        httpd.graceful()
        httpd.wait_log("a.test: adopted")
        httpd.wait_live("a.test", chaos, not_serial=seen.serial)
        yield httpd, chaos
    finally:
        httpd.stop()
        chaos.stop()
        pebble.stop()
        reports = httpd.sanitizer_reports()
        shutil.rmtree(path, ignore_errors=True)
    assert not reports, reports


def script(path, out, end=""):
    """A program that tells what it inherited."""
    with open(path, "w") as file:
        file.write(PROGRAM % (sys.executable, out, end))
    os.chmod(path, 0o755)


def check_inherited_nothing(text, allowed):
    """Of what such a program printed: its own descriptors, and an environment without secrets."""
    assert re.search("^end$", text, re.M), text
    fds = dict(re.findall(r"^fd (\d+) (.*)$", text, re.M))
    assert {"0", "1", "2"} <= set(fds)
    for fd, target in fds.items():
        # One more is the listing itself.
        assert int(fd) <= 2 or re.search(r"^/proc/\d+/fd$", target) or re.search(allowed, target), (fd, target)
        assert ".upd" not in target and "/store/" not in target
    assert "PRIVATE" not in text and not re.search(r"^env .*(jwk|\.key\.pem)", text, re.M | re.I)


def store_paths(httpd):
    return [os.path.join(httpd.store, name) for name in httpd.store_files()] + [httpd.store]


# ---- www-data ----

def test_nothing_in_the_store_is_for_others(server):
    httpd, _ = server
    assert {"a.test.key.pem", "a.test.key.pem.upd", "lock"} <= set(httpd.store_files())
    assert os.stat(httpd.store).st_mode & 0o7777 == 0o700
    for path in store_paths(httpd):
        stat = os.lstat(path)
        assert stat.st_uid == os.geteuid() and stat.st_mode & 0o077 == 0, path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become www-data")
def test_www_data_reads_nothing(server):
    """Not by name, and not through the descriptors that the children hold."""
    httpd, _ = server
    links = ["/proc/%d/fd/%s" % (pid, fd) for pid in httpd.children() for fd in os.listdir("/proc/%d/fd" % pid)
             if httpd.store in os.readlink("/proc/%d/fd/%s" % (pid, fd))]
    assert any(os.readlink(link).endswith("a.test.key.pem.upd") for link in links)
    code = ("import sys\nfor path in sys.stdin.read().split('\\n'):\n"
            "    try:\n        open(path, 'rb').read()\n        print('READ', path)\n"
            "    except IsADirectoryError:\n        print('ENTERED', path)\n"
            "    except OSError as error:\n        print('refused', path)\n")
    told = subprocess.run(["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups", sys.executable, "-c", code],
                          input="\n".join(store_paths(httpd) + links), stdout=subprocess.PIPE, universal_newlines=True).stdout
    assert told.count("refused") == len(store_paths(httpd)) + len(links), told


def test_children_hold_logs_for_appending_only(server):
    """Of the store a child has the logs, write-only, appending, closed on exec; and the lock."""
    httpd, _ = server
    for pid in httpd.children():
        held = {}
        for fd in os.listdir("/proc/%d/fd" % pid):
            # An older child's logs may have been replaced.
            target = os.readlink("/proc/%d/fd/%s" % (pid, fd)).replace(" (deleted)", "")
            if httpd.store in target:
                with open("/proc/%d/fdinfo/%s" % (pid, fd)) as file:
                    held[target] = int(re.search(r"flags:\s*([0-7]+)", file.read()).group(1), 8)
        assert os.path.join(httpd.store, "a.test.crt.pem.upd") in held
        assert os.path.join(httpd.store, "a.test.key.pem.upd") in held
        for target, flags in held.items():
            assert flags & os.O_CLOEXEC, target
            if target.endswith("/lock"):
                assert os.path.getsize(target) == 0
                continue
            assert target.endswith(".upd") and flags & os.O_ACCMODE == os.O_WRONLY and flags & os.O_APPEND, target


# ---- programs that httpd starts ----

@pytest.mark.parametrize("mpm,module", [("event", "cgid"), ("worker", "cgid"), ("prefork", "cgi")])
def test_cgi_inherits_nothing(make_httpd, make_pebble, mpm, module):
    httpd = make_httpd(mpm=mpm, modules=("alias", module))
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("ScriptAlias /cgi/ ROOT/cgi/\n<Directory ROOT/cgi>\n    Require all granted\n</Directory>".replace("ROOT", httpd.root))
    if module == "cgid":
        httpd.conf("ScriptSock %s/run/cgid" % httpd.root)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    httpd.graceful()
    os.makedirs(os.path.join(httpd.root, "cgi"))
    script(os.path.join(httpd.root, "cgi", "look"), "out = sys.stdout\nout.write('Content-Type: text/plain\\n\\n')")
    for _ in range(3):
        reply = httpd.get("a.test", "/cgi/look")
        assert reply.status == 200, reply
        text = reply.body.decode()
        check_inherited_nothing(text, r"^(pipe|socket):")
        if os.geteuid() == 0:
            assert re.search(r"^ids [1-9]\d* [1-9]\d*$", text, re.M)


@pytest.mark.parametrize("pipe", ["|", "|$", "||"])
def test_piped_logger_inherits_nothing(make_httpd, make_pebble, workdir, pipe):
    """Started by root, after the logs were opened when it is a graceful restart."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    program, told = os.path.join(workdir, "logger"), os.path.join(workdir, "told.")
    script(program, "out = open('%s%%d' %% os.getpid(), 'w')" % told.replace("%", "%%"), "out.close()\nfor line in sys.stdin: pass")
    httpd.use_ca(pebble)
    httpd.conf('CustomLog "%s%s" pid' % (pipe, program))
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    httpd.graceful()
    httpd.graceful()

    def finished():
        texts = []
        for path in glob.glob(told + "*"):
            with open(path) as file:
                texts.append(file.read())
        return [text for text in texts if text.endswith("\nend\n")]
    assert util.wait_for(lambda: len(finished()) >= 3, 5), "a logger for each start: %s" % finished()
    for text in finished():
        check_inherited_nothing(text, r"^(pipe|socket):|/(access|error)\.log$|/told\.\d+$")


# ---- logs ----

def secrets_of(httpd, chaos):
    """{what: bytes} that must not be found in any log, in the forms they could have there."""
    found = {}

    def add(what, data):
        found[what + ", raw"], found[what + ", hex"] = data, data.hex().encode()
        found[what + ", base64"] = base64.b64encode(data).rstrip(b"=")
        found[what + ", base64url"] = base64.urlsafe_b64encode(data).rstrip(b"=")

    def add_key(what, key):
        number = key.private_numbers().private_value
        add(what, number.to_bytes((key.curve.key_size + 7) // 8, "big"))
    for path in store_paths(httpd):
        if path.endswith(".jwk"):
            with open(path) as file:
                add("account key", base64.urlsafe_b64decode(json.load(file)["d"] + "=="))
        elif path.endswith(".key.pem"):
            with open(path, "rb") as file:
                add_key(os.path.basename(path), serialization.load_pem_private_key(file.read(), None))
        elif path.endswith(".upd"):
            for record in records.read(path):
                if record.type == "key":
                    add_key("staged key", serialization.load_pem_private_key(record.payload, None))
    assert "account key, raw" in found and "a.test.key.pem, raw" in found and "staged key, raw" in found
    return found


def tokens_of(chaos):
    return {challenge["token"] for entry in chaos.requests("authz") if entry.status == 200
            for challenge in json.loads(entry.reply)["challenges"] if "token" in challenge}


def logs_of(httpd):
    names = ["error.log", "access.log", "stderr"]
    return {name: open(os.path.join(httpd.root, name), "rb").read() for name in names if os.path.exists(os.path.join(httpd.root, name))}


def test_no_secret_in_any_log_at_trace8(server):
    httpd, chaos = server
    logs, tokens = logs_of(httpd), tokens_of(chaos)
    assert b"trace" in logs["error.log"] and len(tokens) >= 2
    for name, data in logs.items():
        assert b"PRIVATE KEY" not in data, name
        for what, secret in secrets_of(httpd, chaos).items():
            assert secret not in data, "%s is in %s" % (what, name)
    # A token alone is part of what the CA asks for in plain; what proves the account is behind it.
    ours = b"\n".join(line for line in logs["error.log"].splitlines() if b"[acmeclient:" in line)
    assert ours
    for token in tokens:
        assert token.encode() not in ours
        for name, data in logs.items():
            assert not re.search(re.escape(token.encode()) + rb"\.[A-Za-z0-9_-]{43}", data), name


def test_idle_children_hold_no_key_in_armor(server):
    """Their own memory, the shared board aside."""
    httpd, _ = server
    pem = re.compile(rb"-----BEGIN (EC |RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/]{20}")
    for pid in httpd.children():
        if pid == httpd.owner():
            continue
        size = 0
        for where, data in memory_of(pid):
            size += len(data)
            assert not pem.search(data), "%s of %d" % (where, pid)
        assert size > 1 << 20


def test_board_is_not_dumped(server):
    """The kernel leaves it out of core files."""
    httpd, _ = server
    for pid in [httpd.pid, *httpd.children()]:
        with open("/proc/%d/smaps" % pid) as file:
            maps = re.findall(r"^[0-9a-f]+-[0-9a-f]+ rw-s .*\nSize: +(\d+) kB\n(?:.*\n)*?VmFlags: (.*)$", file.read(), re.M)
        boards = [flags.split() for size, flags in maps if int(size) > 4000]
        assert boards and all("dd" in flags for flags in boards)


def memory_of(pid):
    """Private writable memory; the board is shared."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            span, mode, rest = line.split(None, 2)
            if mode[:2] != "rw" or mode[3] != "p":
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                yield line.strip(), memory.read(min(end - start, 64 << 20))
            except OSError:
                continue
