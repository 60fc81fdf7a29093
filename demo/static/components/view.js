// The view's settings: native inputs marked data-view, kept over new values and, in localStorage, over visits.
function bindView(element, changed) {
  const KEY = 'bsoftmax.view';
  const DEFAULTS = { opacity: 55, colours: 'turbo', scale: 'each', clamp: 'paper', box: true, tau: 20, more: false, difference: false };
  const controls = [...element.querySelectorAll('[data-view]')], values = { ...DEFAULTS };
  const colours = controls.find((control) => control.dataset.view === 'colours');

  function read(control) {
    if (control.type === 'checkbox') return control.checked;
    return control.type === 'range' ? Number(control.value) : control.value;
  }

  function write(control, value) {
    if (control.type === 'checkbox') control.checked = value === true;
    else control.value = value;
    if (control.value === '') control.value = DEFAULTS[control.dataset.view]; // a stored choice that no longer exists
  }

  function label(slider) {
    slider.parentElement.querySelector('output').textContent = `${slider.value} %`;
    slider.style.setProperty('--part', slider.value / 100);
  }

  function update() {
    for (const control of controls) if (!control.disabled) values[control.dataset.view] = read(control);
    colours.disabled = values.scale === 'signed'; // signed maps need the diverging colours
    colours.value = colours.disabled ? 'RdBu_r' : values.colours;
    controls.filter((control) => control.type === 'range').forEach(label);
    changed();
  }

  /** Set the controls, then read them back: the browser itself rejects values out of range. */
  function set(view) {
    colours.disabled = false;
    controls.forEach((control) => write(control, view[control.dataset.view]));
    update();
  }

  function stored() {
    try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; }
  }

  function store() {
    try { localStorage.setItem(KEY, JSON.stringify(values)); } catch { /* private windows may forbid it */ }
  }

  controls.forEach((control) => control.addEventListener('input', () => { update(); store(); }));
  element.querySelector('.reset').addEventListener('click', () => { set(DEFAULTS); store(); });
  return { values, restore: () => set({ ...DEFAULTS, ...stored() }) };
}
