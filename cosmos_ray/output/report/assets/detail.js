// One clip by itself, at `#id`: its views in full size, all that is known of it, the one before and the one after.

const detail = document.getElementById("detail");

function openDetail(list, row, view) {
  const id = list.value(row, "id");
  detail.replaceChildren(
    element(
      "header", {},
      element("h2", { id: "detail-id", textContent: id }),
      element("button", { type: "button", textContent: "←", "aria-label": "The one before", onclick: () => step(-1) }),
      element("button", { type: "button", textContent: "→", "aria-label": "The next one", onclick: () => step(1) }),
      element("button", { type: "button", textContent: "✕", "aria-label": "Close", onclick: () => detail.close() }),
    ),
  );
  if (list.name === "clips") detail.append(player(list, row, view));
  detail.append(...words(list, row), facts(list, row, true));
  detail.row = row;
  if (!detail.open) detail.showModal();
  const hash = "#" + encodeURIComponent(id);
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

/** One view's own file, large; another one goes on at the same moment. */
function player(list, row, view) {
  const views = viewsOf(list, row);
  const screen = views.every(isPicture) ? element("img") : element("video", { controls: true, loop: true, playsInline: true, preload: "auto" });
  const link = element("a", { textContent: "the file" });
  const buttons = views.map((name) => element("button", { type: "button", textContent: name, onclick: () => show(name) }));
  const show = (name) => {
    const { currentTime, paused, src } = screen;
    screen.src = link.href = pathOf(list, row, fileOf(name));
    screen.setAttribute("aria-label", name);
    if (src && !isPicture(name)) {
      screen.currentTime = currentTime;
      if (!paused) screen.play().catch(() => {});
    }
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === name)));
  };
  if (views.length) show(view ?? views[0]);
  if (view && !isPicture(view) && !isStill.matches) screen.play().catch(() => {});
  return element("div", { className: "player" }, screen,
    element("div", { className: "tabs", role: "group", "aria-label": "Views" }, ...buttons, link));
}

function step(by) {
  const place = found.rows.indexOf(detail.row) + by;
  const row = found.rows[place];
  if (row) openDetail(wanted.list, row);
}

async function openHash() {
  const asked = location.hash;
  let id = "";
  try {
    id = decodeURIComponent(asked.slice(1));
  } catch {
    return; // no id of ours
  }
  if (!id) return detail.close();
  if (detail.open && wanted.list.value(detail.row, "id") === id) return;
  for (const list of LISTS.values()) {
    const row = await list.find(id).catch(fail);
    if (location.hash !== asked) return;
    if (row) return openDetail(list, row);
  }
  detail.close();
  tell(`${id} is not on this page`);
}

detail.addEventListener("close", () => {
  detail.replaceChildren();
  history.replaceState(null, "", location.pathname + location.search);
});
detail.addEventListener("click", (event) => event.target === detail && detail.close());
detail.addEventListener("keydown", (event) => {
  if (event.target.tagName === "VIDEO") return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
addEventListener("hashchange", openHash);
if (document.getElementById("browse")) build().then(openHash);
