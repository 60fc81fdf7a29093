// The Compare tab: identical frames over one photograph. Nothing here asks the server for anything but a new value's
// two files. User strings (class and file names) go in by textContent and setAttribute only.

const $ = (selector, root = element) => root.querySelector(selector);
const BLANK = 'Blank: all weighted evidence here is negative.';
const luts = Object.fromEntries(Object.entries(props.luts).map(([name, table]) => [name, Draw.lut(table)]));
const settings = bindView(element, () => ask());
const diverging = Draw.faded(luts.RdBu_r);

// All that is drawn follows from this object. A column's `map(view)` may be replaced, by live distortion for example:
// it must return a new array when the map has changed.
const state = { data: null, columns: [], view: settings.values, cursor: null, fresh: false, loads: 0 };

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
  $('.cmp').setAttribute('aria-busy', 'true');
  try {
    const data = await Draw.load(value);
    if (turn === state.loads) accept(data);
  } catch (error) {
    if (turn === state.loads) fail(error);
  }
  if (turn === state.loads) $('.cmp').removeAttribute('aria-busy');
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

function accept(data) {
  Object.assign(state, { data, cursor: null, fresh: true });
  frameCount(data.info.columns.length);
  state.columns = data.info.columns.map((column, i) => ({
    ...column, frame: $('.frames').children[i], map: (view) => mapOf(column, data.maps, view),
  }));
  describe(data.info);
  state.columns.forEach((column) => describeColumn(column, data.info));
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

function describeColumn(column, info) {
  const { frame } = column;
  say($('.title', frame), column.title);
  say($('.subtitle .what', frame), column.subtitle ?? '');
  say($('.scores .label', frame), column.bars_label ?? '');
  say($('.scores .score', frame), column.score_text ?? '');
  $('.scores ol', frame).replaceChildren(...(column.bars ?? []).map((bar) => barRow(bar, bar.name === info.class)));
  show($('.scores', frame), Boolean(column.bars?.length));
  $('canvas.map', frame).dataset.source = column.source;
}

function barRow({ name, value, text }, explained) {
  const row = document.createElement('li'), parts = ['name', 'track', 'value'].map((part) => {
    const node = row.appendChild(document.createElement('span'));
    node.className = part;
    return node;
  });
  row.classList.toggle('explained', explained);
  parts[0].textContent = parts[0].title = name;
  parts[1].style.setProperty('--part', Math.min(1, Math.max(0, Number(value) || 0)));
  parts[2].textContent = text ?? Maps.number(value);
  return row;
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
  const units = shown.map((column) => Draw.fit($('canvas.map', column.frame))); // measure first: one layout a draw
  shown.forEach((column, i) => {
    const layers = { field: fields[i], limits: limits[i], lut, box: boxes[i] };
    if (units[i]) drawColumn(column, { ...layers, unit: units[i] });
    reportColumn(column, layers);
  });
  drawCommonLegend(limits.find(Boolean), lut);
  if (state.fresh && units.every(Boolean)) {
    state.fresh = false;
    element.dataset.ready = Number(element.dataset.ready ?? 0) + 1;
  }
}

function drawColumn(column, layers) {
  const { view, cursor } = state, canvas = $('canvas.map', column.frame);
  const photo = Draw.layer(state.data.photo, canvas, view.scale === 'signed');
  Draw.frame(canvas.getContext('2d'), { photo, opacity: view.opacity / 100, cursor, ...layers });
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

function noteFor(column, field) {
  if (column.raw == null && !field) return column.note || 'No map.';
  if (!field) return 'No map.';
  return field.blank && state.view.scale !== 'signed' ? BLANK : '';
}

function reportColumn(column, { field, limits, lut, box }) {
  const { frame } = column, { view, cursor } = state, note = noteFor(column, field);
  say($('.note', frame), note);
  show($('.note', frame), note !== '');
  const positive = clampedIn(column, view);
  say($('.tag', frame), column.clamp_applies && field ? (positive ? 'clamped' : 'unclamped') : '');
  $('.tag', frame).title = positive ? 'Negative channel weights are set to zero' : 'Channel weights of both signs';
  say($('.range', frame), field ? `${Maps.number(field.lo, field)} … ${Maps.number(field.hi, field)}` : '');
  say($('.here', frame), field && cursor ? Maps.number(Maps.valueAt(field, cursor), field) : '');
  drawOwnLegend($('.legend.own', frame), { field, limits, lut });
  const label = `${column.title}: ${note || inWords(field, box)}`, canvas = $('canvas.map', frame);
  if (canvas.getAttribute('aria-label') !== label) canvas.setAttribute('aria-label', label);
}

function drawOwnLegend(legend, { field, limits, lut }) {
  const { view, cursor } = state, bar = $('.bar', legend);
  show(legend, view.scale === 'each');
  legend.classList.toggle('off', !limits);
  if (legend.hidden || !limits) return;
  if (legend.lut !== lut) Draw.legend($('canvas', bar), legend.lut = lut);
  say($('.low', legend), Maps.number(limits[0], field));
  say($('.high', legend), Maps.number(limits[1], field));
  show($('.cut', bar), view.box);
  $('.cut', bar).style.left = `${view.tau}%`;
  show($('.mark', bar), Boolean(cursor));
  if (!cursor) return;
  const part = (Maps.valueAt(field, cursor) - limits[0]) / (limits[1] - limits[0]);
  $('.mark', bar).style.left = `${100 * Math.min(1, Math.max(0, part))}%`;
}

function inWords(field, box) {
  const peak = field.values.indexOf(field.hi), third = (u) => Math.min(2, Math.floor(3 * u / field.size));
  const where = `${['top', 'middle', 'bottom'][third(peak / field.size)]} ${['left', 'centre', 'right'][third(peak % field.size)]}`;
  const share = box ? Math.round(100 * box[2] * box[3] / field.size ** 2) : 0;
  return `map for ${state.data.info.class ?? 'the class'}, ${Maps.number(field.lo, field)} to ${Maps.number(field.hi, field)}, `
    + `strongest at the ${where}${box ? `; the box takes ${share} % of the picture` : ''}.`;
}

// ---- input ---------------------------------------------------------------------------------------------------------

function point(cursor) {
  state.cursor = cursor && { x: Math.min(1, Math.max(0, cursor.x)), y: Math.min(1, Math.max(0, cursor.y)) };
  ask();
}

function follow(event) {
  if (!event.target.matches('canvas.map')) return event.pointerType === 'mouse' && state.cursor ? point(null) : undefined;
  const { left, top, width, height } = event.target.getBoundingClientRect();
  point({ x: (event.clientX - left) / width, y: (event.clientY - top) / height });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function key(event) {
  if (!event.target.matches('canvas.map')) return;
  if (event.key === 'Escape') return point(null);
  const step = STEPS[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const { x, y } = state.cursor ?? { x: 0.5, y: 0.5 }, [P, Q] = state.data.info.grid, by = event.shiftKey ? 1 : 1 / 4;
  point({ x: x + step[0] * by / Q, y: y + step[1] * by / P });
  announce();
}

let speaking = 0;
function announce() { // a held key would flood a screen reader
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    if (!state.cursor) return;
    const values = state.columns.filter((column) => !column.frame.hidden)
      .map((column) => `${column.title} ${$('.here', column.frame).textContent || 'no map'}`);
    const [across, down] = [state.cursor.x, state.cursor.y].map((u) => Math.round(100 * u));
    say($('.live'), `${across} % across, ${down} % down: ${values.join(', ')}.`);
  }, 400);
}

const sizes = new ResizeObserver(ask);
const frames = $('.frames');
frames.addEventListener('pointermove', follow);
frames.addEventListener('pointerdown', follow);
frames.addEventListener('pointerleave', (event) => { if (event.pointerType === 'mouse') point(null); });
frames.addEventListener('keydown', key);
frames.addEventListener('focusout', () => point(null));
element.addEventListener('click', (event) => { if (!event.target.closest('.same')) $('.same').open = false; });
settings.restore();
watch('value', () => load(props.value));
load(props.value);
