"""The parts of an external sort: reading within a budget, merging, forming runs; and the whole against ``sorted``."""

import heapq
import io
import math
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.algorithms import (
    LoserTree,
    external_sort,
    loser_merge,
    merge_blocks,
    merge_by_losers,
    replacement_selection,
)
from kb.algorithms.sorting import Account, LineReader, Order
from kb.algorithms.sorting.external import LEAST_MEMORY

KEYS: dict[str, Callable[[Any], Any] | None] = {"none": None, "length": len, "part": lambda line: (line[1:2], "x")}
numbers = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=9)
lines_of = st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"\r")), max_size=60)


def lines_in(data: bytes) -> list[bytes]:
    """Lines as the definition has them: what stands between newlines, and behind the last one if there is anything."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def random_lines(seed: int, count: int) -> bytes:
    """Lines with tabs, carriage returns, zeros, empty ones, other scripts and many that are equal."""
    source = random.Random(seed)
    parts = ["", "a", "a\tb", "ab", "\0", "b\r", "中国", "é", "😀"]
    lines = [source.choice(parts) * source.randint(0, 2) + source.choice(parts) for _ in range(count)]
    return "\n".join(lines).encode() + b"\n" * source.randint(0, 1)


class TestReading:
    @given(lines_of, st.booleans(), st.integers(0, 4000), st.sampled_from(list(KEYS)), st.booleans())
    def test_all_lines_come_within_the_budget(
        self, lines: list[bytes], ended: bool, more: int, key: str, reverse: bool
    ) -> None:
        data = b"\n".join(lines) + (b"\n" if ended else b"")
        order = Order(KEYS[key] and (lambda line: KEYS[key](line.decode("latin-1"))), reverse, None)  # type: ignore[misc]
        largest = max((order.entry_bytes(order.entry(line) if order.has_keys else line) for line in lines), default=0)
        budget = 2048 + 4 * largest + more
        account = Account(budget)
        reader, found = LineReader(io.BytesIO(data).read, order, account), []
        while block := reader.fill(budget):
            assert account.held <= budget
            found += order.lines(block)
        assert found == lines_in(data)
        assert reader.lines == len(found)
        assert account.held == 0

    def test_short_lines_take_many_times_their_bytes(self) -> None:
        account = Account(1 << 20)
        block = LineReader(io.BytesIO(b"ab\n" * 100_000).read, Order(), account).fill(1 << 20)
        assert 13_000 < len(block) < 15_300  # at 69 bytes and 2 of text each

    def test_an_account_notices_what_is_too_much(self) -> None:
        account = Account(100)
        account.change(100)
        account.change(-50)
        with pytest.raises(AssertionError, match="110 bytes are held, and 100 may be"):
            account.change(60)

    @pytest.mark.parametrize("at", [1, 2, 700, 40_000])
    def test_a_wrong_byte_is_named_with_its_line(self, tmp_path: Path, at: int) -> None:
        lines = ["中文".encode()] * 50_000
        lines[at - 1] = b"ab\xff"
        (tmp_path / "a").write_bytes(b"\n".join(lines))
        for key in (None, len):
            with pytest.raises(ValueError, match=f"line {at} is not in utf-8: byte 0xff at place 2"):
                external_sort(tmp_path / "a", tmp_path / "b", memory=1 << 20, key=key)
        external_sort(tmp_path / "a", tmp_path / "b", memory=1 << 20, encoding=None)

    def test_text_that_ends_in_half_a_character(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes("a\n中".encode()[:-1])
        with pytest.raises(ValueError, match="line 2 is not in utf-8: byte 0xe4 at place 0"):
            external_sort(tmp_path / "a", tmp_path / "b")


class TestMerging:
    @given(numbers, st.booleans(), st.sampled_from([None, lambda n: n // 3]))
    def test_losers_merge_as_heapq_does(
        self, sources: list[list[int]], reverse: bool, key: Callable[[int], int] | None
    ) -> None:
        tagged = [
            [(n, run, at) for at, n in enumerate(sorted(source, key=key, reverse=reverse))]
            for run, source in enumerate(sources)
        ]
        by = lambda item: key(item[0]) if key else item[0]  # noqa: E731
        wanted = list(heapq.merge(*tagged, key=by, reverse=reverse))
        assert list(loser_merge(*tagged, key=by, reverse=reverse)) == wanted
        plain = [sorted(source, reverse=reverse) for source in sources]
        assert list(loser_merge(*plain, reverse=reverse)) == list(heapq.merge(*plain, reverse=reverse))

    @given(numbers)
    def test_each_item_costs_a_way_through_the_tree(self, sources: list[list[int]]) -> None:
        tree = LoserTree([iter(sorted(source)) for source in sources], lambda a, b: a < b)
        merged = list(tree)
        ways = len(merged) * math.ceil(math.log2(max(1, len(sources))))
        assert tree.comparisons <= ways + max(0, len(sources) - 1)

    def test_by_hand(self) -> None:
        tree = LoserTree([iter([5, 9]), iter([2, 7]), iter([8]), iter([3, 4])], lambda a, b: a < b)
        assert tree.losers == [1, 3, 0, 2]  # 2 won; 3 lost the final, 5 and 8 the games before
        assert tree.comparisons == 3
        assert next(tree) == 2
        assert tree.losers == [3, 0, 1, 2]  # 7 lost against 5, 5 against 3
        assert list(tree) == [3, 4, 5, 7, 8, 9]

    @settings(max_examples=60)
    @given(st.lists(lines_of, min_size=1, max_size=6), st.sampled_from(list(KEYS)), st.booleans())
    def test_both_ways_are_stable_within_small_blocks(self, runs: list[list[bytes]], key: str, reverse: bool) -> None:
        order = Order(KEYS[key] and (lambda line: KEYS[key](line.decode("latin-1"))), reverse, None)  # type: ignore[misc]
        sort_key = order.key or (lambda line: line)
        files = [b"".join(line + b"\n" for line in sorted(run, key=sort_key, reverse=reverse)) for run in runs]
        wanted = sorted((line for file in files for line in lines_in(file)), key=sort_key, reverse=reverse)
        for merging in (merge_blocks, merge_by_losers):
            account, found = Account(4096 * len(runs)), []
            readers = [LineReader(io.BytesIO(file).read, order, account) for file in files]
            merging(readers, 4096, order, lambda entries: found.extend(order.lines(entries)))  # noqa: B023
            assert found == wanted
            assert account.held == 0

    @pytest.mark.parametrize("merging", [merge_blocks, merge_by_losers])
    @pytest.mark.parametrize("reverse", [False, True])
    def test_equal_keys_keep_their_order_across_blocks(self, merging: Any, reverse: bool) -> None:
        order = Order(lambda line: line[:1], reverse, None)
        lines = [b"%d line %d" % (n % 7 // 3, n) for n in range(1200)]
        runs = [sorted(lines[at : at + 300], key=order.key, reverse=reverse) for at in range(0, 1200, 300)]
        found: list[bytes] = []
        readers = [LineReader(io.BytesIO(b"\n".join(run)).read, order, Account(1 << 14)) for run in runs]
        merging(readers, 4096, order, lambda entries: found.extend(order.lines(entries)))
        assert found == sorted(lines, key=order.key, reverse=reverse)

    @pytest.mark.parametrize("merging", [merge_blocks, merge_by_losers])
    @pytest.mark.parametrize("reverse", [False, True])
    def test_keys_without_an_order_lose_no_line_and_end(self, merging: Any, reverse: bool) -> None:
        order = Order(lambda line: math.nan if line == b"n" else int(line), reverse, None)
        runs = [[b"9", b"9", b"9", b"n", b"5"], [b"n"] * 3, [b"7", b"n", b"6"], [b"8"]]  # so list.sort leaves them
        found: list[bytes] = []
        readers = [LineReader(io.BytesIO(b"\n".join(run)).read, order, Account(1 << 14)) for run in runs]
        merging(readers, 4096, order, lambda entries: found.extend(order.lines(entries)))
        assert sorted(found) == sorted(line for run in runs for line in run)


class TestReplacementSelection:
    @given(st.lists(st.integers(0, 20)), st.integers(1, 9), st.booleans())
    def test_runs_are_sorted_and_merge_stably(self, items: list[int], room: int, reverse: bool) -> None:
        tagged = list(enumerate(items))
        given_out = list(replacement_selection(tagged, room, key=lambda pair: pair[1] // 2, reverse=reverse))
        assert [run for run, _ in given_out] == sorted(run for run, _ in given_out)
        runs = [[item for run, item in given_out if run == number] for number in range(len(items))]
        by = lambda pair: pair[1] // 2  # noqa: E731
        assert all(run == sorted(run, key=by, reverse=reverse) for run in runs)
        assert list(heapq.merge(*runs, key=by, reverse=reverse)) == sorted(tagged, key=by, reverse=reverse)
        full = [run for run in runs if run][:-1]
        assert all(len(run) >= room for run in full)

    def test_lengths_of_runs(self) -> None:
        def lengths(items: list[float], room: int) -> list[int]:
            runs = [run for run, _ in replacement_selection(items, room)]
            return [runs.count(number) for number in range(runs[-1] + 1)]

        assert lengths([4, 1, 6, 2, 3, 5], 2) == [3, 3]  # by hand: 1 4 6, while 2 and 3 wait; then 2 3 5
        assert lengths(list(range(1000)), 10) == [1000]
        assert lengths([7] * 100, 10) == [100]  # what equals the last one can follow it
        assert lengths(list(range(1000, 0, -1)), 10) == [10] * 100
        source = random.Random(0)
        nearly = sorted(range(1000), key=lambda n: n + source.random() * 9)
        assert lengths(nearly, 10) == [1000]
        found = lengths([source.random() for _ in range(60_000)], 500)
        assert found[0] / 500 == pytest.approx(math.e - 1, rel=0.1)
        assert sum(found[2:-2]) / len(found[2:-2]) / 500 == pytest.approx(2, rel=0.05)

    def test_room_is_kept_by_size(self) -> None:
        given_out = list(replacement_selection(["aaaa", "c", "bb", "a", "dddd"], 6, size=len))
        assert given_out == [(0, "aaaa"), (0, "bb"), (0, "c"), (0, "dddd"), (1, "a")]
        with pytest.raises(ValueError, match="room must be at least 1"):
            next(replacement_selection([1], 0))


class TestWhole:
    @settings(max_examples=50)
    @given(
        st.integers(0, 10**9),
        st.sampled_from([0, 1, 50, 3000, 6000]),
        st.sampled_from(list(KEYS)),
        st.booleans(),
        st.sampled_from([None, 2, 3]),
        st.booleans(),
        st.sampled_from([merge_blocks, merge_by_losers]),
    )
    def test_it_is_sorted(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        seed: int,
        count: int,
        key: str,
        reverse: bool,
        fan_in: int | None,
        replacement: bool,
        merging: Any,
    ) -> None:
        folder = tmp_path_factory.mktemp("sort")
        data = random_lines(seed, count)
        (folder / "a").write_bytes(data)
        options: dict[str, Any] = {"key": KEYS[key], "reverse": reverse}
        report = external_sort(
            folder / "a",
            folder / "b",
            memory=LEAST_MEMORY,
            fan_in=fan_in,
            replacement=replacement,
            merging=merging,
            **options,
        )
        lines = lines_in(data)
        by = KEYS[key] or (lambda text: text)
        wanted = sorted(lines, key=lambda line: by(line.decode()), reverse=reverse)
        assert lines_in((folder / "b").read_bytes()) == wanted
        assert (folder / "b").stat().st_size == sum(map(len, lines)) + len(lines)
        assert (folder / "a").read_bytes() == data
        assert sorted(os.listdir(folder)) == ["a", "b"]
        assert report.lines == sum(report.run_lines) == len(lines)
        assert report.peak_bytes <= LEAST_MEMORY
        shutil.rmtree(folder)

    @pytest.mark.parametrize(
        ("times", "fan_in", "runs", "passes"),
        [(8, None, 1, 0), (2, None, 5, 1), (2, 5, 5, 1), (2, 4, 5, 2), (2, 2, 5, 3), (1, None, 9, 2), (1, 2, 9, 4)],
    )
    def test_bytes_are_those_of_the_formula(
        self, tmp_path: Path, times: int, fan_in: int | None, runs: int, passes: int
    ) -> None:
        data = b"".join(b"%08d\n" % (n * 7919 % 100_000) for n in range(11_000))
        (tmp_path / "a").write_bytes(data)
        report = external_sort(tmp_path / "a", tmp_path / "b", memory=times * LEAST_MEMORY, fan_in=fan_in)
        assert (len(report.run_lines), report.passes) == (runs, passes)
        assert report.fan_in**passes >= runs > report.fan_in ** (passes - 1) * (passes > 0)
        assert report.bytes_read == report.bytes_written == len(data) * (1 + passes)

    def test_lines_are_compared_without_their_ends(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"a\tb\na\na\r\n\na\0\nb")
        external_sort(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"\na\na\0\na\tb\na\r\nb\n"

    @given(st.lists(st.text(max_size=4)))
    def test_bytes_in_utf_8_are_in_the_order_of_code_points(self, texts: list[str]) -> None:
        assert sorted(texts, key=lambda text: text.encode("utf-8", "surrogatepass")) == sorted(texts)

    def test_another_encoding_is_sorted_by_code_points(self, tmp_path: Path) -> None:
        texts = ["中", "a", "国", "é", "", "一"]
        (tmp_path / "a").write_bytes("\n".join(texts).encode("gb18030"))
        external_sort(tmp_path / "a", tmp_path / "b", encoding="gb18030")
        assert (tmp_path / "b").read_bytes().decode("gb18030").split("\n") == [*sorted(texts), ""]
        external_sort(tmp_path / "a", tmp_path / "b", encoding=None)  # by the bytes: another order
        assert (tmp_path / "b").read_bytes().decode("gb18030").split("\n") != [*sorted(texts), ""]

    @pytest.mark.skipif(shutil.which("sort") is None, reason="there is no sort to compare with")
    def test_it_is_what_sort_gives(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(random_lines(3, 5000))
        external_sort(tmp_path / "a", tmp_path / "b", memory=LEAST_MEMORY)
        command = ["sort", "-o", str(tmp_path / "c"), str(tmp_path / "a")]
        subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, check=True)
        assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
