// The tour, the story of the paper's Fig. 1 and the teacher's mode. Fetched when one of them is asked for, never before; `element`
// is the Compare component, `_` says a text in the visitor's language. What is shown is computed by the page's own controls.
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const find = (selector) => element.querySelector(selector) ?? document.querySelector(selector);

/** Numbers as the page shows them at this moment. */
const now = () => ({
  class: find('.topic .class').textContent,
  p: find('.frames figure li.explained .value')?.textContent ?? '–',
  dp: find('[data-out=dp]').textContent,
  rho: find('[data-out=rho]').textContent,
  iou: find('[data-out=iou]').textContent,
  s: find('[data-out=s]').textContent,
});

// ---- what is said ---------------------------------------------------------------------------------------------------

// A step points at a part of the page, does something there (DEEDS), and may follow numbers of the page while it is shown.
const moved = () => _('max |Δp| {dp} · softmax map against itself before: correlation {rho}, box IoU {iou}', now());
const TOUR = [
  { title: _('Look'), part: '.frames', deed: 'straight', counted: 1,
    text: () => _('One photograph, one pass of one network. Left: what its softmax head goes by for {class}. Right: what a sigmoid branch, trained beside it, goes by.', now()) },
  { title: _('Distort'), part: '.knob.wide', deed: 'shift', counted: 2, facts: moved,
    text: () => _('One channel\'s weight is now moved by the same number in every class. Softmax cannot see it: the probabilities stay. Its map can, and changes. The branch\'s map stands still.') },
  { title: _('Who is right?'), part: '.frames', deed: 'stay', counted: 3, facts: moved,
    text: () => _('The answer is what it was, the softmax map is not: nothing in the answer says which of its maps to believe. That alone does not make the branch right. Only boxes that people drew can tell; Evaluate counts them, on a drawn set or on your images.') },
  { title: _('Now your own photograph'), part: '#photo', deed: 'straight', offer: 'upload', block: 'center',
    text: () => _('Choose one, paste it, or use the camera.') },
];
const STORY = [
  { title: _('One photograph'), part: '.frames', deed: 'straight', seconds: 7,
    text: () => _('The network answers {class}, with a probability of {p}. Each map shows where a head\'s score comes from.', now()) },
  { title: _('Fig. 1 (a): a shift'), part: '.frames', deed: 'brighten', seconds: 10, facts: moved,
    text: () => _('A number is added to one channel\'s weight, the same in every class. No probability moves. The softmax map lights up where that channel is active.') },
  { title: _('Fig. 1 (b): the signs'), part: '.frames', deed: 'collapse', seconds: 10, facts: moved,
    text: () => _('The class\'s positive weights are turned into negative ones by one vector, the same for every class. No probability moves. What the softmax map showed is gone.') },
  { title: _('The branch'), part: '.frames', deed: 'both', seconds: 9, facts: () => _('sigmoid {s}', now()),
    text: () => _('The branch was not touched so far. Given the same vector, it answers otherwise: its training pins each weight in size and in sign.') },
  { title: _('Your turn'), part: '.knobs', deed: 'straight', offer: 'teach', block: 'center',
    text: () => _('Move the shift or flip the signs yourself: all of it is computed here, now.') },
];

// ---- what a step does -----------------------------------------------------------------------------------------------

let moving = 0; // the animation frame of a slider that moves

function put(selector, value) {
  const control = find(selector);
  control.value = value;
  control.dispatchEvent(new Event('input', { bubbles: true }));
}

/** Moves a slider to a place, as a hand would; at once where no motion is wanted. */
function slide(selector, end, milliseconds = 3000) {
  const began = performance.now();
  const step = (now) => {
    const part = calm.matches ? 1 : Math.min(1, Math.max(0, (now - began) / milliseconds));
    put(selector, Math.round(end * part * part * (3 - 2 * part)));
    if (part < 1) moving = requestAnimationFrame(step);
  };
  moving = requestAnimationFrame(step);
}

function straight() {
  cancelAnimationFrame(moving);
  if (find('[data-distort=both]').value) put('[data-distort=both]', '');
  const focused = document.activeElement; // the panel's own button takes it
  if (!find('.undo').disabled) find('.undo').click();
  focused?.focus({ preventScroll: true });
}

const DEEDS = {
  straight,
  shift: () => { straight(); slide('input[type=range][data-distort=delta]', 70); },
  brighten: () => { straight(); find('.brighten').click(); },
  collapse: () => { straight(); find('.collapse').click(); },
  both: () => put('[data-distort=both]', '1'),
  stay: () => {},
};

// ---- the card -------------------------------------------------------------------------------------------------------

