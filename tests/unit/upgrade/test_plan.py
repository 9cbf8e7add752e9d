"""How each job comes to another version."""

from __future__ import annotations

from tidemark.upgrade.plan import JobState, plan

FITS = JobState("rollup", "file:///state/chk-7", size_bytes=2_000_000_000, behind=9_000)


def test_state_that_fits_is_restored_and_what_came_meanwhile_is_made_up_for():
    (job,) = plan("", [], [FITS], records=10**9, events_per_s=9_000).jobs
    # Stop and start, 20 s for the state, 1 s for what waits.
    assert (job.way, job.reasons, job.seconds) == ("restore", (), 45 + 20 + 1)


def test_state_without_a_place_is_replayed_and_what_has_none_is_named():
    state = JobState(
        "meter", "chk-7", misfits=("12_over: the plan has no such operator",), changed=("a was 1 and is 2",)
    )
    found = plan("", [], [state, FITS], records=9_000_000, events_per_s=9_000)
    assert found.replays
    assert found.jobs[0].way == "replay"
    assert found.jobs[0].reasons == ("12_over: the plan has no such operator", "a was 1 and is 2")
    assert found.jobs[0].seconds == 45 + 1_000
    assert found.jobs[1].way == "restore"


def test_a_job_that_never_ran_starts():
    found = plan("replay__v2", ["billing: 0114_x.sql"], [JobState("anomaly")], records=0, events_per_s=9_000)
    assert found.jobs[0].way == "start"
    assert not found.replays
    assert (found.run_id, found.migrations) == ("replay__v2", ("billing: 0114_x.sql",))
