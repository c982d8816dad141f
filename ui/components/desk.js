const BARS = new WeakMap();
const row = (name, value, tone = '') => `<div><dt>${name}</dt><dd class="${tone}">${value}</dd></div>`;
const tone = text => text?.startsWith('▲') ? 'up' : text?.startsWith('▼') ? 'down' : '';

// Whose money it is decides the colour; what does not call itself something else is paper only where it is not real.
function modeOf(s) { return s.desk.real_money ? 'live' : s.desk.tone === 'rehearsal' ? 'rehearsal' : 'paper'; }
// Trading is enabled for entries only where the desk is armed as well: a green word must not stand beside "no entries".
function tradingPill(s) {
  const t = s.trading, instead = t.state === 'enabled' ? s.banner?.pill : '';
  return instead ? ['warn', instead] : [tradingTone(t), t.words];
}
function tradingTone(t) { return t.state === 'enabled' ? 'good' : t.stopped || t.state === 'disabled' ? 'bad' : 'warn'; }

// What must not be overlooked, worst first: [tone, sentence, button, what a phone has no room for].
function alarms(feed) {
  const s = feed.state, out = [];
  if (feed.lost) out.push(['bad', feed.lostWords()]);
  if (!s) return out;
  const e = feed.engine(), t = s.trading, a = s.account;
  if (s.trouble) out.push(['bad', `${s.trouble} Nothing is traded.`]);
  if (e.silent) {
    const heard = e.age == null ? 'No engine has run here yet.' : `The engine was last heard ${ageWords(e.age)} ago.`;
    out.push(['bad', `NO ENGINE: orders wait, and nobody watches the stops. ${heard}${e.queued ? ` ${e.queued} waiting.` : ''}`]);
  }
  if (t.stopped && !s.trouble) out.push(['bad', `${t.words}${t.since ? ` since ${t.since}` : ''}${t.by ? ` by ${t.by}` : ''}${t.why ? `: ${t.why}` : ''}.`, ['arm', 'Re-arm…'], t.means]);
  if (a?.breaker) out.push(['bad', `Daily loss limit of ${a.name}: ${a.breaker}. New entries are refused.`]);
  if (!e.silent) {
    for (const one of s.notices ?? []) out.push([`${one.tone} ${one.size}`, one.said, one.go && !there(one.go) ? [`go ${one.go}`, one.button] : null]);
    if (e.flatten_estimate && e.waiting_flatten) out.push(['warn', `Flattening: ${e.flatten_estimate}.`]);
    for (const said of e.problems.slice(0, 3)) out.push([said.startsWith('UNPROTECTED') ? 'bad' : 'warn', said]);
    if (e.problems.length > 3) out.push(['warn', `And ${e.problems.length - 3} more.`]);
  }
  return out;
}

function engineLine(feed) {
  const e = feed.engine();
  if (!e) return '';
  if (e.silent) return `<p class="dk-engine bad"><b>NO ENGINE: orders wait</b>${e.age == null ? '' : ` · heard ${ageWords(e.age)} ago`}</p>`;
  return `<p class="dk-engine ${e.state === 'unknown' ? 'bad' : e.saying === 'ready' ? 'good' : 'warn'}">${escapeText(e.words)}</p>`;
}

function etradeLine(feed) {
  const t = feed.state?.etrade;
  return !t || feed.engine()?.silent ? '' : `<p class="dk-engine ${t.tone}">${escapeText(t.words)}</p>`;
}

function side(feed) {
  const s = feed.state;
  if (!s) return `<div class="dk-mode">Desk</div><p class="dk-dim">${feed.lost ? escapeText(feed.lostWords()) : 'Asking the desk …'}</p>`;
  const a = s.account, t = s.trading, pill = tradingPill(s), [word, ...rest] = s.desk.words.split(' · ');
  const parts = [`<div class="dk-mode ${modeOf(s)}"><b>${escapeText(word)}</b>${rest.length ? ' ' + escapeText(rest.join(' · ')) : ''}</div>`];
  if (feed.lost) parts.push(`<p class="dk-engine bad"><b>STALE ${ageWords(feed.age())}</b></p>`);
  if (a) {
    const missing = a.without_price.length ? `No price for ${escapeText(a.without_price.join(', '))}` : '';
    parts.push(`<div class="dk-money"><small>Equity${s.accounts.length > 1 ? ' · ' + escapeText(a.name) : ''}</small><b>${a.equity ?? '–'}</b>` +
      (a.day == null ? `<span class="dk-dim">${missing || 'today: not known yet'}</span>` : `<span class="${tone(a.day)}" title="Since the exchange's day began">${a.day}${a.day_pct ? ` <i>${a.day_pct}</i>` : ''} today</span>`) + '</div>');
    parts.push('<dl>' + row('Open P/L', a.open ?? '–', tone(a.open)) + row('Cash', a.cash) + row('Exposure', a.exposure_pct ?? '–') + row('Open orders', a.open_orders) +
      row('Trading', `<span class="dk-pill ${pill[0]}" title="${escapeText(t.why)}">${escapeText(pill[1])}</span>`) + '</dl>');
    if (a.without_stop.length) parts.push(`<p class="dk-note"><b>NO STOP</b> ${escapeText(a.without_stop.join(', '))}</p>`);
  } else parts.push('<dl>' + row('Trading', `<span class="dk-pill ${pill[0]}">${escapeText(pill[1])}</span>`) + '</dl>', s.trouble ? '' : '<p class="dk-dim">No account yet: the engine opens it.</p>');
  return parts.join('') + engineLine(feed) + etradeLine(feed) + (t.stopped ? '<button type="button" class="dk-press" data-press="arm">Re-arm…</button>' : '');
}

