// What is said of one frame. The helpers $, say and show are the component's (compare.js).
/** The colours under a frame and what their ends mean, with marks at the box's threshold and at the cursor's value. */
function drawOwnLegend(legend, { field, limits, lut }, { view, cursor }) {
  const bar = $('.bar', legend);
  show(legend, view.scale === 'each');
  legend.classList.toggle('off', !limits);
  if (legend.hidden || !limits) return;
  if (legend.lut !== lut) Draw.legend($('canvas', bar), legend.lut = lut);
  say($('.low', legend), Maps.number(limits[0], field));
  say($('.high', legend), Maps.number(limits[1], field));
  show($('.cut', bar), view.box);
  $('.cut', bar).style.left = `${view.tau}%`;
  show($('.mark', bar), Boolean(cursor));
  if (!cursor) return;
  const part = (Maps.valueAt(field, cursor) - limits[0]) / (limits[1] - limits[0]);
  $('.mark', bar).style.left = `${100 * Math.min(1, Math.max(0, part))}%`;
}

/** The map in a sentence, for who cannot see it. */
function inWords(field, box, name) {
  const peak = field.values.indexOf(field.hi), third = (u) => Math.min(2, Math.floor(3 * u / field.size));
  const where = `${['top', 'middle', 'bottom'][third(peak / field.size)]} ${['left', 'centre', 'right'][third(peak % field.size)]}`;
  const share = box ? Math.round(100 * box[2] * box[3] / field.size ** 2) : 0;
  return `map for ${name ?? 'the class'}, ${Maps.number(field.lo, field)} to ${Maps.number(field.hi, field)}, `
    + `strongest at the ${where}${box ? `; the box takes ${share} % of the picture` : ''}.`;
}
