# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Challenges proved by TXT records: the administrator's program, the zone's servers, what is left behind."""
import collections
import json
import os
import re
import signal
import time

import pytest

from lib import util
from lib.clock import Clock
from lib.dnsserver import Bind, Knot, address, resolving
from lib.httpd import SOURCE

NSUPDATE = os.path.join(SOURCE, "contrib", "dns01-nsupdate.sh")
Call = collections.namedtuple("Call", "verb name value env")

# Talks to pebble-challtestsrv; every call is a line of calls.log. setup adds a value, teardown removes all.
PROGRAM = """#!/usr/bin/python3
import json, os, sys, time, urllib.request
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "calls.log"), "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
def post(command, **values):
    urllib.request.urlopen("http://127.0.0.1:%(port)d/" + command, json.dumps(values).encode(), timeout=5)
verb, name, value = sys.argv[-3:]
host = os.environ["ACME_DNS_RECORD"] + "."
%(before)s
if verb == "setup":
    post("set-txt", host=host, value=value)
else:
    post("clear-txt", host=host)
print("done")
"""


class Program:
    def __init__(self, httpd, pebble, before="", name="program"):
        self.dir = os.path.join(httpd.root, name)
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o777)
        self.path = os.path.join(self.dir, "dns01")
        with open(self.path, "w") as file:
            file.write(PROGRAM % {"port": pebble.dns_management, "before": before})
        os.chmod(self.path, 0o755)

    def calls(self):
        path = os.path.join(self.dir, "calls.log")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return [Call(*argv[-3:], env) for argv, env in map(json.loads, file)]

    def paired(self):
        """Every value that was set up was torn down after it."""
        calls = self.calls()
        return all(any(later.verb == "teardown" and later.value == call.value for later in calls[i + 1:])
                   for i, call in enumerate(calls) if call.verb == "setup")


@pytest.fixture
def make_server(workdir):
    made = []

    def make(kind, zones, at=None):
        if kind.program is None:
            pytest.skip("%s is not installed" % kind.__name__.lower())
        made.append(kind(os.path.join(workdir, "dns%d" % len(made)), at or address(), zones))
        return made[-1].start()
    yield make
    for server in made:
        server.stop()


def updated(make_httpd, make_pebble, server, options="", key=None, names=("a.test", "*.a.test"), **more):
    """A server whose names are proved by the shipped program."""
    httpd = make_httpd(**more)
    pebble = make_pebble(httpd, dnsserver=server.address + ":53")
    httpd.use_ca(pebble)
    resolving(httpd, server)
    httpd.conf("AcmeDns01Command %s -k %s -s %s %s\nAcmeChallenges dns-01" % (NSUPDATE, key or server.key_file, server.address, options))
    httpd.vhost(names[0], extra="AcmeNames " + " ".join(names))
    return httpd, pebble


def scripted(make_httpd, make_pebble, before="", conf="AcmeDns01Propagation 0", pebble=None, **more):
    httpd = make_httpd(**more)
    pebble = make_pebble(httpd, **(pebble or {}))
    httpd.use_ca(pebble)
    program = Program(httpd, pebble, before)
    httpd.conf("AcmeDns01Command %s -x y\n%s" % (program.path, conf))
    return httpd, pebble, program


# ---- the shipped program, real servers ----

@pytest.mark.parametrize("kind", [Knot, Bind])
def test_wildcard_and_its_domain_by_nsupdate(make_httpd, make_pebble, make_server, kind):
    """Two values under one name, seen at the zone's server before the CA is told, gone afterwards."""
    server = make_server(kind, {"a.test": {"update": True}})
    httpd, pebble = updated(make_httpd, make_pebble, server)
    httpd.start()
    seen = httpd.wait_live("a.test", pebble)
    assert seen.names == ["*.a.test", "a.test"] and not httpd.log_lines("attempt 1|AC0444")
    calls = [re.search("AcmeDns01Command (.*)", line).group(1).split()[:3] for line in httpd.wait_log("AC0438", count=4)]
    assert [call[0] for call in calls] == ["setup", "setup", "teardown", "teardown"]
    assert len({call[2] for call in calls}) == 2 and {call[1] for call in calls} == {"_acme-challenge.a.test"}
    assert len(httpd.log_lines("AC0448.*%s.*: there" % re.escape(server.address))) == 2
    assert util.wait_for(lambda: not server.txt("_acme-challenge.a.test"), 3)


def test_delegated_record_by_knsupdate(make_httpd, make_pebble, make_server):
    """_acme-challenge as an alias into a zone that may be updated, the domain's own zone may not (bind9 follows it for
    Pebble, knot would not)."""
    server = make_server(Bind, {"a.test": {"records": ["_acme-challenge CNAME a.proofs.test."]}, "proofs.test": {"update": True}})
    httpd, pebble = updated(make_httpd, make_pebble, server, names=("a.test",))
    httpd.conf("AcmeCommandEnv NSUPDATE=knsupdate")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    assert httpd.log_lines("AC0448.*: there") and not httpd.log_lines("attempt 1")
    assert util.wait_for(lambda: not server.txt("a.proofs.test"), 3)


