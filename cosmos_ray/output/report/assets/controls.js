// What stands over a list of clips, and at its end.

function labelled(text, field) {
  return element("label", {}, element("span", { textContent: text }), field);
}

/** A field for words that captions and ids should have; `/` leads to it. */
function searchField(onWords) {
  let waiting = 0;
  const oninput = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => onWords(field.value.trim()));
  };
  const field = element("input", { type: "search", oninput, placeholder: "captions and ids" });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    field.focus();
  });
  return field;
}

/** What is scrolled to in `scroller` shall not lie under the bar that stays at its top. */
function keepClear(bar, scroller) {
  const watch = new ResizeObserver(() => {
    if (!bar.isConnected) return watch.disconnect();
    const stays = getComputedStyle(bar).position === "sticky";
    scroller.style.scrollPaddingTop = stays ? `${bar.offsetHeight + 8}px` : "";
  });
  watch.observe(bar);
}

/** The end of a list, of which more is asked for when it comes near what is seen. */
function endOfList(more) {
  const end = element("p", { className: "end soft", textContent: "…" });
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && more(), { rootMargin: "1200px" }).observe(end);
  return end;
}

/** Is the end so near that more should come? */
function isNear(end) {
  return !end.hidden && end.getBoundingClientRect().top < innerHeight + 1200;
}
