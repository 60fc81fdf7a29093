// The Compare tab: identical frames over one photograph. Nothing here asks the server for anything but a new value's
// files. User strings (class and file names) go in by textContent and setAttribute only.

const $ = (selector, root = element) => root.querySelector(selector);
const BLANK = 'Blank: all weighted evidence here is negative.';
const COLLAPSED = 'Blank: now all weighted evidence is negative. This is sign collapse.';
const luts = Object.fromEntries(Object.entries(props.luts).map(([name, table]) => [name, Draw.lut(table)]));
const settings = bindView(element, () => ask());
const diverging = Draw.faded(luts.RdBu_r);
const lab = bindLab($('.lab'), {
  colours: luts.viridis, changed: () => ask(), announce, fire: trigger, ask: (payload) => server.redraw(payload),
});

// All that is drawn follows from this object. A column's `base(view)` is the server's map, its `map(view)` what the lab
// makes of it: a new array when the map has changed.
const state = { data: null, columns: [], view: settings.values, cursor: null, fresh: false, told: null, loads: 0 };

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

// ---- data ----------------------------------------------------------------------------------------------------------

function mapOf(column, maps, view) {
  const positive = column.clamp_applies && clampedIn(column, view);
  const index = positive ? column.clamped ?? column.raw : column.raw;
  return index == null ? null : maps[index];
}

const clampedIn = (column, view) => (view.clamp === 'paper' ? Boolean(column.clamp_default) : view.clamp === 'on');

async function load(value) {
  const turn = ++state.loads; // a later value makes this one stale
  if (!value?.maps) return clear();
  const current = () => turn === state.loads;
  $('.cmp').setAttribute('aria-busy', 'true');
  const numbers = lab.fetch(value); // the maps need not wait for them, unless they are to be shown distorted
  try {
    const data = await Draw.load(value), first = !state.data, early = lab.active ? await numbers : undefined;
    if (current()) accept(data, early);
    const late = await numbers;
    if (current()) arm(early === undefined ? late : undefined, first);
  } catch (error) {
    if (current()) fail(error);
  }
  if (current()) $('.cmp').removeAttribute('aria-busy');
}

/** The panel gets its numbers, if it has not got them yet. */
function arm(numbers, first) {
  if (numbers !== undefined) lab.adopt(state.data.info, numbers, evidence);
  lab.follow(first);
  ask();
  element.dataset.lab = Number(element.dataset.lab ?? 0) + 1;
}

/** The map that tells object from background best: the sigmoid branch's, else the last column's. */
function evidence() {
  const column = state.columns.find(({ source }) => source === 'sigmoid') ?? state.columns.at(-1);
  return column.base(state.view);
}

function clear() {
  state.data = null;
  show($('.sheet'), false);
  show($('.error'), false);
  show($('.empty'), true);
}

function fail(error) {
  say($('.error'), `The maps could not be loaded (${error.message}). Choose the photograph again.`);
  show($('.error'), true);
  if (!state.data) show($('.empty'), false);
}

function accept(data, numbers) {
  Object.assign(state, { data, cursor: null, fresh: true, told: null });
  frameCount(data.info.columns.length);
  state.columns = data.info.columns.map((column, i) => {
    const base = (view) => mapOf(column, data.maps, view);
    return { ...column, frame: $('.frames').children[i], base,
      map: (view) => lab.map(column, column.clamp_applies && clampedIn(column, view), base(view)) };
  });
  lab.adopt(data.info, numbers, evidence);
  describe(data.info);
  state.columns.forEach((column) => describeColumn(column));
  [['.error', false], ['.empty', false], ['.sheet', true]].forEach(([name, visible]) => show($(name), visible));
  draw(state);
}

function frameCount(count) {
  const frames = $('.frames');
  while (frames.children.length > count) frames.lastChild.remove();
  while (frames.children.length < count) {
    frames.append($('template').content.cloneNode(true));
    sizes.observe($('canvas.map', frames.lastElementChild));
  }
}

function describe(info) {
  say($('.topic .class'), info.class ?? '');
  say($('.meta .method'), info.method_label ?? info.method ?? '');
  say($('.meta .model'), info.model ?? '');
  const same = info.identical ?? [], sentence = `Identical by construction to ${same.join(', ')}.`;
  show($('.same'), same.length > 0);
  say($('.same .count'), String(same.length));
  say($('.same .others'), sentence);
  $('.same summary').title = sentence;
  const extra = info.columns.slice(2).map((column) => column.title.toLowerCase()).join(', ');
  say($('.pill .more'), `+ ${extra}`);
  show($('.pill'), extra !== '');
  say($('.caption'), info.caption ?? '');
  $('.frames').style.setProperty('--aspect', state.data.photo.width / state.data.photo.height);
}

function describeColumn(column) {
  const { frame } = column;
  say($('.title', frame), column.title);
  say($('.subtitle .what', frame), column.subtitle ?? '');
  say($('.scores .label', frame), column.bars_label ?? '');
  show($('.scores', frame), Boolean(column.bars?.length));
  $('canvas.map', frame).dataset.source = column.source;
}

/** The answers under a frame: the server's, or the lab's where the distortion has changed them. */
function fillScores({ frame, source, bars, score_text }) {
  const changed = lab.bars(source);
  say($('.scores .score', frame), changed?.score ?? score_text ?? '');
  fillBars($('.scores ol', frame), changed?.bars ?? bars ?? [], state.data.info.class);
}

