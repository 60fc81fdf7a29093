// A report of sentences, lists, tables and a bar. Python sends its blocks (`value.blocks`); every string goes in by
// textContent. A block that has not changed keeps its node, so that nothing flickers or is read aloud twice.
const report = $('.report');
let drawn = []; // {json, node} of each block

const DRAW = {
  title: ({ text }) => make('h2', '', text),
  text: ({ text, tone = 'plain' }) => {
    const node = make('p', tone, text);
    if (tone === 'error') node.setAttribute('role', 'alert');
    if (tone === 'now') node.setAttribute('role', 'status');
    return node;
  },
  list: ({ title, items }) => {
    const node = make('div'), list = make('ul');
    list.append(...items.map((item) => make('li', '', item)));
    if (title) node.append(make('p', 'name', title));
    node.append(list);
    return node;
  },
  more: ({ title, items }) => {
    const node = make('details'), list = make('ul');
    list.append(...items.map((item) => make('li', '', item)));
    node.append(make('summary', '', title), list);
    return node;
  },
  bar: ({ done, total, label, text }) => {
    const node = make('div', 'bar'), bar = make('progress');
    bar.setAttribute('aria-label', label);
    if (total) Object.assign(bar, { max: total, value: done });
    node.append(bar, make('span', 'quiet', text));
    return node;
  },
  table: ({ caption, head, rows, heat }) => {
    const block = make('div', heat ? 'half' : ''), frame = make('div', 'frame'), table = make('table', heat ? 'heat' : '');
    const line = make('tr');
    frame.tabIndex = 0; // wide tables scroll, by keys as well
    frame.setAttribute('role', 'region');
    frame.setAttribute('aria-label', caption);
    line.append(...head.map((name) => Object.assign(make('th', '', name), { scope: 'col' })));
    const body = make('tbody');
    body.append(...rows.map((row, i) => drawRow(row, heat?.[i])));
    const top = make('thead');
    top.append(line);
    table.append(top, body);
    table.setAttribute('aria-label', caption);
    frame.append(table);
    block.append(make('p', 'name', caption), frame);
    return block;
  },
};

function drawRow(row, heat) {
  const line = make('tr');
  if (row.length === 1) { // a title over the rows below it
    line.append(Object.assign(make('th', 'over', row[0]), { scope: 'rowgroup', colSpan: 99 }));
    return line;
  }
  row.forEach((cell, j) => {
    const node = make(j ? 'td' : 'th', typeof cell === 'number' ? 'number' : '', String(cell?.text ?? cell));
    if (cell?.span) node.append(whisker(cell.span));
    node.classList.toggle('best', Boolean(cell?.best));
    if (!j) node.scope = 'row';
    if (j && heat) node.style.setProperty('--heat', `${Math.round(heat[j - 1] * 50)}%`);
    line.append(node);
  });
  return line;
}

/** An interval about a value, drawn on a line whose middle is 0. */
function whisker([low, value, high]) {
  const node = make('i', 'whisker');
  node.setAttribute('aria-hidden', 'true');
  for (const [name, part] of Object.entries({ low, value, high })) node.style.setProperty(`--${name}`, part);
  return node;
}

function draw(blocks) {
  const next = blocks.filter(({ kind }) => DRAW[kind]).map((block, i) => {
    const json = JSON.stringify(block), old = drawn[i];
    if (old?.json === json) return old;
    if (old?.kind === block.kind && (block.kind === 'bar' || block.tone === 'now')) return refreshed(old, block, json);
    return { json, kind: block.kind, node: DRAW[block.kind](block) };
  });
  next.forEach(({ node }, i) => { // a node that stays is not touched: it may have the focus, or be scrolled
    if (!report.children[i]) report.append(node);
    else if (report.children[i] !== node) report.children[i].replaceWith(node);
  });
  while (report.children.length > next.length) report.lastChild.remove();
  drawn = next;
  element.dataset.ready = Number(element.dataset.ready ?? 0) + 1;
}

/** The same node with new numbers in it. */
function refreshed({ node, kind }, block, json) {
  const fresh = DRAW[kind](block);
  if (kind === 'bar') {
    const [bar, text] = node.children, [newBar] = fresh.children;
    for (const name of ['max', 'value', 'aria-label']) {
      if (newBar.hasAttribute(name)) bar.setAttribute(name, newBar.getAttribute(name));
      else bar.removeAttribute(name);
    }
    text.textContent = block.text;
  } else node.textContent = block.text;
  return { json, kind, node };
}

watch('value', () => draw(props.value?.blocks ?? []));
draw(props.value?.blocks ?? []);
