// A clip's views, small, in the rig's order and in step: one small video with all of them where the clip has one, else
// the views' own files, which are held together here.

const isStill = matchMedia("(prefers-reduced-motion: reduce)");

function viewsOf(list, row) {
  return (list.value(row, ".views") ?? "").split(" ").filter(Boolean);
}

function pathOf(list, row, file) {
  return address(`${list.value(row, ".folder")}/${file}`);
}

/** A clip may be one picture, which is no video. */
const isPicture = (view) => view === "picture";

/** Of a view, in the clip's folder. */
const fileOf = (view) => view + (isPicture(view) ? ".png" : ".mp4");

function screenOf(view, source) {
  return isPicture(view) ? element("img", { alt: view, src: source }) : video(source + "#t=0.001");
}

/** Columns of the pictures, as `clip/preview.py` puts them. */
function columnsOf(count) {
  return count > 3 ? Math.ceil(count / 2) : count;
}

function video(source, properties) {
  return element("video", { muted: true, loop: true, playsInline: true, preload: "metadata", src: source, ...properties });
}

/** Pictures of one clip, and `play`, `stop`, which anybody may call at any time. */
class Preview {
  constructor(list, row, onView) {
    this.list = list;
    this.row = row;
    this.views = viewsOf(list, row);
    this.videos = [];
    this.isPlaying = false;
    this.pictures = element("div", { className: "pictures" });
    this.labels = element("div", { className: "labels" }, ...this.views.map((view) => this.label(view, onView)));
    this.button = element("button", { type: "button", className: "play", onclick: () => this.toggle() });
    this.stage = element("div", { className: "stage" }, this.pictures, this.labels, this.button);
    const columns = columnsOf(this.views.length);
    this.stage.style.setProperty("--columns", columns);
    this.stage.style.setProperty("--lines", Math.ceil(this.views.length / columns));
    this.button.hidden = this.views.every(isPicture);
    this.stage.onpointerenter = (event) => event.pointerType === "mouse" && !isStill.matches && this.play();
    this.stage.onpointerleave = (event) => event.pointerType === "mouse" && this.stop();
    this.say();
    nearby.watch(this.stage, this);
  }

  label(view, onView) {
    const link = element("a", { href: pathOf(this.list, this.row, fileOf(view)), textContent: view });
    link.setAttribute("aria-label", `${view} in full size`);
    link.onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      onView(view);
    };
    return link;
  }

  say() {
    this.button.textContent = this.isPlaying ? "❚❚" : "▶";
    const id = this.list.value(this.row, "id");
    this.button.setAttribute("aria-label", `${this.isPlaying ? "Stop" : "Play"} all views of ${id}`);
    this.button.setAttribute("aria-pressed", String(this.isPlaying));
  }

  /** The small video and picture of all views, if there are any. */
  get small() {
    return this.list.value(this.row, ".preview");
  }

  /** When the pictures come near what is seen. */
  show() {
    if (this.pictures.firstChild || !this.views.length) return;
    if (this.small) {
      const picture = element("img", { alt: "", src: address(this.small + ".jpg") });
      picture.onload = () => (this.stage.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`);
      this.pictures.append(picture);
    } else {
      const shown = this.views.map((view) => screenOf(view, pathOf(this.list, this.row, fileOf(view))));
      this.videos = shown.filter((one) => one instanceof HTMLVideoElement);
      this.pictures.classList.add("apart");
      this.pictures.append(...shown);
    }
  }

  /** When they are far away: so many players a browser does not keep. */
  hide() {
    this.stop();
    this.videos = [];
    this.pictures.replaceChildren();
  }

  toggle() {
    if (this.isPlaying) this.stop();
    else this.play();
  }

  async play() {
    if (this.isPlaying || this.views.every(isPicture)) return;
    this.begin();
    await playInStep(this.videos, () => this.isPlaying);
  }

  /** Its players, which somebody is going to play. */
  begin() {
    this.show();
    this.isPlaying = true;
    this.say();
    if (this.small && !this.videos.length) {
      this.videos = [video(address(this.small + ".mp4"), { preload: "auto" })];
      this.pictures.append(...this.videos);
    }
  }

  stop() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    for (const one of this.videos) one.pause();
    if (this.small) {
      for (const one of this.videos) one.remove();
      this.videos = [];
    }
    this.say();
  }
}

/** Begin together, from the beginning, and stay so: those that drift from the first follow it. */
async function playInStep(videos, goesOn) {
  await Promise.all(videos.map(isReady));
  if (!goesOn()) return;
  for (const one of videos) if (one.currentTime > 0.05) one.currentTime = 0;
  await Promise.all(videos.map((one) => one.play().catch(() => {})));
  if (videos.length > 1) holdInStep(videos, goesOn);
}

function isReady(one) {
  if (one.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA || one.error) return Promise.resolve();
  one.preload = "auto";
  return new Promise((resolve) => {
    one.addEventListener("canplay", resolve, { once: true });
    one.addEventListener("error", resolve, { once: true });
  });
}

function holdInStep(videos, goesOn) {
  const [first, ...others] = videos;
  const look = () => {
    if (!goesOn()) return;
    for (const one of others) {
      const apart = Math.abs(one.currentTime - first.currentTime);
      if (apart > 0.08 && apart < (first.duration || 0) - 0.08) one.currentTime = first.currentTime;
    }
    requestAnimationFrame(look);
  };
  look();
}

/** Tells things when they come near what is seen (`show`), and when they leave (`hide`). */
class Watcher {
  constructor(margin) {
    this.things = new WeakMap();
    const told = (changes) => changes.forEach(({ target, isIntersecting }) => {
      const thing = this.things.get(target);
      if (isIntersecting) thing.show();
      else thing.hide();
    });
    this.observer = new IntersectionObserver(told, { rootMargin: margin });
  }

  watch(target, thing) {
    this.things.set(target, thing);
    this.observer.observe(target);
  }
}

const nearby = new Watcher("600px");
