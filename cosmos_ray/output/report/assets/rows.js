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

  /** What `#…` says of a row: its id; where the page is of several outputs, which may share ids, its output before it. */
  key(row) {
    const id = this.value(row, "id");
    return this.places.has(".retry") ? `${this.value(row, "output")}/${id}` : id;
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

  /** The row of that key, or the first one of that id, or undefined. */
  async find(asked) {
    for (let from = 0; ; ) {
      for (; from < this.rows.length; from += 1) {
        const row = this.rows[from];
        if (this.key(row) === asked || this.value(row, "id") === asked) return row;
      }
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
  if (value === null || value === undefined) return "";
  return typeof value === "number" ? written(value) : String(value);
}

/** A number as a person writes it: with more digits than it keeps for sure, the last ones are what reckoning has left. */
function written(number) {
  const words = String(number);
  const digits = words.replace(/e.*/, "").replace(/\D/g, "").replace(/^0+/, "");
  return Number.isInteger(number) || digits.length <= 15 ? words : String(Number(number.toPrecision(12)));
}
