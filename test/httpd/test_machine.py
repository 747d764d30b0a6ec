# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Nothing about the machine stops httpd: each bad state is put in place, and it starts, answers, survives SIGUSR1 and says in
one line what was found where, what is wanted and how it is mended."""
import hashlib
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile

import pytest

from lib import records, util
from lib.authority import Authority, write
from lib.httpd import Httpd

STRANGER = 12345
MENDED = "mended by the start itself"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to put the states in place")


class Place:
    """A server with a certificate (a.test) and one that is missing (b.test), and a CA that is down."""

    def __init__(self, httpd, authority):
        self.httpd, self.authority = httpd, authority
        self.ca_file = os.path.join(httpd.root, "ca.pem")
        write(self.ca_file, authority.issue(["ca.test"]).chain, 0o644)
        self.jwk = os.path.join(httpd.store, "account.jwk")
        self.cert, self.key = (os.path.join(httpd.store, "a.test.%s.pem" % kind) for kind in ("crt", "key"))
        self.pair = None
        httpd.conf("AcmeDirectoryURL https://127.0.0.1:%d/dir\nAcmeCAFile %s\nAcmeTermsOfService accepted\nAcmeStoreDir %s\n"
                   "AcmePortMap http:%d https:%d\nAcmeAuthPath %s"
                   % (util.free_port(), self.ca_file, httpd.store, httpd.http_port, httpd.https_port, self.jwk))
        httpd.vhost("a.test")
        httpd.vhost("b.test")

    @property
    def store(self):
        return self.httpd.store

    def file(self, name):
        return os.path.join(self.store, name)

    def check_answers(self, served=True):
        """a.test with its certificate, or with a placeholder when even the files are gone; b.test always with its own."""
        seen = self.httpd.handshake("a.test")
        assert (seen.serial == self.pair.serial) == served, "served: %s" % seen.subject
        assert self.httpd.get("a.test").status == (200 if served else 503)
        assert self.httpd.handshake("b.test").names == ["b.test"] and self.httpd.get("b.test").status == 503


@pytest.fixture(scope="module")
def template():
    """(authority, pair, store) of a server that was started and stopped: with account key, logs, placeholders and lock."""
    root = tempfile.mkdtemp(prefix="acmeclient-test-")
    os.chmod(root, 0o755)
    httpd = Httpd(os.path.join(root, "httpd"), children=1)
    place = Place(httpd, Authority(root))
    place.pair = place.authority.store(httpd, "a.test")
    try:
        httpd.start()
    finally:
        httpd.stop()
    assert os.path.exists(place.jwk) and os.path.exists(place.cert + ".upd")
    yield place.authority, place.pair, httpd.store
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def place(make_httpd, template):
    authority, pair, store = template
    made = Place(make_httpd(children=1), authority)
    made.pair = pair
    shutil.copytree(store, made.store)
    return made


# ---- what can be wrong with the store ----

def mode(bits):
    def put(place):
        os.chmod(place.store, bits)
    return put


def foreign(place):
    os.chown(place.store, STRANGER, STRANGER)


def linked(place):
    os.rename(place.store, place.store + ".real")
    os.symlink(place.store + ".real", place.store)


def linked_by_stranger(place):
    """A link further up that its owner could turn elsewhere."""
    above = os.path.join(place.httpd.root, "above")
    os.mkdir(above)
    os.rename(place.store, os.path.join(above, "store"))
    os.symlink(above, os.path.join(place.httpd.root, "way"))
    os.chown(os.path.join(place.httpd.root, "way"), STRANGER, STRANGER, follow_symlinks=False)
    place.httpd.conf("AcmeStoreDir %s/way/store" % place.httpd.root)


def a_file(place):
    shutil.rmtree(place.store)
    write(place.store, b"")


def below_a_file(place):
    shutil.rmtree(place.store)
    write(os.path.join(place.httpd.root, "file"), b"")
    place.httpd.conf("AcmeStoreDir %s/file/store" % place.httpd.root)


# ---- what can be wrong with a file ----

def damaged(name, data=b"\0garbage\n"):
    def put(place):
        path = place.file(name)
        write(path, data)
    return put


def instead(kind, name):
    """Something else in the place of a file."""
    def put(place):
        path = place.file(name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)
        elsewhere = os.path.join(place.httpd.root, "elsewhere")
        if kind == "directory":
            os.mkdir(path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        elif kind == "link":
            write(elsewhere, b"elsewhere\n")
            os.symlink(elsewhere, path)
        elif kind == "hard link":
            write(elsewhere, b"")
            os.link(elsewhere, path)
        elif kind == "foreign":
            write(path, b"")
            os.chown(path, STRANGER, STRANGER)
        else:
            assert kind == "file"
            write(path, b"")
    return put


def foreign_pair(place):
    for path in (place.cert, place.key):
        os.chown(path, STRANGER, STRANGER)


def loose_file(name, bits=0o644):
    def put(place):
        os.chmod(place.file(name), bits)
    return put


def torn_pair(place):
    """Certificate and key of two pairs, and nothing to put in their place."""
    write(place.key, place.authority.issue(["a.test"]).key)


def torn_pair_with_journal(place):
    """Killed between the two renames of a switch: the next start completes it."""
    new = place.authority.issue(["a.test"])
    write(place.cert, new.chain)
    write(place.key + ".new", new.key)
    rows = "acme-journal 1\n" + "".join("%s %s\n" % (hashlib.sha256(data).hexdigest(), path)
                                        for path, data in ((place.cert, new.chain), (place.key, new.key)))
    write(place.file("journal"), (rows + "sum %s\n" % hashlib.sha256(rows.encode()).hexdigest()).encode())
    place.pair = new


def torn_pair_with_backup(place):
    """An administrator's slip: the newest pair of the archive is put back."""
    former = place.pair
    write(place.file("archive/a.test/1-%x.crt.pem" % former.serial), former.chain)
    write(place.file("archive/a.test/1-%x.key.pem" % former.serial), former.key)
    torn_pair(place)


