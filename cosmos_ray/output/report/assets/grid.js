// Clips as a table: the values of one column go down, those of another across. What does not fit is said.

const FITS = { down: 60, across: 24, clips: 4 };

/** Values that are told apart by what is shown of them. */
function distinct(list, rows, column) {
  const values = rows.map((row) => list.value(row, column));
  return [...new Map(values.map((value) => [inWords(value), value])).values()].sort(compare);
}

function gridOf(list, rows, [down, across]) {
  const lines = distinct(list, rows, down);
  const columns = distinct(list, rows, across);
  const places = [lines, columns].map((values) => new Map(values.map((value, place) => [inWords(value), place])));
  const cells = new Map();
  for (const row of rows) {
    const place = [down, across].map((column, side) => places[side].get(inWords(list.value(row, column)))).join(" ");
    if (!cells.has(place)) cells.set(place, []);
    cells.get(place).push(row);
  }
  const head = columns.slice(0, FITS.across).map((value) => heading("col", across, value));
  const table = element("table", {},
    element("caption", { textContent: `${down} down, ${across} across${beyond(lines.length, columns.length)}` }),
    element("thead", {}, element("tr", {}, element("td"), ...head)));
  const body = element("tbody");
  lines.slice(0, FITS.down).forEach((value, line) => {
    const found = columns.slice(0, FITS.across).map((_, column) => cell(list, cells.get(`${line} ${column}`) ?? []));
    body.append(element("tr", {}, heading("row", down, value), ...found));
  });
  table.append(body);
  const box = element("div", { className: "grid", tabIndex: 0, role: "region" }, table);
  box.setAttribute("aria-label", `${down} by ${across}`);
  return box;
}

function heading(scope, column, value) {
  return element("th", { scope }, element("span", { className: "soft", textContent: column }), " ", inWords(value) || "–");
}

function beyond(lines, columns) {
  const left = [[lines - FITS.down, "lines"], [columns - FITS.across, "columns"]].filter(([count]) => count > 0);
  return left.map(([count, what]) => `; ${count} more ${what} do not fit: filter first`).join("");
}

function cell(list, rows) {
  const shown = rows.slice(0, FITS.clips).map((row) => {
    const id = list.value(row, "id");
    const link = element("a", { href: "#" + encodeURIComponent(list.key(row)), textContent: id });
    return element("article", { "aria-label": id }, new Preview(list, row, (view) => openDetail(list, row, view)).stage, link);
  });
  const left = rows.length - shown.length;
  return element("td", {}, ...shown, ...(left > 0 ? [element("p", { className: "soft", textContent: `${left} more` })] : []));
}
