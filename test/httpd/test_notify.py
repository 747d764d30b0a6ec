# Licensed under the Apache License, Version 2.0; see LICENSE.
"""AcmeNotifyCommand: what it is told, by whom, with what; and that nothing depends on it."""
import glob
import json
import os
import pwd
import signal
import sys
import time

import pytest

from lib import util
from lib.clock import Clock

PROGRAM = """#!%s
import json, os, sys
out = {"argv": sys.argv[1:], "stdin": sys.stdin.read(), "env": dict(os.environ), "uid": os.getresuid(), "gid": os.getresgid(),
       "groups": os.getgroups(), "cwd": os.getcwd(), "sid": os.getsid(0), "pid": os.getpid(),
       "fds": [os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and
               os.path.exists("/proc/self/fd/" + fd)]}
name = "%s/told.%%d" %% os.getpid()
with open(name + ".new", "w") as file:
    json.dump(out, file)
os.rename(name + ".new", name)
"""
HOSTILE = 'x"; touch /tmp/acme-hostile; $(id) `id` \\n\u202e\x1b[31m -o --help'


class Told:
    """The calls of the program, in the order of their time."""

    def __init__(self, workdir):
        self.dir = os.path.join(workdir, "told")
        os.mkdir(self.dir)
        os.chmod(self.dir, 0o1777)
        self.program = os.path.join(workdir, "notify")
        with open(self.program, "w") as file:
            file.write(PROGRAM % (sys.executable, self.dir))
        os.chmod(self.program, 0o755)

    def calls(self):
        paths = sorted(glob.glob(self.dir + "/told.*[0-9]"), key=os.path.getmtime)
        return [json.load(open(path)) for path in paths]

    def events(self):
        return [call["argv"][-2] for call in self.calls()]

    def of(self, event, timeout=10):
        calls = util.wait_for(lambda: [c for c in self.calls() if c["argv"][-2] == event], timeout)
        assert calls, "no %s, but %s" % (event, self.events())
        return calls[-1], json.loads(calls[-1]["stdin"])

    def settled(self, *events):
        """All of these have been told, and nothing more comes."""
        util.wait_for(lambda: len(self.events()) >= len(events), 10)
        time.sleep(0.8)
        assert sorted(self.events()) == sorted(events)


@pytest.fixture
def told(workdir):
    return Told(workdir)


def ordering(httpd, ca, told, *more):
    httpd.use_ca(ca)
    httpd.conf("AcmeNotifyCommand %s -v" % told.program)
    for line in more:
        httpd.conf(line)
    httpd.vhost("a.test", aliases=["www.a.test"])


def test_events_of_a_life(make_httpd, make_pebble, told):
    """Each once, with names, CA, serial and times; no event is told again by the owners that follow."""
    httpd = make_httpd(env={"SECRET": "of root", "PASSED": "on"})
    pebble = make_pebble(httpd)
    ordering(httpd, pebble, told, "AcmeCommandEnv PASSED ABSENT MINE=1")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    call, said = told.of("live")
    told.settled("renewing", "obtained", "live")
    assert call["argv"] == ["-v", "live", "a.test"]
    assert int(said["serial"], 16) == seen.serial and said["names"] == ["a.test", "www.a.test"]
    assert said["directory"] == pebble.directory and said["event"] == "live" and said["certificate"] == "a.test"
    assert said["notAfter"].endswith("Z") and said["keyType"] == "P-256"
    assert call["env"] == {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "PASSED": "on",
                           "MINE": "1", **{k: v for k, v in call["env"].items() if k == "LC_CTYPE"}}  # Python's own
    assert call["fds"] == [] and call["cwd"] == "/" and call["sid"] == call["pid"]
    assert set(call["uid"]) == {pwd.getpwnam("www-data").pw_uid}
    assert httpd.log_lines("AC0138.*ABSENT")
    httpd.graceful()
    call, said = told.of("adopted")  # so the second owner is there
    assert int(said["serial"], 16) == seen.serial and said["certificateFile"] == os.path.join(httpd.store, "a.test.crt.pem")
    httpd.graceful()
    httpd.wait_log("owns the store", count=3)
    httpd.stop()
    httpd.start()
    httpd.wait_log("owns the store", count=4)
    told.settled("renewing", "obtained", "live", "adopted")
    assert not httpd.log_lines("AC0914")


def test_nothing_of_the_past(make_httpd, make_pebble, told):
    """A program that is new hears of what happens from then on."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    httpd.use_ca(pebble)
    httpd.vhost("a.test")
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    httpd.graceful()
    httpd.wait_log("owns the store", count=2)
    httpd.conf("AcmeNotifyCommand %s" % told.program)
    httpd.graceful()
    httpd.wait_log("owns the store", count=3)
    told.settled()
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    httpd.wait_live("a.test", pebble, not_serial=seen.serial)
    told.settled("renewing", "obtained", "live")


def test_what_a_ca_says_is_no_argument(make_httpd, make_pebble, make_chaos, told):
    """Hostile text of a CA reaches the program on its standard input, printable, and nowhere else."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    chaos = make_chaos(pebble)
    problem = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": HOSTILE, "status": 400}
    chaos.on("newOrder", status=400, headers={"Content-Type": "application/problem+json"}, body=json.dumps(problem))
    ordering(httpd, chaos, told)
    httpd.start()
    call, said = told.of("failed")
    assert call["argv"] == ["-v", "failed", "a.test"]
    assert "touch /tmp/acme-hostile; $(id) `id`" in said["error"] and "\x1b" not in said["error"]
    assert said["problem"] == "rejectedIdentifier" and said["failures"] == 1 and said["nextTry"].endswith("Z")
    assert "hostile" not in json.dumps([call["argv"], call["env"]])
    assert not os.path.exists("/tmp/acme-hostile")


