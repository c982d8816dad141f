// Ask an address again and again, and know the age of the last good answer by the browser's own clock.
const PACE_MS = 1000, GIVE_UP_MS = 4000;

class Poller {
  constructor(address, onAnswer, onBeat) {
    this.address = address; this.onAnswer = onAnswer; this.onBeat = onBeat;
    this.answered = null; this.told = null; this.waiting = ''; this.problem = ''; this.cure = ''; this.askedWrong = false; this.failedSince = null; this.stopped = false; this.turn = 0;
    this.timer = setInterval(() => this.onBeat(this), 500);
    this.onVisible = () => { if (!document.hidden) this.now(); };
    document.addEventListener('visibilitychange', this.onVisible);
    this.now();
  }
  now() { clearTimeout(this.next); this.ask(++this.turn); }
  async ask(turn) {
    if (this.stopped) return;
    const began = performance.now();
    try {
      const reply = await fetch(this.address(), {signal: AbortSignal.timeout(GIVE_UP_MS), cache: 'no-store'});
      const body = await reply.json();
      if (this.stopped || turn !== this.turn) return;
      this.waiting = body.waiting ?? '';
      if (body.waiting) { this.problem = ''; this.failedSince = null; this.answered = performance.now(); }
      else if (body.problem) { this.problem = body.problem; this.cure = body.cure ?? ''; this.askedWrong = !!body.asked_wrong; this.failedSince ??= began; }
      else { this.problem = ''; this.failedSince = null; this.answered = this.told = performance.now(); await this.onAnswer(body); }
    } catch (error) {
      if (this.stopped || turn !== this.turn) return;
      this.failedSince ??= began;
    }
    this.onBeat(this);
    if (turn === this.turn) this.next = setTimeout(() => this.ask(++this.turn), Math.max(50, PACE_MS - (performance.now() - began)));
  }
  silence() { return this.answered === null ? null : (performance.now() - this.answered) / 1000; }
  sinceTold() { return this.told === null ? 0 : (performance.now() - this.told) / 1000; }
  stop() { this.stopped = true; clearInterval(this.timer); clearTimeout(this.next); document.removeEventListener('visibilitychange', this.onVisible); }
}

const ageWords = s => s < 60 ? `${Math.round(s)} s` : s < 3600 ? `${Math.round(s / 60)} min` : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;

// One word for how far a reader may trust the newest price, and a sentence that says why.
function trust(poller, status) {
  const silence = poller.silence();
  if (poller.problem && poller.askedWrong) return {word: 'CANNOT SHOW', tone: 'bad', why: poller.problem, age: null};
  if (poller.failedSince !== null && (silence === null || silence > 3))
    return {word: 'STALE', tone: 'bad', why: poller.problem || `The dashboard has not answered for ${ageWords(silence ?? (performance.now() - poller.failedSince) / 1000)}: prices are frozen. Trying again.`, age: silence};
  if (!status) return {word: 'LOADING', tone: 'dim', why: 'Waiting for the first answer.'};
  if (!status.live) return {word: 'NOT LIVE', tone: 'dim', why: 'These candles come from files; nothing moves.'};
  if (status.age_s === null) return status.error
    ? {word: 'STALE', tone: 'bad', why: `No price yet: ${status.error}`}
    : {word: 'LOADING', tone: 'dim', why: 'Waiting for the first price.'};
  const age = status.age_s + poller.sinceTold();
  if (age > status.stale_after_s) return {word: 'STALE', tone: 'bad', age, why: `The newest price came ${ageWords(age)} ago. ${status.error || ''}`};
  const traded = (status.traded_s ?? 0) + poller.sinceTold();
  if (status.phase !== 'closed' && traded > status.quiet_after_s) return {word: `NO TRADE FOR ${ageWords(traded).toUpperCase()}`, tone: 'warn', age: traded, why: `The source answers, but its newest trade is ${ageWords(traded)} old.`};
  if (status.phase === 'closed') return {word: 'CLOSED', tone: 'dim', age, why: 'The market is closed: this is the last trade.'};
  if (status.delayed_s > 0) return {word: 'DELAYED', tone: 'warn', age, why: `This source runs ${ageWords(status.delayed_s)} behind the market.`};
  return {word: 'LIVE', tone: 'good', age, why: `The newest price came ${ageWords(age)} ago.`};
}
const ESCAPES = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'};
const escapeText = text => String(text ?? '').replace(/[&<>"']/g, c => ESCAPES[c]);

// Figures come in the colours of the dark theme (ui/theme.py); for a reader of the light one each is put in its place.
const worn = () => document.documentElement.dataset.theme ?? 'dark';
const triple = hex => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)).join(',');
const LIGHT_TRIPLES = Object.fromEntries(Object.entries(LIGHT_INKS).map(([dark, light]) => [triple(dark), triple(light)]));
function inked(text) {
  if (text[0] === '#') return text.length === 7 ? LIGHT_INKS[text.toLowerCase()] ?? text : text.length === 9 ? inked(text.slice(0, 7)) + text.slice(7) : text;
  const found = /^rgba\(\s*(\d+),\s*(\d+),\s*(\d+),(.*)$/.exec(text), light = found && LIGHT_TRIPLES[found.slice(1, 4).join(',')];
  return light ? `rgba(${light},${found[4]}` : text;
}
function repainted(value) {
  if (worn() === 'dark' || value === null) return value;
  if (typeof value === 'string') return value[0] === '#' || value.startsWith('rgba(') ? inked(value) : value;
  if (Array.isArray(value)) return value.length && typeof value[0] === 'number' && typeof value.at(-1) === 'number' ? value : value.map(repainted);
  if (typeof value !== 'object' || value.bdata !== undefined) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, repainted(part)]));
}
