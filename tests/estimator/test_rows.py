"""Which rows are left out before anything is fitted, decided by rows alone."""

import pandas as pd
import pytest

from estimator.fitting import rows


@pytest.fixture(scope="module")
def all_data(all_rows):
    return rows.read(all_rows)


@pytest.fixture
def table():
    """Two submissions on one board that name no threads; the second is as fast on small networks only."""

    def make(slow_on_large):
        found = []
        for name, factor in (("quick", 1.0), ("default_config", slow_on_large)):
            for i in range(6):
                found.append(
                    {
                        "board": "Orin",
                        "device": "jetson_agx_orin",
                        "runtime": "litert",
                        "precision": "float32",
                        "threads": 0,
                        "feat_key": f"net{i}",
                        "macs_m": 10.0 * 2**i,
                        "latency_ms": 2.0**i * (factor if i > 2 else 1.0),
                        "source": (
                            f"github mlcommons/inference_results_v3.0 open/x/results/{name}/net{i}/log.txt"
                        ),
                    }
                )
        return pd.DataFrame(found)

    return make


def test_a_submission_on_fewer_cores_is_left_out_whole(table):
    data = table(4.0)
    left_out = rows.held_back(data)
    assert set(data[left_out].source.str.contains("default_config")) == {True} and left_out.sum() == 6


def test_what_differs_as_boards_do_stays(table):
    assert not rows.held_back(table(1.3)).any()


def test_a_source_that_names_its_threads_is_believed(table):
    assert not rows.held_back(table(4.0).assign(threads=4)).any()


def test_what_is_left_of_the_given_rows(all_data):
    orin = all_data[(all_data.group == "jetson_agx_orin|litert|float32|0")]
    assert len(orin) > 70 and not orin.source.str.contains("cTuning").any()
    assert not all_data.source.str.contains("power.[2-5]-fan", regex=True).any()


def test_fewer_threads_are_not_slower(table):
    data = table(1.0).drop_duplicates("feat_key")
    more = pd.concat(
        [data.assign(threads=1), data.assign(threads=4, latency_ms=3 * data.latency_ms)], ignore_index=True
    )
    assert rows.broken(more).tolist() == [False] * 6 + [True] * 6


def test_a_processor_of_two_kinds_of_cores_is_measured_on_its_fast_ones(all_data):
    fast = all_data[all_data.device == "rk3588"]
    assert set(fast.group) == {
        f"rk3588|{rest}"
        for rest in (
            "ncnn-vulkan|float16|1",
            "ncnn|float16|1",
            "ncnn|float16|4",
            "ncnn|int8|1",
            "ncnn|int8|4",
        )
    }
    assert not fast.notes.str.contains("powersave=1").any()
    processor = fast[fast.runtime == "ncnn"]
    assert "RK3588" not in set(processor.board)  # an older ncnn, twice as slow
    assert "Station-M3 RK3588S" not in set(fast[fast.runtime == "ncnn-vulkan"].board)  # AlexNet in 0.4 ms
