# Licensed under the Apache License, Version 2.0; see LICENSE.
"""What root does with the staging logs at a start: verified pairs become the files, the rest is put aside, nothing is lost."""
import datetime
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lib import records, util
from lib.httpd import logged_at

PEM = serialization.Encoding.PEM


@pytest.fixture
def serving(make_httpd, make_pebble):
    """A server whose first certificate is live and staged, its CA, and what is served. Nothing is written later."""
    def run(**options):
        httpd = make_httpd(**options)
        pebble = make_pebble(httpd)
        httpd.use_ca(pebble)
        httpd.conf("AcmeARI off")
        httpd.vhost("a.test")
        httpd.start()
        return httpd, pebble, httpd.wait_live("a.test", pebble)
    return run


def path_of(httpd, name):
    return os.path.join(httpd.store, name)


def content(httpd, name):
    with open(path_of(httpd, name), "rb") as file:
        return file.read()


def on_disk(httpd):
    """Serial of the pair that mod_ssl loads; the key must be its."""
    cert = x509.load_pem_x509_certificate(content(httpd, "a.test.crt.pem"))
    key = serialization.load_pem_private_key(content(httpd, "a.test.key.pem"), None)
    assert key.public_key().public_numbers() == cert.public_key().public_numbers()
    return cert.serial_number


def served(httpd):
    """The one serial that all children serve."""
    found = {seen.serial for seen in httpd.handshake_all_children("a.test").values()}
    assert len(found) == 1
    return found.pop()


def renew(httpd, pebble, former):
    """Adopts what is staged and has another one issued."""
    util.touch(path_of(httpd, "a.test.retry"))
    httpd.graceful()
    return httpd.wait_live("a.test", pebble, not_serial=former.serial)


# ---- what is adopted ----

def test_adopted_by_graceful_and_by_a_start(serving):
    """Verified bytes in new inodes, root's, 0600; fresh logs; the same certificate all the time."""
    httpd, pebble, seen = serving()
    staged = os.stat(path_of(httpd, "a.test.crt.pem.upd")), os.stat(path_of(httpd, "a.test.key.pem.upd"))
    httpd.graceful()
    assert on_disk(httpd) == served(httpd) == seen.serial
    inodes = {staged[0].st_ino, staged[1].st_ino}
    for name in ("a.test.crt.pem", "a.test.key.pem"):
        stat = os.stat(path_of(httpd, name))
        assert (stat.st_uid, stat.st_mode & 0o777, stat.st_nlink) == (os.geteuid(), 0o600, 1)
        assert stat.st_ino not in inodes
        fresh = os.stat(path_of(httpd, name + ".upd"))
        assert fresh.st_ino not in inodes | {stat.st_ino} and fresh.st_mode & 0o777 == 0o600
    assert not [r for r in records.read(path_of(httpd, "a.test.key.pem.upd")) if r.type == "key"]
    assert not glob.glob(path_of(httpd, "*.new")) and not os.path.exists(path_of(httpd, "journal"))
    newer = renew(httpd, pebble, seen)
    assert on_disk(httpd) == seen.serial
    httpd.kill9()
    httpd.start()
    assert on_disk(httpd) == served(httpd) == newer.serial
    # Adopting once more changes nothing.
    before = os.stat(path_of(httpd, "a.test.crt.pem"))
    httpd.stop()
    httpd.start()
    assert os.stat(path_of(httpd, "a.test.crt.pem")).st_ino == before.st_ino
    assert len(httpd.log_lines(r"notice\] .*a\.test: adopted")) == 2


def backups(httpd):
    """Serials of the pairs in the archive; every key must fit."""
    found = []
    for path in sorted(glob.glob(path_of(httpd, "archive/a.test/*.crt.pem"))):
        with open(path, "rb") as cert, open(path.replace(".crt.pem", ".key.pem"), "rb") as key:
            cert, key = x509.load_pem_x509_certificate(cert.read()), serialization.load_pem_private_key(key.read(), None)
        assert key.public_key().public_numbers() == cert.public_key().public_numbers()
        assert os.stat(path).st_mode & 0o777 == 0o600
        found.append(cert.serial_number)
    return found


