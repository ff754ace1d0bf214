"""Progress and live curves: what they show, and that they change nothing else."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distillation.console import live, progress
from distillation.console.live import Live
from distillation.console.progress import History, Progress, sparkline
from distillation.runtime.errors import BadInput, guarded

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told otherwise."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


@pytest.fixture
def log(capsys):
    """What a file in stderr's place has got so far."""
    return lambda: capsys.readouterr().err


def test_a_sentence_about_a_file_of_any_name_is_one_line(capsys):
    def fails():
        raise BadInput("a\nb\r\x1b[31m\u2028c\udcff has no images.")

    assert guarded(fails) == 2
    assert (
        capsys.readouterr().err
        == "error: a b \N{REPLACEMENT CHARACTER}[31m c\N{REPLACEMENT CHARACTER} has no images.\n"
    )


def terminal(monkeypatch):
    """A terminal in stderr's place; inside the test, since capturing replaces stderr before it."""
    file = Terminal()
    monkeypatch.setattr("sys.stderr", file)
    return file


def test_a_log_gets_whole_lines_at_most_every_ten_seconds(clock, log):
    with Progress("distil", 35, unit="update") as bar:
        for step in range(35):
            clock(1)
            bar.advance(loss=1.0 / (step + 1))
    said = log()
    lines = said.splitlines()
    assert [line.split("(")[0] for line in lines] == [f"distil: {n}/35 " for n in (10, 20, 30, 35)]
    assert "\r" not in said
    assert "update/s" in lines[0]
    assert "loss=0.1 ▁" in lines[0]
    assert "█" in lines[-1]


def test_a_short_loop_leaves_a_log_alone(clock, log):
    with Progress("quick", 5) as bar:
        for _ in range(5):
            clock(1)
            bar.advance()
    assert log() == ""


def test_a_terminal_gets_a_live_bar_with_a_curve(clock, monkeypatch):
    screen = terminal(monkeypatch)
    with Progress("distil", 100, start=40) as bar:
        for loss in (4.0, 2.0, 1.0):
            clock(1)
            bar.advance(20, loss=loss, accuracy=loss)
    shown = screen.getvalue().split("\r")
    assert any("60/100" in line and "loss=4, accuracy=4 ▁" in line for line in shown)
    assert "100/100" in shown[-1]
    assert "loss=1" in shown[-1]


def test_values_are_read_only_when_they_are_shown(clock, log):
    class Watched:
        reads = 0

        def __float__(self):
            self.reads += 1
            return 1.0

    value = Watched()
    with Progress("distil", 100) as bar:
        for _ in range(9):
            clock(1)
            bar.advance(loss=value)
        assert value.reads == 0
        clock(1)
        bar.advance(loss=value)
        assert value.reads == 1


def test_hidden_progress_says_nothing(clock, monkeypatch):
    screen = terminal(monkeypatch)
    with Progress("distil", 3, show=False) as bar:
        clock(60)
        bar.advance(3, loss=1.0)
        bar.note("nothing")
    assert screen.getvalue() == ""


def test_a_note_is_a_line_of_its_own(clock, log):
    with Progress("distil", 3) as bar:
        bar.note("starting afresh")
    assert log() == "starting afresh\n"


def test_an_error_inside_passes_through(clock, log):
    with pytest.raises(ZeroDivisionError), Progress("distil", 3):
        raise ZeroDivisionError


def test_a_loop_gives_the_same_numbers_with_and_without_the_console(tmp_path, monkeypatch):
    terminal(monkeypatch)

    def loop(shown):
        generator = torch.Generator().manual_seed(0)
        x = torch.zeros(4)
        for _ in range(20):
            x = x * 0.9 + torch.randn(4, generator=generator)
            shown(x.mean())
        return x

    state = torch.get_rng_state()
    with Progress("distil", 20, live=tmp_path / "live.csv") as bar:
        returned = []
        ours = loop(lambda value: returned.append(bar.advance(loss=value)))
        returned.append(bar.note("half"))
    assert torch.equal(ours, loop(lambda value: None))
    assert torch.equal(state, torch.get_rng_state())
    assert set(returned) == {None}
    assert Live(tmp_path / "other.csv").add(1, loss=1.0) is None


def test_live_keeps_one_row_a_second(clock, tmp_path):
    path = tmp_path / "watch" / "live.csv"
    following = Live(path)
    for step in range(10):
        following.add(step, loss=torch.tensor(step / 4), guidance=2)
        clock(0.5)
    rows = path.read_text().splitlines()
    assert rows == ["step,loss,guidance", "0,0,2", "2,0.5,2", "4,1,2", "6,1.5,2", "8,2,2"]


def test_live_goes_on_after_an_interruption_and_starts_anew_with_other_columns(clock, tmp_path):
    path = tmp_path / "live.csv"
    Live(path).add(1, loss=3)
    Live(path).add(2, loss=2)
    assert path.read_text() == "step,loss\n1,3\n2,2\n"
    Live(path).add(3, error=1)
    assert path.read_text() == "step,error\n3,1\n"


def test_progress_feeds_live(clock, log, tmp_path):
    with Progress("distil", 10, start=5, live=tmp_path / "live.csv") as bar:
        bar.advance(loss=1.5)
    assert (tmp_path / "live.csv").read_text() == "step,loss\n6,1.5\n"


def test_sparkline_goes_from_lowest_to_highest():
    assert sparkline(range(8)) == progress.BLOCKS
    assert sparkline([]) == ""
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([0.0, math.nan, 1.0, math.inf]) == "▁·█·"
    assert sparkline([0, 0, 0, 9, 9, 9], width=2) == "▁█"


@given(st.lists(numbers, max_size=200), st.integers(1, 40))
def test_sparkline_is_never_wider_than_asked(values, width):
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert set(line) <= set(progress.BLOCKS + "·")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500))
def test_history_is_short_and_forgets_nothing(values):
    history = History(size=8)
    for value in values:
        history.add(value)
    assert len(history.values) < 8
    stride = history._stride
    whole = values[: len(history.values) * stride]
    expected = [sum(whole[i : i + stride]) / stride for i in range(0, len(whole), stride)]
    assert history.values == pytest.approx(expected, rel=1e-6, abs=1e-6)
