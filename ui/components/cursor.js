
// The chart by keyboard: a cursor on one bar, moved by the arrows and read out. It is kept by its bar's time, so that it
// stays where it is while new bars come.
const HINT = 'Left and right arrows move from bar to bar, with Shift by ten, Home and End to the ends. Plus and minus zoom, 0 shows the newest bars again, Escape leaves the bar.';

class BarCursor {
  constructor(chart) {
    Object.assign(this, {chart, time: null});
    this.line = document.createElement('div'); this.line.className = 'dc-at'; this.line.hidden = true;
    this.spoken = document.createElement('div'); this.spoken.className = 'dc-spoken'; this.spoken.setAttribute('aria-live', 'polite');
    this.hint = document.createElement('div'); this.hint.className = 'dc-spoken'; this.hint.textContent = HINT; this.hint.id = `dc-hint-${Math.random().toString(36).slice(2)}`;
    chart.el.after(this.line, this.spoken, this.hint);
    const told = {tabindex: 0, role: 'application', 'aria-roledescription': 'candlestick chart', 'aria-describedby': this.hint.id};
    for (const [name, value] of Object.entries(told)) chart.el.setAttribute(name, value);
    chart.el.addEventListener('keydown', event => this.key(event));
    chart.el.addEventListener('blur', () => this.leave());
  }
  // The bar's place among those drawn; null where there is no cursor, or its bar is gone.
  at() {
    if (this.time === null || !this.chart.shown) return null;
    const found = this.chart.shown[0].x.lastIndexOf(this.time);
    return found < 0 ? null : found;
  }
  leave() { this.time = null; this.show(); this.chart.readOut(); }
  key(event) {
    const chart = this.chart;
    if (!chart.shown || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = chart.shown[0].x.length - 1, now = this.at(), step = event.shiftKey ? 10 : 1;
    const to = {ArrowLeft: (now ?? last + 1) - step, ArrowRight: (now ?? last) + step, Home: this.inView()[0], End: this.inView()[1]}[event.key];
    const factor = {'+': 1 / 1.5, '=': 1 / 1.5, '-': 1.5}[event.key];
    if (to === undefined && !factor && event.key !== '0' && event.key !== 'Escape') return;
    if (event.key === 'Escape' && this.time === null) return;
    event.preventDefault(); event.stopPropagation();
    if (event.key === 'Escape') this.leave();
    else if (event.key === '0') { chart.userRange = null; chart.draw(true); }
    else if (factor) this.zoom(factor);
    else this.move(Math.max(0, Math.min(last, to)));
  }
  move(to) {
    const chart = this.chart;
    this.time = chart.shown[0].x[to];
    const [from, until] = chart.el._fullLayout.xaxis.range.map(x => moment(String(x).replace(' ', 'T').slice(0, 19))), t = moment(this.time);
    if (t < from || t > until) {  // the view follows
      const by = t < from ? t - from - (until - from) * 0.1 : t - until + (until - from) * 0.1;
      this.view(from + by, until + by);
    } else { this.show(); chart.readOut(); }
    this.spoken.textContent = this.words(to);
  }
  zoom(factor) {
    const [from, until] = this.chart.el._fullLayout.xaxis.range.map(x => moment(String(x).replace(' ', 'T').slice(0, 19)));
    const around = this.time === null ? until : moment(this.time);
    this.view(around - (around - from) * factor, around + (until - around) * factor);
  }
  view(from, until) {
    const {times} = this.chart;
    if (until - from < 10 * this.chart.base.about.bar_s * 1000 || times.length < 2) return;
    this.chart.userRange = [from, until].map(t => new Date(t).toISOString().slice(0, 19));
    this.chart.draw(true);
  }
  inView() {
    const range = this.chart.el._fullLayout.xaxis.range.map(x => moment(String(x).replace(' ', 'T').slice(0, 19))), x = this.chart.shown[0].x.map(moment);
    const first = x.findIndex(t => t >= range[0]), last = x.findLastIndex(t => t <= range[1]);
    return [Math.max(0, first), last < 0 ? x.length - 1 : last];
  }
  words(at) {
    const {shown, base, tail} = this.chart, {x, open, high, low, close} = shown[0], d = base.about.decimals;
    const before = at > 0 ? close[at - 1] : open[at], change = (close[at] / before - 1) * 100;
    const marks = shown.find(trace => trace.name === 'patterns'), named = [];
    marks?.x.forEach((t, i) => { if (t === x[at]) named.push(String(marks.text[i]).replaceAll('<br>', ' ')); });
    const forming = at === x.length - 1 && tail.x ? ', still forming' : '';
    return `${x[at].replace('T', ' ').slice(0, 16)} ${base.about.zone}${forming}: close ${fmt(close[at], d)}, ${change > 0 ? 'up' : change < 0 ? 'down' : 'unchanged,'} ${Math.abs(change).toFixed(2)} percent. ` +
      `Open ${fmt(open[at], d)}, high ${fmt(high[at], d)}, low ${fmt(low[at], d)}, volume ${short(shown[1].y[at])}. ${named.join(' ')}`;
  }
  show() {
    const {el, shown} = this.chart, full = el._fullLayout, at = this.at();
    this.line.hidden = at === null || !full?.xaxis;
    if (this.line.hidden) return;
    const px = full.xaxis.d2p(shown[0].x[at]);
    this.line.hidden = px < 0 || px > full.xaxis._length;
    Object.assign(this.line.style, {left: `${el.offsetLeft + full.xaxis._offset + px}px`, top: `${el.offsetTop + full.yaxis._offset}px`, height: `${full.yaxis._length}px`});
  }
}