def test_adoption_that_fails_takes_nothing_away(serving):
    """No journal can be written: the server lives, what was live stays live, and the next start adopts it."""
    httpd, _, seen = serving()
    os.makedirs(path_of(httpd, "journal.new/in the way"))
    httpd.graceful()
    assert httpd.running() and not os.path.exists(path_of(httpd, "a.test.crt.pem"))
    assert httpd.log_lines("AC062[01]")
    for look in httpd.handshake_all_children("a.test").values():
        assert look.serial == seen.serial
    assert "1 valid" in httpd.wait_log("AC0710", count=2)[-1]
    os.removedirs(path_of(httpd, "journal.new/in the way"))
    httpd.graceful()
    assert on_disk(httpd) == served(httpd) == seen.serial


def test_a_renewal_that_cannot_be_adopted_takes_nothing_away(serving):
    """No former pair is kept and no journal can be written: the pair on disk stays whole, the newer one stays live, and the
    next start adopts it."""
    httpd, pebble, first = serving()
    httpd.conf("AcmeBackups 0")
    second = renew(httpd, pebble, first)
    assert on_disk(httpd) == first.serial and not backups(httpd)
    os.makedirs(path_of(httpd, "journal.new/in the way"))
    httpd.graceful()
    assert on_disk(httpd) == first.serial and served(httpd) == second.serial
    assert httpd.log_lines("AC062[01]")
    os.removedirs(path_of(httpd, "journal.new/in the way"))
    httpd.graceful()
    assert on_disk(httpd) == served(httpd) == second.serial and not backups(httpd)


@pytest.mark.parametrize("kept", [3, 1])
def test_former_pairs_are_kept(serving, make_httpd, make_pebble, kept):
    """Three adoptions over a pair: three backups, the newest ones; AcmeBackups says how many."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.conf("AcmeBackups %d" % kept)
    httpd.vhost("a.test")
    httpd.start()
    former = [httpd.wait_live("a.test", pebble)]
    for _ in range(kept + 1):
        former.append(renew(httpd, pebble, former[-1]))
    serials = [seen.serial for seen in former]
    assert on_disk(httpd) == serials[-2] and backups(httpd) == serials[:kept]
    httpd.graceful()
    assert on_disk(httpd) == serials[-1] and backups(httpd) == serials[1:-1]


def spoil_board(pid, what):
    """Overwrites the layout, or a row's generation, in the memory that all children share."""
    magic = (0x41636d65426f6172).to_bytes(8, sys.byteorder)
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "r+b", 0) as memory:
        for line in maps:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if line.split()[1] != "rw-s":
                continue
            memory.seek(begin)
            if memory.read(8) == magic:
                memory.seek(begin)
                row = memory.read(min(end - begin, 1 << 20)).index(b"a.test\0")
                memory.seek(begin + (32 if what == "layout" else row - 24))
                memory.write(b"\xff" * 8)
                return
    raise AssertionError("no board")


@pytest.mark.parametrize("what", ["layout", "generation"])
def test_a_board_that_a_child_spoilt_is_replaced(serving, what):
    """At the next restart: what was staged is adopted, every child serves it, and the next certificate goes live again."""
    httpd, pebble, first = serving()
    spoil_board(httpd.children()[0], what)
    httpd.graceful()
    assert on_disk(httpd) == served(httpd) == first.serial
    second = renew(httpd, pebble, first)
    httpd.handshake_all_children("a.test", until=lambda seen: seen.serial == second.serial)


def test_old_descriptors_change_nothing(serving):
    """Children of the former generation go on holding its logs; whatever is done to those is nothing to anybody."""
    httpd, pebble, seen = serving()
    pinned = [httpd.connect("a.test") for _ in range(8)]
    try:
        old = {httpd.child_of_socket(sock) for sock in pinned} - {None}
        httpd.graceful()
        old = {pid for pid in old if util.running(pid)}
        assert old and not old & set(httpd.children()[-1:])
        live = {os.stat(path_of(httpd, name)).st_ino for name in httpd.store_files()}
        links = ["/proc/%d/fd/%s" % (pid, fd) for pid in old for fd in os.listdir("/proc/%d/fd" % pid)
                 if httpd.store in os.readlink("/proc/%d/fd/%s" % (pid, fd))]
        logs = [link for link in links if ".upd" in os.readlink(link)]
        assert len(logs) >= 3 * len(old)
        lock = os.stat(path_of(httpd, "lock")).st_ino
        assert not [os.readlink(link) for link in links if os.stat(link).st_ino in live - {lock, account_log(httpd)}]
        before = {name: content(httpd, name) for name in httpd.store_files()}
        for link in logs:
            if os.stat(link).st_ino == account_log(httpd):
                continue
            with open(link, "wb") as file:
                file.write(records.encode("a.test", "key", 900, content(httpd, "a.test.key.pem")))
                file.write(records.encode("a.test", "order", 901, "{}"))
        assert {name: content(httpd, name) for name in httpd.store_files()} == before
    finally:
        for sock in pinned:
            sock.close()
    httpd.stop()
    httpd.start()
    assert on_disk(httpd) == served(httpd) == seen.serial
    assert not httpd.log_lines("AC0604|AC0605") and not glob.glob(path_of(httpd, "archive/a.test/*.rej"))


