// The filter of the question bank: hides what does not match. The list is whole and readable without it.
// Every word must occur, in any order, in either language, in the short answer or in the topic; case, the width of
// letters, kinds of dash and hyphens do not matter. What the reader knows is kept in this browser alone.
(() => {
  const form = document.getElementById("question-filter");
  if (!form) return;
  const NAMES = ["text", "topic", "difficulty", "asked", "origin", "known"];
  const field = Object.fromEntries(NAMES.map((name) => [name, document.getElementById(`question-${name}`)]));
  const count = document.getElementById("question-count");
  const fold = (text) => text.normalize("NFKC").toLowerCase().replace(/[‐-―−]/g, "-").replace(/’/g, "'").replace(/-/g, "");

  // Where the browser keeps nothing, as with cookies blocked, it is kept until the page is left.
  const KEY = "kb-known-questions";
  const read = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return Array.isArray(kept) ? kept : [];
    } catch { return []; }
  };
  const known = new Set(read());
  const keep = () => { try { localStorage.setItem(KEY, JSON.stringify([...known])); } catch { /* until the page is left */ } };

  const questions = [...document.querySelectorAll("li.kb-question")].map((item) => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: known.has(item.dataset.id) });
    const text = [...item.children].filter((part) => !part.matches(".kb-meta")).map((part) => part.textContent);
    label.className = "kb-know";
    label.append(box, " I know it");
    item.querySelector(".kb-meta").append(" ", label);
    box.addEventListener("change", () => { know(item.dataset.id, box.checked); filter(); });
    return { item, box, id: item.dataset.id, text: fold([...text, item.dataset.topic].join(" ")) };
  });
  const sections = [...document.querySelectorAll("section.kb-topic")];

  const know = (id, yes) => {
    yes ? known.add(id) : known.delete(id);
    questions.find((question) => question.id === id).box.checked = yes;
    keep();
  };
  const forget = () => {
    known.clear();
    for (const question of questions) question.box.checked = false;
    keep();
    filter();
  };

  const matches = (question, words) => words.every((word) => question.text.includes(word))
    && ["topic", "difficulty", "asked", "origin"].every((name) => !field[name].value || question.item.dataset[name] === field[name].value)
    && (!field.known.value || (field.known.value === "yes") === known.has(question.id));

  const filter = () => {
    const words = fold(field.text.value).split(/\s+/).filter(Boolean);
    const found = questions.filter((question) => matches(question, words));
    for (const question of questions) question.item.hidden = !found.includes(question);
    for (const section of sections) section.hidden = !section.querySelector("li.kb-question:not([hidden])");
    count.value = found.length ? `${found.length} of ${questions.length} questions` : "No question matches; clear the filter to see all";
    form.dispatchEvent(new CustomEvent("kb-found", { detail: found }));
  };

  // The address holds the filter, so that a filtered list can be sent to somebody; what one knows is one's own.
  const SENT = NAMES.filter((name) => name !== "known");
  const remember = () => {
    const chosen = new URLSearchParams(SENT.map((name) => [name, field[name].value.trim()]).filter(([, value]) => value));
    try {
      history.replaceState(null, "", (chosen.size ? `?${chosen}` : location.pathname) + location.hash);
    } catch { /* opened from the disk, some browsers refuse */ }
  };
  const asked = new URLSearchParams(location.search);
  for (const name of SENT) {
    const value = asked.get(name) ?? "";
    if (name === "text" || [...field[name].options].some((option) => option.value === value)) field[name].value = value;
  }

  const opened = [];
  addEventListener("beforeprint", () => {
    for (const answer of document.querySelectorAll("li.kb-question:not([hidden]) details:not([open])")) {
      answer.open = true;
      opened.push(answer);
    }
  });
  addEventListener("afterprint", () => { for (const answer of opened.splice(0)) answer.open = false; });
  document.getElementById("question-print").addEventListener("click", () => print());

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { filter(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { filter(); remember(); field.text.focus(); }));
  form.hidden = false;
  window.kbQuestions = { form, filter, know, forget, known };
  filter();
})();
