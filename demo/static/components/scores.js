// The bars under a frame, filled in place: a drag changes them sixty times a second.
function fillBars(list, bars, explained) {
  while (list.children.length > bars.length) list.lastChild.remove();
  while (list.children.length < bars.length) list.append(barRow());
  bars.forEach((bar, i) => fillBar(list.children[i], bar, bar.name === explained));
}

function barRow() {
  const row = document.createElement('li');
  for (const part of ['name', 'track', 'value']) row.appendChild(document.createElement('span')).className = part;
  return row;
}

function fillBar(row, { name, value, text }, explained) {
  const [label, track, number] = row.children, written = text ?? Maps.number(value);
  row.classList.toggle('explained', explained);
  if (label.textContent !== name) label.textContent = label.title = name;
  track.style.setProperty('--part', Math.min(1, Math.max(0, Number(value) || 0)));
  setText(number, written);
}