def account_log(httpd):
    """The account's log is replaced only when there is something to carry over."""
    return os.stat(glob.glob(path_of(httpd, "*.jwk.upd"))[0]).st_ino


def test_late_certificate_of_an_old_owner(make_httpd, make_pebble, make_chaos):
    """Obtained after root has replaced the logs: recorded again by the new owner, and there after a cold start."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    first = httpd.wait_live("a.test", chaos)
    util.touch(path_of(httpd, "a.test.retry"))
    rule = chaos.on("certificate", nth=1, hold="after")
    httpd.graceful()
    rule.wait_held()
    httpd.graceful()
    rule.release()
    second = httpd.wait_live("a.test", chaos, not_serial=first.serial)
    util.wait_for(lambda: [r for r in records.read(path_of(httpd, "a.test.crt.pem.upd")) if r.type == "certificate"], 5)
    httpd.kill9()
    httpd.start()
    assert on_disk(httpd) == served(httpd) == second.serial
    assert chaos.count("newOrder", status=201) == 2


# ---- what the administrator does by hand ----

def test_restored_backup_is_served(serving):
    """The board is no authority over the files: what root finds at a restart is what is served, also with a newer one on it."""
    httpd, pebble, first = serving()
    second = renew(httpd, pebble, first)
    httpd.graceful()
    assert on_disk(httpd) == second.serial
    for kind in ("crt", "key"):
        backup = glob.glob(path_of(httpd, "archive/a.test/*.%s.pem" % kind))
        assert len(backup) == 1
        shutil.copyfile(backup[0], path_of(httpd, "a.test.%s.pem" % kind))
    httpd.graceful()
    assert served(httpd) == on_disk(httpd) == first.serial
    httpd.graceful()
    assert served(httpd) == first.serial
    httpd.stop()
    httpd.start()
    assert served(httpd) == first.serial


def certificate(names, key=None, days=(-1, 90), issuer=None):
    """(PEM of chain, key): self-signed, or of an issuer made here."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.utcnow()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA of ours")]) if issuer else name
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(by).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
            .add_extension(x509.BasicConstraints(False, None), True).sign(issuer or key, hashes.SHA256()))
    return cert.public_bytes(PEM), key


def pem_of(key):
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_pair_replaced_by_hand_is_served(serving):
    httpd, pebble, seen = serving()
    httpd.graceful()
    chain, key = certificate(["a.test"], issuer=ec.generate_private_key(ec.SECP256R1()))
    for name, data in (("a.test.crt.pem", chain), ("a.test.key.pem", pem_of(key))):
        with open(path_of(httpd, name), "wb") as file:
            file.write(data)
    httpd.graceful()
    assert served(httpd) == x509.load_pem_x509_certificate(chain).serial_number
    time.sleep(1)
    assert served(httpd) == on_disk(httpd) and not httpd.log_lines("a.test: ordering.*(due|emergency)")


@pytest.mark.parametrize("how,broken", [("graceful", "a.test.key.pem"), ("cold", "a.test.crt.pem")])
def test_broken_pair_never_stops_httpd(serving, broken, how):
    """A mismatched or empty file would end a running httpd at its next graceful restart; a former pair serves."""
    httpd, pebble, first = serving()
    renew(httpd, pebble, first)
    httpd.graceful()
    with open(path_of(httpd, broken), "wb") as file:
        file.write(pem_of(ec.generate_private_key(ec.SECP256R1())) if "key" in broken else b"")
    if how == "cold":
        httpd.stop()
        httpd.start()
    else:
        httpd.graceful()
    assert httpd.get("a.test").status == 200
    assert served(httpd) == first.serial and httpd.log_lines(r":error\].* a\.test: ")


# ---- what is not adopted ----

