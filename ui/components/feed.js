
// The desk that trades, asked for once a second for everything on this page that shows it.
class DeskFeed {
  // `told`: the desk as the page knew it when it was drawn, shown until the first answer.
  static join(member, told = null) {
    const feed = window.__deskFeed ??= new DeskFeed();
    feed.state ??= told;
    feed.members.add(member);
    if (feed.poller) feed.poller.now(); else feed.poller = new Poller(() => feed.address(), body => feed.take(body), () => feed.each('onBeat'));
    return feed;
  }
  constructor() { this.members = new Set(); this.state = null; this.asked = null; }
  address() {
    const wanted = {};
    let path = '';
    for (const member of this.members) {
      const {desk, ...asks} = member.wants();
      path = desk;
      for (const [name, value] of Object.entries(asks)) if (value) wanted[name] = value;
    }
    return `${new URL(path, location.origin).href}?${new URLSearchParams(wanted)}`;
  }
  take(body) { this.state = body.state; this.asked = body.asked ?? null; this.each('onAnswer'); }
  each(what) { for (const member of this.members) member[what]?.(this); }
  // Whether what is shown can still be trusted to be the desk's own last word.
  get lost() { const silence = this.poller?.silence(); return !!this.poller && this.poller.failedSince !== null && (silence === null || silence > 3 || !!this.poller.problem); }
  age() { return this.poller?.sinceTold() ?? 0; }
  lostWords() {
    const said = this.poller.problem || 'The dashboard does not answer.';
    return this.state ? `${said} What is shown is ${ageWords(this.age())} old.` : said;
  }
  engine() {
    const e = this.state?.engine;
    if (!e) return null;
    const age = e.age_s == null ? null : e.age_s + this.age();
    const silent = e.state === 'silent' || e.state === 'never' || (e.state === 'running' && !this.lost && age > e.silent_after_s + 1.5);
    return {...e, age, silent};
  }
  now() { this.poller?.now(); }
  leave(member) {
    this.members.delete(member);
    if (this.members.size) return;
    this.poller?.stop();
    if (window.__deskFeed === this) delete window.__deskFeed;
  }
}
