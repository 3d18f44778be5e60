"""Items out of the packages: what is read is what stands there."""

from kb.evaluation import capitals, mmlu_development


def test_mmlu_items_have_four_choices_and_one_answer() -> None:
    items = mmlu_development()
    assert len(items) > 250
    assert len({item.subject for item in items}) == 56  # of 57: one subject has choices that cannot be told apart
    assert all(len(item.choices) == 4 and all(item.choices) and 0 <= item.gold < 4 for item in items)
    short = mmlu_development(longest_question=100, longest_choice=40)
    assert 50 < len(short) < len(items)
    assert all(len(item.question) <= 100 for item in short)


def test_capitals_are_sorted_by_population() -> None:
    facts = capitals(least_population=1_000_000)
    assert 100 < len(facts) < 200
    assert [fact.population for fact in facts] == sorted((fact.population for fact in facts), reverse=True)
    known = {fact.country: fact.capital for fact in facts}
    assert known["France"] == "Paris"
    assert known["Kenya"] == "Nairobi"
    assert facts[0].question == f"What is the capital of {facts[0].country}?"
    golds = {fact.country: fact.golds for fact in facts}
    assert golds["France"] == ("Paris",)
    assert golds["Colombia"] == ("Bogotá", "Bogota")
    assert golds["Burundi"] == ("Bujumbura", "Gitega")
