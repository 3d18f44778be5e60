// Checks that run inside a page, put there before its own scripts. Each returns what is wrong as sentences.
(() => {
  // Relative luminance and contrast as WCAG 2 defines them.
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const contrast = (a, b) => ratio(luminance(a), luminance(b));

  const surface = (width, height) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    return canvas.getContext("2d", { willReadFrequently: true });
  };
  // Any CSS colour as red, green, blue, alpha of 0 to 255.
  const rgba = (css) => {
    const pen = surface(1, 1);
    pen.fillStyle = css;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  // What is behind an element: the colour of its nearest ancestor that has an opaque one.
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };

  const name = (image) => image.alt || image.src.slice(-60);
  // The largest contrast inside a figure, drawn small on what is behind it: a dark line on a dark ground has little.
  const inside = (image) => {
    const [width, height] = [320, 180];
    const pen = surface(width, height);
    pen.fillStyle = `rgb(${background(image).slice(0, 3)})`;
    pen.fillRect(0, 0, width, height);
    pen.drawImage(image, 0, 0, width, height);
    const pixels = pen.getImageData(0, 0, width, height).data;
    let [least, most] = [1, 0];
    for (let i = 0; i < pixels.length; i += 4) {
      const shade = luminance(pixels.slice(i, i + 3));
      [least, most] = [Math.min(least, shade), Math.max(most, shade)];
    }
    return ratio(least, most);
  };

  const unreadable = (wanted) => {
    const problems = [];
    const demand = (what, found) => {
      if (found < wanted) problems.push(`${what}: contrast of ${found.toFixed(1)}, wanted ${wanted}`);
    };
    for (const image of document.querySelectorAll("article img")) {
      if (image.complete && image.naturalWidth) demand(`figure ${name(image)}`, inside(image));
      else problems.push(`figure ${name(image)}: not loaded`);
    }
    for (const text of document.querySelectorAll("article svg text")) {
      const behind = background(text.ownerSVGElement);
      demand(`text "${text.textContent}" of a drawing`, contrast(rgba(getComputedStyle(text).fill), behind));
    }
    const article = document.querySelector("article");
    demand("text", contrast(rgba(getComputedStyle(article).color), background(article)));
    return problems;
  };

  // Marks one text of each look: axe takes a quarter of a minute to tell the contrast of every text of a page, and two
  // of one colour, size and ground have one contrast.
  const markLooks = (mark) => {
    for (const element of document.querySelectorAll(`[${mark}]`)) element.removeAttribute(mark);
    const looks = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
      const own = getComputedStyle(element);
      const look = [own.color, own.fontSize, own.fontWeight, own.textShadow];
      const link = element.closest("a");
      if (link) look.push(getComputedStyle(link.parentElement).color, getComputedStyle(link).textDecorationLine);
      for (let e = element; e; e = e.parentElement) {
        const style = getComputedStyle(e);
        look.push(style.backgroundColor.replace("rgba(0, 0, 0, 0)", ""), style.backgroundImage.replace("none", ""));
        if (style.opacity !== "1") look.push(`opacity ${style.opacity}`);
      }
      const key = look.filter((part) => part !== "").join("|");
      if (!looks.has(key)) element.setAttribute(mark, "");
      looks.add(key);
    }
  };

  const overflow = () => {
    const problems = [];
    const total = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
    if (total > innerWidth) problems.push(`the page is ${total} wide on a screen of ${innerWidth}`);
    // What lies in a box that scrolls by itself can be reached, what is cut off cannot.
    const scrolls = (element) => {
      for (let e = element; e && e !== document.body; e = e.parentElement) {
        if (["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return true;
      }
      return false;
    };
    for (const element of document.querySelectorAll("article *:not(mjx-assistive-mml, mjx-assistive-mml *)")) {
      const box = element.getBoundingClientRect();
      if (box.width > 1 && box.height > 1 && box.right > innerWidth + 1 && !scrolls(element.parentElement)) {
        const kind = `${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"`;
        problems.push(`<${kind}> ends at ${Math.round(box.right)} of ${innerWidth}`);
      }
    }
    // A formula can be moved sideways, but nothing shows that it goes on: cut, it reads as another formula.
    for (const formula of document.querySelectorAll("article div.math mjx-container")) {
      const room = formula.getBoundingClientRect().right;
      const ends = Math.max(...[...formula.querySelectorAll("mjx-math *")].map((e) => e.getBoundingClientRect().right));
      if (ends > room + 1) problems.push(`${formula.parentElement.id}: the formula is ${Math.round(ends - room)} too wide`);
    }
    return problems.slice(0, 5);
  };

  const unrendered = async () => {
    const mathematics = [...document.querySelectorAll("article .math")];
    if (!mathematics.length) return [];
    if (!window.MathJax?.startup) return ["there is mathematics, and MathJax did not load"];
    await MathJax.startup.promise;
    const start = (element) => element.textContent.trim().slice(0, 60);
    return [
      ...mathematics.filter((e) => !e.querySelector("mjx-container")).map((e) => `not rendered: ${start(e)}`),
      ...[...document.querySelectorAll("mjx-merror")].map((e) => `MathJax reports: ${start(e)}`),
    ];
  };

  const ground = () => luminance(background(document.querySelector("article")));

  window.kbChecks = { ground, markLooks, overflow, unreadable, unrendered };
})();