@pytest.mark.parametrize("kind,key,why", [(Knot, "poor_key_file", "BADKEY"), (Bind, "poor_key_file", "REFUSED"),
                                          (Bind, "other_key_file", "BADKEY")])
def test_refusals_of_the_server_are_told(make_httpd, make_pebble, make_server, kind, key, why):
    server = make_server(kind, {"a.test": {"update": True}})
    httpd, _ = updated(make_httpd, make_pebble, server, names=("a.test",), key=getattr(server, key))
    httpd.start()
    line = httpd.wait_log("AC0437: a.test: .*attempt 1")[-1]
    # The nsupdate of bind 9.20 says of an unsigned refusal only that it is unsigned.
    assert (why in line or "expected a TSIG" in line) and "setup _acme-challenge.a.test" in line and re.search("the server('s policy)? does not", line)


def test_all_servers_of_the_zone_are_asked(make_httpd, make_pebble, make_server):
    """One of two does not get it: the CA is told after AcmeDns01Propagation, with a line that says which."""
    at, second = address(), address()
    zone = {"a.test": {"update": True, "ns": [at, second]}}
    first = make_server(Knot, zone, at)
    make_server(Knot, zone, second)
    httpd, pebble = updated(make_httpd, make_pebble, first, names=("a.test",))
    httpd.conf("AcmeDns01Propagation 2s")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    line = httpd.wait_log("AC0444")[-1]
    assert "ns1.a.test (%s): there" % at in line and "ns2.a.test (%s): not there" % second in line


# ---- the program's interface ----

def test_arguments_and_environment(make_httpd, make_pebble):
    """mod_md's version 2 arguments; auto takes dns-01 for wildcards; setup and teardown in pairs."""
    httpd, pebble, program = scripted(make_httpd, make_pebble)
    httpd.vhost("a.test", extra="AcmeNames a.test *.a.test")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    httpd.wait_log("AC0438.*teardown", count=2)
    calls = program.calls()
    assert [call.verb for call in calls] == ["setup", "setup", "teardown", "teardown"] and program.paired()
    assert {call.name for call in calls} == {"a.test"} and {call.env["ACME_NAME"] for call in calls} == {"a.test", "*.a.test"}
    for call in calls:
        assert call.env["ACME_DNS_RECORD"] == "_acme-challenge.a.test" and call.env["ACME_DNS_VALUE"] == call.value
        assert call.env["ACME_CHALLENGE"] == "dns-01" and call.env["ACME_CERTIFICATE"] == "a.test"
        assert call.env["ACME_CA"] == pebble.directory and len(call.value) == 43


def test_account_label(make_httpd, make_pebble):
    """dns-account-01 when it is named: the argument stays the bare domain, the record is in the environment."""
    httpd, pebble, program = scripted(make_httpd, make_pebble, conf="AcmeDns01Propagation 0\nAcmeChallenges dns-account-01")
    if pebble.version < (2, 10):
        pytest.skip("this Pebble has no dns-account-01 as of 2025")
    httpd.vhost("a.test")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    httpd.wait_log("AC0438.*teardown")
    assert [call.name for call in program.calls()] == ["a.test", "a.test"]
    assert all(re.fullmatch(r"_[a-z2-7]{16}\._acme-challenge\.a\.test", call.env["ACME_DNS_RECORD"]) for call in program.calls())


def test_program_that_replaces_values(make_httpd, make_pebble, workdir):
    """The first attempt fails, the second proves one name after the other."""
    clock = Clock(workdir)
    httpd, pebble, program = scripted(make_httpd, make_pebble, 'post("clear-txt", host=host)', env=clock.env)
    httpd.vhost("a.test", extra="AcmeNames a.test *.a.test")
    httpd.start()
    httpd.wait_log("attempt 1, next try")
    first = program.calls()
    assert [call.verb for call in first] == ["setup", "setup", "teardown", "teardown"]
    clock.forward(70)
    httpd.wait_live("a.test", pebble)
    httpd.wait_log("AC0438.*teardown", count=4)
    assert [call.verb for call in program.calls()[4:]] == ["setup", "teardown", "setup", "teardown"] and program.paired()


BAD = {
    "hangs": "time.sleep(60)",
    "daemon": "os.fork() or (os.setsid(), time.sleep(8), os._exit(0))",
    "floods": 'print("x" * 10000000)\nsys.exit(3)',
    "fails": 'print("no such zone\\033[31m")\nsys.exit(3)',
}


