// Clips under several settings: their small videos in step on the page, one view of all in full size when it is opened.

const LIST = LISTS.get("clips");
const SETTINGS = HEAD.settings;
const FEW = 12;
const DECIMALS = { seconds: 1, psnr_db: 1, ssim: 3, agreement: 3, agreement_change: 3 };
const page = { clips: [], found: [], shown: 0 };
const parts = {};

/** Orders of the clips; the furthest first, and whatever has no distance at the end. */
const ORDERS = [["as in the manifest", null, 1]];
SETTINGS.slice(1).forEach((name, place) => {
  ORDERS.push([`${name}: lowest PSNR first`, "psnr_db", place + 1]);
  ORDERS.push([`${name}: lowest SSIM first`, "ssim", place + 1]);
  ORDERS.push([`${name}: views agree less first`, "agreement_change", place + 1]);
});

function told(row, column) {
  const value = LIST.value(row, column);
  return typeof value === "number" ? value.toFixed(DECIMALS[column] ?? 0) : null;
}

/** What is measured of one side, in a few words. */
function numbers(row) {
  const said = [];
  const add = (column, before, after) => told(row, column) !== null && said.push(`${before}${told(row, column)}${after}`);
  add("seconds", "", " s");
  add("psnr_db", "", " dB");
  add("ssim", "SSIM ", "");
  add("agreement", "views agree ", "");
  const why = LIST.value(row, "not_compared");
  if (why !== null && LIST.value(row, "status") === "ok") said.push(`not compared: ${why}`);
  return said.map((words) => element("span", { className: "soft", textContent: words }));
}

function settingOf(row) {
  return SETTINGS[LIST.value(row, "setting")];
}

function missing(row) {
  const failure = LIST.value(row, "failure");
  return element("p", { className: failure ? "none error" : "none soft", textContent: failure ? `failed: ${failure}` : "not made yet" });
}

/** A clip's card: a side a setting, which play together. */
class Pair {
  constructor(rows) {
    this.rows = rows;
    this.isPlaying = false;
    this.id = LIST.value(rows[0], "id");
    this.previews = [];
    const sides = rows.map((row) => this.side(row));
    this.button = element("button", { type: "button", onclick: () => (this.isPlaying ? this.stop() : this.play()) });
    this.sides = element("div", { className: "sides" }, ...sides);
    this.sides.onpointerenter = (event) => event.pointerType === "mouse" && !isStill.matches && this.play();
    this.sides.onpointerleave = (event) => event.pointerType === "mouse" && this.stop();
    const link = element("a", { href: "#" + encodeURIComponent(this.id), textContent: this.id });
    this.box = element("article", { className: "pair" }, element("header", {}, element("h3", {}, link), this.button));
    this.box.setAttribute("aria-label", this.id);
    const caption = rows.map((row) => LIST.value(row, "caption")).find((words) => words !== null);
    if (caption) this.box.append(element("p", { className: "caption", textContent: caption }));
    this.box.append(this.sides);
    this.button.hidden = this.previews.length === 0;
    this.say();
  }

  side(row) {
    const caption = element("figcaption", {}, element("b", { textContent: settingOf(row) }), ...numbers(row));
    if (LIST.value(row, "status") !== "ok") return element("figure", {}, caption, missing(row));
    const preview = new Preview(LIST, row, (view) => openPair(this.rows, view));
    preview.stage.onpointerenter = preview.stage.onpointerleave = null;
    this.previews.push(preview);
    return element("figure", {}, caption, preview.stage);
  }

  say() {
    this.button.textContent = this.isPlaying ? "❚❚ stop" : "▶ play together";
    this.button.setAttribute("aria-label", `${this.isPlaying ? "Stop" : "Play"} ${this.id} under all settings`);
    this.button.setAttribute("aria-pressed", String(this.isPlaying));
  }

  async play() {
    if (this.isPlaying) return;
    this.isPlaying = true;
    this.say();
    for (const one of this.previews) one.begin();
    await playInStep(this.previews.flatMap((one) => one.videos), () => this.isPlaying);
  }

  stop() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    for (const one of this.previews) one.stop();
    this.say();
  }
}

let goesOn = false;