class Forged:
    """Records as a compromised child could leave them."""

    def __init__(self, httpd, seen):
        self.httpd, self.seq = httpd, 500
        staged = [r for r in records.read(path_of(httpd, "a.test.crt.pem.upd")) if r.type == "certificate"][-1]
        line, self.chain = staged.payload.split(b"\n", 1)
        self.issued = json.loads(line)
        self.key = [r for r in records.read(path_of(httpd, "a.test.key.pem.upd")) if r.type == "key"][-1].payload
        self.ca = ec.generate_private_key(ec.SECP256R1())
        self.seen = seen

    def pair(self, chain, key, give_key=True, **issued):
        digest = hashes.Hash(hashes.SHA256())
        public = key.public_key()
        digest.update(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
        members = dict(self.issued, **issued)
        for name, value in self.issued.items():
            if name not in issued and isinstance(value, str) and value == self.key_digest():
                members[name] = digest.finalize().hex()
        if give_key:
            self.append("a.test.key.pem.upd", "key", pem_of(key))
        self.append("a.test.crt.pem.upd", "certificate", json.dumps(members).encode() + b"\n" + chain)

    def key_digest(self):
        key = serialization.load_pem_private_key(self.key, None)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
        return digest.finalize().hex()

    def append(self, log, kind, payload):
        self.seq += 1
        records.append(path_of(self.httpd, log), records.encode("a.test", kind, self.seq, payload))


def self_signed(forged):
    forged.pair(*certificate(["a.test"]))


def other_names(forged):
    forged.pair(*certificate(["a.test", "bank.test"], issuer=forged.ca))


def other_key_type(forged):
    forged.pair(*certificate(["a.test"], key=ec.generate_private_key(ec.SECP384R1()), issuer=forged.ca))


def older(forged):
    forged.pair(*certificate(["a.test"], days=(-30, 60), issuer=forged.ca))


def expired(forged):
    forged.pair(*certificate(["a.test"], days=(-0.001, -0.0001), issuer=forged.ca))


def without_key(forged):
    forged.pair(*certificate(["a.test"], issuer=forged.ca), give_key=False)


def another_key(forged):
    chain, _ = certificate(["a.test"], issuer=forged.ca)
    forged.pair(chain, ec.generate_private_key(ec.SECP256R1()))


def of_another_ca(forged):
    forged.pair(*certificate(["a.test"], issuer=forged.ca), directory="https://ca.example/directory")


def of_another_configuration(forged):
    digests = [k for k, v in forged.issued.items() if k not in ("key", "keyDigest") and re.fullmatch("[0-9a-f]{64}", str(v))
               and v != forged.key_digest()]
    assert len(digests) == 1
    forged.pair(*certificate(["a.test"], issuer=forged.ca), **{digests[0]: "0" * 64})


def key_in_chain(forged):
    chain, key = certificate(["a.test"], issuer=forged.ca)
    forged.pair(chain + pem_of(key), key)


def no_certificate(forged):
    forged.pair(b"nothing of the kind\n", ec.generate_private_key(ec.SECP256R1()))


REJECTED = [self_signed, other_names, other_key_type, older, expired, without_key, another_key, of_another_ca,
            of_another_configuration, key_in_chain, no_certificate]


def test_what_is_rejected(make_httpd, make_pebble):
    """Each class: not adopted, put aside in the archive, told once; what was there goes on being served."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    forged = Forged(httpd, seen)
    httpd.graceful()
    for number, forge in enumerate(REJECTED, 1):
        forge(forged)
        httpd.graceful()
        assert on_disk(httpd) == served(httpd) == seen.serial, forge.__name__
        lines = httpd.log_lines(r"AC060[45]: a\.test: ")
        assert len(lines) == number, "%s: %s" % (forge.__name__, lines[number - 1:])
        assert re.search(r":(error|warn)\]", lines[-1])
        assert len(glob.glob(path_of(httpd, "archive/a.test/*.rej"))) >= number, forge.__name__
    aside = {name: content(httpd, name) for name in httpd.store_files() if name.endswith(".rej")}
    assert all(os.stat(path_of(httpd, name)).st_mode & 0o777 == 0o600 for name in aside)
    httpd.stop()
    httpd.start()
    httpd.graceful()
    assert len(httpd.log_lines(r"AC060[45]: a\.test: ")) == len(REJECTED)
    assert {name: content(httpd, name) for name in httpd.store_files() if name.endswith(".rej")} == aside
    assert served(httpd) == seen.serial


def garbage(log):
    records.append(log, os.urandom(3000))


def torn(log):
    data = records.encode("a.test", "order", 700, "{}" + " " * 500)
    records.append(log, data[:300] + data)


def truncated(log):
    with open(log, "r+b") as file:
        file.truncate(os.path.getsize(log) // 2)


def sparse(log):
    with open(log, "r+b") as file:
        file.truncate(10 << 30)


def replaced_by_link(log):
    os.unlink(log)
    os.symlink("/etc/passwd", log)


def replaced_by_fifo(log):
    os.unlink(log)
    os.mkfifo(log)


def for_all(log):
    os.chmod(log, 0o666)


def test_spoilt_log_never_stops_a_start(serving):
    """Whatever stands in or in place of a log, a start takes no longer, and the pair on disk is served."""
    httpd, pebble, seen = serving()
    httpd.graceful()
    log = path_of(httpd, "a.test.crt.pem.upd")
    with open("/etc/passwd", "rb") as file:
        passwd = file.read()
    for spoil in (garbage, torn, truncated, sparse, for_all, replaced_by_link, replaced_by_fifo):
        errors = len(httpd.log_lines(r":error\].* a\.test: .*a\.test\.crt\.pem\.upd"))
        spoil(log)
        for restart in (httpd.graceful, lambda: (httpd.stop(), httpd.start())):
            since = time.monotonic()
            restart()
            assert time.monotonic() - since < 5, spoil.__name__
            assert served(httpd) == on_disk(httpd) == seen.serial, spoil.__name__
            assert httpd.get("a.test").status == 200
        told = len(httpd.log_lines(r":error\].* a\.test: .*a\.test\.crt\.pem\.upd")) - errors
        assert (told > 0) == (spoil in (replaced_by_link, replaced_by_fifo)), spoil.__name__
    with open("/etc/passwd", "rb") as file:
        assert file.read() == passwd


# ---- a start that is cut off ----

def check_start_killed(serving, call, points):
    """kill -9 at the nth rename (or removal) of an adoption over a pair: the next start has one pair, and finishes."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    httpd, pebble, first = serving()
    second = renew(httpd, pebble, first)
    httpd.kill9()
    saved = httpd.store + ".saved"
    shutil.copytree(httpd.store, saved, symlinks=True)
    reached = 0
    for nth in points:
        shutil.rmtree(httpd.store)
        shutil.copytree(saved, httpd.store, symlinks=True)
        killed = killed_at(httpd, call, nth)
        httpd.start()
        assert on_disk(httpd) == served(httpd) == second.serial, "%s number %d" % (call, nth)
        assert not glob.glob(path_of(httpd, "*.new")) and not os.path.exists(path_of(httpd, "journal"))
        assert backups(httpd) == [first.serial]
        httpd.stop()
        if not killed:
            break
        reached += 1
    return reached


def killed_at(httpd, call, nth):
    """Starts httpd and kills its parent at the nth call; has it come to that?"""
    calls = "%s,%sat" % (call, call) + (",renameat2" if call == "rename" else "")
    command = ["strace", "-o", "/dev/null", "-e", "trace=" + calls, "-e", "inject=%s:signal=SIGKILL:when=%d" % (calls, nth),
               *httpd.command("-DFOREGROUND")]
    started = len(httpd.log_lines("resuming normal operations"))
    with open(os.path.join(httpd.root, "stderr"), "ab") as out:
        process = subprocess.Popen(command, env=httpd.environment(), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    util.wait_for(lambda: process.poll() is not None or len(httpd.log_lines("resuming normal operations")) > started, 20)
    if process.poll() is not None:
        return True
    util.kill(util.children_of(process.pid), signal.SIGTERM)
    process.wait(20)
    return False


def test_start_killed_while_it_adopts(serving):
    assert check_start_killed(serving, "rename", (2, 4, 6)) == 3


@pytest.mark.sweep
@pytest.mark.parametrize("call,at_least", [("rename", 6), ("unlink", 1)])
def test_start_killed_at_every_point(serving, call, at_least):
    assert check_start_killed(serving, call, range(1, 60)) >= at_least


# ---- locks, descriptors, space ----

def test_two_servers_on_one_store(serving, make_httpd):
    """The second serves from the store and does nothing else, says so once; it takes over when the first has gone."""
    first, pebble, seen = serving()
    first.graceful()
    second = make_httpd(store=first.store)
    second.use_ca(pebble)
    second.vhost("a.test")
    before = {name: (os.stat(path_of(first, name)).st_ino, os.stat(path_of(first, name)).st_mtime_ns) for name in first.store_files()}
    second.start()
    assert served(second) == seen.serial and second.get("a.test").status == 200
    util.touch(path_of(first, "a.test.retry"))
    second.graceful()
    time.sleep(1)
    lines = second.log_lines(r"acmeclient:(warn|error|notice)\](?!.*AC0103)")
    assert len(lines) == 2 and all("AC0711" in line and "another server uses this store" in line for line in lines)
    assert not second.log_lines("owner is pid")
    os.unlink(path_of(first, "a.test.retry"))
    assert {name: (os.stat(path_of(first, name)).st_ino, os.stat(path_of(first, name)).st_mtime_ns)
            for name in first.store_files()} == before
    first.stop()
    second.graceful()
    second.wait_log("owner is pid")


def test_overflow_log(make_httpd, make_pebble):
    """More certificates than descriptors: they share a log, are all live, and are adopted all the same."""
    httpd = make_httpd(children=2)
    pebble = make_pebble(httpd)
    httpd.wrapper = ["prlimit", "--nofile=1030:1030"]
    httpd.use_ca(pebble)
    names = ["n%02d.test" % n for n in range(16)]
    for name in names:
        httpd.vhost(name)
    httpd.start()
    seen = {name: httpd.wait_live(name, pebble, timeout=30).serial for name in names}
    shared = {r.id for r in records.read(path_of(httpd, "overflow.upd")) if r.type == "certificate"}
    own = {n for n in names if any(r.type == "certificate" for r in records.read(path_of(httpd, n + ".crt.pem.upd")))}
    assert shared | own == set(names) and not shared & own and len(shared) >= 4 and len(own) >= 4
    for pid in httpd.children():
        assert len(os.listdir("/proc/%d/fd" % pid)) < 100
    httpd.kill9()
    httpd.start()
    for name in names:
        assert x509.load_pem_x509_certificate(content(httpd, name + ".crt.pem")).serial_number == seen[name]
        assert httpd.handshake(name).serial == seen[name]
    assert not [r for r in records.read(path_of(httpd, "overflow.upd")) if r.type in ("key", "certificate")]


@pytest.fixture
def small_disk(workdir):
    """A file system of 400 KB, or a skip where none may be mounted."""
    path = os.path.join(workdir, "disk")
    os.makedirs(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=0700", "none", path], stderr=subprocess.PIPE)
    if done.returncode:
        pytest.skip("no file system can be mounted: %s" % done.stderr.decode().strip())
    yield path
    subprocess.run(["umount", "-l", path])


def fill(directory):
    with open(os.path.join(directory, "filler"), "wb", 0) as file:
        for size in (65536, 4096, 512):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def test_full_disk(make_httpd, make_pebble, make_chaos, small_disk):
    """A certificate that cannot be recorded is live all the same, one error tells of it, and it costs no second order."""
    httpd = make_httpd(store=os.path.join(small_disk, "store"))
    # A chain whose record never fits into what is left of a page that the log has already.
    chaos = make_chaos(make_pebble(httpd, chain_length=3))
    httpd.use_ca(chaos)
    httpd.conf("AcmeARI off")
    httpd.vhost("a.test")
    httpd.start()
    rule = chaos.on("certificate", nth=2, hold="after")
    first = httpd.wait_live("a.test", chaos)
    util.touch(path_of(httpd, "a.test.retry"))
    old = set(httpd.children())
    httpd.graceful()
    rule.wait_held()
    # What they hold open would be room again when they go.
    assert util.wait_for(lambda: not old & set(httpd.children()), 5)
    fill(small_disk)
    rule.release()
    second = httpd.wait_live("a.test", chaos, not_serial=first.serial)
    line = httpd.wait_log(r":error\].* a\.test: serial 0?%x is not on disk yet: .*No space left.*next try at" % second.serial)
    assert len(line) == 1 and httpd.get("a.test").status == 200
    os.unlink(os.path.join(small_disk, "filler"))
    httpd.graceful()
    assert httpd.wait_live("a.test", chaos, not_serial=first.serial).serial == second.serial
    httpd.wait_log("a.test: live", count=3)
    httpd.graceful()
    assert on_disk(httpd) == served(httpd) == second.serial
    assert chaos.count("newOrder", status=201) == 2