def truncated_log(place):
    """A torn tail: no harm, a line that something was damaged."""
    write(place.cert + ".upd", records.encode("a.test", "attempt", 3, '{"failures":1}')[:-9])


def huge_log(place):
    with open(place.cert + ".upd", "wb") as file:
        file.truncate(1 << 40)


def directory_of_cert(kind):
    def put(place):
        directory = os.path.join(place.httpd.root, "pairs")
        os.mkdir(directory)
        if kind == "loose":
            os.chmod(directory, 0o777)
        else:
            os.chown(directory, STRANGER, STRANGER)
        for name in (place.cert, place.key):
            shutil.copy(name, directory)
        place.httpd._vhosts[0] = place.httpd._vhosts[0].replace(
            "AcmeEngine on", "AcmeEngine on\n    AcmeCertPath {0}/a.test.crt.pem\n    AcmeKeyPath {0}/a.test.key.pem".format(directory))
    return put


# ---- trust anchors ----

def ca_file(kind):
    def put(place):
        os.remove(place.ca_file)
        if kind == "directory":
            os.mkdir(place.ca_file)
        elif kind == "large":
            with open(place.ca_file, "wb") as file:
                file.truncate(50 << 20)
            os.chmod(place.ca_file, 0o644)
        elif kind != "gone":
            data = {"empty": b"", "garbage": b"garbage\n", "closed": place.authority.issue(["ca.test"]).chain}[kind]
            write(place.ca_file, data, 0o600 if kind == "closed" else 0o644)
    return put


class State:
    """put: makes it; path: what the line names, below the store; line: a pattern of the rest; served: is a.test's own
    certificate; same: does -t say the same line (None: nothing; else a pattern)."""

    def __init__(self, put, line, path="", served=True, look="same", alone=True):
        self.put, self.line, self.path, self.served, self.look, self.alone = put, line, path, served, look, alone

    def pattern(self, place, text=None):
        path = self.path if self.path.startswith("/") else os.path.join(place.httpd.root, self.path)
        return r"AC0\d+: .*" + re.escape(path) + (text or self.line)


