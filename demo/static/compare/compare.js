// The Compare tab: identical frames over one photograph. Nothing here asks the server for anything but a new value's
// files. User strings (class and file names) go in by textContent and setAttribute only.

const BLANK = _('Blank: all weighted evidence here is negative.');
const COLLAPSED = _('Blank: now all weighted evidence is negative. This is sign collapse.');
const luts = Object.fromEntries(Object.entries(props.luts).map(([name, table]) => [name, Draw.lut(table)]));
const settings = bindView(element, () => scheduleDraw());
const diverging = Draw.faded(luts.RdBu_r);
const distortPanel = bindDistortPanel($('.distort'), {
  colours: luts.viridis, changed: () => scheduleDraw(), announce, fire: trigger, ask: (payload) => server.redraw(payload),
});

// Everything drawn follows from this object. A column's `base(view)` is the server's map, `map(view)` the distorted one: a
// new array when it has changed.
const state = { data: null, columns: [], view: settings.values, cursor: null, fresh: false, summary: null, loads: 0,
  difference: { title: _('Difference'), frame: null } };

// ---- data ----------------------------------------------------------------------------------------------------------

function mapOf(column, maps, view) {
  const positive = column.clamp_applies && isClamped(column, view);
  const index = positive ? column.clamped ?? column.raw : column.raw;
  return index == null ? null : maps[index];
}

const isClamped = (column, view) => (view.clamp === 'paper' ? Boolean(column.clamp_default) : view.clamp === 'on');

async function load(value) {
  const turn = ++state.loads; // a later value makes this one stale
  if (!value?.maps) return clear();
  const current = () => turn === state.loads;
  $('.compare').setAttribute('aria-busy', 'true');
  const numbers = distortPanel.fetch(value); // the maps need not wait for them, unless they are to be shown distorted
  try {
    const data = await Draw.load(value), first = !state.data, early = distortPanel.active ? await numbers : undefined;
    if (current()) accept(data, early);
    const late = await numbers;
    if (current()) arm(early === undefined ? late : undefined, first);
    if (first && props.tour && /[?&](teach|play)=/.test(location.search)) guided();
  } catch (error) {
    if (current()) fail(error);
  }
  if (current()) $('.compare').removeAttribute('aria-busy');
}

/** The panel gets its numbers, if it has not got them yet. */
function arm(numbers, first) {
  if (numbers !== undefined) distortPanel.adopt(state.data.info, numbers, evidence);
  distortPanel.follow(first);
  scheduleDraw();
  element.dataset.distortReady = Number(element.dataset.distortReady ?? 0) + 1;
}

/** The map that separates object from background best: the sigmoid branch's, else the last column's. */
function evidence() {
  const column = state.columns.find(({ source }) => source === 'sigmoid') ?? state.columns.at(-1);
  return column.base(state.view);
}

function clear() {
  state.data = null;
  setVisible($('.content'), false);
  setVisible($('.error'), false);
  setVisible($('.empty'), true);
}

function fail(error) {
  setText($('.error'), _('The maps could not be loaded ({error}). Choose the photograph again.', { error: error.message }));
  setVisible($('.error'), true);
  if (!state.data) setVisible($('.empty'), false);
}

function accept(data, numbers) {
  Object.assign(state, { data, cursor: null, fresh: true, summary: null });
  frameCount(data.info.columns.length);
  state.columns = data.info.columns.map((column, i) => {
    const base = (view) => mapOf(column, data.maps, view);
    return { ...column, frame: $('.frames').children[i], base,
      map: (view) => distortPanel.map(column, column.clamp_applies && isClamped(column, view), base(view)) };
  });
  distortPanel.adopt(data.info, numbers, evidence);
  describe(data.info);
  state.columns.forEach((column) => describeColumn(column));
  state.difference.of = differing(state.columns);
  if (state.difference.of) describeDifference(state.difference.frame, state.difference.of);
  [['.error', false], ['.empty', false], ['.content', true]].forEach(([name, visible]) => setVisible($(name), visible));
  draw(state);
}

function frameCount(count) {
  const frames = $('.frames');
  const last = state.difference.frame; // stays, behind all others
  if (!last.parentElement) frames.append(last);
  while (frames.children.length > count + 1) last.previousElementSibling.remove();
  while (frames.children.length < count + 1) {
    last.before(newFrame());
    sizes.observe($('canvas.map', last.previousElementSibling));
  }
}

