// The animation of the Distort panel, and its requests to the server.
function bindPlayer(button, calm, step, stopped) {
  const PERIOD = 8000, EASE = 900; // milliseconds
  let frame = 0, timer = 0, started = 0;

  const running = () => Boolean(frame || timer);

  function show() {
    button.setAttribute('aria-pressed', String(running()));
    button.querySelector('span').textContent = running() ? _('Pause') : _('Play');
  }

  function stop() {
    if (!running()) return;
    cancelAnimationFrame(frame);
    clearInterval(timer);
    frame = timer = 0;
    show();
  }

  function run(move) {
    const tick = (now) => { frame = requestAnimationFrame(tick); if (move(now - started) === false) { stop(); stopped(); } };
    started = performance.now();
    frame = requestAnimationFrame(tick);
    show();
  }

  /** One way from 0 to 1; at once where the person wants no motion. */
  function ease(move) {
    stop();
    if (calm.matches) { move(1); return stopped(); }
    run((time) => { const u = Math.min(1, Math.max(0, time / EASE)); move(1 - (1 - u) ** 3); return u < 1; });
  }

  function play() {
    if (!calm.matches) return run((time) => step((time / PERIOD) % 1));
    let turn = 0; // slowly, in sixteen still pictures
    timer = setInterval(() => { turn = (turn + 1) % 16; step(turn / 16); }, 1500);
    show();
  }

  button.addEventListener('click', () => { if (running()) { stop(); stopped(); } else play(); });
  return { stop, ease };
}

/** Sends one request at a time; of what was chosen meanwhile only the last is sent next. */
function bindRemote(ask, payload, take, trouble) {
  let busy = false, again = false, turn = 0, before = null;

  const arrays = ({ raw, clamped }) => ({ raw: raw && Float32Array.from(raw), clamped: clamped && Float32Array.from(clamped) });
  const each = (object, make) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, make(value)]));

  function read({ maps, logits, error }) {
    if (error) throw new Error(error);
    return { maps: each(maps, arrays), logits: each(logits, (l) => Float32Array.from(l)) };
  }

  async function once(mine) {
    if (!before) {
      const first = read(await ask(payload(true)));
      if (mine !== turn) return;
      before = first.logits;
    }
    const answer = read(await ask(payload()));
    if (mine === turn) take({ maps: answer.maps, before, logits: { ...before, ...answer.logits } }); // it holds what moved
  }

  async function run() {
    again = true;
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      try { await once(turn); } catch (error) { trouble(error?.message ? _('The server could not redraw this: {error}', { error: error.message }) : _('The server could not redraw this.')); }
    }
    busy = false;
  }

  return { ask: run, forget: () => { turn++; before = null; again = false; } };
}
