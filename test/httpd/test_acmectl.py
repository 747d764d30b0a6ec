# Licensed under the Apache License, Version 2.0; see LICENSE.
"""acmectl against a running server, and against the store of one that is stopped."""
import json
import os
import socket
import stat
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lib import records, util
from lib.httpd import module_file


def program():
    return os.path.join(os.path.dirname(os.path.dirname(module_file())), "acmectl", "acmectl")


def run(httpd, *arguments, prefix=(), timeout=60, **options):
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    env["ASAN_OPTIONS"] = "detect_leaks=0"
    return subprocess.run([*prefix, program(), "--store", httpd.store, *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, env=env, timeout=timeout, **options)


def ok(httpd, *arguments):
    done = run(httpd, *arguments)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def objects(httpd, *arguments):
    return [json.loads(line) for line in ok(httpd, *arguments, "--json").splitlines()]


def control(httpd):
    return os.path.join(httpd.root, "run", "acmeclient.sock")


@pytest.fixture
def live(make_httpd, make_pebble, make_chaos):
    """(httpd, CA, what is served): one certificate, live; not yet on disk."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd, retry_after={"authz": 0, "order": 0}))
    httpd.use_ca(chaos)
    httpd.vhost("a.test", aliases=["www.a.test"])
    httpd.start()
    return httpd, chaos, httpd.wait_live("a.test", chaos)


def serial_in(text):
    return int(text, 16)


def revoked(chaos, serial):
    """What the CA itself says of a serial."""
    text = chaos.pebble.manage("/cert-status-by-serial/%x" % serial).decode()
    return json.loads(text)


# ---- looking ----

def test_status_and_show(live):
    """Served, waiting and on disk are told apart, running and stopped; what is printed is what is served."""
    httpd, chaos, seen = live
    line, = objects(httpd, "status")
    assert (line["name"], line["keyType"], serial_in(line["serial"])) == ("a.test", "P-256", seen.serial)
    assert line["notAfter"] == seen.not_after.strftime("%Y-%m-%dT%H:%M:%SZ") and line["failures"] == 0
    head, row = ok(httpd, "status").splitlines()
    assert head.split()[:4] == ["NAME", "KEY", "STATE", "SERIAL"] and row.split()[0] == "a.test"
    shown, = objects(httpd, "show", "a.test")
    assert "disk" not in shown and serial_in(shown["staged"]["serial"]) == serial_in(shown["served"]["serial"]) == seen.serial
    assert sorted(shown["served"]["names"]) == ["a.test", "www.a.test"]
    assert shown["served"]["fingerprint"] == x509.load_der_x509_certificate(seen.der).fingerprint(
        seen_hash()).hex()
    httpd.graceful()
    httpd.wait_log("a.test: adopted")
    util.wait_for(lambda: run(httpd, "status").returncode == 0)
    shown, = objects(httpd, "show", "A.TEST")
    assert "staged" not in shown and serial_in(shown["disk"]["serial"]) == serial_in(shown["served"]["serial"]) == seen.serial
    httpd.stop()
    assert not os.path.exists(control(httpd))
    line, = objects(httpd, "status")
    assert line["state"] == "stopped" and serial_in(line["serial"]) == seen.serial
    shown, = objects(httpd, "show", "a.test")
    assert "served" not in shown and serial_in(shown["disk"]["serial"]) == seen.serial


def seen_hash():
    from cryptography.hazmat.primitives import hashes
    return hashes.SHA256()


def test_export(live, workdir):
    """Chain and key belong together, before adoption and after; files are root's alone."""
    httpd, chaos, seen = live
    for _ in range(2):
        text = ok(httpd, "export", "a.test").encode()
        cert = x509.load_pem_x509_certificate(text)
        key = serialization.load_pem_private_key(text[text.index(b"-----BEGIN PRIVATE KEY"):], None)
        assert cert.serial_number == seen.serial and key.public_key().public_numbers() == cert.public_key().public_numbers()
        httpd.stop()
        httpd.start()
    out = os.path.join(workdir, "out")
    os.mkdir(out)
    ok(httpd, "export", "a.test", "--out", out)
    assert {stat.S_IMODE(os.stat(os.path.join(out, name)).st_mode) for name in os.listdir(out)} == {0o600}
    assert sorted(os.listdir(out)) == ["a.test.crt.pem", "a.test.key.pem"]


def test_exit_codes(live):
    httpd, chaos, seen = live
    for arguments, code in ((["nonsense"], 1), (["show"], 1), (["status", "x"], 1), (["retry"], 1), (["revoke", "a.test", "boredom"], 1),
                            (["account", "deactivate"], 1), (["show", "b.test"], 3), (["export", "b.test"], 3),
                            (["renew", "b.test"], 3), (["account", "rollover", "other"], 3), (["account", "show"], 0)):
        done = run(httpd, *arguments)
        assert done.returncode == code and bool(done.stderr) == (code != 0), (arguments, done)


@pytest.mark.sweep
def test_owner_that_does_not_answer(live):
    """Nothing is guessed: exit code 4, and what the store says."""
    httpd, chaos, seen = live
    os.kill(httpd.owner(), 19)
    try:
        done = run(httpd, "status")
        assert done.returncode == 4 and "does not answer" in done.stderr and "a.test" in done.stdout
    finally:
        os.kill(httpd.owner(), 18)


def test_hostile_text_is_printable(make_httpd, make_pebble, make_chaos):
    """What the CA says goes to the terminal without control characters."""
    httpd = make_httpd()
    chaos = make_chaos(make_pebble(httpd))
    chaos.on("newOrder", status=400, headers={"Content-Type": "application/problem+json"},
             body={"type": "urn:ietf:params:acme:error:malformed", "detail": "evil \x1b]0;title\x07\r\n text"})
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_log("a.test: .*attempt 1")
    out = ok(httpd, "status") + ok(httpd, "show", "a.test")
    assert "evil" in out and not set(out) & {"\x1b", "\x07", "\r"}
    assert objects(httpd, "status")[0]["failures"] == 1


# ---- the socket ----

def ask(httpd, data, uid=None):
    """Raw bytes to the socket; what comes back, None when it cannot be opened."""
    code = ("import os,socket,sys\nuid=%r\nif uid: os.setgid(uid); os.setuid(uid)\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(20)\n"
            "try: s.connect(%r)\nexcept OSError: sys.exit(9)\ns.sendall(%r)\nwhile True:\n    d=s.recv(65536)\n    if not d: break\n"
            "    sys.stdout.buffer.write(d)" % (uid, control(httpd), data))
    done = subprocess.run(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE, timeout=40)
    return None if done.returncode == 9 else done.stdout


def test_socket_is_roots(live):
    """0600; the children's user cannot connect, and is not answered where he can; the file outlives a graceful restart."""
    httpd, chaos, seen = live
    info = os.stat(control(httpd))
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == 0
    assert ask(httpd, b'{"command":"status"}\n', uid=33) is None
    os.chmod(control(httpd), 0o666)
    assert ask(httpd, b'{"command":"status"}\n', uid=33) == b""
    httpd.wait_log("AC0173: AcmeControl: uid 33")
    os.chmod(control(httpd), 0o600)
    assert b'"ok":true' in ask(httpd, b'{"command":"status"}\n')
    for wrong in (b"\n", b"[]\n", b'{"command":"stop"}\n', b'{"command":"renew"}\n', b'{"command":"status","name":""}\n',
                  b'{"command":"status","name":1}\n', b'{"a":"' + b"x" * 70000):
        assert b'"ok":false' in ask(httpd, wrong), wrong[:40]
    httpd.graceful()
    assert os.stat(control(httpd)).st_ino == info.st_ino
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)


