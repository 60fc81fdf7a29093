// The Distort panel. Heads of average pooling and one linear layer are distorted here (distort.js), without a request;
// other heads ask `server.redraw`, one request at a time, and the last value wins.
function bindDistortPanel(root, { colours, changed, announce, ask, fire }) {
  const find = (selector) => root.querySelector(selector);
  const controls = [...root.querySelectorAll('[data-distort]')], calm = matchMedia('(prefers-reduced-motion: reduce)');
  const linked = Link.read(location.search), s = { ...Distort.NONE, ...linked };
  const files = { url: '', F: null, classes: '', names: [] }; // of the last photograph and model: addresses name contents
  // `head` where the browser distorts, `asked` (the server's answer) where it does not
  const current = { info: null, head: null, asked: null, memo: new Map(), before: new Map(), scales: { weight: 1, map: 0, blank: 0 }, peaks: null };
  let chosenByHand = s.channels.length > 0, touched = false, last = 'delta', numbers = null;

  const chooser = bindChooser(root, colours, (channels) => { chosenByHand = true; set({ channels }); });
  const remote = bindRemote(ask, payload, (answer) => { current.asked = answer; current.memo.clear(); trouble(''); changed(); }, trouble);
  const player = bindPlayer(find('.play'), calm, sweep, () => announce(spokenSummary));

  // ---- data ----------------------------------------------------------------------------------------------------------

  /** F and the head's vectors of a value; F is fetched again only for another photograph or model. */
  async function fetchNumbers(value) {
    try {
      const [, numbers] = await Promise.all([learn(value), value.info.distort?.live && value.features ? unpack(value) : null]);
      return numbers;
    } catch (error) { return { error }; }
  }

  async function learn(value) {
    const { classes } = value.info;
    if (classes && files.classes !== classes) Object.assign(files, { names: await Draw.names(value), classes });
  }

  async function unpack({ features, rows, info }) {
    if (files.url !== features.url) {
      const packed = await (await Draw.get(features.url)).arrayBuffer();
      Object.assign(files, { url: features.url, F: Distort.features(packed, info.distort.feature_scale) });
    }
    return { F: files.F, rows: Distort.vectors(Draw.bytes(rows), info.distort.rows) };
  }

  /** A new value: its numbers (undefined: not here yet; null: the server keeps them), and the map that separates the background. */
  function adopt(info, numbers, evidence) {
    const { distort } = info, cells = info.grid[0] * info.grid[1];
    for (const cache of [current.memo, current.before]) cache.clear();
    Object.assign(current, { info, head: null, asked: null });
    remote.forget();
    trouble(numbers?.error ? _('The panel\'s numbers could not be loaded ({error}). Choose the photograph again.', { error: numbers.error.message }) : '');
    root.hidden = !distort;
    if (!distort) return;
    if (numbers?.F) {
      current.head = Distort.head(numbers.F, numbers.rows, { k: info.class_index, method: info.method, branches: distort.branches, cells, free: distort.class_free });
      current.head.grid = info.grid;
    } else if (numbers === null) current.scales = { weight: 3 * distort.weight_scale || 1, map: 0, blank: 0 };
    const ready = Boolean(current.head) || numbers === null;
    if (ready) settle(evidence);
    find('.knobs').disabled = find('.play').disabled = !ready;
    write();
  }

  function settle(evidence) {
    const { head, info } = current, { channels } = info.distort;
    const peaks = current.peaks = head && Distort.peaks(head);
    const order = head ? Array.from(peaks.keys()).sort((i, j) => peaks[j] - peaks[i]) : info.distort.ranked ?? [0];
    current.backdrop = () => (head ? brightest(Distort.backdrops(head, Distort.background(evidence()))) : order[0]);
    if (head) current.scales = Distort.scales(head);
    chooser.adopt(head, channels, order, current.backdrop);
    s.channels = (touched ? s : linked).channels.filter((i) => i < channels); // a link may name another model's
    if (!chosenByHand || !s.channels.length) s.channels = [current.backdrop()];
    for (const node of root.querySelectorAll('[data-branch]')) node.hidden = !('sigmoid' in info.distort.branches);
    if (!head && Distort.active(s)) remote.ask();
  }

  const brightest = (values) => values.indexOf(values.reduce((a, b) => Math.max(a, b), -Infinity));

  // ---- distorting ----------------------------------------------------------------------------------------------------

  function injected() {
    if (!current.memo.has('')) current.memo.set('', Distort.inject(current.head, s));
    return current.memo.get('');
  }

  /** The array a column shows: the server's where nothing has moved, else a new one for each distortion. */
  function map({ source }, positive, base) {
    if (!base || !Distort.active(s)) return base;
    if (!current.head) return (Distort.touches(s, source) && current.asked?.maps[source]?.[positive ? 'clamped' : 'raw']) || base;
    const key = `${source} ${positive}`;
    if (!injected().moves[source]) return base;
    if (!current.before.has(key)) current.before.set(key, Distort.alphas(current.head, source, null, positive));
    if (!current.memo.has(key)) {
      const after = Distort.alphas(current.head, source, injected().moves[source], positive);
      current.memo.set(key, Distort.moved(base, current.head.F, current.before.get(key), after));
    }
    return current.memo.get(key);
  }

  /** { before, after } logits by branch, or null while they are not known. */
  function answers() {
    if (current.head) return { before: current.head.logits, after: Distort.active(s) ? injected().logits : current.head.logits };
    return current.asked && { before: current.asked.before, after: Distort.active(s) ? current.asked.logits : current.asked.before };
  }

  /** The bars of a column whose answer has changed; null: the server's are shown. */
  function bars(source) {
    const both = answers(), branch = current.info?.distort?.branches[source];
    if (!both || !Distort.active(s) || both.before[branch] === both.after[branch]) return null;
    return Readout.bars(source, branch, both.after[branch], current.info.class_index, files.names);
  }

  // ---- read-out -------------------------------------------------------------------------------------------------------

  const words = () => ({ name: current.info.class, free: current.info.distort.class_free, method: current.info.method_label, both: 'sigmoid' in current.info.distort.branches });

  /** After a draw: softmax maps and boxes before and after, and whether the clamp is on. */
  function report({ maps, boxes, clamped }) {
    if (root.hidden || !current.info) return;
    const known = answers();
    numbers = known && Readout.measure({ k: current.info.class_index, ...known, maps, boxes });
    const entries = numbers ? Readout.entries(numbers, files.names) : {};
    for (const node of root.querySelectorAll('[data-out]')) setText(node, entries[node.dataset.out] ?? '–');
    find('[data-out=dp]').dataset.value = numbers?.dp ?? '';
    setText(find('.explanation'), Readout.sentence(s, numbers, words()));
    const { method, grid } = current.info;
    Readout.typeset(find('.equation'), Readout.equation(s, { method, cells: grid[0] * grid[1], flipped: flipped()[0], clamped }));
  }

  const spokenSummary = () => _('Largest change of a probability {dp}, map correlation {rho}. {explanation}', { dp: find('[data-out=dp]').textContent, rho: find('[data-out=rho]').textContent, explanation: find('.explanation').textContent });

  function trouble(text) {
    setText(find('.trouble'), text);
    find('.trouble').hidden = !text;
  }

  function flipped() {
    const n = current.head ? Distort.positives(current.head.w) : undefined;
    return [n === undefined ? undefined : Distort.flipCount(n, s.flip), n];
  }

  // ---- controls ------------------------------------------------------------------------------------------------------

  function reach(name) {
    if (name !== 'delta') return name === 'flip' ? 100 : Distort.uniformReach(current.scales);
    return Distort.deltaReach(current.scales, current.peaks ? Math.max(0, ...s.channels.map((i) => current.peaks[i])) : 0);
  }

  /** Sets the controls from the state. */
  function write() {
    for (const node of controls) {
      const value = s[node.dataset.distort];
      if (node.type === 'checkbox') node.checked = value;
      else if (node.tagName === 'SELECT') node.value = value ? '1' : '';
      else if (node.type === 'range') { slide(node, value / reach(node.dataset.distort)); mark(node); }
    }
    find('.marks').hidden = !Object.keys(breaks()).length;
    spellAll();
    chooser.show(s.channels);
    find('.undo').disabled = !Distort.active(s) && !s.only && !s.both;
    root.classList.toggle('on', Distort.active(s));
  }

  const spellAll = Draw.paced(() => { // each number lays out the page
    for (const node of controls) if (node.type === 'number' && document.activeElement !== node) spell(node); // not while it is being typed in
    const [count, n] = flipped();
    setText(find('.count'), n === undefined ? '' : _('{count} of {n}', { count, n }));
  }, 66);

  function spell(node) {
    node.value = Number(s[node.dataset.distort].toPrecision(4));
    if (node.step !== '1') node.step = reach(node.dataset.distort) / 100;
  }

  function slide(node, part) {
    const low = node.min < 0 ? 0.5 : 0, whole = Math.min(1, Math.max(low ? -1 : 0, part)), place = low ? 0.5 + whole / 2 : whole;
    node.value = Math.round(100 * whole);
    node.setAttribute('aria-valuetext', node.dataset.distort === 'flip' ? `${s.flip} %` : Readout.digits(s[node.dataset.distort]));
    if (node.place === place) return;
    node.place = place;
    node.style.setProperty('--from', Math.min(low, place));
    node.style.setProperty('--to', Math.max(low, place));
  }

  const breaks = () => current.info?.distort?.breaks ?? {};

  /** Where half of the head's validation boxes break; nowhere beyond the slider's end. */
  function mark(node) {
    const value = breaks()[node.dataset.distort], part = value / reach(node.dataset.distort);
    const place = part <= 1 ? (node.min < 0 ? 0.5 + part / 2 : part) : -1;
    node.style.setProperty('--mark', place);
    node.title = place < 0 ? '' : _('Mark: at {value} half of this head\'s validation boxes are broken', { value: Readout.digits(value, 2) });
  }

  function read(node) {
    const name = node.dataset.distort;
    if (node.type === 'checkbox') return node.checked;
    if (node.tagName === 'SELECT') return node.value === '1';
    const value = node.type === 'range' ? node.valueAsNumber / 100 * reach(name) : node.valueAsNumber || 0, limit = name === 'flip' ? 100 : 10 * reach(name);
    return Number(Math.min(limit, Math.max(name === 'delta' ? -limit : 0, value)).toPrecision(4));
  }

  function set(change, playing = false) {
    if (!playing) player.stop();
    Object.assign(s, change);
    current.memo.clear();
    touched = true;
    write();
    if (current.info && !current.head) remote.ask();
    changed();
    address.save();
    if (!playing) announce(spokenSummary);
  }

  // The sweep goes out, back through nothing to the other end (a share has none), and home in 8 seconds.
  function sweep(turn) {
    const wave = last === 'delta' ? Math.sin(2 * Math.PI * turn) : (1 - Math.cos(2 * Math.PI * turn)) / 2;
    const value = Number((wave * reach(last)).toPrecision(3));
    if (last === 'delta' && !s.channels.length) s.channels = [current.backdrop()];
    set({ [last]: last === 'flip' ? Math.round(value) : value }, true);
  }

  function preset(name, change) {
    last = name;
    set({ ...Distort.NONE, channels: s.channels, both: s.both, ...change, [name]: 0 });
    player.ease((share) => set({ [name]: Number((share * reach(name)).toPrecision(3)) }, true));
  }

  /** A finger that begins to scroll on a slider must not leave it moved. */
  function guard(slider) {
    const name = slider.dataset.distort;
    let held = 0;
    slider.addEventListener('pointerdown', () => { held = s[name]; });
    slider.addEventListener('pointercancel', () => { if (s[name] !== held) set({ [name]: held }); });
  }

  for (const node of controls) {
    node.addEventListener('input', () => {
      if (['delta', 'flip', 'uniform'].includes(node.dataset.distort)) last = node.dataset.distort;
      set({ [node.dataset.distort]: read(node) });
    });
    if (node.type === 'number') node.addEventListener('change', () => spell(node));
    if (node.type === 'range') guard(node);
  }
  find('.undo').addEventListener('click', () => { set({ ...Distort.NONE, channels: s.channels }); last = 'delta'; find('.play').focus(); });
  find('.brighten').addEventListener('click', () => { chosenByHand = true; preset('delta', { channels: [current.backdrop()] }); });
  find('.collapse').addEventListener('click', () => preset('flip', {}));

  // ---- links and files -----------------------------------------------------------------------------------------------

  /** The payload of `redraw` and of the events `figure` and `sweep`. */
  function payload(zero = false) {
    const { channels, delta, flip, uniform, centre, only, both } = zero ? { ...Distort.NONE, both: true } : s, { info } = current;
    return { photo: info.photo_token ?? null, model: modelName(), class_index: info.class_index, method: info.method,
      shift: { channels: [...channels], delta }, flip, uniform, centre, only, both };
  }

  const modelName = () => ('model_name' in current.info ? current.info.model_name : (current.info.model ?? '').split(' · ')[0]); // null: no link may name it
  const address = bindAddress(find('.link'), () => current.info && Link.write(location.search, s, Distort.active(s), { ...current.info, model_name: modelName() }));

  find('.figure').addEventListener('click', () => fire('figure', payload()));
  find('.sweep').addEventListener('click', () => fire('sweep', { ...payload(), sweep: last, reach: reach(last) }));

  return {
    fetch: fetchNumbers, adopt, map, bars, report, trouble,
    get active() { return Distort.active(s); },
    /** Another class or method was chosen: the link follows, unless this is the page's first value. */
    follow(first) { if (!first || touched) address.save(); },
  };
}