const newFrame = () => $('template').content.firstElementChild.cloneNode(true);

function describe(info) {
  setText($('.topic .class'), info.class ?? '');
  setText($('.meta .method'), info.method_label ?? info.method ?? '');
  setText($('.meta .model'), info.model ?? '');
  const same = info.identical ?? [], sentence = _('Identical by construction to {methods}.', { methods: same.join(', ') });
  setVisible($('.same'), same.length > 0);
  setText($('.same .count'), String(same.length));
  setText($('.same .others'), sentence);
  $('.same summary').title = sentence;
  const extra = info.columns.slice(2).map((column) => column.title.toLowerCase()).join(', ');
  setText($('.pill .more'), `+ ${extra}`);
  setVisible($('.pill'), extra !== '');
  setVisible($('.pill.differ'), info.columns.length > 1);
  setText($('.caption'), info.caption ?? '');
  $('.frames').style.setProperty('--aspect', state.data.photo.width / state.data.photo.height);
}

function describeColumn(column) {
  const { frame } = column;
  setText($('.title', frame), column.title);
  setText($('.subtitle .what', frame), column.subtitle ?? '');
  setText($('.scores .label', frame), column.bars_label ?? '');
  setVisible($('.scores', frame), Boolean(column.bars?.length));
  $('canvas.map', frame).dataset.source = column.source;
}

/** The answers under a frame: the server's, or the Distort panel's where the distortion changed them. */
function fillScores({ frame, source, bars, score_text, found_text }) {
  const changed = distortPanel.bars(source);
  setText($('.scores .score', frame), changed?.score ?? score_text ?? '');
  setText($('.found', frame), changed?.found ?? found_text ?? '');
  fillBars($('.scores ol', frame), changed?.bars ?? bars ?? [], state.data.info.class);
}

// ---- drawing -------------------------------------------------------------------------------------------------------

const scheduleDraw = Draw.coalesced(() => draw(state)); // input comes in bursts, the screen once a frame

function draw(state) {
  if (!state.data) return;
  const { view, data, columns } = state, shown = columns.slice(0, view.more ? columns.length : 2);
  const apart = view.difference && state.difference.of ? state.difference : null;
  columns.forEach((column) => setVisible(column.frame, shown.includes(column)));
  setVisible(state.difference.frame, apart !== null);
  $('.frames').style.setProperty('--columns', shown.length + (apart ? 1 : 0));
  const fields = shown.map((column) => Maps.field(column.map(view), data.info.grid));
  const limits = Maps.limits(fields, view.scale);
  const lut = view.scale === 'signed' ? diverging : luts[view.colours];
  const boxes = fields.map((field) => (view.box ? Maps.box(field, view.tau / 100) : null));
  shown.forEach((column, i) => {
    column.layers = { field: fields[i], limits: limits[i], lut, box: boxes[i], grey: view.scale === 'signed' };
  });
  if (apart) {
    const field = Maps.difference(...apart.of.map((column) => Maps.field(column.map(view), data.info.grid)));
    apart.layers = { field, limits: field && ENDS, lut: diverging, box: null, grey: true };
  }
  const drawn = apart ? [...shown, apart] : shown;
  const units = drawn.map((column) => fitted($('canvas.map', column.frame))); // measure first: one layout a draw
  drawn.forEach((column, i) => { if (units[i]) drawColumn(column, { ...column.layers, unit: units[i] }); });
  state.summary = { shown, apart, ends: limits.find(Boolean), lut };
  reportAll();
  if (state.fresh && units.every(Boolean)) {
    state.fresh = false;
    element.dataset.ready = Number(element.dataset.ready ?? 0) + 1;
  }
}

// Pictures at the display's rate; text and numbers, which cost a layout, less often.
const reportAll = Draw.paced(() => {
  if (!state.data || !state.summary) return;
  const { shown, apart, ends, lut } = state.summary;
  shown.forEach((column) => reportColumn(column, column.layers));
  if (apart) reportDifference(apart.frame, apart.layers, state);
  drawCommonLegend(ends, lut);
  reportToPanel(state.columns[0]);
}, 66);

