// Card mode of the question bank: of what the filter finds, one question at a time, its answer folded.
// Keys: space or Enter on Reveal, arrows for back and next, 1 for known, 2 for not yet.
(() => {
  const bank = window.kbQuestions;
  if (!bank) return;
  const by = (name) => document.getElementById(name);
  const deck = by("question-deck"), place = by("deck-place"), toggle = by("question-cards"), reveal = by("deck-reveal");
  const article = deck.parentElement;
  let cards = [], at = 0, on = false;

  const answer = () => cards[at]?.item.querySelector("details");
  const show = () => {
    for (const card of document.querySelectorAll("li.kb-current")) card.classList.remove("kb-current");
    const card = cards[at];
    if (card) {
      card.item.classList.add("kb-current");
      if (answer()) answer().open = false;
    }
    const knew = cards.filter(({ id }) => bank.known.has(id)).length;
    place.value = card ? `Card ${at + 1} of ${cards.length}, ${knew} known` : "No card: change the filter";
    for (const button of deck.querySelectorAll("button")) button.disabled = !card && button.id !== "deck-forget";
  };
  const turn = (step) => { at = cards.length ? (at + step + cards.length) % cards.length : 0; show(); };
  const say = (yes) => {
    if (!cards[at]) return;
    bank.know(cards[at].id, yes);
    turn(1);
  };

  bank.form.addEventListener("kb-found", ({ detail }) => {
    const current = cards[at]?.id;
    cards = [...detail];
    at = Math.max(0, cards.findIndex(({ id }) => id === current));
    if (on) show();
  });
  const set = (yes) => {
    on = yes;
    deck.hidden = !on;
    toggle.setAttribute("aria-pressed", String(on));
    article.classList.toggle("kb-as-cards", on);
    bank.filter();
    if (on) {
      deck.scrollIntoView({ block: "start" });
      reveal.focus({ preventScroll: true });
    }
  };

  toggle.addEventListener("click", () => set(!on));
  reveal.addEventListener("click", () => { if (answer()) answer().open = !answer().open; });
  by("deck-next").addEventListener("click", () => turn(1));
  by("deck-back").addEventListener("click", () => turn(-1));
  by("deck-knew").addEventListener("click", () => say(true));
  by("deck-not").addEventListener("click", () => say(false));
  by("deck-forget").addEventListener("click", () => { bank.forget(); show(); });
  by("deck-shuffle").addEventListener("click", () => {
    for (let last = cards.length - 1; last > 0; last--) {
      const other = Math.floor(Math.random() * (last + 1));
      [cards[last], cards[other]] = [cards[other], cards[last]];
    }
    at = 0;
    show();
  });
  addEventListener("keydown", (event) => {
    if (!on || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    const act = { ArrowRight: () => turn(1), ArrowLeft: () => turn(-1), 1: () => say(true), 2: () => say(false) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
})();
