// The Distort panel's words: what became of the answer and of the map, as numbers, an equation and one plain sentence.
const Readout = (() => {
  const SCORE_NAMES = { 'log-odds': _('log-odds'), centred: _('centred logit') }; // of the sources whose score is shown
  const LINEAR = ['cam', 'gradcam', 'xgradcam', 'hirescam'];
  const minus = (text) => text.replace(/-/g, '−');
  const digits = (x, n = 3) => minus(String(Number(x.toPrecision(n))));
  const part = (p) => (p >= 0.995 && p < 1 ? '>0.99' : p > 0 && p < 0.005 ? '<0.01' : p.toFixed(2));
  const percent = (x) => `${x > 0 && x < 0.005 ? '<1' : Math.round(100 * x)} %`;
  const scientific = (x) => (x ? minus(x.toExponential(1)) : '0');
  const quoted = (names) => names.join(', ');

  /** Everything shown, of the answers before and after and of the softmax maps and their boxes. */
  function measure({ k, before, after, maps, boxes }) {
    const p = [before, after].map(({ softmax }) => Distort.softmax(softmax));
    const out = { k, p, dp: Distort.largestChange(...p), top: [before, after].map(({ softmax }) => Distort.best(softmax, 5)) };
    out.logit = [before, after].map(({ softmax }) => softmax[k]);
    if (before.sigmoid) {
      out.s = [before, after].map(({ sigmoid }) => Distort.sigmoid(sigmoid[k]));
      out.loss = [before, after].map(({ sigmoid }) => Distort.branchLoss(sigmoid, k));
    }
    if (!maps[0] || !maps[1]) return out;
    const same = maps[0] === maps[1];
    out.rho = same ? 1 : Distort.spearman(...maps);
    out.sign = same ? 0 : Distort.signChanges(...maps);
    out.iou = same ? 1 : Distort.iou(...boxes);
    out.blank = maps[1].every((x) => x <= 0);
    return out;
  }

  const pair = ([a, b], write) => (write(a) === write(b) ? write(a) : `${write(a)} → ${write(b)}`);

  function topText({ top: [a, b] }, classes) {
    if (a.every((j, i) => j === b[i])) return _('unchanged');
    const [gone, come] = [a.filter((j) => !b.includes(j)), b.filter((j) => !a.includes(j))].map((list) => list.map((j) => classes[j]));
    if (!come.length) return a[0] === b[0] ? _('reordered') : _('now {name}', { name: classes[b[0]] });
    return _('{come} for {gone}', { come: quoted(come), gone: quoted(gone) });
  }

  /** What each place of the panel says. */
  function entries(m, classes) {
    const none = (x, write) => (x === undefined ? '–' : Number.isNaN(x) ? _('none') : write(x));
    return {
      dp: scientific(m.dp), top: topText(m, classes), rho: none(m.rho, (x) => minus(x.toFixed(2))),
      iou: none(m.iou, (x) => x.toFixed(2)), sign: none(m.sign, percent), logit: pair(m.logit, (x) => minus(x.toFixed(2))),
      s: m.s ? pair(m.s, part) : '–', loss: m.loss ? pair(m.loss, digits) : '–',
    };
  }

  /** The bars and the score under a frame, as the server writes them: the first five classes, the explained one among them. */
  function bars(source, branch, logits, k, classes) {
    const top = Distort.best(logits, 5), odds = SCORE_NAMES[source], score = (j) => Distort.score(source, logits, j);
    if (!top.includes(k)) top[top.length - 1] = k;
    const p = branch === 'softmax' ? Distort.softmax(logits) : logits.map(Distort.sigmoid);
    const text = (j) => (odds ? `${score(j) < 0 ? '' : '+'}${score(j).toFixed(1)}` : p[j].toFixed(2));
    const count = Array.from(logits).filter((l) => l >= 0).length;
    const found = count ? _('The branch finds {count} of its {classes} classes here.', { count, classes: logits.length })
      : _('The branch finds none of its {classes} classes here.', { classes: logits.length });
    return { bars: top.map((j) => ({ name: classes[j], value: p[j], text: text(j) })), found: branch === 'sigmoid' ? found : '',
      score: `${odds ?? _('logit')} ${score(k).toFixed(2)}` };
  }

  // ---- the equation: _{...} marks what is set low --------------------------------------------------------------------

  const listed = (channels) => (channels.length > 3 ? `Σ_{${_('{n} channels', { n: channels.length })}} F_{i}`
    : channels.map((i) => `F_{${i}}`).join(' + '));

  /** [sign, term] of everything chosen but a lone shift. */
  function terms(s, flipped) {
    const { channels } = s, out = [], many = channels.length > 1 && channels.length < 4;
    if (channels.length && s.delta) out.push([Math.sign(s.delta), `${digits(Math.abs(s.delta))} ${many ? `(${listed(channels)})` : listed(channels)}`]);
    if (s.flip) out.push([-1, `2 Σ_{${_('{n} flipped', { n: flipped ?? `${s.flip} %` })}} w_{i} F_{i}`]);
    if (s.uniform) out.push([-Math.sign(s.uniform), `${digits(Math.abs(s.uniform))} Σ_{i} F_{i}`]);
    if (s.centre) out.push([-1, 'Σ_{i} w̄_{i} F_{i}']);
    return out.map(([sign, term], n) => (sign < 0 ? (n ? ' − ' : '−') : n ? ' + ' : '') + term).join('');
  }

  function equation(s, { method, cells, flipped, clamped }) {
    const lone = !s.flip && !s.uniform && !s.centre, linear = LINEAR.includes(method) && !clamped;
    const per = method === 'cam' ? '' : ` / ${cells}`;
    if (linear && lone && s.channels.length) {
      const several = s.channels.length > 1 ? `(${listed(s.channels)})` : listed(s.channels);
      return `M′(p,q) = M(p,q) + δ ${several}(p,q)${per}, δ = ${digits(s.delta)}`;
    }
    if (!Distort.active(s)) return 'M′(p,q) = M(p,q)';
    const sum = terms(s, flipped);
    if (linear && per) return `M′(p,q) = M(p,q) + (${sum})${per}`;
    if (linear) return `M′(p,q) = M(p,q) ${sum.startsWith('−') ? `− ${sum.slice(1)}` : `+ ${sum}`}`;
    return `M′(p,q) = Σ_{i} α_{i}(w_{i} + d_{i}) F_{i}(p,q)${clamped ? ', α ≥ 0' : ''}`;
  }

  /** Fills a node with the equation. */
  function typeset(node, text) {
    if (node.dataset.text === text) return;
    node.dataset.text = text;
    node.replaceChildren(...text.split(/(_\{[^}]*\})/).map((piece) => {
      if (!piece.startsWith('_{')) return piece;
      const sub = document.createElement('sub');
      sub.textContent = piece.slice(2, -1);
      return sub;
    }));
  }

  // ---- the sentence --------------------------------------------------------------------------------------------------

  /** One plain sentence: what to see now. */
  function sentence(s, m, { name, free, method, both }) {
    if (free) return _('{method} asks neither head: no change of the weights can move it, whatever becomes of the answer.', { method });
    if (!Distort.active(s)) return _('Nothing is distorted yet. Drag δ and watch the left map; then look at the probabilities.');
    if (!m) return _('Asking the server.');
    if (s.only) return _('Only the weights of {name} moved, so this time the answer moves with the map: p goes from {before} to {after}.', { name, before: part(m.p[0][m.k]), after: part(m.p[1][m.k]) });
    if (s.both && both) return _('Both heads got the same vector. The probabilities stand still, but the branch feels it: s goes from {s} to {s2} and its loss from {loss} to {loss2}. Training pins those weights down.', { s: part(m.s[0]), s2: part(m.s[1]), loss: digits(m.loss[0]), loss2: digits(m.loss[1]) });
    if (m.blank) return _('The softmax map is blank because all weighted evidence is negative: that is sign collapse. And no probability moved.');
    if (m.rho > 0.995 && m.sign < 0.01) return s.centre ? _('Centred, the map is almost the same: this head already sits in the middle of what softmax leaves open.')
      : _('The map has hardly moved yet; go further. The probabilities will stay where they are.');
    if (s.flip || s.uniform > 0) return _('What spoke for {name} now speaks against it: the softmax map is collapsing, and no probability moved.', { name });
    if (s.centre) return _('The same classifier with its weights centred: another map, and no probability moved.');
    if (s.uniform < 0) return _('Every active place brightens in the softmax map, and no probability moved.');
    return shifted(s, name);
  }

  /** The same of a shift of some channels alone. */
  function shifted({ channels: [channel, ...more], delta }, name) {
    if (more.length) return delta > 0 ? _('The softmax map now glows where those channels are active, {name} or not, and no probability moved.', { name })
      : _('The softmax map goes dark where those channels are active, and no probability moved.');
    return delta > 0 ? _('The softmax map now glows where channel {channel} is active, {name} or not, and no probability moved.', { channel, name })
      : _('The softmax map goes dark where channel {channel} is active, and no probability moved.', { channel });
  }

  return { measure, entries, bars, equation, typeset, sentence, digits, part };
})();
