// The frame "Difference" of the Compare tab: where the first column and the sigmoid branch (else the second) disagree.
// It is drawn from the two maps as they are now, clamped or distorted, and asks the server for nothing.
const ENDS = [-1, 1]; // of its colours
const FAINT = 0.25; // differences that are hardly seen on this scale are told in words

/** A frame of its own, last of all and kept over new values. */
function differenceFrame(frame) {
  frame.classList.add('difference');
  $('.title', frame).textContent = _('Difference');
  $('canvas.map', frame).dataset.source = 'difference';
  $('.scores .label', frame).textContent = _('each map over its own maximum');
  $('.scores ol', frame).append(make('li', 'second'), make('li', 'first'));
  return frame;
}

/** The two columns that are compared; null where there is one alone. */
function differing(columns) {
  const second = columns.find(({ source }) => source === 'sigmoid') ?? columns[1];
  return second && second !== columns[0] ? [columns[0], second] : null;
}

function describeDifference(frame, [first, second]) {
  const [a, b] = [first, second].map(({ title }) => title.toLowerCase());
  setText($('.subtitle .what', frame), `${b} − ${a}`);
  setText($('li.second', frame), _('+1: {map} only', { map: b }));
  setText($('li.first', frame), _('−1: {map} only', { map: a }));
}

/** Its range, legend and description in words. */
function reportDifference(frame, layers, { view, cursor }) {
  const { field } = layers, canvas = $('canvas.map', frame), words = $('.subtitle .what', frame).textContent;
  const most = field ? Math.max(-field.lo, field.hi) : 0;
  setText($('.note', frame), field ? _('The two maps differ by {most} at most.', { most: most.toFixed(2) }) : _('No map.'));
  setVisible($('.note', frame), most < FAINT);
  setText($('.range', frame), field ? `${Maps.number(field.lo, field)} … ${Maps.number(field.hi, field)}` : '');
  setText($('.here', frame), field && cursor ? Maps.number(Maps.valueAt(field, cursor), field) : '');
  const legend = { ...layers, field: field && { ...field, lo: ENDS[0], hi: ENDS[1] } };
  drawFrameLegend($('.legend.single', frame), legend, { view: { ...view, scale: 'each', box: false }, cursor });
  const range = $('.range', frame).textContent, label = field ? _('Difference, {words}: from {range} of each map\'s maximum.', { words, range })
    : _('Difference, {words}: no map.', { words });
  if (canvas.getAttribute('aria-label') !== label) canvas.setAttribute('aria-label', label);
}