def test_slow_caller_stops_nobody(live):
    """One that says nothing holds neither the manager nor a graceful restart, and is given up."""
    httpd, chaos, seen = live
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(control(httpd))
        silent.settimeout(10)
        started = time.monotonic()
        httpd.graceful()
        httpd.wait_log("a.test: adopted", timeout=5)
        assert silent.recv(1) == b"" and time.monotonic() - started < 6
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)


def test_what_is_wrong_with_the_socket_stops_nothing(make_httpd, make_pebble):
    """A directory of others, a file in the way, a path too long: one line, and the server runs. A stale socket is replaced."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    loose = os.path.join(httpd.root, "loose")
    os.mkdir(loose)
    os.chmod(loose, 0o777)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.conf("AcmeControl %s/x.sock" % loose)
    assert "AC0170" in httpd.configtest().stdout
    assert "AC0170: AcmeControl" in httpd.configtest("-D", "DUMP_ACME").stdout
    httpd.start()
    httpd.wait_log("AC0170: AcmeControl: .*loose")
    httpd.wait_live("a.test", pebble)
    done = run(httpd, "status")
    assert done.returncode == 4 and "AcmeControl" in done.stderr and "a.test" in done.stdout
    for n, path in enumerate(["htdocs/index.html", "run/" + "x" * 110, "none/x.sock"], 2):
        httpd.conf("AcmeControl %s" % path)
        httpd.graceful()
        httpd.wait_log("AC0170: AcmeControl", count=n)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.path.join(httpd.root, "run", "b.sock"))
    httpd.conf("AcmeControl run/b.sock")
    httpd.graceful()
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)
    httpd.conf("AcmeControl off")
    httpd.graceful()
    assert not os.path.exists(os.path.join(httpd.root, "run", "b.sock")) and run(httpd, "status").returncode == 4
    assert len(httpd.log_lines("AC0170")) == 4


# ---- ordering ----

def test_retry(make_httpd, make_pebble):
    """What failed is tried now; a certificate that has not failed is left alone."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    pebble.stop_ca()
    httpd.vhost("a.test")
    httpd.vhost("b.test")
    httpd.start()
    for name in ("a.test", "b.test"):
        httpd.wait_log("%s: .*attempt 1, next try" % name)
    assert run(httpd, "retry", "a.test", "--wait").returncode == 2
    # The ladder has begun anew.
    assert len(httpd.log_lines("a.test: .*attempt 1, next try")) == 2 and not httpd.log_lines("attempt 2")
    pebble.start_ca()
    ok(httpd, "retry", "a.test", "--wait")
    assert httpd.handshake("a.test").issued_by(pebble) and not httpd.handshake("b.test").issued_by(pebble)
    assert {o["name"]: o["result"] for o in objects(httpd, "retry", "--all")} == {"a.test": "nothing to retry", "b.test": "accepted"}
    httpd.wait_live("b.test", pebble)
    assert len(httpd.log_lines("a.test: obtained")) == 1


