// The figures of idea.md: everything they show is computed here from the numbers of data.js, which one script wrote.
(() => {
  const data = window.bsoftmaxIdea;
  const root = document.getElementById("idea-live");
  if (!data || !root) return;
  const FINE = 112; // pixels of a drawn map
  const OPACITY = 0.55;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const colours = bytes(data.colours);
  const MAPS = [
    ["softmax", "Softmax head"],
    ["clamped", "Softmax head, clamped"],
    ["centred", "Softmax head, rows centred"],
    ["branch", "Sigmoid branch, clamped"],
  ];

  const element = (name, attributes = {}, ...children) => {
    const svg = ["svg", "rect", "line", "path", "text", "circle"].includes(name);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // ReLU and min-max of S + t unit total, which is the map of the shifted head (Eq. 9); null where nothing is above 0
  const shiftedMap = (t) => {
    const S = data.S.map((s, i) => Math.max(0, s + t * data.unit * data.total[i]));
    const low = Math.min(...S), high = Math.max(...S);
    return high > 0 ? S.map((s) => (high > low ? (s - low) / (high - low) : 0)) : null;
  };
  const stored = (text) => (text ? Array.from(bytes(text), (v) => v / 255) : null);

  const softmax = (z) => {
    const high = Math.max(...z);
    const e = z.map((v) => Math.exp(v - high));
    const sum = e.reduce((a, b) => a + b);
    return e.map((v) => v / sum);
  };
  const original = softmax(data.logits);

  const state = (n) => {
    const t = data.steps[n];
    const logits = data.logits.map((v) => v + t * data.unit * data.h);
    const p = softmax(logits);
    return {
      t, logits, p,
      change: Math.max(...p.map((v, k) => Math.abs(v - original[k]))),
      weights: data.weights.map((w) => w + t * data.unit),
      maps: { softmax: shiftedMap(t), clamped: stored(data.clamped[n]), centred: stored(data.centred), branch: stored(data.branch) },
    };
  };

  const photo = new Image();
  const draw = (canvas, map) => {
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(photo, 0, 0, FINE, FINE);
    if (!map) return;
    const image = new ImageData(FINE, FINE);
    const side = data.side;
    for (let y = 0; y < FINE; y++) {
      for (let x = 0; x < FINE; x++) {
        const u = Math.min(Math.max(((x + 0.5) * side) / FINE - 0.5, 0), side - 1);
        const v = Math.min(Math.max(((y + 0.5) * side) / FINE - 0.5, 0), side - 1);
        const i = Math.floor(u), j = Math.floor(v), a = u - i, b = v - j;
        const at = (r, c) => map[Math.min(r, side - 1) * side + Math.min(c, side - 1)];
        const value = (1 - b) * ((1 - a) * at(j, i) + a * at(j, i + 1)) + b * ((1 - a) * at(j + 1, i) + a * at(j + 1, i + 1));
        const colour = 3 * Math.round(value * (colours.length / 3 - 1));
        image.data.set([colours[colour], colours[colour + 1], colours[colour + 2], 255], 4 * (y * FINE + x));
      }
    }
    const top = element("canvas", { width: FINE, height: FINE });
    top.getContext("2d").putImageData(image, 0, 0);
    context.globalAlpha = OPACITY;
    context.drawImage(top, 0, 0);
  };

  // ---- the parts of the figure -------------------------------------------------------------------------------------

  const number = (v, digits) => v.toFixed(digits).replace("-", "\u2212");
  const zero = data.steps.indexOf(0);
  let at = zero;
  // one slider for each figure, all of them at one place
  const controls = ["idea-shift", "idea-shift-again"].map((id) => {
    const slider = element("input", { type: "range", id, min: 0, max: data.steps.length - 1, step: 1, value: zero });
    const said = element("output", { for: id });
    const back = element("button", { type: "button", class: "md-button" }, "Back to 0");
    const label = element("label", { for: id }, "Add the same number to every weight of every class");
    slider.addEventListener("input", () => move(Number(slider.value)));
    back.addEventListener("click", () => move(zero));
    return { slider, said, box: element("div", { class: "idea-control" }, label, slider, said, back) };
  });
  const canvases = {};
  const captions = {};
  const row = element("div", { class: "idea-maps" });
  for (const [key, title] of MAPS) {
    canvases[key] = element("canvas", { width: FINE, height: FINE, role: "img", "data-map": key });
    captions[key] = element("span");
    row.append(element("figure", {}, canvases[key], element("figcaption", {}, title, element("br"), captions[key])));
  }

  const bars = element("svg", { viewBox: "0 0 480 110", role: "img", class: "idea-bars" });
  const reach = Math.max(...data.weights.map(Math.abs)) + 2 * data.unit;
  const rects = data.weights.map((w, n) => {
    const before = element("rect", { x: 20 * n + 3, width: 14, class: "before" });
    const after = element("rect", { x: 20 * n + 3, width: 14, class: "after" });
    bars.append(after, before);
    return [before, after];
  });
  bars.append(element("line", { x1: 0, x2: 480, y1: 55, y2: 55 }));
  const place = (rect, value) => {
    const height = (50 * Math.abs(value)) / reach;
    rect.setAttribute("y", value > 0 ? 55 - height : 55);
    rect.setAttribute("height", height);
    rect.classList.toggle("negative", value < 0);
  };
  rects.forEach(([before], n) => place(before, data.weights[n]));

  const cells = data.top.map((k, n) => {
    const logit = element("td"), p = element("td"), bar = element("td", {}, element("i"));
    return { k, logit, p, bar, row: element("tr", {}, element("td", {}, data.names[n].replaceAll("_", " ")), logit, p, bar) };
  });
  const change = element("p");
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...["class", "logit", "probability", ""].map((h) => element("th", {}, h)))),
    element("tbody", {}, ...cells.map((c) => c.row)));

  // two losses over the shift: one line is flat
  const curve = element("svg", { viewBox: "0 0 480 190", role: "img", class: "idea-curves" });
  const across = (t) => 40 + (430 * (t - data.steps[0])) / (data.steps.at(-1) - data.steps[0]);
  const most = Math.max(...data.eq12);
  const down = (v) => 160 - (145 * Math.sqrt(v)) / Math.sqrt(most);
  const line = (values, kind) => element("path", {
    class: kind, d: values.map((v, n) => `${n ? "L" : "M"}${across(data.steps[n]).toFixed(1)},${down(v).toFixed(1)}`).join(""),
  });
  const marker = element("line", { y1: 10, y2: 160, class: "marker" });
  const dots = ["flat", "pinned"].map((kind) => element("circle", { r: 4, class: kind }));
  for (const t of [-2, -1, 0, 1, 2]) curve.append(element("text", { x: across(t), y: 180, "text-anchor": "middle" }, number(t, 0)));
  for (const v of [0, most / 16, most / 4, most]) curve.append(element("text", { x: 34, y: down(v) + 4, "text-anchor": "end" }, number(v, v > 0 && v < 10 ? 1 : 0)));
  curve.append(line(data.crossEntropy, "flat"), line(data.eq12, "pinned"), marker, ...dots);
  const losses = element("p");

  const move = (n) => {
    at = n;
    show();
  };
  const show = () => {
    const n = at, now = state(n);
    for (const { slider, said } of controls) {
      slider.value = n;
      said.textContent = `${number(now.t, 1)} row norms: ${number(now.t * data.unit, 4)} on each`;
      slider.setAttribute("aria-valuetext", said.textContent);
    }
    for (const [key, title] of MAPS) {
      draw(canvases[key], now.maps[key]);
      const fixed = key === "centred" || key === "branch";
      captions[key].textContent = now.maps[key] ? (fixed ? "does not move" : "") : "blank: nothing above 0";
      canvases[key].setAttribute("aria-label", `${title}: ${now.maps[key] ? "map" : "blank map"} of ${data.names[0]}`);
    }
    rects.forEach(([, after], i) => place(after, now.weights[i]));
    bars.setAttribute("aria-label", `${now.weights.filter((w) => w > 0).length} of ${now.weights.length} weights are positive`);
    for (const cell of cells) {
      cell.logit.textContent = number(now.logits[cell.k], 2);
      cell.p.textContent = number(now.p[cell.k], 4);
      cell.bar.firstChild.style.width = `${100 * now.p[cell.k]}%`;
    }
    change.textContent = `Largest change of any of the ${data.logits.length} probabilities: ${number(now.change, 6)}`;
    marker.setAttribute("x1", across(now.t));
    marker.setAttribute("x2", across(now.t));
    [data.crossEntropy, data.eq12].forEach((values, i) => {
      dots[i].setAttribute("cx", across(now.t));
      dots[i].setAttribute("cy", down(values[n]));
    });
    losses.textContent = `Cross-entropy of the softmax head: ${number(data.crossEntropy[n], 4)}. Eq. 12 of the branch, were its rows shifted alike: ${number(data.eq12[n], 4)}.`;
    curve.setAttribute("aria-label", losses.textContent);
    root.dataset.ready = String(n);
  };

  root.replaceChildren(
    controls[0].box,
    row,
    element("h4", {}, `${data.channels.length} of the ${data.width} weights of the class ${data.names[0]}, from the largest to the smallest`), bars,
    element("h4", {}, "What softmax says"), table, change,
  );
  const second = document.getElementById("idea-loss");
  second?.replaceChildren(controls[1].box, curve, losses);
  photo.onload = show;
  photo.src = data.photo;
})();
