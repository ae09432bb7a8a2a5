// A clip at `#id`: its views in full size, and all that is known of it.

function openDetail(list, row, view) {
  const inside = list.name === "clips" ? [player(list, row, view)] : [];
  Object.assign(detail, { list, row });
  showDetail(list.value(row, "id"), list.key(row), ...inside, ...words(list, row), facts(list, row, true));
}

/** One view's own file, large; another one goes on at the same moment. */
function player(list, row, view) {
  const views = viewsOf(list, row);
  const box = element("div", { className: "player" });
  const link = element("a", { textContent: "the file" });
  const buttons = views.map((name) => element("button", { type: "button", textContent: name, onclick: () => show(name) }));
  let screen = null;
  const show = (name) => {
    const before = screen instanceof HTMLVideoElement ? { at: screen.currentTime, isPlaying: !screen.paused } : null;
    if (screen === null || isPicture(name) === screen instanceof HTMLVideoElement) {
      const videos = { controls: true, loop: true, playsInline: true, preload: "auto" };
      const another = isPicture(name) ? element("img", { alt: name }) : element("video", videos);
      screen?.replaceWith(another);
      screen = another;
    }
    screen.src = link.href = pathOf(list, row, fileOf(name));
    screen.setAttribute("aria-label", name);
    if (before && !isPicture(name)) {
      screen.currentTime = before.at;
      if (before.isPlaying) screen.play().catch(() => {});
    }
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === name)));
  };
  if (views.length) show(view ?? views[0]);
  if (view && !isPicture(view) && !isStill.matches) screen.play().catch(() => {});
  box.append(...(screen ? [screen] : []), element("div", { className: "tabs", role: "group", "aria-label": "Views" }, ...buttons, link));
  return box;
}

/** Among the rows that were searched for, if it is one of those; the rest of a list comes as it is asked for. */
async function step(by) {
  const { list, row } = detail;
  const isFound = list === wanted.list && found.rows.includes(row);
  const rows = isFound ? found.rows : list.rows;
  const place = rows.indexOf(row) + by;
  if (rows === list.rows && place >= rows.length && !list.isWhole) await list.more().catch(fail);
  if (rows[place] && detail.open && detail.row === row) openDetail(list, rows[place]);
}

async function openHash() {
  const asked = location.hash;
  const id = askedFor();
  if (id === null) return;
  if (!id) return detail.close();
  if (detail.open && detail.key === id) return;
  for (const list of LISTS.values()) {
    const row = await list.find(id).catch(fail);
    if (location.hash !== asked) return;
    if (row) return openDetail(list, row);
  }
  detail.close();
  tell(`${id} is not on this page`);
}

addEventListener("hashchange", openHash);
if (document.getElementById("browse")) build().then(openHash);