def test_renew(live):
    """Another certificate, with another key; asked for and not done it is done by the next owner."""
    httpd, chaos, seen = live
    ok(httpd, "renew", "a.test", "--new-key", "--wait")
    new = httpd.wait_live("a.test", chaos, not_serial=seen.serial, timeout=3)
    assert public_key(new) != public_key(seen)
    rule = chaos.on("newOrder", hold="before", times=1)
    ok(httpd, "renew", "a.test")
    rule.wait_held()
    httpd.kill9()
    httpd.start()
    assert httpd.wait_live("a.test", chaos, not_serial=new.serial)


def public_key(seen):
    return x509.load_der_x509_certificate(seen.der).public_key().public_numbers()


def test_wish_outlives_restarts(make_httpd, make_pebble, make_chaos):
    """NAME.retry is not lost when another restart comes before anything could be ordered."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble)
    httpd.use_ca(chaos)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", chaos)
    pebble.suspend()
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    assert "a.test.retry" not in httpd.store_files()
    wish = [r for r in records.read(os.path.join(httpd.store, "a.test.crt.pem.upd")) if r.type == "attempt"][-1]
    assert json.loads(wish.payload)["why"] == "asked for"
    httpd.kill9()
    pebble.resume()
    httpd.start()
    new = httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    httpd.graceful()
    httpd.wait_log("a.test: adopted", count=2)
    assert httpd.handshake("a.test").serial == new.serial and len(httpd.log_lines("a.test: obtained")) == 2


# ---- revocation ----

def test_revoke(live):
    """With the account's key, by the reason's name; another one with another key follows at once."""
    httpd, chaos, seen = live
    ok(httpd, "revoke", "a.test", "keyCompromise")
    told = revoked(chaos, seen.serial)
    assert told["Status"] == "Revoked" and told["Reason"] == 1
    new = httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    assert public_key(new) != public_key(seen) and revoked(chaos, new.serial)["Status"] == "Valid"


def test_revoke_while_stopped(live):
    """Root reads the keys, the children's user talks to the CA; the next start orders."""
    httpd, chaos, seen = live
    httpd.stop()
    trace = os.path.join(httpd.root, "trace")
    done = run(httpd, "revoke", "a.test", prefix=["strace", "-f", "-o", trace, "-e", "trace=socket,setuid,prctl,openat"])
    assert done.returncode == 0, done
    assert revoked(chaos, seen.serial)["Status"] == "Revoked"
    with open(trace) as file:
        lines = file.read().splitlines()
    parent = lines[0].split()[0]
    assert not [line for line in lines if "AF_INET" in line and line.split()[0] == parent]
    child = next(line.split()[0] for line in lines if "setuid(33)" in line)
    dropped = next(i for i, line in enumerate(lines) if "setuid(33)" in line)
    assert not [line for line in lines[:dropped] if line.split()[0] == child and "AF_INET" in line]
    hidden = next(i for i, line in enumerate(lines) if "PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in line)
    assert dropped < hidden < next(i for i, line in enumerate(lines) if "AF_INET" in line)
    httpd.start()
    assert httpd.wait_live("a.test", chaos, not_serial=seen.serial)


# ---- the account ----

def thumbprint(httpd):
    return objects(httpd, "account", "show")[0]["thumbprint"]


@pytest.mark.parametrize("running", [True, False])
def test_rollover(live, running):
    """A new key, used from then on and after a restart; the former one is kept, and the CA knows it no more."""
    httpd, chaos, seen = live
    account, = objects(httpd, "account", "show")
    key_file = account["file"]
    with open(key_file) as file:
        former = json.load(file)
    if not running:
        httpd.stop()
    ok(httpd, "account", "rollover")
    ok(httpd, "account", "rollover")
    assert thumbprint(httpd) == account["thumbprint"] and objects(httpd, "account", "show")[0]["newKey"]
    if running:
        ok(httpd, "renew", "a.test", "--wait")
        seen = httpd.wait_live("a.test", chaos, not_serial=seen.serial)
        httpd.graceful()
    else:
        httpd.start()
    httpd.wait_log("AC0939")
    with open(key_file) as file:
        new = json.load(file)
    with open(key_file + ".former") as file:
        assert json.load(file) == former and new["x"] != former["x"]
    assert os.stat(key_file).st_mode & 0o777 == os.stat(key_file + ".former").st_mode & 0o777 == 0o600
    now, = objects(httpd, "account", "show")
    assert "newKey" not in now and now["kid"] == account["kid"] and now["thumbprint"] != account["thumbprint"]
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)
    ok(httpd, "renew", "a.test", "--wait")
    assert httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    assert chaos.count("newAccount") <= 2


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_rollover_interrupted(live, lost):
    """Everything dies while the CA is told: whichever key it has in the end, the account goes on working."""
    httpd, chaos, seen = live
    rule = chaos.on("keyChange", hold="before" if lost == "request" else "after", times=1)
    asker = subprocess.Popen([program(), "--store", httpd.store, "account", "rollover"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        rule.wait_held()
        log = objects(httpd, "account", "show")[0]["file"] + ".upd"
        assert [r for r in records.read(log) if r.type == "rollover"], "told before it was recorded"
        httpd.kill9()
    finally:
        asker.wait(60)
    httpd.start()
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)
    ok(httpd, "renew", "a.test", "--wait")
    new = httpd.wait_live("a.test", chaos, not_serial=seen.serial)
    httpd.graceful()
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)
    ok(httpd, "renew", "a.test", "--wait")
    assert httpd.wait_live("a.test", chaos, not_serial=new.serial)
    assert bool(httpd.log_lines("AC0939")) == (lost == "answer")


