// Arithmetic of class-activation maps: no page, no drawing, so that a test can evaluate this file alone and hold it
// against torch. A component's script is joined from its files in canvas.py.
const Maps = (() => {
  const SIDE = 224; // the upsampled map, as in the localisation protocol
  const A = -0.75; // torch's cubic constant

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  }

  /** Little-endian float16 maps, one behind another, times their scales -> Float32Arrays; `cells`: of each, or of all. */
  function decode(buffer, cells, scales) {
    const sizes = scales.map((_, n) => cells[n] ?? cells), view = new DataView(buffer);
    let at = 0;
    if (buffer.byteLength !== 2 * sizes.reduce((a, b) => a + b, 0)) throw new Error('the maps do not have the announced size');
    return scales.map((scale, n) => Float32Array.from({ length: sizes[n] }, () => half(view.getUint16(2 * at++, true)) * scale));
  }

  const near = (x) => ((A + 2) * x - (A + 3)) * x * x + 1;
  const far = (x) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;

  /** Along one axis: the four source cells and weights of each output sample (half-pixel centres, clamped border). */
  function taps(n, size) {
    const index = new Int32Array(4 * size), weight = new Float32Array(4 * size);
    for (let i = 0; i < size; i++) {
      const at = (i + 0.5) * n / size - 0.5, base = Math.floor(at), t = at - base;
      [far(t + 1), near(t), near(1 - t), far(2 - t)].forEach((w, k) => {
        index[4 * i + k] = Math.min(Math.max(base - 1 + k, 0), n - 1);
        weight[4 * i + k] = w;
      });
    }
    return { index, weight };
  }

  function alongRows(map, P, Q, size) {
    const { index, weight } = taps(Q, size), out = new Float32Array(P * size);
    for (let p = 0; p < P; p++)
      for (let i = 0; i < size; i++) {
        const k = 4 * i, row = p * Q;
        out[p * size + i] = map[row + index[k]] * weight[k] + map[row + index[k + 1]] * weight[k + 1]
          + map[row + index[k + 2]] * weight[k + 2] + map[row + index[k + 3]] * weight[k + 3];
      }
    return out;
  }

  /** torch's interpolate(mode="bicubic", align_corners=False) of one map [P, Q] to [size, size], kept within a range. */
  function upsample(map, P, Q, size = SIDE, low = -Infinity, high = Infinity) {
    const wide = alongRows(map, P, Q, size), { index, weight } = taps(P, size), out = new Float32Array(size * size);
    for (let j = 0; j < size; j++) {
      const k = 4 * j, [w0, w1, w2, w3] = weight.subarray(k, k + 4);
      const [r0, r1, r2, r3] = index.subarray(k, k + 4).map((r) => r * size);
      for (let i = 0, at = j * size; i < size; i++) {
        const value = wide[r0 + i] * w0 + wide[r1 + i] * w1 + wide[r2 + i] * w2 + wide[r3 + i] * w3;
        out[at + i] = value < low ? low : value > high ? high : value;
      }
    }
    return out;
  }

  /** [smallest, largest]; [NaN, NaN] if any value is not finite. */
  function range(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) {
      if (!Number.isFinite(v)) return [NaN, NaN];
      if (v < low) low = v;
      if (v > high) high = v;
    }
    return [low, high];
  }

  // Kept within the grid's own range: bicubic overshoot must not invent evidence where there is none.
  function analyse(map, [P, Q], size) {
    const [low, high] = range(map);
    if (!Number.isFinite(low)) return null;
    const blank = high <= 0, flat = high === low; // interpolation would leave ripples on a flat map, to be blown up
    const values = flat ? new Float32Array(size * size).fill(low) : upsample(map, P, Q, size, low, high);
    return { values, size, lo: low, hi: high, blank, boxes: new Map() };
  }

  const fields = new WeakMap(); // a map that changes must be a new array: then its field is new as well

  /** The upsampled map with its range, or null where there is no finite map. Computed once for each array. */
  function field(map, grid, size = SIDE) {
    if (!map) return null;
    if (!fields.has(map)) fields.set(map, analyse(map, grid, size));
    return fields.get(map);
  }

  /** ReLU, then min-max to [0, 1], in single precision as torch has it. A flat map is all zeros. */
  function rectified({ values, lo, hi }) {
    const low = Math.max(lo, 0), span = Math.fround(hi - low), out = new Float32Array(values.length);
    if (span > 0) for (let i = 0; i < out.length; i++) out[i] = Math.fround(Math.max(values[i], 0) - low) / span;
    return out;
  }

  /** What the two ends of the colours mean, for each field: [low, high], or null where nothing is to be painted. */
  function limits(fields, scale) {
    const drawn = fields.filter((f) => f && (scale === 'signed' || !f.blank));
    const top = Math.max(0, ...drawn.map((f) => (scale === 'signed' ? Math.max(-f.lo, f.hi) : f.hi)));
    const ends = { each: (f) => [Math.max(f.lo, 0), f.hi], shared: () => [0, top], signed: () => [-top, top] }[scale];
    return fields.map((f) => (drawn.includes(f) && top > 0 ? ends(f) : null));
  }

  /** The rectified map as bytes, with a border of zeros so that a flood needs no bounds; and its largest byte. */
  function bytes({ values, size, lo, hi }) {
    const low = Math.max(lo, 0), span = Math.fround(hi - low), width = size + 2, out = new Uint8Array(width * width);
    let top = 0;
    if (!(span > 0)) return { out, top, width };
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const value = values[y * size + x], unit = Math.fround(Math.fround((value > 0 ? value : 0) - low) / span);
        const level = Math.floor(Math.fround(unit * 255)); // as `rectified`, without its array
        out[(y + 1) * width + x + 1] = level;
        if (level > top) top = level;
      }
    return { out, top, width };
  }

  /** Flood the 8-connected part of a bordered mask that holds `seed`; clears it and returns its extent. */
  function flood(mask, width, seed, stack) {
    const around = [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1];
    let top = 1, count = 0, x0 = width, x1 = 0, y0 = width, y1 = 0;
    mask[stack[0] = seed] = 0;
    while (top) {
      const at = stack[--top], y = (at / width) | 0, x = at - y * width;
      count++;
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      if (y > y1) y1 = y;
      for (let k = 0; k < 8; k++) {
        const next = at + around[k];
        if (mask[next]) mask[stack[top++] = next] = 0;
      }
    }
    return { count, box: [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1] };
  }

  const work = {}; // a mask and a stack for each size of field: moving the threshold allocates nothing

  function largest(field, tau) {
    const { out, top, width } = field.bytes ||= bytes(field), cut = Math.floor(tau * top);
    const { mask, stack } = work[width] ||= { mask: new Uint8Array(out.length), stack: new Int32Array(out.length) };
    for (let i = 0; i < out.length; i++) mask[i] = out[i] > cut ? 1 : 0;
    let best = { count: 0, box: null };
    for (let at = mask.indexOf(1); at >= 0; at = mask.indexOf(1, at + 1)) {
      const found = flood(mask, width, at, stack);
      if (found.count > best.count) best = found;
    }
    return best.box;
  }

  /** [x, y, w, h] around the largest part of the rectified map strictly above int(tau * max), or null. */
  function box(field, tau) {
    if (!field || field.blank) return null;
    if (!field.boxes.has(tau)) field.boxes.set(tau, largest(field, tau));
    return field.boxes.get(tau);
  }

  const differences = new WeakMap(); // of a field: the last it was compared with, and what came of it

  /** Where two maps disagree, in [-1, 1]: ReLU, each over its own maximum (a blank map is 0), the second minus the first. */
  function difference(first, second) {
    if (!first || !second) return null;
    const kept = differences.get(first);
    if (kept?.second === second) return kept.field;
    const [a, b] = [first, second].map(({ hi }) => (hi > 0 ? 1 / hi : 0)), values = new Float32Array(first.values.length);
    for (let i = 0; i < values.length; i++) values[i] = Math.max(second.values[i], 0) * b - Math.max(first.values[i], 0) * a;
    const [lo, hi] = range(values), field = { values, size: first.size, lo, hi, blank: false, boxes: new Map() };
    differences.set(first, { second, field });
    return field;
  }

  /** The drawn value at a point of the unit square. */
  function valueAt({ values, size }, { x, y }) {
    const cell = (u) => Math.min(size - 1, Math.max(0, Math.floor(u * size)));
    return values[cell(y) * size + cell(x)];
  }

  /** A number in about three digits, as many decimals as its map's range needs, and a true minus sign. */
  function number(v, { lo, hi } = { lo: v, hi: v }) {
    const size = Math.max(Math.abs(lo), Math.abs(hi)), digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    const text = size < 0.01 || size >= 1e5 ? v.toExponential(1) : v.toFixed(digits);
    return Number(text) === 0 ? '0' : text.replace(/-/g, '−');  // what rounds to 0 has no sign
  }

  return { SIDE, half, decode, upsample, field, rectified, limits, box, difference, valueAt, number };
})();
