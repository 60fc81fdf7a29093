// Drawing on canvases, and fetching what is drawn. Callers pass the canvases; nothing is looked up in the page.
const Draw = (() => {
  /** Base64 of 256 RGB triples -> 256 opaque canvas pixels. */
  function lut(base64) {
    const rgb = new Uint8Array(bytes(base64));
    return Uint32Array.from({ length: 256 }, (_, i) =>
      ((255 << 24) | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i]) >>> 0);
  }

  /** The same colours, clear in the middle: where a signed map is near zero the photograph shows. */
  function faded(lut) {
    const alpha = (i) => Math.round(255 * Math.min(1, 3 * Math.abs(i - 127.5) / 127.5));
    return lut.map((pixel, i) => ((pixel & 0xffffff) | (alpha(i) << 24)) >>> 0);
  }

  const scratch = {}; // one small canvas for each size of field, painted and copied away at once

  function scratchCanvas(size) {
    const ctx = new OffscreenCanvas(size, size).getContext('2d'), image = ctx.createImageData(size, size);
    return { ctx, image, pixels: new Uint32Array(image.data.buffer) };
  }

  function paint({ values, size }, [low, high], lut) {
    const { ctx, image, pixels } = scratch[size] ||= scratchCanvas(size);
    const gain = high > low ? 255 / (high - low) : 0;
    for (let i = 0; i < pixels.length; i++) {
      const level = (values[i] - low) * gain + 0.5;
      pixels[i] = lut[level < 0 ? 0 : level > 255 ? 255 : level | 0];
    }
    ctx.putImageData(image, 0, 0);
    return ctx.canvas;
  }

  // White on a dark edge is seen on any photograph and any colours.
  function cased(ctx, unit, path) {
    ctx.beginPath();
    path();
    for (const [style, width] of [['rgb(0 0 0 / 50%)', 3.5], ['#fff', 1.5]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width * unit;
      ctx.stroke();
    }
  }

  function crosshair(ctx, unit, { x, y }) {
    const { width, height } = ctx.canvas, gap = 5 * unit;
    const [cx, cy] = [x * width, y * height].map((at) => Math.floor(at) + 0.5); // sharp on the pixel grid
    cased(ctx, unit * 0.67, () => {
      for (const [ax, ay, bx, by] of [[0, cy, cx - gap, cy], [cx + gap, cy, width, cy], [cx, 0, cx, cy - gap],
        [cx, cy + gap, cx, height]]) { ctx.moveTo(ax, ay); ctx.lineTo(bx, by); }
    });
  }

  /** One frame: photograph, map, box, crosshair. `unit` is the number of canvas pixels in a CSS pixel. */
  function frame(ctx, { photo, field, limits, lut, opacity, box, cursor, unit }) {
    const { width, height } = ctx.canvas;
    ctx.clearRect(0, 0, width, height);
    ctx.drawImage(photo, 0, 0, width, height);
    if (limits) {
      ctx.globalAlpha = opacity;
      ctx.drawImage(paint(field, limits, lut), 0, 0, width, height);
      ctx.globalAlpha = 1;
    }
    if (box) {
      const [x, y, w, h] = box, [sx, sy] = [width / field.size, height / field.size];
      cased(ctx, unit, () => ctx.rect(x * sx, y * sy, w * sx, h * sy));
    }
    if (cursor) crosshair(ctx, unit, cursor);
  }

  /** The colours from low to high, one pixel high; CSS stretches it. */
  function legend(canvas, lut) {
    canvas.width = 256;
    canvas.height = 1;
    const image = new ImageData(256, 1);
    new Uint32Array(image.data.buffer).set(lut);
    canvas.getContext('2d').putImageData(image, 0, 0);
  }

  /** One channel of F in a canvas of its own size, from 0 (or its lowest) to its highest; CSS enlarges it. */
  function thumb(canvas, values, [P, Q], lut) {
    [canvas.width, canvas.height] = [Q, P];
    const low = values.reduce((a, b) => Math.min(a, b), 0), high = values.reduce((a, b) => Math.max(a, b), low);
    const image = new ImageData(Q, P), pixels = new Uint32Array(image.data.buffer);
    pixels.set(Array.from(values, (v) => lut[high > low ? Math.round(255 * (v - low) / (high - low)) : 0]));
    canvas.getContext('2d').putImageData(image, 0, 0);
  }

  async function get(url, options) {
    const answer = await fetch(url, options);
    if (!answer.ok) throw new Error(_('the server answered {status}', { status: answer.status }));
    return answer;
  }

  /** Base64 -> an ArrayBuffer. */
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;

  /** A MapData value -> { photo, maps, info }. */
  async function load({ image, maps, info }) {
    const photo = await createImageBitmap(await (await get(image.url)).blob());
    const cells = (info.grids ?? info.scales.map(() => info.grid)).map(([P, Q]) => P * Q);
    return { photo, info, maps: Maps.decode(bytes(maps), cells, info.scales) };
  }

  /** The address of another file of the server's cache than a value's photograph. */
  const beside = (image, path) => image.url.replace(/file=.*$/, `file=${path.split('/').map(encodeURIComponent).join('/')}`);

  /** The names of a value's classes. Their file's address names its content, so the browser's own copy serves. */
  async function names({ image, info }) {
    const answer = await get(beside(image, info.classes), { cache: 'force-cache' });
    return (await answer.json()).names;
  }

  /** Give a canvas the screen's pixels. Returns how many make a CSS pixel; 0 while it is in a hidden tab. */
  function fit(canvas, most = 3, size = canvas.getBoundingClientRect()) {
    const unit = Math.min(window.devicePixelRatio || 1, most);
    const [width, height] = [size.width, size.height].map((side) => Math.round(side * unit));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    return width && height ? unit : 0;
  }

  const layers = new WeakMap();

  /** The photograph at the frames' size, resampled once and not at every draw; grey, if colour is to mean the map only. */
  function layer(photo, { width, height }, grey = false) {
    const both = layers.get(photo) ?? {}, cached = both[grey];
    if (cached?.width === width && cached.height === height) return cached;
    const canvas = new OffscreenCanvas(width, height), ctx = canvas.getContext('2d');
    ctx.imageSmoothingQuality = 'high';
    ctx.drawImage(photo, 0, 0, width, height);
    if (grey) {
      ctx.globalCompositeOperation = 'saturation'; // ctx.filter is missing in Safari
      ctx.fillStyle = '#808080';
      ctx.fillRect(0, 0, width, height);
    }
    layers.set(photo, { ...both, [grey]: canvas });
    return canvas;
  }

  /** Wrap a drawing function so that a burst of calls draws once, at the next frame of the screen. */
  function coalesced(draw) {
    let waiting = 0;
    return () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); };
  }

  /**
   * Wrap a function so that it runs at once, then at most every `pause` milliseconds (less often where it is slow), and
   * once more after the last call.
   */
  function paced(action, pause) {
    let waiting = 0, due = 0;
    const run = () => {
      const start = performance.now();
      waiting = 0;
      action();
      const end = performance.now();
      due = end + Math.max(pause, 8 * (end - start));
    };
    return () => {
      if (waiting) return;
      const left = due - performance.now();
      if (left <= 0) run();
      else waiting = setTimeout(run, left);
    };
  }

  return { lut, faded, frame, legend, thumb, get, bytes, load, names, beside, fit, layer, coalesced, paced };
})();
