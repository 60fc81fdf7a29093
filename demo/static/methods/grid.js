// The "All methods" tab: a row for each method, a column for each source. A picked row sends its method to Python.
const SIDE = 224; // enough for a map that fills a dialog
const OPACITY = 0.55;
const table = Draw.lut(props.luts.turbo);
const state = { data: null, cells: [], fresh: false, loads: 0 };

async function load(value) {
  const turn = ++state.loads; // a later value makes this one stale
  if (!value?.maps) return visible(null);
  try {
    const data = await Draw.load(value);
    if (turn === state.loads) accept(data);
  } catch (error) {
    if (turn === state.loads) visible(_('The maps could not be loaded ({error}). Choose the photograph again.', { error: error.message }));
  }
}

function visible(message) {
  if (message === null) state.data = null;
  $('.error').textContent = message ?? '';
  $('.error').hidden = !message;
  $('.empty').hidden = Boolean(state.data || message);
  $('.content').hidden = !state.data;
}

function accept(data) {
  Object.assign(state, { data, cells: [], fresh: true });
  const { info } = data;
  $('.what .class').textContent = info.class ?? '';
  $('.methods').style.setProperty('--aspect', data.photo.width / data.photo.height);
  $('thead tr').replaceChildren(make('td', 'corner'), ...info.columns.map(columnHead));
  $('tbody').replaceChildren(...info.rows.map(methodRow));
  sizes.disconnect();
  state.cells.forEach(({ canvas }) => sizes.observe(canvas));
  visible('');
  scheduleDraw();
}

function columnHead(title) {
  const head = make('th', 'column', title);
  head.scope = 'col';
  return head;
}

function methodRow(row) {
  const line = make('tr', 'method');
  line.dataset.method = row.method;
  line.append(rowHead(row), ...row.cells.map((cell, i) => thumbnail(cell, row, state.data.info.columns[i])));
  return line;
}

function rowHead(row) {
  const head = make('th', 'name'), button = make('button', 'pick', row.label), note = row.note ?? '';
  head.scope = 'row';
  button.type = 'button';
  button.title = _('Compare with {method}', { method: row.label });
  button.addEventListener('click', () => pick(button.closest('tr'), row.method));
  head.append(button);
  if (row.class_free) head.append(make('span', 'free', _('the same for every class')));
  if (note) head.append(make('span', 'note', note));
  return head;
}

function thumbnail({ source, map, note }, row, title) {
  const cell = make('td', 'cell'), array = map == null ? null : state.data.maps[map];
  const field = Maps.field(array, state.data.info.grids?.[map] ?? state.data.info.grid, SIDE);
  if (!field) {
    cell.append(make('span', 'none', note || _('No map.')));
    return cell;
  }
  const canvas = cell.appendChild(make('canvas', 'thumb'));
  canvas.dataset.source = source;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', field.blank ? _('{map}: blank', { map: `${row.label}, ${title}` }) : `${row.label}, ${title}`);
  if (field.blank) cell.append(make('span', 'blank', _('blank')));
  state.cells.push({ canvas, field });
  const button = make('button', 'enlarge'); // over the picture, so that keys reach it too
  button.type = 'button';
  button.setAttribute('aria-label', _('{map}: large', { map: `${row.label}, ${title}` }));
  button.addEventListener('click', () => enlarge(button.closest('tr'), row, title, field));
  cell.append(button);
  return cell;
}

/** One map as large as the window allows. */
function enlarge(line, row, title, field) {
  const dialog = $('dialog.large'), canvas = $('dialog canvas'), label = `${row.label}, ${title}`;
  state.large = { canvas, field };
  canvas.setAttribute('aria-label', label);
  $('dialog .legend').textContent = _('{map}, for {name}. {note}', { map: label, name: state.data.info.class, note: row.note ?? '' });
  $('dialog .compare').onclick = () => { dialog.close(); pick(line, row.method); };
  dialog.showModal();
  scheduleDraw();
}

function pick(line, method) {
  for (const row of line.parentElement.children) row.classList.toggle('picked', row === line);
  trigger('pick', { value: method });
}

const scheduleDraw = Draw.coalesced(() => {
  if (!state.data) return;
  const shown = $('dialog.large').open ? [...state.cells, state.large] : state.cells;
  const units = shown.map(({ canvas }) => Draw.fit(canvas, 2)); // measure first: one layout a draw
  shown.forEach(({ canvas, field }, i) => {
    if (!units[i]) return;
    const photo = Draw.layer(state.data.photo, canvas), [limits] = Maps.limits([field], 'each');
    Draw.frame(canvas.getContext('2d'), { photo, field, limits, lut: table, opacity: OPACITY, unit: units[i] });
  });
  if (!state.fresh || !units.every(Boolean)) return;
  state.fresh = false;
  element.dataset.ready = Number(element.dataset.ready ?? 0) + 1;
});

const sizes = new ResizeObserver(scheduleDraw);
watch('value', () => load(props.value));
load(props.value);
