# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Nothing about the machine stops httpd: each bad state is put in place, and it starts, answers, survives SIGUSR1 and says in
one line what was found where, what is wanted and how it is mended."""
import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile

import pytest

from lib import records, util
from lib.authority import Authority, write
from lib.httpd import Httpd

STRANGER = 12345
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
def make_place(make_httpd, template):
    authority, pair, store = template

    def make(name="httpd", **options):
        made = Place(make_httpd(name=re.sub(r"\W+", "-", name), children=1, **options), authority)
        made.pair = pair
        shutil.copytree(store, made.store)
        return made
    return make


@pytest.fixture
def place(make_place):
    return make_place()


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

    def __init__(self, put, line, path="", served=True, look="same"):
        self.put, self.line, self.path, self.served, self.look = put, line, path, served, look

    def pattern(self, place, text=None):
        path = self.path if self.path.startswith("/") else os.path.join(place.httpd.root, self.path)
        return r"AC0\d+: .*" + re.escape(path) + (text or self.line)


NO_FILE = r" is no regular file.*; wanted: a regular file.*; move it away"
LINK = r" is a link; wanted: a regular file; move it away"
STATES = {
    "store": {
        "store 0755": State(mode(0o755), r": owner uid 0, mode 0755; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
        "store 0750": State(mode(0o750), r": owner uid 0, mode 0750; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
        "store 0777": State(mode(0o777), r": owner uid 0, mode 0777; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
        "store 2775": State(mode(0o2775), r": owner uid 0, mode 2775; wanted: .*mode 0700; remedy: .*chmod 0700 '", "store"),
        "store foreign": State(foreign, r": owner uid 12345, mode 0700; wanted: owner uid 0.*; remedy: chown 0 '", "store"),
        "store linked": State(linked, r": is a link; wanted: a directory .*; move it away", "store"),
        "store linked by a stranger": State(linked_by_stranger, r" is a link that belongs to uid 12345; wanted: no link of another user.*; remedy: ", "way"),
        "store a file": State(a_file, r": is no directory; wanted: a directory .*; move it away", "store", served=False),
        "store below a file": State(below_a_file, r"/store: .*cannot be made.*; wanted: a directory.*; remedy: ", "file", served=False),
    },
    "log": {
        "log garbage": State(damaged("a.test.crt.pem.upd"), r": damaged, only its intact records count; .*kept in archive/a\.test", "store/a.test.crt.pem.upd", look=None),
        "log torn": State(truncated_log, r": damaged, only its intact records count; .*kept in archive/a\.test", "store/a.test.crt.pem.upd", look=None),
        "log of a terabyte": State(huge_log, r" has 1099511627776 bytes, .*; it is replaced", "store/a.test.crt.pem.upd", look=None),
        "log a directory": State(instead("directory", "a.test.crt.pem.upd"), NO_FILE, "store/a.test.crt.pem.upd"),
        "log a pipe": State(instead("fifo", "a.test.key.pem.upd"), NO_FILE, "store/a.test.key.pem.upd"),
        "log a socket": State(instead("socket", "a.test.crt.pem.upd"), NO_FILE, "store/a.test.crt.pem.upd"),
        "log a device": State(instead("device", "a.test.crt.pem.upd"), NO_FILE, "store/a.test.crt.pem.upd"),
        "log a link": State(instead("link", "a.test.crt.pem.upd"), LINK, "store/a.test.crt.pem.upd"),
        "log with two links": State(instead("hard link", "a.test.crt.pem.upd"), r" has several links .*; wanted: .*one link; move it away", "store/a.test.crt.pem.upd"),
        "log foreign": State(instead("foreign", "a.test.crt.pem.upd"), r" belongs to another user \(uid 12345.*; wanted: .*uid 0.*; move it away", "store/a.test.crt.pem.upd"),
        "overflow log garbage": State(damaged("overflow.upd"), r": damaged, only its intact records count; .*kept in archive/", "store/overflow.upd", look=None),
    },
    "pair": {
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
    },
    "account": {
        "account key garbage": State(damaged("account.jwk"), r" is no usable account key: .*; wanted: .*; remedy: ", "store/account.jwk"),
        "account key empty": State(damaged("account.jwk", b""), r" is no usable account key: .*; wanted: .*; remedy: ", "store/account.jwk"),
        "account key torn": State(damaged("account.jwk", b'{"kty":"EC","crv":"P-256","x":"'), r" is no usable account key: .*; wanted: .*; remedy: ", "store/account.jwk"),
        "account key a directory": State(instead("directory", "account.jwk"), NO_FILE, "store/account.jwk"),
        "account key a link": State(instead("link", "account.jwk"), LINK, "store/account.jwk"),
        "account key 0644": State(loose_file("account.jwk"), r" had mode 0644 and has 0600 now: .*consider a new one", "store/account.jwk", look=None),
        "account log a directory": State(instead("directory", "account.jwk.upd"), NO_FILE, "store/account.jwk.upd", look=None),
    },
    "odds and ends": {
        "journal garbage": State(damaged("journal"), r" was not intact and is now .*journal\.rej", "store/journal", look=None),
        "journal a directory": State(instead("directory", "journal"), r" was not intact and is now .*journal\.rej", "store/journal", look=None),
        "lock a directory": State(instead("directory", "lock"), r": cannot be used as lock file: .*; wanted: a regular file; .*; move it away", "store/lock", look=None),
        "lock a link": State(instead("link", "lock"), r": cannot be used as lock file: .*; wanted: a regular file; .*; move it away", "store/lock", look=None),
        "placeholders a file": State(instead("file", "placeholder"), r": owner uid 0, mode 100600; wanted: a directory.*; move it away", "store/placeholder", look=None),
        "placeholders foreign": State(instead("foreign", "placeholder"), r": owner uid 12345.*; wanted: a directory.*; move it away", "store/placeholder", look=None),
    },
    "CA file": {
        "CA file gone": State(ca_file("gone"), r": does not exist; wanted: PEM certificates .*until this is mended", "ca.pem"),
        "CA file a directory": State(ca_file("directory"), r": is no regular file; wanted: PEM certificates", "ca.pem"),
        "CA file empty": State(ca_file("empty"), r": is empty; wanted: PEM certificates", "ca.pem"),
        "CA file garbage": State(ca_file("garbage"), r": .*; wanted: PEM certificates", "ca.pem"),
        "CA file of 50 MB": State(ca_file("large"), r": is larger than 16 MB; wanted: PEM certificates", "ca.pem"),
        "CA file closed": State(ca_file("closed"), r": .* has owner uid 0 and mode 0600; wanted: readable by .*; remedy: chmod a\+r '", "ca.pem"),
    },
}


class Several:
    """Failures of many servers, each under its name."""

    def __init__(self):
        self.failed = {}

    @contextlib.contextmanager
    def named(self, name):
        if name in self.failed:
            yield False
            return
        try:
            yield True
        except AssertionError as error:
            self.failed[name] = str(error)[:3000]

    def check(self):
        assert not self.failed, "\n".join("==== %s\n%s" % item for item in self.failed.items())


def start_in(place, state):
    """-t first, which tells it too and exits with 0; then the start."""
    httpd = place.httpd
    state.put(place)
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


@pytest.mark.parametrize("group", STATES)
def test_starts_answers_and_survives(make_place, group):
    """Servers beside each other, one a state: most of the time of a restart is waiting."""
    places, several = {name: make_place(name) for name in STATES[group]}, Several()
    for name, state in STATES[group].items():
        with several.named(name):
            start_in(places[name], state)
    for name, place in places.items():
        with several.named(name) as go_on:
            if go_on:
                place.httpd.graceful(wait=False)
    for name, state in STATES[group].items():
        with several.named(name) as go_on:
            if go_on:
                httpd = places[name].httpd
                assert util.wait_for(lambda: not httpd.running() or len(httpd.log_lines("resuming normal operations")) == 2, 20)
                assert httpd.running(), httpd.log()[-3000:]
                places[name].check_answers(state.served)
    util.kill([place.httpd.pid for place in places.values() if place.httpd.running()], signal.SIGTERM)
    several.check()


@pytest.mark.parametrize("kind", [k for k in STATES["account"] if "0644" not in k and "log" not in k])
def test_account_key_is_left_alone(place, kind):
    """Whatever is in its place is there afterwards, byte for byte."""
    STATES["account"][kind].put(place)
    before = contents(place.jwk)
    place.httpd.start()
    place.httpd.stop()
    assert contents(place.jwk) == before


def contents(path):
    if os.path.islink(path):
        return os.readlink(path)
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


# ---- what is no fault ----

def untold(httpd):
    """Nobody is bothered."""
    return not httpd.log_lines(r"acmeclient:(warn|error).*AC0[16]\d\d:")


def test_missing_store_is_made(place):
    """With its parents; 0700, for the user httpd was started as."""
    httpd = place.httpd
    shutil.rmtree(place.store)
    httpd.conf("AcmeStoreDir %s/var/lib/state/acmeclient/" % httpd.root)
    httpd.start()
    made = os.path.join(httpd.root, "var/lib/state/acmeclient")
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o700 and os.stat(made).st_uid == 0
    assert stat.S_IMODE(os.stat(os.path.dirname(made)).st_mode) == 0o755
    assert httpd.get("a.test").status == 503 and httpd.handshake("a.test").names == ["a.test"]
    httpd.graceful()
    assert httpd.get("a.test").status == 503


def setgid(place):
    os.chmod(place.store, 0o2700)


def below_roots_link(place):
    """People move /var/lib."""
    os.mkdir(os.path.join(place.httpd.root, "moved"))
    os.rename(place.store, os.path.join(place.httpd.root, "moved", "store"))
    os.symlink("moved", os.path.join(place.httpd.root, "way"))
    place.httpd.clear()
    Place.__init__(place, place.httpd, place.authority)
    place.httpd.conf("AcmeStoreDir %s/way/store" % place.httpd.root)


def strays(place):
    for name in ("README", "old.test.crt.pem", "c.test.crt.pem.upd", ".hidden", "a.test.crt.pem.dpkg-old"):
        write(place.file(name), b"stray\n")
    os.makedirs(place.file("lost+found/deeper"))


@pytest.mark.parametrize("put", [setgid, strays])
def test_is_no_fault(place, put):
    put(place)
    pair = place.pair
    place.httpd.start()
    assert place.httpd.handshake("a.test").serial == pair.serial
    assert untold(place.httpd), place.httpd.log()


def test_store_behind_roots_link_is_used(place):
    pair = place.pair
    below_roots_link(place)
    place.httpd.start()
    assert place.httpd.handshake("a.test").serial == pair.serial and place.httpd.log_lines("owner is pid")
    assert not place.httpd.log_lines("AC0106")


def test_parent_others_may_write_is_a_warning(place):
    """Mounted volumes look like that: the store is used."""
    os.chmod(place.httpd.root, 0o775)
    told = place.httpd.configtest()
    assert told.returncode == 0 and re.search(r"acmeclient:warn.*%s, the parent of the store.*mode 0775" % place.httpd.root, told.stdout)
    place.httpd.start()
    assert len(place.httpd.log_lines(r"acmeclient:warn.*the parent of the store.*mode 0775")) == 1
    place.check_answers()
    assert place.httpd.wait_log("owner is pid")


# ---- disks ----

def mounted(place, script):
    """httpd runs in a mount namespace of its own, made by a shell script with $STORE."""
    place.httpd.env["STORE"] = place.store
    place.httpd.wrapper = ["unshare", "-m", "sh", "-ec", script + '; exec "$@"', "sh"]
    if subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no mount namespaces here")


def test_read_only_store(place):
    mounted(place, 'mount --bind "$STORE" "$STORE"; mount -o remount,bind,ro "$STORE"')
    place.httpd.start()
    place.check_answers()
    lines = place.httpd.log_lines(r"acmeclient:error.*%s: is on a read-only file system; wanted: .*; remedy: " % place.store)
    assert len(lines) == 1, place.httpd.log()
    place.httpd.graceful()
    place.check_answers()


def test_full_store(place):
    """Not a byte is left: what is there is served, and nothing is lost."""
    mounted(place, 'mount -t tmpfs -o size=256k,mode=700 none "$STORE.full"; cp -a "$STORE/." "$STORE.full"; '
                   'rm "$STORE.full/account.jwk"; mount --move "$STORE.full" "$STORE"; '
                   'dd if=/dev/zero of="$STORE/ballast" bs=4k 2>/dev/null || true')
    os.mkdir(place.store + ".full")
    place.httpd.start()
    place.check_answers()
    lines = place.httpd.log_lines(r"acmeclient:error.*%s: no account key could be made: .*No space left" % place.jwk)
    assert len(lines) == 1, place.httpd.log()
    place.httpd.graceful()
    place.check_answers()


# ---- descriptors ----

def test_few_descriptors(make_httpd, make_pebble):
    """A limit that even root cannot raise: certificates share one log, are ordered, adopted and served."""
    httpd = make_httpd(children=1)
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    for i in range(4):
        httpd.vhost("v%d.test" % i)
    httpd.wrapper = ["prlimit", "--nofile=64"]
    httpd.start()
    serials = [httpd.wait_live("v%d.test" % i, pebble).serial for i in range(4)]
    assert os.path.getsize(os.path.join(httpd.store, "overflow.upd")) > 0
    httpd.graceful()
    assert [httpd.handshake("v%d.test" % i).serial for i in range(4)] == serials
    assert all(os.path.exists(os.path.join(httpd.store, "v%d.test.crt.pem" % i)) for i in range(4))


# ---- it comes and goes ----

SOME = [("store", "store 0755"), ("store", "store foreign"), ("log", "log a directory"), ("pair", "pair torn"), ("account", "account key garbage"),
        ("odds and ends", "lock a directory"), ("CA file", "CA file gone")]


def comes_and_goes(place, states):
    """Each state while the server runs; the next restart meets it, the one after that finds all well."""
    httpd = place.httpd
    httpd.start()
    kept = place.store + ".kept"
    shutil.copytree(place.store, kept)
    for group, name in states:
        state = STATES[group][name]
        state.put(place)
        httpd.graceful()
        place.check_answers(state.served)
        shutil.rmtree(place.store)
        shutil.copytree(kept, place.store)
        shutil.rmtree(place.ca_file, ignore_errors=True)
        write(place.ca_file, place.authority.issue(["ca.test"]).chain, 0o644)
    httpd.graceful()
    place.check_answers()


def test_comes_and_goes_while_it_runs(place):
    comes_and_goes(place, SOME)


@pytest.mark.sweep
def test_every_state_comes_and_goes(place):
    elsewhere = ("store linked by a stranger", "store below a file", "directory of the pair loose", "directory of the pair foreign", "store linked", "store a file")
    comes_and_goes(place, [(group, name) for group in STATES for name in STATES[group]
                           if name not in elsewhere and not name.startswith("pair torn, ")])


def test_orders_again_when_it_is_mended(make_httpd, make_pebble):
    """A loose store: nothing is ordered. The command of the line, a graceful restart: a certificate."""
    httpd = make_httpd(children=1)
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    os.mkdir(httpd.store)
    os.chmod(httpd.store, 0o755)
    httpd.start()
    (line,) = httpd.log_lines("AC0106")
    assert httpd.get("a.test").status == 503 and os.listdir(httpd.store) == []
    subprocess.run(line.split("remedy: ")[1], shell=True, check=True)
    httpd.graceful()
    httpd.wait_live("a.test", pebble)


# ---- not as root ----

def test_without_root_the_same_rules_hold(place):
    """A container's server: the store is that user's, and what is unreadable is really so."""
    httpd = place.httpd
    httpd.wrapper = ["setpriv", "--reuid=%d" % STRANGER, "--regid=%d" % STRANGER, "--clear-groups"]
    for directory, _, files in os.walk(httpd.root):
        for name in [directory] + [os.path.join(directory, f) for f in files]:
            os.chown(name, STRANGER, STRANGER)
    os.chmod(place.jwk, 0)
    os.chmod(place.cert + ".upd", 0)
    httpd.start()
    place.check_answers()
    for path in (place.jwk, place.cert + ".upd"):
        lines = httpd.log_lines(r"acmeclient:error.*%s: owner uid %d, mode 0000: permission denied; wanted: .*mode 0600; remedy: " % (path, STRANGER))
        assert len(lines) == 1, httpd.log()
    httpd.graceful()
    place.check_answers()


# ---- whose log ----

@pytest.mark.parametrize("own", [True, False])
def test_lines_go_to_the_main_log_and_the_vhosts(place, own):
    """What is about a vhost is in its own log, too, where it has one; nowhere twice."""
    httpd = place.httpd
    path = os.path.join(httpd.root, "a.log")
    torn_pair(place)
    httpd._vhosts[0] = httpd._vhosts[0].replace("AcmeEngine on", "AcmeEngine on\n    AcmeNames +localhost" + ("\n    ErrorLog %s" % path if own else ""))
    httpd.start()
    for pattern in ("AC0111: a.test: localhost", "AC0651: a.test: "):
        assert len(httpd.log_lines(pattern)) == 1
        if own:
            with open(path) as file:
                assert len(re.findall(pattern, file.read())) == 1, pattern
    assert httpd.get("a.test").status == 503


# ---- modules that are not there ----

def test_without_mod_ssl(make_httpd):
    """SSLEngine is then an unknown directive, as it is without this module."""
    httpd = make_httpd()
    httpd.modules = [name for name in httpd.modules if name != "ssl"]
    httpd.vhost("a.test")
    result = httpd.configtest()
    assert result.returncode != 0 and "SSLEngine" in result.stdout and "mod_ssl" in result.stdout
    httpd.clear()
    httpd.conf("AcmeEngine on\n<AcmeCertificate a.test>\n</AcmeCertificate>")
    result = httpd.configtest()
    assert "SSLEngine" not in result.stdout and result.returncode in (0, 1) and "signal" not in result.stdout
