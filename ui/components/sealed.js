// What is typed goes to a route by fetch; to Streamlit goes that it was done, and nothing else.
const FORMS = new WeakMap();
let HINTS = 0;

function fieldOf(one) {
  const label = document.createElement('label');
  label.textContent = one.label;
  const input = document.createElement(one.choices.length ? 'select' : 'input');
  input.name = one.name; input.required = one.needed; input.autocomplete = one.autocomplete;
  if (one.choices.length)
    for (const [value, text] of one.choices) input.add(new Option(text, value));
  else {
    input.type = one.kind; input.placeholder = one.placeholder; input.maxLength = 400; input.spellcheck = false;
    input.autocapitalize = 'none';
    for (const name of ['data-1p-ignore', 'data-lpignore']) if (one.autocomplete === 'off') input.setAttribute(name, 'true');
  }
  const hint = document.createElement('small');
  hint.textContent = one.hint; hint.id = `sf-${++HINTS}`;
  input.setAttribute('aria-label', one.label);  // the hint is no part of its name
  if (one.hint) input.setAttribute('aria-describedby', hint.id);
  label.append(input, hint);
  return label;
}

function showOnce(box, once) {
  box.replaceChildren();
  if (!once || !Object.keys(once).length) return;
  if (once.picture) {
    const picture = document.createElement('div');
    picture.className = 'sf-code'; picture.setAttribute('role', 'img'); picture.setAttribute('aria-label', 'QR code for an authenticator app');
    picture.append(document.importNode(new DOMParser().parseFromString(once.picture, 'image/svg+xml').documentElement, true));
    box.append(picture);
  }
  const list = document.createElement('dl');
  for (const [name, text] of Object.entries(once)) {
    if (name === 'picture') continue;
    const term = document.createElement('dt'), value = document.createElement('dd');
    term.textContent = name; value.textContent = text;
    list.append(term, value);
  }
  box.append(list);
}

async function send(form) {
  const {node, button, said, box} = form;
  if (form.busy) return;
  form.busy = button.disabled = true;
  said.textContent = ''; said.className = 'sf-said';
  let told;
  try {
    const body = JSON.stringify({...form.data.hidden, ...Object.fromEntries(new FormData(node))});
    const reply = await fetch(form.data.action, {method: 'POST', body, headers: {'Content-Type': 'application/json'}, credentials: 'same-origin', cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(60000)});
    told = await reply.json();
  } catch { told = {problem: 'The dashboard did not answer, so nothing is known to have changed. Look, then try again.'}; }
  form.busy = button.disabled = false;
  if (told.problem) {
    said.textContent = told.problem; said.classList.add('bad');
    for (const input of node.querySelectorAll('[autocomplete=current-password], [autocomplete=one-time-code]')) input.value = '';
    return;
  }
  node.reset();
  if (told.go) { location.assign(told.go); return; }
  said.textContent = told.said; said.classList.add('good');
  showOnce(box, told.once);
  form.trigger('done', Date.now());
}

export default function ({data, parentElement, setTriggerValue}) {
  const root = parentElement.querySelector('.sf');
  let form = FORMS.get(root);
  if (!form) {
    const node = document.createElement('form'), said = document.createElement('p'), box = document.createElement('div');
    const button = document.createElement('button');
    said.className = 'sf-said'; said.setAttribute('role', 'status'); box.className = 'sf-once'; button.type = 'submit'; node.autocomplete = 'off';
    root.replaceChildren(node, said, box);
    form = {node, said, box, button, drawn: ''};
    node.onsubmit = event => { event.preventDefault(); send(form); };
    FORMS.set(root, form);
  }
  form.data = data; form.trigger = setTriggerValue;
  const drawn = JSON.stringify([data.fields, data.button]);
  if (drawn === form.drawn) return;
  form.drawn = drawn;
  form.button.textContent = data.button;
  form.node.replaceChildren(...data.fields.map(fieldOf), form.button);
}