// ---- drawing -------------------------------------------------------------------------------------------------------

const ask = Draw.coalesced(() => draw(state)); // input comes in bursts, the screen once a frame

function draw(state) {
  if (!state.data) return;
  const { view, data, columns } = state, shown = columns.slice(0, view.more ? columns.length : 2);
  columns.forEach((column) => show(column.frame, shown.includes(column)));
  $('.frames').style.setProperty('--columns', shown.length);
  const fields = shown.map((column) => Maps.field(column.map(view), data.info.grid));
  const limits = Maps.limits(fields, view.scale);
  const lut = view.scale === 'signed' ? diverging : luts[view.colours];
  const boxes = fields.map((field) => (view.box ? Maps.box(field, view.tau / 100) : null));
  const units = shown.map((column) => fitted($('canvas.map', column.frame))); // measure first: one layout a draw
  shown.forEach((column, i) => {
    column.layers = { field: fields[i], limits: limits[i], lut, box: boxes[i] };
    if (units[i]) drawColumn(column, { ...column.layers, unit: units[i] });
  });
  state.told = { shown, ends: limits.find(Boolean), lut };
  tell();
  if (state.fresh && units.every(Boolean)) {
    state.fresh = false;
    element.dataset.ready = Number(element.dataset.ready ?? 0) + 1;
  }
}

// Pictures at the display's rate; words and numbers, which no one reads that fast and which lay out the page, less often.
const tell = Draw.paced(() => {
  if (!state.data || !state.told) return;
  const { shown, ends, lut } = state.told;
  shown.forEach((column) => reportColumn(column, column.layers));
  drawCommonLegend(ends, lut);
  reportLab(state.columns[0]);
}, 66);

function drawColumn(column, layers) {
  const { view, cursor } = state, canvas = $('canvas.map', column.frame);
  const { field, limits, lut, box, unit } = layers, { width, height } = canvas;
  const shown = [field, ...limits ?? [], lut, box, unit, cursor, width, height, view.opacity, view.scale];
  if (column.drawn?.length === shown.length && shown.every((part, i) => part === column.drawn[i])) return;
  column.drawn = shown;
  const photo = Draw.layer(state.data.photo, canvas, view.scale === 'signed');
  Draw.frame(canvas.getContext('2d', { alpha: false }), { photo, opacity: view.opacity / 100, cursor, ...layers });
}

function drawCommonLegend(ends, lut) {
  const legend = $('.legend.common'), signed = state.view.scale === 'signed';
  show(legend, state.view.scale !== 'each' && Boolean(ends));
  if (legend.hidden) return;
  Draw.legend($('canvas', legend), lut);
  say($('.low', legend), Maps.number(ends[0]));
  say($('.high', legend), Maps.number(ends[1]));
  say($('.unit', legend), signed ? 'evidence against and for, one scale' : 'positive evidence, one scale');
}

// ---- words and numbers ---------------------------------------------------------------------------------------------

/** The lab is told of the first column's map and box, before and after. */
function reportLab(column) {
  const { view, data } = state, maps = [column.base(view), column.map(view)];
  const boxes = maps.map((map) => Maps.box(Maps.field(map, data.info.grid), view.tau / 100));
  lab.report({ maps, boxes, clamped: column.clamp_applies && clampedIn(column, view) });
}

function noteFor(column, field) {
  if (column.raw == null && !field) return column.note || 'No map.';
  if (!field) return 'No map.';
  if (!field.blank || state.view.scale === 'signed') return '';
  return column.map(state.view) === column.base(state.view) ? BLANK : COLLAPSED;
}

function reportColumn(column, { field, limits, lut, box }) {
  const { frame } = column, { view, cursor } = state, note = noteFor(column, field);
  say($('.note', frame), note);
  show($('.note', frame), note !== '');
  show($('.distorted', frame), column.map(view) !== column.base(view));
  fillScores(column);
  const positive = clampedIn(column, view);
  say($('.tag', frame), column.clamp_applies && field ? (positive ? 'clamped' : 'unclamped') : '');
  $('.tag', frame).title = positive ? 'Negative channel weights are set to zero' : 'Channel weights of both signs';
  say($('.range', frame), field ? `${Maps.number(field.lo, field)} … ${Maps.number(field.hi, field)}` : '');
  say($('.here', frame), field && cursor ? Maps.number(Maps.valueAt(field, cursor), field) : '');
  drawOwnLegend($('.legend.own', frame), { field, limits, lut }, state);
  const label = `${column.title}: ${note || inWords(field, box, state.data.info.class)}`, canvas = $('canvas.map', frame);
  if (canvas.getAttribute('aria-label') !== label) canvas.setAttribute('aria-label', label);
}

// ---- start ---------------------------------------------------------------------------------------------------------

let speaking = 0;
function announce(words) { // a held key would flood a screen reader
  clearTimeout(speaking);
  speaking = setTimeout(() => { const text = words(); if (text) say($('.live'), text); }, 400);
}

// The browser says when a frame's size changes; to ask it at every draw would lay out the page each time.
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) target.size = contentRect;
  ask();
});
const fitted = (canvas) => Draw.fit(canvas, 3, canvas.size ?? canvas.getBoundingClientRect());
bindCursor($('.frames'), state, { moved: ask, announce });
element.addEventListener('click', (event) => { if (!event.target.closest('.same')) $('.same').open = false; });
settings.restore();
watch('value', () => load(props.value));
load(props.value);
