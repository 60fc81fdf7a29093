// Which channels are shifted: chips for the chosen ones, thumbnails of all of them to choose from.
function bindChooser(root, colours, changed) {
  const PAGE = 24;
  const find = (selector) => root.querySelector(selector);
  const [chips, thumbs, details] = ['.chips', '.thumbs', '.chooser'].map(find);
  let head = null, ranked = [], count = 0, shown = PAGE, chosen = [], stale = true;

  const features = (i) => (head && i < head.h.length ? head.F.subarray(i * head.cells, (i + 1) * head.cells) : null);

  function button(className, i) {
    const node = document.createElement('button'), map = features(i);
    node.type = 'button';
    node.className = className;
    if (map) Draw.thumb(node.appendChild(document.createElement('canvas')), map, head.grid, colours);
    node.append(`#${i}`);
    return node;
  }

  function chip(i) {
    const node = button('chip', i), cross = node.appendChild(document.createElement('i'));
    cross.textContent = '×';
    cross.setAttribute('aria-hidden', 'true');
    node.setAttribute('aria-label', _('Channel #{i}: leave out', { i }));
    node.addEventListener('click', () => { toggle(i); (chips.querySelector('button') ?? find('.chooser summary')).focus(); });
    return node;
  }

  function thumb(i) {
    const node = button('thumb', i);
    node.setAttribute('aria-label', _('Channel #{i}', { i }));
    node.dataset.channel = i;
    node.addEventListener('click', () => toggle(i));
    return node;
  }

  const toggle = (i) => changed(chosen.includes(i) ? chosen.filter((j) => j !== i) : [...chosen, i]);

  function paintThumbs() {
    if (!details.open || !stale) return;
    stale = false;
    thumbs.replaceChildren(...ranked.slice(0, shown).map(thumb));
    find('.next').hidden = shown >= ranked.length;
    mark();
  }

  function mark() {
    for (const node of thumbs.children) node.setAttribute('aria-pressed', String(chosen.includes(Number(node.dataset.channel))));
  }

  function search() {
    const box = find('.search'), i = box.valueAsNumber;
    if (!Number.isInteger(i) || i < 0 || i >= count) return;
    if (!chosen.includes(i)) changed([...chosen, i]);
    box.value = '';
  }

  details.addEventListener('toggle', paintThumbs);
  find('.next').addEventListener('click', () => { shown += PAGE; stale = true; paintThumbs(); });
  find('.search').addEventListener('change', search);
  find('.visible').addEventListener('click', () => changed([ranked[0] ?? 0]));
  find('.backdrop').addEventListener('click', () => changed([backdrop() ?? ranked[0] ?? 0]));

  let backdrop = () => null;

  return {
    /** Another photograph or head: `order` ranks the channels, `brightest()` names the background's. */
    adopt(next, channels, order, brightest) {
      [head, count, ranked, backdrop, stale, shown] = [next, channels, order, brightest, true, PAGE];
      find('.search').max = channels - 1;
      chips.dataset.of = '';
      for (const name of ['.visible', '.backdrop', '.thumbs']) find(name).hidden = !next;
      find('.next').hidden = !next;
      paintThumbs();
    },

    show(channels) {
      chosen = channels;
      const key = channels.join();
      if (chips.dataset.of === key && chips.children.length === channels.length) return;
      chips.dataset.of = key;
      chips.replaceChildren(...channels.map(chip));
      if (!channels.length) chips.textContent = _('no channel');
      mark();
    },
  };
}
