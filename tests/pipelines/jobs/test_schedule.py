from __future__ import annotations

from pipelines.jobs.schedule import (
    BACKGROUND,
    BATCH,
    LANES,
    PATIENT,
    URGENT,
    DeviceRequest,
    DeviceScheduler,
    next_job,
    positions,
)
from pipelines.store.records import Row, new_job


def training(seq: int, since_s: float = 0.0) -> DeviceRequest:
    return DeviceRequest(job_id=f"t{seq}", urgency=BACKGROUND, seq=seq, since_s=since_s)


def conversion(seq: int, since_s: float = 0.0) -> DeviceRequest:
    return DeviceRequest(job_id=f"c{seq}", urgency=URGENT, seq=seq, since_s=since_s)


def test_one_computes_at_a_time_in_the_order_of_submission() -> None:
    scheduler = DeviceScheduler(max_pause_s=600)
    for request in (training(3), training(1), training(2)):
        scheduler.request(request)
    order = []
    for _ in range(3):
        decision = scheduler.decide(0.0)
        assert decision is not None
        assert scheduler.decide(0.0) is None  # the others wait
        order.append(decision)
        scheduler.release(decision[0])
    assert order == [("t1", "grant 0"), ("t2", "grant 0"), ("t3", "grant 0")]


def test_a_conversion_interrupts_a_training_once_and_conversions_do_not_interrupt_each_other() -> None:
    scheduler = DeviceScheduler(max_pause_s=600)
    scheduler.request(training(1))
    assert scheduler.decide(0.0) == ("t1", "grant 0")
    scheduler.request(conversion(2))
    assert scheduler.decide(1.0) == ("t1", "pause")
    assert scheduler.decide(1.1) is None  # said once; it obeys at its next yield
    scheduler.paused("t1", 2.0)
    assert scheduler.decide(2.0) == ("c2", "grant 0")
    scheduler.request(conversion(3))
    assert scheduler.decide(3.0) is None
    scheduler.release("c2")
    assert scheduler.decide(4.0) == ("c3", "grant 0")
    assert scheduler.waits("t1")
    scheduler.release("c3")
    assert scheduler.decide(5.0) == ("t1", "continue 0")
    assert not scheduler.waits("t1")


def test_a_training_is_paused_for_max_pause_s_at_most_and_then_left_alone_for_its_turn() -> None:
    scheduler = DeviceScheduler(max_pause_s=100, turn_s=10)
    scheduler.request(training(1))
    scheduler.request(conversion(2))
    assert scheduler.decide(0.0) == ("c2", "grant 0")
    scheduler.request(conversion(3, since_s=50.0))
    assert scheduler.decide(99.0) is None
    assert scheduler.decide(100.0) == ("c2", "pause")
    scheduler.paused("c2", 101.0)
    assert scheduler.decide(101.0) == ("t1", "grant 0")
    assert scheduler.decide(110.0) is None
    assert scheduler.decide(111.0) == ("t1", "pause")
    scheduler.paused("t1", 112.0)
    assert scheduler.decide(112.0) == ("c2", "continue 0")
    assert scheduler.decide(211.0) is None  # a new stretch began with the new pause
    assert scheduler.decide(212.0) == ("c2", "pause")


def test_an_overdue_training_goes_before_waiting_conversions() -> None:
    scheduler = DeviceScheduler(max_pause_s=100)
    scheduler.request(conversion(1))
    assert scheduler.decide(0.0) == ("c1", "grant 0")
    scheduler.request(training(3, since_s=0.0))
    scheduler.request(conversion(2, since_s=0.0))
    scheduler.release("c1")
    assert scheduler.decide(101.0) == ("t3", "grant 0")


def test_who_leaves_or_stops_wanting_holds_up_nobody() -> None:
    scheduler = DeviceScheduler(max_pause_s=600)
    for request in (training(1), training(2), training(3)):
        scheduler.request(request)
    assert scheduler.decide(0.0) == ("t1", "grant 0")
    scheduler.release("t2")  # cancelled while it waited
    scheduler.release("t1")  # killed while it computed
    scheduler.release("t1")
    assert scheduler.decide(0.0) == ("t3", "grant 0")
    scheduler.request(training(3))  # the holder's own wish changes nothing
    assert scheduler.decide(0.0) is None
    scheduler.paused("t1", 0.0)  # a late word of a job that is gone
    assert scheduler.holders == ["t3"]


