// What is looked at and how it is distorted, as a query string that restores the page.
const Link = (() => {
  const KEYS = { channels: 'ch', delta: 'd', flip: 'flip', uniform: 'u', centre: 'centre', only: 'only', both: 'both' };

  function number(text, low, high) {
    const x = Number(text);
    return text && Number.isFinite(x) ? Math.min(high, Math.max(low, x)) : 0;
  }

  /** The distortion that a query string asks for; what it does not say, or says wrongly, is left out of it. */
  function read(search) {
    const query = new URLSearchParams(search), get = (name) => query.get(KEYS[name]) ?? '';
    const channels = get('channels').split(',').filter((text) => /^\d{1,6}$/.test(text)).map(Number);
    return {
      channels: [...new Set(channels)].slice(0, 64), delta: number(get('delta'), -1e6, 1e6), flip: number(get('flip'), 0, 100),
      uniform: number(get('uniform'), -1e6, 1e6), centre: get('centre') === '1', only: get('only') === '1', both: get('both') === '1',
    };
  }

  /** The query string of a distortion and of what it is laid on, keeping whatever else the old one says. */
  function write(search, s, active, info) {
    const query = new URLSearchParams(search);
    const put = (name, value) => (value == null || value === '' ? query.delete(name) : query.set(name, value));
    for (const key of Object.values(KEYS)) query.delete(key);
    put('model', info.model_name);
    put('method', info.method);
    put('class', info.model_name && info.class); // a model of one's own has no link, and its classes mean nothing without
    put('example', info.example);
    if (active) {
      if (s.channels.length && s.delta) { put(KEYS.channels, s.channels.join(',')); put(KEYS.delta, s.delta); }
      for (const name of ['flip', 'uniform']) if (s[name]) put(KEYS[name], s[name]);
      for (const name of ['centre', 'only', 'both']) if (s[name]) put(KEYS[name], 1);
    }
    return `?${query}`.replaceAll('%2C', ',');
  }

  return { read, write };
})();

/** Keeps the page's address up to date with `search()`, and copies it. */
function bindAddress(button, search) {
  const DELAY = 300; // milliseconds: browsers allow few changes of the address
  let saving = 0;

  function now() {
    if (search()) history.replaceState(history.state, '', location.pathname + search() + location.hash);
  }

  async function copy() {
    now();
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = _('Copied');
    } catch { // no clipboard without https
      button.textContent = _('It is in the address bar');
    }
    setTimeout(() => { button.textContent = _('Copy link'); }, 2000);
  }

  button.addEventListener('click', copy);
  return { save() { clearTimeout(saving); saving = setTimeout(now, DELAY); } };
}
