
const CHARTS = new WeakMap();
let plotlyLoading = null;
const loadPlotly = address => window.Plotly ? Promise.resolve() : (plotlyLoading ??= new Promise((done, fail) => {
  const tag = document.createElement('script');
  tag.src = new URL(address, location.origin).href;
  tag.onload = done;
  tag.onerror = () => { plotlyLoading = null; tag.remove(); fail(new Error('the chart library could not be loaded')); };
  document.head.appendChild(tag);
}));

// Plotly's Python side writes number arrays as {dtype, bdata}; they must be plain arrays before a bar can be appended.
const KINDS = {f8: Float64Array, f4: Float32Array, i1: Int8Array, i2: Int16Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array};
function decoded(value) {
  if (Array.isArray(value)) return value;
  if (!value || typeof value !== 'object') return value;
  if (value.bdata !== undefined) {
    const bytes = Uint8Array.from(atob(value.bdata), c => c.charCodeAt(0));
    return Array.from(new KINDS[value.dtype](bytes.buffer), v => Number.isNaN(v) ? null : v);
  }
  for (const key of Object.keys(value)) value[key] = decoded(value[key]);
  return value;
}
const moment = x => Date.parse(x.length === 10 ? x + 'T00:00:00Z' : x + 'Z');
const fmt = (v, d) => v == null ? '–' : v.toLocaleString('en-US', {minimumFractionDigits: d, maximumFractionDigits: d});
const short = v => v == null ? '–' : v >= 1e9 ? (v / 1e9).toFixed(2) + 'B' : v >= 1e6 ? (v / 1e6).toFixed(2) + 'M' : v >= 1e4 ? (v / 1e3).toFixed(1) + 'K' : String(Math.round(v * 100) / 100);
const phone = () => window.matchMedia('(max-width: 640px)').matches;

