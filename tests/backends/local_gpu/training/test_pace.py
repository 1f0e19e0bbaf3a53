"""Checkpoints by their cost, and times that are true."""

from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.training.pace import SHARE, Pace


def run(pace, steps, step_s, cost_s, epoch):
    """Train so many steps; return the times at which checkpoints were written."""
    now, written = pace.started, []
    for step in range(1, steps + 1):
        now += step_s
        if pace.is_due(now, epoch_ends=step % epoch == 0):
            written.append(now)
            pace.note_saving(now, now + cost_s)
            now += cost_s
    return written, now


def test_a_cheap_checkpoint_is_written_every_half_minute_and_after_each_epoch():
    written, _ = run(Pace(started=0.0, size=1000), 200, 1.0, 0.01, epoch=40)
    assert [round(time) for time in written] == [30, 40, 70, 80, 110, 120, 150, 160, 190, 200]


@given(
    step_s=st.floats(0.01, 60),
    cost_s=st.floats(0.001, 600),
    steps=st.integers(1, 400),
    epoch=st.integers(1, 50),
    size=st.integers(0, 10**11),
)
def test_checkpoints_never_take_more_than_their_share(step_s, cost_s, steps, epoch, size):
    pace = Pace(started=100.0, size=size)
    written, ended = run(pace, steps, step_s, cost_s, epoch)
    # What a checkpoint costs is first known when one has been written: that one stands apart.
    rest = max(pace.saving - cost_s, 0.0)
    assert rest <= SHARE * (ended - 100.0) + 1e-9
    assert len(written) <= 1 or written[1] - 100.0 >= 2 * cost_s / SHARE - 1e-6


def test_a_large_checkpoint_waits_for_its_turn_from_the_beginning():
    # 1.6 GB are expected to take 8 s: worth it after 160 s.
    pace = Pace(started=0.0, size=1_600_000_000)
    assert not pace.is_due(159.0, epoch_ends=True)
    assert pace.is_due(161.0, epoch_ends=True)
    pace.note_saving(161.0, 191.0)
    assert not pace.is_due(1_000.0, epoch_ends=True)
    assert pace.is_due(1_300.0, epoch_ends=False)


def test_a_person_may_choose_the_seconds():
    pace = Pace(started=0.0, size=10**12, fixed=0.0)
    assert pace.is_due(0.0, epoch_ends=False)
    slow = Pace(started=0.0, size=0, fixed=600.0)
    assert not slow.is_due(599.0, epoch_ends=False)
    assert slow.is_due(599.0, epoch_ends=True)


def test_measuring_and_saving_are_no_part_of_what_a_step_takes():
    pace = Pace(started=0.0, size=0)
    pace.note_measuring(0.0, 100.0)
    # Ten steps of two seconds each, and a checkpoint.
    pace.note_saving(120.0, 125.0)
    assert pace.per_step(125.0, 10) == 2.0
    assert pace.left(125.0, 10, more=20, measurements=0) == 40.0
    assert pace.left(125.0, 10, more=20, measurements=2) == 240.0


def test_the_first_step_has_no_time_yet():
    assert Pace(started=5.0, size=0).per_step(5.0, 0) == 0.0


@given(
    step_s=st.floats(0.1, 10),
    steps=st.integers(1, 50),
    measured_s=st.floats(0, 100),
    saved_s=st.floats(0, 100),
)
def test_a_step_s_time_is_known_whatever_happens_between_steps(step_s, steps, measured_s, saved_s):
    pace, now = Pace(started=50.0, size=0), 50.0
    pace.note_measuring(now, now + measured_s)
    now += measured_s + steps * step_s
    pace.note_saving(now, now + saved_s)
    now += saved_s
    assert abs(pace.per_step(now, steps) - step_s) < 1e-6
    expected = 7 * step_s + 2 * measured_s
    assert abs(pace.left(now, steps, more=7, measurements=2) - expected) < 1e-4


def test_a_slow_disk_is_known_before_the_first_checkpoint():
    pace = Pace(started=0.0, size=1)
    pace.expect(1_600_000_000, 20e6)
    # 80 s are expected: worth it after 1,600.
    assert not pace.is_due(1_599.0, epoch_ends=True)
    assert pace.is_due(1_601.0, epoch_ends=True)
    pace.expect(1_600_000_000, 9e9)
    assert not pace.is_due(159.0, epoch_ends=True)
    pace.expect(10)
    assert not pace.is_due(1.9, epoch_ends=True)
    assert pace.is_due(2.1, epoch_ends=True)
