// The live page: a snapshot over SSE, then what changes. Text is only ever set as text.
import { cards, summary } from './cards.js';
import { showDetail } from './detail.js';
import { readEvents } from './events.js';

const byId = (id) => document.getElementById(id);
const tenants = new Map();
let open;
let chosen;

const token = () => sessionStorage.getItem('token');

function say(text, live = false) {
  byId('state').textContent = text;
  byId('state').classList.toggle('live', live);
}

function show(loggedIn) {
  byId('login').hidden = loggedIn;
  for (const id of ['summary', 'tenants', 'logout']) byId(id).hidden = !loggedIn;
  byId('detail').hidden = !loggedIn || chosen === undefined;
}

function draw() {
  const all = [...tenants.values()].sort((a, b) => a.tenant.localeCompare(b.tenant));
  summary(byId('summary'), all);
  cards(byId('tenants'), all, chosen, choose);
  if (chosen !== undefined) void showDetail(byId('detail'), chosen, token());
}

function choose(tenant) {
  chosen = chosen === tenant ? undefined : tenant;
  byId('detail').hidden = chosen === undefined;
  draw();
}

async function connect() {
  show(true);
  open = new AbortController();
  try {
    for await (const { event, data } of readEvents('/v1/live', token(), open.signal)) {
      if (event === 'snapshot') tenants.clear();
      for (const each of data.tenants) tenants.set(each.tenant, each);
      say(`live, ${tenants.size} tenant${tenants.size === 1 ? '' : 's'}`, true);
      draw();
    }
    throw new Error('the connection ended');
  } catch (error) {
    if (open.signal.aborted) return;
    if (error.status === 401 || error.status === 403) return logout(error.message);
    say(`${error.message}, connecting again`);
    setTimeout(connect, 1000);
  }
}

function logout(why = '') {
  open?.abort();
  sessionStorage.removeItem('token');
  tenants.clear();
  chosen = undefined;
  byId('why').textContent = why;
  say('not connected');
  show(false);
  byId('token').focus();
}

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem('token', byId('token').value.trim());
  byId('token').value = '';
  void connect();
});
byId('logout').addEventListener('click', () => logout());

if (token()) void connect();
else logout();
