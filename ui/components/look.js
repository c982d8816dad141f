// Which theme is worn is Streamlit's to know; everything of ours hears of it here, and again when it is changed.
(() => {
  const root = document.documentElement;
  function look(app) {
    const scheme = getComputedStyle(app).colorScheme;
    if (scheme === root.dataset.theme || !['dark', 'light'].includes(scheme)) return;
    root.dataset.theme = root.style.colorScheme = scheme;
    window.dispatchEvent(new Event('desk-theme'));
  }
  function find(_, waiting) {
    const app = document.querySelector('.stApp');
    if (!app) return;
    waiting?.disconnect();
    new MutationObserver(() => look(app)).observe(app, {attributes: true, attributeFilter: ['class']});
    look(app);
  }
  new MutationObserver(find).observe(root, {childList: true, subtree: true});
  for (const key of Object.keys(localStorage).filter(key => key.startsWith('stActiveTheme')))
    { const [name] = /dark|light/i.exec(localStorage.getItem(key)) ?? []; if (name) root.style.colorScheme = name.toLowerCase(); }

  // Streamlit's own words for a server that is gone speak to whoever wrote the page; these are for who reads it.
  const GONE = [
    [/^Is Streamlit still running/, 'The dashboard does not answer: it was stopped, or this machine is busy. What rests at the broker stays there. Start it again where it was started; this page finds it by itself:'],
    [/^Streamlit server is not responding/, 'The dashboard does not answer. What rests at the broker stays there. This page finds the dashboard again by itself.'],
    [/^Connection error$/, 'No connection to the dashboard'],
  ];
  function say(box) {
    const texts = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
    let gone = false;
    for (let node = texts.nextNode(); node; node = texts.nextNode())
      for (const [theirs, ours] of GONE) if (theirs.test(node.nodeValue.trim())) { node.nodeValue = ours; gone = true; }
    if (gone) for (const code of box.querySelectorAll('code')) if (code.textContent.trim() === 'streamlit run yourscript.py') code.textContent = 'make run';
  }
  const boxes = () => setTimeout(() => document.querySelectorAll('[role=dialog]').forEach(say));
  addEventListener('DOMContentLoaded', () => new MutationObserver(boxes).observe(document.body, {childList: true}));
})();
