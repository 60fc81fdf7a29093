"""The lane of slow computations: one at a time, one of each session, stopped and abandoned without harm."""

import os
import sys
import threading
import time

import pytest
from toys import refusal

from demo.server.lanes import NICENESS, SlowLane, StoppedError, Turns, begun


class Work:
    """A computation of `steps` steps that waits in the first until it is let go."""

    def __init__(self, steps=3):
        self.steps, self.began, self.go, self.done = steps, threading.Event(), threading.Event(), []

    def __call__(self, tick):
        self.began.set()
        for n in range(self.steps):
            assert self.go.wait(20)
            tick(n + 1, self.steps)
            self.done.append(n)
        return sum(self.done)


def started(lane, owner, work, **more):
    """The thread that runs it and the list that gets its answer or error."""
    answer = []

    def call():
        try:
            answer.append(lane.run(owner, work, **more))
        except ValueError as error:
            answer.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, answer


def until(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_the_second_waits_for_the_first_and_is_told_so():
    lane, first, second, told = SlowLane(), Work(), Work(), []
    one, a = started(lane, "anna", first)
    assert first.began.wait(20)
    two, b = started(lane, "ben", second, waiting=told.append)
    until(lambda: told)
    assert told[0] == 1
    assert not second.began.is_set()
    second.go.set()
    first.go.set()
    one.join(20)
    two.join(20)
    assert (a, b) == ([3], [3])


def test_a_session_has_one_place_and_its_newest_wish_holds():
    lane, old, new = SlowLane(), Work(), Work()
    one, a = started(lane, "anna", old)
    assert old.began.wait(20)
    two, b = started(lane, "anna", new)
    old.go.set()
    new.go.set()
    one.join(20)
    two.join(20)
    assert isinstance(a[0], StoppedError)
    assert b == [3]


@pytest.mark.parametrize("waits", [False, True])
def test_stopping_ends_it_running_or_waiting(waits):
    lane, ahead, work = SlowLane(), Work(), Work()
    threads = []
    if waits:
        threads.append(started(lane, "ben", ahead)[0])
        assert ahead.began.wait(20)
    thread, answer = started(lane, "anna", work)
    until(lambda: work.began.is_set() or len(lane._tickets) == 2)
    lane.stop("anna")
    work.go.set()
    thread.join(10)  # while the one ahead goes on
    assert isinstance(answer[0], StoppedError)
    assert work.done == []
    ahead.go.set()
    for one in threads:
        one.join(20)
    assert lane._tickets == []


def test_too_many_are_refused_with_a_sentence():
    lane, work = SlowLane(most=2), Work()
    threads = [started(lane, f"{n}", work) for n in range(2)]
    until(lambda: len(lane._tickets) == 2)
    assert "2 slow computations wait already" in refusal(lambda: lane.run("late", work))
    assert lane._tickets[0].owner == "0"
    work.go.set()
    for thread, _ in threads:
        thread.join(20)


def test_a_timeout_of_the_work_itself_is_an_error_like_others():
    def late(tick):
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError, match="no answer"):
        SlowLane().run("anna", late)


def test_an_error_comes_back_and_frees_the_lane():
    lane = SlowLane()

    def broken(tick):
        raise ValueError("no such class")

    with pytest.raises(ValueError, match="no such class"):
        lane.run("anna", broken)
    assert lane.run("anna", lambda tick: 7) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_it_works_at_low_priority_and_the_page_does_not():
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    lane = SlowLane()
    theirs = lane.run("anna", lambda tick: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert theirs == max(mine, NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_turns_are_taken_in_the_order_in_which_threads_came_and_no_more_at_once():
    turns, went, go = Turns(2), [], [threading.Event() for _ in range(6)]

    def take(n):
        with turns:
            went.append(n)
            assert go[n].wait(20)

    threads = []
    for n in range(6):
        threads.append(threading.Thread(target=take, args=(n,), daemon=True))
        threads[-1].start()
        until(lambda n=n: len(went) + len(turns._waiting) == n + 1)
    assert went == [0, 1]
    for freed, count in ((1, 3), (0, 4), (2, 5), (4, 6)):  # a place is free: the next comes, and no other
        go[freed].set()
        until(lambda count=count: len(went) >= count)
        assert len(went) == count
        assert len(turns._waiting) == 6 - count
    for each in go:
        each.set()
    for thread in threads:
        thread.join(20)
    assert went == [0, 1, 2, 3, 4, 5]
    assert turns._free == 2


def test_what_began_first_goes_first_whoever_came_to_the_lane_before():
    turns, went, began, come = Turns(1), [], [], [threading.Event() for _ in range(3)]

    def take(n):
        with begun():
            began.append(n)
            assert come[n].wait(20)
            with begun(), turns:  # a handler within a handler keeps its moment
                went.append(n)

    threads = [threading.Thread(target=take, args=(n,), daemon=True) for n in range(3)]
    with turns:
        for n, thread in enumerate(threads):
            thread.start()
            until(lambda n=n: len(began) == n + 1)
        for count, n in enumerate((2, 0, 1)):
            come[n].set()
            until(lambda count=count: len(turns._waiting) == count + 1)
    for thread in threads:
        thread.join(20)
    assert went == [0, 1, 2]


def test_a_place_is_given_back_after_an_error():
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(RuntimeError), turns:
            raise RuntimeError
    assert turns._free == 1
