"""The bookkeeping of tiers: decided at once, carried out later."""

from typing import Any

import pytest

from kb.serving.tiers.directory import PageDirectory
from kb.serving.tiers.moves import Move


def settle(directory: PageDirectory, move: Move | None) -> Move:
    """Carry a move out without a failure."""
    assert move is not None
    if move.victim is not None:
        assert directory.finish_victim(move, written=True) == (True, False)
    assert not directory.finish(move, arrived=True)
    return move


def filled(host: int, disk: int, keys: bytes) -> PageDirectory:
    """One page for each letter, stored in this order."""
    directory = PageDirectory(host, disk)
    for letter in keys:
        settle(directory, directory.plan_store(bytes([letter])))
    return directory


def tier(directory: PageDirectory, keys: bytes) -> str:
    """H, D or - for each letter."""
    return "".join(
        "H" if directory.host_slot(bytes([key])) is not None else "D" if directory.contains(bytes([key])) else "-"
        for key in keys
    )


def test_pages_go_down_in_the_order_of_their_last_use() -> None:
    directory = filled(2, 2, b"abcd")
    assert tier(directory, b"abcd") == "DDHH"
    directory.touch(b"a")
    move = settle(directory, directory.plan_store(b"e"))
    assert (move.victim and move.victim[0], move.discard) == (b"c", b"b")  # a was used since
    assert tier(directory, b"abcde") == "D-DHH"
    assert (len(directory), directory.disk_used) == (4, 2)


def test_a_page_that_came_up_again_goes_down_without_being_written() -> None:
    directory = filled(1, 2, b"ab")
    settle(directory, directory.plan_load(b"a"))
    assert tier(directory, b"ab") == "HD"
    move = settle(directory, directory.plan_load(b"b"))
    assert move.victim is None
    assert tier(directory, b"ab") == "DH"


def test_what_is_on_its_way_is_not_readable_and_no_victim() -> None:
    directory = PageDirectory(1, 1)
    first = directory.plan_store(b"a")
    assert directory.awaits_slot()
    assert not directory.contains(b"a")
    assert directory.knows(b"a")
    second = directory.plan_store(b"b")  # a is not evicted for it: it goes to disk
    assert second is not None
    assert second.slot is None
    assert directory.plan_store(b"c") is None
    assert not directory.knows(b"c")
    settle(directory, first)
    settle(directory, second)
    assert not directory.awaits_slot()
    assert tier(directory, b"abc") == "HD-"


def test_a_page_that_leaves_its_slot_is_readable_until_it_is_on_disk() -> None:
    directory = filled(1, 1, b"a")
    slot = directory.host_slot(b"a")
    move = directory.plan_store(b"b")
    assert directory.host_slot(b"a") == slot
    assert directory.host_slot(b"b") is None
    settle(directory, move)
    assert (directory.host_slot(b"a"), directory.host_slot(b"b")) == (None, slot)
    assert directory.contains(b"a")


def test_pinned_pages_stay_and_new_ones_go_elsewhere_or_nowhere() -> None:
    directory = PageDirectory(1, 1)
    for key in (b"a", b"b"):
        settle(directory, directory.plan_store(key, pinned=True))
    assert tier(directory, b"ab") == "HD"
    assert directory.plan_store(b"c") is None
    directory.unpin(b"b")
    move = settle(directory, directory.plan_store(b"c"))
    assert (move.slot, move.discard) == (None, b"b")
    assert directory.pin(b"c")
    directory.unpin(b"a")
    directory.unpin(b"c")
    with pytest.raises(ValueError, match="b'c' is not pinned"):
        directory.unpin(b"c")
    assert not directory.pin(b"z")
    directory.unpin(b"z")  # lost meanwhile: nothing to undo


def test_a_file_that_is_read_is_no_victim() -> None:
    directory = filled(0, 1, b"a")
    ticket = directory.begin_read(b"a")
    assert ticket is not None
    assert directory.plan_store(b"b") is None
    directory.end_read(b"a", ticket, right=True)
    assert directory.plan_store(b"b") is not None


@pytest.mark.parametrize("pinned", [False, True])
def test_a_victim_that_cannot_be_written_is_gone_unless_it_is_pinned(pinned: bool) -> None:
    directory = filled(1, 1, b"a")
    move = directory.plan_store(b"b")
    assert move is not None
    if pinned:
        directory.pin(b"a")
    assert directory.finish_victim(move, written=False) == (not pinned, False)
    if not pinned:
        directory.finish(move, arrived=True)
    assert tier(directory, b"ab") == ("H-" if pinned else "-H")
    assert directory.disk_used == 0


def test_a_file_that_is_not_right_takes_its_entry_with_it() -> None:
    directory = filled(1, 1, b"ab")
    ticket = directory.begin_read(b"a")
    assert ticket is not None
    directory.end_read(b"a", ticket, right=False)
    assert not directory.knows(b"a")
    assert directory.disk_used == 0


def test_files_of_an_earlier_process_are_known_oldest_first() -> None:
    directory = PageDirectory(0, 2, [b"a", b"b"])
    assert tier(directory, b"ab") == "DD"
    move = directory.plan_store(b"c")
    assert move is not None
    assert move.discard == b"a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1, 0), "host_pages"), ((0, True), "disk_pages"), ((0, 1.0), "disk_pages"), ((1, 1, [b"a", b"b"]), "2 keys")],
)
def test_refuses_bad_input(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PageDirectory(*arguments)
    directory = filled(1, 0, b"a")
    with pytest.raises(ValueError, match="stored already"):
        directory.plan_store(b"a")
    with pytest.raises(ValueError, match="has no victim"):
        directory.finish_victim(Move(b"a", 1, 0), written=True)