def test_deactivate(live):
    httpd, chaos, seen = live
    ok(httpd, "account", "deactivate", "--yes")
    ok(httpd, "renew", "a.test")
    httpd.wait_log("a.test: .*attempt 1, next try")
    assert httpd.handshake("a.test").serial == seen.serial
    key_file = objects(httpd, "account", "show")[0]["file"]
    os.rename(key_file, key_file + ".deactivated")
    httpd.graceful()
    assert util.wait_for(lambda: run(httpd, "status").returncode == 0)
    ok(httpd, "retry", "a.test", "--wait")
    assert httpd.wait_live("a.test", chaos, not_serial=seen.serial)


@pytest.mark.alone
@pytest.mark.sweep
def test_three_thousand_rows_are_quick(make_httpd):
    httpd = make_httpd()
    httpd.conf("AcmeStoreDir %s\nAcmeDirectoryURL https://localhost:1/dir\nAcmeTermsOfService accepted" % httpd.store)
    httpd.conf("\n".join("<AcmeCertificate n%d.test>\n</AcmeCertificate>" % i for i in range(3000)))
    httpd.start(timeout=60)
    httpd.wait_log("3000 certificates: ", timeout=30)
    for stopped in (False, True):
        if stopped:
            httpd.stop()
        started = time.monotonic()
        assert len(ok(httpd, "status").splitlines()) == 3001
        took = time.monotonic() - started
        print("status of 3,000 certificates, %s: %.2f s" % ("stopped" if stopped else "running", took))
        assert took < 2


