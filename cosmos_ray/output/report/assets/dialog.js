// One clip by itself, over the page, at `#id`. Who uses it has a function `step`: to the one before (-1), or after (1).

const detail = document.getElementById("detail");

/** Another one, or the first. key: what the address says of it. */
function showDetail(id, key, ...inside) {
  const button = (textContent, name, onclick) => element("button", { type: "button", textContent, "aria-label": name, onclick });
  const nameOf = (one) => one.getAttribute("aria-label") ?? one.textContent;
  const focused = detail.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const isAnother = detail.key !== key;
  detail.key = key;
  const bar = element("header", {}, element("h2", { id: "detail-id", textContent: id }),
    button("←", "The one before", () => step(-1)), button("→", "The next one", () => step(1)),
    button("✕", "Close", () => detail.close()));
  detail.replaceChildren(bar, ...inside);
  keepClear(bar, detail);
  if (!detail.open) detail.showModal();
  else [...detail.querySelectorAll("button")].find((one) => nameOf(one) === focused)?.focus();
  if (isAnother) detail.scrollTop = 0;
  const hash = "#" + encodeURIComponent(key);
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

/** The id that the address asks for, "" for none; null for what is no id of ours. */
function askedFor() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return null;
  }
}

detail.addEventListener("close", () => {
  detail.replaceChildren();
  detail.key = null;
  history.replaceState(null, "", location.pathname + location.search);
});
detail.addEventListener("click", (event) => event.target === detail && detail.close());
document.addEventListener("keydown", (event) => {
  if (!detail.open || /^(INPUT|VIDEO)$/.test(event.target.tagName)) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