@pytest.mark.parametrize("body,says", [(None, "AC0137"), ("exit 3", "exit status 3"), ("sleep 100", None)],
                         ids=["missing", "failing", "hanging"])
def test_nothing_depends_on_the_program(make_httpd, make_pebble, told, body, says):
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    ordering(httpd, pebble, told)
    with open(told.program, "w") as file:
        file.write("#!/bin/sh\necho $$ >>%s/pids\n%s\n" % (told.dir, body))
    if body is None:
        os.unlink(told.program)
    httpd.start()
    httpd.wait_live("a.test", pebble)
    if says:
        httpd.wait_log("AC0914.*a.test: AcmeNotifyCommand live", timeout=5)
        assert httpd.log_lines(says) and len(httpd.log_lines("AC0914.* renewing")) == 1
        return
    pid = int(util.wait_for(lambda: os.path.exists(told.dir + "/pids") and open(told.dir + "/pids").read()).split()[0])
    began = time.monotonic()
    httpd.graceful()
    httpd.wait_log("owns the store", count=2, timeout=5)
    assert time.monotonic() - began < util.patience(5)
    assert util.wait_for(lambda: not util.running(pid), 3)


def helpers(httpd, user="nobody"):
    uid = pwd.getpwnam(user).pw_uid
    return [pid for pid in util.children_of(httpd.pid) if "\nUid:\t%d\t" % uid in open("/proc/%d/status" % pid).read()]


def test_command_user(make_httpd, make_pebble, told):
    """As that user and no other, by a helper that holds nothing of root's, is replaced when it dies, stays for the
    children of its generation, and goes with them."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    ordering(httpd, pebble, told, "AcmeCommandUser nobody")
    httpd.start()
    nobody = pwd.getpwnam("nobody")
    first, = helpers(httpd)
    seen = httpd.wait_live("a.test", pebble)
    call, said = told.of("live")
    told.settled("renewing", "obtained", "live")
    assert set(call["uid"]) == {nobody.pw_uid} and set(call["gid"]) == {nobody.pw_gid} and set(call["groups"]) <= {nobody.pw_gid}
    assert call["fds"] == [] and int(said["serial"], 16) == seen.serial
    targets = [os.readlink(path) for path in glob.glob("/proc/%d/fd/*" % first)]
    assert sorted(t.split(":")[0] for t in targets) == ["/dev/null"] * 3 + ["socket"] * (len(targets) - 3) and len(targets) <= 5
    os.kill(first, signal.SIGKILL)
    httpd.wait_log("AC0917.*it is started again")
    second, = util.wait_for(lambda: helpers(httpd))
    assert second != first
    util.touch(os.path.join(httpd.store, "a.test.retry"))
    httpd.graceful()
    httpd.wait_live("a.test", pebble, not_serial=seen.serial)
    told.settled("renewing", "obtained", "live", "adopted", "renewing", "obtained", "live")
    assert util.wait_for(lambda: not util.running(second), 10)
    third, = helpers(httpd)
    assert len(httpd.log_lines("AC0917")) == 1 and not httpd.log_lines("AC0914|long lost")
    httpd.stop()
    assert util.wait_for(lambda: not util.running(third), 3)


def test_a_user_that_is_not_there(make_httpd, make_pebble, told):
    """No program runs as somebody else instead; certificates do not care."""
    httpd = make_httpd()
    pebble = make_pebble(httpd)
    ordering(httpd, pebble, told, "AcmeCommandUser nosuchuser")
    assert httpd.configtest().returncode == 0
    httpd.start()
    httpd.wait_live("a.test", pebble)
    assert httpd.wait_log("AC0135.*nosuchuser: there is no such user") and httpd.wait_log("AC0914.*renewing")
    assert told.events() == []


def test_expiring(make_httpd, make_pebble, told, workdir):
    """At a quarter and at a tenth of the lifetime left, once each, with the reason; not again by the next owner."""
    clock = Clock(workdir)
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd)
    ordering(httpd, pebble, told)
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    told.of("live")
    pebble.stop_ca()
    lifetime = (seen.not_after - seen.not_before).total_seconds()
    clock.forward(0.76 * lifetime)
    told.of("failed")
    clock.forward(60)  # every jump is a reason to look again
    call, said = told.of("expiring")
    assert call["argv"][-2:] == ["expiring", "a.test"] and int(said["serial"], 16) == seen.serial
    assert "AC0914" not in httpd.log() and said["error"] and said["failures"] >= 1
    httpd.graceful()
    httpd.wait_log("owns the store", count=2)
    clock.forward(60)
    time.sleep(1)
    assert told.events().count("expiring") == 1
    clock.forward(0.15 * lifetime)
    assert util.wait_for(lambda: told.events().count("expiring") == 2)
