"""Extraction, normalisation, languages: by hand, by property, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from kb.corpus import (
    NaiveBayesLanguages,
    blocks,
    comparison_key,
    count_words,
    extract,
    fingerprint,
    guess_by_script,
    normalize,
    script_shares,
)

PAGE = """<!DOCTYPE html><html><head><title>T</title><style>p {color: red}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/a">All articles of the year and more besides</a></li></ul></nav>
<article><h1>Paged attention</h1><h2>Empty heading</h2><h2>Blocks</h2>
<p>A block table maps the blocks of a sequence to <a href="x">blocks of memory</a>, so that none is copied.</p>
<p><a href="1">One link and another and so on,</a> <a href="2">until the whole block is nothing but links</a></p>
<pre>def f(x):
    return x</pre>
<p>Short.</p><script>var x = "never <b>this</b>";</script>
<footer>Copyright and ten more words that nobody wants to read in a corpus</footer></article></body></html>"""


def test_what_is_kept_of_a_page() -> None:
    assert extract(PAGE) == (
        "Blocks\n\nA block table maps the blocks of a sequence to blocks of memory, so that none is copied."
        "\n\ndef f(x):\n    return x"
    )


def test_link_density_by_hand() -> None:
    (block,) = blocks("<p>abcd <a href='x'>efgh</a></p>")
    assert (block.words, block.link_density, block.tag) == (2, 0.5, "p")
    assert [one.text for one in blocks("one<p>two<br>three</p>four")] == ["one", "two\nthree", "four"]
    assert blocks("<p>a &amp; b&#20320;</p>")[0].text == "a & b你"
    assert count_words("你好 hello 世界") == 5


@settings(max_examples=40)
@given(st.text(alphabet="<>/abp =\"'!-&;x", max_size=60))
def test_no_markup_is_too_broken(html: str) -> None:
    for block in blocks(html):
        assert block.text.strip()
        assert 0 <= block.link_density <= 1


def test_a_break_ends_a_line_and_no_paragraph() -> None:
    long = "word " * 12
    assert extract(f"<p>{long}<br/>\n and its\nend.<br><br></p>") == long.strip() + "\nand its end."
    assert blocks("<pre>a<br>  b</pre>")[0].text == "a\n  b"


def test_an_anchor_is_no_link() -> None:
    assert blocks("<p><a name='top'>one two <a href='x'>three</a> four</p>")[0].link_density == pytest.approx(5 / 15)


def test_the_end_of_the_head_may_be_left_out() -> None:
    assert extract("<head><title>Title of a page</title><body><p>" + "word " * 12) == " ".join(["word"] * 12)


def test_unclosed_elements_do_not_leak() -> None:
    html = "<nav><ul><li>menu</nav><p>" + "word " * 12 + "</p>"
    assert extract(html) == " ".join(["word"] * 12)


@settings(max_examples=40)
@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert fingerprint(once) == fingerprint(text)


def test_normalisation_by_hand() -> None:
    assert normalize("ＡＢＣ１２３，好\u200b吧\r\n\r\n\r\n\r\ne\u0301  x\t y ") == "ABC123，好吧\n\né x y"
    assert normalize("می\u200cخواهم\ufeff") == "می\u200cخواهم"
    assert comparison_key("Hello, World 42!") == "helloworld00"
    assert fingerprint("很 好！！") == fingerprint("很好")
    assert fingerprint("a") != fingerprint("b")
    assert fingerprint(":)") == fingerprint(" :) ") != fingerprint(":(")


def test_scripts() -> None:
    assert script_shares("ab你好") == {"latin": 0.5, "han": 0.5}
    assert script_shares("123") == {}
    guesses = {"今天天气很好": "zh", "これは本です": "ja", "안녕하세요": "ko", "hello": "latin", "привет": "cyrillic"}
    assert {text: guess_by_script(text) for text in guesses} == guesses
    assert guess_by_script("12 !") == guess_by_script("α β") == "unknown"
    assert guess_by_script("ชีวิต") == "unknown"


def test_naive_bayes_equals_scikit_learn() -> None:
    samples = {
        "en": ["the cat sat on the mat and the dog ran to the house", "where are you going with that thing"],
        "de": ["die katze sitzt auf der matte und der hund rennt", "wohin gehst du mit diesem ding"],
        "fr": ["le chat est sur le tapis et le chien court", "ou vas tu avec cette chose la"],
    }
    ours = NaiveBayesLanguages(samples)

    def cut(text: str) -> list[str]:
        padded = f" {text} "
        return [padded[at : at + 3] for at in range(len(padded) - 2)]

    vectorizer = CountVectorizer(analyzer=cut)
    X = vectorizer.fit_transform([" ".join(texts) for texts in samples.values()])
    # One document a language would join the texts; counts of each text are added instead.
    counts = np.zeros(X.shape)
    for row, texts in enumerate(samples.values()):
        for text in texts:
            counts[row] += vectorizer.transform([text]).toarray()[0]
    theirs = MultinomialNB(alpha=1.0, fit_prior=False).fit(counts, list(samples))
    for text in ("the house and the cat", "der hund und die katze", "le chien sur le tapis"):
        found = ours.log_likelihoods(text)
        x = vectorizer.transform([text]).toarray()
        assert ours.predict(text) == theirs.predict(x)[0]
        log_p = dict(zip(theirs.classes_, (theirs.feature_log_prob_ @ x[0]).tolist(), strict=True))
        known = set(ours._grams_known)
        if all(gram in vectorizer.vocabulary_ for gram in cut(text) if gram in known):
            for name in samples:
                assert found[name] - found["en"] == pytest.approx(log_p[name] - log_p["en"], rel=0.2, abs=1.0)


def test_naive_bayes_may_not_know() -> None:
    model = NaiveBayesLanguages({"en": "the cat sat", "de": "die katze sass"})
    assert model.predict("") == "unknown"
    assert model.predict("the cat", margin=100.0) == "unknown"


def test_bad_input() -> None:
    for call in (normalize, script_shares, extract, fingerprint):
        with pytest.raises(TypeError, match="string"):
            call(b"x")  # type: ignore[operator]
    with pytest.raises(ValueError, match="most_links"):
        extract("", most_links=2.0)
    with pytest.raises(ValueError, match="samples"):
        NaiveBayesLanguages({"en": "abc"})
    with pytest.raises(ValueError, match="samples"):
        NaiveBayesLanguages({"en": "abc", "de": []})