// A button that leads to where one is already is left out.
const there = go => location.pathname.endsWith('/positions') ? go === 'positions' : new URLSearchParams(location.search).get('tab') === go;

// The line that never leaves a desk whose orders go to a broker: one row of a fixed height, whatever it says.
function banner(feed, bar) {
  const b = feed.state?.banner ?? bar.data.first;
  if (!b) return '';
  bar.root.className = `dk dk-banner ${b.tone} ${b.armed ? 'armed' : ''}`;
  const who = [b.money, b.account].filter(Boolean).map(text => `<span>${escapeText(text)}</span>`).join('');
  const note = feed.lost ? 'not heard from' : b.note;
  return `<b>${escapeText(b.word)}</b>${who}<b class="dk-armed">${escapeText(b.state)}</b>${note ? `<span class="dk-means">${escapeText(note)}</span>` : ''}` +
    (b.go && !there(b.go) ? `<button type="button" class="dk-press" data-press="go ${escapeText(b.go)}">Arm…</button>` : '');
}

function strip(feed, bar) {
  const s = feed.state, told = alarms(feed);
  const banner = told.map(([tone, said, button, more]) => `<div class="dk-alarm ${tone}"><span>${escapeText(said)}${more ? ` <span class="dk-more">${escapeText(more)}</span>` : ''}</span>${button ? `<button type="button" class="dk-press" data-press="${button[0]}">${button[1]}</button>` : ''}</div>`).join('');
  if (bar.alarms.dataset.html !== banner) { bar.alarms.dataset.html = banner; bar.alarms.innerHTML = banner; }
  bar.root.classList.toggle('calm', !banner);
  if (!s) return '';
  const a = s.account, e = feed.engine(), word = s.desk.words.split(' · ')[0];
  const day = a?.day_pct ? `<span class="${tone(a.day)}">${a.day[0]} ${a.day_pct}</span>` : '';
  const state = e.silent ? ['bad', 'NO ENGINE'] : tradingPill(s);
  return `${s.banner ? '' : `<span class="dk-mode ${modeOf(s)}"><b>${escapeText(word)}</b></span>`}<b class="dk-equity">${a?.equity ?? '–'}</b>${day}` +
    `<span class="dk-orders">${a ? `${a.open_orders} ${a.open_orders === 1 ? 'order' : 'orders'}` : ''}</span><span class="dk-pill ${state[0]}">${escapeText(state[1])}</span>` +
    (bar.data.stops ? '<button type="button" class="dk-press stop" data-press="stop" aria-label="Stop trading">Stop</button>' : '');
}

// The line above the page is for where the sidebar is away: folded on this screen, or on every phone.
// While a page is being opened on a wide screen it is not there yet, and that is not away.
const sidebarAway = () => { const box = document.querySelector('.dk-side')?.getBoundingClientRect(); return box?.width ? box.right < 60 || box.width < 60 : window.matchMedia('(max-width: 768px)').matches || document.querySelector('.stSidebar')?.getAttribute('aria-expanded') === 'false'; };

function draw(bar) {
  if (bar.data.form === 'strip') bar.root.classList.toggle('away', sidebarAway());
  const feed = bar.feed, html = (bar.data.form === 'side' ? side : bar.data.form === 'banner' ? banner : strip)(feed, bar);
  if (html !== bar.html) { bar.html = html; bar.body.innerHTML = html; }
  bar.root.classList.toggle('stale', feed.lost || !!feed.engine()?.silent);
  bar.root.dataset.answers = feed.state ? 'yes' : '';
}

export default function ({data, parentElement, setTriggerValue}) {
  const root = parentElement.querySelector('.dk');
  let bar = BARS.get(root);
  if (!bar) {
    root.innerHTML = (data.form !== 'strip' ? '<div></div>' : '<div class="dk-alarms" role="alert"></div>') + '<div class="dk-body"></div>';
    bar = {root, alarms: root.firstChild, body: root.lastChild, html: ''};
    BARS.set(root, bar);
    root.addEventListener('click', event => { const press = event.target.closest('[data-press]'); if (press) bar.trigger('pressed', press.dataset.press); });
    bar.data = data;
    bar.member = {wants: () => ({desk: bar.data.desk, account: bar.data.account}), onAnswer: () => draw(bar), onBeat: () => draw(bar)};
    bar.feed = DeskFeed.join(bar.member, data.told);
  }
  const other = bar.data.account !== data.account;
  bar.data = data; bar.trigger = setTriggerValue;
  root.classList.add(`dk-${data.form}`);
  root.style.setProperty('--up', data.up); root.style.setProperty('--down', data.down);
  draw(bar);
  if (other) bar.feed.now();
  return () => { bar.feed.leave(bar.member); BARS.delete(root); };
}