class Chart {
  constructor(root) {
    Object.assign(this, {root, el: root.querySelector('.dc-plot'), read: root.querySelector('.dc-read'), veil: root.querySelector('.dc-veil'),
      rev: '', base: null, tail: {}, tailText: '', status: null, userRange: null, busy: Promise.resolve(), drawn: false, held: false, wheelAt: 0, updates: 0, at: null});
    this.line = document.createElement('div'); this.line.className = 'dc-last'; this.line.hidden = true;
    this.el.after(this.line);
    this.orders = new OrderLines(this);
    this.cursor = new BarCursor(this);
    // While a mouse drags nothing is redrawn under it. A finger scrolls the page instead and may never send its "up".
    this.onUp = () => { if (this.held) { this.held = false; this.draw(); } };
    this.el.addEventListener('pointerdown', e => { this.held = e.pointerType === 'mouse'; });
    for (const ended of ['pointerup', 'pointercancel', 'blur']) window.addEventListener(ended, this.onUp);
    this.el.addEventListener('wheel', () => { this.wheelAt = performance.now(); }, {passive: true});
    this.el.addEventListener('pointermove', e => this.point(e));
    this.el.addEventListener('pointerleave', () => { this.at = this.pointer = null; this.readOut(); });
    this.resize = new ResizeObserver(() => { if (this.drawn) this.draw(true); });
    this.resize.observe(root);
    this.onTheme = () => { this.rev = ''; this.poller?.now(); };  // the whole figure anew, in the other colours
    window.addEventListener('desk-theme', this.onTheme);
  }
  address() {
    const query = new URLSearchParams({...this.data.query, rev: this.rev});
    return `${new URL(this.data.chart, location.origin).href}?${query}`;
  }
  ask(data, trigger) {
    const before = this.data;
    this.data = data;
    this.orders.ask(data, trigger);
    if (!this.poller) this.poller = new Poller(() => this.address(), body => this.take(body), () => this.beat());
    else if (JSON.stringify(before.query) !== JSON.stringify(data.query)) this.poller.now();
    if (before && before.height !== data.height) this.draw(true);
  }
  async take(body) {
    this.status = body.status;
    if (body.base) { this.adopt(body.base, body.rev); this.of = body.of; this.origin = body.status; }
    const text = JSON.stringify(body.tail);
    if (!body.base && text === this.tailText) return;
    this.tail = body.tail; this.tailText = text;
    await this.draw();
  }
  adopt(base, rev) {
    const key = base.layout.uirevision;
    if (key !== this.key) { this.userRange = null; this.key = key; }
    base.data = repainted(base.data); base.layout = repainted(base.layout);
    base.data.forEach(decoded);
    for (let at = 0; at < base.about.on_every_bar; at++) base.data[at].x = base.about.times;
    this.base = base; this.rev = rev;
    this.times = base.data[0].x.map(moment);
  }
  traces() {
    const {data, about} = this.base, t = this.tail;
    if (!t.x) return data.map(trace => ({...trace}));
    const [o, h, l, c, v] = t.bar;
    const replace = t.x === data[0].x.at(-1);
    const put = (list, value) => [...(replace ? list.slice(0, -1) : list), value];
    const out = data.map(trace => ({...trace}));
    Object.assign(out[0], {x: put(data[0].x, t.x), open: put(data[0].open, o), high: put(data[0].high, h), low: put(data[0].low, l), close: put(data[0].close, c)});
    const rise = c >= o ? data[0].increasing.line.color : data[0].decreasing.line.color;
    Object.assign(out[1], {x: put(data[1].x, t.x), y: put(data[1].y, v), marker: {...data[1].marker, color: put(data[1].marker.color, rise + '73')}});
    for (const [name, value] of Object.entries(t.lines)) {
      const at = about.lines[name];
      if (at !== undefined) Object.assign(out[at], {x: put(data[at].x, t.x), y: put(data[at].y, value)});
    }
    return out;
  }
  draw(force = false) {
    this.busy = this.busy.then(() => this.redraw(force)).catch(error => { console.error(error); this.say(String(error.message ?? error), 'bad'); });
    return this.busy;
  }
  async redraw(force) {
    if (!this.base || !this.el.isConnected) return;
    if (!force && (this.held || this.orders.dragging || performance.now() - this.wheelAt < 250)) return;
    await loadPlotly(this.data.plotly);
    const traces = [...this.traces(), ...this.orders.marks()], layout = structuredClone(this.base.layout);
    layout.height = this.data.height - 30; layout.width = this.root.clientWidth; layout.autosize = false;
    if (this.userRange) layout.xaxis.range = [...this.userRange];
    else if (phone() && this.times.length) layout.xaxis.range = [this.base.data[0].x[Math.max(0, this.times.length - 55)], layout.xaxis.range?.[1]];
    if (!this.userRange && layout.xaxis.range) layout.xaxis.range = [layout.xaxis.range[0], this.orders.room(layout, layout.width)];
    if (!window.matchMedia('(pointer: fine)').matches) layout.dragmode = false;
    if (phone()) layout.showlegend = false;
    if (phone()) for (const note of layout.annotations ?? []) if (note.text.length > 46) note.text = note.text.replaceAll('<br>', ' ').replace(/(.{1,44})(?: |$)/g, '$1<br>');
    for (const note of layout.annotations ?? []) if (note.font?.size === 64) note.font.size = Math.min(64, this.root.clientWidth / 9);
    this.shown = traces;
    this.fit(layout, traces);
    const config = {scrollZoom: true, displaylogo: false, doubleClick: false, responsive: false, displayModeBar: phone() ? false : 'hover',
      modeBarButtons: [['pan2d', 'zoom2d', 'zoomIn2d', 'zoomOut2d']], showSendToCloud: false, plotlyServerURL: ''};  // nothing leaves this machine
    if (!this.drawn) {
      await Plotly.newPlot(this.el, traces, layout, config);
      this.drawn = true; this.root.dataset.mounts = 1 + Number(this.root.dataset.mounts ?? 0);
      this.el.on('plotly_relayout', e => this.moved(e));
      this.el.on('plotly_relayouting', () => this.placeLast());
      this.el.on('plotly_doubleclick', () => { this.userRange = null; this.draw(true); });
    } else await Plotly.react(this.el, traces, layout, config);
    this.root.dataset.updates = ++this.updates;
    this.placeLast();
    if (this.pointer) this.point(this.pointer); else this.readOut(); this.beat();
  }
  moved(event) {
    const from = event['xaxis.range[0]'] ?? event['xaxis.range']?.[0], to = event['xaxis.range[1]'] ?? event['xaxis.range']?.[1];
    if (from === undefined) return;
    this.userRange = [from, to];
    clearTimeout(this.refit); this.refit = setTimeout(() => this.draw(true), 30);
  }
  fit(layout, traces) {
    const range = layout.xaxis.range;
    if (!range) return;
    const [from, to] = range.map(x => typeof x === 'number' ? x : moment(String(x).replace(' ', 'T').slice(0, 19)));
    const {x, low, high} = traces[0], volume = traces[1].y;
    let lo = Infinity, hi = -Infinity, most = 0;
    for (let i = 0; i < x.length; i++) {
      const t = i < this.times.length ? this.times[i] : moment(x[i]);
      if (t < from || t > to) continue;
      if (low[i] < lo) lo = low[i];
      if (high[i] > hi) hi = high[i];
      if (volume[i] > most) most = volume[i];
    }
    if (hi < lo) return;
    const room = (hi - lo || hi * 0.01) * 0.09;
    layout.yaxis.range = [lo - room, hi + room]; layout.yaxis.autorange = false;
    layout.yaxis.tickformat = `,.${this.base.about.decimals}f`;
    layout.yaxis2.range = [0, most * 1.1 || 1]; layout.yaxis2.autorange = false;
  }
  placeLast() {
    this.orders.show(); this.cursor.show();
    const full = this.el._fullLayout, close = this.shown?.[0].close;
    if (!full?.yaxis || !close?.length) { this.line.hidden = true; return; }
    const price = close.at(-1), open = this.shown[0].open.at(-1), ya = full.yaxis, [a, b] = ya.range;
    this.line.hidden = price < Math.min(a, b) || price > Math.max(a, b);
    this.line.style.top = `${this.el.offsetTop + ya._offset + ya.l2p(price)}px`;
    this.line.style.setProperty('--c', price >= open ? this.base.data[0].increasing.line.color : this.base.data[0].decreasing.line.color);
    const text = fmt(price, this.base.about.decimals);
    if (this.line.dataset.text !== text) { this.line.dataset.text = text; this.line.innerHTML = `<i></i><span>${text}</span>`; }
  }
  point(event) {
    this.pointer = {clientX: event.clientX};
    const full = this.el._fullLayout, xa = full?.xaxis;
    if (!xa || !this.shown) return;
    const px = event.clientX - this.el.getBoundingClientRect().left - xa._offset;
    if (px < 0 || px > xa._length) { this.at = null; return this.readOut(); }
    const t = xa.p2l(px), times = this.times;
    let lo = 0, hi = times.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (times[mid] < t) lo = mid + 1; else hi = mid; }
    this.at = lo > 0 && (lo === times.length || t - times[lo - 1] < times[lo] - t) ? lo - 1 : lo;
    if (this.at === times.length - 1 && this.shown[0].x.length > times.length && t - times.at(-1) > this.base.about.bar_s * 500) this.at++;
    this.readOut();
  }
  readOut() {
    if (!this.shown) return;
    const {x, open, high, low, close} = this.shown[0], at = Math.min(this.at ?? this.cursor.at() ?? x.length - 1, x.length - 1);
    if (at < 0) { this.read.textContent = ''; return; }
    const d = this.base.about.decimals, before = at > 0 ? close[at - 1] : open[at], change = (close[at] / before - 1) * 100;
    const forming = at === x.length - 1 && this.tail.x ? '<em>forming</em>' : '';
    const cell = (k, v) => `<span><small>${k}</small>${v}</span>`;
    const move = `<span class="${change > 0 ? 'up' : change < 0 ? 'down' : ''}">${change > 0 ? '▲ +' : change < 0 ? '▼ −' : '■ '}${Math.abs(change).toFixed(2)} %</span>`;
    const html = this.originTag() + `<b>${escapeText(this.of.split(' ')[0])}</b><span>${escapeText(this.of.split(' ')[1])}</span><span class="dc-when">${escapeText(x[at].replace('T', ' ').slice(0, 16))} ${escapeText(this.base.about.zone)}</span>` +
      cell('O', fmt(open[at], d)) + cell('H', fmt(high[at], d)) + cell('L', fmt(low[at], d)) + cell('C', fmt(close[at], d)) + cell('V', short(this.shown[1].y[at])) + move + forming;
    const lines = Object.entries(this.base.about.lines).map(([name, i]) => {
      const words = this.base.about.words?.[name], bar = words ? Math.min(at, this.times.length - 1) : at;  // a model speaks of closed bars
      const value = this.shown[i]?.y[bar], colour = this.base.data[i].line?.color ?? this.base.data[i].marker?.color;
      const verb = words && this.shown[i]?.text?.[bar];
      if (words) return value == null || !verb ? '' : `<span style="color:${escapeText(colour)}">${escapeText(words[0] + verb + words[1])}</span>`;
      return value == null ? '' : `<span style="color:${escapeText(colour)}">${escapeText(name)} ${Math.abs(value) >= 1e5 ? short(value) : fmt(value, Math.abs(value) < 1 ? 4 : 2)}</span>`;
    }).join('');
    if (!this.readText) {
      this.read.innerHTML = '<div><div class="dc-values"></div><div class="dc-lines"></div></div><button type="button" class="dc-csv" title="The closed candles now in view, as CSV">Download CSV</button>';
      this.read.querySelector('.dc-csv').onclick = () => this.download();
    }
    if (lines !== this.linesText) { this.read.querySelector('.dc-lines').innerHTML = lines; this.linesText = lines; }
    if (html !== this.readText) { this.read.querySelector('.dc-values').innerHTML = html; this.readText = html; }
    this.root.style.setProperty('--up', this.base.data[0].increasing.line.color); this.root.style.setProperty('--down', this.base.data[0].decreasing.line.color);
  }
  originTag() {
    const s = this.origin;
    if (!s) return '';
    if (s.simulated) return '<span class="dc-tag sim">SIMULATED</span>';
    if (!s.live) return `<span class="dc-tag file" title="These candles come from your own files or the kept ones; nothing moves.">NOT LIVE · ends ${escapeText((s.last_bar ?? '').slice(0, 10))}</span>`;
    return s.delayed_s > 0 ? `<span class="dc-tag file">DELAYED ${ageWords(s.delayed_s)}</span>` : '';
  }
  download() {
    const range = this.el._fullLayout.xaxis.range.map(x => moment(String(x).replace(' ', 'T').slice(0, 19)));
    const {open, high, low, close} = this.base.data[0], volume = this.base.data[1].y, [symbol, tf] = this.of.split(' ');
    const source = (this.origin?.sources ?? []).join('+') || 'unknown';
    const rows = ['time,open,high,low,close,volume,source'];
    this.times.forEach((t, i) => { if (t >= range[0] && t <= range[1]) rows.push([new Date(this.base.about.epoch[i] * 1000).toISOString(), open[i], high[i], low[i], close[i], volume[i], source].join(',')); });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([rows.join('\n') + '\n'], {type: 'text/csv'}));
    link.download = `${symbol}_${tf}${this.origin?.simulated ? '_SIMULATED' : ''}.csv`;
    link.click(); URL.revokeObjectURL(link.href);
  }
  say(text, tone) {
    const shown = `${tone}|${text}`;
    if (this.said === shown) return;
    this.said = shown;
    this.veil.className = `dc-veil ${tone} ${this.drawn ? 'over' : 'whole'}`;
    this.veil.textContent = text;
    this.veil.hidden = !text;
  }
  beat() {
    const t = trust(this.poller, this.status);
    this.root.classList.toggle('stale', t.tone === 'bad');
    this.root.dataset.trust = t.word;
    const {symbol, tf} = this.data.query, wanted = `${symbol} ${tf}`, other = this.of !== undefined && this.of !== wanted;
    this.root.classList.toggle('other', other);  // what is drawn is not what was asked for: never let the one pass for the other
    if (this.poller.problem && (other || !this.drawn)) this.say(`${this.poller.problem} ${this.poller.cure}`, 'bad');
    else if (other || !this.drawn) this.say(this.poller.failedSince && t.tone === 'bad' ? `STALE · ${t.why}` : this.poller.waiting || `Loading ${wanted} …`, 'dim');
    else if (this.poller.problem) this.say(`${t.word} · ${this.poller.problem} ${this.poller.cure}`, 'bad');
    else if (t.tone === 'bad') this.say(`STALE · ${t.why}`, 'bad');
    else if (this.base && !this.times.length) this.say(`No ${tf} candles of ${symbol} yet.`, 'dim');
    else this.say('', 'dim');
    this.el.setAttribute('aria-label', `${symbol} ${tf} candlestick chart, ${t.word}`);
  }
  stop() {
    window.removeEventListener('desk-theme', this.onTheme); this.poller?.stop(); this.orders.stop(); this.resize.disconnect(); clearTimeout(this.refit);
    for (const ended of ['pointerup', 'pointercancel', 'blur']) window.removeEventListener(ended, this.onUp);
    if (window.Plotly) Plotly.purge(this.el);
  }
}

export default function ({data, parentElement, setTriggerValue}) {
  const root = parentElement.querySelector('.dc');
  let chart = CHARTS.get(root);
  if (!chart) { chart = new Chart(root); CHARTS.set(root, chart); }
  root.style.minHeight = `${data.height}px`;
  chart.ask(data, setTriggerValue);
  return () => { chart.stop(); CHARTS.delete(root); };
}
