
// Our own orders on the chart: lines that can be moved, and marks where we traded. Moving one makes a draft; nothing is
// sent before Apply, and each draft has one key, so that any number of clicks is one wish.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join('');
const money = v => Math.abs(v).toLocaleString('en-US', {minimumFractionDigits: 2, maximumFractionDigits: 2});
const LABEL_ROOM = 19;

class OrderLines {
  constructor(chart) {
    Object.assign(this, {chart, nodes: new Map(), here: null, draft: null, sent: null, dragging: false, fillsText: ''});
    this.layer = document.createElement('div'); this.layer.className = 'dc-orders';
    this.bar = document.createElement('div'); this.bar.className = 'dc-draft'; this.bar.hidden = true; this.bar.setAttribute('role', 'status');
    chart.el.after(this.layer, this.bar);
    this.member = {wants: () => this.wants(), onAnswer: feed => this.take(feed), onBeat: () => this.show()};
    this.layer.addEventListener('pointerdown', e => this.grab(e));
    this.layer.addEventListener('pointermove', e => { this.drag(e); chart.point(e); });
    for (const ended of ['pointerup', 'pointercancel']) this.layer.addEventListener(ended, e => this.drop(e));
    this.layer.addEventListener('keydown', e => this.key(e));
    this.layer.addEventListener('wheel', e => { e.preventDefault(); chart.el.querySelector('.nsewdrag')?.dispatchEvent(new WheelEvent('wheel', e)); }, {passive: false});
    chart.root.addEventListener('keydown', e => { if (e.key === 'Escape' && this.draft) this.undo(); });
    this.bar.addEventListener('click', e => { const name = e.target.closest('[data-do]')?.dataset.do; if (name) this[name](); });
  }
  ask(data, trigger) {
    const before = this.data;
    this.data = data; this.trigger = trigger;
    if (before && before.query.symbol !== data.query.symbol) { this.draft = null; if (this.sent?.over) this.sent = null; this.here = null; }
    const failed = this.sent && data.failed?.[this.sent.key];
    if (failed && this.sent.state !== 'waiting again') Object.assign(this.sent, {state: 'not sent', said: failed});
    if (!this.feed) this.feed = DeskFeed.join(this.member);
    else if (before.query.symbol !== data.query.symbol || before.account !== data.account) this.feed.now();
    this.show();
  }
  wants() { return {desk: this.data.desk, account: this.data.account, symbol: this.data.query.symbol, asked: this.sent?.key}; }
  take(feed) {
    const found = feed.state.symbol;
    this.unread = !found && !!feed.state.trouble;
    if (found && found.symbol === this.data.query.symbol) this.here = found;
    if (feed.asked && feed.asked.key === this.sent?.key) this.hear(feed.asked);
    if (this.draft && !this.lines().some(l => l.id === this.draft.id && l.draggable)) this.draft = null;
    const fills = JSON.stringify(this.here?.fills ?? []);
    if (fills !== this.fillsText) { this.fillsText = fills; this.chart.draw(); }
    this.show();
  }
  hear(asked) {
    const sent = this.sent;
    if (sent.over) return;
    if (asked.state === 'not asked') { if (performance.now() - sent.at > 6000 && sent.state !== 'not sent') Object.assign(sent, {state: 'not sent', said: 'It has not arrived at the desk.'}); return; }
    Object.assign(sent, {state: asked.state, said: asked.said});
    if (asked.state === 'done' || asked.state === 'refused') {
      sent.over = true;
      if (asked.state === 'done') setTimeout(() => { if (this.sent === sent) { this.sent = null; this.show(); } }, 4000);
    }
  }
  lines() { return this.here && this.here.symbol === this.chart.of?.split(' ')[0] ? this.here.lines : []; }
  line(id) { return this.lines().find(l => l.id === id); }
  text(price) { return price.toFixed(this.here.decimals); }
  priced(price) { return Number(price).toLocaleString('en-US', {minimumFractionDigits: this.here.decimals, maximumFractionDigits: this.here.decimals}); }
  snap(price) { const tick = Number(this.here.tick); return Number(this.text(Math.max(1, Math.round(price / tick)) * tick)); }
  gain(line, price) { return line.sign * Number(line.shares) * (price - Number(line.average)); }
  // Where a line is drawn: at its draft, at what was asked for, or where it is.
  at(line) {
    if (this.draft?.id === line.id) return this.draft.price;
    if (this.sent && !this.sent.over && this.sent.id === line.id && this.sent.state !== 'not sent') return this.sent.price;
    return Number(line.price);
  }
  words(line) {
    const price = this.at(line), moved = price !== Number(line.price), word = line.short.slice(0, line.short.lastIndexOf(' '));
    if (!moved) return phone() ? line.short : line.text;
    if (phone() || line.average === undefined) return `${word} ${this.priced(price)}`;
    const gain = this.gain(line, price);
    return `${word} ${this.priced(price)} · ${Number(line.shares)}${this.here.unit} · ${gain > 0 ? '+' : gain < 0 ? '−' : ''}${money(gain)}`;
  }
  show() {
    if (!this.data) return;
    const seen = new Set();
    for (const line of this.lines()) { seen.add(line.id); this.node(line); }
    for (const [id, node] of this.nodes) if (!seen.has(id)) { node.remove(); this.nodes.delete(id); }
    this.old = !!this.feed?.lost || !!this.unread;
    this.layer.classList.toggle('old', this.old);
    this.place();
    this.tell();
  }
  node(line) {
    let node = this.nodes.get(line.id);
    if (!node) {
      node = document.createElement('div');
      node.innerHTML = '<i></i><b></b><span></span>'; node.dataset.line = line.id;
      this.layer.append(node); this.nodes.set(line.id, node);
    }
    const draft = this.draft?.id === line.id, asked = this.sent && !this.sent.over && this.sent.id === line.id, movable = line.draggable && !this.data.held && !asked && !this.old;
    node.className = `dc-order ${line.kind.split(' ')[0]}${movable ? ' movable' : ''}${draft ? ' draft' : ''}${asked ? ' asked' : ''}`;
    const text = this.words(line), span = node.lastChild;
    if (span.dataset.text !== text) { span.dataset.text = text; span.textContent = text; }
    span.title = movable ? `${line.text}. Drag it, or use the arrow keys (Shift: ten steps). Nothing is sent before Apply.` : line.text;
    if (movable) {
      const price = this.at(line);
      for (const [name, value] of Object.entries({role: 'slider', tabindex: 0, 'aria-orientation': 'vertical', 'aria-label': `${line.short.slice(0, line.short.lastIndexOf(' '))} of ${this.here.symbol}`,
        'aria-valuenow': this.text(price), 'aria-valuemin': this.here.tick, 'aria-valuemax': this.text(Number(line.price) * 10), 'aria-valuetext': text})) node.setAttribute(name, value);
    } else for (const name of ['role', 'tabindex', 'aria-valuenow', 'aria-valuetext']) node.removeAttribute(name);
  }
  place() {
    const full = this.chart.el._fullLayout, ya = full?.yaxis, xa = full?.xaxis;
    this.layer.hidden = !ya || !this.nodes.size;
    if (this.layer.hidden) return;
    Object.assign(this.layer.style, {left: `${xa._offset}px`, width: `${xa._length}px`, top: `${this.chart.el.offsetTop + ya._offset}px`, height: `${ya._length}px`});
    const tags = [];
    for (const line of this.lines()) {
      const node = this.nodes.get(line.id);
      if (!node) continue;
      const y = ya.l2p(this.at(line)), off = y < 0 ? 'above' : y > ya._length ? 'below' : '';
      const shown = Math.min(ya._length - LABEL_ROOM / 2, Math.max(LABEL_ROOM / 2, y));
      node.style.top = `${off ? shown : y}px`;
      node.classList.toggle('off', !!off); node.dataset.off = off;
      tags.push({node, y: shown, base: off ? shown : y});
    }
    tags.sort((a, b) => a.y - b.y);
    tags.forEach((tag, i) => { if (i) tag.y = Math.max(tag.y, tags[i - 1].y + LABEL_ROOM); });
    for (let i = tags.length - 1, most = ya._length - LABEL_ROOM / 2; i >= 0; i--, most -= LABEL_ROOM) tags[i].y = Math.min(tags[i].y, most);
    for (const {node, y, base} of tags) node.style.setProperty('--shift', `${y - base}px`);
  }
  // The bar under the reading line
  tell() {
    const html = this.bar_html();
    if (html !== this.barText) { this.barText = html; this.bar.innerHTML = html; this.bar.hidden = !html; }
    this.bar.className = `dc-draft ${this.tone ?? ''}`;
    this.bar.style.top = `${this.chart.el.offsetTop + 6}px`;
  }
  bar_html() {
    this.tone = '';
    const button = (name, label, off = false) => `<button type="button" data-do="${name}"${off ? ' disabled' : ''}>${label}</button>`;
    if (this.draft) {
      const line = this.line(this.draft.id);
      if (!line) return '';
      const price = this.draft.price, word = line.short.slice(0, line.short.lastIndexOf(' ')).toLowerCase();
      const shares = `${Number(line.shares).toLocaleString('en-US', {maximumFractionDigits: 8})}${this.here.unit}`;
      const gain = line.average === undefined ? null : this.gain(line, price);
      const means = gain === null ? `${shares} for ${money(Number(line.shares) * price)}` : `${gain < 0 ? 'loses' : 'gains'} ${money(gain)} on ${shares}`;
      const lost = this.old ? '<em>The dashboard does not answer: nothing can be sent.</em>' : '';
      return `<span>Move ${escapeText(word)} ${this.priced(line.price)} → <b>${this.priced(price)}</b> · ${means} ${lost}</span>${button('apply', 'Apply', this.old)}${button('undo', 'Undo')}`;
    }
    if (this.sent) {
      const {state, said, words} = this.sent;
      if (state === 'done') { this.tone = 'good'; return `<span>Done. ${escapeText(said)}</span>`; }
      if (state === 'refused') { this.tone = 'bad'; return `<span>Refused. ${escapeText(said)}</span>${button('dismiss', 'Close')}`; }
      if (state === 'not sent') { this.tone = 'bad'; return `<span>Not sent: ${escapeText(words)}. ${escapeText(said)}</span>${button('again', 'Try again')}${button('dismiss', 'Close')}`; }
      return `<span>Asked: ${escapeText(words)} … ${escapeText(said)}</span>${said.startsWith('No engine') ? button('dismiss', 'Close') : ''}`;
    }
    if (this.old && this.nodes.size) { this.tone = 'old'; return `<span>Our orders as of ${ageWords(this.feed.age())} ago: ${this.feed.lost ? 'the dashboard does not answer' : 'the ledger cannot be read'}.</span>`; }
    return '';
  }
  apply() {
    const draft = this.draft, line = draft && this.line(draft.id);
    if (!line || this.old) return;
    this.draft = null;
    const price = this.text(draft.price), {kind, field, order} = line.command, word = line.short.slice(0, line.short.lastIndexOf(' ')).toLowerCase();
    const wish = {key: draft.key, line: line.id, kind, field, order: order ?? '', account: this.here.account, symbol: this.here.symbol, price};
    this.sent = {key: draft.key, id: line.id, price: draft.price, state: 'queued', said: '', words: `move ${word} to ${this.priced(price)}`, wish, at: performance.now()};
    this.trigger('moved', wish);
    this.show();
  }
  again() { Object.assign(this.sent, {state: 'queued', said: '', at: performance.now()}); this.trigger('moved', {...this.sent.wish, again: this.sent.at}); this.show(); }
  undo() { this.draft = null; this.show(); }
  dismiss() { this.sent = null; this.show(); }
  // By mouse or finger
  movable(event) { const node = event.target.closest?.('.dc-order.movable'); return node && this.line(node.dataset.line) ? node : null; }
  grab(event) {
    const node = this.movable(event);
    if (!node || event.button) return;
    event.preventDefault(); event.stopPropagation();
    node.setPointerCapture(event.pointerId); node.focus({preventScroll: true});
    this.dragging = {id: node.dataset.line, y: event.clientY, by: this.priceAt(event) - this.at(this.line(node.dataset.line)), off: !!node.dataset.off};
    if (this.dragging.off) this.dragging.by = 0;
  }
  priceAt(event) { const ya = this.chart.el._fullLayout.yaxis; return ya.p2l(event.clientY - this.chart.el.getBoundingClientRect().top - ya._offset); }
  drag(event) {
    const drag = this.dragging;
    if (!drag || (!drag.moved && Math.abs(event.clientY - drag.y) < 3)) return;
    drag.moved = true;
    const line = this.line(drag.id);
    if (line) this.move(line, this.priceAt(event) - drag.by);
  }
  drop() { if (this.dragging) { this.dragging = false; this.chart.draw(); } }
  key(event) {
    const node = this.movable(event), line = node && this.line(node.dataset.line), step = {ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10}[event.key];
    if (!line) return;
    if (event.key === 'Enter' && this.draft?.id === line.id) { event.preventDefault(); return this.apply(); }
    if (!step) return;
    event.preventDefault(); event.stopPropagation();
    this.move(line, this.at(line) + step * (event.shiftKey ? 10 : 1) * Number(this.here.tick));
  }
  move(line, to) {
    const price = this.snap(to);
    if (price === Number(line.price)) this.draft = null;
    else if (this.draft?.id === line.id) this.draft.price = price;
    else this.draft = {id: line.id, price, key: newKey()};
    if (this.sent?.over || this.sent?.state === 'not sent') this.sent = null;
    this.show();
  }
  // Room for the labels right of the newest bar, where the viewer has not chosen a range: the range's new end.
  room(layout, width) {
    const lines = this.lines(), {times, base} = this.chart, range = layout.xaxis.range;
    if (!lines.length || !times.length || !range) return range?.[1];
    const longest = Math.max(...lines.map(l => (phone() ? l.short : l.text).length)), px = Math.min(longest * 5.2 + 20, width * 0.4), plot = width - 72;
    const from = moment(String(range[0])), bars = times.filter(t => t >= from).length, step = base.about.bar_s * 1000;
    let end = times.at(-1) + step * (2 + (bars + 2) * px / (plot - px));
    for (const gap of layout.xaxis.rangebreaks ?? []) {
      const [a, b] = (gap.bounds ?? []).map(x => Date.parse(String(x) + 'Z'));
      if (a >= times.at(-1) && a < end) end += b - a;
    }
    return new Date(end).toISOString().slice(0, 19);
  }
  // Where we traded: one more trace behind all others, each mark on its bar
  marks() {
    const fills = this.here && this.here.symbol === this.chart.of?.split(' ')[0] ? this.here.fills : [], base = this.chart.base;
    if (!fills.length || !base) return [];
    const epoch = base.about.epoch, x = base.data[0].x, tail = this.chart.tail.x, out = {x: [], y: [], text: [], symbol: [], color: []};
    for (const fill of fills) {
      const t = fill.ms / 1000;
      if (!epoch.length || t < epoch[0]) continue;
      let lo = 0, hi = epoch.length;
      while (lo < hi) { const mid = (lo + hi) >> 1; if (epoch[mid] <= t) lo = mid + 1; else hi = mid; }
      const on = tail && t >= epoch.at(-1) + base.about.bar_s ? tail : x[lo - 1], buy = fill.side === 'buy';
      out.x.push(on); out.y.push(Number(fill.price)); out.text.push(escapeText(fill.text));
      out.symbol.push(buy ? 'triangle-up' : 'triangle-down'); out.color.push(buy ? base.data[0].increasing.line.color : base.data[0].decreasing.line.color);
    }
    return [{type: 'scatter', mode: 'markers', name: 'our fills', x: out.x, y: out.y, text: out.text, hovertemplate: '%{text}<extra></extra>', showlegend: false,
      marker: {symbol: out.symbol, size: 12, color: out.color, line: {width: 2, color: repainted('#e6edf7')}}}];
  }
  stop() { this.feed?.leave(this.member); }
}
