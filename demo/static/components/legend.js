// The legend of one frame, and its map described in words.
/** The colours under a frame and what their ends mean, with marks at the box's threshold and at the cursor's value. */
function drawFrameLegend(legend, { field, limits, lut }, { view, cursor }) {
  const bar = $('.bar', legend);
  setVisible(legend, view.scale === 'each');
  legend.classList.toggle('off', !limits);
  if (legend.hidden || !limits) return;
  if (legend.lut !== lut) Draw.legend($('canvas', bar), legend.lut = lut);
  setText($('.low', legend), Maps.number(limits[0], field));
  setText($('.high', legend), Maps.number(limits[1], field));
  setVisible($('.cut', bar), view.box);
  $('.cut', bar).style.left = `${view.tau}%`;
  setVisible($('.mark', bar), Boolean(cursor));
  if (!cursor) return;
  const part = (Maps.valueAt(field, cursor) - limits[0]) / (limits[1] - limits[0]);
  $('.mark', bar).style.left = `${100 * Math.min(1, Math.max(0, part))}%`;
}

/** The map in a sentence, for who cannot see it. */
function describeMap(field, box, name) {
  const peak = field.values.indexOf(field.hi), third = (u) => Math.min(2, Math.floor(3 * u / field.size));
  const down = [_('top'), _('middle'), _('bottom')][third(peak / field.size)], across = [_('left'), _('centre'), _('right')][third(peak % field.size)];
  const share = box ? Math.round(100 * box[2] * box[3] / field.size ** 2) : 0, where = _('{down} {across}', { down, across });
  const found = { name: name ?? _('the class'), low: Maps.number(field.lo, field), high: Maps.number(field.hi, field), where, share };
  return box ? _('map for {name}, {low} to {high}, strongest at the {where}; the box takes {share} % of the picture.', found)
    : _('map for {name}, {low} to {high}, strongest at the {where}.', found);
}