def test_a_pause_that_the_holder_never_obeyed_is_forgotten_with_it() -> None:
    scheduler = DeviceScheduler(max_pause_s=600)
    scheduler.request(training(1))
    scheduler.decide(0.0)
    scheduler.request(conversion(2))
    assert scheduler.decide(0.0) == ("t1", "pause")
    scheduler.release("t1")
    assert scheduler.decide(0.0) == ("c2", "grant 0")
    scheduler.release("c2")
    scheduler.request(training(3))
    assert scheduler.decide(0.0) == ("t3", "grant 0")
    scheduler.request(conversion(4))
    assert scheduler.decide(0.0) == ("t3", "pause")


def test_with_two_slots_two_compute_each_with_its_own_and_the_youngest_training_yields() -> None:
    scheduler = DeviceScheduler(max_pause_s=600, slots=2)
    for request in (training(1), training(2), training(3)):
        scheduler.request(request)
    assert scheduler.decide(0.0) == ("t1", "grant 0")
    assert scheduler.decide(0.0) == ("t2", "grant 1")
    assert scheduler.decide(0.0) is None
    scheduler.request(conversion(4))
    assert scheduler.decide(1.0) == ("t2", "pause")
    scheduler.paused("t2", 1.0)
    assert scheduler.decide(1.0) == ("c4", "grant 1")
    assert sorted(scheduler.holders) == ["c4", "t1"]


def conversion_row(seq: int, seconds: float) -> Row:
    return new_job("me", "conversion", status="pending", seq=seq, files=[{"name": "a", "seconds": seconds}])


def test_short_conversions_do_not_stand_behind_long_ones_nor_long_ones_behind_batches() -> None:
    long, short, later = (
        conversion_row(seq, seconds) for seq, seconds in ((1, 3600.0), (2, 20.0), (3, 30.0))
    )
    batch = new_job("me", "batch", status="pending", seq=0, files=[{"name": "a", "seconds": 9000.0}])
    pending = [batch, long, short, later]
    assert positions(pending) == {batch["id"]: 1, long["id"]: 1, short["id"]: 1, later["id"]: 2}
    assert [next_job(lane, pending, [], 0.0) for lane in LANES] == [None, None, short, batch, None, long]


def test_a_long_conversion_yields_to_short_ones_and_makes_batches_yield() -> None:
    scheduler = DeviceScheduler(max_pause_s=600)
    scheduler.request(DeviceRequest(job_id="batch", urgency=BATCH, seq=1))
    assert scheduler.decide(0.0) == ("batch", "grant 0")
    scheduler.request(DeviceRequest(job_id="long", urgency=PATIENT, seq=2))
    assert scheduler.decide(1.0) == ("batch", "pause")
    scheduler.paused("batch", 2.0)
    assert scheduler.decide(2.0) == ("long", "grant 0")
    scheduler.request(conversion(3))
    assert scheduler.decide(3.0) == ("long", "pause")
    scheduler.paused("long", 4.0)
    assert scheduler.decide(4.0) == ("c3", "grant 0")
    scheduler.release("c3")
    assert scheduler.decide(5.0) == ("long", "continue 0")
    assert scheduler.decide(602.0) == ("long", "pause"), "the batch has waited long enough"


def test_while_somebody_speaks_live_only_conversions_that_are_waited_for_compute() -> None:
    scheduler = DeviceScheduler(max_pause_s=600)
    scheduler.request(training(1))
    assert scheduler.decide(0.0) == ("t1", "grant 0")
    scheduler.live = True
    assert scheduler.decide(1.0) == ("t1", "pause")
    scheduler.paused("t1", 1.0)
    assert scheduler.decide(2.0) is None
    assert scheduler.decide(5_000.0) is None  # overdue or not
    scheduler.request(conversion(2, since_s=5_000.0))
    assert scheduler.decide(5_000.0) == ("c2", "grant 0")
    assert scheduler.decide(5_001.0) is None  # nothing that waits may take it away
    scheduler.release("c2")
    scheduler.live = False
    assert scheduler.decide(5_002.0) == ("t1", "continue 0")
