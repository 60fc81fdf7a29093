// The cross-hair over the frames of the Compare tab: one point, read in every map, by pointer or by arrow keys.
const CURSOR_STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function bindCursor(frames, state, { moved, announce }) {
  function point(cursor) {
    state.cursor = cursor && { x: Math.min(1, Math.max(0, cursor.x)), y: Math.min(1, Math.max(0, cursor.y)) };
    moved();
  }

  function follow(event) {
    if (!event.target.matches('canvas.map')) return event.pointerType === 'mouse' && state.cursor ? point(null) : undefined;
    const { left, top, width, height } = event.target.getBoundingClientRect();
    point({ x: (event.clientX - left) / width, y: (event.clientY - top) / height });
  }

  function key(event) {
    if (!event.target.matches('canvas.map')) return;
    if (event.key === 'Escape') return point(null);
    const step = CURSOR_STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { x, y } = state.cursor ?? { x: 0.5, y: 0.5 }, [P, Q] = state.data.info.grid, by = event.shiftKey ? 1 : 1 / 4;
    point({ x: x + step[0] * by / Q, y: y + step[1] * by / P });
    announce(inNumbers);
  }

  function inNumbers() {
    if (!state.cursor) return '';
    const values = [...state.columns, state.difference].filter((column) => !column.frame.hidden)
      .map(({ title, frame }) => `${title} ${frame.querySelector('.here').textContent || _('no map')}`);
    const [across, down] = [state.cursor.x, state.cursor.y].map((u) => Math.round(100 * u));
    return _('{across} % across, {down} % down: {values}.', { across, down, values: values.join(', ') });
  }

  frames.addEventListener('pointermove', follow);
  frames.addEventListener('pointerdown', follow);
  frames.addEventListener('pointerleave', (event) => { if (event.pointerType === 'mouse') point(null); });
  frames.addEventListener('keydown', key);
  frames.addEventListener('focusout', () => point(null));
}