function drawColumn(column, layers) {
  const { view, cursor } = state, canvas = $('canvas.map', column.frame);
  const { field, limits, lut, box, unit, grey } = layers, { width, height } = canvas;
  const shown = [field, ...limits ?? [], lut, box, unit, cursor, width, height, view.opacity, grey];
  if (column.drawn?.length === shown.length && shown.every((part, i) => part === column.drawn[i])) return;
  column.drawn = shown;
  const photo = Draw.layer(state.data.photo, canvas, grey);
  Draw.frame(canvas.getContext('2d', { alpha: false }), { photo, opacity: view.opacity / 100, cursor, ...layers });
}

function drawCommonLegend(ends, lut) {
  const legend = $('.legend.common'), signed = state.view.scale === 'signed';
  setVisible(legend, state.view.scale !== 'each' && Boolean(ends));
  if (legend.hidden) return;
  Draw.legend($('canvas', legend), lut);
  setText($('.low', legend), Maps.number(ends[0]));
  setText($('.high', legend), Maps.number(ends[1]));
  setText($('.unit', legend), signed ? _('evidence against and for, one scale') : _('positive evidence, one scale'));
}

// ---- text and numbers ---------------------------------------------------------------------------------------------

/** Hands the Distort panel the first column's map and box, before and after. */
function reportToPanel(column) {
  const { view, data } = state, maps = [column.base(view), column.map(view)];
  const boxes = maps.map((map) => Maps.box(Maps.field(map, data.info.grid), view.tau / 100));
  distortPanel.report({ maps, boxes, clamped: column.clamp_applies && isClamped(column, view) });
}

function noteFor(column, field) {
  if (column.raw == null && !field) return column.note || _('No map.');
  if (!field) return _('No map.');
  if (!field.blank || state.view.scale === 'signed') return '';
  return column.map(state.view) === column.base(state.view) ? BLANK : COLLAPSED;
}

function reportColumn(column, { field, limits, lut, box }) {
  const { frame } = column, { view, cursor } = state, note = noteFor(column, field);
  setText($('.note', frame), note);
  setVisible($('.note', frame), note !== '');
  setVisible($('.distorted', frame), column.map(view) !== column.base(view));
  fillScores(column);
  const positive = isClamped(column, view);
  const tag = column.clamp_applies ? (positive ? _('clamped') : _('unclamped')) : _('no clamp');
  setText($('.tag', frame), field ? tag : '');
  $('.tag', frame).title = !column.clamp_applies ? _('This method has no channel weights whose sign could be clamped')
    : positive ? _('Negative channel weights are set to zero') : _('Channel weights of both signs');
  setText($('.range', frame), field ? `${Maps.number(field.lo, field)} … ${Maps.number(field.hi, field)}` : '');
  setText($('.here', frame), field && cursor ? Maps.number(Maps.valueAt(field, cursor), field) : '');
  drawFrameLegend($('.legend.single', frame), { field, limits, lut }, state);
  const label = `${column.title}: ${note || describeMap(field, box, state.data.info.class)}`, canvas = $('canvas.map', frame);
  if (canvas.getAttribute('aria-label') !== label) canvas.setAttribute('aria-label', label);
}

// ---- start ---------------------------------------------------------------------------------------------------------

let speaking = 0;
function announce(words) { // a held key would flood a screen reader
  clearTimeout(speaking);
  speaking = setTimeout(() => { const text = words(); if (text) setText($('.live'), text); }, 400);
}

// The browser says when a frame's size changes; to ask it at every draw would lay out the page each time.
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) target.size = contentRect;
  scheduleDraw();
});
const fitted = (canvas) => Draw.fit(canvas, 3, canvas.size ?? canvas.getBoundingClientRect());
state.difference.frame = differenceFrame(newFrame());
sizes.observe($('canvas.map', state.difference.frame));
bindCursor($('.frames'), state, { moved: scheduleDraw, announce });
element.addEventListener('click', (event) => { if (!event.target.closest('.same')) $('.same').open = false; });
/** The tour, the story and the teacher's mode come when they are asked for. */
let guide = null;
async function guided() {
  if (guide) return guide;
  const path = props.tour[document.documentElement.lang] ?? props.tour.en;
  const code = await (await Draw.get(Draw.beside(props.value.image, path))).text();
  return guide ??= new Function('element', '_', code)(element, _);
}
setVisible($('.show'), Boolean(props.tour));
$('.show').addEventListener('click', async () => (await guided()).tour());

settings.restore();
watch('value', () => load(props.value));
load(props.value);
