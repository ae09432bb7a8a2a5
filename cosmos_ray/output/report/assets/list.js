// Search, filters and order, and the cards that they leave. Cards come as one scrolls; rows come with them, and all of
// them as soon as somebody searches, filters or sorts.

const BATCH = 24;
const TESTS = {
  is: isSame,
  "is not": (value, wanted) => !isSame(value, wanted),
  contains: (value, wanted) => inWords(value).toLowerCase().includes(wanted.toLowerCase()),
  "at least": (value, wanted) => value !== null && compare(value, asLike(value, wanted)) >= 0,
  "at most": (value, wanted) => value !== null && compare(value, asLike(value, wanted)) <= 0,
};

/** As it is shown, or as it is. */
function isSame(value, wanted) {
  return inWords(value) === wanted || (typeof value === "number" && wanted !== "" && value === Number(wanted));
}

function asLike(value, wanted) {
  return typeof value === "number" ? Number(wanted) : wanted;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return inWords(one).localeCompare(inWords(other), "en", { numeric: true });
}

const wanted = { list: LISTS.get("clips"), search: "", filters: [], sort: "", descending: false, grid: HEAD.grid };
const found = { rows: [], shown: 0 };
const ui = {};

function isPlain() {
  return !wanted.search && !wanted.filters.length && !wanted.sort && !wanted.descending && !wanted.grid;
}

function matching() {
  const { list, search, filters, sort, descending } = wanted;
  const words = search.toLowerCase();
  const has = (row, column) => inWords(list.value(row, column)).toLowerCase().includes(words);
  let rows = list.rows.filter(
    (row) =>
      (!words || has(row, "id") || has(row, "caption")) &&
      filters.every(({ column, test, value }) => TESTS[test](list.value(row, column), value)),
  );
  if (sort) {
    const isNone = (row) => list.value(row, sort) === null;
    const known = rows.filter((row) => !isNone(row));
    known.sort((one, other) => compare(list.value(one, sort), list.value(other, sort)) * (descending ? -1 : 1));
    rows = [...known, ...rows.filter(isNone)];
  } else if (descending) rows.reverse();
  return rows;
}

let turn = 0;

/** The list again, from its beginning. */
async function search() {
  const mine = (turn += 1);
  const { list } = wanted;
  if (!isPlain() && !list.isWhole) {
    tell(`reading ${list.count.toLocaleString("en")} rows …`);
    await list.all().catch(fail);
    if (mine !== turn) return;
  }
  found.rows = matching();
  found.shown = 0;
  ui.cards.replaceChildren();
  ui.grid.replaceChildren();
  if (wanted.grid) {
    ui.grid.append(gridOf(list, found.rows, wanted.grid));
    found.shown = found.rows.length;
    count();
    return;
  }
  await showMore(mine);
}

async function showMore(mine = turn) {
  const { list } = wanted;
  while (isPlain() && found.shown + BATCH > list.rows.length && !list.isWhole) {
    await list.more().catch(fail);
    if (mine !== turn) return;
    found.rows = list.rows;
  }
  if (isPlain()) found.rows = list.rows;
  const next = found.rows.slice(found.shown, found.shown + BATCH);
  if (next.length) ui.cards.append(new Batch(list, next, found.shown).box);
  found.shown += next.length;
  count();
}

function count() {
  const { list } = wanted;
  const all = list.count.toLocaleString("en");
  const left = list.total - list.count;
  const beyond = left > 0 ? `; ${left.toLocaleString("en")} more are not on this page` : "";
  const matching = isPlain() ? list.count : found.rows.length;
  const noun = list.count === 1 ? list.name.replace(/s$/, "") : list.name;
  const of = isPlain() ? "" : `${matching.toLocaleString("en")} of `;
  tell(`${of}${all} ${noun}${beyond}`);
  ui.end.hidden = found.shown >= matching;
}

function tell(text) {
  ui.status.textContent = text;
}

function fail(error) {
  tell(error.message);
  throw error;
}

function choices(select, values) {
  select.replaceChildren(...values.map(([value, text]) => element("option", { value, textContent: text })));
}

