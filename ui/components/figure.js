
const FIGURES = new WeakMap();
let plotlyComing = null;
const plotlyFrom = address => window.Plotly ? Promise.resolve() : (plotlyComing ??= new Promise((done, fail) => {
  const tag = document.createElement('script');
  tag.src = new URL(address, location.origin).href;
  tag.onload = done;
  tag.onerror = () => { plotlyComing = null; tag.remove(); fail(new Error('the chart library could not be loaded')); };
  document.head.appendChild(tag);
}));

// The same plot is changed in place: st.plotly_chart would take it away and draw it anew with each epoch.
class Figure {
  constructor(el) {
    Object.assign(this, {el, busy: Promise.resolve(), text: ''});
    this.resize = new ResizeObserver(() => { if (this.data && el.clientWidth !== this.width) this.draw(); });
    this.resize.observe(el);
    this.onTheme = () => { if (this.data) this.draw(); };
    window.addEventListener('desk-theme', this.onTheme);
  }
  take(data) {
    if (data.figure === this.text && this.drawn) return;
    this.data = data; this.text = data.figure;
    this.draw();
  }
  draw() {
    this.busy = this.busy.then(async () => {
      await plotlyFrom(this.data.plotly);
      if (!this.el.isConnected) return;
      const {data, layout} = repainted(JSON.parse(this.text));
      this.width = layout.width = this.el.clientWidth;
      await (this.drawn ? Plotly.react : Plotly.newPlot)(this.el, data, layout, {displayModeBar: false, ...this.data.config, responsive: false, displaylogo: false, showSendToCloud: false, plotlyServerURL: ''});
      this.el.dataset.mounts = (this.drawn ? 0 : 1) + Number(this.el.dataset.mounts ?? 0);
      this.el.dataset.updates = 1 + Number(this.el.dataset.updates ?? 0);
      this.drawn = true; this.el.tabIndex = 0; this.el.setAttribute('role', 'img'); this.el.setAttribute('aria-label', this.data.label);
    }).catch(error => { console.error(error); this.el.textContent = String(error.message ?? error); });
  }
  stop() { window.removeEventListener('desk-theme', this.onTheme); this.resize.disconnect(); if (window.Plotly) Plotly.purge(this.el); }
}

export default function ({data, parentElement}) {
  const el = parentElement.querySelector('.df');
  let figure = FIGURES.get(el);
  if (!figure) { figure = new Figure(el); FIGURES.set(el, figure); }
  el.style.minHeight = `${data.height}px`;
  figure.take(data);
  return () => { figure.stop(); FIGURES.delete(el); };
}
