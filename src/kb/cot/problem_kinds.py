"""Ten kinds of word problem of our own making, each with several wordings: question, worked steps, one expression.

Unusual: the expression is the answer in numbers alone, exact in fractions, so that what the steps say can be recomputed
by anybody; a kind is a structure of reckoning, not a topic, and its wordings share names and things with the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import TypeVar

Value = TypeVar("Value")

NAMES = (
    "Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ines", "Jonas", "Kofi", "Lena", "Mei", "Noor",
    "Oskar", "Priya", "Quentin", "Rosa", "Sami", "Tove", "Uma", "Viktor", "Wanjiru", "Xu", "Yara", "Zoltan",
)  # fmt: skip
THINGS = (
    "pens", "apples", "stickers", "marbles", "books", "tickets", "candles", "buttons", "postcards", "mugs", "shells",
    "ribbons", "badges", "lemons", "plates", "seeds", "stamps", "tiles", "keys", "coins",
)  # fmt: skip


@dataclass(frozen=True)
class Worked:
    """A question, its steps with a result each, and the whole as one expression."""

    question: str
    rationale: str
    expression: str


class Draw:
    """What a problem draws from: a seeded generator, of which only ``random()`` is used, the same in every Python."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed).random

    def one_of(self, values: "tuple[Value, ...] | list[Value]") -> Value:
        """One of some values."""
        return values[int(self._random() * len(values))]

    def number(self, least: int, most: int, step: int = 1) -> int:
        """One of least, least + step, ..., at most ``most``."""
        return least + step * int(self._random() * ((most - least) // step + 1))

    def names(self, count: int) -> list[str]:
        """So many different names."""
        left = list(NAMES)
        return [left.pop(int(self._random() * len(left))) for _ in range(count)]


def money(value: Fraction) -> str:
    """Dollars, with cents where there are some."""
    return f"${value}" if value.denominator == 1 else f"${float(value):.2f}"


def purchase(draw: Draw) -> Worked:
    """Several of one thing are paid for with what somebody has."""
    (name,), thing = draw.names(1), draw.one_of(THINGS)
    count, price = draw.number(2, 15), Fraction(draw.number(50, 900, 25), 100)
    has = draw.number(int(count * price) + 1, int(count * price) + 60)
    cost, left = count * price, has - count * price
    question = draw.one_of(
        (
            f"{name} has ${has} and buys {count} {thing} at {money(price)} each. How much money is left?",
            f"At the market, {thing} cost {money(price)} apiece. {name} pays for {count} of them with ${has}. "
            "How many dollars of change does that give?",
        )
    )
    rationale = f"The {thing} cost {count} * {money(price)} = {money(cost)}. What is left is {has} - {cost_text(cost)}"
    return Worked(question, f"{rationale} = {money(left)}.", f"{has} - {count} * {cost_text(price)}")


def cost_text(value: Fraction) -> str:
    """A number of dollars without the sign."""
    return money(value)[1:]


def rate(draw: Draw) -> Worked:
    """A constant rate over some hours, from a rate over others."""
    (name,), thing = draw.names(1), draw.one_of(THINGS)
    each, hours, wanted = draw.number(3, 40), draw.number(2, 9), draw.number(3, 24)
    made = each * hours
    question = draw.one_of(
        (
            f"{name} packs {made} {thing} in {hours} hours. At that pace, how many {thing} in {wanted} hours?",
            f"A machine that {name} runs makes {made} {thing} every {hours} hours. How many does it make in "
            f"{wanted} hours?",
        )
    )
    rationale = f"In one hour that is {made} / {hours} = {each}. In {wanted} hours it is {each} * {wanted}"
    return Worked(question, f"{rationale} = {each * wanted}.", f"{made} / {hours} * {wanted}")


def sharing(draw: Draw) -> Worked:
    """What is together, less what is given away, is shared equally."""
    (one, two), thing = draw.names(2), draw.one_of(THINGS)
    friends, each, given = draw.number(2, 9), draw.number(3, 30), draw.number(2, 20)
    total = friends * each + given
    first = draw.number(1, total - 1)
    question = draw.one_of(
        (
            f"{one} has {first} {thing} and {two} has {total - first}. They give {given} away and share the rest "
            f"equally among {friends} friends. How many {thing} does each friend get?",
            f"{first} {thing} of {one} and {total - first} of {two} go into one box. {given} of them break, and "
            f"{friends} children divide the others evenly. How many does each child receive?",
        )
    )
    rationale = (
        f"Together there are {first} + {total - first} = {total}. Then {total} - {given} = {total - given} remain. "
        f"Each gets {total - given} / {friends} = {each}."
    )
    return Worked(question, rationale, f"({first} + {total - first} - {given}) / {friends}")


def ages(draw: Draw) -> Worked:
    """An age from another by a factor, some years on."""
    one, two = draw.names(2)
    young, factor, years = draw.number(3, 16), draw.number(2, 5), draw.number(2, 20)
    question = draw.one_of(
        (
            f"{one} is {young} years old, and {two} is {factor} times as old. How old will {two} be in {years} years?",
            f"{two}'s age is {factor} times that of {one}, who is {young}. What will be {two}'s age {years} years "
            "from now?",
        )
    )
    rationale = (
        f"{two} is {factor} * {young} = {factor * young} now. In {years} years that is {factor * young} + {years}"
    )
    return Worked(question, f"{rationale} = {factor * young + years}.", f"{factor} * {young} + {years}")


def distance(draw: Draw) -> Worked:
    """Two legs at two speeds."""
    (name,) = draw.names(1)
    fast, slow = draw.number(40, 110, 5), draw.number(4, 30)
    first, second = draw.number(1, 7), draw.number(1, 5)
    question = draw.one_of(
        (
            f"{name} drives for {first} hours at {fast} km per hour and cycles for {second} hours at {slow} km per "
            "hour. How many kilometres is that altogether?",
            f"A trip of {name} has {first} hours by train at {fast} km/h and {second} hours on foot or by boat at "
            f"{slow} km/h. How long is the whole trip in km?",
        )
    )
    far, near = first * fast, second * slow
    rationale = f"The first part is {first} * {fast} = {far} km, the second {second} * {slow} = {near} km. "
    return Worked(question, f"{rationale}{far} + {near} = {far + near}.", f"{first} * {fast} + {second} * {slow}")


def percentage(draw: Draw) -> Worked:
    """A price after a discount or a rise."""
    (name,), thing = draw.names(1), draw.one_of(THINGS)
    price, percent = draw.number(20, 600, 20), draw.number(5, 60, 5)
    change = Fraction(price * percent, 100)
    falls = draw.one_of((True, False))
    question = (
        f"A box of {thing} costs ${price}, and {name} gets {percent}% off. What does {name} pay?"
        if falls
        else f"{name} sells a box of {thing} for ${price} and raises the price by {percent}%. What is the new price?"
    )
    sign, left = ("-", price - change) if falls else ("+", price + change)
    rationale = (
        f"{percent}% of ${price} is {price} * {percent} / 100 = {money(change)}. {price} {sign} {cost_text(change)}"
    )
    return Worked(question, f"{rationale} = {money(left)}.", f"{price} {sign} {price} * {percent} / 100")


def area(draw: Draw) -> Worked:
    """The area of a rectangle without a smaller one."""
    (name,) = draw.names(1)
    length, width = draw.number(8, 60), draw.number(6, 40)
    long, wide = draw.number(2, length - 2), draw.number(2, width - 2)
    question = draw.one_of(
        (
            f"{name}'s garden is {length} m long and {width} m wide. A pond of {long} m by {wide} m lies in it. How "
            "many square metres are left for plants?",
            f"From a sheet of {length} cm by {width} cm, {name} cuts a piece of {long} cm by {wide} cm. What area, in "
            "square centimetres, remains?",
        )
    )
    whole, part = length * width, long * wide
    rationale = f"The whole is {length} * {width} = {whole}, the part {long} * {wide} = {part}. {whole} - {part}"
    return Worked(question, f"{rationale} = {whole - part}.", f"{length} * {width} - {long} * {wide}")


def saving(draw: Draw) -> Worked:
    """How many weeks until a sum is there."""
    (name,), thing = draw.names(1), draw.one_of(THINGS)
    weeks, earns, spends, has = draw.number(3, 30), draw.number(20, 90), draw.number(2, 15), draw.number(5, 80)
    goal = has + weeks * (earns - spends)
    question = draw.one_of(
        (
            f"{name} has ${has}, earns ${earns} a week and spends ${spends} of it. In how many weeks can {name} pay "
            f"${goal} for a bicycle?",
            f"For a set of {thing} that costs ${goal}, {name} has ${has}. Each week brings ${earns} and takes "
            f"${spends}. How many weeks will it take?",
        )
    )
    rationale = (
        f"A week leaves {earns} - {spends} = {earns - spends}. Still missing are {goal} - {has} = {goal - has}. "
        f"{goal - has} / {earns - spends} = {weeks}."
    )
    return Worked(question, rationale, f"({goal} - {has}) / ({earns} - {spends})")


def fraction_of(draw: Draw) -> Worked:
    """A part of a collection is gone, and some of it comes back."""
    (name,), thing = draw.names(1), draw.one_of(THINGS)
    below = draw.number(3, 9)
    above, total, back = draw.number(1, below - 1), below * draw.number(4, 40), draw.number(2, 25)
    gone = above * total // below
    question = draw.one_of(
        (
            f"{name} had {total} {thing}, sold {above}/{below} of them and then found {back} more. How many {thing} "
            f"does {name} have now?",
            f"Of {total} {thing} in a shop, {above}/{below} are sold in the morning. At noon {name} brings {back} new "
            "ones. How many are there then?",
        )
    )
    rationale = (
        f"{above}/{below} of {total} is {total} * {above} / {below} = {gone}. {total} - {gone} = {total - gone} stay. "
        f"{total - gone} + {back} = {total - gone + back}."
    )
    return Worked(question, rationale, f"{total} - {total} * {above} / {below} + {back}")


def average(draw: Draw) -> Worked:
    """The mean of four numbers."""
    (name,), thing = draw.names(1), draw.one_of(THINGS)
    counts = [draw.number(4, 80) for _ in range(3)]
    counts.append(draw.number(4, 40) * 4 + -sum(counts) % 4)
    listed, total = ", ".join(map(str, counts[:3])), sum(counts)
    question = draw.one_of(
        (
            f"On four days {name} sold {listed} and {counts[3]} {thing}. How many was that per day on average?",
            f"Four jars of {name} hold {listed} and {counts[3]} {thing}. If all jars are to hold the same, how many "
            "go into each?",
        )
    )
    summed = " + ".join(map(str, counts))
    return Worked(question, f"{summed} = {total}. {total} / 4 = {total // 4}.", f"({summed}) / 4")


KINDS: tuple[Callable[[Draw], Worked], ...] = (
    purchase, rate, sharing, ages, distance, percentage, area, saving, fraction_of, average,
)  # fmt: skip