function pickList(name) {
  const list = LISTS.get(name);
  if (list !== wanted.list) wanted.grid = null;
  Object.assign(wanted, { list, filters: [], sort: "", descending: false });
  const columns = list.shown.map((column) => [column.name, column.name]);
  choices(ui.sort, [["", "as they come"], ...columns]);
  choices(ui.column, columns);
  for (const [number, select] of [ui.down, ui.across].entries()) {
    choices(select, [["", "none"], ...columns]);
    select.value = wanted.grid?.[number] ?? "";
  }
  ui.descending.setAttribute("aria-pressed", "false");
  for (const tab of ui.tabs) tab.setAttribute("aria-pressed", String(tab.value === name));
  suggest();
  showFilters();
  return search();
}

/** Values that the column has, to choose from. */
async function suggest() {
  const { list } = wanted;
  const column = ui.column.value;
  const values = new Map();
  for (const row of list.rows) {
    const value = list.value(row, column);
    values.set(inWords(value), value);
    if (values.size > 100) break;
  }
  const few = values.size > 100 ? [] : [...values.values()].sort(compare);
  ui.values.replaceChildren(...few.map((value) => element("option", { value: inWords(value) })));
}

function showFilters() {
  ui.filters.replaceChildren(
    ...wanted.filters.map((filter, number) => {
      const text = `${filter.column} ${filter.test} ${filter.value} ×`;
      const remove = () => {
        wanted.filters.splice(number, 1);
        showFilters();
        search();
        ui.value.focus();
      };
      const button = element("button", { type: "button", textContent: text, onclick: remove });
      button.setAttribute("aria-label", `Without the filter ${filter.column} ${filter.test} ${filter.value}`);
      return element("li", {}, button);
    }),
  );
}

function addFilter(event) {
  event.preventDefault();
  wanted.filters.push({ column: ui.column.value, test: ui.test.value, value: ui.value.value.trim() });
  ui.value.value = "";
  showFilters();
  search();
}

function build() {
  ui.tabs = [...LISTS.values()].map((list) => {
    const text = `${list.name} ${list.total.toLocaleString("en")}`;
    return element("button", { type: "button", value: list.name, textContent: text, onclick: () => pickList(list.name) });
  });
  const onSearch = (words) => {
    wanted.search = words;
    search();
  };
  const onSort = () => {
    wanted.sort = ui.sort.value;
    search();
  };
  const onTurn = () => {
    wanted.descending = !wanted.descending;
    ui.descending.setAttribute("aria-pressed", String(wanted.descending));
    search();
  };
  const onGrid = () => {
    wanted.grid = ui.down.value && ui.across.value ? [ui.down.value, ui.across.value] : null;
    search();
  };
  ui.down = element("select", { onchange: onGrid });
  ui.across = element("select", { onchange: onGrid });
  ui.search = searchField(onSearch);
  ui.sort = element("select", { onchange: onSort });
  ui.descending = element("button", { type: "button", textContent: "↓ last first", onclick: onTurn });
  ui.column = element("select", { onchange: suggest, onfocus: suggest });
  ui.test = element("select");
  ui.values = element("datalist", { id: "values" });
  ui.value = element("input", { onfocus: suggest });
  ui.value.setAttribute("list", "values");
  ui.filters = element("ul", { className: "filters", "aria-label": "Filters" });
  ui.status = element("p", { className: "soft", role: "status" });
  ui.cards = element("div");
  ui.end = endOfList(fill);
  choices(ui.test, Object.keys(TESTS).map((name) => [name, name]));
  const filter = element(
    "form", { onsubmit: addFilter, "aria-label": "Filter" },
    labelled("column", ui.column), labelled("how", ui.test), labelled("value", ui.value), ui.values,
    element("button", { textContent: "filter" }),
  );
  ui.grid = element("div");
  const tools = element("div", { className: "tools" }, labelled("search", ui.search), labelled("sort by", ui.sort), ui.descending,
    filter, element("fieldset", {}, labelled("grid: down", ui.down), labelled("across", ui.across)));
  document.getElementById("browse").append(
    element("div", { className: "tabs", role: "group", "aria-label": "What is listed" }, ...ui.tabs),
    tools, ui.filters, ui.status, ui.grid, ui.cards, ui.end,
  );
  keepClear(tools, document.documentElement);
  const first = LISTS.get("clips").total || !LISTS.get("failures").total ? "clips" : "failures";
  return pickList(first);
}

let filling = false;

/** Cards until there are more than are seen. */
async function fill() {
  if (filling) return;
  filling = true;
  try {
    while (isNear(ui.end)) {
      const before = found.shown;
      await showMore();
      if (found.shown === before) break;
      await new Promise(requestAnimationFrame);
    }
  } finally {
    filling = false;
  }
}