function node(tag, className, text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function button(name, said, pressed) {
  const made = node('button', name, said);
  made.type = 'button';
  made.addEventListener('click', pressed);
  return made;
}

/** Steps on a card, one after another; with `timed` they follow by themselves until paused. */
function play(steps, { name, timed = false, ended = () => {} }) {
  document.querySelector('.tour-card .close')?.click(); // one at a time
  const back = document.activeElement, said = node('div', 'said'), title = node('h2', ''), text = node('p', 'text');
  let at = -1, timer = 0, facing = 0;
  const card = node('section', 'tour-card'), count = node('p', 'count'), facts = node('p', 'facts'), row = node('div', 'row');
  Object.entries({ role: 'dialog', 'aria-label': name }).forEach(([key, value]) => card.setAttribute(key, value));
  said.setAttribute('aria-live', 'polite');
  said.append(title, text);
  const [close, before, hold, next] = [button('close', '×', leave), button('back', _('Back'), () => go(at - 1)),
    button('pause', _('Pause'), () => (timer ? pause() : proceed())), button('next', _('Next'), () => go(at + 1))];
  close.setAttribute('aria-label', _('Close'));
  row.append(before, ...(timed ? [hold] : []), next);
  card.append(count, close, said, facts, row);
  card.addEventListener('keydown', key);
  document.body.append(card);

  function light(part) {
    document.querySelectorAll('.tour-part').forEach((lit) => lit.classList.remove('tour-part'));
    part?.classList.add('tour-part');
  }

  function go(to) {
    if (to < 0) return;
    if (to >= steps.length) return leave();
    const step = steps[at = to], last = at === steps.length - 1, part = find(step.part), { counted } = step;
    count.textContent = counted ? _('{n} of {all}', { n: counted, all: steps.filter((s) => s.counted).length }) : '';
    title.textContent = step.title;
    text.textContent = step.text();
    before.disabled = at === 0;
    next.textContent = last ? _('Done') : _('Next');
    card.querySelector('.offer')?.remove();
    if (step.offer) card.append(offer(step.offer));
    light(part);
    DEEDS[step.deed]();
    face();
    makeRoom();
    part.scrollIntoView({ block: step.block ?? 'nearest', behavior: calm.matches ? 'auto' : 'smooth' });
    if (timed && (timer || at === 0)) proceed();
  }

  /** Keeps what is scrolled to above a card that is as wide as the window. */
  function makeRoom() {
    const wide = card.offsetWidth > 0.8 * innerWidth;
    document.documentElement.style.scrollPaddingBottom = wide ? `${card.offsetHeight + 12}px` : '';
  }

  /** The numbers follow the page while the step is shown. */
  function face() {
    const step = steps[at];
    facts.textContent = step.facts?.() ?? '';
    clearTimeout(facing);
    facing = setTimeout(face, 150);
  }

  function proceed() {
    clearTimeout(timer);
    timer = at < steps.length - 1 ? setTimeout(() => go(at + 1), 1000 * steps[at].seconds) : 0;
    hold.disabled = at === steps.length - 1;
    hold.textContent = timer || hold.disabled ? _('Pause') : _('Play');
    card.style.setProperty('--seconds', timer && !calm.matches ? `${steps[at].seconds}s` : '0s');
    card.classList.remove('runs');
    void card.offsetWidth; // begins the line anew
    card.classList.toggle('runs', Boolean(timer));
  }

  function pause() {
    clearTimeout(timer);
    timer = 0;
    card.classList.remove('runs');
    hold.textContent = _('Play');
  }

  function key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === 'Escape') leave();
    else if (step) go(Math.min(at + step, steps.length - 1));
    else if (event.key === ' ' && timed && event.target.tagName !== 'BUTTON') hold.click();
    else return;
    event.preventDefault();
  }

  function leave() {
    clearTimeout(facing);
    clearTimeout(timer);
    straight();
    light(null);
    document.documentElement.style.scrollPaddingBottom = '';
    card.remove();
    (back?.isConnected && back !== document.body ? back : find('.show')).focus();
    ended();
  }

  go(0);
  next.focus({ preventScroll: true });
}

// ---- what is offered at the end -------------------------------------------------------------------------------------

function offer(kind) {
  const box = node('p', 'offer');
  if (kind === 'upload') box.append(button('upload', _('Choose a photograph'), upload), node('span', '', ' '));
  const link = node('a', '', _('For a class: large type, few controls'));
  link.href = '?teach=1';
  box.append(link);
  return box;
}

/** Opens the photograph's own chooser of files. */
function upload() {
  document.querySelector('#photo input[type=file]').click();
}

// ---- the teacher's mode ---------------------------------------------------------------------------------------------

function forget(name) {
  const query = new URLSearchParams(location.search);
  query.delete(name);
  history.replaceState(history.state, '', `${location.pathname}?${query}${location.hash}`);
}

function teach() {
  document.body.classList.add('teach');
  const bar = node('nav', 'teach-bar');
  const full = button('full', _('Full screen'), () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()));
  full.hidden = !document.fullscreenEnabled;
  bar.append(button('story', _('Play Fig. 1'), story), full, button('leave', _('Leave teacher\'s mode'), () => {
    document.body.classList.remove('teach');
    if (document.fullscreenElement) document.exitFullscreen();
    forget('teach');
    bar.remove();
  }));
  document.body.append(bar);
}

const tour = () => play(TOUR, { name: _('The tour') });
const story = () => play(STORY, { name: _('The story of Fig. 1'), timed: true, ended: () => {
  forget('play');
  find('input[type=range][data-distort=delta]').focus();
} });

const query = new URLSearchParams(location.search);
document.head.append(Object.assign(document.createElement('style'), { textContent: css }));
if (query.get('teach') === '1') teach();
if (query.get('play') === 'fig1') story();
return { tour };
