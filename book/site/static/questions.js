// The filter of the question bank: hides what does not match. The list is whole and readable without it.
// Text is compared in lower case, every word must occur, in any order, in either language or in the short answer.
(() => {
  const form = document.getElementById("question-filter");
  if (!form) return;
  const [text, topic, state] = ["text", "topic", "state"].map((name) => document.getElementById(`question-${name}`));
  const count = document.getElementById("question-count");
  const fold = (value) => value.normalize("NFKC").toLowerCase();
  const questions = [...document.querySelectorAll("li.kb-question")].map((item) => ({
    item,
    text: fold([...item.children].filter((part) => !part.matches(".kb-meta")).map((part) => part.textContent).join(" ")
      + " " + item.dataset.topic),
    topic: item.dataset.topic,
    state: item.dataset.state,
  }));
  const sections = [...document.querySelectorAll("section.kb-topic")];

  const filter = () => {
    const words = fold(text.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const question of questions) {
      const hit = (!topic.value || question.topic === topic.value)
        && (!state.value || question.state === state.value)
        && words.every((word) => question.text.includes(word));
      question.item.hidden = !hit;
      shown += hit;
    }
    for (const section of sections) section.hidden = !section.querySelector("li.kb-question:not([hidden])");
    count.value = shown ? `${shown} of ${questions.length} questions` : "No question matches; clear the filter to see all";
  };

  // The address holds the filter, so that a filtered list can be sent to somebody.
  const remember = () => {
    const chosen = new URLSearchParams(
      [["text", text.value.trim()], ["topic", topic.value], ["state", state.value]].filter(([, value]) => value));
    history.replaceState(null, "", (chosen.size ? `?${chosen}` : location.pathname) + location.hash);
  };
  const asked = new URLSearchParams(location.search);
  text.value = asked.get("text") ?? "";
  for (const [select, name] of [[topic, "topic"], [state, "state"]]) {
    const value = asked.get(name) ?? "";
    select.value = [...select.options].some((option) => option.value === value) ? value : "";
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { filter(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { filter(); remember(); text.focus(); }));
  form.hidden = false;
  filter();
})();
