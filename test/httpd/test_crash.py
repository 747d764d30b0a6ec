# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Whoever works on an order may die at any instant: the next one goes on with the same order.

A proxy in front of the CA holds one exchange, before or after it was forwarded, and the process that waits for the reply
is killed. The CA must have seen one order, one account and one finalization, for the one key that was staged first."""
import os
import signal
import time

import pytest
from cryptography.hazmat.primitives import serialization

from lib import records, util
from lib.httpd import logged_at

STEPS = ["directory", "newNonce", "newAccount", "newOrder", "authz", "challenge", "order", "finalize", "certificate"]
EVERYWHERE = [(step, when) for step in STEPS for when in ("before", "after")]
THREE = [("newOrder", "after"), ("finalize", "after"), ("certificate", "before")]


class Interrupted:
    """A server whose owner waits for the CA at one step."""

    def __init__(self, make_httpd, make_pebble, make_chaos, step, when, mpm="event"):
        self.httpd = make_httpd(mpm=mpm)
        self.chaos = make_chaos(make_pebble(self.httpd))
        self.httpd.use_ca(self.chaos)
        self.httpd.vhost("a.test", aliases=["www.a.test"])
        rule = self.chaos.on(step, nth=1, hold=when)
        self.httpd.start()
        rule.wait_held()
        self.owner = self.httpd.owner()
        assert self.owner in self.httpd.children()

    def staged(self, kind):
        """Records of a kind in both logs, as they are on disk."""
        names = ("a.test.crt.pem.upd", "a.test.key.pem.upd")
        return [r for n in names for r in records.read(os.path.join(self.httpd.store, n)) if r.type == kind]

    def forwarded(self, step, status=None):
        """Requests that reached the CA."""
        return [e for e in self.chaos.requests(step) if e.status is not None and status in (None, e.status)]

    def check_one_of_each(self):
        seen = self.httpd.wait_live("a.test", self.chaos)
        assert len(self.forwarded("newOrder")) == 1
        assert len(self.forwarded("finalize")) == 1
        assert len(self.forwarded("newAccount", 201)) == 1
        assert not self.httpd.log_lines(r"AC0\d+: a\.test: .*next try at")
        return seen

    def check_same_key(self, seen, keys):
        """The certificate is for the only key that was ever staged."""
        assert len({r.payload for r in keys}) == 1
        key = serialization.load_pem_private_key(keys[0].payload, None)
        spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert spki in seen.der


@pytest.fixture
def interrupt(make_httpd, make_pebble, make_chaos):
    return lambda *args, **more: Interrupted(make_httpd, make_pebble, make_chaos, *args, **more)


def check_next_owner_resumes(case, step):
    httpd = case.httpd
    before = len(httpd.log_lines("owner is pid"))
    # Whatever is not yet told to the CA, the key and the intent are on disk when it could hear of them.
    if step not in ("directory", "newNonce", "newAccount"):
        assert len(case.staged("key")) == 1 and case.staged("order")
    killed = time.time()
    os.kill(case.owner, signal.SIGKILL)
    lines = httpd.wait_log("owner is pid", count=before + 1)
    assert logged_at(lines[-1]) - killed <= util.patience(3)
    seen = case.check_one_of_each()
    case.check_same_key(seen, case.staged("key"))
    if step in ("authz", "challenge", "order", "finalize", "certificate"):
        assert httpd.log_lines("a.test: resuming order https://")


@pytest.mark.parametrize("step,when", EVERYWHERE)
def test_owner_killed_at_every_step(interrupt, step, when):
    check_next_owner_resumes(interrupt(step, when), step)


@pytest.mark.parametrize("step,when", THREE)
def test_owner_killed_with_prefork(interrupt, step, when):
    check_next_owner_resumes(interrupt(step, when, mpm="prefork"), step)


@pytest.mark.parametrize("step,when", THREE)
def test_all_killed_then_started(interrupt, step, when):
    """What root reads from the logs is all that is left of the order."""
    case = interrupt(step, when)
    keys = case.staged("key")
    case.httpd.kill9()
    case.httpd.start()
    seen = case.check_one_of_each()
    case.check_same_key(seen, keys + case.staged("key"))


@pytest.mark.parametrize("how,step,when", [("graceful", "newOrder", "after"), ("restart", "authz", "after"),
                                           ("stop", "finalize", "after")])
def test_restarted_in_the_middle(interrupt, how, step, when):
    case = interrupt(step, when)
    keys = case.staged("key")
    if how == "stop":
        case.httpd.stop()
        case.httpd.start()
    else:
        getattr(case.httpd, how)()
    seen = case.check_one_of_each()
    case.check_same_key(seen, keys + case.staged("key"))
    assert not case.httpd.log_lines("exit signal|AH00046")


def test_killed_again_and_again(interrupt):
    """One death at each of the steps of one order, and still one order."""
    case = interrupt("newOrder", "after")
    for step, when in [("authz", "after"), ("challenge", "after"), ("finalize", "before"), ("certificate", "after")]:
        rule = case.chaos.on(step, nth=1, hold=when)
        os.kill(case.owner, signal.SIGKILL)
        rule.wait_held()
        case.owner = util.wait_for(case.httpd.owner, 5)
    os.kill(case.owner, signal.SIGKILL)
    seen = case.check_one_of_each()
    case.check_same_key(seen, case.staged("key"))
