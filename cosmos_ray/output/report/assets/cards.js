// A clip, or a failure, as a card.

const PLAIN = new Set(["id", "caption", "warnings", "marks", "mode", "seed", "error", "class"]);

function card(list, row) {
  const id = list.value(row, "id");
  const title = element("h3", {}, element("a", { href: "#" + encodeURIComponent(list.key(row)), textContent: id }));
  const made = element("article", { className: `card ${list.name}` });
  made.setAttribute("aria-label", id);
  if (list.name === "clips") made.append(new Preview(list, row, (view) => openDetail(list, row, view)).stage);
  made.append(title, ...words(list, row), facts(list, row, false));
  return made;
}

/** Class and error of a failure; caption, mode, seed and warnings of a clip. */
function words(list, row) {
  const found = [];
  const failure = list.value(row, "class");
  if (failure !== null) {
    found.push(element("p", {}, element("span", { className: "class", textContent: failure })));
    found.push(element("p", { className: "error", textContent: inWords(list.value(row, "error")) }));
    const again = `${list.value(row, ".retry") ?? HEAD.retry} --id ${list.value(row, "id")}`;
    found.push(element("p", { className: "soft" }, "again: ", element("code", { textContent: again })));
  }
  const caption = list.value(row, "caption");
  if (caption !== null) found.push(element("p", { className: "caption", textContent: caption }));
  else if (failure === null) found.push(element("p", { className: "caption soft", textContent: "(prompt embedding)" }));
  const marks = ["mode", "seed"].filter((name) => list.value(row, name) !== null);
  if (marks.length) {
    const text = marks.map((name) => (name === "seed" ? `seed ${list.value(row, name)}` : list.value(row, name)));
    found.push(element("p", { className: "soft", textContent: text.join(" · ") }));
  }
  for (const [column, name] of [["marks", "Marks of checks"], ["warnings", "Warnings"]]) {
    const lines = (list.value(row, column) ?? "").split("\n").filter(Boolean);
    if (lines.length === 0) continue;
    const items = lines.map((line) => element("li", { textContent: line }));
    found.push(element("ul", { className: column, "aria-label": name }, ...items));
  }
  return found;
}

/** Its other columns, in their order. all: also those without a value. */
function facts(list, row, all) {
  const pairs = element("dl");
  for (const { name } of list.shown) {
    const value = list.value(row, name);
    if (PLAIN.has(name) || (value === null && !all)) continue;
    pairs.append(element("dt", { textContent: name }), element("dd", { textContent: inWords(value), title: String(value ?? "") }));
  }
  return pairs;
}

const around = new Watcher("2500px");

/** Cards of some rows, one after the other. Far from what is seen only their height is left: a page of ten thousand
 * cards cannot be scrolled. */
class Batch {
  constructor(list, rows, from) {
    Object.assign(this, { list, rows });
    this.box = element("ol", { className: "cards" });
    this.box.setAttribute("aria-label", `${list.name} from ${from + 1} on`);
    this.show();
    around.watch(this.box, this);
  }

  show() {
    if (this.box.firstChild) return;
    this.box.append(...this.rows.map((row) => element("li", {}, card(this.list, row))));
    this.box.style.height = "";
  }

  hide() {
    if (!this.box.isConnected || !this.box.firstChild) return;
    this.box.style.height = `${this.box.offsetHeight}px`;
    this.box.replaceChildren();
  }
}
