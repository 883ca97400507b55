from __future__ import annotations

from pipelines.jobs.schedule import BACKGROUND, URGENT, Claim, DeviceLease


def training(seq: int, since_s: float = 0.0) -> Claim:
    return Claim(job_id=f"t{seq}", urgency=BACKGROUND, seq=seq, since_s=since_s)


def conversion(seq: int, since_s: float = 0.0) -> Claim:
    return Claim(job_id=f"c{seq}", urgency=URGENT, seq=seq, since_s=since_s)


def test_one_computes_at_a_time_in_the_order_of_submission() -> None:
    lease = DeviceLease(max_pause_s=600)
    for claim in (training(3), training(1), training(2)):
        lease.want(claim)
    order = []
    for _ in range(3):
        decision = lease.decide(0.0)
        assert decision is not None
        assert lease.decide(0.0) is None  # the others wait
        order.append(decision)
        lease.release(decision[0])
    assert order == [("t1", "grant 0"), ("t2", "grant 0"), ("t3", "grant 0")]


def test_a_conversion_interrupts_a_training_once_and_conversions_do_not_interrupt_each_other() -> None:
    lease = DeviceLease(max_pause_s=600)
    lease.want(training(1))
    assert lease.decide(0.0) == ("t1", "grant 0")
    lease.want(conversion(2))
    assert lease.decide(1.0) == ("t1", "pause")
    assert lease.decide(1.1) is None  # said once; it obeys at its next yield
    lease.paused("t1", 2.0)
    assert lease.decide(2.0) == ("c2", "grant 0")
    lease.want(conversion(3))
    assert lease.decide(3.0) is None
    lease.release("c2")
    assert lease.decide(4.0) == ("c3", "grant 0")
    assert lease.waits("t1")
    lease.release("c3")
    assert lease.decide(5.0) == ("t1", "continue 0")
    assert not lease.waits("t1")


def test_a_training_is_paused_for_max_pause_s_at_most_and_then_left_alone_for_its_turn() -> None:
    lease = DeviceLease(max_pause_s=100, turn_s=10)
    lease.want(training(1))
    lease.want(conversion(2))
    assert lease.decide(0.0) == ("c2", "grant 0")
    lease.want(conversion(3, since_s=50.0))
    assert lease.decide(99.0) is None
    assert lease.decide(100.0) == ("c2", "pause")
    lease.paused("c2", 101.0)
    assert lease.decide(101.0) == ("t1", "grant 0")
    assert lease.decide(110.0) is None
    assert lease.decide(111.0) == ("t1", "pause")
    lease.paused("t1", 112.0)
    assert lease.decide(112.0) == ("c2", "continue 0")
    assert lease.decide(211.0) is None  # a new stretch began with the new pause
    assert lease.decide(212.0) == ("c2", "pause")


def test_an_overdue_training_goes_before_waiting_conversions() -> None:
    lease = DeviceLease(max_pause_s=100)
    lease.want(conversion(1))
    assert lease.decide(0.0) == ("c1", "grant 0")
    lease.want(training(3, since_s=0.0))
    lease.want(conversion(2, since_s=0.0))
    lease.release("c1")
    assert lease.decide(101.0) == ("t3", "grant 0")


def test_who_leaves_or_stops_wanting_holds_up_nobody() -> None:
    lease = DeviceLease(max_pause_s=600)
    for claim in (training(1), training(2), training(3)):
        lease.want(claim)
    assert lease.decide(0.0) == ("t1", "grant 0")
    lease.release("t2")  # cancelled while it waited
    lease.release("t1")  # killed while it computed
    lease.release("t1")
    assert lease.decide(0.0) == ("t3", "grant 0")
    lease.want(training(3))  # the holder's own wish changes nothing
    assert lease.decide(0.0) is None
    lease.paused("t1", 0.0)  # a late word of a job that is gone
    assert lease.holders == ["t3"]


def test_a_pause_that_the_holder_never_obeyed_is_forgotten_with_it() -> None:
    lease = DeviceLease(max_pause_s=600)
    lease.want(training(1))
    lease.decide(0.0)
    lease.want(conversion(2))
    assert lease.decide(0.0) == ("t1", "pause")
    lease.release("t1")
    assert lease.decide(0.0) == ("c2", "grant 0")
    lease.release("c2")
    lease.want(training(3))
    assert lease.decide(0.0) == ("t3", "grant 0")
    lease.want(conversion(4))
    assert lease.decide(0.0) == ("t3", "pause")


def test_with_two_slots_two_compute_each_with_its_own_and_the_youngest_training_yields() -> None:
    lease = DeviceLease(max_pause_s=600, slots=2)
    for claim in (training(1), training(2), training(3)):
        lease.want(claim)
    assert lease.decide(0.0) == ("t1", "grant 0")
    assert lease.decide(0.0) == ("t2", "grant 1")
    assert lease.decide(0.0) is None
    lease.want(conversion(4))
    assert lease.decide(1.0) == ("t2", "pause")
    lease.paused("t2", 1.0)
    assert lease.decide(1.0) == ("c4", "grant 1")
    assert sorted(lease.holders) == ["c4", "t1"]