def test_bad_programs_hold_nobody_up(make_httpd, make_pebble):
    """One that hangs, forks a daemon that keeps its output, writes 10 MB, fails, cannot be executed or is gone: the
    others' certificates come, with one worker."""
    httpd, pebble, _ = scripted(make_httpd, make_pebble, conf="AcmeDns01Propagation 0\nAcmeWorkers 1\nAcmeChallenges dns-01\nAcmeDns01Timeout 3s")
    programs = {name: Program(httpd, pebble, before, name) for name, before in BAD.items()}
    programs["mode"] = Program(httpd, pebble, "", "mode")
    os.chmod(programs["mode"].path, 0o644)
    programs["gone"] = Program(httpd, pebble, "", "gone")
    for name, program in programs.items():
        httpd.vhost("%s.test" % name, extra="AcmeDns01Command " + program.path)
    for i in range(2):
        httpd.vhost("good%d.test" % i)
    os.unlink(programs["gone"].path)
    begun = time.time()
    httpd.start()
    for i in range(2):
        httpd.wait_live("good%d.test" % i, pebble)
    assert time.time() - begun < 6 and not httpd.log_lines("hangs.test: .*attempt 1")
    httpd.wait_live("daemon.test", pebble)
    for name in ("hangs", "floods", "fails", "mode", "gone"):
        line = httpd.wait_log(r"AC0437: %s\.test: .*attempt 1" % name)[-1]
        assert len(line) < 1000 and "\033" not in line and "x1b" not in line
    assert "no such zone" in httpd.log_lines(r"AC0437: fails\.test")[-1]
    assert programs["hangs"].calls()[-1].verb == "teardown"


# ---- what is left behind ----

def test_values_are_removed_after_a_crash(make_httpd, make_pebble):
    """Power cut while the program is at it, the order gone at the CA: the next owner calls teardown."""
    httpd, pebble, program = scripted(make_httpd, make_pebble, 'time.sleep(20 * (verb == "setup"))')
    httpd.vhost("a.test", extra="AcmeChallenges dns-01")
    httpd.start()
    assert util.wait_for(program.calls, 10)
    httpd.kill9()
    pebble.stop_ca()
    httpd.start()
    assert util.wait_for(lambda: any(call.verb == "teardown" for call in program.calls()), 15), httpd.log()
    assert program.calls()[0].value in [call.value for call in program.calls() if call.verb == "teardown"]


def test_next_owner_removes_what_is_left(make_httpd, make_pebble):
    """The owner dies between certificate and teardown; nothing is to be ordered, the value goes all the same."""
    httpd, pebble, program = scripted(make_httpd, make_pebble, 'verb == "teardown" and not os.path.exists(here + "/go") and time.sleep(30)')
    httpd.vhost("a.test", extra="AcmeChallenges dns-01")
    httpd.start()
    httpd.wait_live("a.test", pebble)
    assert util.wait_for(lambda: any(call.verb == "teardown" for call in program.calls()), 10)
    open(os.path.join(program.dir, "go"), "w").close()
    os.kill(httpd.owner(), signal.SIGKILL)
    httpd.wait_log("AC0438.*teardown")
    assert [call.verb for call in program.calls()] == ["setup", "teardown", "teardown"] and program.paired()
    assert not httpd.log_lines("attempt 1")


# ---- dns-persist-01 ----

def spelled(member):
    """The member with the issuers as one of the two drafts has it."""
    def edit(reply):
        authz = json.loads(reply.body)
        for challenge in authz.get("challenges", []):
            for former in ("issuer-domain-names", "issuerDomainNames"):
                if former in challenge:
                    challenge[member] = challenge.pop(former)
        reply.body = json.dumps(authz).encode()
    return edit


@pytest.mark.parametrize("member", ["issuer-domain-names", "issuerDomainNames"])
def test_persistent_record(make_httpd, make_pebble, make_chaos, make_server, workdir, member):
    """The record is asked for in log and status and waited for, and the CA told when it is there."""
    clock = Clock(workdir)
    server = make_server(Knot, {"a.test": {"update": True}})
    httpd = make_httpd(env=clock.env)
    pebble = make_pebble(httpd, dnsserver=server.address + ":53")
    if pebble.version < (2, 10):
        pytest.skip("this Pebble has no dns-persist-01")
    chaos = make_chaos(pebble)
    chaos.on("authz", edit=spelled(member))
    httpd.use_ca(chaos)
    httpd.conf("<Location /acme-status>\n    SetHandler acme-status\n</Location>")
    httpd.vhost("plain.test", tls=False)
    resolving(httpd, server)
    httpd.conf("AcmeChallenges dns-persist-01")
    httpd.vhost("a.test", extra="AcmeNames *.a.test a.test")
    httpd.start()
    line = httpd.wait_log("AC0446")[0]
    name, value = re.search(r'(_validation-persist\.\S+)\. TXT "([^"]*)"', line).groups()
    assert name == "_validation-persist.a.test"
    assert re.fullmatch(r"pebble\.letsencrypt\.org; accounturi=https://\S+(; policy=wildcard)?", value)
    shown = json.loads(httpd.get("plain.test", "/acme-status?json", tls=False).body)["certificates"][0]
    assert name in shown["publish"] and value in shown["publish"]
    server.add(name, "TXT", '"%s; accounturi=https://other.test/1"' % value.split(";")[0])
    server.add(name, "TXT", '"%s"' % (value if "wildcard" in value else value + "; policy=wildcard"))
    clock.forward(70)
    seen = httpd.wait_live("a.test", pebble)
    assert seen.names == ["*.a.test", "a.test"] and not httpd.log_lines("attempt 1")
    assert len(httpd.log_lines("AC0446")) == 1 and len(server.txt(name)) == 2