STORE_IS = r"'?: %s; wanted: .*0700; (remedy: chown 0 '%s' && chmod 0700 '%s'|move it away)"
NO_FILE = r" is no regular file.*; wanted: a regular file.*; move it away"
LINK = r" is a link; wanted: a regular file; move it away"
STATES = {
    "store 0755": State(mode(0o755), r": owner uid 0, mode 0755; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
    "store 0750": State(mode(0o750), r": owner uid 0, mode 0750; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
    "store 0777": State(mode(0o777), r": owner uid 0, mode 0777; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
    "store 2775": State(mode(0o2775), r": owner uid 0, mode 2775; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
    "store foreign": State(foreign, r": owner uid 12345, mode 0700; wanted: owner uid 0.*; remedy: chown 0 '", "store"),
    "store linked": State(linked, r": is a link; wanted: a directory .*; move it away", "store"),
    "store linked by a stranger": State(linked_by_stranger, r" is a link that belongs to uid 12345; wanted: no link of another user.*; remedy: ", "way"),
    "store a file": State(a_file, r": is no directory; wanted: a directory .*; move it away", "store", served=False),
    "store below a file": State(below_a_file, r"/store: .*cannot be made.*; wanted: a directory.*; remedy: ", "file", served=False),

    "log garbage": State(damaged("a.test.crt.pem.upd"), r": damaged, only its intact records count; .*kept in archive/a\.test", "store/a.test.crt.pem.upd", look=None),
    "log torn": State(truncated_log, r": damaged, only its intact records count; .*kept in archive/a\.test", "store/a.test.crt.pem.upd", look=None),
    "log of a terabyte": State(huge_log, r" has 1099511627776 bytes, .*; it is replaced", "store/a.test.crt.pem.upd", look=None, alone=False),
    "log a directory": State(instead("directory", "a.test.crt.pem.upd"), NO_FILE, "store/a.test.crt.pem.upd"),
    "log a pipe": State(instead("fifo", "a.test.key.pem.upd"), NO_FILE, "store/a.test.key.pem.upd"),
    "log a socket": State(instead("socket", "a.test.crt.pem.upd"), NO_FILE, "store/a.test.crt.pem.upd"),
    "log a device": State(instead("device", "a.test.crt.pem.upd"), NO_FILE, "store/a.test.crt.pem.upd"),
    "log a link": State(instead("link", "a.test.crt.pem.upd"), LINK, "store/a.test.crt.pem.upd"),
    "log with two links": State(instead("hard link", "a.test.crt.pem.upd"), r" has several links .*; wanted: .*one link; move it away", "store/a.test.crt.pem.upd"),
    "log foreign": State(instead("foreign", "a.test.crt.pem.upd"), r" belongs to another user \(uid 12345.*; wanted: .*uid 0.*; move it away", "store/a.test.crt.pem.upd"),
    "overflow log garbage": State(damaged("overflow.upd"), r": damaged, only its intact records count; .*kept in archive/", "store/overflow.upd", look=None),

    "certificate a directory": State(instead("directory", "a.test.crt.pem"), NO_FILE, "store/a.test.crt.pem", served=False),
    "key a directory": State(instead("directory", "a.test.key.pem"), NO_FILE, "store/a.test.key.pem", served=False),
    "key a link": State(instead("link", "a.test.key.pem"), LINK, "store/a.test.key.pem", served=False),
    "pair foreign": State(foreign_pair, r" belongs to another user \(uid 12345.*; wanted: .*uid 0.*; move it away", "store/a.test.crt.pem"),
    "certificate empty": State(damaged("a.test.crt.pem", b""), r".*; wanted: .*; remedy: ", "store/a.test.crt.pem", served=False),
    "certificate garbage": State(damaged("a.test.crt.pem"), r".*; wanted: .*; remedy: ", "store/a.test.crt.pem", served=False),
    "key garbage": State(damaged("a.test.key.pem"), r".*; wanted: .*; remedy: ", "store/a.test.key.pem", served=False),
    "certificate gone": State(lambda place: os.remove(place.cert), r".*; wanted: .*; remedy: ", "store/a.test.crt.pem", served=False),
    "pair torn": State(torn_pair, r".*; wanted: .*; remedy: ", "store/a.test.key.pem", served=False),
    "pair torn, journal": State(torn_pair_with_journal, r": a switch of files that was interrupted is completed", "store", look=None),
    "pair torn, backup": State(torn_pair_with_backup, r".*the former pair .* was put back", "store/a.test.key.pem", look=r".*a start as the store's owner puts"),
    "key 0644": State(loose_file("a.test.key.pem"), r" had mode 0644 and has 0600 now: .*consider a new certificate", "store/a.test.key.pem", look=r": mode 0644; wanted: 0600.*; remedy: "),
    "directory of the pair loose": State(directory_of_cert("loose"), r": owner uid 0, mode 0777; wanted: .*; remedy: ", "pairs"),
    "directory of the pair foreign": State(directory_of_cert("foreign"), r": owner uid 12345, mode 0755; wanted: .*uid 0.*; remedy: ", "pairs"),

    "account key garbage": State(damaged("account.jwk"), r" is no usable account key: .*; wanted: .*; remedy: ", "store/account.jwk"),
    "account key empty": State(damaged("account.jwk", b""), r" is no usable account key: .*; wanted: .*; remedy: ", "store/account.jwk"),
    "account key torn": State(damaged("account.jwk", b'{"kty":"EC","crv":"P-256","x":"'), r" is no usable account key: .*; wanted: .*; remedy: ", "store/account.jwk"),
    "account key a directory": State(instead("directory", "account.jwk"), NO_FILE, "store/account.jwk"),
    "account key a link": State(instead("link", "account.jwk"), LINK, "store/account.jwk"),
    "account key 0644": State(loose_file("account.jwk"), r" had mode 0644 and has 0600 now: .*consider a new one", "store/account.jwk", look=None),
    "account log a directory": State(instead("directory", "account.jwk.upd"), NO_FILE, "store/account.jwk.upd", look=None),

    "journal garbage": State(damaged("journal"), r" was not intact and is now .*journal\.rej", "store/journal", look=None),
    "journal a directory": State(instead("directory", "journal"), r" was not intact and is now .*journal\.rej", "store/journal", look=None),
    "lock a directory": State(instead("directory", "lock"), r": cannot be used as lock file: .*", "store/lock", look=None),
    "lock a link": State(instead("link", "lock"), r": cannot be used as lock file: .*", "store/lock", look=None),
    "placeholders a file": State(instead("file", "placeholder"), r": owner uid 0, mode 100600; wanted: a directory.*; move it away", "store/placeholder", look=None),
    "placeholders foreign": State(instead("foreign", "placeholder"), r": owner uid 12345.*; wanted: a directory.*; move it away", "store/placeholder", look=None),

    "CA file gone": State(ca_file("gone"), r": does not exist; wanted: PEM certificates .*until this is mended", "ca.pem"),
    "CA file a directory": State(ca_file("directory"), r": is no regular file; wanted: PEM certificates", "ca.pem"),
    "CA file empty": State(ca_file("empty"), r": is empty; wanted: PEM certificates", "ca.pem"),
    "CA file garbage": State(ca_file("garbage"), r": .*; wanted: PEM certificates", "ca.pem"),
    "CA file of 50 MB": State(ca_file("large"), r": is larger than 16 MB; wanted: PEM certificates", "ca.pem"),
    "CA file closed": State(ca_file("closed"), r": .* has owner uid 0 and mode 0600; wanted: readable by .*; remedy: chmod a\+r '", "ca.pem"),
}


@pytest.mark.parametrize("name", STATES)
def test_starts_answers_and_survives(place, name):
    state, httpd = STATES[name], place.httpd
    state.put(place)
    before = contents(place.jwk)
    told = httpd.configtest()
    assert told.returncode == 0, told.stdout
    if state.look is not None:
        said = re.findall(state.pattern(place, None if state.look == "same" else state.look), told.stdout)
        assert len(said) == 1, told.stdout
    httpd.start()
    place.check_answers(state.served)
    lines = [line for line in httpd.log_lines(state.pattern(place)) if "next try at" not in line]
    assert len(lines) == 1, "\n".join(lines or httpd.log_lines("acmeclient:"))
    assert re.search(r"acmeclient:(notice|warn|error)\]", lines[0])
    httpd.graceful()
    place.check_answers(state.served)
    if "account" in name and "0644" not in name:
        assert contents(place.jwk) == before, "the account key was touched"


def contents(path):
    if os.path.islink(path):
        return os.readlink(path)
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()
