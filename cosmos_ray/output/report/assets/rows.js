// Rows of the page. They lie in files beside it: scripts, because a page that was opened from a disk may not fetch.
// Whatever strangers wrote becomes text (`textContent`) and the end of an address (`address`), nothing else.

const HEAD = JSON.parse(document.getElementById("head").textContent);
const WORD = document.currentScript.nonce;
const arriving = new Map();

/** Called by the files. */
function rowsOf(file, rows) {
  arriving.get(file)?.(rows);
}

function readFile(file) {
  return new Promise((resolve, reject) => {
    arriving.set(file, resolve);
    const script = element("script", { nonce: WORD, src: HEAD.folder + file });
    script.onload = () => script.remove();
    script.onerror = () => reject(new Error(`${file} is not there: the page was written again. Load it again.`));
    document.head.append(script);
  });
}

/** One of the page's lists: what its columns are, and its rows, which come file by file. */
class Rows {
  constructor({ name, columns, files, count, total }) {
    Object.assign(this, { name, files, count, total });
    this.columns = columns.map(([column, kind]) => ({ name: column, kind }));
    this.places = new Map(this.columns.map((column, place) => [column.name, place]));
    this.shown = this.columns.filter((column) => !column.name.startsWith("."));
    this.rows = [];
    this.read = 0;
    this.reading = Promise.resolve();
  }

  get isWhole() {
    return this.read === this.files.length;
  }

  value(row, column) {
    const place = this.places.get(column);
    return place === undefined ? null : row[place];
  }

  /** One file more. */
  more() {
    this.reading = this.reading.then(async () => {
      if (this.isWhole) return;
      this.rows.push(...(await readFile(this.files[this.read])));
      this.read += 1;
    });
    return this.reading;
  }

  async all() {
    while (!this.isWhole) await this.more();
  }

  /** The row of that id, or undefined. */
  async find(id) {
    for (let from = 0; ; ) {
      for (; from < this.rows.length; from += 1) if (this.value(this.rows[from], "id") === id) return this.rows[from];
      if (this.isWhole) return undefined;
      await this.more();
    }
  }
}

const LISTS = new Map(HEAD.lists.map((said) => [said.name, new Rows(said)]));

/** An element with properties (`aria-…` and `role` are attributes) and what is in it. */
function element(tag, properties = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...inside);
  return made;
}

/** A path beside the page as an address; it cannot become another scheme. */
function address(path) {
  return "./" + path.split("/").map(encodeURIComponent).join("/");
}

function inWords(value) {
  return value === null || value === undefined ? "" : typeof value === "number" ? String(value) : String(value);
}
