"""The question bank in a browser: filter, cards and sheet as a reader sees them, with and without JavaScript."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from book import cards
from book.questions import Question, load
from tests.book.site import browsing

BANK, SHEET = "chapters/interview/question_bank.html", "chapters/interview/question_sheet.html"
VISIBLE = "li.kb-question:visible"


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    """The questions of the book."""
    return load()


@pytest.fixture(scope="module")
def bank(browser: Browser, root: str) -> Iterator[Page]:
    """The question bank, opened once."""
    with browsing.visiting(browser, root) as visit:
        yield visit.open(BANK).page


@pytest.fixture
def visit(browser: Browser, root: str) -> Iterator[browsing.Visit]:
    """A fresh tab, in which nothing is known yet."""
    with browsing.visiting(browser, root) as visit:
        yield visit


def ids(page: Page) -> set[str]:
    """The questions that are shown."""
    found = page.locator(VISIBLE).evaluate_all("items => items.map(item => item.dataset.id)")
    return set(found)


class TestFilter:
    """What is shown is what matches, by every field."""

    @pytest.fixture(autouse=True)
    def cleared(self, bank: Page, asked: list[Question]):
        bank.locator("#question-filter button[type=reset]").click()
        expect(bank.locator(VISIBLE)).to_have_count(len(asked))

    def test_shows_every_question_in_both_languages(self, bank: Page, asked: list[Question]):
        shown = [text.replace("’", "'") for text in bank.locator(VISIBLE).all_inner_texts()]
        for question in asked:
            assert any(question.en in text and question.zh in text for text in shown), question.id

    @pytest.mark.parametrize("word", ["transformer", "注意力", "ＡＴＴＥＮＴＩＯＮ"])
    def test_filters_by_text(self, bank: Page, word: str, asked: list[Question]):
        bank.locator("#question-text").fill(word)
        found = len(ids(bank))
        assert 0 < found < len(asked)
        expect(bank.locator("#question-count")).to_have_text(f"{found} of {len(asked)} questions")

    @pytest.mark.parametrize("text", ["prenorm postnorm", "pre-norm POST-NORM", "pre‐norm post–norm"])
    def test_hyphens_do_not_matter(self, bank: Page, text: str):
        bank.locator("#question-text").fill(text)
        assert "prenorm-postnorm" in ids(bank)

    @pytest.mark.parametrize("name", ["topic", "difficulty", "asked"])
    def test_filters_by_each_field(self, bank: Page, name: str, asked: list[Question]):
        wanted = getattr(asked[0], name)
        bank.locator(f"#question-{name}").select_option(wanted)
        assert ids(bank) == {question.id for question in asked if getattr(question, name) == wanted}
        assert f"{name}=" in bank.url

    def test_filters_by_origin_and_by_all_at_once(self, bank: Page, asked: list[Question]):
        bank.locator("#question-origin").select_option("notes")
        assert ids(bank) == {question.id for question in asked if question.from_notes}
        bank.locator("#question-asked").select_option("derive")
        bank.locator("#question-text").fill("softmax")
        assert ids(bank) == {"softmax-derivative"}

    def test_shows_nothing_where_nothing_matches(self, bank: Page):
        bank.locator("#question-text").fill("zyxwvutsr")
        assert ids(bank) == set()
        expect(bank.locator("#question-count")).to_contain_text("No question matches")

    def test_answers_are_unfolded_on_paper(self, bank: Page, asked: list[Question]):
        bank.locator("#question-topic").select_option(asked[0].topic)
        bank.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert bank.locator(f"{VISIBLE} details[open]").count() == bank.locator(f"{VISIBLE} details").count() > 0
        bank.evaluate("dispatchEvent(new Event('afterprint'))")
        assert bank.locator("li.kb-question details[open]").count() == 0


def test_a_filtered_list_can_be_sent(visit: browsing.Visit, asked: list[Question]):
    page = visit.open(f"{BANK}?difficulty=basic&origin=notes&topic=nonsense").page
    assert ids(page) == {q.id for q in asked if q.difficulty == "basic" and q.from_notes}


def test_cards_come_one_at_a_time_and_what_is_known_is_remembered(visit: browsing.Visit, asked: list[Question]):
    page = visit.open(f"{BANK}?origin=notes&difficulty=basic").page
    page.locator("#question-cards").click()
    place, answer = page.locator("#deck-place"), page.locator(f"{VISIBLE} details")
    total = sum(q.from_notes and q.difficulty == "basic" for q in asked)
    expect(place).to_have_text(f"Card 1 of {total}, 0 known")
    assert page.locator(VISIBLE).count() == 1
    (first,) = ids(page)
    assert not answer.evaluate("item => item.open")
    page.locator("#deck-reveal").click()
    assert answer.evaluate("item => item.open")
    page.locator("#deck-knew").click()
    expect(place).to_have_text(f"Card 2 of {total}, 1 known")
    (second,) = ids(page)
    page.keyboard.press("ArrowLeft")
    assert ids(page) == {first}
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    assert ids(page).isdisjoint({first, second})

    page.reload()
    page.locator("#question-known").select_option("yes")
    assert ids(page) == {first}
    page.locator("#question-known").select_option("no")
    assert first not in ids(page)
    page.locator("#question-cards").click()
    page.locator("#deck-shuffle").click()
    expect(place).to_have_text(f"Card 1 of {total - 1}, 0 known")
    page.locator("#deck-forget").click()
    expect(place).to_contain_text(f"of {total}, 0 known")
    assert (visit.outside, visit.missing, visit.errors) == ([], [], [])


def test_a_box_says_what_is_known_too(visit: browsing.Visit):
    page = visit.open(BANK).page
    page.locator("#question-lora .kb-know input").check()
    page.locator("#question-known").select_option("yes")
    assert ids(page) == {"lora"}
    page.locator("#question-lora .kb-know input").uncheck()
    assert ids(page) == set()


def test_without_javascript_it_is_a_plain_list(browser: Browser, root: str, asked: list[Question]):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{root}/{BANK}")
        assert page.locator(VISIBLE).count() == len(asked)
        assert not page.locator("#question-filter").is_visible()
        assert not page.locator("#question-deck").is_visible()
        page.locator("#question-lora summary").click()
        expect(page.locator("#question-lora details")).to_contain_text("LoRA freezes")
        assert page.locator("#question-lora .kb-meta a").get_attribute("href").endswith("finetuning.html#q-lora")


def test_nothing_breaks_where_the_browser_keeps_nothing(browser: Browser, root: str):
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    refuse = "function (key) { if (key.startsWith('kb-')) throw new Error('blocked'); return null; }"
    page.add_init_script(f"Storage.prototype.getItem = Storage.prototype.setItem = {refuse}")
    page.goto(f"{root}/{BANK}")
    page.locator("#question-lora .kb-know input").check()
    page.locator("#question-known").select_option("yes")
    assert ids(page) == {"lora"}
    page.close()
    assert errors == []


def test_deck_and_table_can_be_taken_along(site: Path, visit: browsing.Visit, asked: list[Question]):
    links = visit.open(BANK).page.locator(".kb-take-along a[download]")
    assert {link.evaluate("link => link.href").rpartition("/")[2] for link in links.all()} == {cards.DECK, cards.TABLE}
    table = (site / cards.FOLDER / cards.TABLE).read_text(encoding="utf-8-sig")
    for address in re.findall(r"file://\S+?\.html#q-[a-z0-9-]+", table):
        assert address.startswith(site.resolve().as_uri())
    for question in asked:
        assert cards.address(question, "") in table
        page, _, anchor = cards.address(question, "").partition("#")
        assert f'id="{anchor}"' in (site / page).read_text(encoding="utf-8")


def test_the_sheet_has_the_questions_of_the_notes_on_a_few_pages(
    visit: browsing.Visit, tmp_path: Path, asked: list[Question]
):
    page = visit.open(SHEET).page
    noted = [question for question in asked if question.from_notes]
    assert page.locator(".kb-sheet-question .kb-question-zh").all_inner_texts() == [q.zh for q in noted]
    page.emulate_media(media="print")
    assert page.locator(".kb-sheet").evaluate("list => getComputedStyle(list).columnCount") == "2"
    assert page.locator(".bd-sidebar-primary").is_hidden()
    paper = page.pdf(path=tmp_path / "sheet.pdf", format="A4")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 8