/** One view of a clip in full size, under all settings, in step. */
function openPair(rows, view) {
  const id = LIST.value(rows[0], "id");
  const made = rows.filter((row) => LIST.value(row, "status") === "ok");
  const views = viewsOf(LIST, made[0] ?? rows[0]);
  const chosen = view ?? views[0];
  const screens = [];
  const sides = rows.map((row) => {
    const caption = element("figcaption", {}, element("b", { textContent: settingOf(row) }), ...numbers(row));
    if (!made.includes(row) || !viewsOf(LIST, row).includes(chosen)) return element("figure", {}, caption, missing(row));
    const screen = screenOf(chosen, pathOf(LIST, row, fileOf(chosen)));
    screen.setAttribute("aria-label", `${chosen}, ${settingOf(row)}`);
    if (screen instanceof HTMLVideoElement) screens.push(screen);
    caption.append(element("a", { href: pathOf(LIST, row, fileOf(chosen)), textContent: "the file" }));
    return element("figure", {}, caption, screen);
  });
  const tabs = views.map((name) => {
    const button = element("button", { type: "button", textContent: name, onclick: () => openPair(rows, name) });
    button.setAttribute("aria-pressed", String(name === chosen));
    return button;
  });
  detail.rows = rows;
  detail.view = chosen;
  showDetail(id, id,
    element("div", { className: "tabs", role: "group", "aria-label": "Views" }, ...tabs),
    ...(screens.length ? [controls(screens)] : []),
    element("div", { className: "sides" }, ...sides));
}

/** A button and a slider for all of them. */
function controls(screens) {
  const [first] = screens;
  const button = element("button", { type: "button" });
  const place = element("input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": "Moment, in all" });
  const run = { isOn: false };
  const say = () => {
    button.textContent = run.isOn ? "❚❚" : "▶";
    button.setAttribute("aria-label", run.isOn ? "Stop all" : "Play all");
  };
  const stop = () => {
    run.isOn = false;
    for (const one of screens) one.pause();
    say();
  };
  const play = () => {
    run.isOn = goesOn = true;
    say();
    playInStep(screens, () => run.isOn && goesOn && first.isConnected);
  };
  button.onclick = () => (run.isOn ? stop() : play());
  first.ontimeupdate = () => run.isOn && (place.value = String((1000 * first.currentTime) / (first.duration || 1)));
  place.oninput = () => {
    stop();
    for (const one of screens) one.currentTime = (Number(place.value) / 1000) * (one.duration || 0);
  };
  say();
  if (!isStill.matches) play();
  return element("div", { className: "controls" }, button, place);
}

function step(by) {
  const place = page.found.indexOf(detail.rows) + by;
  if (page.found[place]) openPair(page.found[place], detail.view);
}

function matching() {
  const words = parts.search.value.trim().toLowerCase();
  const has = (row, column) => inWords(LIST.value(row, column)).toLowerCase().includes(words);
  const clips = page.clips.filter((rows) => !words || has(rows[0], "id") || rows.some((row) => has(row, "caption")));
  const [, column, setting] = ORDERS[Number(parts.order.value)];
  if (column === null) return clips;
  const of = (rows) => LIST.value(rows[setting], column) ?? Infinity;
  return [...clips].sort((one, other) => (of(one) === of(other) ? 0 : of(one) - of(other)));
}

function search() {
  page.found = matching();
  page.shown = 0;
  parts.cards.replaceChildren();
  more();
}

function more() {
  const next = page.found.slice(page.shown, page.shown + FEW);
  parts.cards.append(...next.map((rows) => new Pair(rows).box));
  page.shown += next.length;
  parts.end.hidden = page.shown >= page.found.length;
  requestAnimationFrame(() => isNear(parts.end) && more());
  const all = page.clips.length.toLocaleString("en");
  const noun = page.clips.length === 1 ? "clip" : "clips";
  parts.status.textContent = page.found.length === page.clips.length ? `${all} ${noun}` : `${page.found.length} of ${all} ${noun}`;
}

function openHash() {
  const id = askedFor();
  if (id === null) return;
  const rows = page.clips.find((one) => LIST.value(one[0], "id") === id);
  if (rows && !(detail.open && detail.rows === rows)) openPair(rows);
  else if (!id) detail.close();
  else if (!rows) parts.status.textContent = `${id} is not on this page`;
}

async function build() {
  parts.search = searchField(search);
  parts.order = element("select", { onchange: search }, ...ORDERS.map(([name], value) => element("option", { value, textContent: name })));
  parts.status = element("p", { className: "soft", role: "status" });
  parts.cards = element("div");
  parts.end = endOfList(() => page.shown && more());
  const tools = element("div", { className: "tools" }, labelled("search", parts.search), labelled("order", parts.order));
  document.getElementById("browse").append(
    element("h2", { textContent: "Clips" }),
    tools,
    parts.status, parts.cards, parts.end,
  );
  keepClear(tools, document.documentElement);
  await LIST.all().catch((error) => (parts.status.textContent = error.message));
  for (let from = 0; from < LIST.rows.length; from += SETTINGS.length) page.clips.push(LIST.rows.slice(from, from + SETTINGS.length));
  search();
  openHash();
}

detail.addEventListener("close", () => (goesOn = false));
addEventListener("hashchange", openHash);
build();
