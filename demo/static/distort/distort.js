// What softmax cannot see (Sec. 3.2): the same vector d added to the weights of every class. Arithmetic only, no page: a
// test evaluates maps.js and this file and holds them against torch. The head is average pooling and one linear layer.
const Distort = (() => {
  const NONE = Object.freeze({ channels: [], delta: 0, flip: 0, uniform: 0, centre: false, only: false, both: false });
  const EPS = 1e-7;
  const { fround } = Math;

  const active = (s) => Boolean((s.channels.length && s.delta) || s.flip || s.uniform || s.centre);

  /** Whether a source's map can move: the branch's when it gets d as well, an invariant one's when one class alone does. */
  const touches = (s, source) => active(s) && ({ sigmoid: s.both, 'log-odds': s.only, centred: s.only }[source] ?? true);

  // ---- what the server sends ---------------------------------------------------------------------------------------

  let table = null; // the 65536 values of a half, made once

  /** F as it was sent, little-endian float16 [N, P*Q] over `scale` -> Float32Array. */
  function features(buffer, scale) {
    table ||= Float32Array.from({ length: 65536 }, (_, bits) => Maps.half(bits));
    const view = new DataView(buffer), F = new Float32Array(buffer.byteLength / 2);
    for (let i = 0; i < F.length; i++) F[i] = table[view.getUint16(2 * i, true)] * scale;
    return F;
  }

  /** Little-endian float32 vectors, each at places[name] = [offset, length]. */
  function vectors(buffer, places) {
    const view = new DataView(buffer);
    return Object.fromEntries(Object.entries(places).map(([name, [offset, length]]) =>
      [name, Float32Array.from({ length }, (_, i) => view.getFloat32(4 * (offset + i), true))]));
  }

  /** All that is asked below of one photograph, class and method; `free` methods look at no class and at no head. */
  function head(F, rows, { k, method, branches, cells, free = false }) {
    const logits = {};
    for (const branch of new Set(Object.values(branches))) logits[branch] = rows[`logits:${branch}`];
    return { F, k, method, branches, cells, free, rows, logits, h: rows.h, w: rows['w:softmax'], mean: rows['mean:softmax'] };
  }

  // ---- d ------------------------------------------------------------------------------------------------------------

  const orders = new WeakMap(); // channels by falling weight; of equal weights the lower first, as sort is stable

  function order(w) {
    if (!orders.has(w)) orders.set(w, Array.from(w.keys()).sort((i, j) => w[j] - w[i]));
    return orders.get(w);
  }

  const positives = (w) => w.reduce((n, weight) => n + (weight > 0), 0);

  /** How many of n positive channels `percent` % are: rounded up, product first. */
  const flipCount = (n, percent) => Math.ceil(percent * n / 100);

  /** d [N] of everything that is chosen, added up (Eq. 9, 10; flip: d_i = -2 w_i; centre: d = -mean). */
  function shift(s, { w, mean }) {
    const d = new Float32Array(w.length);
    if (s.flip) for (const i of order(w).slice(0, flipCount(positives(w), s.flip))) d[i] = -2 * w[i];
    for (const i of s.channels) d[i] += s.delta;
    if (s.uniform || s.centre) for (let i = 0; i < d.length; i++) d[i] -= s.uniform + (s.centre ? mean[i] : 0);
    return d;
  }

  function dot(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
    return sum;
  }

  // ---- answers ------------------------------------------------------------------------------------------------------

  /** Single precision, as the model has it: what is shown of max |dp| is computed, not promised. */
  function softmax(logits) {
    const top = logits.reduce((a, b) => Math.max(a, b)), p = Float32Array.from(logits, (l) => Math.exp(l - top));
    const sum = p.reduce((a, b) => a + b, 0);
    return p.map((e) => e / sum);
  }

  const sigmoid = (z) => 1 / (1 + Math.exp(-z));
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

  /** Eq. 12 for one image whose class is k: log s_k by 1 - 1/C, log(1 - s_j) of the others by 1/C. */
  function branchLoss(logits, k) {
    const C = logits.length, against = logits.reduce((sum, z, j) => sum + (j === k ? 0 : softplus(z)), 0);
    return (1 - 1 / C) * softplus(-logits[k]) + against / C;
  }

  function logOdds(logits, k) {
    const others = logits.filter((_, j) => j !== k), top = others.reduce((a, b) => Math.max(a, b), -Infinity);
    return logits[k] - top - Math.log(others.reduce((sum, l) => sum + Math.exp(l - top), 0));
  }

  const average = (logits) => logits.reduce((a, b) => a + b, 0) / logits.length;
  const SCORES = { 'log-odds': logOdds, centred: (logits, k) => logits[k] - average(logits) };
  const score = (source, logits, k) => SCORES[source]?.(logits, k) ?? logits[k];

  /** The numbers of the best n classes, best first; of equal logits the lower number. */
  function best(logits, n) {
    const top = [];
    for (let j = 0; j < logits.length; j++) {
      let at = top.length;
      while (at > 0 && logits[top[at - 1]] < logits[j]) at--;
      if (at < n) top.splice(at, 0, j);
      if (top.length > n) top.pop();
    }
    return top;
  }

  const largestChange = (a, b) => a.reduce((most, x, j) => Math.max(most, Math.abs(x - b[j])), 0);

  /**
   * Add d to every class's row (or to row k alone). Returns each branch's logits, and for each source the vector by which
   * its row moves: null where its map does not. Log-odds: w_k + d - sum_j q_j (w_j + d), so d (1 - sum q), which is nothing.
   * Centred: w_k + d - 1/C sum_j (w_j + d), so nothing, or d (1 - 1/C) where row k alone moves.
   */
  function inject(head, s) {
    const d = shift(s, head), by = fround(dot(d, head.h)), logits = {}, moves = {};
    for (const [branch, before] of Object.entries(head.logits)) {
      const reached = active(s) && (branch === 'softmax' || s.both);
      logits[branch] = reached ? before.map((l, j) => (s.only && j !== head.k ? l : l + by)) : before;
    }
    for (const [source, branch] of Object.entries(head.branches)) {
      let part = active(s) && (branch === 'softmax' || s.both) ? 1 : 0;
      if (part && source === 'log-odds' && !s.only) part = fround(1 - others(logits.softmax, head.k));
      if (part && source === 'centred') part = s.only ? 1 - 1 / logits.softmax.length : 0;
      moves[source] = part && !head.free ? d.map((x) => x * part) : null;
    }
    return { d, logits, moves };
  }

  /** sum of q_j over j != k, q the softmax among them: 1 up to rounding, and single precision rounds it. */
  const others = (logits, k) => fround(softmax(logits.filter((_, j) => j !== k)).reduce((a, b) => a + b, 0));

  // ---- maps ---------------------------------------------------------------------------------------------------------

  const relu = (w) => Math.max(w, 0);
  const mean = (w, head) => w / head.cells;
  const ALPHA = { // of a channel's weight w
    cam: (w) => w,
    gradcam: mean, xgradcam: mean, hirescam: mean,
    layercam: (w, head) => relu(w) / head.cells,
    'gradcam++': (w, head, i) => relu(w) / (2 + relu(w) * head.h[i]),
  };

  /** alpha [N] of the source's score when its row has moved by e (null: not at all). */
  function alphas(head, source, e, positive) {
    const row = head.rows[`row:${source}`], w = e ? row.map((x, i) => x + e[i]) : row;
    const alpha = head.method === 'ablationcam' ? ablation(head, source, w, e) : w.map((x, i) => ALPHA[head.method](x, head, i));
    return positive ? alpha.map(relu) : alpha;
  }

  /** What the score loses without channel i, over its modulus. A logit loses w_i h_i; log-odds loses what was sent. */
  function ablation(head, source, w, e) {
    const y = score(source, head.logits[head.branches[source]], head.k) + (e ? dot(e, head.h) : 0);
    const over = Math.max(Math.abs(y), EPS), drop = head.rows[`drop:${source}`];
    return w.map((x, i) => (drop ? drop[i] + (e ? e[i] * head.h[i] : 0) : x * head.h[i]) / over);
  }

  /** The server's map plus what the changed channels change: sum of (alpha' - alpha) F. The same array if none did. */
  function moved(base, F, before, after) {
    const cells = base.length, sum = Float64Array.from(base);
    let changed = false;
    for (let i = 0; i < after.length; i++) {
      const by = after[i] - before[i];
      if (by === 0) continue;
      changed = true;
      for (let c = 0, at = i * cells; c < cells; c++, at++) sum[c] += by * F[at];
    }
    return changed ? Float32Array.from(sum) : base;
  }

  // ---- how far a map has moved --------------------------------------------------------------------------------------

  /** Ranks from 0; equal values share the mean of their ranks. */
  function ranks(values) {
    const at = Array.from(values.keys()).sort((i, j) => values[i] - values[j]), out = new Float64Array(values.length);
    for (let start = 0, end = 0; start < at.length; start = end) {
      while (end < at.length && values[at[end]] === values[at[start]]) end++;
      for (let i = start; i < end; i++) out[at[i]] = (start + end - 1) / 2;
    }
    return out;
  }

  /** Spearman's rank correlation; NaN when either map is constant. */
  function spearman(a, b) {
    const half = (a.length - 1) / 2, [x, y] = [a, b].map((map) => ranks(map).map((r) => r - half));
    return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
  }

  /** Share of positions whose strict sign differs. */
  const signChanges = (a, b) => a.reduce((n, x, i) => n + (x * b[i] < 0), 0) / a.length;

  /** Intersection over union of boxes [x, y, w, h]; 1 when there is neither, 0 when there is one. */
  function iou(a, b) {
    if (!a || !b) return Number(!a && !b);
    const side = (n) => Math.max(0, Math.min(a[n] + a[n + 2], b[n] + b[n + 2]) - Math.max(a[n], b[n]));
    const inner = side(0) * side(1);
    return inner / (a[2] * a[3] + b[2] * b[3] - inner);
  }

  // ---- suggestions --------------------------------------------------------------------------------------------------

  /** For each channel its largest activation: how much one unit of delta changes the map where it changes it most. */
  const peaks = ({ F, h, cells }) => h.map((_, i) => F.subarray(i * cells, (i + 1) * cells).reduce((a, b) => Math.max(a, Math.abs(b)), 0));

  /** The background: positions whose evidence is below the median; none where the map is flat or missing. */
  function background(map) {
    const sorted = Array.from(map ?? []).sort((a, b) => a - b), middle = sorted[sorted.length >> 1];
    return Array.from(map ?? [], (x) => x < middle);
  }

  /**
   * For each channel how much brighter it is on the background than on the rest: the mean of F_i there less that
   * elsewhere. Its mean, where there is no background.
   */
  function backdrops({ F, h, cells }, outside) {
    const out = outside.filter(Boolean).length, weight = (o) => (o ? 1 / out : -1 / (cells - out));
    const each = out ? Float64Array.from(outside, weight) : new Float64Array(cells).fill(1 / cells);
    return h.map((_, i) => dot(each, F.subarray(i * cells, (i + 1) * cells)));
  }

  /** x rounded up to two digits. */
  function nice(x) {
    const unit = 10 ** (Math.floor(Math.log10(x)) - 1);
    return Number((Math.ceil(x / unit - 1e-9) * unit).toPrecision(2));
  }

  /** What sliders are scaled by: the class's largest weight, its map's peak, the uniform shift at which the map is blank. */
  function scales({ F, w, cells }) {
    const weight = w.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1, map = new Float64Array(cells), sum = new Float64Array(cells);
    for (let i = 0, at = 0; i < w.length; i++)
      for (let c = 0; c < cells; c++, at++) { map[c] += w[i] * F[at]; sum[c] += F[at]; }
    const blank = map.reduce((most, m, c) => (sum[c] > 0 ? Math.max(most, m / sum[c]) : most), 0);
    return { weight, blank, map: map.reduce((a, b) => Math.max(a, b)) };
  }

  /** Delta reaches four times the largest weight, or as far as channels of this peak need to outshine the map twice over. */
  const deltaReach = ({ weight, map }, peak) => nice(Math.max(4 * weight, peak > 0 ? 2 * map / peak : 0));

  /** The uniform shift reaches a quarter beyond blank. */
  const uniformReach = ({ weight, blank }) => nice(1.25 * blank || weight);

  return {
    NONE, active, touches, features, vectors, head, shift, positives, flipCount, softmax, sigmoid, branchLoss, score, best,
    largestChange, inject, alphas, moved, spearman, signChanges, iou, peaks, background, backdrops, scales, deltaReach, uniformReach,
  };
})();
