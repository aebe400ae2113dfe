"""Which Ray a command uses, and whose CPUs: without starting one."""

import pytest

from rcpt_ray.cluster import ClusterSpec, connect, joined_address
from rcpt_ray.errors import UserError
from rcpt_ray.spread import spread_on


@pytest.mark.parametrize(
    ("variable", "setting", "joined"),
    [
        (None, "local", None),
        ("", "local", None),
        ("local", "10.0.0.1:6379", None),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "local", "auto"),
    ],
)
def test_variable_wins_over_the_setting_and_local_is_always_a_ray_of_our_own(
    variable: str | None, setting: str, joined: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert joined_address(ClusterSpec(address=setting)) == joined


def test_cluster_that_is_not_there_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^cluster.address=127.0.0.1:9: nothing answers at [0-9.]+:9 "):
        connect(ClusterSpec(address="127.0.0.1:9"))


def test_where_machines_come_on_demand_the_cpus_that_are_up_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int | None, str | None]] = []

    def workers(work: object, items: list[int], num_workers: int | None, machines: str | None) -> list[int]:
        asked.append((num_workers, machines))
        return items

    monkeypatch.setattr("rcpt_ray.pool_on_ray.run_on_workers", workers)
    monkeypatch.setattr("rcpt_ray.cluster.connect", lambda spec: None)
    much = 2**40
    spread = spread_on(ClusterSpec(autoscales=True, cpu_machines="cpu"), None)
    assert sorted(spread(abs, [1, 2, 3], much)) == [1, 2, 3]
    assert asked == [(32, "cpu")]
    list(spread_on(ClusterSpec(autoscales=True), 4)(abs, [1, 2, 3], much))
    assert asked[1] == (4, None)