# ---- a server that is not what it should be ----

def pretend(httpd, answer):
    """The socket of the inventory is one of ours; answer None: nobody accepts, and its queue is full."""
    path = os.path.join(httpd.root, "pretended.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    inventory = os.path.join(httpd.store, "inventory.json")
    with open(inventory) as file:
        known = json.load(file)
    with open(inventory, "w") as file:
        json.dump(dict(known, socket=path), file)
    if answer is None:
        callers = [listener]
        while True:
            callers.append(socket.socket(socket.AF_UNIX))
            callers[-1].setblocking(False)
            try:
                callers[-1].connect(path)
            except BlockingIOError:
                return callers

    def serve():
        caller, _ = listener.accept()
        with caller:
            caller.recv(65536)
            caller.sendall(answer)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return [listener]


def test_a_queue_nobody_takes_from(live):
    httpd, _, _ = live
    kept = pretend(httpd, None)
    began = time.monotonic()
    done = run(httpd, "status")
    assert done.returncode == 4 and time.monotonic() - began < 20, done
    assert kept


def test_what_a_spoilt_child_answers(live):
    """No control character reaches the terminal, as JSON neither."""
    httpd, _, _ = live
    line = json.dumps({"name": "a.test", "error": "\u009b31mred\x1b[0m\x7f"}, ensure_ascii=False)
    kept = pretend(httpd, (line + "\n{\"ok\":true}\n").encode())
    done = run(httpd, "status", "--json")
    assert "31mred" in done.stdout and not [c for c in done.stdout if c in "\u009b\x1b\x7f"], done
    assert kept
