
const STRIPS = new WeakMap();
const CLOCK = new Intl.DateTimeFormat('en-GB', {weekday: 'short', day: '2-digit', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false, timeZone: 'America/New_York'});

function badge(text, tone, title) { return `<span class="dt-badge ${tone}" title="${escapeText(title)}">${escapeText(text)}</span>`; }

function drawBar(strip) {
  const s = strip.status, t = trust(strip.poller, s);
  const parts = [];
  if (s?.simulated) parts.push(badge('SIMULATED', 'sim', 'These prices are made up. No real market is shown.'));
  const age = t.word === 'STALE' && t.age != null ? ` ${ageWords(t.age)}` : t.word === 'DELAYED' ? ` ${ageWords(s.delayed_s)}` : '';
  parts.push(badge(t.word + age, t.tone, t.why));
  if (t.age != null && t.tone !== 'bad') parts.push(`<span class="dt-age" title="Worked out in this browser">price ${ageWords(t.age)} old</span>`);
  if (s) {
    const open = s.phase === 'open';
    parts.push(`<span class="dt-badge ${open ? 'open' : 'dim'}">MARKET ${escapeText(s.phase.toUpperCase())} · ${escapeText(s.next)}</span>`);
    const now = new Date(s.now_ms + strip.poller.sinceTold() * 1000);
    const told = escapeText(s.source + (s.clock_note ? ' · ' + s.clock_note : ''));
    parts.push(`<span class="dt-clock">${escapeText(CLOCK.format(now))} New York</span>`);
    parts.push(`<span class="dt-source" title="${told}">${told}</span>`);
  }
  if (t.tone === 'bad') parts.push(`<span class="dt-why" role="alert" title="${escapeText(t.why)}">${escapeText(t.why)}</span>`);
  const html = parts.join('');
  if (html !== strip.html) { strip.bar.innerHTML = html; strip.html = html; }
  strip.root.classList.toggle('stale', t.tone === 'bad');
}

function drawChips(strip) {
  const {symbols, selected} = strip.data;
  const known = new Map((strip.status?.chips ?? []).map(c => [c.symbol, c]));
  for (const [symbol, node] of strip.nodes) if (!symbols.includes(symbol)) { node.remove(); strip.nodes.delete(symbol); }
  symbols.forEach((symbol, at) => {
    let node = strip.nodes.get(symbol);
    if (!node) {
      node = document.createElement('div'); node.className = 'dt-chip'; node.setAttribute('role', 'listitem'); node.dataset.symbol = symbol;
      node.innerHTML = `<button class="dt-pick" type="button"><b></b><i class="dt-last"></i><i class="dt-move"></i></button><button class="dt-drop" type="button" aria-label="Remove ${escapeText(symbol)}" title="Remove ${escapeText(symbol)}">×</button>`;
      node.querySelector('b').textContent = symbol;
      node.querySelector('.dt-pick').onclick = () => strip.trigger('picked', symbol);
      node.querySelector('.dt-drop').onclick = () => strip.trigger('dropped', symbol);
      strip.nodes.set(symbol, node);
    }
    if (strip.chips.children[at] !== node) strip.chips.insertBefore(node, strip.chips.children[at] ?? null);
    node.classList.toggle('on', symbol === selected);
    node.querySelector('.dt-pick').setAttribute('aria-pressed', symbol === selected);
    const chip = known.get(symbol), last = node.querySelector('.dt-last'), move = node.querySelector('.dt-move');
    const old = chip?.age_s != null && chip.live && chip.age_s + strip.poller.sinceTold() > chip.stale_after_s;
    node.classList.toggle('old', old);
    node.title = (chip?.name ?? '') + (old ? ` · price ${ageWords(chip.age_s)} old` : '');
    const text = chip?.last ?? '–';
    if (last.textContent !== text) last.textContent = text;
    const c = chip?.change;
    move.textContent = c == null ? '' : `${c > 0 ? '▲ +' : c < 0 ? '▼ −' : '■ '}${Math.abs(c).toFixed(2)} %`;
    move.className = 'dt-move ' + (c > 0 ? 'up' : c < 0 ? 'down' : '');
  });
}

export default function ({data, parentElement, setTriggerValue}) {
  const root = parentElement.querySelector('.dt');
  let strip = STRIPS.get(root);
  if (!strip) {
    strip = {root, bar: root.querySelector('.dt-bar'), chips: root.querySelector('.dt-chips'), nodes: new Map(), status: null, html: ''};
    STRIPS.set(root, strip);
    strip.data = data; strip.trigger = setTriggerValue;
    strip.poller = new Poller(
      () => `${new URL(strip.data.quotes, location.origin).href}?symbols=${encodeURIComponent(strip.data.symbols.join(','))}&lead=${encodeURIComponent(strip.data.selected)}`,
      body => { strip.status = body; drawChips(strip); },
      () => { drawBar(strip); drawChips(strip); });
  }
  const asked = strip.data.selected !== data.selected || JSON.stringify(strip.data.symbols) !== JSON.stringify(data.symbols);
  strip.data = data; strip.trigger = setTriggerValue;
  root.style.setProperty('--up', data.up); root.style.setProperty('--down', data.down);
  drawChips(strip); drawBar(strip);
  if (asked) strip.poller.now();
  return () => { strip.poller.stop(); STRIPS.delete(root); };
}
